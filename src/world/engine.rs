//! What the engine does with the core: one event whole, decided, made durable and acted upon; timers, beat and expiry.

use super::{
    Invariant, SECOND, World,
    keeper::{Due, Point},
};
use crate::fleet::{
    command::Command,
    event::{Context, Event, IllegalEvent, Step},
    provider::{CreateAnswer, DestroyAnswer, ProviderFault},
    state::NodeState,
    step::step,
};

/// The engine's beat is a second; what the core does on it it does every five, so more would only cost time here.
const BEAT: u64 = 5 * SECOND;

impl World {
    /// An answer arrives, unless the keeper dies of it.
    pub(super) fn told(&mut self, event: Event) {
        let weighty = matches!(
            event,
            Event::CreateAnswered { .. } | Event::DestroyAnswered { .. } | Event::DeployEnded { .. }
        );
        if weighty && self.keeper.crash.is_some_and(|armed| armed.point == Point::BeforeAnswer) {
            return self.crash("crash before an answer");
        }
        match &event {
            Event::Probed { node, .. } => {
                if let Some(place) = self.places.get(node).copied() {
                    self.probed(place, event);
                }
            }
            // Whether a remedy helped is told by the probes after the keeper heard of it, unless it had given that one up.
            Event::RemedyWorked { node, instance, rung, result: Ok(_) } => {
                let state = self.keeper.fleet.nodes.get(node).map(|known| &known.state);
                let awaited = matches!(state, Some(NodeState::Remedying { tenant, rung: current, .. })
                    if tenant.instance == *instance && current == rung);
                if let Some(place) = self.places.get(node).copied().filter(|_| awaited) {
                    self.judge.start_over(place, self.now);
                }
                self.handle(event);
            }
            _ => self.handle(event),
        }
    }

    pub(super) fn tell(&mut self, delay: u64, event: Event) {
        self.queue.push(self.now + delay, Due::Tell(self.keeper.epoch, Box::new(event)));
    }

    /// One event, whole: decide, make durable, act.
    pub(super) fn handle(&mut self, event: Event) {
        let context = Context { now: self.clock(), policy: &self.policy, random: self.rng.u64(..) };
        let not_after = context.now.after(self.policy.rails.command_expiry);
        let step = match step(&mut self.keeper.fleet, &mut self.keeper.memory, event, &context) {
            Ok(step) => step,
            Err(IllegalEvent::UnknownOp { .. }) => return self.tally.add("answer of an unknown op"),
            Err(IllegalEvent::Misfit(fault)) => return self.broken(Invariant::Fold, fault.to_string()),
        };
        if step.entries.is_empty() && step.notices.is_empty() && step.commands.is_empty() {
            return self.order_looks(&step);
        }
        if !step.entries.is_empty() && !self.commit(&step) {
            return;
        }
        self.judge_step(&step);
        self.order_looks(&step);
        self.retarget_touched(&step);
        let split = self.is_armed(Point::BetweenEffects, &step) && step.commands.len() > 1;
        for command in step.commands {
            self.perform(command, not_after);
            if split {
                return self.crash("crash between effects");
            }
        }
    }

    /// Makes a step durable, unless the keeper dies before, right after, or of it.
    fn commit(&mut self, step: &Step) -> bool {
        if self.is_armed(Point::BeforeCommit, step) {
            self.keeper.knew_more = true;
            self.crash("crash before a commit");
            return false;
        }
        let fails = std::mem::take(&mut self.keeper.commit_fails);
        if fails && self.rng.bool() {
            self.keeper.knew_more = true;
            self.crash("commit of unknown outcome");
            return false;
        }
        if let Err(fault) = self.journal.append(&step.entries) {
            self.broken(Invariant::Fold, format!("a record cannot be written: {fault}"));
            return false;
        }
        if fails || self.is_armed(Point::AfterCommit, step) {
            self.judge_step(step);
            self.crash(if fails { "commit of unknown outcome" } else { "crash after a commit" });
            return false;
        }
        true
    }

    fn is_armed(&self, point: Point, step: &Step) -> bool {
        self.keeper.crash.is_some_and(|armed| {
            let meant = armed.kind.is_none_or(|kind| step.records().any(|record| record.kind() == kind));
            armed.point == point && meant && !step.entries.is_empty()
        })
    }

    fn order_looks(&mut self, step: &Step) {
        for (node, at) in &step.looks {
            let Some(place) = self.places.get(node).copied() else { continue };
            let at = self.moment(*at).max(self.now);
            let Some(pending) = self.keeper.looks.get_mut(place) else { continue };
            if pending.is_none_or(|earlier| earlier > at) {
                *pending = Some(at);
                self.queue.push(at, Due::Look { epoch: self.keeper.epoch, node: place });
            }
        }
    }

    pub(super) fn look(&mut self, node: usize) {
        let Some(pending) = self.keeper.looks.get_mut(node) else { return };
        if pending.is_none_or(|at| at > self.now) {
            return;
        }
        *pending = None;
        if let Some(node) = self.names.get(node).cloned() {
            self.handle(Event::Look { node });
        }
    }

    /// What time alone brings: lists, credit, canaries.
    pub(super) fn beat(&mut self) {
        self.queue.push(self.now + BEAT, Due::Beat(self.keeper.epoch));
        self.handle(Event::Beat);
        if self.now >= self.keeper.next_list {
            self.list();
        }
        if self.now >= self.keeper.next_credit {
            self.keeper.next_credit = self.now + 300 * SECOND;
            self.read_credit();
        }
        let canaries = !self.policy.rails.canaries.is_empty() && self.now >= self.keeper.next_canaries;
        if canaries && self.keeper.memory.watches.values().any(|watch| watch.failures > 0) {
            self.keeper.next_canaries = self.now + 15 * SECOND;
            self.check_self();
        }
        if let Some(at) = self.judge.look_at_rails(self.now) {
            self.judge.rails_seen_at = at;
            self.tally_rails();
        }
    }

    /// A destroy or create that expired before it was sent.
    pub(super) fn expired(&mut self, command: Command) {
        self.tally.add("command expired unsent");
        let event = match command {
            Command::Create { node, label, .. } => {
                let answer = CreateAnswer::NotSent("the command expired".into());
                Event::CreateAnswered { node, op: label.op, answer }
            }
            Command::Destroy { instance } => {
                let detail = "the command expired".into();
                let fault = ProviderFault::Unreachable { detail };
                Event::DestroyAnswered { instance, answer: DestroyAnswer::Failed(fault) }
            }
            _ => return,
        };
        self.tell(0, event);
    }
}
