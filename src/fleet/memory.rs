//! What the keeper must learn anew after each start: health, lists, what is in flight. Nothing here survives, and nothing
//! a rail counts is here.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    breaker::Census,
    guard::Rail,
    name::{InstanceId, NodeName, OpId},
    offer::Offer,
    provider::{Credit, Inventory, ProviderFault, Rental},
    units::Timestamp,
    watch::Watch,
};

/// The volatile side of the core.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Health per node.
    pub watches: BTreeMap<NodeName, Watch>,
    /// Work in flight and what keeps a node back, per node.
    pub desks: BTreeMap<NodeName, Desk>,
    /// What the provider's lists taught.
    pub lists: Lists,
    /// How the destroying of each doomed instance goes.
    pub chases: BTreeMap<InstanceId, Chase>,
    /// Lists that lacked an unresolved create's label.
    pub absent: BTreeMap<OpId, Absent>,
    /// No recovery starts before this: the keeper has just started, or stalled.
    pub trust_from: Timestamp,
    /// The last self-check.
    pub self_check: Option<SelfCheck>,
    /// The account's credit, when last read.
    pub credit: Option<(Timestamp, Credit)>,
    /// Strays already told.
    pub strays_told: BTreeSet<InstanceId>,
    /// The last count of the fleet, kept for a second in large fleets.
    pub census: Option<(Timestamp, Census)>,
    /// Provider trouble already told, so that one outage gives one notice.
    pub outage_told: bool,
}

/// What the lists taught.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    /// Complete and plausible lists since the start.
    pub good: u32,
    /// When the last good one was begun.
    pub last_started_at: Option<Timestamp>,
    /// The last good list, by id.
    pub rows: BTreeMap<InstanceId, Rental>,
    /// The set that implausibly vanished, and how many lists in a row agreed on it.
    pub implausible: Option<(BTreeSet<InstanceId>, u32)>,
    /// Why the last try failed, if it did.
    pub fault: Option<ProviderFault>,
    /// Faults in a row.
    pub faults: u32,
}

/// Work in flight for one node.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    /// A search is out since then.
    pub searching_since: Option<Timestamp>,
    /// Offers found and not yet tried, best first, and when they were found.
    pub offers: Vec<Offer>,
    /// When `offers` were found.
    pub offers_at: Timestamp,
    /// A deploy or remedy is running.
    pub working: bool,
    /// What keeps the node back, as told.
    pub blocked: Option<Blocked>,
    /// Lists in a row in which the newcomer was missing or down.
    pub newcomer_bad_lists: u32,
    /// Whether the stage's overrun was told.
    pub overrun_told: bool,
    /// When the next look is already ordered.
    pub look_at: Option<Timestamp>,
}

/// A rail in the way, visible and told.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Blocked {
    /// Which.
    pub rail: Rail,
    /// Why, in words.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// When it may pass, if known.
    pub until: Option<Timestamp>,
}

/// How the destroying of one instance goes.
#[derive(Debug, Clone, Default)]
pub struct Chase {
    /// When DELETE was last sent.
    pub sent_at: Option<Timestamp>,
    /// Not again before this.
    pub not_before: Timestamp,
    /// Complete lists without it, begun after the acknowledgement.
    pub absent_lists: u32,
}

/// Lists that lacked a label.
#[derive(Debug, Clone, Copy)]
pub struct Absent {
    /// When the first of them was begun.
    pub first: Timestamp,
    /// How many.
    pub lists: u32,
}

/// Whether our own network works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct SelfCheck {
    /// When.
    pub at: Timestamp,
    /// Canaries that answered.
    pub answered: u32,
    /// Canaries asked.
    pub asked: u32,
}

impl Memory {
    /// A fresh memory at the keeper's start.
    #[must_use]
    pub fn starting(now: Timestamp, warm_up: std::time::Duration) -> Self {
        Self { trust_from: now.after(warm_up), ..Self::default() }
    }

    /// The node's health memory.
    pub fn watch(&mut self, node: &NodeName) -> &mut Watch {
        self.watches.entry(node.clone()).or_default()
    }

    /// The node's work in flight.
    pub fn desk(&mut self, node: &NodeName) -> &mut Desk {
        self.desks.entry(node.clone()).or_default()
    }

    /// What the last good list says of an instance.
    #[must_use]
    pub fn row(&self, instance: InstanceId) -> Option<&Rental> {
        self.lists.rows.get(&instance)
    }

    /// Takes a good list in.
    pub fn accept(&mut self, list: Inventory) {
        self.lists.good = self.lists.good.saturating_add(1);
        self.lists.last_started_at = Some(list.started_at);
        self.lists.rows = list.rentals.into_iter().map(|rental| (rental.id, rental)).collect();
        self.lists.implausible = None;
        self.lists.fault = None;
        self.lists.faults = 0;
    }
}
