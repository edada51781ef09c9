//! What must always hold, judged by the truth of the world and by counts of the judge's own, never by what the core
//! believes of itself.

mod alerts;
mod census;
mod decided;
mod lists;
mod sent;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{MINUTE, World};
use crate::fleet::{
    journal::Cause,
    name::{HostId, InstanceId, MachineId, NodeName, OpId},
    policy::{ReplaceOrder, Rung},
    probe::{Observation, Verdict},
    state::{NodeState, Recovery},
    units::{Money, Timestamp},
};

/// A promise of the keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Invariant {
    /// 1. At most one claimed rental per node, two only while a replacement is prepared beside the old one.
    OneClaim,
    /// 2. The intent is durable before its effect: intent before create, doom before destroy.
    IntentFirst,
    /// 3. No box is replaced that was well, and the evidence is as old as the keeper's last start or stall at most.
    NoWrongKill,
    /// 4. Creates and recoveries stay under their caps and cooldowns, counted at the send; no machine is rented that is
    ///    excluded, and a bad release costs no more boxes than are tried with one.
    Rate,
    /// 5. No second create while another rental of the node lives or is on its way.
    NoSecondCreate,
    /// 6. DELETE only for what is doomed and ours.
    Ownership,
    /// 7. One send per op.
    OneSend,
    /// 8. Once faults stop, everything serves again or waits for a person who was told.
    Liveness,
    /// 9. The fold of the journal's text is the state, after each crash and at the end.
    Fold,
    /// 10. Mass sickness slows healing down, total sickness holds it.
    MassAction,
    /// 11. What is said to be gone is gone, unless a list lied a moment ago.
    GoneIsTrue,
    /// 12. Every living rental with our label is claimed, doomed, or doomed within three believed lists that show it.
    NoStray,
    /// 13. Doom is monotone: never adopted again, and it ends only by proof of the end.
    MonotoneDoom,
    /// 14. Nothing is sent after its expiry, but for a pause between the check and the send.
    Expiry,
    /// 15. One keeper at a time: not modelled, the product has a lock on its state instead of a lease.
    Fence,
    /// 16. No rental above the caps on price, dollars an hour and dollars a day.
    Budget,
    /// 17. Paused and held nodes are left alone.
    Silence,
    /// 18. Every start and end of an incident, hold and move of the breaker is told, once.
    AlertsComplete,
    /// 19. Adoption only after enough healthy answers of this very op.
    Identity,
    /// 20. No secret in a record or notice: not modelled, the core is never given one.
    Secrets,
    /// 21. The same seed gives the same hash.
    Determinism,
    /// 22. Every case that must come in a campaign came.
    NotVacuous,
}

impl Invariant {
    /// Its number in the list.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32 + 1
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {} ({self:?})", self.number())
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// How far into the run, in simulated milliseconds.
    pub after_ms: u64,
    /// What happened.
    pub detail: String,
}

/// An intent on record.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub node: usize,
    pub price: Money,
    pub bid: Option<Money>,
    /// By the keeper's clock.
    pub at: Timestamp,
    pub replacement: bool,
    pub sent: bool,
    /// It certainly rented nothing.
    pub failed: bool,
}

/// A rental as the journal's own words tell it, for the budget.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    pub price: Money,
    pub from: Timestamp,
    pub to: Option<Timestamp>,
}

/// Boxes that a bad release cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lost {
    pub release: u32,
    pub boxes: u32,
}

/// What the journal says of a machine that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Excluded {
    pub at: Timestamp,
    pub until: Timestamp,
}

/// What the judge saw of one node's health, as delivered to the keeper that lives now.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub identity: Option<OpId>,
    pub failures: u32,
    pub successes: u32,
    /// World time of the first failed probe of the present run, and of the last probe.
    pub first_failure: Option<u64>,
    /// Probes that began before this, in world time, say nothing any more.
    pub from: u64,
    pub last: Option<u64>,
}

