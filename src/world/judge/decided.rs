//! What must hold of a step: judged when its records are durable and before its commands are performed.

use std::{collections::BTreeSet, time::Duration};

use super::{Account, Invariant, Ticket};
use crate::{
    fleet::{
        breaker::Position,
        event::Step,
        journal::{Cause, DoomReason, Outcome, Record},
        name::{InstanceId, NodeName, OpId},
        policy::HealthPolicy,
        state::NodeState,
        units::{Timestamp, millis},
    },
    world::{SECOND, World, boxes::Oddity},
};

/// A verdict travels this long at most from the box to the decision, beside a probe's own time: latency of the loop.
const SLACK: u64 = 15 * SECOND;

impl World {
    pub(in crate::world) fn judge_step(&mut self, step: &Step) {
        self.judge_alerts(step);
        for entry in &step.entries {
            self.judge_record(entry.at, &entry.record, step);
            if self.judge.violation.is_some() {
                return;
            }
        }
    }

    fn place(&self, node: &NodeName) -> usize {
        self.places.get(node).copied().unwrap_or(usize::MAX)
    }

    fn judge_record(&mut self, at: Timestamp, record: &Record, step: &Step) {
        match record {
            Record::Intent { node, op, price, .. } => self.judge_intent(at, node, op, *price),
            Record::Doomed { instance, node, reason, price } => {
                self.judge_doom(at, *instance, node.as_ref(), reason, *price, step);
            }
            Record::DestroyAcknowledged { instance } => {
                if let Some(account) = self.judge.accounts.get_mut(instance) {
                    account.to.get_or_insert(at);
                }
            }
            Record::Gone { instance } => self.judge_gone(*instance),
            Record::Created { node, op, instance } => self.judge_created(at, node, op, *instance),
            Record::CreateFailed { op, .. } => self.judge.create_failed(op),
            Record::CreateAbandoned { .. } => self.tally.add("create settled as absent"),
            Record::InstanceUp { instance, .. } | Record::Deployed { instance, .. }
                if self.judge.doomed.contains(instance) =>
            {
                self.broken(Invariant::MonotoneDoom, format!("work goes on with doomed instance {instance}"));
            }
            Record::Deployed { node, .. } | Record::RemedyStarted { node, .. } => {
                self.judge.start_over(self.place(node), self.now);
            }
            Record::Adopted { node, instance } => self.judge_adoption(at, node, *instance),
            Record::RecoveryStarted { node, cause, keeps, .. } => {
                self.judge_start(at, node, cause, step);
                if let Some(DoomReason::Replaced { evidence }) = keeps {
                    self.judge_kept(at, node, evidence);
                }
                if keeps.is_some() {
                    // Whether the old one comes back is told by the probes from here on.
                    self.judge.start_over(self.place(node), self.now);
                }
            }
            Record::ReplacementCancelled { .. } => self.tally.add("replacement cancelled"),
            Record::Held { .. } => self.tally.add("held"),
            Record::IncidentClosed { outcome: Outcome::ByItself, .. } => {
                self.tally.add("recovery not needed")
            }
            Record::Noted { text, .. } if text.starts_with("veto") => self.tally.add("witness vetoed"),
            Record::BreakerMoved { to } => self.judge_breaker(*to, step),
            Record::KeyAccepted { accepted: false } => self.tally.add("key refused"),
            _ => {}
        }
    }

    fn judge_intent(&mut self, at: Timestamp, node: &NodeName, op: &OpId, price: crate::fleet::units::Money) {
        let place = self.place(node);
        let silent = self.keeper.fleet.nodes.get(node).is_some_and(|node| node.paused.is_some());
        if silent {
            self.broken(Invariant::Silence, format!("`{node}` is paused and rented for"));
        }
        let replacement = self.judge.ever_filled.get(place).copied().unwrap_or_default();
        let ticket = Ticket { node: place, price, at, replacement, sent: false, failed: false };
        if !self.judge.intended(op, ticket) {
            self.broken(Invariant::OneSend, format!("op {op} is intended twice"));
        }
    }

    fn judge_created(&mut self, at: Timestamp, node: &NodeName, op: &OpId, instance: InstanceId) {
        if self.judge.doomed.contains(&instance) {
            self.broken(
                Invariant::MonotoneDoom,
                format!("doomed instance {instance} comes back for `{node}`"),
            );
        }
        if self.judge.doubted.contains(op) {
            self.tally.add("create resolved by its label");
        }
        let ticket = self.judge.ticket(op);
        let (price, from) = ticket.map_or_else(Default::default, |ticket| (ticket.price, ticket.at));
        self.judge.accounts.entry(instance).or_insert(Account { price, from, to: None });
        self.judge.op_of.insert(instance, op.clone());
        let _ = at;
    }

