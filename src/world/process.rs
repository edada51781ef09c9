//! How the keeper's process starts, dies, and stands still.

use std::time::Duration;

use super::{
    Invariant, SECOND, World,
    keeper::{Armed, Due, Point},
    probes::Probing,
};
use crate::fleet::{event::Event, memory::Memory, state::Fleet};

/// From a crash to the next start: the unit's `RestartSec`, and the start itself.
const RESTART: std::ops::Range<u64> = 5..12;

impl World {
    /// The process starts: it folds what its journal holds and knows nothing else.
    pub(super) fn start_keeper(&mut self) {
        let folded = if std::mem::take(&mut self.keeper.knew_more) {
            self.journal.fold().map(|fleet| self.keeper.fleet.clone_from(fleet))
        } else {
            self.journal.fold_beside(&mut self.keeper.fleet)
        };
        if let Err(fault) = folded {
            return self.broken(Invariant::Fold, format!("the journal does not fold: {fault}"));
        }
        if self.keeper.offset != self.wall_error {
            self.tally.add("restart under another wall clock");
            self.keeper.offset = self.wall_error;
        }
        let now = self.clock();
        let keeper = &mut self.keeper;
        keeper.up = true;
        keeper.epoch += 1;
        keeper.memory = Memory::starting(now, self.policy.rails.warm_up);
        keeper.memory.release_missing = Some("it is being prepared".into());
        keeper.awake_at = self.now;
        (keeper.frozen_until, keeper.pause, keeper.commit_fails) = (0, None, false);
        (keeper.next_list, keeper.next_credit, keeper.next_canaries) = (0, 0, 0);
        (keeper.listing, keeper.list_wanted) = (false, false);
        keeper.looks.fill(None);
        keeper.probing.iter_mut().for_each(Probing::forget);
        self.judge.keeper_started();
        for node in 0..self.names.len() {
            self.retarget(node);
        }
        self.handle(Event::Booted { version: "simulated".into() });
        let delay = self.rng.u64(200..5 * SECOND);
        self.prepare_release(delay);
        let epoch = self.keeper.epoch;
        self.queue.push(self.now, Due::Beat(epoch));
        if self.keeper.crashes_left > 0 {
            self.keeper.crashes_left -= 1;
            self.arm_crash();
        }
    }

    /// The process dies; what was not committed is lost with it.
    pub(super) fn crash(&mut self, where_: &'static str) {
        if !self.keeper.up {
            return;
        }
        self.tally.add("keeper crashes");
        self.tally.add(where_);
        self.keeper.up = false;
        self.keeper.crash = None;
        let back = self.now + self.seconds(RESTART);
        self.queue.push(back, Due::Start);
    }

    /// The keeper's machine is lost with all that was durable, copies included, and another one takes its place.
    pub(super) fn lose_state(&mut self) {
        self.crash("crash at any time");
        self.journal.lose();
        self.backup = None;
        (self.keeper.fleet, self.keeper.knew_more) = (Fleet::default(), false);
        self.judge.state_lost();
        for rented in self.boxes.values_mut().filter(|rented| rented.node.is_some()) {
            rented.orphan = true;
        }
    }

    /// A person starts it anew.
    pub(super) fn restart(&mut self) {
        if std::mem::take(&mut self.keeper.up) {
            let back = self.now + self.seconds(RESTART);
            self.queue.push(back, Due::Start);
        }
    }

    /// The process stands still: everything it is to do waits.
    pub(super) fn freeze(&mut self, lasts: u64) {
        if !self.keeper.up || self.now < self.keeper.frozen_until {
            return;
        }
        self.keeper.frozen_until = self.now + lasts;
        let thaw = Due::Thaw { epoch: self.keeper.epoch, since: self.now };
        self.queue.push(self.keeper.frozen_until, thaw);
    }

    pub(super) fn thawed(&mut self, since: u64) {
        let gap = Duration::from_millis(self.now - since);
        if gap > self.policy.rails.stall + Duration::from_secs(1) {
            self.keeper.awake_at = self.now;
            self.judge.keeper_stalled(self.now);
            self.handle(Event::Stalled { gap });
        }
    }

    /// Kills the keeper at a drawn point of its work, now or soon.
    pub(super) fn arm_crash(&mut self) {
        const KINDS: [&str; 12] = [
            "intent",
            "created",
            "create-unresolved",
            "create-failed",
            "doomed",
            "destroy-acknowledged",
            "gone",
            "instance-up",
            "deployed",
            "adopted",
            "recovery-started",
            "incident-opened",
        ];
        if self.keeper.crash.is_some() {
            // The one before found no such point; it strikes now.
            return self.crash("crash at any time");
        }
        let point = match self.rng.u32(0..5) {
            0 => return self.crash("crash at any time"),
            1 => Point::BeforeCommit,
            2 => Point::AfterCommit,
            3 => Point::BetweenEffects,
            _ => Point::BeforeAnswer,
        };
        let kind = if self.rng.bool() { KINDS.get(self.rng.usize(0..KINDS.len())).copied() } else { None };
        self.keeper.crash = Some(Armed { point, kind });
    }
}
