//! Boxes that the provider stopped: an interruptible one that was outbid is bid more for, up to its cap, and started again;
//! one that it stopped for another reason is started where the ladder says so.
//!
//! The raise is journaled before it is asked for, and counts in the spending from then on. Both calls may be repeated, so
//! whatever their answers say, complete lists show whether the box runs, and the provider is asked again until the remedy's
//! deadline. A start that it queues may happen at any later time, so the box is awaited, or destroyed by the next rung.

use std::time::Duration;

use super::{
    super::{
        bid::Market,
        command::Command,
        event::IllegalEvent,
        guard::{Deferral, Permit},
        journal::Record,
        name::{InstanceId, NodeName},
        policy::{NodeSpec, Rung},
        provider::{ProviderFault, StartAnswer},
        state::NodeState,
        units::Money,
    },
    Turn,
};

/// How soon a box that is still stopped is asked to run again: a start takes half a minute until the list shows it
/// (measured by users of Vast.ai, August 2026).
const ASK_AGAIN: Duration = Duration::from_secs(45);

/// What became of a newcomer that the provider stopped.
pub(super) enum Outbid {
    /// It was not outbid.
    No,
    /// More is bid for it, or a rail keeps that back.
    Answered,
    /// Others pay more than may be bid, in words.
    TooDear(String),
}

