//! Spares: boxes kept rented, deployed and healthy, of which one takes over a failed node in seconds.
//!
//! A spare is a node like any other, watched and healed; only nobody is sent to it. When a node of its group loses its
//! tenant, the spare's tenant goes on probation there and the spare is rented anew behind it. Its op stays what it was, so
//! the box goes on proving its identity. Its label still names the spare: it is changed, again and again until a list shows
//! the new one, and until then both names are known to be the same box by its id.

use std::time::Duration;

use super::{
    super::{
        command::Command,
        event::IllegalEvent,
        journal::{DoomReason, Record},
        lists::ABSENT_ALONE,
        memory::Promotion,
        name::{InstanceId, Label, NodeName, Ownership},
        plan::seeks,
        probe::Verdict,
        state::NodeState,
        tell,
    },
    Turn,
};

/// How often a label is changed until a list shows it: longer than the provider's read lag.
const RELABEL_EVERY: Duration = Duration::from_secs(30);

impl Turn<'_> {
    /// The group whose spare a node is by the configuration.
    pub(super) fn spare_of(&self, name: &NodeName) -> Option<String> {
        self.context.policy.spare_of(name).map(|group| group.as_ref().to_owned())
    }

    /// A spare of the node's group whose tenant was healthy at its last probe, on a machine that did not fail us.
    pub(super) fn ready_spare(&self, name: &NodeName) -> Option<(NodeName, InstanceId)> {
        let policy = self.context.policy;
        let wanted = policy.nodes.get(name).filter(|_| !policy.spares.contains(name))?;
        let of_group = |spare: &&NodeName| {
            policy.nodes.get(*spare).is_some_and(|spec| spec.group == wanted.group)
                && !self.is_left_alone(spare)
        };
        let ready = policy.spares.iter().filter(of_group).filter_map(|spare| {
            let node = self.node(spare).filter(|node| node.paused.is_none())?;
            let NodeState::Serving(tenant) = &node.state else { return None };
            let watch = self.memory.watches.get(spare)?;
            let seen = watch.current(&wanted.health, self.now())?;
            let well = watch.failures == 0
                && seen.verdict == Verdict::Healthy
                && seen.identity == tenant.rental.op
                && !self.bears_anothers_label(tenant.instance)
                && self.may_take(tenant.instance, spare, name);
            let blamed = self.fleet.blamed.get(&tenant.rental.machine);
            let blamed = blamed.is_some_and(|blame| blame.until > self.now());
            (well && !blamed).then(|| (spare.clone(), tenant.instance))
        });
        // Who fills this very node by its label comes first.
        ready.min_by_key(|(_, instance)| !self.is_labelled(*instance, name))
    }

    /// Whether a spare's box is not another node's already, by its label: the journal may be older than its promotion.
    fn may_take(&self, instance: InstanceId, spare: &NodeName, name: &NodeName) -> bool {
        match self.memory.lists.owners.get(&instance) {
            Some(Ownership::Ours(labelled, _)) => labelled == spare || labelled == name,
            Some(_) => true,
            None => !self.fleet.doubted,
        }
    }

    /// Whether a list shows an instance with another node's label than this one's.
    pub(super) fn fills_another(&self, instance: InstanceId, name: &NodeName) -> bool {
        matches!(self.memory.lists.owners.get(&instance), Some(Ownership::Ours(labelled, _)) if labelled != name)
    }

    /// Whether a list shows an instance with this very node's label.
    pub(super) fn is_labelled(&self, instance: InstanceId, name: &NodeName) -> bool {
        matches!(self.memory.lists.owners.get(&instance), Some(Ownership::Ours(labelled, _)) if labelled == name)
    }

    /// Puts a spare's tenant on probation at a node that failed; what the spare loses is rented anew.
    pub(super) fn promote(
        &mut self,
        name: &NodeName,
        from: &NodeName,
        instance: InstanceId,
    ) -> Result<(), IllegalEvent> {
        let again = self.is_labelled(instance, name);
        self.record(Record::Promoted { node: name.clone(), from: from.clone(), instance })?;
        let now = self.now();
        self.memory.watch(name).start_over(now);
        self.memory.watch(from).start_over(now);
        self.memory.searches.remove(name);
        let desk = self.memory.desk(name);
        desk.promoted = Some(Promotion { instance, again });
        desk.newcomer_bad_lists = 0;
        desk.offers.clear();
        self.end_episode(name);
        self.end_episode(from);
        self.relabel_promoted();
        self.pursue(from)?;
        self.pursue(name)
    }

    /// Changes the labels that lists show of boxes which fill another node than their label says. A box goes from a spare to a
    /// node and never back: where a spare's label is another node's, the journal is older than the promotion.
    pub(super) fn relabel_promoted(&mut self) {
        let now = self.now();
        let policy = self.context.policy;
        let fleet = &policy.fleet;
        let mut due = Vec::new();
        for (name, attempt, instance) in self.fleet.claims() {
            let Some(instance) = instance else { continue };
            if policy.spares.contains(name) || !policy.nodes.contains_key(name) {
                continue;
            }
            let Some(Ownership::Ours(labelled, op)) = self.memory.lists.owners.get(&instance) else {
                continue;
            };
            let last = self.memory.relabelled_at.get(&instance);
            let waits = last.is_some_and(|last| now.since(*last) < RELABEL_EVERY);
            if labelled != name && *op == attempt.op && !waits && !self.is_left_alone(name) {
                due.push((instance, Label { fleet: fleet.clone(), node: name.clone(), op: op.clone() }));
            }
        }
        for (instance, label) in due {
            self.memory.relabelled_at.insert(instance, now);
            self.order(Command::Relabel { instance, label });
        }
    }

    /// A node of the group that still looks for something to rent; spares come after it.
    pub(super) fn comes_before_spare(&self, name: &NodeName) -> Option<NodeName> {
        let policy = self.context.policy;
        let group = policy.spare_of(name)?;
        let nodes = policy.nodes.iter();
        let mut nodes = nodes.filter(|(other, spec)| spec.group == *group && !policy.spares.contains(*other));
        let seeking = nodes.find(|(other, _)| self.node(other).is_none_or(|node| seeks(&node.state)));
        seeking.map(|(other, _)| other.clone())
    }

    /// Whether a node was a spare of a group that is still there and wants fewer of them now. Where the whole group is gone
    /// from the configuration its spares are left alone like its nodes: a lost line must not cost boxes.
    pub(super) fn is_surplus(&self, name: &NodeName) -> bool {
        let policy = self.context.policy;
        let group = self.node(name).and_then(|node| node.spare_of.as_deref());
        !policy.nodes.contains_key(name)
            && group.is_some_and(|group| policy.nodes.values().any(|spec| &*spec.group == group))
    }

    /// Whether lists have lacked a node's tenant for so long that they are believed alone.
    fn is_long_missing(&self, name: &NodeName) -> bool {
        let watch = self.memory.watches.get(name);
        let since = watch.filter(|watch| watch.missing_lists > 0).and_then(|watch| watch.stopped_since);
        since.is_some_and(|since| self.now().since(since) >= ABSENT_ALONE)
    }

    /// Condemns what a surplus spare holds and forgets it; a create in doubt is settled first. What was promoted since an old copy
    /// of the journal was made fills another node now, as its label says.
    pub(super) fn shed_spare(&mut self, name: &NodeName) -> Result<(), IllegalEvent> {
        if self.context.policy.observe_only || (self.fleet.doubted && !self.guard().lists_settled()) {
            return Ok(());
        }
        let claims = self.node(name).into_iter().flat_map(|node| node.claims());
        let claims: Vec<_> = claims.map(|(attempt, instance)| (instance, attempt.price)).collect();
        for (instance, _) in &claims {
            match instance {
                None => return Ok(()),
                Some(id) if self.fills_another(*id, name) => {
                    self.tell_once(*id, tell::promoted_since);
                    return Ok(());
                }
                // What no list shows may bear another label since.
                Some(id) if self.memory.row(*id).is_none() && !self.is_long_missing(name) => return Ok(()),
                Some(_) => {}
            }
        }
        self.stop_work(name);
        for (instance, price) in claims {
            let Some(instance) = instance else { continue };
            let detail = "fewer spares are wanted".to_owned();
            self.doom(instance, Some(name), DoomReason::Unneeded { detail }, price)?;
        }
        self.retire(name)
    }
}
