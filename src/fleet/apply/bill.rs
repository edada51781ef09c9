//! The fold of what rentals cost.

use std::time::Duration;

use crate::fleet::{
    name::{InstanceId, OpId},
    state::{Bill, Fleet},
    units::{Money, Timestamp},
};

/// How long an ended rental is remembered: the day that the budget looks back on, and some slack.
const BILLS_KEPT: Duration = Duration::from_secs(25 * 3600);

impl Fleet {
    /// A rental is on record from its create's intent: between that and the answer the provider billed already.
    pub(super) fn open_bill(&mut self, at: Timestamp, instance: InstanceId, op: Option<&OpId>, price: Money) {
        self.bills.retain(|_, bill| bill.to.is_none_or(|to| at.since(to) < BILLS_KEPT));
        let from = op.and_then(|op| self.ops.get(op)).map_or(at, |op| op.at);
        self.bills.entry(instance).or_insert(Bill { price, from, to: None });
    }

    pub(super) fn close_bill(&mut self, at: Timestamp, instance: InstanceId) {
        if let Some(bill) = self.bills.get_mut(&instance) {
            bill.to.get_or_insert(at);
        }
    }

    /// What the fleet cost from `since` until `now`.
    #[must_use]
    pub fn spent(&self, since: Timestamp, now: Timestamp) -> Money {
        let cost = |bill: &Bill| bill.price.over(bill.to.unwrap_or(now).since(bill.from.max(since)));
        self.bills.values().map(cost).sum()
    }
}
