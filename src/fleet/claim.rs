//! Who claims a node: the instance that fills it, and the one on its way. Whatever counts rentals counts claims, so that none
//! of two is overlooked while a replacement is tried beside the tenant it is to replace.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    name::{InstanceId, NodeName},
    state::{Attempt, Fleet, Node, NodeState, Recovery, Stage, Tenant},
    units::Timestamp,
};

impl NodeState {
    /// The word used in the view, logs, metrics and documentation.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Vacant => "vacant",
            Self::Serving(_) => "serving",
            Self::Suspect { .. } => "suspect",
            Self::Remedying { .. } => "remedying",
            Self::Recovering(_) => "recovering",
            Self::Held { .. } => "held",
        }
    }

    /// The tenant, in the states that have one: also one that is kept until its replacement has proven itself, which is
    /// none yet.
    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        match self {
            Self::Serving(tenant) | Self::Suspect { tenant, .. } | Self::Remedying { tenant, .. } => {
                Some(tenant)
            }
            Self::Held { tenant, .. } => tenant.as_ref(),
            Self::Recovering(recovery) => recovery.kept.as_ref().map(|kept| &kept.tenant),
            Self::Vacant => None,
        }
    }

    /// Whom to probe: a newcomer on probation, else the tenant.
    #[must_use]
    pub fn probed(&self) -> Option<&Tenant> {
        match self {
            Self::Recovering(Recovery { stage: Stage::Probation { tenant, .. }, .. }) => Some(tenant),
            _ => self.tenant(),
        }
    }

    /// The newcomer, once it is up.
    #[must_use]
    pub fn newcomer(&self) -> Option<&Tenant> {
        match self {
            Self::Recovering(Recovery {
                stage: Stage::Deploying { tenant, .. } | Stage::Probation { tenant, .. },
                ..
            }) => Some(tenant),
            _ => None,
        }
    }

    /// The attempt and, where known, the instance on its way to the node in a recovery; the tenant's in every other state.
    #[must_use]
    pub fn claim(&self) -> Option<(&Attempt, Option<InstanceId>)> {
        match self {
            Self::Recovering(recovery) => recovery.stage.claim(),
            _ => self.tenant().map(of_tenant),
        }
    }

    /// Every rental that claims the node: one, or the kept tenant and its replacement.
    pub fn claims(&self) -> impl Iterator<Item = (&Attempt, Option<InstanceId>)> {
        let newcomer = match self {
            Self::Recovering(recovery) => recovery.stage.claim(),
            _ => None,
        };
        self.tenant().map(of_tenant).into_iter().chain(newcomer)
    }
}

impl Node {
    /// Every rental that claims the node: those of its state, and the one that is kept as the way back.
    pub fn claims(&self) -> impl Iterator<Item = (&Attempt, Option<InstanceId>)> {
        self.state.claims().chain(self.standby.as_ref().map(|standby| of_tenant(&standby.tenant)))
    }
}

fn of_tenant(tenant: &Tenant) -> (&Attempt, Option<InstanceId>) {
    (&tenant.rental, Some(tenant.instance))
}

impl Fleet {
    /// Every node that has a box, with its server's address.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<NodeName, SocketAddr> {
        let tenants = self.nodes.iter().filter_map(|(name, node)| Some((name, node.state.tenant()?)));
        tenants.map(|(name, tenant)| (name.clone(), tenant.address)).collect()
    }

    /// Every rental that claims a node.
    pub fn claims(&self) -> impl Iterator<Item = (&NodeName, &Attempt, Option<InstanceId>)> {
        self.nodes
            .iter()
            .flat_map(|(name, node)| node.claims().map(move |(attempt, instance)| (name, attempt, instance)))
    }
}

impl Stage {
    /// The word used in the view, logs, metrics and documentation.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Intent { .. } => "intent",
            Self::Unresolved { .. } => "unresolved",
            Self::Booting { .. } => "booting",
            Self::Deploying { .. } => "deploying",
            Self::Probation { .. } => "probation",
        }
    }

    /// Since when the recovery is in this stage.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        match self {
            Self::Started { since, .. }
            | Self::Unresolved { since, .. }
            | Self::Booting { since, .. }
            | Self::Deploying { since, .. }
            | Self::Probation { since, .. } => *since,
            Self::Intent { at, .. } => *at,
        }
    }

    /// The attempt and, where known, the instance on its way.
    #[must_use]
    pub fn claim(&self) -> Option<(&Attempt, Option<InstanceId>)> {
        match self {
            Self::Started { .. } => None,
            Self::Intent { attempt, .. } | Self::Unresolved { attempt, .. } => Some((attempt, None)),
            Self::Booting { attempt, instance, .. } => Some((attempt, Some(*instance))),
            Self::Deploying { tenant, .. } | Self::Probation { tenant, .. } => {
                Some((&tenant.rental, Some(tenant.instance)))
            }
        }
    }
}
