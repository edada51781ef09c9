//! What a start, and a time in which the keeper stood still, do to what it believes.

use std::time::Duration;

use super::{
    super::{
        command::Command,
        event::IllegalEvent,
        journal::Record,
        lateness::Lateness,
        name::{InstanceId, NodeName},
        planted::{Bug, planted},
        state::{Node, NodeState, Stage},
        tell,
        units::Timestamp,
    },
    Turn,
};

/// A journal whose last word is younger than this when a process finds it is no copy that somebody brought back.
const JOURNAL_FRESH: Duration = Duration::from_secs(600);

impl Turn<'_> {
    /// Before a process adds its first word to a journal that may lack something, whoever it is: a command that decides without a
    /// keeper would make an old copy look fresh.
    pub(super) fn weigh_journal(&mut self) -> Result<(), IllegalEvent> {
        if std::mem::replace(&mut self.memory.journal_weighed, true) {
            return Ok(());
        }
        let old = self.now().since(self.fleet.latest) > JOURNAL_FRESH;
        // One that is doubted already may have been copied since, with what was on its way then.
        let unweighed = if self.fleet.doubted {
            self.fleet.doubted_at == Timestamp(0)
        } else {
            self.fleet.ops.is_empty()
        };
        if old || unweighed { self.record(Record::JournalDoubted) } else { Ok(()) }
    }

    /// A newcomer on its way may give nothing to write for longer than a journal counts as fresh: a word now and then tells the next
    /// start that this one is no old copy.
    pub(super) fn keep_journal_fresh(&mut self) -> Result<(), IllegalEvent> {
        if self.now().since(self.fleet.latest) < JOURNAL_FRESH / 2 || self.context.policy.observe_only {
            return Ok(());
        }
        let on_its_way = |(name, node): (&NodeName, &Node)| match &node.state {
            NodeState::Recovering(recovery)
                if recovery.stage.claim().is_some()
                    && self.context.policy.nodes.contains_key(name)
                    && !self.is_left_alone(name) =>
            {
                Some((name.clone(), recovery.stage.word()))
            }
            _ => None,
        };
        let Some((node, word)) = self.fleet.nodes.iter().find_map(on_its_way) else { return Ok(()) };
        let incident = self.incident(&node);
        self.record(Record::Noted { node, incident, text: format!("still {word}") })
    }

    pub(super) fn booted(&mut self, version: String) -> Result<(), IllegalEvent> {
        self.record(Record::Booted { version })?;
        self.order(Command::List);
        self.order(Command::ReadCredit);
        self.attach_keys_again();
        self.policy_changed()
    }

    /// The last keeper may have died before it attached our key to a newcomer; one that is attached already stays so.
    fn attach_keys_again(&mut self) {
        if self.context.policy.observe_only {
            return;
        }
        let newcomer = |(name, node): (&NodeName, &Node)| match &node.state {
            NodeState::Recovering(recovery) if !self.is_left_alone(name) => match &recovery.stage {
                Stage::Booting { instance, .. } => Some(*instance),
                Stage::Deploying { tenant, .. } => Some(tenant.instance),
                Stage::Started { .. }
                | Stage::Intent { .. }
                | Stage::Unresolved { .. }
                | Stage::Probation { .. } => None,
            },
            _ => None,
        };
        let newcomers: Vec<InstanceId> = self.fleet.nodes.iter().filter_map(newcomer).collect();
        for instance in newcomers {
            self.order(Command::AttachKey { instance });
        }
    }

    pub(super) fn stalled(&mut self, gap: Duration) {
        if planted(Bug::CountWhileStalled) {
            return;
        }
        self.tilt(gap);
        let notice = tell::stalled(self.now(), gap);
        self.tell(notice);
    }

    /// A keeper that was not on time doubts itself: everything measured is stale, the counts start over and nothing begins
    /// for a while. Sentinel's TILT does the same. In `gap` it saw nothing at all.
    pub(super) fn tilt(&mut self, gap: Duration) {
        for watch in self.memory.watches.values_mut() {
            watch.start_over(self.context.now);
        }
        self.memory.desks.values_mut().for_each(|desk| desk.never_up = None);
        self.memory.awake_from = self.now();
        self.memory.trust_from = self.now().after(self.context.policy.rails.warm_up);
        let now = self.now();
        self.memory.lists.start_over(now, gap);
        self.memory.census = None;
        self.memory.lateness = Lateness::default();
        self.order(Command::List);
    }
}
