//! The transition function: what happened, in; what to journal, do and tell, out. Used live; replay folds what it journaled.
//!
//! ```text
//! Vacant ─────────────► Recovering            (wanted, none adopted)
//! Serving ─ fails ≥ N ─► Suspect ─ evidence + rails ─► Remedying(rung) ─ helped ─► Serving
//!    ▲                     │  │                            └─ did not help ─► Suspect, next rung
//!    └──── healthy again ──┘  └─ evidence + rails, rung `replace` ─► doom it, Recovering
//! Recovering: Started ─► Intent(op) ─► [Unresolved(op)] ─► Booting ─► Deploying ─► Probation ─► adopted: Serving
//!    a deadline or a dead newcomer: doom it, blame its machine, back to Started with one attempt more
//!    attempts used up, host key changed, release at fault, request refused: Held, which pages
//! Doomed: a set beside the nodes. Monotone: once in, never adopted again, DELETE repeated until proven gone.
//! ```
//!
//! Every handler ends in [`Turn::pursue`], which decides from the state alone what is due now. So a timer, a restart and
//! a late answer all lead to the same place, and nothing depends on having seen a particular event.

mod inventory;
mod newcomer;
mod planned;
mod rent;
mod serving;
mod suspect;
mod wish;

use std::{sync::Arc, time::Duration};

use super::{
    breaker::{self, Census, Position},
    event::{Command, Context, Event, IllegalEvent, Step},
    guard::{Deferral, Guard, Rail, Wanted},
    journal::{Cause, DoomReason, Entry, Record},
    memory::{Blocked, Memory},
    name::{InstanceId, NodeName},
    notice::Notice,
    policy::NodeSpec,
    provider::{DestroyAnswer, ProviderFault},
    state::{Fleet, Node, NodeState, Stage},
    tell,
    units::{Money, Timestamp},
};

/// How long a deferred node waits until it is looked at again, where the rail names no time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Fleets up to this size are counted anew for each decision; larger ones once a second.
const CENSUS_ALWAYS: usize = 100;
/// How often DELETE is repeated while an instance is listed.
const DESTROY_EVERY: Duration = Duration::from_secs(30);

/// Decides what follows from an event.
///
/// `fleet` changes only by the entries returned; the caller makes them durable before it performs a command.
///
/// # Errors
/// When the event makes no sense in the present state; whatever was decided before the fault is lost with the step,
/// so the caller treats a [`IllegalEvent::Misfit`] as a defect and re-reads the journal.
pub fn step(
    fleet: &mut Fleet,
    memory: &mut Memory,
    event: Event,
    context: &Context<'_>,
) -> Result<Step, IllegalEvent> {
    let mut turn = Turn { fleet, memory, context, step: Step::default(), drawn: 0 };
    turn.handle(event)?;
    Ok(turn.step)
}

/// One step being decided.
struct Turn<'a> {
    fleet: &'a mut Fleet,
    memory: &'a mut Memory,
    context: &'a Context<'a>,
    step: Step,
    drawn: u64,
}

