//! What must hold of every step, judged by the truth of the world and not by what the keeper believes.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::super::super::{
        command::Command,
        event::Step,
        journal::{DoomReason, Record},
        name::{InstanceId, NodeName, OpId, Ownership, ownership},
    },
    MINUTE, Rented, WELL_FOR, World,
};

impl World {
    /// What must hold of every step, judged by the truth.
    pub(super) fn judge(&mut self, step: &Step) {
        let seed = self.seed;
        let (fleet, policy) = (&self.fleet, &self.policy);
        let mut claimed = BTreeSet::new();
        for (name, _, instance) in fleet.claims() {
            if let Some(instance) = instance {
                assert!(claimed.insert(instance), "seed {seed}: {instance} fills two nodes");
                assert!(
                    !fleet.doomed.contains_key(&instance),
                    "seed {seed}: {name} claims doomed {instance}"
                );
            }
        }
        let mut lies = 0;
        for entry in &step.entries {
            match &entry.record {
                Record::Doomed { instance, reason: DoomReason::Replaced { evidence }, .. } => {
                    let well = self.boxes.get(instance).and_then(|rented| {
                        let serving = rented.serves.is_some() && rented.ready_at.is_some();
                        rented.well_since.filter(|_| serving)
                    });
                    assert!(
                        well.is_none_or(|since| self.now - since < WELL_FOR),
                        "seed {seed}: {instance} was well, yet replaced: {evidence}"
                    );
                }
                Record::Gone { instance } if self.boxes.contains_key(instance) => lies += 1,
                _ => {}
            }
        }
        assert!(
            lies == 0 || self.now - self.lied_at < 3 * MINUTE,
            "seed {seed}: gone is not true, and no list lied"
        );
        for command in &step.commands {
            assert!(
                !(policy.observe_only && command.changes_something()),
                "seed {seed}: {command:?} while observing"
            );
            match command {
                Command::Destroy { instance } => {
                    assert!(fleet.doomed.contains_key(instance), "seed {seed}: {instance} is not doomed");
                }
                Command::Create { node, label, .. } => {
                    let open = fleet.nodes.get(node).and_then(|node| node.state.claim());
                    let intended =
                        open.is_some_and(|(attempt, claimed)| attempt.op == label.op && claimed.is_none());
                    assert!(intended, "seed {seed}: a create without its intent");
                    let rented =
                        step.records().any(|r| matches!(r, Record::Intent { op, .. } if *op == label.op));
                    assert!(rented, "seed {seed}: the intent is of another step");
                    self.judge_create(node);
                }
                _ => {}
            }
        }
    }

    /// No second create while another box of the node is alive and could have been known.
    fn judge_create(&self, node: &NodeName) {
        self.count_rails();
        if self.now - self.lied_at < 10 * MINUTE {
            return;
        }
        let kept = self.fleet.nodes.get(node).and_then(|node| node.state.tenant()).map(|kept| kept.instance);
        let twin = self.boxes.iter().find(|(id, rented)| {
            let owner = ownership(rented.label.as_deref(), &self.policy.fleet);
            matches!(owner, Ownership::Ours(of, _) if of == *node)
                && !self.fleet.doomed.contains_key(id)
                && kept != Some(**id)
                // A promoted spare may bear the spare's label for a while: whom it fills counts.
                && !self.fleet.claims().any(|(name, _, claimed)| name != node && claimed == Some(**id))
                && self.now - rented.rented_at > 3 * MINUTE
                && !self.undead.contains(id)
        });
        assert!(twin.is_none(), "seed {}: {node} is rented for while {twin:?} lives", self.seed);
    }

    /// The caps, counted by another hand than the guard's: over intents that may have rented something.
    fn count_rails(&self) {
        let failed: BTreeSet<&OpId> = self
            .journal
            .iter()
            .filter_map(|entry| match &entry.record {
                Record::CreateFailed { op, .. } => Some(op),
                _ => None,
            })
            .collect();
        let window = u64::try_from(self.policy.rails.node_window.as_millis()).unwrap();
        let mut per_node: BTreeMap<&NodeName, u32> = BTreeMap::new();
        for entry in self.journal.iter().rev().take_while(|entry| entry.at.0 + window > self.now) {
            if let Record::Intent { node, op, .. } = &entry.record
                && !failed.contains(op)
            {
                *per_node.entry(node).or_default() += 1;
            }
        }
        let most = self.policy.rails.node_creates;
        assert!(per_node.values().all(|count| *count <= most), "seed {}: {per_node:?}", self.seed);
    }

    /// Boxes of ours that no node claims.
    pub fn unclaimed(&self) -> Vec<InstanceId> {
        let claimed: BTreeSet<InstanceId> =
            self.fleet.claims().filter_map(|(_, _, instance)| instance).collect();
        let ours = |rented: &Rented| {
            matches!(ownership(rented.label.as_deref(), &self.policy.fleet), Ownership::Ours(..))
        };
        self.boxes
            .iter()
            .filter(|(id, rented)| ours(rented) && !claimed.contains(id))
            .map(|(id, _)| *id)
            .collect()
    }
}