impl Turn<'_> {
    /// Whether a rung can work on this box, by what the provider says of it.
    pub(super) fn suits(&self, rung: Rung, instance: InstanceId, tried: &[Rung]) -> bool {
        let row = self.memory.row(instance);
        let stopped = row.is_some_and(|row| row.stopped);
        match rung {
            Rung::Start => {
                let over = row.and_then(|row| row.ends_at).is_some_and(|ends| ends <= self.now());
                let outbid = row.is_some_and(|row| row.outbid().is_some());
                stopped && !over && !outbid && !tried.contains(&Rung::RaiseBid)
            }
            // What is stopped cannot be rebooted, says the provider.
            Rung::Reboot => !stopped,
            Rung::RaiseBid | Rung::RestartServer | Rung::Redeploy | Rung::Replace => true,
        }
    }

    /// Whether a stopped interruptible box needs only a bid or a start, which was ordered or is kept back by a rail.
    pub(super) fn ask_the_market(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
        instance: InstanceId,
        evidence: &str,
    ) -> Result<bool, IllegalEvent> {
        let Some(market) = self.market(spec, instance) else { return Ok(false) };
        let incident = self.node(name).and_then(|node| node.incident.as_ref());
        let tried = |rung| incident.is_some_and(|incident| incident.tried.contains(&rung));
        let rung = match market {
            Market::Raise { .. } => Rung::RaiseBid,
            Market::Start if !tried(Rung::Start) && !tried(Rung::RaiseBid) => Rung::Start,
            Market::Start => return Ok(false),
            Market::TooDear { floor } => {
                self.note_too_dear(name, spec, floor)?;
                return Ok(false);
            }
        };
        let admitted = self
            .stopped_for_another_reason_than_credit(name, spec)
            .and_then(|()| self.admit_market(name, instance, market));
        let permit = match admitted {
            Ok(permit) => permit,
            Err(deferral) => {
                if deferral.rail == super::Rail::ObserveOnly {
                    self.would(name, rung, evidence)?;
                }
                self.ask_for(deferral.rail);
                self.block(name, deferral);
                return Ok(true);
            }
        };
        self.unblock(name);
        let permit = format!("{evidence}; {}{}", market.words(), permit.reason());
        self.record_raise(name, instance, market, permit.clone())?;
        self.start_box(name, spec, rung, permit)?;
        Ok(true)
    }

    /// What the market asks for a stopped interruptible box of a node that bids.
    fn market(&self, spec: &NodeSpec, instance: InstanceId) -> Option<Market> {
        let bids = spec.offers.bid?;
        self.memory.row(instance)?.market(&bids, spec.offers.price_cap)
    }

    /// What a box costs an hour once the market is answered.
    fn price_after(&self, instance: InstanceId, market: Market) -> Money {
        let listed = self.memory.row(instance).map(|row| row.price).unwrap_or_default();
        match market {
            Market::Raise { from, to, .. } => listed.minus(from).max(Money::default()).plus(to),
            Market::Start | Market::TooDear { .. } => listed,
        }
    }

    fn admit_market(
        &self,
        name: &NodeName,
        instance: InstanceId,
        market: Market,
    ) -> Result<Permit, Deferral> {
        // Its price of now is counted already.
        let counted = self.node(name).and_then(|node| node.state.claim()).map(|(attempt, _)| attempt.price);
        let more = self.price_after(instance, market).minus(counted.unwrap_or_default());
        self.guard().raise_bid(name, more.max(Money::default()))
    }

    /// Puts a raise on record; one that is there already is only asked for again.
    fn record_raise(
        &mut self,
        name: &NodeName,
        instance: InstanceId,
        market: Market,
        permit: String,
    ) -> Result<(), IllegalEvent> {
        let Market::Raise { to, .. } = market else { return Ok(()) };
        let claimed = self.node(name).and_then(|node| node.state.claim());
        if claimed.is_some_and(|(attempt, _)| attempt.bid == Some(to)) {
            return Ok(());
        }
        let price = self.price_after(instance, market);
        self.record(Record::BidRaised { node: name.clone(), instance, bid: to, price, permit })
    }

    fn note_too_dear(&mut self, name: &NodeName, spec: &NodeSpec, floor: Money) -> Result<(), IllegalEvent> {
        if std::mem::replace(&mut self.memory.desk(name).episode.too_dear_noted, true) {
            return Ok(());
        }
        let most = spec.offers.bid.map(|bids| bids.most).unwrap_or_default();
        let text = format!("outbid: others pay {floor}/h, the most to bid is {most}/h");
        let incident = self.incident(name);
        self.record(Record::Noted { node: name.clone(), incident, text })
    }

    /// Begins the remedy of a stopped box.
    pub(super) fn start_box(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
        rung: Rung,
        permit: String,
    ) -> Result<(), IllegalEvent> {
        let now = self.now();
        let deadline = now.after(spec.deadlines.remedy);
        self.record(Record::RemedyStarted { node: name.clone(), rung, deadline, permit })?;
        self.memory.watch(name).start_over(now);
        self.memory.desk(name).start_asked_at = super::Timestamp::default();
        self.ask_to_run(name);
        self.look(name, deadline);
        Ok(())
    }

    /// Asks the provider to let the node's box run, with the bid on record, unless it runs or was asked a moment ago.
    pub(super) fn ask_to_run(&mut self, name: &NodeName) {
        let now = self.now();
        let claimed = self.node(name).and_then(|node| {
            node.state.claim().and_then(|(attempt, instance)| Some((attempt.bid, instance?)))
        });
        let Some((bid, instance)) = claimed else { return };
        let stopped = self.memory.row(instance).is_some_and(|row| row.stopped);
        let desk = self.memory.desk(name);
        if !stopped || now.since(desk.start_asked_at) < ASK_AGAIN {
            return;
        }
        desk.start_asked_at = now;
        self.order(Command::Start { node: name.clone(), instance, bid });
        self.look(name, now.after(ASK_AGAIN));
    }

    pub(super) fn start_answered(
        &mut self,
        name: &NodeName,
        instance: InstanceId,
        answer: StartAnswer,
    ) -> Result<(), IllegalEvent> {
        let Some(node) = self.node(name) else { return Ok(()) };
        if node.state.claim().and_then(|(_, claimed)| claimed) != Some(instance) {
            return Ok(());
        }
        let remedy = match &node.state {
            NodeState::Remedying { rung, .. } if rung.asks_the_provider() => Some(*rung),
            _ => None,
        };
        let incident = self.incident(name);
        let text = match answer {
            StartAnswer::Starting => {
                self.order(Command::List);
                return Ok(());
            }
            StartAnswer::Queued(words) => {
                format!("instance {instance} cannot start yet, the provider queued it: {words}")
            }
            StartAnswer::Failed(ProviderFault::Refused { detail }) if remedy.is_some() => {
                let rung = remedy.unwrap_or(Rung::Start);
                return self.remedy_failed(name, rung, format!("the provider refused: {detail}"));
            }
            StartAnswer::Failed(fault) => {
                self.provider_refused(&fault);
                format!("instance {instance} was not started: {fault}")
            }
        };
        self.record(Record::Noted { node: name.clone(), incident, text })
    }

    /// A newcomer that others outbid before it served is bid more for as well, within the same cap.
    pub(super) fn outbid_newcomer(
        &mut self,
        name: &NodeName,
        instance: InstanceId,
    ) -> Result<Outbid, IllegalEvent> {
        let Some(spec) = self.spec(name).filter(|_| !self.is_left_alone(name)) else { return Ok(Outbid::No) };
        let market = match self.market(&spec, instance) {
            None => return Ok(Outbid::No),
            Some(Market::TooDear { floor }) => {
                let most = spec.offers.bid.map(|bids| bids.most).unwrap_or_default();
                return Ok(Outbid::TooDear(format!(
                    "outbid: others pay {floor}/h, the most to bid is {most}/h"
                )));
            }
            Some(market) => market,
        };
        let asked_at = self.memory.desk(name).start_asked_at;
        match self.admit_market(name, instance, market) {
            Err(deferral) => {
                self.ask_for(deferral.rail);
                self.block(name, deferral);
            }
            Ok(_) if self.now().since(asked_at) < ASK_AGAIN => {}
            Ok(permit) => {
                self.unblock(name);
                let permit = format!("{}{}", market.words(), permit.reason());
                self.record_raise(name, instance, market, permit)?;
                self.ask_to_run(name);
            }
        }
        Ok(Outbid::Answered)
    }
}
