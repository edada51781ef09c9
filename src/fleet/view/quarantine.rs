//! Releases that are kept away from the fleet, and the ways out.

use serde::{Deserialize, Serialize};

use crate::fleet::{deployed::Placed, memory::Memory, name::NodeName, state::Fleet, units::Timestamp};

/// A release that the fleet went back from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedView {
    /// The release.
    pub release: Placed,
    /// The node whose box went back from it.
    pub node: NodeName,
    /// Since when, in milliseconds since the Unix epoch.
    pub at: Timestamp,
    /// Why.
    pub why: String,
    /// Whether it is the one that is configured.
    pub configured: bool,
    /// What a person can do.
    pub next: String,
}

pub(super) fn view(fleet: &Fleet, memory: &Memory) -> Vec<QuarantinedView> {
    let mut all: Vec<QuarantinedView> = fleet
        .quarantine
        .iter()
        .map(|(name, shunned)| {
            let configured = memory.release_name.as_ref() == Some(name);
            QuarantinedView {
                release: shunned.release.clone(),
                node: shunned.node.clone(),
                at: shunned.at,
                why: shunned.why.clone(),
                configured,
                next: next(&shunned.node, configured, fleet.verified.as_ref()),
            }
        })
        .collect();
    all.sort_by(|one, other| other.at.cmp(&one.at).then_with(|| one.release.name.cmp(&other.release.name)));
    all
}

fn next(node: &NodeName, configured: bool, verified: Option<&Placed>) -> String {
    let again = format!("`vast-keeper deploy {node} --force` tries it again");
    match (configured, verified) {
        (false, _) => format!("nothing waits for it; {again}"),
        (true, Some(verified)) => format!(
            "it is the configured one: healing brings {} (commit {}) until another is configured; {again}",
            verified.name, verified.commit
        ),
        (true, None) => format!(
            "it is the configured one, and nothing else was verified: healing waits until another is configured; {again}, \
             once a node waits for it, `vast-keeper resume NODE` lets healing do so"
        ),
    }
}
