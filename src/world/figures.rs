//! What a user cares for: availability, incidents, replacements, false kills, dollars, alerts; and how soon the keeper reacts.

use serde::Serialize;

use super::{Fault, HOUR, World};
use crate::fleet::{
    breaker::Position,
    name::{InstanceId, NodeName},
    policy::HealthPolicy,
    units::{Money, millis},
};

/// Beyond the threshold's intervals and one timeout: the decision itself.
const DECISION_MS: u64 = 1000;
/// What keeps the keeper from seeing or asking: its own network, the provider's answers, and witnesses that do not answer.
const BLINDING: &[Fault] = &[
    Fault::KeeperOffline,
    Fault::EgressBlocked,
    Fault::SubsetCut,
    Fault::Slow,
    Fault::ProbeLoss,
    Fault::ApiDown,
    Fault::Throttled,
    Fault::KeyRefused,
    Fault::ListEmpty,
    Fault::ListStale,
    Fault::ListLacksRows,
    Fault::PageFails,
    Fault::WrongAccount,
    Fault::UnknownStatus,
    Fault::CreditOut,
    Fault::WitnessSilent,
];
/// What keeps the provider's API out of reach.
const UNREACHABLE: &[Fault] = &[Fault::KeeperOffline, Fault::ApiDown, Fault::KeyRefused];

/// From a box's true failure to the first remedy or the replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaction {
    /// So long, in milliseconds.
    pub took_ms: u64,
    /// The threshold's intervals, one timeout and a second, in milliseconds.
    pub bound_ms: u64,
    /// The keeper had been awake since its warm-up before the failure, nothing blinded it, and the breaker was not out.
    pub undisturbed: bool,
}

impl Reaction {
    /// Whether it came in time.
    #[must_use]
    pub fn in_time(&self) -> bool {
        self.took_ms <= self.bound_ms
    }
}

/// Of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Share of the wanted node-hours in which a node's own server served, 0 to 1.
    pub availability: f64,
    /// Incidents opened.
    pub incidents: u64,
    /// Nodes filled anew after they had been filled before.
    pub replacements: u64,
    /// Boxes replaced that truly served the world; such a one could not be reached from the keeper, or it is a defect.
    pub false_kills: u64,
    /// Dollars paid to the provider.
    pub dollars: f64,
    /// Hours paid for, divided by hours wanted.
    pub paid_per_wanted: f64,
    /// Messages to people a day.
    pub alerts_per_day: f64,
    /// How soon each failure was answered.
    #[serde(skip)]
    pub reactions: Vec<Reaction>,
    /// Milliseconds from the birth of each rental that nobody accounts for to its sentence, where the keeper was awake and the
    /// provider's API within reach all the while.
    #[serde(skip)]
    pub strays_ms: Vec<u64>,
    /// Wanted node-hours.
    pub node_hours: f64,
    /// Recoveries completed: a newcomer adopted in place of another.
    pub recoveries: u64,
    /// Keeper crashes.
    pub crashes: u64,
}

/// What is counted on the way.
#[derive(Debug)]
pub(super) struct Books {
    /// Since when each node is well, if it is, and how long it was before.
    well_since: Vec<Option<u64>>,
    well: Vec<u64>,
    paid: Money,
    paid_ms: u64,
    pub alerts: u64,
    pub incidents: u64,
    pub false_kills: u64,
    /// Node-time that the configuration did not want.
    pub unwanted_ms: u64,
    reactions: Vec<Reaction>,
    strays_ms: Vec<u64>,
}

impl Books {
    pub fn new(nodes: usize) -> Self {
        Self {
            well_since: vec![None; nodes],
            well: vec![0; nodes],
            paid: Money(0),
            paid_ms: 0,
            alerts: 0,
            incidents: 0,
            false_kills: 0,
            unwanted_ms: 0,
            reactions: Vec::new(),
            strays_ms: Vec::new(),
        }
    }

    /// A rental of ours ended after so long.
    pub fn paid(&mut self, cost: Money, lasted: u64) {
        self.paid = self.paid.plus(cost);
        self.paid_ms += lasted;
    }

    fn turn(&mut self, node: usize, well: bool, now: u64) {
        let (Some(since), Some(sum)) = (self.well_since.get_mut(node), self.well.get_mut(node)) else {
            return;
        };
        match (*since, well) {
            (None, true) => *since = Some(now),
            (Some(from), false) => {
                *sum += now - from;
                *since = None;
            }
            _ => {}
        }
    }
}

