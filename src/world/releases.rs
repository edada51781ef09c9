//! What is to be deployed: now and then there is a new release, and some are bad. A bad one goes onto every box without
//! complaint, and serves on none.

use super::{Invariant, World, judge::Lost, keeper::Due};
use crate::fleet::{event::Event, journal::ReleaseRef, name::InstanceId, units::millis};

/// The releases of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Release {
    pub number: u32,
    pub bad: bool,
}

impl Release {
    pub fn named(self) -> ReleaseRef {
        ReleaseRef { digest: format!("d{}", self.number), commit: format!("c{}", self.number) }
    }
}

impl World {
    /// Somebody releases something; what was bad is mended by it.
    pub(super) fn new_release(&mut self) {
        let bad = !self.release.bad && self.stormy && self.rng.u32(0..3) == 0;
        self.release = Release { number: self.release.number + 1, bad };
        self.tally.add(if bad { "bad release wanted" } else { "good release wanted" });
        if self.keeper.up {
            self.prepare_release(0);
        }
    }

    /// The wanted release reaches the keeper after a while.
    pub(super) fn prepare_release(&mut self, delay: u64) {
        self.queue.push(self.now + delay, Due::Release(self.keeper.epoch));
    }

    pub(super) fn release_prepared(&mut self) {
        self.handle(Event::ReleasePrepared(Ok(self.release.named())));
    }

    /// A newcomer is given up: a bad release may cost few boxes that would have served any other and refuse a connection now.
    pub(super) fn judge_lost_newcomer(&mut self, instance: InstanceId, detail: &str) {
        let Some(rented) = self.boxes.get(&instance) else { return };
        let Some(release) = rented.runs.filter(|release| release.bad) else { return };
        // A failure that other trouble coloured cannot be compared with another.
        let probation = self.policy.nodes.values().map(|spec| spec.deadlines.probation).max();
        let began = self.now.saturating_sub(millis(probation.unwrap_or_default()));
        if !rented.would_serve(self.now) || !detail.contains("refused") || self.met_any_since(began) {
            return;
        }
        self.tally.add("box lost to a bad release");
        let lost = &mut self.judge.lost;
        if lost.release != release.number {
            *lost = Lost { release: release.number, boxes: 0 };
        }
        lost.boxes += 1;
        let (boxes, most) = (lost.boxes, self.policy.rails.unproven_boxes);
        if boxes > most {
            let detail =
                format!("release {} cost {boxes} healthy boxes, at most {most} are tried", release.number);
            self.broken(Invariant::Rate, detail);
        }
    }
}
