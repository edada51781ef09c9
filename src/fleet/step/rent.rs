//! From the decision to the rental: rails, search, intent, one create, and what its answer means.
//!
//! A create has no idempotency key at Vast.ai. So the intent is journaled before, the op travels in the label, the create
//! is sent once, and any doubt is settled by looking at complete lists, never by sending again.

use std::time::Duration;

use super::{
    super::{
        event::{Command, IllegalEvent},
        guard::{Rail, Wanted},
        journal::{Cause, DoomReason, HeldReason, Record},
        name::{InstanceId, Label, NodeName, OpId},
        offer::{Exclusions, select},
        policy::NodeSpec,
        provider::{CreateAnswer, OffersFound, ProviderFault},
        state::{Attempt, NodeState, Stage},
        units::Timestamp,
    },
    Turn,
};

/// A search that was not answered by now is asked again.
const SEARCH_PATIENCE: Duration = Duration::from_secs(60);
/// Offers found are good for this long; they vanish as others rent them.
const OFFERS_FRESH: Duration = Duration::from_secs(60);
/// A create that was not answered by now is unresolved: longer than the client's own timeout.
const CREATE_PATIENCE: Duration = Duration::from_secs(60);
/// The wait after a create that never left this machine, or that was throttled without a hint.
const SHORT_WAIT: Duration = Duration::from_secs(5);
/// The wait before the next try when the account could not pay.
const CREDIT_WAIT: Duration = Duration::from_secs(300);

