//! What is told or done ahead of trouble: money that runs out, a mass replacement's length, contracts that end, prices that
//! were raised.

use std::time::Duration;

use super::{
    super::{
        command::Command,
        event::IllegalEvent,
        forecast::Forecast,
        guard::{Rail, Wanted},
        journal::{Cause, DoomReason},
        name::{InstanceId, NodeName},
        planted::{Bug, planted},
        policy::Rung,
        state::NodeState,
        tell,
    },
    Turn,
};

/// How often money and plan are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// From so many waiting nodes on a human is told how long it takes.
const MASS: usize = 3;
/// How often our key is attached to a box that does not let us in.
const ATTACH_EVERY: Duration = Duration::from_secs(600);

impl Turn<'_> {
    /// Tells once that money runs out or that many wait, and once that it no longer does.
    pub(super) fn notice_ahead(&mut self) {
        let now = self.now();
        if now.since(self.memory.money.looked_at) < LOOK_EVERY {
            return;
        }
        self.memory.money.looked_at = now;
        let forecast = self.guard().forecast();
        self.notice_runway(&forecast);
        self.notice_caps(&forecast);
        let plan = self.guard().plan().filter(|plan| plan.waiting.len() >= MASS);
        match plan {
            Some(plan) if !self.memory.money.plan => {
                self.memory.money.plan = true;
                let notice = tell::mass_replacement(now, &plan);
                self.tell(notice);
            }
            Some(_) => {}
            None => self.memory.money.plan = false,
        }
    }

    fn notice_runway(&mut self, forecast: &Forecast) {
        let (now, limit) = (self.now(), self.context.policy.rails.runway);
        let Some((_, credit)) = self.memory.credit.filter(|_| limit > Duration::ZERO) else { return };
        // Somewhat more than the limit ends it, so that a reading at the edge does not tell twice.
        let enough = forecast.runway.is_none_or(|lasts| lasts >= limit.saturating_mul(11) / 10);
        let short = forecast.runway.filter(|lasts| *lasts < limit);
        if let Some(lasts) = short.filter(|_| !self.memory.money.runway) {
            self.memory.money.runway = true;
            let notice = tell::runway_short(now, forecast, lasts, credit.dollars);
            self.tell(notice);
        } else if enough && std::mem::take(&mut self.memory.money.runway) {
            let notice = tell::runway_long(now, forecast.runway);
            self.tell(notice);
        }
    }

    fn notice_caps(&mut self, forecast: &Forecast) {
        let rails = &self.context.policy.rails;
        let over = [
            ("rails.dollars_per_hour", rails.dollars_per_hour, forecast.wanted_hourly),
            ("rails.dollars_per_day", rails.dollars_per_day, forecast.wanted_daily),
        ];
        let over =
            over.into_iter().find_map(|(which, cap, cost)| Some((which, cap.filter(|cap| cost > *cap)?)));
        match over {
            Some((which, cap)) if !self.memory.money.caps => {
                self.memory.money.caps = true;
                let notice = tell::over_caps(self.now(), forecast, which, cap);
                self.tell(notice);
            }
            Some(_) => {}
            None => self.memory.money.caps = false,
        }
    }

    /// Why a box that serves should be replaced all the same.
    fn reason_to_leave(&self, name: &NodeName, instance: InstanceId) -> Option<String> {
        let (spec, row) = (self.context.policy.nodes.get(name)?, self.memory.row(instance)?);
        // A contract that has ended and yet serves is no fact to act on.
        let ends = row.ends_at.filter(|ends| *ends > self.now() && !planted(Bug::EndIgnored));
        let left = ends.map(|ends| self.now().until(ends));
        if let Some(left) = left.filter(|left| *left < spec.before_end) {
            return Some(format!("the contract of instance {instance} ends in {}", tell::span(left)));
        }
        let cap = spec.offers.price_cap;
        (row.price > cap)
            .then(|| format!("instance {instance} costs {}/h now, the cap is {cap}/h", row.price))
    }

    /// Replaces a serving box ahead of its end, under every rail: it is not urgent yet. All that speaks against it is the
    /// provider's word, so it takes as many lists in a row as prove an instance gone, and the box is kept until its
    /// replacement has proven itself.
    pub(super) fn look_ahead(&mut self, name: &NodeName, instance: InstanceId) -> Result<(), IllegalEvent> {
        let serves = self.node(name).is_some_and(|node| matches!(node.state, NodeState::Serving(_)));
        let failing = self.memory.watches.get(name).is_none_or(|watch| watch.failures > 0);
        if !serves || failing || self.is_left_alone(name) {
            return Ok(());
        }
        if self.context.policy.spares.contains(name) && self.fills_another(instance, name) {
            // It was promoted since an old copy of the journal was made, and serves that node.
            return Ok(());
        }
        let why = self.reason_to_leave(name, instance);
        let watch = self.memory.watch(name);
        watch.leaving_lists = if why.is_some() { watch.leaving_lists.saturating_add(1) } else { 0 };
        let often_enough = watch.leaving_lists >= self.context.policy.inventory.gone_lists.max(1);
        let Some(why) = why.filter(|_| often_enough) else { return Ok(()) };
        let Some(spec) = self.spec(name) else { return Ok(()) };
        if !spec.ladder.contains(&Rung::Replace) {
            if self.memory.leaving_told.insert(instance) {
                let next = "its ladder has no `replace`: reprovision it by hand";
                let notice = tell::planned(self.now(), name, &why, next);
                self.tell(notice);
            }
            return Ok(());
        }
        if let Some(until) = self.cooling_until(name) {
            self.block_for(name, Rail::Cooldown, why, Some(until));
            return Ok(());
        }
        // Who fails elsewhere may have lost its witness's word since the breaker was last looked at.
        self.refresh_breaker()?;
        let guard = self.guard();
        let in_hand = self.ready_spare(name).is_some_and(|(_, ready)| guard.promote(name, ready).is_ok());
        let admitted = guard
            .recovery(name, Wanted::Unwitnessed)
            .and_then(|permit| if in_hand { Ok(permit) } else { guard.create(name, None).map(|_| permit) });
        match admitted {
            Ok(permit) => {
                let permit = format!("{why}; {}", permit.reason());
                let notice = tell::planned(self.now(), name, &why, "another one is rented in its place");
                self.tell(notice);
                let reason = DoomReason::Planned { detail: why.clone() };
                self.replace(name, Cause::Planned { why }, reason, &permit)
            }
            Err(deferral) => {
                self.ask_for(deferral.rail);
                self.block(name, deferral);
                Ok(())
            }
        }
    }

    /// How long the replacement that ends now took.
    pub(super) fn time_recovery(&mut self, name: &NodeName) {
        let now = self.now();
        if let Some(NodeState::Recovering(recovery)) = self.node(name).map(|node| &node.state) {
            let took = now.since(recovery.since);
            self.memory.recovered_in(took);
        }
    }

    /// Our key may have been wiped from a box that does not let us in: the provider writes it there again. At most once in a
    /// while, and harmless where it is there.
    pub(super) fn attach_key_again(&mut self, name: &NodeName, instance: InstanceId) {
        let now = self.now();
        let desk = self.memory.desk(name);
        if now.since(desk.key_attached_at) >= ATTACH_EVERY && !self.context.policy.observe_only {
            self.memory.desk(name).key_attached_at = now;
            self.order(Command::AttachKey { instance });
        }
    }
}
