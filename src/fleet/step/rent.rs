//! From the decision to the rental: rails, search, intent, one create, and what its answer means.
//!
//! A create has no idempotency key at Vast.ai. So the intent is journaled before, the op travels in the label, the create
//! is sent once, and any doubt is settled by looking at complete lists, never by sending again.

use std::time::Duration;

use super::{
    super::{
        action::{Action, ActionKind},
        command::Command,
        event::IllegalEvent,
        guard::Rail,
        journal::{DoomReason, HeldReason, Record},
        name::{InstanceId, Label, NodeName, OpId},
        planted::{Bug, planted},
        policy::NodeSpec,
        provider::{CreateAnswer, ProviderFault},
        state::{Attempt, NodeState, Stage},
        tell,
        units::{Money, Timestamp},
    },
    LONGEST_WAIT, Turn,
};

/// Offers found are good for this long; they vanish as others rent them.
const OFFERS_FRESH: Duration = Duration::from_secs(60);
/// A create that was not answered by now is unresolved: longer than the client's own timeout.
const CREATE_PATIENCE: Duration = Duration::from_secs(60);
/// The wait after a create that never left this machine, or that was throttled without a hint.
pub(super) const SHORT_WAIT: Duration = Duration::from_secs(5);
/// The wait before the next try when the account could not pay, or the key was refused.
const LONG_WAIT: Duration = Duration::from_secs(60);
/// So many offers in a row may be gone before the next one is waited for.
const GONE_AT_ONCE: u32 = 5;
/// How long an offer that was gone when tried is passed over.
const GONE_FOR: Duration = Duration::from_secs(300);
/// Creates in a row refused for the key's sake, while lists are answered, after which a human must look.
const KEY_REFUSALS: u32 = 3;