impl Turn<'_> {
    pub(super) fn pursue_rental(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
        since: Timestamp,
        not_before: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let now = self.now();
        self.overrun(name, since, spec.deadlines.rent, "no replacement could be rented yet");
        if now < not_before {
            let why = format!("the next attempt waits {} s", now.until(not_before).as_secs() + 1);
            self.block_for(name, Rail::Backoff, why, Some(not_before));
            return Ok(());
        }
        if let Err(deferral) = self.guard().create(name, None, self.wanted(name)) {
            self.block(name, deferral);
            return Ok(());
        }
        let desk = self.memory.desk(name);
        if now.since(desk.offers_at) > OFFERS_FRESH {
            desk.offers.clear();
        }
        if !desk.offers.is_empty() {
            return self.rent_next(name, spec);
        }
        if desk.searching_since.is_none_or(|since| now.since(since) > SEARCH_PATIENCE) {
            desk.searching_since = Some(now);
            self.order(Command::Search { node: name.clone() });
        }
        self.look(name, now.after(SEARCH_PATIENCE));
        Ok(())
    }

    /// Whether a person started this recovery.
    fn wanted(&self, name: &NodeName) -> Wanted {
        match self.node(name).map(|node| &node.state) {
            Some(NodeState::Recovering(recovery)) if matches!(recovery.cause, Cause::Manual { .. }) => {
                Wanted::ByHand
            }
            _ => Wanted::ByItself,
        }
    }

    pub(super) fn searched(
        &mut self,
        name: &NodeName,
        answer: Result<OffersFound, ProviderFault>,
    ) -> Result<(), IllegalEvent> {
        let now = self.now();
        self.memory.desk(name).searching_since = None;
        let Some(spec) = self.spec(name) else { return Ok(()) };
        let found = match answer {
            Ok(found) => found,
            Err(fault) => {
                self.provider_fault(&fault)?;
                let until = now.after(fault.retry_after().unwrap_or(SHORT_WAIT));
                self.block_for(name, Rail::Offers, format!("the search failed: {fault}"), Some(until));
                return Ok(());
            }
        };
        let previous = match self.node(name).map(|node| &node.state) {
            Some(NodeState::Recovering(recovery)) => recovery.previous_price,
            _ => None,
        };
        let selection =
            select(&found.offers, &spec.offers, &self.exclusions(), previous, spec.rental.disk_gb);
        if selection.ranked.is_empty() {
            let why = selection.why_none();
            self.block_for(name, Rail::Offers, why, Some(now.after(SEARCH_PATIENCE)));
            return Ok(());
        }
        let desk = self.memory.desk(name);
        desk.offers = selection.ranked;
        desk.offers_at = now;
        self.pursue(name)
    }

    /// Machines that must not be rented now: blamed ones, excluded ones, and those where we rent already.
    #[must_use]
    pub(super) fn exclusions(&self) -> Exclusions {
        super::super::view::exclusions(self.fleet, self.context.policy, self.now())
    }

    fn rent_next(&mut self, name: &NodeName, spec: &NodeSpec) -> Result<(), IllegalEvent> {
        let excluded = self.exclusions();
        let desk = self.memory.desk(name);
        desk.offers.retain(|offer| excluded.why(offer).is_none());
        if desk.offers.is_empty() {
            return self.pursue_again(name);
        }
        let offer = desk.offers.remove(0);
        debug_assert!(offer.price <= spec.offers.price_cap, "the selection respects the cap");
        let permit = match self.guard().create(name, Some(offer.price), self.wanted(name)) {
            Ok(permit) => permit.reason().to_owned(),
            Err(deferral) => {
                self.memory.desk(name).offers.insert(0, offer);
                self.block(name, deferral);
                return Ok(());
            }
        };
        self.unblock(name);
        let op = OpId::from_bits(self.draw());
        let label = Label { fleet: self.context.policy.fleet.clone(), node: name.clone(), op: op.clone() };
        self.record(Record::Intent {
            node: name.clone(),
            op,
            offer: offer.id,
            machine: offer.machine,
            host: offer.host,
            price: offer.price,
            offer_text: offer.to_string(),
            permit,
        })?;
        self.order(Command::Create { node: name.clone(), offer: Box::new(offer), label });
        self.look(name, self.now().after(CREATE_PATIENCE));
        Ok(())
    }

    /// Looks at a node again at once, in the next step.
    pub(super) fn pursue_again(&mut self, name: &NodeName) -> Result<(), IllegalEvent> {
        self.look(name, self.now());
        Ok(())
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
        match answer {
            CreateAnswer::Created(instance) => self.created(name, op, instance),
            CreateAnswer::CreatedBroken(instance, detail) => self.created_broken(name, op, instance, detail),
            CreateAnswer::OfferGone(detail) => self.create_failed(name, op, detail, Duration::ZERO),
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
        let Some(known) = self.fleet.ops.get(op) else {
            return Err(IllegalEvent::UnknownOp { op: op.clone() });
        };
        let (CreateAnswer::Created(instance) | CreateAnswer::CreatedBroken(instance, _)) = answer else {
            return Ok(());
        };
        let claimed = self.node(name).and_then(|node| node.state.claim()).and_then(|(_, claimed)| claimed);
        if known.instance == Some(instance) || claimed == Some(instance) {
            return Ok(());
        }
        // A second rental of one op, or one that was given up.
        self.doom(instance, Some(name), DoomReason::Stray, super::Money::default())
    }

    pub(super) fn created(
        &mut self,
        name: &NodeName,
        op: &OpId,
        instance: InstanceId,
    ) -> Result<(), IllegalEvent> {
        self.record(Record::Created { node: name.clone(), op: op.clone(), instance })?;
        self.memory.absent.remove(op);
        let desk = self.memory.desk(name);
        desk.newcomer_bad_lists = 0;
        desk.overrun_told = false;
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
        self.record(Record::Created { node: name.clone(), op: op.clone(), instance })?;
        let reason = DoomReason::BrokenCreate { detail: detail.clone() };
        self.fail_attempt(
            name,
            reason,
            format!("the create failed yet rented instance {instance}: {detail}"),
            true,
        )
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
        self.pursue(name)
    }

    fn create_refused(
        &mut self,
        name: &NodeName,
        op: &OpId,
        fault: ProviderFault,
    ) -> Result<(), IllegalEvent> {
        self.provider_fault(&fault)?;
        let detail = fault.to_string();
        match fault {
            ProviderFault::Auth { .. } => self.create_failed(name, op, detail, SHORT_WAIT),
            ProviderFault::RateLimited { .. } => {
                let wait = fault.retry_after().unwrap_or(SHORT_WAIT);
                self.create_failed(name, op, detail, wait)
            }
            ProviderFault::Credit { .. } => {
                self.create_failed(name, op, detail.clone(), CREDIT_WAIT)?;
                self.block_for(name, Rail::Credit, detail, Some(self.now().after(CREDIT_WAIT)));
                self.order(Command::ReadCredit);
                Ok(())
            }
            ProviderFault::Refused { .. } => {
                let retry_at = self.now();
                let refused = Record::CreateFailed {
                    node: name.clone(),
                    op: op.clone(),
                    detail: detail.clone(),
                    retry_at,
                };
                self.record(refused)?;
                self.hold(name, HeldReason::Refused { detail })
            }
            // The client reports these as ambiguous; should one come, doubt is the safe reading.
            ProviderFault::Unreachable { .. } | ProviderFault::Malformed { .. } => {
                self.unresolved(name, op, detail)
            }
        }
    }
}
