//! What a probe saw and what that means.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    name::{NodeName, OpId},
    policy::HealthPolicy,
    units::Timestamp,
};

/// Whom to probe: the address of a node's current or coming server, and who must answer there.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The node.
    pub node: NodeName,
    /// Where its server is published.
    pub address: SocketAddr,
    /// The op id that a true answer echoes.
    pub identity: OpId,
}

/// A target with the rules it is judged by.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Whom.
    pub target: Target,
    /// How.
    pub health: Arc<super::policy::NodeSpec>,
}

impl Watched {
    /// The health rules.
    #[must_use]
    pub fn policy(&self) -> &HealthPolicy {
        &self.health.health
    }
}

/// One health check.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// When the probe started.
    pub at: Timestamp,
    /// How late it started against its schedule.
    pub lateness: Duration,
    /// How long it took, whole.
    pub took: Duration,
    /// Whose answer was asked for: an observation of an earlier tenant says nothing of the present one.
    pub identity: OpId,
    /// What it means.
    pub verdict: Verdict,
}

/// What an observation means.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// This box answered and every condition holds.
    Healthy,
    /// This box answered and says it is in maintenance: neither a failure nor a success.
    Maintenance,
    /// A failure, with its reason.
    Failing(Failure),
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Failure {
    /// No connection; the text names the cause (`connection refused`, `reset by peer`, …).
    Unreachable {
        /// The cause.
        detail: String,
    },
    /// No whole answer in time.
    Timeout {
        /// The limit in milliseconds.
        limit_ms: u64,
    },
    /// An answer that breaks HTTP or exceeds the bounded read.
    Malformed {
        /// What was wrong.
        detail: String,
    },
    /// A condition does not hold.
    Condition {
        /// The condition, with what was seen in its place.
        detail: String,
    },
    /// Somebody answered, but not this box.
    Impostor {
        /// The identity in the answer, cut to a printable length; `None` if it gave none.
        got: Option<String>,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { detail } => write!(f, "unreachable: {detail}"),
            Self::Timeout { limit_ms } => write!(f, "no answer within {limit_ms} ms"),
            Self::Malformed { detail } => write!(f, "malformed answer: {detail}"),
            Self::Condition { detail } => write!(f, "condition failed: {detail}"),
            Self::Impostor { got: Some(got) } => write!(f, "another box answered: `{got}`"),
            Self::Impostor { got: None } => write!(f, "the answer names no box"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::Maintenance => f.write_str("in maintenance"),
            Self::Failing(failure) => failure.fmt(f),
        }
    }
}
