//! What the keeper must learn anew after each start: health, lists, what is in flight. Nothing here survives, and nothing
//! a rail counts is here.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    breaker::Census,
    guard::Rail,
    journal::ReleaseRef,
    lateness::Lateness,
    lists::Lists,
    name::{FleetName, InstanceId, NodeName, OfferId, OpId},
    offer::Offer,
    policy::HealthPolicy,
    provider::{Credit, Inventory, Rental},
    release::Digest,
    units::{Money, Timestamp},
    watch::{Watch, observed_for},
};

/// Replacements whose duration is remembered: enough for a median, few enough to follow the market.
const RECOVERIES_REMEMBERED: usize = 15;

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
    /// When a promoted spare was last given its new label.
    pub relabelled_at: BTreeMap<InstanceId, Timestamp>,
    /// How many complete lists lacked an unresolved create's label.
    pub absent: BTreeMap<OpId, u32>,
    /// No recovery starts before this: the keeper has just started, or stalled.
    pub trust_from: Timestamp,
    /// Whether the journal was looked at as this process found it, before anything was added to it.
    pub journal_weighed: bool,
    /// When the keeper started, or its last stall ended: work that went on without it gets some time more.
    pub awake_from: Timestamp,
    /// When the configuration was last read: probes run by its intervals from then on.
    pub policy_from: Timestamp,
    /// Whether nodes that should be probed are not, and when that was last looked at.
    pub blindness: Blindness,
    /// What was told of money and of a mass replacement, and when that was last looked at.
    pub money: MoneyTold,
    /// What was asked and told of the provider's charges.
    pub charges: ChargesTold,
    /// How long the last replacements took, from the decision to healthy.
    pub recovery_times: VecDeque<Duration>,
    /// Whether our own probes start on time.
    pub lateness: Lateness,
    /// When it was last told that they do not.
    pub lateness_told_at: Option<Timestamp>,
    /// Searches that are out, and since when.
    pub searches: BTreeMap<NodeName, Timestamp>,
    /// Offers that were gone when tried, and until when they are passed over: a search goes on showing them for a while.
    pub gone_offers: BTreeMap<OfferId, Timestamp>,
    /// How publishing the nodes' addresses goes.
    pub publishing: Publishing,
    /// Why the wanted release cannot be deployed yet; `None` once it is prepared.
    pub release_missing: Option<String>,
    /// The wanted release, once it was prepared.
    pub release: Option<ReleaseRef>,
    /// The name under which it would stand on a box.
    pub release_name: Option<String>,
    /// The last self-check.
    pub self_check: Option<SelfCheck>,
    /// When the canaries were last asked because a rail wanted to know.
    pub self_asked_at: Option<Timestamp>,
    /// The account's credit, when last read.
    pub credit: Option<(Timestamp, Credit)>,
    /// When the credit was last asked for because a rail wanted to know.
    pub credit_asked_at: Option<Timestamp>,
    /// When the credit rose over the floor again.
    pub paid_at: Option<Timestamp>,
    /// Rails that concern the whole fleet, and when each was last told: one notice serves all nodes.
    pub rails_told: BTreeMap<Rail, Timestamp>,
    /// Boxes that should be replaced, and may not be, already told.
    pub leaving_told: BTreeSet<InstanceId>,
    /// Instances that did not prove to be what their label says; tried again after a start.
    pub import_refused: BTreeSet<InstanceId>,
    /// Strays already told.
    pub strays_told: BTreeSet<InstanceId>,
    /// Ways back that are open for too long, already told.
    pub ways_back_told: BTreeSet<InstanceId>,
    /// The last count of the fleet, kept for a second in large fleets.
    pub census: Option<(Timestamp, Census)>,
    /// Provider trouble already told, so that one outage gives one notice.
    pub outage_told: bool,
}

/// What was told of money, so that each trouble gives one notice and its end another.
#[derive(Debug, Clone, Copy, Default)]
pub struct MoneyTold {
    /// When this was last looked at.
    pub looked_at: Timestamp,
    /// That the credit does not last.
    pub runway: bool,
    /// That the wanted fleet costs more than the caps allow.
    pub caps: bool,
    /// How long a mass replacement takes.
    pub plan: bool,
}

/// What was asked and told of the provider's charges.
#[derive(Debug, Clone, Default)]
pub struct ChargesTold {
    /// They are asked for not before this.
    pub next_at: Timestamp,
    /// Failed readings in a row.
    pub faults: u32,
    /// Dollars beyond the ledger that were told, by instance.
    pub excess: BTreeMap<InstanceId, Money>,
}

/// Whether the keeper itself fails to probe.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blindness {
    /// When this was last looked at.
    pub looked_at: Timestamp,
    /// Whether it was told, so that one episode gives one notice.
    pub told: bool,
}

/// A spare's box that was given to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promotion {
    /// Which.
    pub instance: InstanceId,
    /// Whether its label named the node before: the journal is older than a promotion, and it may have served there since.
    pub again: bool,
}

