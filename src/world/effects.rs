//! Commands on their way: the check of their expiry, the send, and what boxes answer. The provider's part is beside this.

use super::{Fault, Invariant, SECOND, World, boxes::Fate, keeper::Due};
use crate::fleet::{
    command::{Chosen, Command, in_time},
    event::{Event, Seen, WorkFault},
    journal::ReleaseRef,
    memory::SelfCheck,
    name::NodeName,
    policy::Rung,
    state::Tenant,
    units::Timestamp,
    watch::Word,
};

impl World {
    /// Performs a command, or lets the process stand still before or after its check.
    pub(super) fn perform(&mut self, command: Command, not_after: Timestamp) {
        if command.is_drastic() {
            if let Some(after_check) = self.keeper.pause.take() {
                return self.pause_at(command, not_after, after_check);
            }
            if !in_time(self.clock(), not_after) {
                return self.expired(command);
            }
        }
        if self.clock() > not_after && matches!(command, Command::Create { .. } | Command::Destroy { .. }) {
            self.broken(Invariant::Expiry, format!("{} is sent after its expiry", command.word()));
        }
        self.send(command, false);
    }

    fn pause_at(&mut self, command: Command, not_after: Timestamp, after_check: bool) {
        let lasts = self.seconds(5..600);
        self.freeze(lasts);
        let epoch = self.keeper.epoch;
        let command = Box::new(command);
        let due = if after_check {
            Due::Send { epoch, command }
        } else {
            Due::Perform { epoch, command, not_after }
        };
        self.queue.push(self.keeper.frozen_until, due);
    }

    /// The command leaves the process.
    pub(super) fn send(&mut self, command: Command, paused: bool) {
        if paused {
            self.tally.add("command sent after a pause past its check");
        }
        match command {
            Command::List => self.list(),
            Command::ReadCredit => self.read_credit(),
            Command::ReadCharges { from } => self.read_charges(from),
            Command::CheckSelf => self.check_self(),
            Command::Search { node } => self.search(node),
            Command::Create { node, offer, label } => self.create(&node, &offer, &label, paused),
            Command::Destroy { instance } => self.destroy(instance),
            Command::Deploy { node, tenant, release, .. } => {
                let lasts = self.seconds(20..240);
                if self.is_still_wanted(&release) {
                    self.work(&node, tenant, None, lasts);
                } else {
                    let result = Err(WorkFault::Superseded("another release is configured".into()));
                    self.tell(0, Event::DeployEnded { node, instance: tenant.instance, result });
                }
            }
            Command::Remedy { node, tenant, rung: Rung::Redeploy, release, .. }
                if !self.is_still_wanted(&release) =>
            {
                let result = Err(WorkFault::Superseded("another release is configured".into()));
                let (instance, rung) = (tenant.instance, Rung::Redeploy);
                self.tell(0, Event::RemedyWorked { node, instance, rung, result });
            }
            Command::Remedy { node, tenant, rung, .. } => {
                let lasts = if rung == Rung::Redeploy { 20..240 } else { 5..40 };
                let lasts = self.seconds(lasts);
                self.work(&node, tenant, Some(rung), lasts);
            }
            Command::StopWork { node } => {
                if let Some(work) = self.places.get(&node).and_then(|place| self.keeper.work.get_mut(*place))
                {
                    *work += 1;
                }
            }
            Command::TakeEvidence { node, instance, .. } => self.show_evidence(node, instance),
            Command::AskWitness { node, tenant } => self.ask_witness(node, &tenant),
            Command::EndMaintenance { node, tenant } => self.end_maintenance(node, &tenant),
            Command::Start { node, instance, bid } => self.start(node, instance, bid),
            Command::Relabel { instance, label } => self.relabel(instance, &label),
            // Nothing is published in this world: its policies do not ask for it.
            Command::AttachKey { .. } | Command::Publish { .. } => {}
        }
    }

    /// Whether the release that was judged fit is still the one that would be deployed.
    fn is_still_wanted(&mut self, chosen: &Chosen) -> bool {
        let now = self.release.named().digest;
        let another = matches!(chosen, Chosen::Configured(Some(judged)) if *judged != now);
        if another {
            self.tally.add("deploy of another release than was judged");
        }
        !another
    }

    fn work(&mut self, node: &NodeName, tenant: Tenant, rung: Option<Rung>, lasts: u64) {
        let Some(place) = self.places.get(node).copied() else { return };
        let Some(work) = self.keeper.work.get_mut(place) else { return };
        *work += 1;
        if let Some(rented) = self.boxes.get_mut(&tenant.instance) {
            rented.deploying = self.release;
        }
        let epoch = self.keeper.epoch;
        let due = Due::WorkEnds { epoch, work: *work, node: place, tenant: Box::new(tenant), rung };
        self.queue.push(self.now + lasts, due);
    }

