//! The durable state: the fold of the journal, and nothing else.
//!
//! Data lives in the variant, so that a state cannot hold what it must not have. [`Fleet::apply`](super::apply) is the only
//! code that changes it, live and in replay alike.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    action::Actions,
    bill::Bill,
    breaker::Position,
    culprit::Attribution,
    deployed::{PairName, Placed, Quarantined},
    journal::{Cause, DoomReason, HeldReason, ReleaseRef},
    ledger::{Blamed, Strike},
    name::{HostId, IncidentId, InstanceId, MachineId, NodeName, OfferId, OpId},
    planted::{Bug, planted},
    policy::Rung,
    release::{Digest, Standing, short},
    standby::{Next, Standby},
    units::{Money, Timestamp},
};

/// Everything durable the keeper knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// The nodes that ever had a record and were not retired.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Condemned instances: destroyed until proven gone, never adopted again.
    pub doomed: BTreeMap<InstanceId, Doomed>,
    /// Every attempt to rent whose label may still show up, the given-up ones included.
    pub ops: BTreeMap<OpId, Op>,
    /// Attempts of before whose label should show up no more; should one, it is still known for ours.
    #[serde(default)]
    pub old_ops: BTreeSet<OpId>,
    /// Listed instances with our label of which this journal knows nothing, by the node that the label names.
    #[serde(default)]
    pub unknown: BTreeMap<InstanceId, NodeName>,
    /// Those of them that this journal knew as newcomers and let go of: they are in the way of their own node alone.
    #[serde(default)]
    pub let_go: BTreeSet<InstanceId>,
    /// This journal was new or old when somebody began to write in it: it may lack what was rented since.
    #[serde(default)]
    pub doubted: bool,
    /// When that was last found: what became of an attempt of before may have been written into another journal.
    #[serde(default)]
    pub doubted_at: Timestamp,
    /// Machines that failed us.
    pub blamed: Blamed,
    /// How the releases stand that were deployed or failed here.
    #[serde(default)]
    pub releases: BTreeMap<Digest, Standing>,
    /// Pairs of program and settings that a box went back from: healing deploys none of them.
    #[serde(default)]
    pub quarantine: BTreeMap<PairName, Quarantined>,
    /// The pair that was last verified by hand, on whichever node.
    #[serde(default)]
    pub verified: Option<Placed>,
    /// Where the nodes are reached, as it was last published.
    #[serde(default)]
    pub published: Option<BTreeMap<NodeName, SocketAddr>>,
    /// What each rental has cost, for the daily budget: those that may still be billed, and those that ended within 25 h.
    #[serde(default)]
    pub bills: BTreeMap<InstanceId, Bill>,
    /// What the rails count, of the last week.
    pub actions: Actions,
    /// The number of the next incident.
    pub next_incident: u64,
    /// Whether the provider takes our key.
    pub key_accepted: bool,
    /// Where the mass-failure breaker stands.
    pub breaker: Position,
    /// When the newest entry was journaled: the keeper's time never goes back behind it.
    #[serde(default)]
    pub latest: Timestamp,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            doomed: BTreeMap::new(),
            ops: BTreeMap::new(),
            old_ops: BTreeSet::new(),
            unknown: BTreeMap::new(),
            let_go: BTreeSet::new(),
            doubted: false,
            doubted_at: Timestamp(0),
            blamed: Blamed::default(),
            releases: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            verified: None,
            published: None,
            bills: BTreeMap::new(),
            actions: Actions::default(),
            next_incident: 1,
            key_accepted: true,
            breaker: Position::Normal,
            latest: Timestamp(0),
        }
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Where it stands.
    pub state: NodeState,
    /// Whether a person keeps healing away from it.
    pub paused: Option<Pause>,
    /// The open incident: from the first failed probe that mattered to healthy again, across states.
    pub incident: Option<Incident>,
    /// Which soft remedies were last tried on its box, and when: one that helps only for a while must not be tried without end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remedied: Vec<Remedied>,
    /// When its present or last tenant was adopted.
    pub adopted_at: Option<Timestamp>,
    /// Whether its last recovery replaced a failed tenant; the cooldown counts from `adopted_at` then.
    pub was_replaced: bool,
    /// What was last deployed on it with success.
    pub release: Option<ReleaseRef>,
    /// The pair that was last verified on it by hand: what healing puts there again.
    #[serde(default)]
    pub placed: Option<Placed>,
    /// What the newcomer of a blue-green replacement is given.
    #[serde(default)]
    pub next: Option<Next>,
    /// The tenant before, kept as the way back after a blue-green replacement.
    #[serde(default)]
    pub standby: Option<Standby>,
    /// The group whose spare it is, if it is one.
    #[serde(default)]
    pub spare_of: Option<String>,
}

