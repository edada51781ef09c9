//! The rails of money: what the fleet costs, what it may cost, and what the account can pay.

use std::time::Duration;

use super::{DAY, Deferral, Guard, Rail, defer};
use crate::fleet::{
    name::InstanceId,
    planted::{Bug, planted},
    units::{Money, Timestamp},
};

/// A reading of the credit older than this says nothing any more; it is read every five minutes and on demand.
const CREDIT_FRESH: Duration = Duration::from_secs(900);
/// Most time that stopped boxes get to come back once the credit is back.
const PAID_GRACE: Duration = Duration::from_secs(180);

impl Guard<'_> {
    /// Was the credit read since the provider first called a box stopped? An account without credit has all its boxes
    /// stopped at once: what looks like many deaths is an unpaid bill, and a destroy would throw away what a payment may
    /// bring back.
    ///
    /// # Errors
    /// The credit has to be read first; what it says is [`Guard::create`]'s to judge.
    pub fn credit_read_since(&self, stopped: Timestamp) -> Result<(), Deferral> {
        if self.memory.credit.is_some_and(|(at, _)| at >= stopped) {
            return Ok(());
        }
        let why = "the credit is read first: without credit the provider stops every box";
        defer(Rail::Credit, why, None)
    }

    /// Was the account not topped up a moment ago? Boxes that were stopped for want of credit get the time of a boot to come
    /// back.
    ///
    /// # Errors
    /// It was.
    pub fn credit_not_just_back(&self, boot: Duration) -> Result<(), Deferral> {
        let until = self.memory.paid_at.map(|at| at.after(boot.min(PAID_GRACE)));
        match until.filter(|until| *until > self.now) {
            Some(until) => defer(
                Rail::Credit,
                "the credit is back: stopped boxes are given time to start again",
                Some(until),
            ),
            None => Ok(()),
        }
    }

    /// What the fleet costs an hour now: tenants, newcomers, and the doomed that may still be billed, for no destroy of theirs
    /// was acknowledged, or a list begun since then shows them all the same.
    #[must_use]
    pub fn hourly_cost(&self) -> Money {
        let claimed = self.fleet.claims().map(|(_, attempt, _)| attempt.price);
        let lists = &self.memory.lists;
        let listed = |instance: &InstanceId, since: Timestamp| {
            lists.last_started_at > Some(since) && lists.rows.contains_key(instance)
        };
        let doomed = self.fleet.doomed.iter();
        let doomed = doomed
            .filter(|(instance, doomed)| doomed.acknowledged_at.is_none_or(|since| listed(instance, since)));
        let claims = |id: &InstanceId| self.fleet.claims().any(|(_, _, claimed)| claimed == Some(*id));
        let let_go =
            self.fleet.let_go.iter().filter(|id| !claims(id)).filter_map(|id| self.fleet.bills.get(id));
        let let_go = let_go.filter(|bill| bill.to.is_none()).map(|bill| bill.price);
        claimed.chain(doomed.map(|(_, doomed)| doomed.price)).chain(let_go).sum()
    }

    /// What the fleet cost in the last 24 hours, by its own record of prices and times.
    #[must_use]
    pub fn spent_24h(&self) -> Money {
        self.fleet.spent(self.now.before(DAY), self.now)
    }

    pub(super) fn money(&self, price: Option<Money>) -> Result<String, Deferral> {
        let rails = &self.policy.rails;
        let total = self.hourly_cost().plus(price.unwrap_or_default());
        if let Some(cap) = rails.dollars_per_hour.filter(|cap| total > *cap && !planted(Bug::BudgetIgnored)) {
            return defer(
                Rail::DollarsPerHour,
                format!("the fleet would cost {total}/h, the cap is {cap}/h"),
                None,
            );
        }
        if let Some(cap) = rails.dollars_per_day {
            // An hour ahead: a rental that would break the budget before it is of any use is not begun.
            let spent = self.spent_24h();
            if spent.plus(total) > cap && !planted(Bug::BudgetIgnored) {
                let why = format!(
                    "{spent} were spent in the last 24 h and the fleet would cost {total} in the next hour, the cap is \
                     {cap} a day"
                );
                return defer(Rail::DollarsPerDay, why, None);
            }
        }
        let credit = self.memory.credit.filter(|(at, _)| self.now.since(*at) <= CREDIT_FRESH);
        match credit {
            Some((_, credit)) if credit.dollars < rails.credit_floor => {
                let why = format!("the credit is {}, the floor is {}", credit.dollars, rails.credit_floor);
                defer(Rail::Credit, why, None)
            }
            Some((_, credit)) if credit.dollars < total.over(rails.credit_lasts) => {
                let hours = rails.credit_lasts.as_secs_f64() / 3600.0;
                let why = format!(
                    "the credit of {} would last less than {hours} h at {total}/h (`rails.credit_lasts`)",
                    credit.dollars
                );
                defer(Rail::Credit, why, None)
            }
            Some((_, credit)) => Ok(format!("fleet at {total}/h, credit {}", credit.dollars)),
            None => defer(Rail::Credit, "the account's credit could not be read lately", None),
        }
    }
}
