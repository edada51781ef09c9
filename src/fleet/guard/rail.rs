//! The guard rules by name: the word shown to people, and who hears of each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A guard rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rail {
    /// A person paused the node.
    Paused,
    /// The keeper only observes.
    ObserveOnly,
    /// The keeper started or stalled a moment ago.
    WarmUp,
    /// The provider refuses our key.
    Key,
    /// No recent complete list.
    Inventory,
    /// The journal does not know an instance that bears this fleet's label.
    Import,
    /// Nothing proves that our own network works.
    SelfCheck,
    /// No second witness yet, or one says the server is up.
    Witness,
    /// Something that matters more comes first.
    Priority,
    /// Enough recoveries at once.
    Parallel,
    /// Many or all nodes fail together.
    Breaker,
    /// The instance before is not yet known to be destroyed.
    Outstanding,
    /// A pause between attempts.
    Backoff,
    /// The node was replaced a short time ago.
    Cooldown,
    /// The node was rented often enough for now.
    NodeCreates,
    /// The fleet replaced enough for this hour.
    FleetHourly,
    /// The fleet replaced enough for this day.
    FleetDaily,
    /// The fleet would cost too much an hour.
    DollarsPerHour,
    /// The fleet spent its day's budget, or would within the hour.
    DollarsPerDay,
    /// The account's credit is too low.
    Credit,
    /// No offer passes the filter.
    Offers,
    /// The release that would be deployed is not there, or is at fault.
    Release,
    /// The release that would be deployed was never seen serving, and is tried on few boxes first.
    Unproven,
}

impl Rail {
    /// The word shown to people and used as a metric label.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::ObserveOnly => "observe-only",
            Self::WarmUp => "warm-up",
            Self::Key => "key",
            Self::Inventory => "inventory",
            Self::Import => "import",
            Self::SelfCheck => "self-check",
            Self::Witness => "witness",
            Self::Priority => "priority",
            Self::Parallel => "parallel",
            Self::Breaker => "breaker",
            Self::Outstanding => "outstanding",
            Self::Backoff => "backoff",
            Self::Cooldown => "cooldown",
            Self::NodeCreates => "node-creates",
            Self::FleetHourly => "fleet-hourly",
            Self::FleetDaily => "fleet-daily",
            Self::DollarsPerHour => "dollars-per-hour",
            Self::DollarsPerDay => "dollars-per-day",
            Self::Credit => "credit",
            Self::Offers => "offers",
            Self::Release => "release",
            Self::Unproven => "unproven",
        }
    }

    /// Whether a human hears of it: not of short ordinary waits, nor of what another notice tells already.
    #[must_use]
    pub fn is_told(self) -> bool {
        match self {
            // Ordinary short waits, or a person's own wish.
            Self::Paused
            | Self::WarmUp
            | Self::Outstanding
            | Self::Backoff
            | Self::Parallel
            | Self::Priority
            | Self::Unproven => false,
            // The refused key, the outage and the breaker's move are told by themselves, a veto where it is found.
            Self::Key | Self::Inventory | Self::Breaker | Self::Witness => false,
            Self::ObserveOnly
            | Self::Import
            | Self::SelfCheck
            | Self::Cooldown
            | Self::NodeCreates
            | Self::FleetHourly
            | Self::FleetDaily
            | Self::DollarsPerHour
            | Self::DollarsPerDay
            | Self::Credit
            | Self::Offers
            | Self::Release => true,
        }
    }

    /// Whether it only makes nodes take turns, of which the most valuable takes the next.
    #[must_use]
    pub fn is_shared_turn(self) -> bool {
        matches!(self, Self::Parallel | Self::Breaker | Self::FleetHourly | Self::FleetDaily)
    }

    /// Whether it stands in the way of all nodes alike, so that one notice serves them all.
    #[must_use]
    pub fn concerns_fleet(self) -> bool {
        match self {
            Self::ObserveOnly
            | Self::WarmUp
            | Self::Key
            | Self::Inventory
            | Self::Import
            | Self::SelfCheck
            | Self::Parallel
            | Self::Breaker
            | Self::FleetHourly
            | Self::FleetDaily
            | Self::DollarsPerHour
            | Self::DollarsPerDay
            | Self::Credit
            | Self::Release
            | Self::Unproven => true,
            Self::Paused
            | Self::Priority
            | Self::Witness
            | Self::Outstanding
            | Self::Backoff
            | Self::Cooldown
            | Self::NodeCreates
            | Self::Offers => false,
        }
    }
}

impl fmt::Display for Rail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