    fn judge_gone(&mut self, instance: InstanceId) {
        self.tally.add("gone");
        self.judge.gone.insert(instance);
        if !self.judge.doomed.contains(&instance) {
            self.broken(Invariant::MonotoneDoom, format!("instance {instance} is gone and was never doomed"));
        }
        let lists = u64::from(self.policy.inventory.gone_lists.max(1));
        let lied_for = 2 * 60 * SECOND + lists * millis(self.policy.inventory.interval);
        let alive = self.boxes.get(&instance).filter(|rented| rented.alive());
        if alive.is_some_and(|rented| self.now > rented.hidden_at + lied_for) {
            self.broken(Invariant::GoneIsTrue, format!("instance {instance} is said to be gone, and lives"));
        }
    }

    fn judge_adoption(&mut self, at: Timestamp, node: &NodeName, instance: InstanceId) {
        let place = self.place(node);
        if self.judge.doomed.contains(&instance) {
            self.broken(Invariant::MonotoneDoom, format!("doomed instance {instance} is adopted"));
        }
        let wanted = self.policy.nodes.get(node).map_or(1, |spec| spec.health.success_threshold.max(1));
        let op = self.judge.op_of.get(&instance).cloned();
        let proven =
            self.judge.seen.get(place).is_some_and(|seen| seen.successes >= wanted && seen.identity == op);
        if !proven {
            self.broken(Invariant::Identity, format!("instance {instance} is adopted for `{node}` unproven"));
        }
        if self.judge.ever_filled.get(place).copied().unwrap_or_default() {
            self.tally.add("recovery completed");
            if let Some(replaced) = self.judge.replaced_at.get_mut(place) {
                *replaced = Some(at);
            }
        }
        if let Some(filled) = self.judge.ever_filled.get_mut(place) {
            *filled = true;
        }
    }

    fn judge_doom(
        &mut self,
        at: Timestamp,
        instance: InstanceId,
        node: Option<&NodeName>,
        reason: &DoomReason,
        price: crate::fleet::units::Money,
        step: &Step,
    ) {
        self.judge.doomed.insert(instance);
        self.judge.accounts.entry(instance).or_insert(Account { price, from: at, to: None });
        if self.judge.foreign.contains(&instance) {
            self.broken(Invariant::Ownership, format!("foreign instance {instance} is doomed"));
        }
        let oddity = self.boxes.get(&instance).and_then(|rented| rented.oddity);
        match reason {
            DoomReason::Stray if oddity == Some(Oddity::Late) => self.tally.add("late create reaped"),
            DoomReason::Stray if oddity.is_none() || oddity == Some(Oddity::Twin) => {
                self.tally.add("duplicate reaped");
            }
            DoomReason::BrokenCreate { .. } => self.tally.add("broken create doomed"),
            DoomReason::FailedToStart { .. }
                if self.boxes.get(&instance).is_some_and(|rented| rented.ready_at.is_none()) =>
            {
                self.tally.add("boot timed out");
            }
            DoomReason::Replaced { evidence } => {
                // Whoever was kept was judged when its replacement began.
                let adopted = step.records().any(|record| matches!(record, Record::Adopted { .. }));
                if let Some(node) = node.filter(|_| !adopted) {
                    self.judge_replacement(at, instance, node, evidence);
                }
            }
            _ => {}
        }
    }

    /// A replacement begins while the tenant is kept.
    fn judge_kept(&mut self, at: Timestamp, node: &NodeName, evidence: &str) {
        let state = self.keeper.fleet.nodes.get(node).map(|node| &node.state);
        let instance = state.and_then(|state| state.tenant()).map(|tenant| tenant.instance);
        if let Some(instance) = instance {
            self.judge_replacement(at, instance, node, evidence);
        }
    }

