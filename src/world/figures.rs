//! What a user cares for: availability, incidents, replacements, false kills, dollars, alerts.

use serde::Serialize;

use super::{HOUR, World};
use crate::fleet::units::Money;

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
    /// Seconds from the first failed probe to the start of the recovery, of each recovery that probes began.
    #[serde(skip)]
    pub reaction_s: Vec<u32>,
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
    paid: i128,
    paid_ms: u64,
    pub alerts: u64,
    pub incidents: u64,
    pub false_kills: u64,
    reaction_s: Vec<u32>,
}

impl Books {
    pub fn new(nodes: usize) -> Self {
        Self {
            well_since: vec![None; nodes],
            well: vec![0; nodes],
            paid: 0,
            paid_ms: 0,
            alerts: 0,
            incidents: 0,
            false_kills: 0,
            reaction_s: Vec::new(),
        }
    }

    /// A rental of ours ended after so long.
    pub fn paid(&mut self, price: Money, lasted: u64) {
        self.paid += i128::from(price.0) * i128::from(lasted) / i128::from(HOUR);
        self.paid_ms += lasted;
    }

    pub fn recovery_began(&mut self, first_failure: Option<u64>, now: u64) {
        if let Some(first) = first_failure {
            self.reaction_s.push(u32::try_from((now - first) / 1000).unwrap_or(u32::MAX));
        }
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
            paid += i128::from(rented.price.0) * i128::from(lasted) / i128::from(HOUR);
            paid_ms += lasted;
        }
        let wanted = (self.names.len() as u64 * lasted).max(1) as f64;
        Figures {
            availability: books.well.iter().sum::<u64>() as f64 / wanted,
            incidents: books.incidents,
            replacements: self.tally.get("recovery completed"),
            false_kills: books.false_kills,
            dollars: paid as f64 / 1e6,
            paid_per_wanted: paid_ms as f64 / wanted,
            alerts_per_day: books.alerts as f64 / (lasted.max(1) as f64 / (24 * HOUR) as f64),
            reaction_s: books.reaction_s.clone(),
            node_hours: wanted / HOUR as f64,
            recoveries: self.tally.get("recovery completed"),
            crashes: self.tally.get("keeper crashes"),
        }
    }
}
