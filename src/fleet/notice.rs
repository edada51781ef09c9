//! Notices: what a human should know, complete in itself and free of secrets. Sinks render them.

use serde::{Deserialize, Serialize};

use super::{
    name::{IncidentId, NodeName},
    units::Timestamp,
};

/// How much a notice matters, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good or neutral news.
    Info,
    /// Survived, but odd or costly.
    Warning,
    /// Somebody must act, or healing is under way.
    Critical,
}

/// What a notice is about; stable words for routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// An incident began.
    IncidentOpened,
    /// An incident ended well.
    IncidentClosed,
    /// A node waits for a human.
    Held,
    /// A rail keeps an action back.
    Blocked,
    /// The provider refuses our key, or cannot be reached.
    Provider,
    /// Something with our label that the journal does not know, or a label edited by hand.
    Stray,
    /// Maintenance lasts too long.
    Maintenance,
    /// The mass-failure breaker changed its position.
    Breaker,
    /// The keeper itself: started, stopped, stalled, its disk.
    Keeper,
    /// The daily digest.
    Digest,
    /// A deploy outside an incident.
    Deploy,
}

/// One thing a human should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When it became true.
    pub at: Timestamp,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub topic: Topic,
    /// The node, if one.
    pub node: Option<NodeName>,
    /// The incident, if one: its messages belong together.
    pub incident: Option<IncidentId>,
    /// One line, such as `duel-1 is failing: no answer within 5000 ms`.
    pub title: String,
    /// Labelled facts in reading order: what, why, evidence, cost before and after, durations.
    pub facts: Vec<(String, String)>,
    /// What happens or is to be done next.
    pub next: String,
}
