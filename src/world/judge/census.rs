//! Mass sickness: who begins to recover while how many others are sick, by the judge's own count of what reached the keeper.

use std::{collections::BTreeSet, time::Duration};

use super::Invariant;
use crate::{
    fleet::{
        breaker::Position,
        event::Step,
        journal::{Cause, DoomReason, Record},
        name::NodeName,
        state::NodeState,
        units::{Timestamp, millis},
    },
    world::World,
};

impl World {
    pub(super) fn judge_start(&mut self, at: Timestamp, node: &NodeName, cause: &Cause, step: &Step) {
        let fills = |name| {
            let state = self.keeper.fleet.nodes.get(name).map(|node| &node.state);
            state.is_some_and(|state| state.tenant().is_none())
        };
        let nobody_is_sick = match cause {
            Cause::Wanted | Cause::Manual { .. } => true,
            Cause::Imported => fills(node),
            Cause::Failing { .. } | Cause::Vanished | Cause::Planned { .. } => false,
        };
        if nobody_is_sick {
            self.judge.last_start = self.judge.last_start.max(self.counted(node).then_some(at));
            return;
        }
        let (filled, healthy, sick) = self.census(node, &Acting::of(step, node));
        let rails = &self.policy.rails;
        let many = sick >= rails.breaker_count
            && u64::from(sick) * 100 >= u64::from(rails.breaker_percent) * u64::from(filled + 1);
        let last = self.judge.last_start.replace(at);
        // Who is replaced ahead of trouble is healthy itself, and is kept until another has proven itself.
        let itself = matches!(cause, Cause::Planned { .. });
        if filled >= 2 && healthy == 0 && sick > 0 && !itself {
            let detail = format!("`{node}` is recovered although none of {filled} nodes is healthy");
            return self.broken(Invariant::MassAction, detail);
        }
        let spaced = last
            .is_none_or(|last| at < last || at.since(last) + Duration::from_secs(1) >= rails.breaker_spacing);
        if many && !spaced {
            let detail = format!(
                "`{node}` is recovered while {sick} of {filled} nodes are sick, too soon after another"
            );
            self.broken(Invariant::MassAction, detail);
        }
    }

    /// When a hold ends, what was measured in it is no evidence against a single box.
    pub(super) fn judge_breaker(&mut self, to: Position, step: &Step) {
        let held = std::mem::replace(&mut self.judge.held, to == Position::Hold);
        if !held || to == Position::Hold {
            return;
        }
        let (now, fresh) = (self.clock(), self.policy.rails.witness_fresh);
        for (place, name) in self.names.iter().enumerate() {
            let watch = self.keeper.memory.watches.get(name);
            // What is recovered in the same step was judged by what is forgotten since.
            let recovered = step
                .records()
                .any(|record| matches!(record, Record::RecoveryStarted { node, .. } if node == name));
            if !recovered && !watch.is_some_and(|watch| watch.is_confirmed(now, fresh)) {
                self.judge.start_over_failing(place, self.now);
            }
        }
    }

    fn counted(&self, node: &NodeName) -> bool {
        self.judge.ever_filled.get(self.place(node)).copied().unwrap_or_default()
    }

    /// Nodes with a tenant that was probed lately, those that are healthy, and those that look sick without the provider or
    /// the box itself saying so. What is being recovered right now is left out, and of what else begins in the same step those
    /// in `witnessed` are not sick: the core forgets a witness's word as soon as it has acted on it.
    pub(super) fn census(&self, except: &NodeName, acting: &Acting<'_>) -> (u32, u32, u32) {
        let (mut filled, mut healthy, mut sick) = (0, 0, 0);
        let fresh = self.policy.rails.witness_fresh;
        let now = self.clock();
        for (place, name) in self.names.iter().enumerate().filter(|(_, name)| *name != except) {
            if acting.gave.contains(name) {
                // It was in hand and well when it was given away.
                (filled, healthy) = (filled + 1, healthy + 1);
                continue;
            }
            let (Some(seen), Some(node)) = (self.judge.seen.get(place), self.keeper.fleet.nodes.get(name))
            else {
                continue;
            };
            // What was seen of a newcomer that this very step gave up says nothing of the tenant beside it.
            let same =
                node.state.probed().is_some_and(|probed| Some(&probed.rental.op) == seen.identity.as_ref());
            let in_play =
                same && node.state.tenant().is_some() && !matches!(node.state, NodeState::Held { .. });
            let Some(spec) = self.policy.nodes.get(name) else { continue };
            let Some(last) = seen.last.filter(|_| in_play) else { continue };
            if self.now - last > 2 * millis(spec.health.interval) {
                continue;
            }
            filled += 1;
            if seen.failures == 0 {
                healthy += 1;
                continue;
            }
            if acting.later.contains(name) && acting.witnessed.contains(name) {
                continue;
            }
            // Who confirms a death is asked of the core's memory of the witnesses: their words are events of the world.
            let watch = self.keeper.memory.watches.get(name);
            // A probe that was under way when the counts started over reached the keeper, and told it nothing.
            if watch.is_none_or(|watch| watch.last.is_none()) {
                filled -= 1;
                continue;
            }
            let confirmed =
                acting.witnessed.contains(name) || watch.is_some_and(|watch| watch.is_confirmed(now, fresh));
            if !confirmed && seen.failures * 2 >= spec.health.failure_threshold {
                sick += 1;
            }
        }
        (filled, healthy, sick)
    }
}

/// What else a step does beside the recovery that is judged.
#[derive(Default)]
pub(super) struct Acting<'a> {
    /// Nodes of which it says, on record, that a witness confirms their end and that something is done about it.
    witnessed: BTreeSet<&'a NodeName>,
    /// Those at which that begins after the recovery: they are still counted when it is decided.
    later: BTreeSet<&'a NodeName>,
    /// Spares that give their box away after it.
    gave: BTreeSet<&'a NodeName>,
}

impl<'a> Acting<'a> {
    fn of(step: &'a Step, judged: &NodeName) -> Self {
        let mut acting = Self::default();
        let mut after = false;
        for record in step.records() {
            let begun = match record {
                Record::Promoted { from, .. } if after => {
                    acting.gave.insert(from);
                    continue;
                }
                Record::RecoveryStarted { node, keeps: Some(DoomReason::Replaced { evidence }), .. }
                | Record::Doomed { node: Some(node), reason: DoomReason::Replaced { evidence }, .. }
                | Record::RemedyStarted { node, permit: evidence, .. } => Some((node, evidence)),
                _ => None,
            };
            after |= matches!(record, Record::RecoveryStarted { node, .. } if node == judged);
            let Some((node, _)) = begun.filter(|(_, evidence)| names_a_witness(evidence)) else { continue };
            acting.witnessed.insert(node);
            if after && node != judged {
                acting.later.insert(node);
            }
        }
        acting
    }
}

fn names_a_witness(evidence: &str) -> bool {
    ["; the provider: ", "; the box itself: "].iter().any(|witness| evidence.contains(witness))
}
