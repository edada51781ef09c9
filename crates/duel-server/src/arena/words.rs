//! The vocabulary of the arena: ids, money, sides, phases.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Play money, in whole cents. Never a float: rounding must be a decision, not an accident.
pub type Cents = i64;

/// The number of a duel, counted from 1 without gaps.
pub type DuelId = i64;

/// A player's id: 32 lower-case hex digits drawn from the operating system's randomness.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlayerId(String);

impl PlayerId {
    /// Accepts exactly 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        (text.len() == 32 && text.chars().all(hex)).then(|| Self(text.to_owned()))
    }

    /// Builds the id from 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlayerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The client's idempotency key of a bet: 1–64 visible ASCII characters, unique per player and duel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BetKey(String);

impl BetKey {
    /// Accepts 1–64 visible ASCII characters.
    pub fn parse(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        (!text.is_empty() && text.len() <= 64 && visible).then(|| Self(text.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A side of a duel, and what a bet is placed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// `agent1` of the streaming state.
    A,
    /// `agent2` of the streaming state.
    B,
}

impl Side {
    /// The side as stored and as sent: `a` or `b`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// Reads `a` or `b`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::A, Self::B].into_iter().find(|side| side.as_str() == text)
    }

    /// The opposite side.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The phase of the duel cycle, named as the maintenance API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Phase {
    /// No duel; the gap between two, or paused by maintenance.
    Idle,
    /// A duel is announced and its market takes bets.
    Countdown,
    /// The fight is on; the market is locked.
    Fighting,
    /// The winner is known and the market is paid out.
    Announcement,
}

impl Phase {
    /// The phase as stored and as sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Countdown => "COUNTDOWN",
            Self::Fighting => "FIGHTING",
            Self::Announcement => "ANNOUNCEMENT",
        }
    }

    /// Reads the stored name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Idle, Self::Countdown, Self::Fighting, Self::Announcement]
            .into_iter()
            .find(|phase| phase.as_str() == text)
    }
}

/// The status of a duel's market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MarketStatus {
    /// Takes bets.
    Open,
    /// Takes no more bets, not paid out yet.
    Locked,
    /// Every stake is paid out or returned.
    Resolved,
}

impl MarketStatus {
    /// The status as stored and as sent in the state messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Locked => "LOCKED",
            Self::Resolved => "RESOLVED",
        }
    }

    /// Reads the stored name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Locked, Self::Resolved].into_iter().find(|status| status.as_str() == text)
    }

    /// The word the maintenance API uses: an open market is `active`.
    pub fn maintenance_word(self) -> &'static str {
        match self {
            Self::Open => "active",
            Self::Locked => "locked",
            Self::Resolved => "resolved",
        }
    }
}
