//! What happens next at a node, and when: the deadlines that every waiting state carries, in words.

use std::time::Duration;

use super::Scene;
use crate::fleet::{
    journal::HeldReason,
    policy::{NodeSpec, Rung},
    state::{NodeState, Recovery, Stage},
    units::Timestamp,
};

type Next = (String, Option<Timestamp>);

impl Scene<'_> {
    pub(super) fn next(&self) -> Next {
        let Some(spec) = self.policy.nodes.get(self.name) else {
            let text = "no longer configured: it is left alone until a person destroys it".to_owned();
            return (text, None);
        };
        if let Some(pause) = &self.node.paused {
            return (
                format!("nothing while it is paused by {}: `vast-keeper resume {}`", pause.by, self.name),
                None,
            );
        }
        match &self.node.state {
            NodeState::Held { reason: HeldReason::AttemptsUsedUp { .. }, since, .. }
                if !self.policy.rails.held_retry.is_zero() =>
            {
                let text =
                    format!("its attempts begin anew; at once with `vast-keeper resume {}`", self.name);
                (text, Some(since.after(self.policy.rails.held_retry)))
            }
            NodeState::Held { .. } => {
                (format!("nothing by itself: mend the cause, then `vast-keeper resume {}`", self.name), None)
            }
            NodeState::Serving(_) => self.next_probe(spec),
            NodeState::Vacant => {
                self.unless_kept_back("it is filled: an offer is searched and rented".into())
            }
            NodeState::Suspect { .. } => {
                let rung = self.next_rung(spec);
                self.unless_kept_back(rung.map_or_else(
                    || "it is held for a human: every remedy of its ladder was tried".into(),
                    |rung| format!("the next remedy of its ladder: `{}`", rung.word()),
                ))
            }
            NodeState::Remedying { rung, deadline, .. } => {
                let text = format!("`{}` must have helped by then, or the next remedy follows", rung.word());
                (text, Some(*deadline))
            }
            NodeState::Recovering(recovery) => self.next_of(recovery, spec),
        }
    }

    /// The rail in the way, or what happens when none is.
    fn unless_kept_back(&self, otherwise: String) -> Next {
        match self.memory.desks.get(self.name).and_then(|desk| desk.blocked.as_ref()) {
            Some(blocked) => {
                (format!("kept back by the rail `{}`; then: {otherwise}", blocked.rail), blocked.until)
            }
            None => (otherwise, None),
        }
    }

    fn next_probe(&self, spec: &NodeSpec) -> Next {
        let health = &spec.health;
        let last = self.watch.last.as_ref().map(|last| last.at);
        let missing = health.failure_threshold.max(1).saturating_sub(self.watch.failures);
        if self.watch.failures == 0 {
            return ("nothing: it serves; the next probe".into(), last.map(|at| at.after(health.interval)));
        }
        let noun = if missing == 1 { "failure" } else { "failures" };
        let text = format!("{missing} more {noun} in a row make it suspect");
        (text, last.map(|at| at.after(health.retry_interval.saturating_mul(missing))))
    }

    fn next_rung(&self, spec: &NodeSpec) -> Option<Rung> {
        let again = self.policy.rails.remedy_again;
        spec.ladder.iter().copied().find(|rung| !self.node.was_tried(*rung, self.now, again))
    }

    fn next_of(&self, recovery: &Recovery, spec: &NodeSpec) -> Next {
        let most = self.policy.rails.attempts.max(1);
        let attempt = format!("attempt {} of {most}", recovery.attempts.saturating_add(1));
        let limits = &spec.deadlines;
        let by = |since: &Timestamp, limit: Duration| Some(since.after(limit));
        match &recovery.stage {
            Stage::Started { not_before, .. } => {
                let (text, until) =
                    self.unless_kept_back(format!("{attempt}: an offer is searched and rented"));
                (text, until.or((*not_before > self.now).then_some(*not_before)))
            }
            Stage::Intent { .. } => (format!("{attempt}: the answer to its create is awaited"), None),
            Stage::Unresolved { attempt: open, since } => {
                let inventory = &self.policy.inventory;
                let seen = self.memory.absent.get(&open.op).copied().unwrap_or(0);
                let text = format!(
                    "{attempt}: complete lists decide whether its create rented anything, {seen} of {} had no trace of it",
                    inventory.settle_lists
                );
                (text, by(since, inventory.settle))
            }
            Stage::Booting { since, .. } => {
                (format!("{attempt}: it must run by then, or another is rented"), by(since, limits.boot))
            }
            Stage::Deploying { since, .. } => (
                format!("{attempt}: its deploy must end by then, or another is rented"),
                by(since, limits.deploy),
            ),
            Stage::Probation { since, .. } => {
                let text = format!(
                    "{attempt}: {} of {} good probes in a row; it must be healthy by then, or another is rented",
                    self.watch.successes, spec.health.success_threshold
                );
                (text, by(since, limits.probation))
            }
        }
    }
}