    /// A deploy or a remedy ends, unless it was stopped meanwhile.
    pub(super) fn work_ends(&mut self, work: u32, node: usize, tenant: &Tenant, rung: Option<Rung>) {
        if self.keeper.work.get(node) != Some(&work) {
            return;
        }
        let Some(node) = self.names.get(node).cloned() else { return };
        let instance = tenant.instance;
        let event = match rung {
            None => Event::DeployEnded { node, instance, result: self.deployed(tenant) },
            Some(Rung::Redeploy) => {
                let result = self.deployed(tenant).map(Some);
                Event::RemedyWorked { node, instance, rung: Rung::Redeploy, result }
            }
            Some(rung) => {
                let result = self.remedied(tenant, rung);
                Event::RemedyWorked { node, instance, rung, result }
            }
        };
        self.tell(0, event);
    }

    /// Whether the keeper gets through to a box over SSH; the box need not serve for that.
    fn ssh_reaches(&mut self, tenant: &Tenant) -> bool {
        if self.is_offline()
            || self.hit_always(Fault::EgressBlocked)
            || self.is_cut_from_here(tenant.instance)
        {
            return false;
        }
        let now = self.now;
        self.boxes.get(&tenant.instance).is_some_and(|rented| {
            let there = rented.running(now) && now >= rented.cut_until;
            there && !matches!(rented.fate, Fate::Exited | Fate::Stopped | Fate::Offline)
        })
    }

    fn deployed(&mut self, tenant: &Tenant) -> Result<ReleaseRef, WorkFault> {
        if !self.ssh_reaches(tenant) {
            return Err(if self.rng.bool() {
                WorkFault::Box("no connection".into())
            } else {
                WorkFault::Unknown("cut off".into())
            });
        }
        if self.hit_always(Fault::ReleaseBad) {
            return Err(WorkFault::Release("it does not start".into()));
        }
        if self.hit(Fault::HostKeyChanges) {
            return Err(WorkFault::HostKeyChanged("another key".into()));
        }
        if self.hit(Fault::DeployFails) {
            return Err(WorkFault::Box("disk full".into()));
        }
        let unknown = self.hit(Fault::DeployUnknown);
        if unknown && self.rng.bool() {
            return Err(WorkFault::Unknown("cut off in the middle".into()));
        }
        let op = tenant.rental.op.clone();
        self.change(tenant.instance, |rented| {
            rented.serves = Some(op);
            rented.runs = Some(rented.deploying);
            rented.fate = Fate::Up;
        });
        if unknown {
            return Err(WorkFault::Unknown("its last answer was lost".into()));
        }
        let runs = self.boxes.get(&tenant.instance).and_then(|rented| rented.runs);
        Ok(runs.unwrap_or(self.release).named())
    }

    fn remedied(&mut self, tenant: &Tenant, rung: Rung) -> Result<Option<ReleaseRef>, WorkFault> {
        let over_ssh = rung == Rung::RestartServer;
        if over_ssh && !self.ssh_reaches(tenant) {
            return Err(WorkFault::Box("no connection".into()));
        }
        if !over_ssh && self.call_fails().is_some() {
            return Err(WorkFault::Box("the provider does not answer".into()));
        }
        let curable = self.boxes.get(&tenant.instance);
        let curable = curable.is_some_and(|rented| matches!(rented.fate, Fate::Hung | Fate::Failing));
        if curable && self.rng.u32(0..4) > 0 {
            self.befall(tenant.instance, Fate::Up, None);
        }
        Ok(None)
    }

    fn ask_witness(&mut self, node: NodeName, tenant: &Tenant) {
        let (instance, asked_at) = (tenant.instance, self.clock());
        if self.hit(Fault::WitnessSilent) {
            return;
        }
        let reached = self.ssh_reaches(tenant);
        let fate = self
            .boxes
            .get(&instance)
            .map(|rented| (rented.fate, rented.serves.is_some(), rented.is_spoilt()));
        let word = match fate {
            Some((Fate::Up | Fate::Maintained | Fate::Forgotten, true, false)) if reached => {
                Word::Up("its own health check answers".into())
            }
            Some(_) if reached => Word::Down("no answer on its own port".into()),
            _ => Word::Silent("no connection".into()),
        };
        let delay = self.rng.u64(500..8 * SECOND);
        self.tell(delay, Event::Witnessed { node, instance, asked_at, word });
    }

    fn end_maintenance(&mut self, node: NodeName, tenant: &Tenant) {
        let instance = tenant.instance;
        let fate = self.boxes.get(&instance).map(|rented| rented.fate);
        let seen = match fate {
            _ if !self.ssh_reaches(tenant) => Seen::Unclear("no connection".into()),
            Some(Fate::Forgotten) => {
                self.tally.add("maintenance of dead work ended");
                self.befall(instance, Fate::Up, None);
                Seen::Ended("deploy r".into())
            }
            _ => Seen::Stays("no work entered it".into()),
        };
        self.tell(2 * SECOND, Event::LeftBehind { node, instance, seen });
    }

    pub(super) fn check_self(&mut self) {
        let asked = u32::try_from(self.policy.rails.canaries.len()).unwrap_or(u32::MAX);
        let answered = if self.is_offline() { 0 } else { asked };
        let check = SelfCheck { at: self.clock(), answered, asked };
        self.tell(300, Event::SelfChecked(check));
    }
}