/// The judge's own books.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    pub violation: Option<Violation>,
    pub foreign: BTreeSet<InstanceId>,
    tickets: Vec<Ticket>,
    ticket_of: BTreeMap<OpId, usize>,
    /// Those of the tickets that a window may still count begin here.
    counted_from: usize,
    pub accounts: BTreeMap<InstanceId, Account>,
    /// What rentals cost before their price changed.
    pub closed_accounts: VecDeque<Account>,
    /// The last bid on record for each interruptible rental.
    pub bids: BTreeMap<InstanceId, Money>,
    pub op_of: BTreeMap<InstanceId, OpId>,
    pub doomed: BTreeSet<InstanceId>,
    pub gone: BTreeSet<InstanceId>,
    /// Ops whose answer was withheld.
    pub doubted: BTreeSet<OpId>,
    /// Creates that the provider will still execute, with their node.
    pub on_their_way: BTreeMap<OpId, usize>,
    pub seen: Vec<Seen>,
    /// The last start of a recovery of a filled node, by the keeper's clock.
    pub last_start: Option<Timestamp>,
    /// When each node was last replaced, by the keeper's clock.
    pub replaced_at: Vec<Option<Timestamp>>,
    /// When each remedy that keeps the box last began, by node, box and rung.
    pub remedied: BTreeMap<(NodeName, InstanceId, Rung), Timestamp>,
    pub ever_filled: Vec<bool>,
    /// Spares that gave their box away and are to be filled anew.
    pub to_refill: BTreeSet<usize>,
    pub incidents: BTreeSet<u64>,
    pub closed: BTreeSet<u64>,
    pub lost: Lost,
    /// By host and machine.
    pub excluded: BTreeMap<HostId, BTreeMap<MachineId, Excluded>>,
    pub rails_seen_at: u64,
    /// Whether the breaker holds, by the journal.
    pub held: bool,
}

impl Judge {
    pub fn new(nodes: usize) -> Self {
        Self {
            violation: None,
            foreign: BTreeSet::new(),
            tickets: Vec::new(),
            ticket_of: BTreeMap::new(),
            counted_from: 0,
            accounts: BTreeMap::new(),
            closed_accounts: VecDeque::new(),
            bids: BTreeMap::new(),
            remedied: BTreeMap::new(),
            op_of: BTreeMap::new(),
            doomed: BTreeSet::new(),
            gone: BTreeSet::new(),
            doubted: BTreeSet::new(),
            on_their_way: BTreeMap::new(),
            seen: vec![Seen::default(); nodes],
            last_start: None,
            replaced_at: vec![None; nodes],
            ever_filled: vec![false; nodes],
            to_refill: BTreeSet::new(),
            incidents: BTreeSet::new(),
            closed: BTreeSet::new(),
            lost: Lost::default(),
            excluded: BTreeMap::new(),
            rails_seen_at: 0,
            held: false,
        }
    }

    /// The journal is lost: what it said binds nobody any more. What the provider will still do stays true.
    pub fn state_lost(&mut self) {
        let (foreign, on_their_way) =
            (std::mem::take(&mut self.foreign), std::mem::take(&mut self.on_their_way));
        *self =
            Self { violation: self.violation.take(), foreign, on_their_way, ..Self::new(self.seen.len()) };
    }

    /// A copy takes the journal's place: what was said since binds nobody. What the provider will still do stays true.
    pub fn state_restored(&mut self, copied: Self) {
        let (foreign, on_their_way) =
            (std::mem::take(&mut self.foreign), std::mem::take(&mut self.on_their_way));
        *self = Self { violation: self.violation.take(), foreign, on_their_way, ..copied };
    }

    /// The first violation ends the run.
    pub fn broken(&mut self, invariant: Invariant, after_ms: u64, detail: String) {
        self.violation.get_or_insert(Violation { invariant, after_ms, detail });
    }

    /// Evidence starts anew with each life of the keeper.
    pub fn keeper_started(&mut self) {
        self.seen.iter_mut().for_each(|seen| *seen = Seen::default());
    }

    /// A stall makes the evidence stale.
    pub fn keeper_stalled(&mut self, now: u64) {
        (0..self.seen.len()).for_each(|place| self.start_over(place, now));
    }

    pub fn retargeted(&mut self, place: usize, identity: Option<&OpId>) {
        if let Some(seen) = self.seen.get_mut(place)
            && seen.identity.as_ref() != identity
        {
            *seen = Seen { identity: identity.cloned(), ..Seen::default() };
        }
    }

    /// The evidence of a node starts anew: something was done to its server.
    pub fn start_over(&mut self, place: usize, now: u64) {
        if let Some(seen) = self.seen.get_mut(place) {
            *seen = Seen { identity: seen.identity.take(), from: now, ..Seen::default() };
        }
    }

