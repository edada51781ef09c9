//! Boxes in hand: what a promotion moves in the truth of the world, and a configuration that wants one spare more or less.

use std::sync::Arc;

use super::{Invariant, World};
use crate::fleet::{
    event::Event,
    journal::DoomReason,
    name::{InstanceId, NodeName},
    policy::NodeSpec,
};

/// A spare that the configuration does not want for now.
#[derive(Debug)]
pub(super) struct Unwanted {
    name: NodeName,
    spec: Arc<NodeSpec>,
    since: u64,
}

impl Unwanted {
    /// What it was to be, if this is the one.
    pub(super) fn spec_of(&self, name: &NodeName) -> Option<&Arc<NodeSpec>> {
        (self.name == *name).then_some(&self.spec)
    }
}

impl World {
    /// A spare takes over a node: from now on the box is that node's.
    pub(super) fn judge_promotion(&mut self, node: &NodeName, from: &NodeName, instance: InstanceId) {
        self.tally.add("spare promoted");
        if !self.policy.spares.contains(from) && self.is_wanted(from) {
            let detail = format!("`{from}` is no spare and loses instance {instance} to `{node}`");
            return self.broken(Invariant::OneClaim, detail);
        }
        if self.judge.doomed.contains(&instance) {
            let detail = format!("doomed instance {instance} of `{from}` takes over `{node}`");
            return self.broken(Invariant::MonotoneDoom, detail);
        }
        let Some(place) = self.places.get(node).copied() else { return };
        if let Some(rented) = self.boxes.get_mut(&instance) {
            // It has to prove itself again, like any newcomer.
            (rented.node, rented.adopted) = (Some(place), false);
        }
        if let Some(from) = self.places.get(from).copied() {
            self.judge.to_refill.insert(from);
        }
    }

    /// A spare's tenant is in hand again, or for the first time.
    pub(super) fn note_refilled(&mut self, place: usize) {
        if self.judge.to_refill.remove(&place) {
            self.tally.add("spare refilled");
        }
    }

    /// Whoever is let go of because fewer spares are wanted was one too many.
    pub(super) fn judge_shed(&mut self, instance: InstanceId, node: Option<&NodeName>, reason: &DoomReason) {
        let DoomReason::Unneeded { detail } = reason else { return };
        let Some(node) = node.filter(|_| detail.contains("fewer spares")) else { return };
        self.tally.add("spare shed");
        if self.is_wanted(node) {
            let detail = format!("instance {instance} of `{node}` is let go of, and the spare is wanted");
            self.broken(Invariant::NoWrongKill, detail);
        }
    }

    /// Whether the configuration names a node now.
    pub(super) fn is_wanted(&self, node: &NodeName) -> bool {
        self.policy.nodes.contains_key(node)
    }

    /// The configuration is read anew; where there are spares it may want one less, or that one again.
    pub(super) fn reload(&mut self) {
        if let Some(Unwanted { name, spec, since }) = self.unwanted.take() {
            self.books.unwanted_ms += self.now - since;
            self.policy.nodes.insert(name.clone(), spec);
            self.policy.spares.insert(name.clone());
            self.retarget_by_name(&name);
        } else if self.rng.bool()
            && let Some(name) = self.policy.spares.last().cloned()
            && let Some(spec) = self.policy.nodes.remove(&name)
        {
            self.policy.spares.remove(&name);
            self.retarget_by_name(&name);
            self.unwanted = Some(Unwanted { name, spec, since: self.now });
        }
        if self.keeper.up {
            self.tell(0, Event::PolicyChanged);
        }
    }

    fn retarget_by_name(&mut self, name: &NodeName) {
        if let Some(place) = self.places.get(name).copied() {
            self.retarget(place);
        }
    }
}