impl World {
    /// Keeps the record of a node's availability true: its own tenant serves the world, whatever the keeper sees.
    pub(super) fn note_availability(&mut self, node: usize) {
        let Some(name) = self.names.get(node) else { return };
        let tenant = self.keeper.fleet.nodes.get(name).and_then(|node| node.state.tenant());
        let rented = tenant.and_then(|tenant| self.boxes.get(&tenant.instance));
        let well = rented.is_some_and(|rented| rented.well_since.is_some());
        self.books.turn(node, well, self.now);
    }

    pub(super) fn tenant_of(&self, name: &NodeName) -> Option<InstanceId> {
        self.keeper.fleet.nodes.get(name)?.state.tenant().map(|tenant| tenant.instance)
    }

    /// A person is between a failure and its answer.
    pub(super) fn forget_illness(&mut self, name: &NodeName) {
        if let Some(rented) = self.tenant_of(name).and_then(|instance| self.boxes.get_mut(&instance)) {
            rented.ill_since = None;
        }
    }

    /// A remedy of a node begins.
    pub(super) fn note_remedy(&mut self, name: &NodeName) {
        if let Some(instance) = self.tenant_of(name) {
            self.note_reaction(name, instance);
        }
    }

    /// Healing of a node begins: how long its box had truly been ill.
    pub(super) fn note_reaction(&mut self, name: &NodeName, instance: InstanceId) {
        let Some(spec) = self.policy.nodes.get(name) else { return };
        let Some(since) = self.boxes.get_mut(&instance).and_then(|rented| rented.ill_since.take()) else {
            return;
        };
        let warm = self.keeper.awake_at + millis(self.policy.rails.warm_up) <= since;
        let undisturbed =
            warm && self.keeper.fleet.breaker == Position::Normal && !self.met_since(BLINDING, since);
        let took_ms = self.now - since;
        self.books.reactions.push(Reaction { took_ms, bound_ms: bound(&spec.health), undisturbed });
    }

    /// A rental that nobody accounts for is condemned.
    pub(super) fn note_stray(&mut self, instance: InstanceId) {
        let Some(born) = self.boxes.get(&instance).filter(|rented| rented.alive()).map(|rented| rented.born)
        else {
            return;
        };
        if self.keeper.awake_at <= born && !self.met_since(UNREACHABLE, born) {
            self.books.strays_ms.push(self.now - born);
        }
    }

    /// Whether anything blinded the keeper since then.
    pub(super) fn met_any_since(&self, since: u64) -> bool {
        self.met_since(BLINDING, since)
    }

    /// Whether a spell of one of these faults touched the time since then.
    fn met_since(&self, faults: &[Fault], since: u64) -> bool {
        faults.iter().any(|fault| self.spells.get(*fault as usize).is_some_and(|until| *until > since))
    }

    /// Brings every record up to the present.
    pub(super) fn settle_availability(&mut self) {
        for node in 0..self.names.len() {
            self.books.turn(node, false, self.now);
        }
    }

    pub(super) fn figures(&self, lasted: u64) -> Figures {
        let books = &self.books;
        let (mut paid, mut paid_ms) = (books.paid, books.paid_ms);
        for rented in self.boxes.values().filter(|rented| rented.alive() && rented.node.is_some()) {
            let lasted = self.now - rented.born;
            paid = paid.plus(rented.cost(rented.born, self.now));
            paid_ms += lasted;
        }
        let all = self.names.len() as u64 * lasted;
        let wanted = all.saturating_sub(books.unwanted_ms).max(1) as f64;
        Figures {
            availability: books.well.iter().sum::<u64>() as f64 / wanted,
            incidents: books.incidents,
            replacements: self.tally.get("recovery completed"),
            false_kills: books.false_kills,
            dollars: paid.dollars(),
            paid_per_wanted: paid_ms as f64 / wanted,
            alerts_per_day: books.alerts as f64 / (lasted.max(1) as f64 / (24 * HOUR) as f64),
            reactions: books.reactions.clone(),
            strays_ms: books.strays_ms.clone(),
            node_hours: wanted / HOUR as f64,
            recoveries: self.tally.get("recovery completed"),
            crashes: self.tally.get("keeper crashes"),
        }
    }
}

/// How soon a failure is answered by the rules alone.
fn bound(health: &HealthPolicy) -> u64 {
    millis(health.interval.saturating_mul(health.failure_threshold.max(1)))
        .saturating_add(millis(health.timeout))
        .saturating_add(DECISION_MS)
}
