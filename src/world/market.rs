//! The market of the simulated provider: who outbids us, what it makes of a start, and what a condemned box shows of its end.

use super::{
    Invariant, MINUTE, SECOND, World,
    boxes::{Fate, Rented},
};
use crate::fleet::{
    bid::Bidding,
    event::Event,
    name::{InstanceId, NodeName},
    provider::StartAnswer,
    units::Money,
};

/// While a box runs the provider names as its floor so many percent of its own bid.
const RUNNING_FLOOR_PERCENT: i64 = 120;

impl Rented {
    /// How it stands in the bidding, as a list shows it; `None` on demand.
    pub fn bidding(&self) -> Option<Bidding> {
        let bid = self.bid?;
        let floor = match self.fate {
            Fate::Stopped => self.others.unwrap_or(Money(bid.0 / 2)),
            _ => Money(bid.0 / 100 * RUNNING_FLOOR_PERCENT),
        };
        Some(Bidding { bid, floor: Some(floor) })
    }

    fn is_outbid(&self) -> bool {
        self.bid.zip(self.others).is_some_and(|(bid, others)| others > bid)
    }
}

impl World {
    /// Somebody bids more for the machine of an interruptible box: the provider stops the box without a word. Others leave
    /// again now and then.
    pub(super) fn outbid(&mut self, instance: InstanceId) {
        let Some(bid) = self.boxes.get(&instance).and_then(|rented| rented.bid) else { return };
        let others = Money(bid.0 / 100 * self.rng.i64(105..260));
        let most = self.any_spec().offers.bid.map_or(Money(0), |bids| bids.most);
        self.tally.add(if others > most { "outbid beyond the most" } else { "outbid" });
        let leave = self.rng.bool().then(|| self.rng.u64(2 * MINUTE..120 * MINUTE));
        self.change(instance, |rented| rented.others = Some(others));
        self.befall(instance, Fate::Stopped, leave);
    }

    /// Whoever bid more leaves; the box comes back by itself, or waits until it is started.
    pub(super) fn others_leave(&mut self, instance: InstanceId) -> bool {
        let asked = self.boxes.get(&instance).is_some_and(|rented| rented.start_asked);
        let outbid = self.boxes.get(&instance).is_some_and(Rented::is_outbid);
        if !outbid {
            return true;
        }
        self.change(instance, |rented| rented.others = None);
        let comes_back = asked || self.rng.bool();
        self.tally.add(if comes_back { "outbid box back by itself" } else { "outbid box only left alone" });
        comes_back
    }

    /// A stopped box comes back after a while, unless its GPU is let to another: then the start waits, and may still happen,
    /// at a time when nobody reckons with it.
    pub(super) fn start(&mut self, node: NodeName, instance: InstanceId, bid: Option<Money>) {
        if self.judge.foreign.contains(&instance) {
            return self.broken(Invariant::Ownership, format!("foreign instance {instance} is started"));
        }
        if self.judge.doomed.contains(&instance) {
            return self.broken(Invariant::MonotoneDoom, format!("doomed instance {instance} is started"));
        }
        if let Some(bid) = bid {
            self.judge_bid(&node, instance, bid);
        }
        let answer = match self.call_fails() {
            Some(fault) => StartAnswer::Failed(fault),
            None => self.started(instance, bid),
        };
        let delay = self.rng.u64(200..4 * SECOND);
        self.tell(delay, Event::StartAnswered { node, instance, answer });
    }

    fn started(&mut self, instance: InstanceId, bid: Option<Money>) -> StartAnswer {
        if let Some(bid) = bid {
            self.take_bid(instance, bid);
        }
        let stopped = |rented: &&Rented| rented.alive() && rented.fate == Fate::Stopped;
        let Some(rented) = self.boxes.get(&instance).filter(stopped) else { return StartAnswer::Starting };
        if rented.is_outbid() {
            self.tally.add("start in vain, outbid");
            return StartAnswer::Queued("state change queued".into());
        }
        // What was asked for again starts no sooner: the provider has one queue.
        let waits = rented.start_asked;
        let taken = self.rng.u32(0..4) == 0;
        let after = if taken { self.seconds(60..3600) } else { self.seconds(15..90) };
        if !waits {
            self.befall(instance, Fate::Stopped, Some(after));
            self.change(instance, |rented| rented.start_asked = true);
        }
        if taken {
            self.tally.add("start queued");
            return StartAnswer::Queued("state change queued".into());
        }
        self.tally.add("stopped box started");
        StartAnswer::Starting
    }

    /// The provider takes a bid, which is the price from now on.
    fn take_bid(&mut self, instance: InstanceId, bid: Money) {
        let now = self.now;
        self.change(instance, |rented| {
            if let Some(before) = rented.bid.replace(bid).filter(|before| *before != bid) {
                rented.reprice(rented.price.minus(before).plus(bid), now);
            }
        });
    }

    /// Some boxes show their end in time, some too late, some not at all.
    pub(super) fn show_evidence(&mut self, node: NodeName, instance: InstanceId) {
        if self.rng.u32(0..3) == 0 {
            return;
        }
        self.tally.add("evidence shown");
        let delay = self.rng.u64(SECOND..20 * SECOND);
        self.tell(delay, Event::EvidenceTaken { node, instance, result: Ok("shown".into()) });
    }
}