/// A soft remedy that was tried on a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedied {
    /// On which.
    pub instance: InstanceId,
    /// Which.
    pub rung: Rung,
    /// When it began.
    pub at: Timestamp,
}

impl Node {
    /// Whether a rung was tried in the open incident, or on the same box within `again` where it works on the box itself. What
    /// the provider is asked for, a start or a higher bid, is a matter of the market and not of a box that breaks time and again.
    #[must_use]
    pub fn was_tried(&self, rung: Rung, now: Timestamp, again: Duration) -> bool {
        let incident = self.incident.as_ref().is_some_and(|incident| incident.tried.contains(&rung));
        let instance = self.state.tenant().map(|tenant| tenant.instance);
        let lately =
            |old: &Remedied| old.rung == rung && Some(old.instance) == instance && now.since(old.at) < again;
        incident || (self.remedied.iter().any(lately) && !planted(Bug::RemedyWithoutEnd))
    }

    pub(super) fn note_remedy(&mut self, rung: Rung, instance: InstanceId, at: Timestamp) {
        self.remedied.retain(|old| old.instance == instance && old.rung != rung);
        if matches!(rung, Rung::RestartServer | Rung::Redeploy | Rung::Reboot) {
            self.remedied.push(Remedied { instance, rung, at });
        }
    }

    /// A newcomer did not take the node: what runs there is what the kept tenant runs, which is unknown where that was taken over.
    /// It must not pass for what the newcomer failed with.
    pub(super) fn remember_kept_release(&mut self) {
        let NodeState::Recovering(Recovery { kept: Some(kept), .. }) = &self.state else { return };
        self.release.clone_from(&kept.release);
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            state: NodeState::Vacant,
            paused: None,
            incident: None,
            remedied: Vec::new(),
            adopted_at: None,
            was_replaced: false,
            release: None,
            placed: None,
            next: None,
            standby: None,
            spare_of: None,
        }
    }
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum NodeState {
    /// Nothing fills it.
    Vacant,
    /// Its tenant serves.
    Serving(Tenant),
    /// Its tenant failed often enough; evidence is being gathered.
    Suspect {
        /// The tenant under suspicion.
        tenant: Tenant,
        /// Since when.
        since: Timestamp,
    },
    /// A soft remedy is at work on its tenant.
    Remedying {
        /// The tenant.
        tenant: Tenant,
        /// The remedy.
        rung: Rung,
        /// Since when.
        since: Timestamp,
        /// Until when.
        deadline: Timestamp,
    },
    /// A new instance is on its way.
    Recovering(Recovery),
    /// It waits for a human.
    Held {
        /// Why.
        reason: HeldReason,
        /// Its tenant, where it still has one.
        tenant: Option<Tenant>,
        /// Since when.
        since: Timestamp,
    },
}

/// The instance that fills a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// The instance and how it came to be.
    pub rental: Attempt,
    /// The instance's id.
    pub instance: InstanceId,
    /// Where its server is published.
    pub address: SocketAddr,
}

/// One attempt to rent: what the intent said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id.
    pub op: OpId,
    /// The offer taken.
    pub offer: OfferId,
    /// Its machine.
    pub machine: MachineId,
    /// Its host.
    pub host: HostId,
    /// Dollars per hour.
    pub price: Money,
    /// GPU, region, reliability in words.
    pub text: String,
    /// What was last bid for it, in dollars per hour without storage; `None` on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bid: Option<Money>,
}

/// A recovery under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub since: Timestamp,
    /// Failed attempts so far.
    pub attempts: u32,
    /// Since when the present attempt looks for something to rent, over all creates that rented nothing.
    pub seeking_since: Timestamp,
    /// What the tenant before cost an hour, for the price step rail and the closing message.
    pub previous_price: Option<Money>,
    /// The tenant that is kept until a newcomer takes its place, where the order is create-first.
    #[serde(default)]
    pub kept: Option<Box<Kept>>,
    /// How far.
    pub stage: Stage,
}

/// A tenant that is replaced, but not before a newcomer has proven itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The tenant.
    pub tenant: Tenant,
    /// Why it will be condemned then.
    pub doom: DoomReason,
    /// What runs on it: the node's own memory is the newcomer's meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseRef>,
}

