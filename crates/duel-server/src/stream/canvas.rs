//! A small RGB picture to draw on: rectangles and text. The encoder scales it up.

use super::font;

/// Width in pixels.
pub const WIDTH: usize = 320;

/// Height in pixels.
pub const HEIGHT: usize = 180;

/// Red, green, blue.
pub type Colour = [u8; 3];

/// The picture, row by row, three bytes per pixel, as `ffmpeg`'s `rgb24` wants it.
pub struct Canvas {
    pixels: Vec<u8>,
}

impl Canvas {
    /// A picture of one colour.
    pub fn filled(colour: Colour) -> Self {
        Self { pixels: colour.repeat(WIDTH * HEIGHT) }
    }

    /// The raw bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.pixels
    }

    /// Fills a rectangle; what lies outside the picture is left out.
    pub fn rectangle(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Colour) {
        let (left, right) = (x.min(WIDTH), x.saturating_add(width).min(WIDTH));
        for row in y.min(HEIGHT)..y.saturating_add(height).min(HEIGHT) {
            let line = &mut self.pixels[(row * WIDTH + left) * 3..(row * WIDTH + right) * 3];
            line.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&colour));
        }
    }

    /// Writes text, each dot of a letter `scale` pixels wide.
    pub fn text(&mut self, x: usize, y: usize, scale: usize, text: &str, colour: Colour) {
        for (position, letter) in text.chars().enumerate() {
            let left = x + position * font::ADVANCE * scale;
            for (column, dots) in font::glyph(letter).iter().enumerate() {
                for row in (0..font::HEIGHT).filter(|row| dots >> row & 1 == 1) {
                    self.rectangle(left + column * scale, y + row * scale, scale, scale, colour);
                }
            }
        }
    }

    /// Writes text centred on `x`.
    pub fn centred(&mut self, x: usize, y: usize, scale: usize, text: &str, colour: Colour) {
        let width = text.chars().count() * font::ADVANCE * scale;
        self.text(x.saturating_sub(width / 2), y, scale, text, colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_outside_the_picture_is_left_out() {
        let mut canvas = Canvas::filled([0; 3]);
        canvas.rectangle(WIDTH - 1, HEIGHT - 1, 10, 10, [1; 3]);
        canvas.rectangle(usize::MAX, usize::MAX, usize::MAX, usize::MAX, [2; 3]);
        canvas.centred(0, HEIGHT - 3, 9, "a long text that is far too wide", [0; 3]);
        assert_eq!(canvas.bytes().len(), WIDTH * HEIGHT * 3);
        assert!(!canvas.bytes().contains(&2));
    }
}
