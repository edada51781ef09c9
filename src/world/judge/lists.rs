//! What must hold after each list that the keeper believed: nobody is unaccounted for.

use std::collections::BTreeSet;

use super::Invariant;
use crate::{fleet::name::InstanceId, world::World};

/// Believed lists that may show a rental which nobody claims or condemns.
const LISTS: u32 = 3;

impl World {
    pub(in crate::world) fn judge_list(&mut self, missing: &[InstanceId]) {
        let claims = self.keeper.fleet.claims().filter_map(|(_, _, instance)| instance);
        let claimed: BTreeSet<InstanceId> = claims.collect();
        let mut most = vec![0_usize; self.names.len()];
        let mut strays = Vec::new();
        let (doomed, gone) = (&self.judge.doomed, &self.judge.gone);
        // Whose attempt is on no record is a person's to judge, who must hear of it.
        let told = &self.keeper.memory.strays_told;
        for (id, rented) in &mut self.boxes {
            let Some(node) = rented.node.filter(|_| rented.alive() && rented.label.is_some()) else {
                continue;
            };
            if claimed.contains(id) {
                if let Some(count) = most.get_mut(node) {
                    *count += 1;
                }
                rented.unclaimed_lists = 0;
            } else if doomed.contains(id) && !gone.contains(id) {
                rented.unclaimed_lists = 0;
            } else if !(missing.contains(id) || rented.orphan && told.contains(id)) {
                rented.unclaimed_lists += 1;
                if rented.unclaimed_lists > LISTS {
                    strays.push(*id);
                }
            }
        }
        if let Some(node) = (0..most.len())
            .find(|node| most.get(*node).is_some_and(|claims| *claims > self.most_claims(*node)))
        {
            self.broken(Invariant::OneClaim, format!("node {node} claims several rentals"));
        }
        if let Some(id) = strays.first() {
            self.broken(
                Invariant::NoStray,
                format!("instance {id} was listed {LISTS} times and nobody accounts for it"),
            );
        }
        self.judge_doom_is_kept();
    }

    /// What was condemned is condemned until it is gone, and claimed by nobody.
    fn judge_doom_is_kept(&mut self) {
        let kept = &self.keeper.fleet.doomed;
        let lost =
            self.judge.doomed.iter().find(|id| !kept.contains_key(id) && !self.judge.gone.contains(id));
        if let Some(id) = lost.copied() {
            return self
                .broken(Invariant::MonotoneDoom, format!("instance {id} was doomed and is forgotten"));
        }
        let mut claims = self.keeper.fleet.claims().filter_map(|(_, _, instance)| instance);
        let back = claims.find(|id| self.judge.doomed.contains(id));
        drop(claims);
        if let Some(id) = back {
            self.broken(Invariant::MonotoneDoom, format!("doomed instance {id} fills a node"));
        }
        // What no list shows any more can neither come back nor be forgotten.
        let (boxes, kept) = (&self.boxes, &self.keeper.fleet.doomed);
        self.judge.gone.retain(|id| boxes.contains_key(id));
        let gone = &self.judge.gone;
        self.judge.doomed.retain(|id| kept.contains_key(id) || gone.contains(id) || boxes.contains_key(id));
    }
}
