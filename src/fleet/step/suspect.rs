//! A node under suspicion: gather evidence, then take the next rung of the ladder.
//!
//! What is enough evidence stands in `witness.rs`. Where only our own probes speak, our way to the boxes must be proven by a
//! peer that answered all along, or by canaries where there is no peer: where there is neither, the node is left to a human,
//! who is told.

use std::time::Duration;

use super::{
    super::{
        event::IllegalEvent,
        guard::{Deferral, Rail, Wanted},
        journal::{Cause, DoomReason, HeldReason, Record},
        name::NodeName,
        planted::{Bug, planted},
        policy::{NodeSpec, ReplaceOrder, Rung},
        state::NodeState,
        tell,
        units::Timestamp,
    },
    Turn,
    witness::{Evidence, Source},
};

/// A box whose own word is older than this is asked once more right before it is condemned.
const LAST_WORD: Duration = Duration::from_secs(30);

impl Turn<'_> {
    pub(super) fn pursue_suspect(&mut self, name: &NodeName, spec: &NodeSpec) -> Result<(), IllegalEvent> {
        if !self.node(name).is_some_and(|node| matches!(node.state, NodeState::Suspect { .. })) {
            return Ok(());
        }
        if self.memory.watch(name).failures < spec.health.failure_threshold.max(1) {
            // After a restart the suspicion is on record but the evidence must be taken anew.
            self.unblock(name);
            return Ok(());
        }
        self.refresh_breaker()?;
        match self.evidence(name, spec) {
            Evidence::Awaited(what) => {
                self.ask_witness(name);
                self.block_for(name, Rail::Witness, what, None);
                Ok(())
            }
            Evidence::Vetoed(why) => {
                self.ask_witness(name);
                self.veto(name, why)
            }
            Evidence::Enough { text, source } => {
                self.next_rung(name, spec, &text, source)?;
                let waits =
                    self.node(name).is_some_and(|node| matches!(node.state, NodeState::Suspect { .. }));
                if source == Source::ProbesAlone && waits {
                    // While a rail is in the way a witness may answer after all.
                    self.ask_witness(name);
                }
                Ok(())
            }
        }
    }

    /// Takes the next rung that was not tried in this incident, nor lately on this box, and can work.
    fn next_rung(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
        evidence: &str,
        source: Source,
    ) -> Result<(), IllegalEvent> {
        let tenant = self.node(name).and_then(|node| node.state.tenant());
        let Some(instance) = tenant.map(|tenant| tenant.instance) else { return Ok(()) };
        if self.ask_the_market(name, spec, instance, evidence)? {
            return Ok(());
        }
        let Some(node) = self.node(name) else { return Ok(()) };
        let tried = node.incident.as_ref().map(|incident| incident.tried.as_slice()).unwrap_or_default();
        let needs_ssh = |rung: Rung| matches!(rung, Rung::RestartServer | Rung::Redeploy);
        let next = spec.ladder.iter().copied().find(|rung| {
            let hopeless = *rung == Rung::Redeploy && self.guard().release_for(name).is_err();
            let reachable = source == Source::Box || !needs_ssh(*rung);
            let untried = !node.was_tried(*rung, self.now(), self.context.policy.rails.remedy_again);
            untried && reachable && !hopeless && self.suits(*rung, instance, tried)
        });
        let Some(rung) = next else {
            return self.hold(name, HeldReason::LadderEnds);
        };
        if rung == Rung::Replace && self.bears_anothers_label(instance) {
            let why = format!("instance {instance} bears another's label: it is not ours to destroy");
            self.block_for(name, Rail::Outstanding, why, None);
            return Ok(());
        }
        if rung == Rung::Replace
            && self.standby(name).is_none()
            && let Some(until) = self.cooling_until(name).filter(|_| !planted(Bug::NoCooldown))
        {
            let why =
                format!("replaced less than {} min ago", self.context.policy.rails.cooldown.as_secs() / 60);
            self.block_for(name, Rail::Cooldown, why, Some(until));
            return Ok(());
        }
        // Boxes that the provider stopped may have been stopped for want of credit.
        if matches!(rung, Rung::Replace | Rung::Start)
            && source == Source::Provider
            && let Err(deferral) = self.stopped_for_another_reason_than_credit(name, spec)
        {
            self.block(name, deferral);
            return Ok(());
        }
        if let Some(other) = self.guard().more_valuable(name) {
            self.block_for(name, Rail::Priority, format!("{other} is worth more and goes first"), None);
            return Ok(());
        }
        // Whom only the provider or our probes call dead may have been stopped for want of credit: `create` knows.
        let ready = self.ready_spare(name).filter(|(_, ready)| self.guard().promote(name, *ready).is_ok());
        let spare = ready.is_some_and(|(_, ready)| source == Source::Box || self.is_labelled(ready, name));
        let in_hand = spare || self.standby(name).is_some();
        let guard = self.guard();
        let wanted = if source == Source::ProbesAlone { Wanted::Unwitnessed } else { Wanted::ByItself };
        let admitted = guard.recovery(name, wanted).and_then(|permit| {
            // Nothing is destroyed that could not be replaced; with a spare in hand nothing need be rented for it.
            if rung == Rung::Replace && !in_hand {
                guard.create(name, None).map(|_| permit)
            } else {
                Ok(permit)
            }
        });
        // Who only observes tells the other rails in the way first: of the rental as well.
        let admitted = match admitted {
            Err(deferral) if deferral.rail == Rail::ObserveOnly && rung == Rung::Replace => {
                Err(guard.create(name, None).err().unwrap_or(deferral))
            }
            admitted => admitted,
        };
        let permit = match admitted {
            Ok(permit) => permit,
            Err(deferral) => {
                if deferral.rail == Rail::ObserveOnly {
                    self.would(name, rung, evidence)?;
                }
                self.ask_for(deferral.rail);
                self.block(name, deferral);
                return Ok(());
            }
        };
        let age = self
            .memory
            .watch(name)
            .ssh
            .as_ref()
            .map_or(Duration::ZERO, |word| self.context.now.since(word.at));
        if rung == Rung::Replace && source == Source::Box && age > LAST_WORD {
            // A rail was in the way meanwhile, and the box may have come back.
            self.ask_witness(name);
            let why = format!("the box is asked once more: its last word is {} s old", age.as_secs());
            self.block_for(name, Rail::Witness, why, None);
            return Ok(());
        }
        self.unblock(name);
        if rung == Rung::Replace {
            let cause = Cause::Failing { why: self.memory.watch(name).failure_text() };
            let reason = DoomReason::Replaced { evidence: evidence.to_owned() };
            return self.replace(name, cause, reason, permit.reason());
        }
        let permit = format!("{evidence}; {}", permit.reason());
        if rung == Rung::Start {
            return self.start_box(name, spec, rung, permit);
        }
        let Some(tenant) = self.node(name).and_then(|node| node.state.tenant()).cloned() else {
            return Ok(());
        };
        self.start_remedy(name, tenant, rung, spec, permit)
    }

    /// Tells once what would be done now, were the keeper not only observing.
    pub(super) fn would(&mut self, name: &NodeName, rung: Rung, evidence: &str) -> Result<(), IllegalEvent> {
        if std::mem::replace(&mut self.memory.desk(name).episode.would_told, true) {
            return Ok(());
        }
        let Some(tenant) = self.node(name).and_then(|node| node.state.tenant()).cloned() else {
            return Ok(());
        };
        let incident = self.incident(name);
        let text = format!("observing only: would now {} instance {}", rung.word(), tenant.instance);
        self.record(Record::Noted { node: name.clone(), incident, text: format!("{text} ({evidence})") })?;
        let notice = tell::would(self.now(), name, incident, rung, &tenant, evidence);
        self.tell(notice);
        Ok(())
    }

    pub(super) fn stopped_for_another_reason_than_credit(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
    ) -> Result<(), Deferral> {
        let Some(since) = self.memory.watches.get(name).and_then(|watch| watch.stopped_since) else {
            return Ok(());
        };
        let read = self.guard().credit_read_since(since);
        if read.is_err() {
            self.read_credit_again();
        }
        read.and_then(|()| self.guard().credit_not_just_back(spec.deadlines.boot))
    }

    pub(super) fn cooling_until(&self, name: &NodeName) -> Option<Timestamp> {
        let node = self.node(name)?;
        let until = node.adopted_at.filter(|_| node.was_replaced)?.after(self.context.policy.rails.cooldown);
        (until > self.now()).then_some(until)
    }

    /// Begins a recovery, and dooms the tenant in the same transaction unless it is to be kept until a newcomer has proven
    /// itself. Destroying first also fences: two half-alive servers never serve at once.
    pub(super) fn replace(
        &mut self,
        name: &NodeName,
        cause: Cause,
        reason: DoomReason,
        permit: &str,
    ) -> Result<(), IllegalEvent> {
        self.begin_replacement(name, cause, reason, permit)?;
        self.pursue(name)
    }

    /// The same for whoever has more to say before the replacement is pursued.
    pub(super) fn begin_replacement(
        &mut self,
        name: &NodeName,
        cause: Cause,
        reason: DoomReason,
        permit: &str,
    ) -> Result<(), IllegalEvent> {
        if self.standby(name).is_some() {
            if matches!(cause, Cause::Failing { .. } | Cause::Vanished) {
                // A box that is known to be good is in hand: nothing quicker could be rented.
                let why = tell::cause_text(&cause);
                return self.back_to_standby(name, reason, &why);
            }
            self.end_standby(name, "the node is replaced")?;
        }
        let incident = self.incident(name);
        let tenant = self.node(name).and_then(|node| node.state.tenant()).cloned();
        let permit = permit.to_owned();
        self.stop_work(name);
        if let (DoomReason::Replaced { evidence }, Some(tenant)) = (&reason, &tenant) {
            let release = self.release_on(name);
            self.blame(name, &tenant.rental, tenant.instance, release.as_ref(), evidence)?;
        }
        let order = self.spec(name).map(|spec| spec.order).unwrap_or_default();
        // Whom only the provider's word is against serves on until another has proven itself, whatever the order.
        let create_first = order == ReplaceOrder::CreateFirst || matches!(cause, Cause::Planned { .. });
        let keeps = (create_first && tenant.is_some()).then(|| reason.clone());
        let (at_once, spare_of) = (keeps.is_none(), self.spare_of(name));
        self.record(Record::RecoveryStarted {
            node: name.clone(),
            incident,
            cause,
            permit,
            keeps,
            spare_of,
        })?;
        if let Some(tenant) = tenant.filter(|_| at_once) {
            self.doom(tenant.instance, Some(name), reason, tenant.rental.price)?;
        }
        let now = self.now();
        self.memory.watch(name).start_over(now);
        let desk = self.memory.desk(name);
        desk.offers.clear();
        desk.gone_in_a_row = 0;
        self.end_episode(name);
        Ok(())
    }

    /// What used up its attempts may have been the market's or the hosts' trouble of that hour: they begin anew after a while,
    /// and page anew where they fail.
    pub(super) fn retry_held(&mut self, name: &NodeName, since: Timestamp) -> Result<(), IllegalEvent> {
        let policy = self.context.policy;
        let paused = self.node(name).is_some_and(|node| node.paused.is_some());
        if policy.rails.held_retry.is_zero() || policy.observe_only || paused {
            return Ok(());
        }
        let at = since.after(policy.rails.held_retry);
        if self.now() < at {
            self.look(name, at);
            return Ok(());
        }
        self.record(Record::Released {
            node: name.clone(),
            by: "the keeper, after a while".into(),
            by_itself: true,
        })?;
        self.end_episode(name);
        self.pursue(name)
    }

    /// Gives the node to a human, and pages.
    pub(super) fn hold(&mut self, name: &NodeName, reason: HeldReason) -> Result<(), IllegalEvent> {
        let incident = self.incident(name);
        self.stop_work(name);
        self.end_episode(name);
        self.record(Record::Held { node: name.clone(), reason: reason.clone() })?;
        let notice = tell::held(self.now(), name, incident, &reason);
        if !planted(Bug::HoldInSilence) {
            self.tell(notice);
        }
        Ok(())
    }
}
