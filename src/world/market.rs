//! What the provider makes of a start, and what a condemned box shows of its end.

use super::{
    Invariant, SECOND, World,
    boxes::{Fate, Rented},
};
use crate::fleet::{
    event::Event,
    name::{InstanceId, NodeName},
    provider::StartAnswer,
};

impl World {
    /// A stopped box comes back after a while, unless its GPU is let to another: then the start waits, and may still happen,
    /// at a time when nobody reckons with it.
    pub(super) fn start(&mut self, node: NodeName, instance: InstanceId) {
        if self.judge.foreign.contains(&instance) {
            return self.broken(Invariant::Ownership, format!("foreign instance {instance} is started"));
        }
        if self.judge.doomed.contains(&instance) {
            return self.broken(Invariant::MonotoneDoom, format!("doomed instance {instance} is started"));
        }
        let answer = match self.call_fails() {
            Some(fault) => StartAnswer::Failed(fault),
            None => self.started(instance),
        };
        let delay = self.rng.u64(200..4 * SECOND);
        self.tell(delay, Event::StartAnswered { node, instance, answer });
    }

    fn started(&mut self, instance: InstanceId) -> StartAnswer {
        let stopped = |rented: &Rented| rented.alive() && rented.fate == Fate::Stopped;
        if !self.boxes.get(&instance).is_some_and(stopped) {
            return StartAnswer::Starting;
        }
        let taken = self.rng.u32(0..4) == 0;
        let after = if taken { self.seconds(60..3600) } else { self.seconds(15..90) };
        // What was asked for again starts no sooner: the provider has one queue.
        let waits = self.boxes.get(&instance).is_some_and(|rented| rented.start_asked);
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
