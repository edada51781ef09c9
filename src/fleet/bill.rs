//! What rentals cost, by the keeper's own record: the daily budget counts from it, and a restart forgets none of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    name::{InstanceId, OpId},
    state::Fleet,
    units::{Money, Timestamp},
};

/// How long an ended rental is remembered: the day that the budget looks back on, and some slack.
const BILLS_KEPT: Duration = Duration::from_secs(25 * 3600);

/// What one rental is counted with. The provider bills by the second, so price and time tell the money without its help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// Dollars per hour.
    pub price: Money,
    /// From its create's intent; a stray whose create is not on record from its condemnation.
    pub from: Timestamp,
    /// Until its destroy was acknowledged, if it was.
    pub to: Option<Timestamp>,
}

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
