//! Draws a view: the duel as its viewers see it.

use super::canvas::{Canvas, Colour, HEIGHT, WIDTH};
use crate::arena::{Agent, Phase, Side};
use crate::clock::Millis;
use crate::http::shown_health;
use crate::view::{DuelView, View};

const NIGHT: Colour = [18, 17, 26];
const INK: Colour = [240, 240, 246];
const FAINT: Colour = [120, 118, 140];
const TROUGH: Colour = [48, 46, 62];
const ORANGE: Colour = [251, 146, 60];
const BLUE: Colour = [96, 165, 250];

/// Width and height of a hit-point bar.
const BAR: (usize, usize) = (120, 10);

/// Draws the view as of `now`.
pub fn draw(view: &View, now: Millis) -> Canvas {
    let mut canvas = Canvas::filled(NIGHT);
    let middle = WIDTH / 2;
    let title = match view.phase {
        Phase::Idle if view.maintenance.is_some() => "MAINTENANCE",
        Phase::Idle => "NEXT DUEL SOON",
        Phase::Countdown => "PLACE YOUR BETS",
        Phase::Fighting => "FIGHT!",
        Phase::Announcement => "THE WINNER",
    };
    canvas.centred(middle, 10, 2, title, INK);
    if let Some(end) = view.phase_ends_at {
        canvas.centred(middle, 30, 1, &format!("{} S", (end - now).max(0).div_euclid(1000) + 1), FAINT);
    }
    match &view.duel {
        Some(duel) => draw_duel(&mut canvas, duel, view, now),
        None => draw_leaders(&mut canvas, view),
    }
    draw_pulse(&mut canvas, now);
    canvas
}

fn draw_duel(canvas: &mut Canvas, duel: &DuelView, view: &View, now: Millis) {
    let (a, b) = shown_health(duel, view, now);
    draw_fighter(canvas, WIDTH / 4, duel.a, a, duel.pools[0], ORANGE);
    draw_fighter(canvas, WIDTH * 3 / 4, duel.b, b, duel.pools[1], BLUE);
    canvas.centred(WIDTH / 2, 80, 1, "VS", FAINT);
    let winner = duel.winner.map(|side| match side {
        Side::A => (duel.a, ORANGE),
        Side::B => (duel.b, BLUE),
    });
    if let Some((winner, colour)) = winner {
        canvas.centred(WIDTH / 2, 140, 2, &format!("{} WINS", winner.name), colour);
    }
}

fn draw_fighter(canvas: &mut Canvas, x: usize, agent: &Agent, health: u32, pool: i64, colour: Colour) {
    canvas.centred(x, 56, 2, agent.name, INK);
    let left = x - BAR.0 / 2;
    canvas.rectangle(left, 78, BAR.0, BAR.1, TROUGH);
    let filled = BAR.0 * usize::try_from(health.min(100)).unwrap_or(0) / 100;
    canvas.rectangle(left, 78, filled, BAR.1, colour);
    canvas.centred(x, 94, 1, &format!("{health} HP"), FAINT);
    canvas.centred(x, 108, 1, &format!("POOL {}.{:02}", pool / 100, pool % 100), FAINT);
}

fn draw_leaders(canvas: &mut Canvas, view: &View) {
    for (place, score) in view.leaderboard.iter().take(5).enumerate() {
        let line = format!("{} {} - {}", score.agent.name, score.wins, score.losses);
        canvas.centred(WIDTH / 2, 60 + place * 14, 1, &line, INK);
    }
}

/// A light that runs along the lower edge: it shows viewers, and the encoder's stall check, that frames are new.
fn draw_pulse(canvas: &mut Canvas, now: Millis) {
    let x = usize::try_from(now.rem_euclid(4_000)).unwrap_or(0) * WIDTH / 4_000;
    canvas.rectangle(x, HEIGHT - 4, 12, 2, ORANGE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::{State, Timing};

    #[test]
    fn every_phase_looks_different_and_time_moves_the_picture() {
        let timing = Timing {
            idle: 50,
            countdown: 100,
            fight: 100,
            announcement: 100,
            settlement: 10,
            resume_limit: 1000,
        };
        let mut state = State::new(0);
        let mut pictures = Vec::new();
        for now in [0, 110, 220, 340] {
            while let Some(record) = state.due(now, &timing, 3) {
                state.apply(&record);
            }
            pictures.push(draw(&View::of(&state), now).bytes().to_vec());
        }
        for (index, picture) in pictures.iter().enumerate() {
            assert!(!pictures[..index].contains(picture), "picture {index} repeats an earlier one");
        }
        let view = View::of(&state);
        assert_ne!(draw(&view, 1_000).bytes(), draw(&view, 1_100).bytes());
    }
}