    /// A filled node is taken down because its box failed.
    fn judge_replacement(&mut self, at: Timestamp, instance: InstanceId, node: &NodeName, evidence: &str) {
        let place = self.place(node);
        let Some(spec) = self.policy.nodes.get(node).cloned() else { return };
        let paused = self.keeper.fleet.nodes.get(node).is_some_and(|node| node.paused.is_some());
        if paused {
            self.broken(Invariant::Silence, format!("`{node}` is paused and replaced"));
        }
        let awake = self.now - self.keeper.awake_at;
        if awake + SECOND < millis(self.policy.rails.warm_up) {
            let detail =
                format!("`{node}` is replaced {awake} ms after the keeper's start or stall: {evidence}");
            self.broken(Invariant::NoWrongKill, detail);
        }
        let failures = self.judge.seen.get(place).map_or(0, |seen| seen.failures);
        if failures < spec.health.failure_threshold.max(1) {
            let detail = format!("`{node}` is replaced on {failures} failed probes: {evidence}");
            self.broken(Invariant::NoWrongKill, detail);
        }
        if let Some(Some(replaced)) = self.judge.replaced_at.get(place) {
            let ago = at.since(*replaced);
            if at >= *replaced && ago + Duration::from_secs(1) < self.policy.rails.cooldown {
                let detail = format!("`{node}` is replaced again after {} s", ago.as_secs());
                self.broken(Invariant::Rate, detail);
            }
        }
        self.judge_kill(instance, node, &spec.health, evidence);
    }

    /// Was the box truly well while the evidence was taken?
    fn judge_kill(&mut self, instance: InstanceId, node: &NodeName, health: &HealthPolicy, evidence: &str) {
        let Some(well) = self.boxes.get(&instance).and_then(|rented| rented.well_since) else { return };
        let well_for = self.now - well;
        // A box that got well reaches the keeper's mind with its next probe.
        let news = millis(health.retry_interval.max(health.timeout)) + millis(health.timeout) + SLACK;
        if well_for <= news {
            return;
        }
        self.books.false_kills += 1;
        // What cannot be reached from here for long, while others can, is replaced on purpose: no witness can speak for it.
        let only_it = self.was_cut_from_here(instance, news);
        if !only_it {
            let (filled, healthy, sick) = self.census(node, &BTreeSet::new());
            let detail = format!(
                "instance {instance} of `{node}` was well for {} s, yet replaced: {evidence}; of {filled} others {healthy} \
                 healthy and {sick} sick, breaker {}",
                well_for / SECOND,
                self.keeper.fleet.breaker.word()
            );
            self.broken(Invariant::NoWrongKill, detail);
        }
    }

    fn judge_start(&mut self, at: Timestamp, node: &NodeName, cause: &Cause, step: &Step) {
        self.books.recovery_began(
            self.judge.seen.get(self.place(node)).and_then(|seen| seen.first_failure),
            self.now,
        );
        if matches!(cause, Cause::Wanted | Cause::Manual { .. }) {
            self.judge.last_start = self.judge.last_start.max(self.counted(node).then_some(at));
            return;
        }
        let (filled, healthy, sick) = self.census(node, &witnessed(step));
        let rails = &self.policy.rails;
        let many = sick >= rails.breaker_count
            && u64::from(sick) * 100 >= u64::from(rails.breaker_percent) * u64::from(filled + 1);
        let last = self.judge.last_start.replace(at);
        if filled >= 2 && healthy == 0 && sick > 0 {
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
    fn judge_breaker(&mut self, to: Position, step: &Step) {
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
    fn census(&self, except: &NodeName, witnessed: &BTreeSet<&NodeName>) -> (u32, u32, u32) {
        let (mut filled, mut healthy, mut sick) = (0, 0, 0);
        let fresh = self.policy.rails.witness_fresh;
        let now = self.clock();
        for (place, name) in self.names.iter().enumerate().filter(|(_, name)| *name != except) {
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
            // Who confirms a death is asked of the core's memory of the witnesses: their words are events of the world.
            let watch = self.keeper.memory.watches.get(name);
            // A probe that was under way when the counts started over reached the keeper, and told it nothing.
            if watch.is_none_or(|watch| watch.last.is_none()) {
                filled -= 1;
                continue;
            }
            let confirmed =
                witnessed.contains(name) || watch.is_some_and(|watch| watch.is_confirmed(now, fresh));
            if !confirmed && seen.failures * 2 >= spec.health.failure_threshold {
                sick += 1;
            }
        }
        (filled, healthy, sick)
    }
}

/// Nodes of which a step says, on record, that a witness confirms their end and that something is done about it.
fn witnessed(step: &Step) -> BTreeSet<&NodeName> {
    let named = |evidence: &str| {
        ["; the provider: ", "; the box itself: "].iter().any(|witness| evidence.contains(witness))
    };
    step.records()
        .filter_map(|record| match record {
            Record::RecoveryStarted { node, keeps: Some(DoomReason::Replaced { evidence }), .. }
            | Record::Doomed { node: Some(node), reason: DoomReason::Replaced { evidence }, .. }
            | Record::RemedyStarted { node, permit: evidence, .. } => Some((node, evidence)),
            _ => None,
        })
        .filter(|(_, evidence)| named(evidence))
        .map(|(node, _)| node)
        .collect()
}
