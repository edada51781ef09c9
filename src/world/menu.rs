//! Which faults a simulation knows and how often they strike: one of three built-in menus, or rates of one's own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fault::{Fault, Scope, TABLE};

/// The built-in menus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// No fault at all: a menu of one's own starts from nothing.
    Nothing,
    /// A good marketplace.
    Calm,
    /// An ordinary month.
    Typical,
    /// Everything, all the time.
    Storm,
}

/// Faults and their rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Menu {
    /// Where the rates come from that `rates` does not name.
    pub base: Base,
    /// Times a day, of the fleet or of each node as the fault's own table says.
    #[serde(default)]
    pub rates: BTreeMap<Fault, f64>,
    /// The chance that a kind of fault exists in a run at all. Below 1 each run knows other kinds, which finds more than
    /// all of them always: one fault often hides another.
    #[serde(default = "everything")]
    pub exists: f64,
}

fn everything() -> f64 {
    1.0
}

impl Menu {
    /// A built-in menu. The storm draws anew for each run which faults exist.
    #[must_use]
    pub fn of(base: Base) -> Self {
        Self { base, rates: BTreeMap::new(), exists: if base == Base::Storm { 0.6 } else { 1.0 } }
    }

    /// How often a fault strikes a fleet of `nodes` nodes a day.
    #[must_use]
    pub fn daily(&self, fault: Fault, nodes: usize) -> f64 {
        let row = fault.row();
        let [calm, typical, storm] = row.rates;
        let rate = self.rates.get(&fault).copied().unwrap_or(match self.base {
            Base::Nothing => 0.0,
            Base::Calm => calm,
            Base::Typical => typical,
            Base::Storm => storm,
        });
        let each = match row.scope {
            Scope::Fleet => 1.0,
            Scope::Node => nodes as f64,
        };
        (rate * each).max(0.0)
    }

    /// The faults of one run with their times a day; `draw` gives a number from 0 to 1 for each.
    #[must_use]
    pub fn drawn(&self, nodes: usize, mut draw: impl FnMut() -> f64) -> Vec<(Fault, f64)> {
        let exists = |row: &&super::fault::Row| draw() < self.exists || row.fault == Fault::KeeperCrash;
        let rows = TABLE.iter().filter(exists).map(|row| (row.fault, self.daily(row.fault, nodes)));
        rows.filter(|(_, daily)| *daily > 0.0).collect()
    }
}
