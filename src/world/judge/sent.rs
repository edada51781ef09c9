//! What must hold when a command leaves the process.

use std::time::Duration;

use super::{Account, Invariant};
use crate::{
    fleet::{
        name::{InstanceId, NodeName, OpId},
        offer::Offer,
        units::{Money, Timestamp, millis},
    },
    world::{MINUTE, SECOND, World, boxes::Rented},
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// A list that left a box out may have misled the keeper for this long.
const MISLED: u64 = 5 * MINUTE;

impl World {
    pub(in crate::world) fn judge_create(&mut self, node: &NodeName, offer: &Offer, op: &OpId, paused: bool) {
        self.tally.add("creates");
        let Some(ticket) = self.judge.ticket_mut(op) else {
            return self.broken(Invariant::IntentFirst, format!("op {op} is sent without its intent"));
        };
        if std::mem::replace(&mut ticket.sent, true) {
            return self.broken(Invariant::OneSend, format!("op {op} is sent twice"));
        }
        let place = ticket.node;
        if let Some(spec) = self.policy.nodes.get(node)
            && offer.price > spec.offers.price_cap
        {
            self.broken(Invariant::Budget, format!("{} is rented above the cap", offer.price));
        }
        if let Some((bid, bids)) = offer.bid.zip(self.policy.nodes.get(node).and_then(|spec| spec.offers.bid))
            && bid > bids.most
        {
            self.broken(Invariant::Budget, format!("{bid} is bid, the most is {}", bids.most));
        }
        self.judge_twins(node, place, op);
        self.judge_undestroyed(node, place);
        // A pause past the check moves the send to where nothing was counted; it cannot be fenced.
        if !paused {
            self.judge_rates(place);
            self.judge_budget(op);
        }
    }

    /// No other rental of the node lives, but for what is condemned or kept on purpose.
    fn judge_twins(&mut self, node: &NodeName, place: usize, op: &OpId) {
        let on_its_way = self
            .judge
            .on_their_way
            .iter()
            .find(|(other, other_place)| **other_place == place && *other != op);
        if let Some((other, _)) = on_its_way {
            let detail = format!("`{node}` is rented for while op {other} is on its way");
            return self.broken(Invariant::NoSecondCreate, detail);
        }
        let misled = |rented: &Rented| {
            // A journal that knows nothing of a box must not be misled by a list or two.
            let settled = |since: u64| self.now + SECOND * 5 >= since + millis(self.policy.inventory.settle);
            let hidden = if rented.orphan {
                rented.hidden_since.is_some_and(settled)
            } else {
                self.now < rented.hidden_at + MISLED
            };
            hidden || self.now < rented.born + MINUTE
        };
        let alive = self.boxes.iter().filter(|(id, rented)| {
            rented.node == Some(place)
                && rented.alive()
                && rented.op.as_ref() != Some(op)
                && !self.judge.doomed.contains(id)
                && !misled(rented)
                && rented.label.is_some()
        });
        let alive: Vec<InstanceId> = alive.map(|(id, _)| *id).collect();
        if alive.len() >= self.most_claims(place) {
            let detail = format!("`{node}` is rented for while {alive:?} live and are not condemned");
            self.broken(Invariant::NoSecondCreate, detail);
        }
    }

    /// A create follows the acknowledgement of every destroy of the node's boxes.
    fn judge_undestroyed(&mut self, node: &NodeName, place: usize) {
        let waits = |(id, rented): &(&InstanceId, &Rented)| {
            let of_node = rented.node == Some(place) && rented.alive();
            of_node
                && self.judge.doomed.contains(id)
                && self.judge.accounts.get(id).is_some_and(|account| account.to.is_none())
        };
        if let Some((id, _)) = self.boxes.iter().find(waits) {
            let detail =
                format!("`{node}` is rented for while the destroy of instance {id} is not acknowledged");
            self.broken(Invariant::NoSecondCreate, detail);
        }
    }

    /// Creates in each window, this one included, over all that may have rented something.
    fn judge_rates(&mut self, place: usize) {
        let now = self.clock();
        let rails = &self.policy.rails;
        let (mut of_node, mut of_hour, mut of_day) = (0_u32, 0_u32, 0_u32);
        // The wall clock may have been set back by an hour.
        let counted = self.judge.intended_within(rails.node_window.max(DAY) + HOUR, now);
        for ticket in counted.iter().filter(|ticket| ticket.sent && !ticket.failed && ticket.at <= now) {
            let ago = now.since(ticket.at);
            of_node += u32::from(ticket.node == place && ago < rails.node_window);
            of_hour += u32::from(ticket.replacement && ago < HOUR);
            of_day += u32::from(ticket.replacement && ago < DAY);
        }
        let (node_most, hour_most, day_most) = (rails.node_creates, rails.fleet_hourly, rails.fleet_daily);
        if of_node > node_most.max(1) || of_hour > hour_most || of_day > day_most {
            let detail = format!(
                "{of_node} creates of the node in its window ({node_most}), {of_hour} replacements in an hour ({hour_most}), \
                 {of_day} in a day ({day_most})"
            );
            self.broken(Invariant::Rate, detail);
        }
    }

    /// What the fleet costs with this rental, by prices and times on record.
    fn judge_budget(&mut self, op: &OpId) {
        let price = self.judge.ticket(op).map_or(Money(0), |ticket| ticket.price);
        self.judge_cost(price);
    }

    fn judge_cost(&mut self, price: Money) {
        let rails = &self.policy.rails;
        if rails.dollars_per_hour.is_none() && rails.dollars_per_day.is_none() {
            return;
        }
        let now = self.clock();
        let running = self.judge.accounts.values().filter(|account| account.to.is_none());
        let hourly = running.map(|account| account.price).sum::<Money>().plus(price);
        if self.policy.rails.dollars_per_hour.is_some_and(|cap| hourly > cap) {
            self.broken(Invariant::Budget, format!("the fleet would cost {hourly} an hour"));
        }
        if let Some(cap) = self.policy.rails.dollars_per_day {
            let spent = self.spent(now.before(DAY), now);
            if spent.plus(hourly) > cap {
                self.broken(
                    Invariant::Budget,
                    format!("{spent} were spent in a day and {hourly} are due, the cap is {cap}"),
                );
            }
        }
    }

    /// A bid leaves the process: on record, and within what may be bid and paid.
    pub(in crate::world) fn judge_bid(&mut self, node: &NodeName, instance: InstanceId, bid: Money) {
        let Some(spec) = self.policy.nodes.get(node) else { return };
        let most = spec.offers.bid.map(|bids| bids.most).unwrap_or_default();
        let storage = self
            .boxes
            .get(&instance)
            .and_then(|rented| Some(rented.price.minus(rented.bid?)))
            .unwrap_or_default();
        if bid > most || bid.plus(storage) > spec.offers.price_cap {
            let detail = format!("{bid} is bid for instance {instance}, the most is {most}");
            return self.broken(Invariant::Budget, detail);
        }
        if self.judge.bids.get(&instance) != Some(&bid) {
            let detail = format!("{bid} is bid for instance {instance} and is not on record");
            self.broken(Invariant::IntentFirst, detail);
        }
    }

    /// What a rental costs from now on, as the journal has it.
    pub(in crate::world) fn judge_price(&mut self, at: Timestamp, instance: InstanceId, price: Money) {
        let Some(account) = self.judge.accounts.get_mut(&instance).filter(|account| account.to.is_none())
        else {
            return;
        };
        let before = Account { to: Some(at), ..*account };
        *account = Account { price, from: at, to: None };
        let closed = &mut self.judge.closed_accounts;
        closed.push_back(before);
        while closed.front().is_some_and(|oldest| oldest.to.is_none_or(|to| at.since(to) > DAY + HOUR)) {
            closed.pop_front();
        }
    }

    /// A raise is decided: with it the fleet stays under its caps.
    pub(in crate::world) fn judge_raise(
        &mut self,
        at: Timestamp,
        instance: InstanceId,
        bid: Money,
        price: Money,
    ) {
        self.tally.add("bid raised");
        self.judge.bids.insert(instance, bid);
        self.judge_price(at, instance, price);
        self.judge_cost(Money(0));
    }

    fn spent(&self, since: Timestamp, now: Timestamp) -> Money {
        let accounts = self.judge.accounts.values().chain(&self.judge.closed_accounts);
        accounts
            .map(|account| account.price.over(account.to.unwrap_or(now).since(account.from.max(since))))
            .sum()
    }

    pub(in crate::world) fn judge_destroy(&mut self, instance: InstanceId) {
        self.tally.add("destroys");
        if self.judge.foreign.contains(&instance) {
            return self.broken(Invariant::Ownership, format!("foreign instance {instance} is destroyed"));
        }
        if !self.judge.doomed.contains(&instance) {
            self.broken(
                Invariant::IntentFirst,
                format!("instance {instance} is destroyed and was never doomed"),
            );
        }
    }
}
