//! One fight, computed from its seed.
//!
//! The whole fight is fixed by `(seed, agents)`, so an interrupted duel ends the same way after a restart, and
//! anybody can check a published result once the seed is revealed. Deliberately absent: time; the phase decides how
//! much of the fight has been shown.

use super::roster::Agent;
use super::words::Side;

/// Hit points each agent starts with.
pub const FULL_HEALTH: u32 = 100;

/// One blow of the fight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Who struck.
    pub by: Side,
    /// Hit points taken from the other side; 0 is a miss.
    pub damage: u32,
}

/// A fight from the first blow to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fight {
    /// The blows in order; the last one ends the fight.
    pub hits: Vec<Hit>,
    /// Who is left standing.
    pub winner: Side,
}

impl Fight {
    /// Plays the fight out. The same seed and agents always give the same fight.
    pub fn play(seed: u64, a: &Agent, b: &Agent) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut health = [FULL_HEALTH; 2];
        let mut hits = Vec::new();
        let mut by = if dice.bool() { Side::A } else { Side::B };
        loop {
            let (striker, target) = if by == Side::A { (a, b) } else { (b, a) };
            let missed = dice.u32(0..100) < target.agility;
            let damage = if missed { 0 } else { dice.u32(1..=striker.strength.max(1)) };
            hits.push(Hit { by, damage });
            let left = &mut health[usize::from(by == Side::A)];
            *left = left.saturating_sub(damage);
            if *left == 0 {
                return Self { hits, winner: by };
            }
            by = by.other();
        }
    }

    /// The hit points of (A, B) once `shown` of `total` of the fight's time has passed.
    pub fn health_at(&self, shown: u64, total: u64) -> (u32, u32) {
        let count = self.hits.len() as u64;
        let landed = (count * shown.min(total)).checked_div(total).unwrap_or(count);
        let mut health = (FULL_HEALTH, FULL_HEALTH);
        for hit in self.hits.iter().take(usize::try_from(landed).unwrap_or(usize::MAX)) {
            match hit.by {
                Side::A => health.1 = health.1.saturating_sub(hit.damage),
                Side::B => health.0 = health.0.saturating_sub(hit.damage),
            }
        }
        health
    }
}

#[cfg(test)]
mod tests {
    use super::super::roster::AGENTS;
    use super::*;

    #[test]
    fn every_fight_ends_with_exactly_one_agent_standing() {
        for seed in 0..500 {
            let fight = Fight::play(seed, &AGENTS[0], &AGENTS[1]);
            let (a, b) = fight.health_at(1, 1);
            assert_eq!((a == 0, b == 0), (fight.winner == Side::B, fight.winner == Side::A), "seed {seed}");
        }
    }

    #[test]
    fn the_same_seed_replays_the_same_fight() {
        assert_eq!(Fight::play(7, &AGENTS[2], &AGENTS[3]), Fight::play(7, &AGENTS[2], &AGENTS[3]));
    }

    #[test]
    fn no_agent_wins_or_loses_nearly_always() {
        for pair in [(0, 1), (2, 3), (4, 5), (6, 7), (1, 3)] {
            let wins = (0..1000)
                .filter(|seed| Fight::play(*seed, &AGENTS[pair.0], &AGENTS[pair.1]).winner == Side::A)
                .count();
            assert!((150..850).contains(&wins), "{pair:?}: {wins} of 1000");
        }
    }
}
