//! What the provider tells, in our words: lists, rentals, and the answers to what costs money or destroys.
//!
//! Answers are closed enums with the ambiguous case included, so that no caller can forget it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    bid::Bidding,
    name::{HostId, InstanceId, MachineId},
    offer::Offer,
    units::{Money, Timestamp},
};

/// A complete list of the account's instances: every page read, the count equal to the provider's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// When the first page was asked for.
    pub started_at: Timestamp,
    /// Every instance, foreign ones included, in the order of their ids.
    pub rentals: Vec<Rental>,
}

/// One rented instance as the list shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rental {
    /// Its id.
    pub id: InstanceId,
    /// Its label, if any.
    pub label: Option<String>,
    /// The machine it runs on.
    pub machine: MachineId,
    /// Whose machine that is.
    pub host: HostId,
    /// What the provider says of it; lags behind the truth.
    pub status: Status,
    /// The provider's last word on it, trimmed and cut to 300 characters.
    pub message: Option<String>,
    /// Dollars per hour.
    pub price: Money,
    /// GPU display name, such as `RTX 4090`.
    pub gpu: String,
    /// Public address, if known yet.
    pub public_ip: Option<IpAddr>,
    /// Published TCP ports: container port to host port.
    pub ports: BTreeMap<u16, u16>,
    /// The provider's SSH relay, if known yet.
    pub ssh_proxy: Option<(String, u16)>,
    /// When the contract ends.
    pub ends_at: Option<Timestamp>,
    /// Whether the provider stopped it: its disk is kept, its GPU let go. A box whose program merely ended is not.
    pub stopped: bool,
    /// How it stands in the bidding; `None` for a rental on demand.
    pub bidding: Option<Bidding>,
}

impl Rental {
    /// Where container port `port` is published.
    #[must_use]
    pub fn address(&self, port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.public_ip?, *self.ports.get(&port)?))
    }
}

/// The provider's word on an instance, reduced to what decisions need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "status", content = "word")]
pub enum Status {
    /// On its way: no status yet, created, loading, rebooting, restarting.
    Starting,
    /// Up, says the host's heartbeat.
    Running,
    /// The container ended or was stopped: a witness against it when two lists agree.
    Exited,
    /// The host is disconnected: a witness against it when two lists agree.
    Offline,
    /// The host's runtime refused to start it; will never run.
    Broken,
    /// A word we do not know, or `unknown`: pending, bounded by the stage's deadline.
    Unclear(String),
}

impl Status {
    /// In words, for people.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Starting => "starting".into(),
            Self::Running => "running".into(),
            Self::Exited => "exited".into(),
            Self::Offline => "offline".into(),
            Self::Broken => "refused by the host's runtime".into(),
            Self::Unclear(word) => format!("`{word}`"),
        }
    }
}

/// How a box is reached over SSH.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SshEndpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Why a call to the provider gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "fault")]
pub enum ProviderFault {
    /// The API key is refused: no list, no verdict, one alarm.
    #[error("the API key was refused: {detail}")]
    Auth {
        /// The provider's words.
        detail: String,
    },
    /// Too many calls; says nothing about any instance.
    #[error("rate limited")]
    RateLimited {
        /// When the provider says to come back, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// The account cannot pay.
    #[error("the account cannot pay: {detail}")]
    Credit {
        /// The provider's words.
        detail: String,
    },
    /// Our request was wrong: a human must look.
    #[error("the request was refused: {detail}")]
    Refused {
        /// The provider's words.
        detail: String,
    },
    /// No connection, no answer in time, or a server error.
    #[error("the provider is unreachable: {detail}")]
    Unreachable {
        /// What happened.
        detail: String,
    },
    /// An answer that is not what the API promises, an incomplete list included.
    #[error("the provider's answer is unusable: {detail}")]
    Malformed {
        /// What was wrong.
        detail: String,
    },
}

/// What became of a create that was asked for once.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateAnswer {
    /// Rented.
    Created(InstanceId),
    /// Something was rented, yet the answer is an error: to be doomed at once.
    CreatedBroken(InstanceId, String),
    /// The offer is taken or unusable: the next one.
    OfferGone(String),
    /// Refused with a reason that another offer would not change, or that must wait; nothing was rented.
    Refused(ProviderFault),
    /// Never left this machine: nothing was rented.
    NotSent(String),
    /// Anything else: it may have been rented. Look, never re-send.
    Ambiguous(String),
}

/// What became of a destroy.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestroyAnswer {
    /// Accepted, or already unknown to the provider: to be proven by lists.
    Acknowledged,
    /// No usable answer; asked again while the instance is listed.
    Failed(ProviderFault),
}

/// What became of a start, or of a raised bid with the start after it. Both may be repeated without harm.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartAnswer {
    /// It is on its way up.
    Starting,
    /// Its GPU is let to another: the start waits, and may happen, and bill, at any time.
    Queued(String),
    /// No usable answer, or a refusal.
    Failed(ProviderFault),
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct OffersFound {
    /// Decoded offers, as the provider ordered them.
    pub offers: Vec<Offer>,
}

/// The account's money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Dollars that can be spent.
    pub dollars: Money,
}

/// When to ask again after a fault, if the provider said so.
impl ProviderFault {
    /// The wait the provider asked for.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after_ms } => retry_after_ms.map(Duration::from_millis),
            _ => None,
        }
    }
}
