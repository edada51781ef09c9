//! Contracts that end: what the provider shows of it, what it does then, and whether the keeper had met it.

use std::time::Duration;

use super::{Fault, Invariant, MINUTE, World, boxes::Fate, keeper::Due};
use crate::fleet::{name::InstanceId, offer::Offer, policy::NodeSpec, state::NodeState, units::millis};

/// How long the hosts let their machines in most offers, in seconds.
const LONG_S: f64 = 90.0 * 86_400.0;
/// The shorter ones, in minutes: from less than is rented at all to half a day.
const SHORT_MIN: std::ops::Range<u64> = 60..720;
/// A keeper that was disturbed so short ago may be late for it.
const CALM: u64 = 20 * MINUTE;

impl World {
    /// For how long a machine is let, in seconds.
    pub(super) fn contract_s(&mut self, least: f64) -> f64 {
        if self.hit(Fault::ShortContracts) {
            return (self.rng.u64(SHORT_MIN) * 60) as f64;
        }
        least.max(LONG_S)
    }

    /// A box is rented until then, unless that is months away: runs are shorter.
    pub(super) fn schedule_end(&mut self, instance: InstanceId, offer: &Offer) {
        let Some(lasts) = offer.duration_s.filter(|lasts| *lasts < LONG_S) else { return };
        let ends = self.now + millis(Duration::from_secs_f64(lasts.max(0.0)));
        if let Some(rented) = self.boxes.get_mut(&instance) {
            rented.ends_at = Some(ends);
        }
        self.queue.push(ends, Due::ContractEnds(instance));
    }

    /// The host takes its machine back: the box is gone, or stopped for good.
    pub(super) fn contract_ends(&mut self, instance: InstanceId) {
        if !self.boxes.get(&instance).is_some_and(super::boxes::Rented::alive) {
            return;
        }
        self.judge_end(instance);
        if self.rng.bool() {
            self.end_box(instance);
        } else {
            self.befall(instance, Fate::Exited, None);
        }
    }

    /// A tenant that serves until its contract's end was not replaced in time, unless something kept the keeper from it.
    fn judge_end(&mut self, instance: InstanceId) {
        let nodes = self.keeper.fleet.nodes.iter();
        let mut serving = nodes.filter(
            |(_, node)| matches!(&node.state, NodeState::Serving(tenant) if tenant.instance == instance),
        );
        let Some((name, node)) = serving.next() else { return };
        let Some(spec) = self.policy.nodes.get(name) else { return };
        let (name, paused) = (name.clone(), node.paused.is_some());
        let well = self.boxes.get(&instance).and_then(|rented| rented.well_since);
        let well_before_it_was_due = well.is_some_and(|since| since + millis(spec.before_end) < self.now);
        let hindered = paused || !well_before_it_was_due || self.is_hindered(&name, spec);
        self.tally.add(if hindered { "contract ended, keeper hindered" } else { "contract ended unmet" });
        if !hindered {
            let detail = format!("the contract of instance {instance} ended while it filled `{name}`");
            self.broken(Invariant::Liveness, detail);
        }
    }

    fn is_hindered(&self, name: &crate::fleet::name::NodeName, spec: &NodeSpec) -> bool {
        let due = self.now.saturating_sub(millis(spec.before_end));
        // By its own clock the end may lie elsewhere.
        let misled = self.keeper.offset != 0 || self.met_any_since(due);
        let disturbed = !self.keeper.up || self.keeper.awake_at + CALM > self.now;
        let railed = self.keeper.memory.desks.get(name).is_some_and(|desk| desk.blocked.is_some());
        misled || disturbed || railed || self.now < self.keeper.frozen_until
    }
}
