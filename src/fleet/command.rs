//! What the core orders: effects, which the executor performs and reports as events.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::{
    deployed::Placed,
    name::{IncidentId, InstanceId, Label, NodeName},
    offer::Offer,
    planted::{Bug, planted},
    policy::Rung,
    release::Digest,
    state::Tenant,
    units::{Money, Timestamp},
};

/// An effect the core wants. The executor performs it once and reports the outcome as an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Ask for offers.
    Search {
        /// For which node.
        node: NodeName,
    },
    /// Rent; sent at most once per op.
    Create {
        /// For which node.
        node: NodeName,
        /// The offer.
        offer: Box<Offer>,
        /// The label, which holds the op.
        label: Label,
    },
    /// Destroy a doomed instance.
    Destroy {
        /// Which.
        instance: InstanceId,
    },
    /// Let an instance run that the provider stopped; repeating it is harmless.
    Start {
        /// On which node.
        node: NodeName,
        /// Which.
        instance: InstanceId,
        /// What is bid for it before, in dollars per hour without storage; `None` leaves the bid as it is.
        bid: Option<Money>,
    },
    /// Give an instance the label of the node that it fills now.
    Relabel {
        /// Which.
        instance: InstanceId,
        /// The label, with the op it always had.
        label: Label,
    },
    /// Register our SSH key with the instance.
    AttachKey {
        /// Which.
        instance: InstanceId,
    },
    /// Deploy the wanted release.
    Deploy {
        /// On which node.
        node: NodeName,
        /// Who runs there.
        tenant: Tenant,
        /// Which release.
        release: Chosen,
        /// The deploy must have ended by then.
        deadline: Timestamp,
    },
    /// Perform a soft remedy.
    Remedy {
        /// On which node.
        node: NodeName,
        /// Who runs there.
        tenant: Tenant,
        /// Which.
        rung: Rung,
        /// The release of a redeploy, as for a deploy.
        release: Chosen,
        /// It must have ended by then.
        deadline: Timestamp,
    },
    /// Abandon the work on a node: its instance is doomed.
    StopWork {
        /// Which node.
        node: NodeName,
    },
    /// Ask the box itself over SSH whether its server lives.
    AskWitness {
        /// Which node.
        node: NodeName,
        /// Who runs there.
        tenant: Tenant,
    },
    /// Let a server go on that work which died has left in maintenance; its box knows whether that is so.
    EndMaintenance {
        /// Which node.
        node: NodeName,
        /// Who runs there.
        tenant: Tenant,
    },
    /// Take down what a condemned box shows of its end.
    TakeEvidence {
        /// The node it filled or was to fill.
        node: NodeName,
        /// The box.
        instance: InstanceId,
        /// The incident, if one is open.
        incident: Option<IncidentId>,
        /// What the keeper knows of it, in words.
        known: String,
        /// It is destroyed after this, whatever has come.
        limit: Duration,
    },
    /// Publish where the nodes are reached.
    Publish {
        /// Every node that has a box, with its server's address.
        addresses: BTreeMap<NodeName, SocketAddr>,
    },
    /// Read the provider's list now.
    List,
    /// Read the account's credit.
    ReadCredit,
    /// Read what the provider charged since then.
    ReadCharges {
        /// The start of a day in UTC.
        from: Timestamp,
    },
    /// Ask the canaries.
    CheckSelf,
}

/// Which release a deploy brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// The configured one, with the digest by which it was judged fit. Another that is configured by the time the deploy
    /// begins is judged first.
    Configured(Option<Digest>),
    /// The one that was verified for the node before, where it is not the configured one.
    Verified(Placed),
}

impl Chosen {
    /// The release's digest, where it is known beforehand.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Configured(judged) => judged.as_ref(),
            Self::Verified(release) => Some(&release.digest),
        }
    }
}

impl Command {
    /// The word used in logs and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Search { .. } => "search",
            Self::Create { .. } => "create",
            Self::Destroy { .. } => "destroy",
            Self::Start { bid: Some(_), .. } => "raise-bid",
            Self::Start { bid: None, .. } => "start",
            Self::Relabel { .. } => "relabel",
            Self::AttachKey { .. } => "attach-key",
            Self::Deploy { .. } => "deploy",
            Self::Remedy { .. } => "remedy",
            Self::StopWork { .. } => "stop-work",
            Self::AskWitness { .. } => "ask-witness",
            Self::EndMaintenance { .. } => "end-maintenance",
            Self::TakeEvidence { .. } => "take-evidence",
            Self::Publish { .. } => "publish",
            Self::List => "list",
            Self::ReadCredit => "read-credit",
            Self::ReadCharges { .. } => "read-charges",
            Self::CheckSelf => "check-self",
        }
    }

    /// Whether it changes anything at the provider, on a box or in its server; refused in observe-only mode.
    #[must_use]
    pub fn changes_something(&self) -> bool {
        self.is_drastic()
            || matches!(self, Self::AttachKey { .. } | Self::Publish { .. } | Self::EndMaintenance { .. })
    }

    /// Whether it costs money or destroys; such a command expires.
    #[must_use]
    pub fn is_drastic(&self) -> bool {
        match self {
            Self::Create { .. }
            | Self::Destroy { .. }
            | Self::Start { .. }
            | Self::Relabel { .. }
            | Self::Deploy { .. }
            | Self::Remedy { .. } => true,
            Self::Search { .. }
            | Self::AttachKey { .. }
            | Self::StopWork { .. }
            | Self::AskWitness { .. }
            | Self::EndMaintenance { .. }
            | Self::TakeEvidence { .. }
            | Self::Publish { .. }
            | Self::List
            | Self::ReadCredit
            | Self::ReadCharges { .. }
            | Self::CheckSelf => false,
        }
    }
}

/// Whether a command may still be sent. Asked right before the send, by the boot-time clock: a keeper that stood still in
/// between acts on nothing stale.
#[must_use]
pub fn in_time(now: Timestamp, not_after: Timestamp) -> bool {
    now <= not_after || planted(Bug::NoExpiry)
}
