//! Condemned instances: DELETE repeated until complete lists prove them gone.
//!
//! Doom is monotone and an instance's id is never reused, so a repeated, late or stale DELETE does no harm. What bears
//! another's label is never destroyed, doomed or not.

use std::time::Duration;

use super::{
    super::{
        command::Command,
        event::IllegalEvent,
        journal::{DoomReason, Record},
        name::{InstanceId, NodeName, Ownership},
        planted::{Bug, planted},
        provider::DestroyAnswer,
        tell,
        units::{Money, Timestamp},
    },
    LONGEST_WAIT, LOOK_AGAIN, Turn,
};

/// How often DELETE is repeated while an instance is listed.
const DESTROY_EVERY: Duration = Duration::from_secs(30);
/// A doomed instance that lives on for this long is told to a human: it may cost money.
const UNDYING: Duration = Duration::from_secs(900);

impl Turn<'_> {
    /// Condemns an instance and sends the destroy.
    pub(super) fn doom(
        &mut self,
        instance: InstanceId,
        node: Option<&NodeName>,
        reason: DoomReason,
        price: Money,
    ) -> Result<(), IllegalEvent> {
        if !self.fleet.doomed.contains_key(&instance) && !planted(Bug::DestroyWithoutDoom) {
            let evidence = node.and_then(|node| self.evidence_wanted(node, &reason));
            self.record(Record::Doomed { instance, node: node.cloned(), reason, price })?;
            if let (Some(node), Some(known)) = (node, evidence) {
                self.take_evidence(node, instance, known);
            }
        }
        // The list that made this decision due may have had it started a moment before, in the same breath.
        let starts = |command: &Command| matches!(command, Command::Start { instance: started, .. } if *started == instance);
        self.step.commands.retain(|command| !starts(command));
        self.send_destroy(instance);
        Ok(())
    }

    /// Abandons the work on a node's box, which is condemned or given up.
    pub(super) fn stop_work(&mut self, node: &NodeName) {
        if std::mem::take(&mut self.memory.desk(node).working) {
            self.order(Command::StopWork { node: node.clone() });
        }
    }

    /// Sends DELETE, unless one went out or failed a moment ago.
    pub(super) fn send_destroy(&mut self, instance: InstanceId) {
        let now = self.now();
        // Before the first list of this life nobody knows whose label it bears by now.
        let unread = self.memory.lists.last_started_at.is_none();
        if self.context.policy.observe_only || unread {
            return;
        }
        if self.bears_anothers_label(instance) {
            self.tell_once(instance, tell::relabelled);
            return;
        }
        let chase = self.memory.chases.entry(instance).or_default();
        if now < chase.next_at {
            return;
        }
        chase.wants_evidence = false;
        chase.next_at = now.after(DESTROY_EVERY);
        self.order(Command::Destroy { instance });
    }

    /// Whether somebody gave an instance another label than ours. One whose label was removed is nobody else's: ids are never
    /// given twice, so it is still ours by its id, and a human was told when it was seen first.
    pub(super) fn bears_anothers_label(&self, instance: InstanceId) -> bool {
        let label = self.memory.row(instance).and_then(|row| row.label.as_deref());
        let ours = matches!(self.memory.lists.owners.get(&instance), Some(Ownership::Ours(..)));
        label.is_some_and(|label| !label.is_empty()) && !ours
    }

    pub(super) fn destroy_answered(
        &mut self,
        instance: InstanceId,
        answer: DestroyAnswer,
    ) -> Result<(), IllegalEvent> {
        let now = self.now();
        let Some(doomed) = self.fleet.doomed.get(&instance) else { return Ok(()) };
        let node = doomed.node.clone();
        match answer {
            DestroyAnswer::Acknowledged if doomed.acknowledged_at.is_none() => {
                self.record(Record::DestroyAcknowledged { instance })?;
                if planted(Bug::GoneOnAcknowledgement) {
                    self.record(Record::Gone { instance })?;
                }
                self.order(Command::List);
            }
            DestroyAnswer::Acknowledged => {}
            DestroyAnswer::Failed(fault) => {
                let wait = fault.retry_after().unwrap_or(LOOK_AGAIN).min(LONGEST_WAIT);
                self.memory.chases.entry(instance).or_default().next_at = now.after(wait);
                if planted(Bug::GoneOnFailure) {
                    self.record(Record::Gone { instance })?;
                }
                self.provider_refused(&fault);
            }
        }
        match node {
            Some(node) => self.pursue(&node),
            None => Ok(()),
        }
    }

    /// What a complete list begun at `began` says: still listed means destroy again, absent from enough lists begun after
    /// the acknowledgement means gone.
    pub(super) fn settle_doomed(&mut self, began: Timestamp) -> Result<(), IllegalEvent> {
        let enough = self.context.policy.inventory.gone_lists.max(1);
        let doomed: Vec<(InstanceId, Option<Timestamp>)> =
            self.fleet.doomed.iter().map(|(id, doomed)| (*id, doomed.acknowledged_at)).collect();
        for (instance, acknowledged) in doomed {
            let listed = self.memory.lists.rows.contains_key(&instance);
            let proven = acknowledged.is_some_and(|at| began > at);
            let chase = self.memory.chases.entry(instance).or_default();
            chase.absent_lists = if !listed && proven { chase.absent_lists.saturating_add(1) } else { 0 };
            if chase.absent_lists >= enough {
                self.record(Record::Gone { instance })?;
                self.memory.chases.remove(&instance);
            } else if (listed && !planted(Bug::UndeadForgotten)) || acknowledged.is_none() {
                self.send_destroy(instance);
                self.tell_undying(instance);
            }
        }
        Ok(())
    }

    /// Without lists, only what was never acknowledged is asked for again.
    pub(super) fn chase_unacknowledged(&mut self) {
        let waiting: Vec<InstanceId> = self
            .fleet
            .doomed
            .iter()
            .filter(|(_, doomed)| doomed.acknowledged_at.is_none())
            .map(|(id, _)| *id)
            .collect();
        for instance in waiting {
            self.send_destroy(instance);
            self.tell_undying(instance);
        }
    }

    fn tell_undying(&mut self, instance: InstanceId) {
        let now = self.now();
        let Some(doomed) = self.fleet.doomed.get(&instance) else { return };
        let lasted = now.since(doomed.since);
        if lasted < UNDYING
            || std::mem::replace(&mut self.memory.chases.entry(instance).or_default().told, true)
        {
            return;
        }
        let notice = tell::undying(now, instance, doomed, lasted);
        self.tell(notice);
    }
}
