//! What the provider charged, held against the ledger of rentals: a leak shows in dollars although no list shows it.
//!
//! Compared is what the keeper can know: GPU and disk of each instance, yesterday and today (UTC), since the provider gives
//! charges by days. Traffic is told apart and left out, for no price in the ledger covers it. The provider may charge less:
//! boxes that load, or whose host is lost, cost little or nothing.

use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    name::{InstanceId, Ownership, ownership},
    policy::Policy,
    state::Fleet,
    units::{Money, Timestamp},
};

const DAY_MS: u64 = 86_400_000;
/// Beyond the share, an instance may have cost this much of its hour more: a destroy takes the provider minutes after its
/// acknowledgement.
const SLACK: Duration = Duration::from_secs(15 * 60);

/// What the provider charged from a day's start until it was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Charges {
    /// The start of the first day.
    pub from: Timestamp,
    /// By instance, each once.
    pub rows: BTreeMap<InstanceId, Charge>,
}

/// What one instance was charged.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Charge {
    /// Its label, where the provider names one.
    pub label: Option<String>,
    /// GPU and disk.
    pub rent: Money,
    /// Traffic.
    pub traffic: Money,
}

/// What the ledger cannot explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unexplained {
    /// Which instance.
    pub instance: InstanceId,
    /// What it was charged, without traffic.
    pub charged: Money,
    /// What it cost by the ledger; `None` for one that is not in it.
    pub known: Option<Money>,
}

impl Unexplained {
    /// The dollars beyond the ledger.
    #[must_use]
    pub fn excess(&self) -> Money {
        self.charged.minus(self.known.unwrap_or_default())
    }
}

/// Where reading begins: the start of yesterday in UTC.
#[must_use]
pub fn from_day(now: Timestamp) -> Timestamp {
    Timestamp((now.0 / DAY_MS * DAY_MS).saturating_sub(DAY_MS))
}

/// What of the charges the ledger cannot explain, by instance. Other people's rentals in the account are nobody's business.
#[must_use]
pub fn unexplained(charges: &Charges, fleet: &Fleet, policy: &Policy, now: Timestamp) -> Vec<Unexplained> {
    let share = i64::from(policy.rails.billing_tolerance);
    // An instance that is not in the ledger is this fleet's by its label, or since an attempt of ours rented it once.
    let attempted: LazyCell<BTreeSet<InstanceId>, _> =
        LazyCell::new(|| fleet.ops.values().filter_map(|op| op.instance).collect());
    let row = |(instance, charge): (&InstanceId, &Charge)| {
        let (instance, charged) = (*instance, charge.rent);
        let Some(bill) = fleet.bills.get(&instance) else {
            let ours = ownership(charge.label.as_deref(), &policy.fleet) != Ownership::Foreign
                || fleet.doomed.contains_key(&instance)
                || attempted.contains(&instance);
            return (ours && charged > Money(0)).then_some(Unexplained { instance, charged, known: None });
        };
        let known = bill.cost(charges.from, now);
        let tolerated = Money(known.0 / 100 * share).plus(bill.price.over(SLACK));
        (charged > known.plus(tolerated)).then_some(Unexplained { instance, charged, known: Some(known) })
    };
    charges.rows.iter().filter_map(row).collect()
}
