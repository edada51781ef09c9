//! Probes of a node with a tenant, or with a newcomer on probation.

use std::time::Duration;

use super::{
    super::{
        command::Command,
        culprit::{Attribution, Failed, attribute},
        event::IllegalEvent,
        journal::{Cause, HeldReason, Outcome, Record},
        lateness::{TooLate, is_late},
        name::{IncidentId, NodeName},
        planted::{Bug, planted},
        policy::NodeSpec,
        probe::{Observation, Verdict},
        state::{NodeState, Recovery, Stage},
        tell,
    },
    Turn,
};

/// A machine that stays overloaded is told once in this time.
const TELL_LATE_EVERY: Duration = Duration::from_secs(3600);

impl Turn<'_> {
    pub(super) fn probed(&mut self, name: &NodeName, observation: Observation) -> Result<(), IllegalEvent> {
        let Some(spec) = self.spec(name) else { return Ok(()) };
        let Some(node) = self.fleet.nodes.get(name) else { return Ok(()) };
        let Some(tenant) = node.state.probed() else { return Ok(()) };
        if tenant.rental.op != observation.identity {
            // A probe of an earlier tenant that ended late says nothing of this one.
            return Ok(());
        }
        let serving = matches!(node.state, NodeState::Serving(_));
        let healthy = observation.verdict == Verdict::Healthy;
        let watch = self.memory.watch(name);
        if observation.at < watch.from {
            // Nor does one that began before a stall, a deploy or a remedy.
            return Ok(());
        }
        if self.is_too_late(&observation, spec.health.interval) {
            return Ok(());
        }
        let watch = self.memory.watch(name);
        watch.observe(observation);
        if serving && healthy && !self.breaker_is_out() {
            return Ok(());
        }
        self.after_probe(name, &spec)
    }

    /// Whether nothing that this probe saw counts: it failed and started late itself, or too many did.
    fn is_too_late(&mut self, observation: &Observation, interval: Duration) -> bool {
        let now = self.now();
        let failing = matches!(observation.verdict, Verdict::Failing(_));
        let doubtful = failing && is_late(observation.lateness, interval);
        // What should have started while the keeper stood still is the stall's business.
        if observation.at.before(observation.lateness) < self.memory.awake_from {
            return doubtful;
        }
        let counted = self.memory.lateness.count(now, observation.lateness, interval);
        let Some(TooLate { late, probes }) = counted else { return doubtful };
        self.tilt(Duration::ZERO);
        if self.memory.lateness_told_at.is_none_or(|told| now.since(told) >= TELL_LATE_EVERY) {
            self.memory.lateness_told_at = Some(now);
            let notice = tell::late(now, late, probes);
            self.tell(notice);
        }
        true
    }

    fn after_probe(&mut self, name: &NodeName, spec: &NodeSpec) -> Result<(), IllegalEvent> {
        let watch = self.memory.watch(name);
        let successes = watch.successes;
        let maintained = watch.last.as_ref().is_some_and(|last| last.verdict == Verdict::Maintenance);
        if maintained {
            self.maintained(name, spec);
        }
        let proven = successes >= spec.health.success_threshold.max(1);
        let Some(node) = self.fleet.nodes.get(name) else { return Ok(()) };
        match &node.state {
            NodeState::Suspect { .. } if proven => self.heal(name, Outcome::ByItself),
            // While the work goes on, it is the server of before that answers.
            NodeState::Remedying { rung, .. } if proven && !self.is_working(name) => {
                let (node, rung) = (name.clone(), *rung);
                let detail = "healthy again".to_owned();
                self.record(Record::RemedyEnded { node, rung, helped: true, detail })?;
                self.heal(name, Outcome::Remedied)
            }
            NodeState::Held { reason, .. } if proven && *reason != HeldReason::HostKeyChanged => {
                self.record(Record::Released {
                    node: name.clone(),
                    by: "its own recovery".into(),
                    by_itself: true,
                })?;
                self.heal(name, Outcome::ByItself)
            }
            NodeState::Recovering(Recovery { stage: Stage::Probation { tenant, .. }, .. })
                if proven || planted(Bug::AdoptUnproven) =>
            {
                let tenant = tenant.clone();
                self.adopt(name, &tenant)
            }
            NodeState::Vacant
            | NodeState::Serving(_)
            | NodeState::Suspect { .. }
            | NodeState::Remedying { .. }
            | NodeState::Recovering(_)
            | NodeState::Held { .. } => self.pursue(name),
        }
    }

    pub(super) fn is_working(&self, name: &NodeName) -> bool {
        self.memory.desks.get(name).is_some_and(|desk| desk.working)
    }

    /// Enough failures in a row make a serving node suspect and open an incident.
    pub(super) fn pursue_serving(&mut self, name: &NodeName, spec: &NodeSpec) -> Result<(), IllegalEvent> {
        let watch = self.memory.watch(name);
        if watch.failures < spec.health.failure_threshold.max(1) {
            if self.breaker_is_out() {
                self.refresh_breaker()?;
            }
            return Ok(());
        }
        // Whoever works on the box stops and starts its server; the time for that ends by itself.
        let pause = self.node(name).and_then(|node| node.paused.as_ref());
        if pause.is_some_and(|pause| pause.until.is_some_and(|until| self.now() < until)) {
            return Ok(());
        }
        let watch = self.memory.watch(name);
        let first_failure_at = watch.first_failure.as_ref().map_or(self.context.now, |(at, _)| *at);
        let vanished = watch.missing_lists >= self.context.policy.inventory.gone_lists.max(1);
        let cause = if vanished { Cause::Vanished } else { Cause::Failing { why: watch.failure_text() } };
        self.end_episode(name);
        self.open_incident(name, cause, first_failure_at)?;
        self.order(Command::List);
        if !self.context.policy.rails.canaries.is_empty() {
            self.order(Command::CheckSelf);
        }
        self.pursue(name)
    }

    /// Opens an incident with its one opening message.
    pub(super) fn open_incident(
        &mut self,
        name: &NodeName,
        cause: Cause,
        first_failure_at: super::Timestamp,
    ) -> Result<IncidentId, IllegalEvent> {
        if let Some(open) = self.node(name).and_then(|node| node.incident.as_ref()) {
            return Ok(open.id);
        }
        let incident = IncidentId(self.fleet.next_incident);
        let node = name.clone();
        let cause_kept = cause.clone();
        self.record(Record::IncidentOpened { incident, node, cause, first_failure_at })?;
        let failures = self.memory.watch(name).failures;
        let fault = self.likely_fault(name, &cause_kept);
        let notice =
            tell::opened(self.now(), name, self.fleet, incident, &cause_kept, failures, self.context.policy);
        let notice = tell::with_fault(notice, fault.as_ref());
        self.tell(notice);
        Ok(incident)
    }

    /// Who is most likely at fault, for the first message: told, not put on record, since witnesses are still asked.
    fn likely_fault(&self, name: &NodeName, cause: &Cause) -> Option<Attribution> {
        if !matches!(cause, Cause::Failing { .. } | Cause::Vanished) {
            return None;
        }
        let node = self.node(name)?;
        let tenant = node.state.tenant()?;
        let release = node.release.as_ref().map(|release| &release.digest);
        let failed = Failed { node: name, attempt: &tenant.rental, instance: tenant.instance, release };
        Some(attribute(failed, self.fleet, self.memory, self.context.policy, self.now()))
    }

    /// The tenant serves again.
    pub(super) fn heal(&mut self, name: &NodeName, outcome: Outcome) -> Result<(), IllegalEvent> {
        self.end_episode(name);
        self.end_incident(name, outcome)?;
        self.refresh_breaker()
    }

    /// Closes the open incident, if there is one, with its one closing message.
    pub(super) fn end_incident(&mut self, name: &NodeName, outcome: Outcome) -> Result<(), IllegalEvent> {
        let Some(incident) = self.node(name).and_then(|node| node.incident.clone()) else { return Ok(()) };
        self.record(Record::IncidentClosed { incident: incident.id, node: name.clone(), outcome })?;
        let notice = tell::closed(self.now(), name, self.fleet, &incident, outcome);
        if !planted(Bug::CloseInSilence) {
            self.tell(notice);
        }
        Ok(())
    }
}
