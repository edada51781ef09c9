//! Blue-green: another box with another release is rented, deployed and proven beside the one that serves, and takes its node;
//! the one before is kept for a time, and is switched back to in a moment, by hand or because the new one fails.

use std::time::Duration;

use super::{
    super::{
        deployed::SwitchRequest,
        event::{IllegalEvent, Reply},
        guard::Wanted,
        journal::{Cause, DoomReason, Outcome, Record},
        name::{InstanceId, NodeName},
        probe::Verdict,
        state::{Kept, NodeState, Tenant},
        tell,
    },
    Turn,
};

/// A way back that is open for so long after its time is told.
const OVERDUE: Duration = Duration::from_secs(3600);

impl Turn<'_> {
    pub(super) fn switch_asked(&mut self, request: SwitchRequest) -> Result<(), IllegalEvent> {
        let reply = self.switch(request)?;
        self.step.reply = Some(reply);
        Ok(())
    }

    fn switch(&mut self, request: SwitchRequest) -> Result<Reply, IllegalEvent> {
        let SwitchRequest { node: name, release, keep_s, by } = request;
        if self.spec(&name).is_none() {
            return Ok(Reply::Refused(format!("node `{name}` is not configured")));
        }
        let serves = matches!(self.node(&name).map(|node| &node.state), Some(NodeState::Serving(_)));
        if !serves || self.memory.watch(&name).failures > 0 {
            return Ok(Reply::Refused(format!("`{name}` does not serve well now")));
        }
        if let Some(shunned) = self.fleet.quarantine.get(&release.name) {
            return Ok(Reply::Refused(format!("release {} is quarantined: {}", release.name, shunned.why)));
        }
        if let Some(why) = self.fleet.fault_of(&release.digest) {
            return Ok(Reply::Refused(why));
        }
        let permit = match self.guard().recovery(&name, Wanted::ByHand) {
            Ok(permit) => permit.reason().to_owned(),
            Err(deferral) => return Ok(Reply::Refused(format!("{}: {}", deferral.rail, deferral.why))),
        };
        if let Err(deferral) = self.guard().create(&name, None) {
            self.ask_for(deferral.rail);
            return Ok(Reply::Refused(format!("{}: {}", deferral.rail, deferral.why)));
        }
        let detail = format!("blue-green to {} (commit {}), asked for by {by}", release.name, release.commit);
        let cause = Cause::Planned { why: detail.clone() };
        self.begin_replacement(&name, cause, DoomReason::Planned { detail }, &permit)?;
        let keep_ms = u64::from(keep_s).saturating_mul(1000);
        self.record(Record::NextRelease { node: name.clone(), release, keep_ms })?;
        self.pursue(&name)?;
        Ok(Reply::Accepted(format!(
            "another box is rented for `{name}`; it serves on until that has proven itself"
        )))
    }

    /// The newcomer has proven itself: whom it replaces is condemned, or stands by after a blue-green replacement.
    pub(super) fn let_go_of_kept(&mut self, name: &NodeName, kept: Kept) -> Result<(), IllegalEvent> {
        let Kept { tenant, doom, .. } = kept;
        let Some(next) = self.node(name).and_then(|node| node.next.clone()).filter(|next| next.keep_ms > 0)
        else {
            return self.doom(tenant.instance, Some(name), doom, tenant.rental.price);
        };
        let until = self.now().after(Duration::from_millis(next.keep_ms));
        self.record(Record::StoodBy { node: name.clone(), instance: tenant.instance, until })
    }

    /// The instance that stands by at a node.
    pub(super) fn standby(&self, name: &NodeName) -> Option<InstanceId> {
        self.node(name)?.standby.as_ref().map(|standby| standby.tenant.instance)
    }

    pub(super) fn switch_back(&mut self, name: &NodeName, by: &str) -> Result<Reply, IllegalEvent> {
        if self.context.policy.observe_only {
            return Ok(Reply::Refused("the keeper only observes".into()));
        }
        let Some(instance) = self.standby(name) else {
            return Ok(Reply::NothingToDo(format!("nothing stands by for `{name}`")));
        };
        let unsettled =
            self.node(name).is_some_and(|node| node.state.claims().any(|(_, claimed)| claimed.is_none()));
        if unsettled {
            return Ok(Reply::Refused(format!(
                "a create for `{name}` is not settled yet: try again in a moment"
            )));
        }
        self.back_to_standby(name, DoomReason::Manual { by: by.into() }, &format!("asked for by {by}"))?;
        Ok(Reply::Accepted(format!("instance {instance} serves `{name}` again")))
    }

    /// Whoever fills the node or is on its way to it is condemned; who stood by takes it again.
    pub(super) fn back_to_standby(
        &mut self,
        name: &NodeName,
        reason: DoomReason,
        why: &str,
    ) -> Result<(), IllegalEvent> {
        let Some(instance) = self.standby(name) else { return Ok(()) };
        self.stop_work(name);
        let claims = self.node(name).into_iter().flat_map(|node| node.state.claims());
        let claims: Vec<_> =
            claims.filter_map(|(attempt, claimed)| Some((claimed?, attempt.price))).collect();
        for (claimed, price) in claims {
            self.doom(claimed, Some(name), reason.clone(), price)?;
        }
        self.record(Record::SwitchedBack { node: name.clone(), instance, by: why.into() })?;
        let now = self.now();
        self.memory.watch(name).start_over(now);
        let notice = tell::switched_back(now, name, instance, why);
        self.tell(notice);
        self.end_incident(name, Outcome::Replaced)?;
        self.end_episode(name);
        Ok(())
    }

    /// Condemns who stands by at a node, if anybody does.
    pub(super) fn end_standby(&mut self, name: &NodeName, why: &str) -> Result<(), IllegalEvent> {
        let standby = self.node(name).and_then(|node| node.standby.clone());
        let Some(tenant) = standby.map(|standby| standby.tenant) else { return Ok(()) };
        let reason = DoomReason::Unneeded { detail: format!("the way back is closed: {why}") };
        self.doom(tenant.instance, Some(name), reason, tenant.rental.price)
    }

    /// Whether the node's own box answered well at its last probes, just now and as itself.
    fn is_seen_well(&self, name: &NodeName) -> bool {
        let policy = self.context.policy;
        let (Some(spec), Some(watch)) = (policy.nodes.get(name), self.memory.watches.get(name)) else {
            return false;
        };
        let seen = watch.current(&spec.health, self.now());
        seen.is_some_and(|seen| seen.verdict == Verdict::Healthy)
            && watch.failures == 0
            && watch.successes >= spec.health.success_threshold.max(1)
    }

    /// Condemns those whose time as the way back is over. Until the node's own box was just seen to be well, or while a person
    /// keeps the keeper away from it, the way back stays open: it may be needed now. One that is paid for long after its time is
    /// told.
    pub(super) fn end_standbys(&mut self) -> Result<(), IllegalEvent> {
        if self.context.policy.observe_only {
            return Ok(());
        }
        let now = self.now();
        let standbys =
            self.fleet.nodes.iter().filter_map(|(name, node)| Some((name, node.standby.as_ref()?)));
        let overdue = standbys.filter(|(_, standby)| standby.until.after(OVERDUE) <= now);
        let told = &self.memory.ways_back_told;
        let overdue = overdue.filter(|(_, standby)| !told.contains(&standby.tenant.instance));
        let overdue: Vec<(NodeName, Tenant)> =
            overdue.map(|(name, standby)| (name.clone(), standby.tenant.clone())).collect();
        for (name, tenant) in overdue {
            if self.memory.ways_back_told.insert(tenant.instance) {
                let is_wanted = self.context.policy.nodes.contains_key(&name);
                let notice = tell::way_back_open(now, &name, &tenant, is_wanted);
                self.tell(notice);
            }
        }
        let over = self.fleet.nodes.iter().filter(|(name, node)| {
            let ended = node.standby.as_ref().is_some_and(|standby| standby.until <= now);
            let serves = matches!(node.state, NodeState::Serving(_));
            ended && serves && self.is_seen_well(name) && node.paused.is_none() && !self.is_left_alone(name)
        });
        let names: Vec<NodeName> = over.map(|(name, _)| name.clone()).collect();
        names.iter().try_for_each(|name| self.end_standby(name, "its time is over"))
    }
}
