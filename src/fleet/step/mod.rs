//! The transition function: what happened, in; what to journal, do and tell, out. Used live; replay folds what it journaled.
//!
//! ```text
//! Vacant ─────────────► Recovering            (wanted, none adopted)
//! Serving ─ fails ≥ N ─► Suspect ─ evidence + rails ─► Remedying(rung) ─ helped ─► Serving
//!    ▲                     │  │                            └─ did not help ─► Suspect, next rung
//!    ├──── healthy again ──┘  └─ evidence + rails, rung `replace` ─► doom it, Recovering
//!    └──── healthy again in time ── Recovering, the tenant kept   (create-first; doomed when a newcomer is adopted)
//! Recovering: Started ─► Intent(op) ─► [Unresolved(op)] ─► Booting ─► Deploying ─► Probation ─► adopted: Serving
//!    a deadline or a dead newcomer: doom it, blame its machine, back to Started with one attempt more
//!    attempts used up, host key changed, release at fault, request refused: Held, which pages; attempts begin anew after hours
//! Doomed: a set beside the nodes. Monotone: once in, never adopted again, DELETE repeated until proven gone.
//! ```
//!
//! Every handler ends in `Turn::pursue`, which decides from the state alone what is due now. So a timer, a restart and
//! a late answer all lead to the same place, and nothing depends on having seen a particular event.

mod ahead;
mod asking;
mod bids;
mod billing;
mod blame;
mod blindness;
mod deployed;
mod desk;
mod doomed;
mod doubt;
mod evidence;
mod import;
mod inventory;
mod keep;
mod maintenance;
mod newcomer;
mod planned;
mod publish;
mod remedy;
mod rent;
mod search;
mod serving;
mod spare;
mod start;
mod suspect;
mod switch;
mod wish;
mod witness;

use std::{sync::Arc, time::Duration};

use super::{
    command::Command,
    event::{Context, Event, IllegalEvent, Step},
    guard::{Guard, Rail},
    journal::{Cause, Entry, HeldReason, Outcome, Record},
    memory::Memory,
    name::NodeName,
    notice::Notice,
    policy::NodeSpec,
    state::{Fleet, Node, NodeState, Stage},
    tell,
    units::Timestamp,
};

