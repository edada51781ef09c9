//! From rental to service: boot, deploy, probation, adoption; and the end of an attempt that fails.

use std::time::Duration;

use super::{
    super::{
        command::Command,
        culprit::Culprit,
        event::{IllegalEvent, WorkFault},
        guard::Deferral,
        journal::{DoomReason, HeldReason, Outcome, Record, ReleaseRef},
        name::{InstanceId, NodeName},
        policy::NodeSpec,
        probe::Verdict,
        provider::Status,
        state::{NodeState, Recovery, Stage, Tenant},
        tell,
        units::{Timestamp, millis},
        watch::observed_for,
    },
    LOOK_AGAIN, Turn,
    bids::Outbid,
};

/// The container port of SSH.
const SSH_PORT: u16 = 22;
/// A newcomer that lists call dead, or lack, this often in a row is given up.
const BAD_LISTS: u32 = 2;
/// The pause before a deploy of unknown outcome is run again.
const DEPLOY_AGAIN: Duration = Duration::from_secs(10);
/// A box that serves may be started anew by its host, which takes no longer than this.
const HOST_RESTART: Duration = Duration::from_secs(400);

impl Turn<'_> {
    pub(super) fn pursue_boot(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
        instance: InstanceId,
        since: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let row = self.memory.row(instance);
        let running = row.is_some_and(|row| {
            row.status == Status::Running && (row.ports.contains_key(&SSH_PORT) || row.ssh_proxy.is_some())
        });
        if running && let Some(address) = self.address_of(instance, spec) {
            self.record(Record::InstanceUp { node: name.clone(), instance, address })?;
            self.memory.desk(name).brings = None;
            return self.pursue(name);
        }
        let last = match row {
            None => "not listed".to_owned(),
            Some(row) if running => match row.address(spec.rental.port) {
                Some(address) => format!("running at {address}, which is not globally routable"),
                None => format!("running without port {} published", spec.rental.port),
            },
            Some(row) => row.status.words(),
        };
        let mut deadline = self.due(since, spec.deadlines.boot);
        if self.predates_doubt(name) {
            // Lists take so long to show that it never served.
            let proof = self.long_boot(name).saturating_add(self.context.policy.rails.inventory_fresh);
            deadline = deadline.max(self.memory.awake_from.after(proof));
        }
        let now = self.now();
        if now < deadline {
            self.look(name, deadline);
            return Ok(());
        }
        // Only a list begun after the deadline proves that it was missed; meanwhile the keeper may have been away.
        if self.memory.lists.last_started_at.is_none_or(|began| began < deadline) {
            self.look(name, now.after(LOOK_AGAIN));
            return Ok(());
        }
        let detail = format!("not up after {} s, last seen {last}", now.since(since).as_secs());
        self.fail_start(name, detail)
    }

    /// What a good list says of a newcomer: broken and dead ones are given up early, unless they answer their probes.
    pub(super) fn newcomer_listed(
        &mut self,
        name: &NodeName,
        instance: InstanceId,
        since: Timestamp,
        list_began: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let grace = self.context.policy.inventory.create_grace;
        if self.newcomer_answers(name) {
            self.memory.desk(name).newcomer_bad_lists = 0;
            return Ok(());
        }
        let seen = self.memory.row(instance).map(|row| (row.status.clone(), row.message.clone()));
        let boots = matches!(self.node(name).map(|node| &node.state), Some(NodeState::Recovering(recovery))
            if matches!(recovery.stage, Stage::Booting { .. }));
        // It may serve by now: then a list or two is no word against it, and its own deadline decides.
        let may_serve = self.predates_doubt(name) && self.context.policy.nodes.contains_key(name);
        let starts = boots && matches!(seen, Some((Status::Starting | Status::Broken, _)));
        let runs = matches!(seen, Some((Status::Running, _)));
        let (fresh, long) = (self.context.policy.rails.inventory_fresh, self.long_boot(name));
        let desk = self.memory.desk(name);
        desk.never_up = match desk.never_up.filter(|(of, ..)| *of == instance) {
            Some((_, from, to)) if starts && list_began.since(to) <= fresh => {
                Some((instance, from, list_began))
            }
            _ if starts => Some((instance, list_began, list_began)),
            // What lists showed for long enough stays true of one that fails then.
            Some((_, from, to)) if !runs && to.since(from) >= long => Some((instance, from, to)),
            _ => None,
        };
        let (bad, what) = match seen {
            None => (list_began >= since.after(grace), "missing from the provider's list".to_owned()),
            Some((Status::Broken, _)) if may_serve => (false, String::new()),
            Some((Status::Broken, message)) => {
                let detail = message.unwrap_or_else(|| "the host's runtime refused to start it".into());
                return self.fail_start(name, detail);
            }
            Some((status @ (Status::Exited | Status::Offline), _)) => (true, status.words()),
            Some(_) => (false, String::new()),
        };
        desk.newcomer_bad_lists = if bad { desk.newcomer_bad_lists.saturating_add(1) } else { 0 };
        if desk.newcomer_bad_lists >= BAD_LISTS {
            return match self.outbid_newcomer(name, instance)? {
                Outbid::Answered => Ok(()),
                _ if may_serve => Ok(()),
                Outbid::TooDear(why) => self.fail_start(name, why),
                Outbid::No => self.fail_start(name, what),
            };
        }
        Ok(())
    }

    /// Whether the newcomer on probation answered its last probe as itself: then it lives, whatever a list says.
    fn newcomer_answers(&self, name: &NodeName) -> bool {
        let (Some(node), Some(spec)) = (self.node(name), self.context.policy.nodes.get(name)) else {
            return false;
        };
        let NodeState::Recovering(Recovery { stage: Stage::Probation { tenant, .. }, .. }) = &node.state
        else {
            return false;
        };
        let last = self.memory.watches.get(name).and_then(|watch| watch.current(&spec.health, self.now()));
        last.is_some_and(|last| {
            last.identity == tenant.rental.op && !matches!(last.verdict, Verdict::Failing(_))
        })
    }

    pub(super) fn pursue_deploy(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
        instance: InstanceId,
        since: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let begins = since.max(self.memory.desk(name).deploy_from);
        let (now, deadline) = (self.now(), self.due(begins, spec.deadlines.deploy));
        let working = self.memory.desks.get(name).is_some_and(|desk| desk.working);
        if !working && let Err(deferral) = self.guard().deploy(name) {
            return self.wait_for_release(name, spec, since, deferral);
        }
        if now >= deadline {
            let detail = format!("not finished after {} s", now.since(since).as_secs());
            return self.fail_start(name, detail);
        }
        // After a start the way to the box is known only from the first list; without it a deploy would blame the box.
        let reachable = self.memory.row(instance).is_some();
        let desk = self.memory.desk(name);
        if !reachable && !desk.working {
            self.look(name, now.after(LOOK_AGAIN).min(deadline));
            return Ok(());
        }
        if desk.work_after > now {
            let again = desk.work_after.min(deadline);
            self.look(name, again);
            return Ok(());
        }
        let newcomer = self.fleet.nodes.get(name).and_then(|node| node.state.newcomer()).cloned();
        if let Some(tenant) = newcomer.filter(|_| !std::mem::replace(&mut desk.working, true)) {
            self.unblock(name);
            let release = self.chosen_release(name);
            self.memory.desk(name).brings = release.digest().cloned();
            self.order(Command::Deploy { node: name.clone(), tenant, release, deadline });
        }
        self.look(name, deadline);
        Ok(())
    }

    /// A box that is up waits until the release is known to be good, or another one is there: for the time of a second deploy
    /// beyond its own at most, then it is let go and a person asked.
    fn wait_for_release(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
        since: Timestamp,
        deferral: Deferral,
    ) -> Result<(), IllegalEvent> {
        let (now, limit) = (self.now(), self.due(since, spec.deadlines.deploy.saturating_mul(2)));
        if now < limit {
            self.look(name, now.after(LOOK_AGAIN).min(limit));
            self.memory.desk(name).deploy_from = now;
            self.block(name, deferral);
            return Ok(());
        }
        let detail = format!("nothing could be deployed to it: {}", deferral.why);
        let release = self.memory.release.as_ref().map(|release| release.digest.clone());
        self.give_up(name, DoomReason::Unneeded { detail: detail.clone() }, &detail)?;
        self.hold(name, HeldReason::ReleaseAtFault { detail, release })
    }

    pub(super) fn deploy_ended(
        &mut self,
        name: &NodeName,
        instance: InstanceId,
        result: Result<ReleaseRef, WorkFault>,
    ) -> Result<(), IllegalEvent> {
        let current = match self.node(name).map(|node| &node.state) {
            Some(NodeState::Recovering(Recovery { stage: Stage::Deploying { tenant, .. }, .. })) => {
                tenant.instance == instance
            }
            _ => false,
        };
        if !current {
            return Ok(());
        }
        let now = self.now();
        self.memory.desk(name).working = false;
        match result {
            Ok(release) => {
                self.record(Record::Deployed { node: name.clone(), instance, release })?;
                self.memory.watch(name).start_over(now);
                self.pursue(name)
            }
            Err(WorkFault::Box(detail)) => self.fail_start(name, detail),
            Err(WorkFault::Unhealthy(detail)) => self.fail_with_release(name, detail),
            // Of a newcomer's data nothing is lost that was ever served.
            Err(WorkFault::Unknown(detail) | WorkFault::Halfway(detail)) => {
                // A deploy's steps may be repeated, so doubt costs another run within the deadline, not the box.
                let incident = self.incident(name);
                let text = format!("the deploy's outcome is unknown, it is run again: {detail}");
                self.record(Record::Noted { node: name.clone(), incident, text })?;
                self.memory.desk(name).work_after = now.after(DEPLOY_AGAIN);
                self.pursue(name)
            }
            // The other one is judged before it is brought; a moment later, so that no two can chase each other.
            Err(WorkFault::Superseded(_)) => {
                self.look(name, now.after(LOOK_AGAIN));
                Ok(())
            }
            Err(WorkFault::HostKeyChanged(detail)) => {
                self.give_up(name, DoomReason::FailedToStart { detail: detail.clone() }, &detail)?;
                self.hold(name, HeldReason::HostKeyChanged)
            }
            Err(WorkFault::Release(detail)) => {
                // Another box would fail as well, so none is burnt on it; this one is not paid for in vain either.
                let release = self.release_on(name);
                self.release_refused(name, &detail)?;
                self.give_up(name, DoomReason::FailedToStart { detail: detail.clone() }, &detail)?;
                self.hold(name, HeldReason::ReleaseAtFault { detail, release })
            }
        }
    }

    pub(super) fn pursue_probation(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
        instance: InstanceId,
        since: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let deadline = self.due(since, spec.deadlines.probation);
        if self.now() < deadline {
            self.look(name, deadline);
            return Ok(());
        }
        // What was seen of it may have been forgotten a moment ago: the next probes say why it does not serve.
        let (now, again) = (self.now(), deadline.after(observed_for(&spec.health)));
        if self.memory.watch(name).last.is_none() && now < again {
            self.look(name, now.after(LOOK_AGAIN).min(again));
            return Ok(());
        }
        let watch = self.memory.watch(name);
        let last = watch.last.as_ref().map_or_else(|| "never probed".into(), |last| last.verdict.to_string());
        let detail = format!("instance {instance} was deployed but not healthy in time: {last}");
        self.fail_with_release(name, detail)
    }

    /// The box came up and took the release, and its server does not serve.
    fn fail_with_release(&mut self, name: &NodeName, detail: String) -> Result<(), IllegalEvent> {
        if !self.context.policy.observe_only && !self.is_left_alone(name) && !self.may_serve(name) {
            self.release_failed(name, &detail)?;
        }
        self.fail_start(name, detail)
    }

    /// The newcomer has proven itself and takes the node; whom it replaces is condemned in the same transaction.
    pub(super) fn adopt(&mut self, name: &NodeName, tenant: &Tenant) -> Result<(), IllegalEvent> {
        self.doom_kept(name)?;
        self.time_recovery(name);
        let imported = self.is_imported(name);
        self.record(Record::Adopted { node: name.clone(), instance: tenant.instance })?;
        self.end_episode(name);
        if imported {
            let notice = tell::imported(self.now(), name, tenant);
            self.tell(notice);
            return self.end_incident(name, Outcome::Replaced);
        }
        if self.incident(name).is_some() {
            return self.heal(name, Outcome::Replaced);
        }
        let notice = tell::filled(self.now(), name, tenant);
        self.tell(notice);
        Ok(())
    }

    fn fail_start(&mut self, name: &NodeName, detail: String) -> Result<(), IllegalEvent> {
        if self.may_serve(name) {
            return if self.context.policy.observe_only || self.is_left_alone(name) {
                Ok(())
            } else {
                self.refuse_import(name, &detail)
            };
        }
        self.fail_down(name, detail)
    }

    /// The same, of one that the provider says does not run.
    fn fail_down(&mut self, name: &NodeName, detail: String) -> Result<(), IllegalEvent> {
        let stage = match self.node(name).map(|node| &node.state) {
            Some(NodeState::Recovering(recovery)) => recovery.stage.word(),
            _ => return Ok(()),
        };
        if self.context.policy.observe_only || self.is_left_alone(name) {
            // Whoever only observes, or works on another node, condemns nothing either.
            return Ok(());
        }
        if self.is_imported(name) {
            return self.refuse_import(name, &detail);
        }
        let detail = format!("{stage}: {detail}");
        self.fail_attempt(name, DoomReason::FailedToStart { detail: detail.clone() }, detail)
    }

    /// Ends an attempt: dooms its instance, blames its machine, and goes back to the start or to a human.
    pub(super) fn fail_attempt(
        &mut self,
        name: &NodeName,
        reason: DoomReason,
        detail: String,
    ) -> Result<(), IllegalEvent> {
        let Some(NodeState::Recovering(recovery)) = self.node(name).map(|node| &node.state) else {
            return Ok(());
        };
        let Some((attempt, Some(instance))) = recovery.stage.claim() else { return Ok(()) };
        let attempt = attempt.clone();
        let attempts = recovery.attempts.saturating_add(1);
        let release = self.release_on(name);
        let attribution = self.blame(name, &attempt, instance, release.as_ref(), &detail)?;
        self.doom_newcomer(name, reason)?;
        let retry_at = self.now().after(self.backoff(attempts));
        self.record(Record::AttemptFailed { node: name.clone(), detail: detail.clone(), retry_at })?;
        self.watch_kept(name);
        if let (Culprit::Release, Some(digest)) = (attribution.culprit, release) {
            // Another box would fail as well, so none is burnt on it.
            self.condemn(&digest, &attribution.evidence)?;
            let held = self.node(name).is_some_and(|node| matches!(node.state, NodeState::Held { .. }));
            return if held { Ok(()) } else { self.hold_for_release(name, &digest, &attribution.evidence) };
        }
        if attempts >= self.context.policy.rails.attempts.max(1) {
            return self.hold(name, HeldReason::AttemptsUsedUp { attempts, last: detail });
        }
        self.pursue(name)
    }

    /// Lets a newcomer go that is not waited for: condemned, unless it may serve somebody.
    fn give_up(&mut self, name: &NodeName, reason: DoomReason, detail: &str) -> Result<(), IllegalEvent> {
        if self.may_serve(name) { self.refuse_import(name, detail) } else { self.doom_newcomer(name, reason) }
    }

    /// Whether the node's newcomer may have been proven and serve, though this journal does not say so.
    fn may_serve(&self, name: &NodeName) -> bool {
        self.is_imported(name) || self.predates_doubt(name)
    }

    /// Whether the node's newcomer stood on record before this journal was last doubted, and nothing shows that it never served.
    fn predates_doubt(&self, name: &NodeName) -> bool {
        let Some(NodeState::Recovering(recovery)) = self.node(name).map(|node| &node.state) else {
            return false;
        };
        let Some((attempt, instance)) = recovery.stage.claim() else { return false };
        let desk = self.memory.desks.get(name);
        let promoted = desk.and_then(|desk| desk.promoted);
        let promoted = promoted.filter(|promoted| Some(promoted.instance) == instance);
        // What was promoted since has to prove itself like any newcomer, unless it was the node's by its label before.
        let is_younger = promoted.map_or(recovery.since > self.fleet.doubted_at, |promoted| !promoted.again);
        if is_younger || !self.fleet.predates_doubt(&attempt.op) {
            return false;
        }
        let Some(instance) = instance else { return true };
        let fills_another = self.fills_another(instance, name);
        let never_up = desk.and_then(|desk| desk.never_up);
        let never_up =
            never_up.is_some_and(|(of, from, to)| of == instance && to.since(from) >= self.long_boot(name));
        fills_another || !never_up
    }

    /// What lists show on its way up for so long is no box that serves and is started anew by its host, which takes minutes,
    /// however short the configured deadline is.
    fn long_boot(&self, name: &NodeName) -> Duration {
        self.spec(name).map_or(Duration::MAX, |spec| (spec.deadlines.boot / 3).max(HOST_RESTART))
    }

    pub(super) fn doom_newcomer(&mut self, name: &NodeName, reason: DoomReason) -> Result<(), IllegalEvent> {
        let Some(node) = self.node(name) else { return Ok(()) };
        let Some((attempt, Some(instance))) = node.state.claim() else { return Ok(()) };
        let price = attempt.price;
        self.stop_work(name);
        self.doom(instance, Some(name), reason, price)
    }

    /// The doubling wait before attempt number `attempts + 1`, with a jitter of a fifth either way.
    pub(super) fn backoff(&mut self, attempts: u32) -> Duration {
        let rails = &self.context.policy.rails;
        let (first, most) = (rails.backoff, rails.backoff_max);
        let doubled =
            first.saturating_mul(1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX)).min(most);
        let percent = 80 + self.draw() % 41;
        Duration::from_millis(millis(doubled).saturating_mul(percent) / 100)
    }
}