/// How far a recovery is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "stage")]
pub enum Stage {
    /// Waiting for the old instance's destroy to be acknowledged, for the rails, for an offer.
    Started {
        /// Since when.
        since: Timestamp,
        /// Nothing is rented before this.
        not_before: Timestamp,
    },
    /// A create is journaled, and sent or about to be.
    Intent {
        /// What.
        attempt: Attempt,
        /// When.
        at: Timestamp,
    },
    /// The create's outcome is unknown: complete lists begun after `since` decide.
    Unresolved {
        /// What.
        attempt: Attempt,
        /// Since when.
        since: Timestamp,
    },
    /// Rented, on its way up.
    Booting {
        /// What.
        attempt: Attempt,
        /// The instance.
        instance: InstanceId,
        /// Since when.
        since: Timestamp,
    },
    /// Up, being deployed to.
    Deploying {
        /// The newcomer.
        tenant: Tenant,
        /// Since when.
        since: Timestamp,
    },
    /// Deployed, to prove itself.
    Probation {
        /// The newcomer.
        tenant: Tenant,
        /// Since when.
        since: Timestamp,
    },
}

/// A condemned instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Doomed {
    /// The node it filled or was to fill, if known.
    pub node: Option<NodeName>,
    /// Why.
    pub reason: DoomReason,
    /// Since when.
    pub since: Timestamp,
    /// When the provider accepted a destroy, if it did.
    pub acknowledged_at: Option<Timestamp>,
    /// What it costs an hour while it lives.
    pub price: Money,
}

/// What became of an attempt to rent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Op {
    /// Whose.
    pub node: NodeName,
    /// When its intent was journaled.
    pub at: Timestamp,
    /// The instance it rented, once known.
    pub instance: Option<InstanceId>,
    /// When that was said to be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<Timestamp>,
    /// It is known by an import alone: it may have rented another box as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported: bool,
    /// Lists say that it rented nothing, the provider never did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
}

impl Op {
    /// One of which nothing is known yet.
    pub(super) fn new(node: &NodeName, at: Timestamp) -> Self {
        Self { node: node.clone(), at, instance: None, gone_at: None, imported: false, given_up: false }
    }
}

/// A machine that failed us.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blame {
    /// Its owner.
    pub host: HostId,
    /// How often it failed us.
    pub count: u32,
    /// The last failure.
    pub detail: String,
    /// Not rented before this.
    pub until: Timestamp,
    /// Its failures one by one, oldest first.
    #[serde(default)]
    pub strikes: Vec<Strike>,
}

/// A person's pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when at most.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// An open incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// Why it began.
    pub cause: Cause,
    /// When it was recognised.
    pub opened_at: Timestamp,
    /// The first failed probe.
    pub first_failure_at: Timestamp,
    /// What the tenant cost an hour when it began.
    pub price_before: Option<Money>,
    /// Remedies already tried, in order.
    pub tried: Vec<Rung>,
    /// Who is at fault, as far as was compared.
    #[serde(default)]
    pub attribution: Option<Attribution>,
}

impl Fleet {
    /// Whether an attempt is older than the last doubt about this journal: where that is an old copy, what the attempt rented may
    /// serve by now, whatever is on record of it.
    #[must_use]
    pub fn predates_doubt(&self, op: &OpId) -> bool {
        self.ops.get(op).is_some_and(|known| known.at <= self.doubted_at)
    }

    /// Why a release may go nowhere, where healing found it at fault.
    #[must_use]
    pub fn fault_of(&self, digest: &str) -> Option<String> {
        let condemned = self.releases.get(digest)?.condemned.as_ref()?;
        Some(format!("release {} is at fault: {}", short(digest), condemned.evidence))
    }

    /// Whether a release was ever seen serving here.
    #[must_use]
    pub fn is_proven(&self, digest: &str) -> bool {
        let stands = self.releases.get(digest).is_some_and(|standing| standing.proven_at.is_some());
        // While a node is healed or recovers, what was last put there has still to prove itself.
        let serves = |node: &Node| {
            matches!(node.state, NodeState::Serving(_))
                && node.release.as_ref().is_some_and(|release| release.digest == digest)
        };
        stands || self.nodes.values().any(serves)
    }
}

impl Attempt {
    /// The offer of a rental that was taken over: nobody knows which it was, and the provider gives none this number.
    pub const UNKNOWN_OFFER: OfferId = OfferId(0);

    /// Whether it was taken over and not rented by this journal.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.offer == Self::UNKNOWN_OFFER
    }
}