/// Work in flight for one node.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    /// No search before this: the last one failed or found nothing.
    pub search_after: Timestamp,
    /// Offers found and not yet tried, best first, and when they were found.
    pub offers: Vec<Offer>,
    /// When `offers` were found.
    pub offers_at: Timestamp,
    /// A deploy or remedy is running.
    pub working: bool,
    /// The release of the last deploy or remedy that was ordered; `None` where nothing was known to be configured.
    pub brings: Option<Digest>,
    /// A newcomer's deploy could not begin before this: a rail was in the way, and its time counts from here.
    pub deploy_from: Timestamp,
    /// The next deploy is not begun before this: the outcome of the last one was unknown.
    pub work_after: Timestamp,
    /// What keeps the node back now.
    pub blocked: Option<Blocked>,
    /// What was told in the present episode.
    pub episode: Episode,
    /// Creates in a row whose offer was gone: the market moves faster than searches show.
    pub gone_in_a_row: u32,
    /// Creates in a row that were refused for the key's sake although lists are answered.
    pub key_refusals: u32,
    /// When the provider was last asked to let a stopped box of the node run.
    pub start_asked_at: Timestamp,
    /// Lists that began before this say nothing of whether the node's box runs.
    pub lists_from: Timestamp,
    /// When our key was last attached because the box did not let us in.
    pub key_attached_at: Timestamp,
    /// Lists in a row in which the newcomer was missing or down.
    pub newcomer_bad_lists: u32,
    /// The booting newcomer that all lists between these two times showed as not up yet.
    pub never_up: Option<(InstanceId, Timestamp, Timestamp)>,
    /// The spare's box that this process put on probation at the node.
    pub promoted: Option<Promotion>,
    /// When the next look is already ordered.
    pub look_at: Option<Timestamp>,
}

/// From trouble to its end: what a human was told of it, so that each thing is told once.
#[derive(Debug, Clone, Default)]
pub struct Episode {
    /// Rails met, since when, and whether that was told.
    pub rails: BTreeMap<Rail, Sighting>,
    /// Whether the overrun of a stage was told.
    pub overrun_told: bool,
    /// Whether a witness's veto was told.
    pub veto_told: bool,
    /// Whether it is on record that others bid more than may be bid.
    pub too_dear_noted: bool,
    /// Whether it was told what would be done, were the keeper not only observing.
    pub would_told: bool,
}

/// A rail met in an episode.
#[derive(Debug, Clone, Copy)]
pub struct Sighting {
    /// When first.
    pub since: Timestamp,
    /// Whether it was told.
    pub told: bool,
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
    /// DELETE is not sent before this.
    pub next_at: Timestamp,
    /// Complete lists without it, begun after the acknowledgement.
    pub absent_lists: u32,
    /// Its evidence is being taken; DELETE waits for that, at most until `next_at`.
    pub wants_evidence: bool,
    /// Whether a human was told that it does not go away, or may not be destroyed.
    pub told: bool,
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

/// How publishing the nodes' addresses goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publishing {
    /// When the attempt under way began.
    pub since: Option<Timestamp>,
    /// Not before this is the next one made.
    pub not_before: Timestamp,
    /// Failures in a row.
    pub failures: u32,
    /// Whether it succeeded since the start.
    pub done: bool,
}

impl Memory {
    /// A fresh memory at the keeper's start.
    #[must_use]
    pub fn starting(now: Timestamp, warm_up: Duration) -> Self {
        let lists = Lists { valid_from: now, ..Lists::default() };
        Self { trust_from: now.after(warm_up), awake_from: now, lists, ..Self::default() }
    }

    /// The node's health memory.
    pub fn watch(&mut self, node: &NodeName) -> &mut Watch {
        self.watches.entry(node.clone()).or_default()
    }

    /// The node's work in flight.
    pub fn desk(&mut self, node: &NodeName) -> &mut Desk {
        self.desks.entry(node.clone()).or_default()
    }

    /// Since when a node that should be probed has gone unobserved, where that is too long. One that was never observed
    /// counts from when it could be probed at the earliest.
    #[must_use]
    pub fn unobserved_since(
        &self,
        watch: Option<&Watch>,
        health: &HealthPolicy,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let seen = watch.map_or(Timestamp(0), |watch| {
            watch.last.as_ref().map_or(watch.from, |last| last.at.max(watch.from))
        });
        let since = seen.max(self.awake_from).max(self.policy_from);
        (now.since(since) > observed_for(health)).then_some(since)
    }

    /// Remembers how long a replacement took.
    pub fn recovered_in(&mut self, took: Duration) {
        self.recovery_times.push_back(took);
        while self.recovery_times.len() > RECOVERIES_REMEMBERED {
            self.recovery_times.pop_front();
        }
    }

    /// The median of the last replacements' durations.
    #[must_use]
    pub fn typical_recovery(&self) -> Option<Duration> {
        let mut times: Vec<Duration> = self.recovery_times.iter().copied().collect();
        times.sort();
        times.get(times.len() / 2).copied()
    }

    /// What the last good list says of an instance.
    #[must_use]
    pub fn row(&self, instance: InstanceId) -> Option<&Rental> {
        self.lists.rows.get(&instance)
    }

    /// Takes a good list in; `fleet` tells our labels from others.
    pub fn accept(&mut self, list: Inventory, fleet: &FleetName) {
        let labels = list.rentals.iter().map(|rental| (rental.id, &rental.label));
        // Most lists bear the labels of the one before, and a fleet's name never changes while the keeper runs.
        if !labels.eq(self.lists.rows.values().map(|row| (row.id, &row.label))) {
            self.lists.take_labels(&list.rentals, fleet);
        }
        self.lists.good = self.lists.good.saturating_add(1);
        self.lists.first_started_at.get_or_insert(list.started_at);
        self.lists.last_started_at = Some(list.started_at);
        self.lists.rows = list.rentals.into_iter().map(|rental| (rental.id, rental)).collect();
        self.lists.implausible = None;
        self.lists.fault = None;
        self.lists.faults = 0;
    }
}
