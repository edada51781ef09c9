//! Mutants: inputs that differ a little from known ones, and sometimes much.

use std::ops::Range;

/// Longest mutant: longer than any limit of a decoder that is worth crossing here.
const LONGEST: usize = 64 * 1024;

/// Numbers at the edges of what types hold.
const NUMBERS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "25",
    "255",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "-0.0",
    "1e999",
];

pub(super) struct Mutator {
    rng: fastrand::Rng,
    words: &'static [&'static str],
}

impl Mutator {
    pub(super) fn new(seed: u64, words: &'static [&'static str]) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed), words }
    }

    pub(super) fn mutant(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut input = pool[self.rng.usize(0..pool.len())].clone();
        for _ in 0..self.rng.usize(1..6) {
            self.change(&mut input, pool);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let range = self.range(input.len());
        match self.rng.u32(0..12) {
            0 if !input.is_empty() => {
                let at = self.rng.usize(0..input.len());
                input[at] ^= 1 << self.rng.u32(0..8);
            }
            1 if !input.is_empty() => {
                let at = self.rng.usize(0..input.len());
                input[at] = self.rng.u8(..);
            }
            2 => drop(input.drain(range)),
            3 => {
                let copy = input[range.clone()].to_vec();
                input.splice(range.end..range.end, copy);
            }
            4 => input.truncate(range.start),
            5 => {
                let other = &pool[self.rng.usize(0..pool.len())];
                let part = self.range(other.len());
                input.splice(range, other[part].iter().copied());
            }
            6 => self.replace_number(input),
            7 => {
                // A printable byte of the formats at hand is worth more than any other.
                let marks = b"{}[]()\",:=.*\\'#\n\r \t-_/0aA$";
                let mark = marks[self.rng.usize(0..marks.len())];
                input.insert(range.start, mark);
            }
            8 if !input.is_empty() => {
                let times = self.rng.usize(1..600);
                let byte = input[range.start.min(input.len() - 1)];
                input.splice(range.start..range.start, std::iter::repeat_n(byte, times));
            }
            _ if !self.words.is_empty() => {
                let word = self.words[self.rng.usize(0..self.words.len())];
                let place = if self.rng.bool() { range } else { range.start..range.start };
                input.splice(place, word.bytes());
            }
            _ => {}
        }
    }

    /// A range of a text of this length, mostly a short one.
    fn range(&mut self, length: usize) -> Range<usize> {
        let start = self.rng.usize(0..=length);
        let most = if self.rng.u32(0..4) > 0 { 16 } else { length };
        start..self.rng.usize(start..=length.min(start + most))
    }

    fn replace_number(&mut self, input: &mut Vec<u8>) {
        let starts: Vec<usize> = (0..input.len())
            .filter(|at| input[*at].is_ascii_digit() && (*at == 0 || !input[*at - 1].is_ascii_digit()))
            .collect();
        if starts.is_empty() {
            return;
        }
        let start = starts[self.rng.usize(0..starts.len())];
        let length = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = NUMBERS[self.rng.usize(0..NUMBERS.len())];
        input.splice(start..start + length, number.bytes());
    }
}
