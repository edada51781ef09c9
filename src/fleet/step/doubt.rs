//! What is doubted: lists that look as if they lied, boxes that the journal does not know, and the journal itself.

use std::collections::BTreeSet;

use super::{
    super::{
        event::IllegalEvent,
        journal::Record,
        lists::{ABSENT_ALONE, Absence, Lists},
        name::{InstanceId, NodeName, Ownership},
        probe::{Observation, Verdict},
        state::Fleet,
        units::Timestamp,
    },
    Turn,
};

impl Turn<'_> {
    /// Whether the last list looks like one that lies: it lacks several boxes of ours at once, those included that only lists speak
    /// of, or one that answers its probes. One that fails them while another node answers is no wonder.
    pub(super) fn is_list_doubtful(&self, began: Timestamp) -> bool {
        let (policy, rows) = (self.context.policy, &self.memory.lists.rows);
        let mut missing = self.fleet.unknown.keys().filter(|id| !rows.contains_key(id)).count();
        for (name, attempt, instance) in self.fleet.claims() {
            let at = self.fleet.ops.get(&attempt.op).map(|known| known.at);
            let is_due = at.is_none_or(|at| began >= at.after(policy.inventory.create_grace));
            let Some(instance) = instance.filter(|id| is_due && !rows.contains_key(id)) else { continue };
            let probed = self.node(name).and_then(|node| node.state.probed());
            let is_probed = probed.is_some_and(|tenant| tenant.instance == instance);
            match self.last_seen(name).filter(|_| is_probed).map(|seen| &seen.verdict) {
                Some(Verdict::Failing(_)) if self.is_another_well(name) => {}
                Some(Verdict::Failing(_)) => missing += 1,
                Some(_) => return true,
                None if policy.nodes.contains_key(name) => missing += 1,
                None => {}
            }
        }
        missing > 1
    }

    /// A node's last observation, where it is of its present box and tells how that is now.
    fn last_seen(&self, name: &NodeName) -> Option<&Observation> {
        let tenant = self.node(name)?.state.probed()?;
        let health = &self.context.policy.nodes.get(name)?.health;
        let seen = self.memory.watches.get(name)?.current(health, self.now())?;
        (seen.identity == tenant.rental.op).then_some(seen)
    }

    fn is_another_well(&self, name: &NodeName) -> bool {
        let mut peers = self.context.policy.nodes.keys().filter(|peer| *peer != name);
        peers
            .any(|peer| self.last_seen(peer).is_some_and(|seen| !matches!(seen.verdict, Verdict::Failing(_))))
    }

    /// What the journal does not know is in the way until lists lacked it as often, and for as long, as settles a create. One that
    /// was let go is known by its id: that its label was removed is not its end.
    pub(super) fn settle_unknown(&mut self, began: Timestamp) -> Result<(), IllegalEvent> {
        let policy = &self.context.policy.inventory;
        let Lists { owners, rows, steady_from, .. } = &self.memory.lists;
        let is_steady = steady_from.is_some();
        let is_ours = |id: &InstanceId| {
            let is_known = self.fleet.let_go.contains(id) && rows.contains_key(id);
            matches!(owners.get(id), Some(Ownership::Ours(..)))
                || (is_known && !self.bears_anothers_label(*id))
        };
        let unknown = self.fleet.unknown.keys().copied();
        let lost: BTreeSet<InstanceId> = unknown.filter(|id| !is_ours(id)).collect();
        let absent = &mut self.memory.lists.unknown_absent;
        absent.retain(|id, _| lost.contains(id));
        let mut gone = Vec::new();
        for id in lost {
            let absence = absent.entry(id).or_insert(Absence { lists: 0, since: began, steady_from: None });
            absence.lists += 1;
            if is_steady {
                absence.steady_from.get_or_insert(began);
            }
            let is_settled = absence.steady_from.is_some_and(|from| began.since(from) >= policy.settle)
                || began.since(absence.since) >= policy.settle.max(ABSENT_ALONE);
            if absence.lists >= policy.settle_lists && is_settled {
                gone.push(id);
            }
        }
        for instance in gone {
            self.memory.lists.unknown_absent.remove(&instance);
            // One that lists lacked by a lie, and that comes back, is told anew.
            self.memory.strays_told.remove(&instance);
            self.record(Record::UnknownGone { instance })?;
        }
        Ok(())
    }

    /// The doubt about a journal ends when lists agreed for long enough, and show nothing with our label that it does not know.
    pub(super) fn settle_journal(&mut self) -> Result<(), IllegalEvent> {
        let Fleet { unknown, let_go, .. } = &*self.fleet;
        let is_whole = unknown.keys().all(|id| let_go.contains(id));
        if self.fleet.doubted && is_whole && self.guard().lists_settled() {
            self.record(Record::JournalSettled)?;
        }
        Ok(())
    }
}
