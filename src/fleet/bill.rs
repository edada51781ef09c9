//! What rentals cost, by the keeper's own record: the daily budget counts from it, what the provider charged is held against
//! it, and a restart forgets none of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    name::{InstanceId, OpId},
    state::Fleet,
    units::{Money, Timestamp},
};

/// How long an ended rental, or a price of before, is remembered: yesterday and today, which the provider's charges are
/// read for, and some slack. The budget looks back on a day.
const BILLS_KEPT: Duration = Duration::from_secs(49 * 3600);
/// At multiples of this number the old ones are removed.
const BILLS_SWEPT_EVERY: usize = 32;

/// What one rental is counted with. The provider bills by the second, so price and time tell the money without its help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// Dollars per hour.
    pub price: Money,
    /// From its create's intent; a stray whose create is not on record from its condemnation.
    pub from: Timestamp,
    /// Until its destroy was acknowledged, if it was.
    pub to: Option<Timestamp>,
    /// What it cost before, and until when, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Past>,
}

/// A price of before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Dollars per hour.
    pub price: Money,
    /// Until when.
    pub until: Timestamp,
}

impl Bill {
    /// What it cost from `since` until `now`.
    #[must_use]
    pub fn cost(&self, since: Timestamp, now: Timestamp) -> Money {
        let end = self.to.unwrap_or(now);
        let mut from = self.from.max(since);
        let mut cost = Money::default();
        for past in &self.before {
            cost = cost.plus(past.price.over(past.until.min(end).since(from)));
            from = from.max(past.until);
        }
        cost.plus(self.price.over(end.since(from)))
    }
}

impl Fleet {
    /// A rental is on record from its create's intent: between that and the answer the provider billed already.
    pub(super) fn open_bill(&mut self, at: Timestamp, instance: InstanceId, op: Option<&OpId>, price: Money) {
        if self.bills.len().is_multiple_of(BILLS_SWEPT_EVERY) {
            self.bills.retain(|_, bill| bill.to.is_none_or(|to| at.since(to) < BILLS_KEPT));
        }
        let from = op.and_then(|op| self.ops.get(op)).map_or(at, |op| op.at);
        self.bills.entry(instance).or_insert(Bill { price, from, to: None, before: Vec::new() });
    }

    /// From now on it costs this.
    pub(super) fn reprice_bill(&mut self, at: Timestamp, instance: InstanceId, price: Money) {
        let Some(bill) = self.bills.get_mut(&instance).filter(|bill| bill.price != price) else { return };
        bill.before.retain(|past| at.since(past.until) < BILLS_KEPT);
        bill.before.push(Past { price: bill.price, until: at });
        bill.price = price;
    }

    pub(super) fn close_bill(&mut self, at: Timestamp, instance: InstanceId) {
        if let Some(bill) = self.bills.get_mut(&instance) {
            bill.to.get_or_insert(at);
        }
    }

    /// What the fleet cost from `since` until `now`.
    #[must_use]
    pub fn spent(&self, since: Timestamp, now: Timestamp) -> Money {
        self.bills.values().map(|bill| bill.cost(since, now)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn each_price_counts_for_its_own_time_and_within_the_window_alone() {
        let past = |price, until| Past { price: Money(price), until: Timestamp(until) };
        let bill = Bill {
            price: Money(4),
            from: Timestamp(HOUR),
            to: Some(Timestamp(6 * HOUR)),
            before: vec![past(100, 2 * HOUR), past(10, 4 * HOUR)],
        };
        let cost = |since: u64, now: u64| bill.cost(Timestamp(since * HOUR), Timestamp(now * HOUR)).0;
        assert_eq!(cost(0, 9), 100 + 2 * 10 + 2 * 4);
        assert_eq!(cost(3, 9), 10 + 2 * 4);
        assert_eq!(cost(5, 9), 4);
        assert_eq!(cost(6, 9), 0);
        let ended_early = Bill { to: Some(Timestamp(3 * HOUR)), ..bill };
        assert_eq!(ended_early.cost(Timestamp(0), Timestamp(9 * HOUR)).0, 100 + 10);
    }
}