    /// The same, if the node fails its probes.
    pub fn start_over_failing(&mut self, place: usize, now: u64) {
        if self.seen.get(place).is_some_and(|seen| seen.failures > 0) {
            self.start_over(place, now);
        }
    }

    /// A probe's result reaches the keeper.
    pub fn saw(&mut self, place: usize, observation: &Observation, now: u64) {
        let Some(seen) = self.seen.get_mut(place) else { return };
        if seen.identity.as_ref() != Some(&observation.identity) {
            return;
        }
        // Quick answers arrive in the very moment; the others were as long on their way as they took.
        let took = u64::try_from(observation.took.as_millis()).unwrap_or_default();
        let started = if took < 100 { now } else { now.saturating_sub(took) };
        if started < seen.from {
            return;
        }
        seen.last = Some(now);
        match observation.verdict {
            Verdict::Healthy => {
                (seen.failures, seen.successes, seen.first_failure) = (0, seen.successes + 1, None)
            }
            Verdict::Maintenance => (seen.failures, seen.first_failure) = (0, None),
            Verdict::Failing(_) => {
                seen.failures += 1;
                seen.successes = 0;
                seen.first_failure.get_or_insert(started);
            }
        }
    }

    /// Whether the rails in the way are to be counted now.
    pub fn look_at_rails(&self, now: u64) -> Option<u64> {
        (now >= self.rails_seen_at + 5 * MINUTE).then_some(now)
    }

    /// Keeps an intent; `false` if there was one of this op.
    pub fn intended(&mut self, op: &OpId, ticket: Ticket) -> bool {
        let first = self.ticket_of.insert(op.clone(), self.tickets.len()).is_none();
        self.tickets.push(ticket);
        first
    }

    pub fn ticket(&self, op: &OpId) -> Option<&Ticket> {
        self.tickets.get(*self.ticket_of.get(op)?)
    }

    pub fn ticket_mut(&mut self, op: &OpId) -> Option<&mut Ticket> {
        self.tickets.get_mut(*self.ticket_of.get(op)?)
    }

    /// What was intended in the last `window`; what is older is never looked at again.
    pub fn intended_within(&mut self, window: Duration, now: Timestamp) -> &[Ticket] {
        let recent = self.tickets.get(self.counted_from..).unwrap_or_default();
        self.counted_from += recent.iter().take_while(|ticket| now.since(ticket.at) > window).count();
        self.tickets.get(self.counted_from..).unwrap_or_default()
    }

    /// A node is forgotten.
    pub fn retired(&mut self, place: usize) {
        if let Some(filled) = self.ever_filled.get_mut(place) {
            *filled = false;
        }
    }

    /// A create that may have rented something no longer counts.
    pub fn create_failed(&mut self, op: &OpId) {
        if let Some(ticket) = self.ticket_mut(op) {
            ticket.failed = true;
        }
    }
}

impl World {
    /// How many rentals of one node may be claimed at once: two where the old one is kept until the new one is proven.
    pub(super) fn most_claims(&self, node: usize) -> usize {
        // A spare may be left out by the configuration while what was decided for it is on its way.
        let left_out = |name: &NodeName| self.unwanted.as_ref().and_then(|unwanted| unwanted.spec_of(name));
        let spec =
            self.names.get(node).and_then(|name| self.policy.nodes.get(name).or_else(|| left_out(name)));
        let planned = |recovery: &Recovery| matches!(recovery.cause, Cause::Planned { .. });
        let state = self.names.get(node).and_then(|name| self.keeper.fleet.nodes.get(name));
        let planned = state
            .is_some_and(|node| matches!(&node.state, NodeState::Recovering(recovery) if planned(recovery)));
        let taken_over = state.is_some_and(
            |node| matches!(&node.state, NodeState::Recovering(recovery) if recovery.cause == Cause::Imported && recovery.kept.is_some()),
        );
        match spec.map(|spec| spec.order) {
            // A tenant that lists lack is kept until what bears its label has proven itself.
            _ if taken_over => 2,
            // Whom only the provider's word is against is kept, whatever the order.
            _ if planned => 2,
            Some(ReplaceOrder::CreateFirst) => 2,
            Some(ReplaceOrder::DestroyFirst) | None => 1,
        }
    }
}
