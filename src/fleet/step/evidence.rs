//! Before a box is destroyed it shows how it ended, where it still can: taken aside, and never for longer than the deadline.
//!
//! The sentence is journaled first, so nothing here can save or lose a box: a keeper that dies meanwhile destroys it at its next
//! start, without evidence.

use std::{fmt::Write as _, time::Duration};

use super::{
    super::{
        command::Command,
        event::IllegalEvent,
        journal::{DoomReason, Record},
        name::{InstanceId, NodeName},
        state::{NodeState, Recovery, Stage},
        timeline::doom_text,
        watch::{Witness, Word},
    },
    Turn,
};

impl Turn<'_> {
    /// What is known of a box that is about to be condemned, where it can probably still be asked.
    pub(super) fn evidence_wanted(&self, name: &NodeName, reason: &DoomReason) -> Option<String> {
        let rails = &self.context.policy.rails;
        if rails.evidence.is_zero() || self.context.policy.observe_only {
            return None;
        }
        let watch = self.memory.watches.get(name);
        let reachable = match reason {
            DoomReason::Replaced { .. } => {
                let word =
                    watch.and_then(|watch| watch.testimony(Witness::Ssh, self.now(), rails.witness_fresh));
                matches!(word, Some(Word::Up(_) | Word::Down(_)))
            }
            DoomReason::FailedToStart { .. } => matches!(
                self.node(name).map(|node| &node.state),
                Some(NodeState::Recovering(Recovery {
                    stage: Stage::Deploying { .. } | Stage::Probation { .. },
                    ..
                }))
            ),
            DoomReason::BrokenCreate { .. }
            | DoomReason::Stray
            | DoomReason::Unneeded { .. }
            | DoomReason::Planned { .. }
            | DoomReason::Manual { .. } => false,
        };
        reachable.then(|| {
            let mut known = format!("node {name}: {}\n", doom_text(reason));
            if let Some(watch) = watch {
                let shown = watch.checks.min(64);
                let history: String =
                    (0..shown).rev().map(|i| if watch.history >> i & 1 == 1 { 'x' } else { '.' }).collect();
                let _ = writeln!(known, "last probes, oldest first: {history}");
                let _ = writeln!(
                    known,
                    "{} failures in a row, the first: {}",
                    watch.failures,
                    watch.failure_text()
                );
            }
            known
        })
    }

    pub(super) fn take_evidence(&mut self, name: &NodeName, instance: InstanceId, known: String) {
        let (now, limit) = (self.now(), self.context.policy.rails.evidence);
        let chase = self.memory.chases.entry(instance).or_default();
        chase.wants_evidence = true;
        chase.next_at = now.after(limit);
        let incident = self.incident(name);
        // What is not there in time would only delay the destroy.
        let limit = limit.saturating_sub(Duration::from_millis(200));
        self.order(Command::TakeEvidence { node: name.clone(), instance, incident, known, limit });
        self.look(name, now.after(self.context.policy.rails.evidence));
    }

    pub(super) fn evidence_taken(
        &mut self,
        name: &NodeName,
        instance: InstanceId,
        result: Result<String, String>,
    ) -> Result<(), IllegalEvent> {
        let text = match result {
            Ok(place) => format!("evidence of instance {instance}: {place}"),
            Err(why) => format!("no evidence of instance {instance} could be kept: {why}"),
        };
        let incident = self.incident(name);
        if self.fleet.nodes.contains_key(name) {
            self.record(Record::Noted { node: name.clone(), incident, text })?;
        }
        self.destroy_after_evidence(instance);
        Ok(())
    }

    /// The deadline of a look: whoever still waits for evidence waits no longer.
    pub(super) fn waited_for_evidence(&mut self, name: &NodeName) {
        let now = self.now();
        let due: Vec<InstanceId> = self
            .memory
            .chases
            .iter()
            .filter(|(_, chase)| chase.wants_evidence && chase.next_at <= now)
            .map(|(instance, _)| *instance)
            .filter(|instance| {
                let doomed = self.fleet.doomed.get(instance);
                doomed.is_some_and(|doomed| doomed.node.as_ref() == Some(name))
            })
            .collect();
        for instance in due {
            self.destroy_after_evidence(instance);
        }
    }

    fn destroy_after_evidence(&mut self, instance: InstanceId) {
        let now = self.now();
        let unsent = self.fleet.doomed.get(&instance).is_some_and(|doomed| doomed.acknowledged_at.is_none());
        if let Some(chase) =
            self.memory.chases.get_mut(&instance).filter(|chase| chase.wants_evidence && unsent)
        {
            chase.next_at = now;
            self.send_destroy(instance);
        }
    }
}