/// How long a deferred node waits until it is looked at again, where the rail names no time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The longest wait a provider may ask for: a nonsensical hint must not silence the keeper for days.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

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
    turn.weigh_journal()?;
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
            Event::Beat => {
                self.notice_blindness();
                self.notice_ahead();
                self.ask_for_charges();
                self.end_standbys()?;
                self.keep_journal_fresh()?;
                self.publish();
                self.end_pauses()
            }
            Event::PolicyChanged => self.policy_changed(),
            Event::Look { node } => {
                self.memory.desk(&node).look_at = None;
                self.waited_for_evidence(&node);
                self.pursue(&node)
            }
            Event::Probed { node, observation } => self.probed(&node, observation),
            Event::Listed(Ok(list)) => self.listed(list),
            Event::Listed(Err(fault)) => self.list_failed(fault),
            Event::Searched { node, answer } => self.searched(&node, answer),
            Event::CreateAnswered { node, op, answer } => self.create_answered(&node, &op, answer),
            Event::DestroyAnswered { instance, answer } => self.destroy_answered(instance, answer),
            Event::StartAnswered { node, instance, answer } => self.start_answered(&node, instance, answer),
            Event::DeployEnded { node, instance, result } => self.deploy_ended(&node, instance, result),
            Event::RemedyWorked { node, instance, rung, result } => {
                self.remedy_worked(&node, instance, rung, result)
            }
            Event::Witnessed { node, instance, asked_at, word } => {
                self.witnessed(&node, instance, asked_at, word)
            }
            Event::LeftBehind { node, instance, seen } => self.left_behind(&node, instance, seen),
            Event::EvidenceTaken { node, instance, result } => self.evidence_taken(&node, instance, result),
            Event::SelfChecked(check) => {
                self.memory.self_check = Some(check);
                Ok(())
            }
            Event::ReleaseNamed(name) => {
                self.memory.release_name = Some(name);
                Ok(())
            }
            Event::Published { addresses, result } => self.published(addresses, result),
            Event::DeployReported(report) => self.deploy_reported(*report),
            Event::ReleasePrepared(prepared) => {
                match prepared {
                    Ok(release) => self.release_prepared(release)?,
                    Err(why) => self.memory.release_missing = Some(why),
                }
                let wanted: Vec<NodeName> = self.context.policy.nodes.keys().cloned().collect();
                wanted.iter().try_for_each(|node| self.pursue(node))
            }
            Event::CreditRead(answer) => self.credit_read(answer),
            Event::ChargesRead(answer) => {
                self.charges_read(answer);
                Ok(())
            }
            Event::Hinted(hint) => {
                self.hinted(&hint);
                Ok(())
            }
            Event::LedgerAsked { wish, by } => self.ledger_asked(wish, &by),
            Event::SwitchAsked(request) => self.switch_asked(request),
            Event::Asked { node, wish, by } => self.asked(&node, wish, &by),
        }
    }

    fn policy_changed(&mut self) -> Result<(), IllegalEvent> {
        self.memory.policy_from = self.now();
        for desk in self.memory.desks.values_mut() {
            // They were chosen by the rules of before.
            desk.offers.clear();
            desk.search_after = Timestamp::default();
        }
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
            // It is not probed: what it answered before says nothing once it is wanted again.
            let now = self.now();
            self.memory.watch(&name).start_over(now);
            let Some(node) = self.fleet.nodes.get(&name) else { continue };
            let claims: Vec<_> = node.claims().map(|(attempt, instance)| (instance, attempt.price)).collect();
            if claims.is_empty() {
                self.retire(&name)?;
            } else if self.is_left_alone(&name) {
            } else if self.is_surplus(&name) {
                self.shed_spare(&name)?;
            } else {
                // Losing a line of configuration must never cost a box; a person destroys it by name.
                let notice = tell::unwanted(self.now(), &name, &claims);
                self.tell(notice);
            }
        }
        Ok(())
    }

    /// Forgets an empty node that is no longer wanted; its incident, if one is open, ends with it.
    fn retire(&mut self, name: &NodeName) -> Result<(), IllegalEvent> {
        self.end_incident(name, Outcome::Ended)?;
        self.record(Record::Retired { node: name.clone() })?;
        self.memory.watches.remove(name);
        self.memory.desks.remove(name);
        self.memory.searches.remove(name);
        Ok(())
    }

    /// Whether this run works on another node alone.
    fn is_left_alone(&self, name: &NodeName) -> bool {
        self.context.policy.only.as_ref().is_some_and(|only| only != name)
    }

    /// Decides from the state alone what is due at a node now.
    fn pursue(&mut self, name: &NodeName) -> Result<(), IllegalEvent> {
        if self.is_left_alone(name) {
            return Ok(());
        }
        let Some(spec) = self.spec(name) else {
            // No longer wanted: what it still fills is left alone, and once nothing does it is forgotten.
            if self.is_surplus(name) {
                return self.shed_spare(name);
            }
            let emptied = self.node(name).is_some_and(|node| node.claims().next().is_none());
            return if emptied { self.retire(name) } else { Ok(()) };
        };
        let Some(node) = self.fleet.nodes.get(name) else {
            return self.fill(name);
        };
        if self.came_back(name, &spec) {
            return self.cancel_replacement(name);
        }
        if self.is_coming_back(name, &spec) {
            let why = "the box that is to be replaced answers well again: its next probes decide";
            self.block_for(name, Rail::Witness, why, None);
            return Ok(());
        }
        match &node.state {
            NodeState::Vacant => self.fill(name),
            NodeState::Serving(_) => self.pursue_serving(name, &spec),
            NodeState::Suspect { .. } => self.pursue_suspect(name, &spec),
            NodeState::Remedying { deadline, rung, .. } => {
                let (deadline, rung) = (*deadline, *rung);
                self.pursue_remedy(name, rung, deadline)
            }
            NodeState::Held { reason: HeldReason::AttemptsUsedUp { .. }, since, .. } => {
                let since = *since;
                self.retry_held(name, since)
            }
            NodeState::Held { .. } => Ok(()),
            NodeState::Recovering(recovery) => match &recovery.stage {
                Stage::Started { not_before, .. } => {
                    let (since, not_before) = (recovery.seeking_since, *not_before);
                    self.pursue_rental(name, &spec, since, not_before)
                }
                Stage::Intent { attempt, at } => {
                    let (attempt, at) = (attempt.clone(), *at);
                    self.pursue_intent(name, &attempt, at)
                }
                Stage::Unresolved { since, .. } => {
                    let what = "the outcome of a create is still unknown";
                    self.overrun(name, *since, spec.deadlines.rent, what);
                    Ok(())
                }
                Stage::Booting { .. } | Stage::Deploying { .. } | Stage::Probation { .. }
                    if self.context.policy.observe_only =>
                {
                    self.block_for(name, Rail::ObserveOnly, "the keeper only observes", None);
                    Ok(())
                }
                Stage::Booting { instance, since, .. } => {
                    let (instance, since) = (*instance, *since);
                    self.pursue_boot(name, &spec, instance, since)
                }
                Stage::Deploying { tenant, since } => {
                    let (instance, since) = (tenant.instance, *since);
                    self.pursue_deploy(name, &spec, instance, since)
                }
                Stage::Probation { tenant, since } => {
                    let (instance, since) = (tenant.instance, *since);
                    self.pursue_probation(name, &spec, instance, since)
                }
            },
        }
    }

    /// A wanted node that nothing fills, unless a spare's box bears its label: that was promoted since an old copy of the journal
    /// was made, and takes the node again.
    fn fill(&mut self, name: &NodeName) -> Result<(), IllegalEvent> {
        let promoted = self.ready_spare(name).filter(|(_, instance)| self.is_labelled(*instance, name));
        let taken = promoted.and_then(|(_, instance)| self.guard().promote(name, instance).ok());
        match taken.map_or_else(|| self.guard().create(name, None), Ok) {
            Ok(permit) => {
                self.end_episode(name);
                let (permit, node, incident) =
                    (permit.reason().to_owned(), name.clone(), self.incident(name));
                let (cause, spare_of) = (Cause::Wanted, self.spare_of(name));
                self.record(Record::RecoveryStarted {
                    node,
                    incident,
                    cause,
                    permit,
                    keeps: None,
                    spare_of,
                })?;
                self.pursue(name)
            }
            Err(deferral) => {
                self.ask_for(deferral.rail);
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
        // A change ordered in observe-only mode would be a rail overlooked; none is ever passed on.
        let twice = matches!(command, Command::List | Command::ReadCredit | Command::CheckSelf)
            && self.step.commands.contains(&command);
        let forbidden = self.context.policy.observe_only && command.changes_something();
        if !forbidden && !twice {
            self.step.commands.push(command);
        }
    }

    fn tell(&mut self, notice: Notice) {
        self.step.notices.push(notice);
    }

    /// Random bits that differ within one step.
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        // The increment of SplitMix64 spreads consecutive draws over the whole range.
        let mixed = self.context.random.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }
}

#[cfg(test)]
mod tests;