impl Turn<'_> {
    fn handle(&mut self, event: Event) -> Result<(), IllegalEvent> {
        match event {
            Event::Booted { version } => self.booted(version),
            Event::Stalled { gap } => {
                self.stalled(gap);
                Ok(())
            }
            Event::PolicyChanged => self.policy_changed(),
            Event::Look { node } => {
                self.memory.desk(&node).look_at = None;
                self.pursue(&node)
            }
            Event::Probed { node, observation } => self.probed(&node, observation),
            Event::Listed(Ok(list)) => self.listed(list),
            Event::Listed(Err(fault)) => self.list_failed(fault),
            Event::Searched { node, answer } => self.searched(&node, answer),
            Event::CreateAnswered { node, op, answer } => self.create_answered(&node, &op, answer),
            Event::DestroyAnswered { instance, answer } => self.destroy_answered(instance, answer),
            Event::DeployEnded { node, instance, result } => self.deploy_ended(&node, instance, result),
            Event::RemedyWorked { node, rung, result } => self.remedy_worked(&node, rung, result),
            Event::Witnessed { node, instance, asked_at, word } => {
                self.witnessed(&node, instance, asked_at, word)
            }
            Event::SelfChecked(check) => {
                self.memory.self_check = Some(check);
                Ok(())
            }
            Event::CreditRead(answer) => self.credit_read(answer),
            Event::Asked { node, wish, by } => self.asked(&node, wish, &by),
        }
    }

    fn booted(&mut self, version: String) -> Result<(), IllegalEvent> {
        self.record(Record::Booted { version })?;
        self.order(Command::List);
        self.order(Command::ReadCredit);
        self.policy_changed()
    }

    /// A stall makes everything measured stale: the counts start over and nothing begins for a while.
    fn stalled(&mut self, gap: Duration) {
        for watch in self.memory.watches.values_mut() {
            watch.start_over();
        }
        self.memory.trust_from = self.now().after(self.context.policy.rails.warm_up);
        self.order(Command::List);
        let notice = tell::stalled(self.now(), gap);
        self.tell(notice);
    }

    fn policy_changed(&mut self) -> Result<(), IllegalEvent> {
        let wanted: Vec<NodeName> = self.context.policy.nodes.keys().cloned().collect();
        for node in &wanted {
            self.pursue(node)?;
        }
        let unwanted: Vec<NodeName> = self
            .fleet
            .nodes
            .keys()
            .filter(|name| !self.context.policy.nodes.contains_key(*name))
            .cloned()
            .collect();
        for name in unwanted {
            let Some(node) = self.fleet.nodes.get(&name) else { continue };
            match node.state.claim() {
                // Losing a line of configuration must never cost a box; a person destroys it by name.
                Some((attempt, instance)) => {
                    let notice = tell::unwanted(self.now(), &name, instance, attempt.price);
                    self.tell(notice);
                }
                None => self.record(Record::Retired { node: name })?,
            }
        }
        Ok(())
    }

    fn destroy_answered(&mut self, instance: InstanceId, answer: DestroyAnswer) -> Result<(), IllegalEvent> {
        let now = self.now();
        let Some(doomed) = self.fleet.doomed.get(&instance) else { return Ok(()) };
        let node = doomed.node.clone();
        match answer {
            DestroyAnswer::Acknowledged if doomed.acknowledged_at.is_none() => {
                self.record(Record::DestroyAcknowledged { instance })?;
                self.order(Command::List);
            }
            DestroyAnswer::Acknowledged => {}
            DestroyAnswer::Failed(fault) => {
                let wait = fault.retry_after().unwrap_or(LOOK_AGAIN);
                self.memory.chases.entry(instance).or_default().not_before = now.after(wait);
                self.provider_fault(&fault)?;
            }
        }
        match node {
            Some(node) => self.pursue(&node),
            None => Ok(()),
        }
    }

    /// Decides from the state alone what is due at a node now.
    fn pursue(&mut self, name: &NodeName) -> Result<(), IllegalEvent> {
        if self.context.policy.only.as_ref().is_some_and(|only| only != name) {
            return Ok(());
        }
        let Some(spec) = self.spec(name) else { return Ok(()) };
        let Some(node) = self.fleet.nodes.get(name) else {
            return self.fill(name);
        };
        match &node.state {
            NodeState::Vacant => self.fill(name),
            NodeState::Serving(_) => self.pursue_serving(name, &spec),
            NodeState::Suspect { .. } => self.pursue_suspect(name, &spec),
            NodeState::Remedying { deadline, rung, .. } => {
                let (deadline, rung) = (*deadline, *rung);
                self.pursue_remedy(name, rung, deadline)
            }
            NodeState::Held { .. } => Ok(()),
            NodeState::Recovering(recovery) => match recovery.stage.clone() {
                Stage::Started { since, not_before } => self.pursue_rental(name, &spec, since, not_before),
                Stage::Intent { attempt, at } => self.pursue_intent(name, &attempt, at),
                Stage::Unresolved { since, .. } => {
                    self.overrun(
                        name,
                        since,
                        spec.deadlines.rent,
                        "the outcome of a create is still unknown",
                    );
                    Ok(())
                }
                Stage::Booting { attempt, instance, since } => {
                    self.pursue_boot(name, &spec, &attempt, instance, since)
                }
                Stage::Deploying { tenant, since } => self.pursue_deploy(name, &spec, tenant, since),
                Stage::Probation { tenant, since } => self.pursue_probation(name, &spec, &tenant, since),
            },
        }
    }

    /// A wanted node that nothing fills.
    fn fill(&mut self, name: &NodeName) -> Result<(), IllegalEvent> {
        match self.guard().create(name, None, Wanted::ByItself) {
            Ok(permit) => {
                self.unblock(name);
                let permit = permit.reason().to_owned();
                let node = name.clone();
                self.record(Record::RecoveryStarted { node, incident: None, cause: Cause::Wanted, permit })?;
                self.pursue(name)
            }
            Err(deferral) => {
                self.block(name, deferral);
                Ok(())
            }
        }
    }

    // What the handlers share.

    fn now(&self) -> Timestamp {
        self.context.now
    }

    fn spec(&self, node: &NodeName) -> Option<Arc<NodeSpec>> {
        self.context.policy.nodes.get(node).cloned()
    }

    fn node(&self, name: &NodeName) -> Option<&Node> {
        self.fleet.nodes.get(name)
    }

    fn guard(&self) -> Guard<'_> {
        Guard { fleet: self.fleet, memory: self.memory, policy: self.context.policy, now: self.now() }
    }

    fn record(&mut self, record: Record) -> Result<(), IllegalEvent> {
        let entry = Entry { at: self.now(), record };
        self.fleet.apply(&entry)?;
        self.step.entries.push(entry);
        Ok(())
    }

    fn order(&mut self, command: Command) {
        // A drastic command in observe-only mode would be a rail overlooked; none is ever passed on.
        if !(self.context.policy.observe_only && command.is_drastic())
            && !self.step.commands.contains(&command)
        {
            self.step.commands.push(command);
        }
    }

    fn tell(&mut self, notice: Notice) {
        self.step.notices.push(notice);
    }

    /// Asks to be woken for a node, unless an earlier wake is already ordered.
    fn look(&mut self, node: &NodeName, at: Timestamp) {
        let now = self.now();
        let at = at.max(Timestamp(now.0 + 1));
        let desk = self.memory.desk(node);
        if desk.look_at.is_none_or(|ordered| ordered > at || ordered <= now) {
            desk.look_at = Some(at);
            self.step.looks.push((node.clone(), at));
        }
    }

    /// Random bits that differ within one step.
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        // The increment of SplitMix64 spreads consecutive draws over the whole range.
        let mixed = self.context.random.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }

    /// Makes a rail in the way visible, tells it once, and orders another look.
    fn block(&mut self, name: &NodeName, deferral: Deferral) {
        let Deferral { rail, why, until } = deferral;
        let now = self.now();
        let at = until.filter(|until| *until > now).unwrap_or(now.after(LOOK_AGAIN));
        self.look(name, at.min(now.after(Duration::from_secs(60))));
        let desk = self.memory.desk(name);
        let since = match &mut desk.blocked {
            Some(blocked) if blocked.rail == rail => {
                blocked.why = why;
                blocked.until = until;
                return;
            }
            Some(blocked) => blocked.since,
            None => now,
        };
        desk.blocked = Some(Blocked { rail, why: why.clone(), since, until });
        if rail.is_told() {
            let incident =
                self.node(name).and_then(|node| node.incident.as_ref()).map(|incident| incident.id);
            let notice = tell::blocked(now, name, incident, rail, &why);
            self.tell(notice);
        }
    }

    fn unblock(&mut self, name: &NodeName) {
        self.memory.desk(name).blocked = None;
    }

    /// Tells once that a stage which only waits has lasted beyond its deadline.
    fn overrun(&mut self, name: &NodeName, since: Timestamp, limit: Duration, what: &str) {
        let now = self.now();
        if now < since.after(limit) {
            self.look(name, since.after(limit));
            return;
        }
        if !std::mem::replace(&mut self.memory.desk(name).overrun_told, true) {
            let incident =
                self.node(name).and_then(|node| node.incident.as_ref()).map(|incident| incident.id);
            let notice = tell::overrun(now, name, incident, what, now.since(since));
            self.tell(notice);
        }
    }

    /// Condemns an instance and sends the destroy.
    fn doom(
        &mut self,
        instance: InstanceId,
        node: Option<&NodeName>,
        reason: DoomReason,
        price: Money,
    ) -> Result<(), IllegalEvent> {
        if !self.fleet.doomed.contains_key(&instance) {
            self.record(Record::Doomed { instance, node: node.cloned(), reason, price })?;
        }
        if let Some(node) = node {
            let desk = self.memory.desk(node);
            if std::mem::take(&mut desk.working) {
                self.order(Command::StopWork { node: node.clone() });
            }
        }
        self.send_destroy(instance);
        Ok(())
    }

    /// Sends DELETE, unless one went out a moment ago.
    fn send_destroy(&mut self, instance: InstanceId) {
        let now = self.now();
        let chase = self.memory.chases.entry(instance).or_default();
        let recently =
            chase.sent_at.is_some_and(|sent| now.since(sent) < DESTROY_EVERY) && now >= chase.not_before;
        let retried = chase.not_before > Timestamp(0) && now >= chase.not_before;
        if now < chase.not_before || (recently && !retried) {
            return;
        }
        chase.sent_at = Some(now);
        chase.not_before = Timestamp(0);
        self.order(Command::Destroy { instance });
    }

    /// What every failed call to the provider may mean for all of them.
    fn provider_fault(&mut self, fault: &ProviderFault) -> Result<(), IllegalEvent> {
        if let ProviderFault::Auth { detail } = fault
            && self.fleet.key_accepted
        {
            self.record(Record::KeyAccepted { accepted: false })?;
            let notice = tell::key_refused(self.now(), detail);
            self.tell(notice);
        }
        Ok(())
    }

    fn credit_read(
        &mut self,
        answer: Result<super::provider::Credit, ProviderFault>,
    ) -> Result<(), IllegalEvent> {
        match answer {
            Ok(credit) => {
                self.memory.credit = Some((self.now(), credit));
                Ok(())
            }
            Err(fault) => self.provider_fault(&fault),
        }
    }

    /// Counts the fleet and moves the breaker where it belongs.
    fn refresh_breaker(&mut self) -> Result<Census, IllegalEvent> {
        let now = self.now();
        if let Some((at, census)) = self.memory.census
            && self.fleet.nodes.len() > CENSUS_ALWAYS
            && now.since(at) < Duration::from_secs(1)
        {
            return Ok(census);
        }
        let census = breaker::census(self.fleet, self.memory, self.context.policy, now);
        self.memory.census = Some((now, census));
        let to = breaker::position(census, &self.context.policy.rails);
        if to != self.fleet.breaker {
            self.record(Record::BreakerMoved { to })?;
            let notice = tell::breaker(now, to, census);
            self.tell(notice);
        }
        Ok(census)
    }

    /// Whether the breaker needs a look although this probe was good.
    fn breaker_is_out(&self) -> bool {
        self.fleet.breaker != Position::Normal
    }

    fn block_for(&mut self, name: &NodeName, rail: Rail, why: impl Into<String>, until: Option<Timestamp>) {
        self.block(name, Deferral { rail, why: why.into(), until });
    }
}