impl Turn<'_> {
    pub(super) fn pursue_rental(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
        since: Timestamp,
        not_before: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let now = self.now();
        self.overrun(name, since, spec.deadlines.rent, "nothing could be rented yet");
        if now < not_before {
            let why = format!("the next attempt waits {} s", now.until(not_before).as_secs() + 1);
            self.block_for(name, Rail::Backoff, why, Some(not_before));
            return Ok(());
        }
        // A spare has the release of before: who waits for another one rents a box for it.
        let switches = self.node(name).is_some_and(|node| node.next.is_some());
        if let Some((from, instance)) = self.ready_spare(name).filter(|_| !switches)
            && self.guard().promote(name, instance).is_ok()
        {
            return self.promote(name, &from, instance);
        }
        if let Err(deferral) = self.guard().create(name, None) {
            self.ask_for(deferral.rail);
            self.block(name, deferral);
            return Ok(());
        }
        if let Some(other) = self.comes_before_spare(name) {
            self.block_for(name, Rail::Priority, format!("{other} is rented for before its spare"), None);
            return Ok(());
        }
        let desk = self.memory.desk(name);
        if now.since(desk.offers_at) > OFFERS_FRESH {
            desk.offers.clear();
        }
        if !desk.offers.is_empty() {
            return self.rent_next(name, spec);
        }
        let search_after = desk.search_after;
        if desk.blocked.as_ref().is_some_and(|blocked| blocked.rail != Rail::Offers) {
            desk.blocked = None;
        }
        if now < search_after {
            self.look(name, search_after);
            return Ok(());
        }
        self.search(name);
        Ok(())
    }

    fn rent_next(&mut self, name: &NodeName, spec: &NodeSpec) -> Result<(), IllegalEvent> {
        let now = self.now();
        // What was chosen a moment ago was chosen by what must not be rented now.
        let stale = self.memory.desks.get(name).filter(|desk| desk.offers_at != now);
        if let Some(excluded) = stale.map(|desk| self.exclusions(&desk.offers)) {
            let desk = self.memory.desk(name);
            desk.offers.retain(|offer| excluded.why(offer).is_none() && offer.price <= spec.offers.price_cap);
        }
        let Some(offer) = self.memory.desk(name).offers.first().cloned() else {
            self.search(name);
            return Ok(());
        };
        let permit = match self.guard().create(name, Some(offer.price)) {
            Ok(permit) => permit.reason().to_owned(),
            Err(deferral) => {
                self.ask_for(deferral.rail);
                self.block(name, deferral);
                return Ok(());
            }
        };
        self.memory.desk(name).offers.remove(0);
        self.unblock(name);
        let op = self.new_op();
        let label = Label { fleet: self.context.policy.fleet.clone(), node: name.clone(), op: op.clone() };
        if planted(Bug::EffectWithoutIntent) {
            self.order(Command::Create { node: name.clone(), offer: Box::new(offer), label });
            return Ok(());
        }
        self.record(Record::Intent {
            node: name.clone(),
            op,
            offer: offer.id,
            machine: offer.machine,
            host: offer.host,
            price: offer.price,
            offer_text: offer.to_string(),
            bid: offer.bid,
            permit,
        })?;
        let create = Command::Create { node: name.clone(), offer: Box::new(offer), label };
        if planted(Bug::SendTwice) {
            self.order(create.clone());
        }
        self.order(create);
        self.look(name, self.now().after(CREATE_PATIENCE));
        Ok(())
    }

    /// An op id that the journal does not know.
    fn new_op(&mut self) -> OpId {
        loop {
            let op = OpId::from_bits(self.draw());
            if !self.fleet.ops.contains_key(&op) && !self.fleet.old_ops.contains(&op) {
                return op;
            }
        }
    }

    pub(super) fn pursue_intent(
        &mut self,
        name: &NodeName,
        attempt: &Attempt,
        at: Timestamp,
    ) -> Result<(), IllegalEvent> {
        if self.now().since(at) < CREATE_PATIENCE {
            self.look(name, at.after(CREATE_PATIENCE));
            return Ok(());
        }
        self.unresolved(name, &attempt.op, "the create was not answered".into())
    }

    fn unresolved(&mut self, name: &NodeName, op: &OpId, detail: String) -> Result<(), IllegalEvent> {
        self.record(Record::CreateUnresolved { node: name.clone(), op: op.clone(), detail })?;
        self.memory.absent.remove(op);
        self.memory.desk(name).episode.overrun_told = false;
        self.order(Command::List);
        self.pursue(name)
    }

    pub(super) fn create_answered(
        &mut self,
        name: &NodeName,
        op: &OpId,
        answer: CreateAnswer,
    ) -> Result<(), IllegalEvent> {
        let open = match self.node(name).map(|node| &node.state) {
            Some(NodeState::Recovering(recovery)) => match &recovery.stage {
                Stage::Intent { attempt, .. } | Stage::Unresolved { attempt, .. } => attempt.op == *op,
                Stage::Started { .. }
                | Stage::Booting { .. }
                | Stage::Deploying { .. }
                | Stage::Probation { .. } => false,
            },
            _ => false,
        };
        if !open {
            return self.answered_late(name, op, answer);
        }
        if !matches!(answer, CreateAnswer::OfferGone(_)) {
            self.memory.desk(name).gone_in_a_row = 0;
        }
        match answer {
            CreateAnswer::Created(instance) => self.created(name, op, instance),
            CreateAnswer::CreatedBroken(instance, detail) => self.created_broken(name, op, instance, detail),
            CreateAnswer::OfferGone(detail) => self.offer_gone(name, op, detail),
            CreateAnswer::NotSent(detail) => self.create_failed(name, op, detail, SHORT_WAIT),
            CreateAnswer::Refused(fault) => self.create_refused(name, op, fault),
            CreateAnswer::Ambiguous(detail) => self.unresolved(name, op, detail),
        }
    }

    /// The op was settled by a list before its answer came, or the node moved on.
    fn answered_late(
        &mut self,
        name: &NodeName,
        op: &OpId,
        answer: CreateAnswer,
    ) -> Result<(), IllegalEvent> {
        if !self.fleet.ops.contains_key(op) {
            return Err(IllegalEvent::UnknownOp { op: op.clone() });
        }
        let (instance, broken) = match answer {
            CreateAnswer::Created(instance) => (instance, None),
            CreateAnswer::CreatedBroken(instance, detail) => (instance, Some(detail)),
            CreateAnswer::OfferGone(_)
            | CreateAnswer::Refused(_)
            | CreateAnswer::NotSent(_)
            | CreateAnswer::Ambiguous(_) => return Ok(()),
        };
        let claimed = self.node(name).and_then(|node| node.state.claim());
        let on_its_way =
            claimed.is_some_and(|(attempt, claimed)| attempt.op == *op && claimed == Some(instance));
        match broken {
            Some(detail) if on_its_way => self.broken(name, instance, detail),
            _ if self.is_known(instance) => Ok(()),
            // A second rental of one op, or one that was given up.
            _ => {
                let price = self.price_of(op);
                self.doom(instance, Some(name), DoomReason::Stray, price)?;
                let notice = tell::stray_doomed(self.now(), name, instance, price);
                self.tell(notice);
                Ok(())
            }
        }
    }

    /// Whether an instance is claimed or condemned, or stands on record as one that nothing is known of.
    fn is_known(&self, instance: InstanceId) -> bool {
        self.fleet.claims().any(|(_, _, claimed)| claimed == Some(instance))
            || self.fleet.doomed.contains_key(&instance)
            || self.fleet.unknown.contains_key(&instance)
    }

    /// What the attempt was to cost an hour, as counted.
    fn price_of(&self, wanted: &OpId) -> Money {
        let of_op = |action: &Action| match &action.what {
            ActionKind::Create { op, price, .. } if op == wanted => Some(*price),
            ActionKind::Create { .. } | ActionKind::Recovery => None,
        };
        self.fleet.actions.newest_first().find_map(of_op).unwrap_or_default()
    }

    pub(super) fn created(
        &mut self,
        name: &NodeName,
        op: &OpId,
        instance: InstanceId,
    ) -> Result<(), IllegalEvent> {
        if self.is_known(instance) {
            // Ids are never given twice, so this answer is a lie; the label tells what was rented, if anything.
            return self.unresolved(name, op, format!("the answer names instance {instance}, known before"));
        }
        self.record(Record::Created { node: name.clone(), op: op.clone(), instance })?;
        self.memory.absent.remove(op);
        let desk = self.memory.desk(name);
        desk.newcomer_bad_lists = 0;
        desk.work_after = Timestamp::default();
        desk.key_refusals = 0;
        desk.episode.overrun_told = false;
        self.order(Command::AttachKey { instance });
        self.order(Command::List);
        self.pursue(name)
    }

    fn created_broken(
        &mut self,
        name: &NodeName,
        op: &OpId,
        instance: InstanceId,
        detail: String,
    ) -> Result<(), IllegalEvent> {
        if self.is_known(instance) {
            return self.unresolved(name, op, detail);
        }
        self.record(Record::Created { node: name.clone(), op: op.clone(), instance })?;
        self.memory.absent.remove(op);
        self.broken(name, instance, detail)
    }

    fn broken(&mut self, name: &NodeName, instance: InstanceId, detail: String) -> Result<(), IllegalEvent> {
        let reason = DoomReason::BrokenCreate { detail: detail.clone() };
        let text = format!("the create failed yet rented instance {instance}: {detail}");
        self.fail_attempt(name, reason, text)
    }

    /// The next offer is tried at once, and this one is passed over for a while: a search goes on showing it. After some in a row
    /// each takes longer than the one before: what is refused is counted by no cap, and must not be sent without end.
    fn offer_gone(&mut self, name: &NodeName, op: &OpId, detail: String) -> Result<(), IllegalEvent> {
        let now = self.now();
        self.memory.gone_offers.retain(|_, until| *until > now);
        if let Some((attempt, _)) = self.node(name).and_then(|node| node.state.claim()) {
            let offer = attempt.offer;
            self.memory.gone_offers.insert(offer, now.after(GONE_FOR));
        }
        let desk = self.memory.desk(name);
        desk.gone_in_a_row = desk.gone_in_a_row.saturating_add(1);
        let slower = desk.gone_in_a_row.saturating_sub(GONE_AT_ONCE);
        let wait = if slower == 0 { Duration::ZERO } else { self.backoff(slower).min(LONGEST_WAIT) };
        self.create_failed(name, op, detail, wait)
    }

    fn create_failed(
        &mut self,
        name: &NodeName,
        op: &OpId,
        detail: String,
        wait: Duration,
    ) -> Result<(), IllegalEvent> {
        let retry_at = self.now().after(wait);
        self.record(Record::CreateFailed { node: name.clone(), op: op.clone(), detail, retry_at })?;
        self.memory.absent.remove(op);
        self.pursue(name)
    }

    fn create_refused(
        &mut self,
        name: &NodeName,
        op: &OpId,
        fault: ProviderFault,
    ) -> Result<(), IllegalEvent> {
        self.provider_refused(&fault);
        let detail = fault.to_string();
        match fault {
            // A key that lists but may not rent is not mended by trying.
            ProviderFault::Auth { .. } if self.memory.desk(name).key_refusals + 1 >= KEY_REFUSALS => {
                self.memory.desk(name).key_refusals = 0;
                self.refused_for_good(name, op, detail)
            }
            ProviderFault::Auth { .. } => {
                self.memory.desk(name).key_refusals += 1;
                self.create_failed(name, op, detail, LONG_WAIT)
            }
            ProviderFault::RateLimited { .. } => {
                let wait = fault.retry_after().unwrap_or(SHORT_WAIT).min(LONGEST_WAIT);
                self.create_failed(name, op, detail, wait)
            }
            ProviderFault::Credit { .. } => {
                self.create_failed(name, op, detail.clone(), LONG_WAIT)?;
                self.block_for(name, Rail::Credit, detail, Some(self.now().after(LONG_WAIT)));
                self.order(Command::ReadCredit);
                Ok(())
            }
            ProviderFault::Refused { detail: words } => self.refused_for_good(name, op, words),
            // The client reports these as ambiguous; should one come, doubt is the safe reading.
            ProviderFault::Unreachable { .. } | ProviderFault::Malformed { .. } => {
                self.unresolved(name, op, detail)
            }
        }
    }

    /// Another try would be refused as well: a human must look.
    fn refused_for_good(&mut self, name: &NodeName, op: &OpId, detail: String) -> Result<(), IllegalEvent> {
        let (node, retry_at) = (name.clone(), self.now());
        self.record(Record::CreateFailed { node, op: op.clone(), detail: detail.clone(), retry_at })?;
        self.memory.absent.remove(op);
        self.hold(name, HeldReason::Refused { detail })
    }
}
