//! What must hold of a step: judged when its records are durable and before its commands are performed.

use std::time::Duration;

use super::{Account, Excluded, Invariant, Ticket, census::Acting};
use crate::{
    fleet::{
        event::Step,
        journal::{DoomReason, Outcome, Record},
        name::{HostId, InstanceId, MachineId, NodeName, OpId},
        policy::{HealthPolicy, Rung},
        units::{Money, Timestamp, millis},
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

    pub(super) fn place(&self, node: &NodeName) -> usize {
        self.places.get(node).copied().unwrap_or(usize::MAX)
    }

    fn judge_record(&mut self, at: Timestamp, record: &Record, step: &Step) {
        match record {
            Record::Intent { node, op, machine, host, price, bid, .. } => {
                self.judge_machine(at, node, *machine, *host);
                self.judge_intent(at, node, op, *price, *bid);
            }
            Record::MachineBlamed { machine, host, until, .. } => {
                let of_host = self.judge.excluded.entry(*host).or_default();
                let until = of_host.get(machine).map_or(*until, |before| before.until.max(*until));
                of_host.insert(*machine, Excluded { at, until });
            }
            Record::ReleaseCleared { .. } => self.judge.lost.boxes = 0,
            Record::Doomed { instance, node, reason, price } => {
                self.judge_doom(at, *instance, node.as_ref(), reason, *price, step);
            }
            Record::DestroyAcknowledged { instance } => {
                if let Some(account) = self.judge.accounts.get_mut(instance) {
                    account.to.get_or_insert(at);
                }
            }
            Record::Gone { instance } => self.judge_gone(*instance),
            Record::BidRaised { instance, bid, price, .. } => self.judge_raise(at, *instance, *bid, *price),
            Record::PriceChanged { instance, price, .. } => self.judge_price(at, *instance, *price),
            Record::Created { node, op, instance } => self.judge_created(at, node, op, *instance),
            Record::Imported { node, op, instance, price, .. } => {
                self.judge_import(at, node, op, *instance, *price);
            }
            Record::ImportRefused { instance, .. } => self.import_refused(*instance),
            Record::CreateFailed { op, .. } => self.judge.create_failed(op),
            // Whoever is wanted again after that is filled for the first time.
            Record::Retired { node } => self.judge.retired(self.place(node)),
            Record::CreateAbandoned { .. } => self.tally.add("create settled as absent"),
            Record::InstanceUp { instance, .. } | Record::Deployed { instance, .. }
                if self.judge.doomed.contains(instance) =>
            {
                self.broken(Invariant::MonotoneDoom, format!("work goes on with doomed instance {instance}"));
            }
            Record::Deployed { node, .. } => self.judge.start_over(self.place(node), self.now),
            Record::RemedyStarted { node, rung, .. } => {
                self.note_remedy(node);
                self.judge_remedy(at, node, *rung);
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
            Record::Promoted { node, from, instance } => self.judge_promotion(node, from, *instance),
            Record::ReplacementCancelled { .. } => self.tally.add("replacement cancelled"),
            // Whoever let it go on mended something.
            Record::Released { node, by_itself: false, .. } => {
                self.judge.remedied.retain(|(other, ..), _| other != node)
            }
            Record::Held { .. } => self.tally.add("held"),
            // Whoever is paused waits for a person.
            Record::Paused { node, .. } | Record::Resumed { node, .. } => self.forget_illness(node),
            Record::IncidentClosed { outcome: Outcome::ByItself, .. } => {
                self.tally.add("recovery not needed")
            }
            Record::Noted { text, .. } if text.starts_with("veto") => self.tally.add("witness vetoed"),
            Record::BreakerMoved { to } => self.judge_breaker(*to, step),
            Record::KeyAccepted { accepted: false } => self.tally.add("key refused"),
            _ => {}
        }
    }

    fn judge_intent(&mut self, at: Timestamp, node: &NodeName, op: &OpId, price: Money, bid: Option<Money>) {
        let place = self.place(node);
        let silent = self.keeper.fleet.nodes.get(node).is_some_and(|node| node.paused.is_some());
        if silent {
            self.broken(Invariant::Silence, format!("`{node}` is paused and rented for"));
        }
        let replacement = self.judge.ever_filled.get(place).copied().unwrap_or_default();
        let ticket = Ticket { node: place, price, bid, at, replacement, sent: false, failed: false };
        if !self.judge.intended(op, ticket) {
            self.broken(Invariant::OneSend, format!("op {op} is intended twice"));
        }
    }

    /// What failed a while ago is not rented, nor anything of a host of which two machines did.
    fn judge_machine(&mut self, at: Timestamp, node: &NodeName, machine: MachineId, host: HostId) {
        let Some(of_host) = self.judge.excluded.get(&host) else { return };
        let itself = of_host.get(&machine).is_some_and(|excluded| excluded.until > at);
        let last = of_host.values().map(|excluded| excluded.at).max().unwrap_or_default();
        let host_bad = of_host.len() >= 2 && at < last.after(self.policy.rails.exclude_for);
        if itself || host_bad {
            let what = if itself { "it failed" } else { "two machines of its host failed" };
            let detail =
                format!("`{node}` is rented on machine {machine} of host {host} although {what} lately");
            self.broken(Invariant::Rate, detail);
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
        let bid = ticket.and_then(|ticket| ticket.bid);
        self.judge.accounts.entry(instance).or_insert(Account { price, from, to: None });
        if let Some(bid) = bid {
            self.judge.bids.insert(instance, bid);
        }
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
        if let Some(rented) = self.boxes.get_mut(&instance) {
            rented.adopted = true;
        }
        if self.judge.ever_filled.get(place).copied().unwrap_or_default() {
            self.note_refilled(place);
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
        price: Money,
        step: &Step,
    ) {
        self.judge.doomed.insert(instance);
        self.judge.gone.remove(&instance);
        self.judge.accounts.entry(instance).or_insert(Account { price, from: at, to: None });
        if self.judge.foreign.contains(&instance) {
            self.broken(Invariant::Ownership, format!("foreign instance {instance} is doomed"));
        }
        let oddity = self.boxes.get(&instance).and_then(|rented| rented.oddity);
        self.judge_shed(instance, node, reason);
        if *reason == DoomReason::Stray {
            self.note_stray(instance);
        }
        self.judge_once_adopted(instance, reason);
        let adopted = step.records().any(|record| matches!(record, Record::Adopted { .. }));
        if matches!(reason, DoomReason::Planned { .. }) && !adopted {
            let detail = format!("instance {instance} is let go of before its replacement has proven itself");
            self.broken(Invariant::NoWrongKill, detail);
        }
        if let (DoomReason::FailedToStart { detail }, Some(node)) = (reason, node) {
            self.judge_given_up(instance, node, detail);
        }
        match reason {
            DoomReason::FailedToStart { detail } if oddity.is_none() => {
                self.judge_lost_newcomer(instance, detail);
            }
            DoomReason::Planned { detail } if detail.contains("the contract") => {
                self.tally.add("replaced ahead of its contract's end");
            }
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
                if let Some(node) = node.filter(|_| !adopted) {
                    self.judge_replacement(at, instance, node, evidence);
                }
            }
            _ => {}
        }
    }

    /// Whoever was adopted once and still serves is neither a newcomer that failed nor a stray, whatever an old journal says.
    fn judge_once_adopted(&mut self, instance: InstanceId, reason: &DoomReason) {
        if !matches!(reason, DoomReason::FailedToStart { .. } | DoomReason::Stray) {
            return;
        }
        let Some(rented) = self.boxes.get(&instance).filter(|rented| rented.adopted) else { return };
        if let Some(well) = rented.well_since {
            let detail = format!(
                "instance {instance} was adopted once and is well for {} s, yet condemned: {reason:?}",
                (self.now - well) / SECOND
            );
            self.broken(Invariant::NoWrongKill, detail);
        }
    }

    /// A newcomer on probation is given up: not while its last probe was good, unless the time for enough of them is over.
    fn judge_given_up(&mut self, instance: InstanceId, node: &NodeName, detail: &str) {
        let interval = self.policy.nodes.get(node).map_or(0, |spec| millis(spec.health.interval));
        let Some(seen) = self.judge.seen.get(self.place(node)) else { return };
        let its_own = seen.identity.is_some() && seen.identity.as_ref() == self.judge.op_of.get(&instance);
        let fresh = seen.last.is_some_and(|last| self.now <= last + interval);
        let listed = detail.starts_with("probation: ") && !detail.contains("not healthy in time");
        if listed && its_own && fresh && seen.successes > 0 {
            let detail =
                format!("instance {instance} answered for `{node}` on probation, yet is given up: {detail}");
            self.broken(Invariant::NoWrongKill, detail);
        }
    }

    fn judge_import(
        &mut self,
        at: Timestamp,
        node: &NodeName,
        op: &OpId,
        instance: InstanceId,
        price: Money,
    ) {
        self.tally.add("box taken over");
        if !self.policy.import {
            self.broken(Invariant::Ownership, format!("instance {instance} is taken over on nobody's word"));
        }
        self.judge.accounts.entry(instance).or_insert(Account { price, from: at, to: None });
        self.judge.op_of.insert(instance, op.clone());
        let place = self.places.get(node).copied();
        if let Some(rented) = self.boxes.get_mut(&instance) {
            (rented.orphan, rented.node) = (false, place);
        }
    }

    /// What did not prove itself is nobody's again.
    fn import_refused(&mut self, instance: InstanceId) {
        self.tally.add("box not taken over");
        self.judge.accounts.remove(&instance);
        self.judge.op_of.remove(&instance);
        if let Some(rented) = self.boxes.get_mut(&instance) {
            rented.orphan = true;
        }
    }

    /// What helps only for a while must not be tried on a box without end.
    fn judge_remedy(&mut self, at: Timestamp, node: &NodeName, rung: Rung) {
        let ill = self.keeper.fleet.nodes.get(node).is_some_and(|node| node.incident.is_some());
        let soft = matches!(rung, Rung::RestartServer | Rung::Redeploy | Rung::Reboot);
        let Some(instance) = self.tenant_of(node).filter(|_| ill && soft) else { return };
        let again = self.policy.rails.remedy_again;
        match self.judge.remedied.insert((node.clone(), instance, rung), at) {
            Some(last) if at >= last && at.since(last) < again => {
                let detail =
                    format!("`{}` again on `{node}` after {} s", rung.word(), at.since(last).as_secs());
                self.broken(Invariant::Rate, detail);
            }
            Some(_) => self.tally.add("remedy tried again on a box"),
            None => {}
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
        self.note_reaction(node, instance);
        if self.policy.spares.contains(node) {
            self.tally.add("spare lost");
        }
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
            let (filled, healthy, sick) = self.census(node, &Acting::default());
            let detail = format!(
                "instance {instance} of `{node}` was well for {} s, yet replaced: {evidence}; of {filled} others {healthy} \
                 healthy and {sick} sick, breaker {}",
                well_for / SECOND,
                self.keeper.fleet.breaker.word()
            );
            self.broken(Invariant::NoWrongKill, detail);
        }
    }
}
