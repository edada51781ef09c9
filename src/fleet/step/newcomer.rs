//! From rental to service: boot, deploy, probation, adoption; and the end of an attempt that fails.

use std::time::Duration;

use super::{
    super::{
        event::{Command, IllegalEvent, WorkFault},
        journal::{DoomReason, HeldReason, Outcome, Record, ReleaseRef},
        name::{HostId, InstanceId, MachineId, NodeName},
        policy::NodeSpec,
        provider::Status,
        state::{Attempt, NodeState, Recovery, Stage, Tenant},
        tell,
        units::{Timestamp, millis},
    },
    Turn,
};

/// The container port of SSH.
const SSH_PORT: u16 = 22;
/// A newcomer that lists call dead, or lack, this often in a row is given up.
const BAD_LISTS: u32 = 2;
/// From this failure on a machine is excluded for thirty times as long.
const REPEAT_OFFENDER: u32 = 3;

impl Turn<'_> {
    pub(super) fn pursue_boot(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
        attempt: &Attempt,
        instance: InstanceId,
        since: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let now = self.now();
        if now >= since.after(spec.deadlines.boot) {
            let last =
                self.memory.row(instance).map_or_else(|| "not listed".into(), |row| words(&row.status));
            let detail = format!("not running after {} s, last seen {last}", now.since(since).as_secs());
            return self.fail_start(name, "boot", detail, true);
        }
        self.look(name, since.after(spec.deadlines.boot));
        let Some(row) = self.memory.row(instance) else { return Ok(()) };
        let ready =
            row.status == Status::Running && (row.ports.contains_key(&SSH_PORT) || row.ssh_proxy.is_some());
        let Some(address) = row.address(spec.rental.port).filter(|_| ready) else { return Ok(()) };
        debug_assert_eq!(
            self.node(name).and_then(|node| node.state.claim()).map(|(a, _)| &a.op),
            Some(&attempt.op)
        );
        self.record(Record::InstanceUp { node: name.clone(), instance, address })?;
        self.pursue(name)
    }

    /// What a good list says of a newcomer: broken and dead ones are given up early.
    pub(super) fn newcomer_listed(
        &mut self,
        name: &NodeName,
        instance: InstanceId,
        since: Timestamp,
        list_began: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let grace = self.context.policy.inventory.create_grace;
        let seen = self.memory.row(instance).map(|row| (row.status.clone(), row.message.clone()));
        let desk = self.memory.desk(name);
        let (bad, what) = match seen {
            None => (list_began >= since.after(grace), "missing from the provider's list".to_owned()),
            Some((Status::Broken, message)) => {
                let detail = message.unwrap_or_else(|| "the host's runtime refused to start it".into());
                return self.fail_start(name, "boot", detail, true);
            }
            Some((status @ (Status::Exited | Status::Offline), _)) => (true, words(&status)),
            Some(_) => (false, String::new()),
        };
        desk.newcomer_bad_lists = if bad { desk.newcomer_bad_lists + 1 } else { 0 };
        if desk.newcomer_bad_lists >= BAD_LISTS {
            return self.fail_start(name, "boot", what, true);
        }
        Ok(())
    }

    pub(super) fn pursue_deploy(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
        tenant: Tenant,
        since: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let deadline = since.after(spec.deadlines.deploy);
        if self.now() >= deadline {
            let detail = format!("not finished after {} s", spec.deadlines.deploy.as_secs());
            return self.fail_start(name, "deploy", detail, true);
        }
        self.look(name, deadline);
        let desk = self.memory.desk(name);
        if !std::mem::replace(&mut desk.working, true) {
            self.order(Command::Deploy { node: name.clone(), tenant, deadline });
        }
        Ok(())
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
        self.memory.desk(name).working = false;
        match result {
            Ok(release) => {
                self.record(Record::Deployed { node: name.clone(), instance, release })?;
                self.memory.watch(name).start_over();
                self.pursue(name)
            }
            Err(WorkFault::Box(detail) | WorkFault::Unknown(detail)) => {
                self.fail_start(name, "deploy", detail, true)
            }
            Err(WorkFault::HostKeyChanged(detail)) => {
                self.doom_newcomer(name, DoomReason::FailedToStart { detail })?;
                self.hold(name, HeldReason::HostKeyChanged)
            }
            Err(WorkFault::Release(detail)) => {
                // Another box would fail as well, so none is burnt on it; this one is not paid for in vain either.
                self.doom_newcomer(name, DoomReason::FailedToStart { detail: detail.clone() })?;
                self.hold(name, HeldReason::ReleaseAtFault { detail })
            }
        }
    }

    pub(super) fn pursue_probation(
        &mut self,
        name: &NodeName,
        spec: &NodeSpec,
        tenant: &Tenant,
        since: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let deadline = since.after(spec.deadlines.probation);
        if self.now() < deadline {
            self.look(name, deadline);
            return Ok(());
        }
        let watch = self.memory.watch(name);
        let last = watch.last.as_ref().map_or_else(|| "never probed".into(), |last| last.verdict.to_string());
        let detail = format!("instance {} was deployed but not healthy in time: {last}", tenant.instance);
        self.fail_start(name, "probation", detail, true)
    }

    /// The newcomer has proven itself and takes the node.
    pub(super) fn adopt(&mut self, name: &NodeName, tenant: &Tenant) -> Result<(), IllegalEvent> {
        self.record(Record::Adopted { node: name.clone(), instance: tenant.instance })?;
        self.unblock(name);
        if self.node(name).is_some_and(|node| node.incident.is_some()) {
            return self.heal(name, Outcome::Replaced);
        }
        let notice = tell::filled(self.now(), name, tenant);
        self.tell(notice);
        Ok(())
    }

    pub(super) fn fail_start(
        &mut self,
        name: &NodeName,
        stage: &str,
        detail: String,
        blame: bool,
    ) -> Result<(), IllegalEvent> {
        let detail = format!("{stage}: {detail}");
        self.fail_attempt(name, DoomReason::FailedToStart { detail: detail.clone() }, detail, blame)
    }

    /// Ends an attempt: dooms its instance, blames its machine, and goes back to the start or to a human.
    pub(super) fn fail_attempt(
        &mut self,
        name: &NodeName,
        reason: DoomReason,
        detail: String,
        blame: bool,
    ) -> Result<(), IllegalEvent> {
        if blame {
            self.blame(name, &detail)?;
        }
        let attempts = match self.node(name).map(|node| &node.state) {
            Some(NodeState::Recovering(recovery)) => recovery.attempts + 1,
            _ => return Ok(()),
        };
        self.doom_newcomer(name, reason)?;
        let retry_at = self.now().after(self.backoff(attempts));
        self.record(Record::AttemptFailed { node: name.clone(), detail: detail.clone(), retry_at })?;
        if attempts >= self.context.policy.rails.attempts.max(1) {
            return self.hold(name, HeldReason::AttemptsUsedUp { attempts, last: detail });
        }
        self.pursue(name)
    }

    fn doom_newcomer(&mut self, name: &NodeName, reason: DoomReason) -> Result<(), IllegalEvent> {
        let Some(node) = self.node(name) else { return Ok(()) };
        let Some((attempt, Some(instance))) = node.state.claim() else { return Ok(()) };
        let price = attempt.price;
        self.doom(instance, Some(name), reason, price)
    }

    fn blame(&mut self, name: &NodeName, detail: &str) -> Result<(), IllegalEvent> {
        let Some((attempt, _)) = self.node(name).and_then(|node| node.state.claim()) else { return Ok(()) };
        let (machine, host) = (attempt.machine, attempt.host);
        self.blame_machine(machine, host, detail)
    }

    /// Excludes a machine for a while.
    pub(super) fn blame_machine(
        &mut self,
        machine: MachineId,
        host: HostId,
        detail: &str,
    ) -> Result<(), IllegalEvent> {
        let earlier = self.fleet.blamed.get(&machine).map_or(0, |blame| blame.count);
        let exclude_for = self.context.policy.rails.exclude_for;
        let exclude_for =
            if earlier + 1 >= REPEAT_OFFENDER { exclude_for.saturating_mul(30) } else { exclude_for };
        let until = self.now().after(exclude_for);
        self.record(Record::MachineBlamed { machine, host, detail: detail.to_owned(), until })
    }

    /// The doubling wait before attempt number `attempts + 1`, with a jitter of a fifth either way.
    fn backoff(&mut self, attempts: u32) -> Duration {
        let rails = &self.context.policy.rails;
        let (first, most) = (rails.backoff, rails.backoff_max);
        let doubled =
            first.saturating_mul(1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX)).min(most);
        let percent = 80 + self.draw() % 41;
        Duration::from_millis(millis(doubled).saturating_mul(percent) / 100)
    }
}

/// A status in words.
pub(super) fn words(status: &Status) -> String {
    match status {
        Status::Starting => "starting".into(),
        Status::Running => "running".into(),
        Status::Exited => "exited".into(),
        Status::Offline => "offline".into(),
        Status::Broken => "refused by the host's runtime".into(),
        Status::Unclear(word) => format!("`{word}`"),
    }
}
