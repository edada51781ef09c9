//! What a record is about: the keys by which it is stored, filtered and gathered into a timeline.
//!
//! One exhaustive match serves all four keys, so that a new variant cannot be forgotten in one of them.

use super::Record;
use crate::fleet::name::{IncidentId, InstanceId, NodeName};

/// The keys of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct About<'a> {
    kind: &'static str,
    node: Option<&'a NodeName>,
    incident: Option<IncidentId>,
    instance: Option<InstanceId>,
}

impl<'a> About<'a> {
    fn fleet(kind: &'static str) -> Self {
        Self { kind, node: None, incident: None, instance: None }
    }

    fn node(kind: &'static str, node: &'a NodeName) -> Self {
        Self { node: Some(node), ..Self::fleet(kind) }
    }

    fn incident(kind: &'static str, node: &'a NodeName, incident: IncidentId) -> Self {
        Self { incident: Some(incident), ..Self::node(kind, node) }
    }

    fn instance(kind: &'static str, node: Option<&'a NodeName>, instance: InstanceId) -> Self {
        Self { node, instance: Some(instance), ..Self::fleet(kind) }
    }
}

impl Record {
    /// The stable word for its variant, the same as `kind` in its JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.about().kind
    }

    /// The node it is about, if it names one.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        self.about().node
    }

    /// The incident it names, if it names one; most records of an incident only name the node.
    #[must_use]
    pub fn incident(&self) -> Option<IncidentId> {
        self.about().incident
    }

    /// The instance it is about, if it names one.
    #[must_use]
    pub fn instance(&self) -> Option<InstanceId> {
        self.about().instance
    }

    /// Whose probes may have to be pointed elsewhere.
    pub fn touched(&self) -> impl Iterator<Item = &NodeName> {
        let second = match self {
            Self::Promoted { from, .. } => Some(from),
            _ => None,
        };
        self.node().into_iter().chain(second)
    }

    fn about(&self) -> About<'_> {
        match self {
            Self::Booted { .. } => About::fleet("booted"),
            Self::IncidentOpened { node, incident, .. } => {
                About::incident("incident-opened", node, *incident)
            }
            Self::Noted { node, incident, .. } => About { incident: *incident, ..About::node("noted", node) },
            Self::IncidentClosed { node, incident, .. } => {
                About::incident("incident-closed", node, *incident)
            }
            Self::RemedyStarted { node, .. } => About::node("remedy-started", node),
            Self::RemedyEnded { node, .. } => About::node("remedy-ended", node),
            Self::RecoveryStarted { node, incident, .. } => {
                About { incident: *incident, ..About::node("recovery-started", node) }
            }
            Self::Promoted { node, instance, .. } => About::instance("promoted", Some(node), *instance),
            Self::ReplacementCancelled { node, instance } => {
                About::instance("replacement-cancelled", Some(node), *instance)
            }
            Self::Doomed { node, instance, .. } => About::instance("doomed", node.as_ref(), *instance),
            Self::DestroyAcknowledged { instance } => {
                About::instance("destroy-acknowledged", None, *instance)
            }
            Self::Gone { instance } => About::instance("gone", None, *instance),
            Self::Intent { node, .. } => About::node("intent", node),
            Self::BidRaised { node, instance, .. } => About::instance("bid-raised", Some(node), *instance),
            Self::PriceChanged { node, instance, .. } => {
                About::instance("price-changed", Some(node), *instance)
            }
            Self::CreateUnresolved { node, .. } => About::node("create-unresolved", node),
            Self::Created { node, instance, .. } => About::instance("created", Some(node), *instance),
            Self::CreateFailed { node, .. } => About::node("create-failed", node),
            Self::CreateAbandoned { node, .. } => About::node("create-abandoned", node),
            Self::InstanceUp { node, instance, .. } => About::instance("instance-up", Some(node), *instance),
            Self::AddressChanged { node, instance, .. } => {
                About::instance("address-changed", Some(node), *instance)
            }
            Self::Deployed { node, instance, .. } => About::instance("deployed", Some(node), *instance),
            Self::NextRelease { node, .. } => About::node("next-release", node),
            Self::StoodBy { node, instance, .. } => About::instance("stood-by", Some(node), *instance),
            Self::SwitchedBack { node, instance, .. } => {
                About::instance("switched-back", Some(node), *instance)
            }
            Self::Published { .. } => About::fleet("published"),
            Self::DeployReported(report) => {
                About::instance("deploy-reported", Some(&report.node), report.instance)
            }
            Self::Imported { node, instance, .. } => About::instance("imported", Some(node), *instance),
            Self::ImportRefused { node, instance, .. } => {
                About::instance("import-refused", Some(node), *instance)
            }
            Self::UnknownSeen { node, instance } => About::instance("unknown-seen", Some(node), *instance),
            Self::JournalDoubted => About::fleet("journal-doubted"),
            Self::JournalSettled => About::fleet("journal-settled"),
            Self::UnknownGone { instance } => About::instance("unknown-gone", None, *instance),
            Self::AttemptFailed { node, .. } => About::node("attempt-failed", node),
            Self::Adopted { node, instance } => About::instance("adopted", Some(node), *instance),
            Self::Held { node, .. } => About::node("held", node),
            Self::Released { node, .. } => About::node("released", node),
            Self::Paused { node, .. } => About::node("paused", node),
            Self::Resumed { node, .. } => About::node("resumed", node),
            Self::Retired { node } => About::node("retired", node),
            Self::MachineBlamed { node, instance, .. } => {
                About { node: node.as_ref(), instance: *instance, ..About::fleet("machine-blamed") }
            }
            Self::MachineImported { .. } => About::fleet("machine-imported"),
            Self::MachineForgiven { .. } => About::fleet("machine-forgiven"),
            Self::Attributed { node, incident, instance, .. } => {
                About { incident: *incident, ..About::instance("attributed", Some(node), *instance) }
            }
            Self::ReleaseFailed { node, instance, .. } => {
                About::instance("release-failed", Some(node), *instance)
            }
            Self::ReleaseCondemned { .. } => About::fleet("release-condemned"),
            Self::ReleaseCleared { .. } => About::fleet("release-cleared"),
            Self::KeyAccepted { .. } => About::fleet("key-accepted"),
            Self::BreakerMoved { .. } => About::fleet("breaker-moved"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{breaker::Position, name::OpId, units::Timestamp};

    #[test]
    fn the_keys_are_those_of_the_json() {
        let node: NodeName = "duel-0".parse().unwrap();
        let records = [
            Record::Booted { version: "1".into() },
            Record::Noted { node: node.clone(), incident: Some(IncidentId(3)), text: "peer agrees".into() },
            Record::IncidentClosed {
                incident: IncidentId(3),
                node: node.clone(),
                outcome: super::super::Outcome::ByItself,
            },
            Record::Created { node: node.clone(), op: OpId::from_bits(1), instance: InstanceId(9) },
            Record::CreateUnresolved {
                node: node.clone(),
                op: OpId::from_bits(1),
                detail: "timed out".into(),
            },
            Record::Gone { instance: InstanceId(9) },
            Record::AttemptFailed { node: node.clone(), detail: "boot".into(), retry_at: Timestamp(1) },
            Record::Retired { node },
            Record::KeyAccepted { accepted: false },
            Record::BreakerMoved { to: Position::Hold },
        ];
        for record in records {
            let json = serde_json::to_value(&record).unwrap();
            assert_eq!(json["kind"].as_str(), Some(record.kind()));
            assert_eq!(json["node"].as_str(), record.node().map(NodeName::as_str), "{json}");
            assert_eq!(json["incident"].as_u64(), record.incident().map(|id| id.0), "{json}");
            assert_eq!(json["instance"].as_u64(), record.instance().map(|id| id.0), "{json}");
        }
    }
}
