//! Copies of the journal that somebody makes now and then, of which one is brought back when the keeper's disk is lost: its
//! keeper believes what was true hours ago.

use super::{Fault, HOUR, Invariant, MINUTE, SECOND, World, judge::Judge, keeper::Due};
use crate::fleet::{
    name::{InstanceId, NodeName, Ownership, ownership},
    state::{Fleet, NodeState},
    units::Timestamp,
};

/// A copy whose last word is younger than this by the clock of its keeper's machine passes for the journal itself; nobody
/// brings back such a one here.
const OLD: u64 = 11 * MINUTE;

/// A copy, with what the judge had heard from the journal until then.
#[derive(Debug)]
pub(super) struct Backup {
    words: usize,
    fleet: Fleet,
    judge: Judge,
}

impl World {
    pub(super) fn schedule_backup(&mut self) {
        if self.faults.iter().any(|(fault, _)| *fault == Fault::StateRestored) {
            let wait = self.rng.u64(30 * MINUTE..6 * HOUR);
            self.queue.push(self.now + wait, Due::Backup);
        }
    }

    pub(super) fn back_up(&mut self) {
        if !self.stormy {
            return;
        }
        // A copy is worst while something is on its way, so such a moment is waited for, for some minutes.
        if !self.is_something_on_its_way() && self.rng.u32(0..30) != 0 {
            return self.queue.push(self.now + 10 * SECOND, Due::Backup);
        }
        self.schedule_backup();
        match self.journal.copied() {
            Ok((words, fleet)) => {
                self.backup = Some(Backup { words, fleet, judge: self.judge.clone() });
            }
            Err(fault) => self.broken(Invariant::Fold, format!("the journal does not fold: {fault}")),
        }
    }

    fn is_something_on_its_way(&self) -> bool {
        let mut states = self.keeper.fleet.nodes.values().map(|node| &node.state);
        states
            .any(|state| matches!(state, NodeState::Recovering(recovery) if recovery.stage.claim().is_some()))
    }

    /// The keeper's disk is lost, and the last copy of its journal takes the journal's place.
    pub(super) fn restore_state(&mut self) {
        let clock = Timestamp(self.now.saturating_add_signed(self.wall_error));
        let old = |backup: &mut Backup| clock.0 > backup.fleet.latest.0 + OLD;
        let Some(Backup { words, fleet, judge }) = self.backup.take_if(old) else { return };
        self.tally.add("old copy of the journal brought back");
        self.crash("crash at any time");
        self.judge.state_restored(judge);
        for rented in self.boxes.values_mut().filter(|rented| rented.node.is_some()) {
            let known =
                rented.op.as_ref().is_some_and(|op| fleet.ops.contains_key(op) || fleet.old_ops.contains(op));
            (rented.orphan, rented.unclaimed_lists) = (!known, 0);
        }
        self.believe_labels(&fleet);
        self.journal.bring_back(words, fleet);
        self.keeper.knew_more = true;
    }

    /// What was promoted since the copy, and is not labelled anew yet, is its spare's again: nothing tells of it any more.
    fn believe_labels(&mut self, fleet: &Fleet) {
        let claims: Vec<(&NodeName, InstanceId)> =
            fleet.claims().filter_map(|(name, _, instance)| Some((name, instance?))).collect();
        for (name, instance) in claims {
            let Some(rented) = self.boxes.get_mut(&instance) else { continue };
            let labelled = ownership(rented.label.as_deref(), &self.policy.fleet);
            if !matches!(labelled, Ownership::Ours(other, _) if other != *name) {
                rented.node = self.places.get(name).copied();
            }
        }
    }
}
