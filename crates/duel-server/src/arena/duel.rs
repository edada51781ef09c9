//! The running duel and the book of its market.

use std::collections::HashMap;

use super::fight::Fight;
use super::payout::Stake;
use super::roster::Agent;
use super::words::{BetKey, Cents, DuelId, MarketStatus, Phase, PlayerId, Side};
use crate::clock::Millis;

/// An accepted bet of the running duel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bet {
    /// The bet's number.
    pub bet: i64,
    /// Who bet.
    pub player: PlayerId,
    /// The client's idempotency key.
    pub key: BetKey,
    /// What was bet on.
    pub side: Side,
    /// The stake.
    pub cents: Cents,
    /// When it was accepted.
    pub at: Millis,
}

/// How far a duel has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Announced.
    Countdown {
        /// Whether bets are taken; maintenance closes the market early.
        betting: bool,
    },
    /// On.
    Fighting,
    /// Decided.
    Announcement {
        /// Who won.
        winner: Side,
        /// Whether the market has been paid out.
        settled: bool,
    },
}

/// The running duel with its market.
#[derive(Debug, Clone)]
pub struct Duel {
    /// Its number.
    pub id: DuelId,
    /// Fixes the fight.
    pub seed: u64,
    /// Agent A.
    pub a: &'static Agent,
    /// Agent B.
    pub b: &'static Agent,
    /// The fight that the seed gives.
    pub fight: Fight,
    /// How far it has come.
    pub stage: Stage,
    /// When it was announced and its market opened.
    pub opened_at: Millis,
    /// When the current phase began.
    pub phase_started_at: Millis,
    /// When the current phase ends.
    pub phase_ends_at: Millis,
    /// When the fight began, once it has.
    pub fight_started_at: Option<Millis>,
    /// When the fight ended, once it has.
    pub fight_ended_at: Option<Millis>,
    /// Cents staked on A and on B.
    pub pools: [Cents; 2],
    /// The accepted bets, in order.
    pub bets: Vec<Bet>,
    keys: HashMap<(PlayerId, BetKey), usize>,
}

impl Duel {
    /// A duel just announced.
    pub fn opened(
        id: DuelId,
        seed: u64,
        a: &'static Agent,
        b: &'static Agent,
        at: Millis,
        ends: Millis,
    ) -> Self {
        Self {
            id,
            seed,
            a,
            b,
            fight: Fight::play(seed, a, b),
            stage: Stage::Countdown { betting: true },
            opened_at: at,
            phase_started_at: at,
            phase_ends_at: ends,
            fight_started_at: None,
            fight_ended_at: None,
            pools: [0; 2],
            bets: Vec::new(),
            keys: HashMap::new(),
        }
    }

    /// The phase of the cycle.
    pub fn phase(&self) -> Phase {
        match self.stage {
            Stage::Countdown { .. } => Phase::Countdown,
            Stage::Fighting => Phase::Fighting,
            Stage::Announcement { .. } => Phase::Announcement,
        }
    }

    /// The status of its market.
    pub fn market(&self) -> MarketStatus {
        match self.stage {
            Stage::Countdown { betting: true } => MarketStatus::Open,
            Stage::Countdown { betting: false }
            | Stage::Fighting
            | Stage::Announcement { settled: false, .. } => MarketStatus::Locked,
            Stage::Announcement { settled: true, .. } => MarketStatus::Resolved,
        }
    }

    /// Who won, once it is announced.
    pub fn winner(&self) -> Option<Side> {
        match self.stage {
            Stage::Announcement { winner, .. } => Some(winner),
            Stage::Countdown { .. } | Stage::Fighting => None,
        }
    }

    /// The agent on a side.
    pub fn agent(&self, side: Side) -> &'static Agent {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }

    /// The stakes, for settlement.
    pub fn stakes(&self) -> Vec<Stake> {
        self.bets.iter().map(|bet| Stake { bet: bet.bet, side: bet.side, cents: bet.cents }).collect()
    }

    /// The bet a player placed under a key, if any.
    pub fn bet_under(&self, player: &PlayerId, key: &BetKey) -> Option<&Bet> {
        self.keys.get(&(player.clone(), key.clone())).and_then(|index| self.bets.get(*index))
    }

    /// Takes a bet into the book.
    pub fn book(&mut self, bet: Bet) {
        self.pools[usize::from(bet.side == Side::B)] += bet.cents;
        self.keys.insert((bet.player.clone(), bet.key.clone()), self.bets.len());
        self.bets.push(bet);
    }
}
