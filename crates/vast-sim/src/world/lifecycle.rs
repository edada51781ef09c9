//! How an instance moves through its phases: by time, by calls, by reports of its box.
//!
//! ```text
//! Provisioning → Created → Loading → Booting ─ box is up ─► Running
//!                   │         └ stuck, image fault: stays     │ └ program ends ► Exited
//!                   └ OCI failure ► Broken                    │
//! reboot, recycle, update: Restarting → Loading → Booting …   ├ stop, outbid, no credit, expired ► Stopped
//! start: Stopped → Restarting …, or Queued while the GPU is taken
//! destroy: any → Destroyed, whose row lingers
//! ```

use super::State;
use super::instance::{Endpoints, Phase};
use crate::boxes::BoxCommand;
use crate::clock::SimSeconds;
use crate::faults::{FaultId, FaultKind};
use crate::record::{RentalEnd, Truth};

/// Spread of a stage's duration around its configured length.
const JITTER: f64 = 0.2;

/// What time alone does.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// The phase's time is over.
    PhaseEnds,
    /// A lost host comes back.
    HostBack,
    /// The contract reaches its end.
    ContractEnds,
    /// A stopped instance's row is deleted, some time after its contract's end.
    Deleted,
}

/// What ended a boot at its start.
enum BootFault {
    Stuck,
    Image,
    Exits,
}

impl State {
    /// Brings everything to `now`: billing, due phases, contract ends, hosts coming back. Idempotent.
    pub(crate) fn advance(&mut self, now: SimSeconds) {
        let ids: Vec<u64> = self.instances.keys().copied().collect();
        for id in ids {
            while let Some((at, turn)) = self.next_turn(id).filter(|(at, _)| *at <= now) {
                self.bill_one(id, at);
                self.take(id, turn, at);
            }
        }
        self.instances.retain(|_, it| it.forgotten_at.is_none_or(|end| now < end));
        self.bill(now);
    }

    /// The next moment at which [`State::advance`] has something to do.
    pub(crate) fn next_due(&self) -> Option<SimSeconds> {
        let turns = self.instances.keys().filter_map(|id| self.next_turn(*id));
        turns.map(|(at, _)| at).min_by(f64::total_cmp)
    }

    /// What time alone does to an instance next.
    fn next_turn(&self, id: u64) -> Option<(SimSeconds, Turn)> {
        let instance = self.instances.get(&id)?;
        let end = match instance.phase {
            Phase::Destroyed => None,
            Phase::Stopped => Some((instance.ends_at + self.config.lifecycle.expired_kept_s, Turn::Deleted)),
            _ => Some((instance.ends_at, Turn::ContractEnds)),
        };
        let turns = [
            instance.back_at.map(|at| (at, Turn::HostBack)),
            instance.due.map(|at| (at, Turn::PhaseEnds)),
            end,
        ];
        turns.into_iter().flatten().min_by(|left, right| left.0.total_cmp(&right.0))
    }

    fn take(&mut self, id: u64, turn: Turn, at: SimSeconds) {
        match turn {
            Turn::HostBack => self.set_host_lost(id, None, None, None),
            Turn::PhaseEnds => self.phase_ends(id, at),
            Turn::ContractEnds => self.halt(id, "stopped: contract expired", None),
            Turn::Deleted => self.end_rental(id, &RentalEnd::Expired, at),
        }
    }

    fn stage(&mut self, seconds: f64) -> f64 {
        seconds * (1.0 - JITTER + 2.0 * JITTER * self.rng.f64())
    }

    /// Enters a phase that ends by itself after about `seconds`.
    pub(crate) fn enter(&mut self, id: u64, phase: Phase, from: SimSeconds, seconds: f64) {
        let due = from + self.stage(seconds);
        self.enter_until(id, phase, Some(due));
    }

    fn enter_until(&mut self, id: u64, phase: Phase, due: Option<SimSeconds>) {
        if let Some(instance) = self.instances.get_mut(&id) {
            tracing::debug!(instance = id, from = ?instance.phase, to = ?phase, "phase");
            instance.phase = phase;
            instance.due = due;
        }
    }

    fn say(&mut self, id: u64, message: impl Into<String>) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.status_msg = Some(message.into());
        }
    }

    fn phase_ends(&mut self, id: u64, at: SimSeconds) {
        let Some(phase) = self.instances.get(&id).map(|instance| instance.phase) else { return };
        let times = self.config.lifecycle.clone();
        match phase {
            Phase::Provisioning => self.enter(id, Phase::Created, at, times.created_s),
            Phase::Created => self.leave_created(id, at, times.loading_s),
            Phase::Restarting => self.load(id, at, times.reload_s),
            Phase::Loading => self.start_box(id),
            Phase::Queued => {
                self.say(id, "");
                self.enter(id, Phase::Restarting, at, times.restart_lag_s);
            }
            // These have no time of their own.
            Phase::Booting
            | Phase::Running
            | Phase::Exited
            | Phase::Stopped
            | Phase::Broken
            | Phase::Destroyed => {
                self.enter_until(id, phase, None);
            }
        }
    }

    fn leave_created(&mut self, id: u64, at: SimSeconds, loading_s: f64) {
        let broken =
            self.draw_for(id, None, None, |kind| matches!(kind, FaultKind::OciFailure).then_some(()));
        let Some((fault, ())) = broken else {
            return self.load(id, at, loading_s);
        };
        self.say(
            id,
            "Error response from daemon: failed to create task for container: failed to create shim task: \
             OCI runtime create failed: runc create failed: unable to start container process",
        );
        self.enter_until(id, Phase::Broken, None);
        self.note(id, Truth::BootBroken, Some(fault));
    }

    fn load(&mut self, id: u64, at: SimSeconds, seconds: f64) {
        let drawn = self.draw_for(id, None, None, |kind| match kind {
            FaultKind::StuckLoading => Some(BootFault::Stuck),
            FaultKind::ImageFault => Some(BootFault::Image),
            FaultKind::ExitsInBoot => Some(BootFault::Exits),
            _ => None,
        });
        let image = self.instances.get(&id).map(|it| it.launch.image.clone()).unwrap_or_default();
        let Some((fault, how)) = drawn else {
            self.say(id, format!("{image}: Pulling fs layer"));
            return self.enter(id, Phase::Loading, at, seconds);
        };
        let (phase, message) = match how {
            BootFault::Stuck => {
                (Phase::Loading, format!("{image}: Downloading [====>          ] 1.2GB/4.1GB"))
            }
            BootFault::Image => (
                Phase::Loading,
                format!("Error response from daemon: manifest for {image} not found: manifest unknown"),
            ),
            BootFault::Exits => (Phase::Exited, "Exited (1)".to_owned()),
        };
        self.say(id, message);
        self.enter_until(id, phase, None);
        self.note(id, Truth::BootBroken, Some(fault));
    }

    fn start_box(&mut self, id: u64) {
        self.enter_until(id, Phase::Booting, None);
        let Some(instance) = self.instances.get_mut(&id) else { return };
        instance.boots += 1;
        let fresh_address = std::mem::take(&mut instance.new_address);
        let boot = crate::boxes::Boot::of(instance, fresh_address, &self.account.keys);
        self.command(id, BoxCommand::Boot(Box::new(boot)));
    }

    /// A box reports that it is up (`Ok`) or could not start.
    pub(crate) fn box_started(
        &mut self,
        id: u64,
        boot: u64,
        outcome: Result<Endpoints, String>,
        now: SimSeconds,
    ) {
        let expected =
            |instance: &super::instance::Instance| instance.phase == Phase::Booting && instance.boots == boot;
        if !self.instances.get(&id).is_some_and(expected) {
            return;
        }
        self.bill_one(id, now);
        match outcome {
            Ok(endpoints) => self.now_running(id, endpoints, now),
            Err(error) => {
                self.say(id, format!("Error response from daemon: {error}"));
                self.enter_until(id, Phase::Broken, None);
                self.note(id, Truth::BootBroken, None);
            }
        }
    }

    fn now_running(&mut self, id: u64, endpoints: Endpoints, now: SimSeconds) {
        let missing = self.draw_for(id, None, None, |kind| match kind {
            FaultKind::PortsMissing { for_s } => Some(*for_s),
            _ => None,
        });
        let lag = missing.map_or(self.config.lifecycle.ports_lag_s, |(_, seconds)| seconds);
        let wall_ms = self.wall_ms;
        let Some(instance) = self.instances.get_mut(&id) else { return };
        instance.ports_at = now + lag;
        instance.endpoints = Some(endpoints);
        let message = format!("success, running {}/{}", instance.launch.image, instance.launch.runtype);
        self.say(id, message);
        self.enter_until(id, Phase::Running, None);
        if let Some(rental) = self.rentals.get_mut(&id) {
            rental.running_ms.get_or_insert(wall_ms);
        }
        self.note(id, Truth::Running, None);
    }

    /// A box reports that its main program (runtype `args`) ended.
    pub(crate) fn box_exited(&mut self, id: u64, boot: u64, code: Option<i32>) {
        let current = |it: &super::instance::Instance| it.phase == Phase::Running && it.boots == boot;
        if self.instances.get(&id).is_some_and(current) {
            self.say(id, format!("Exited ({})", code.unwrap_or(137)));
            self.die(id, Truth::Exited, None);
        }
    }

    /// The container dies; the contract stays.
    pub(crate) fn die(&mut self, id: u64, how: Truth, fault: Option<FaultId>) {
        self.enter_until(id, Phase::Exited, None);
        self.close_box(id);
        self.note(id, how, fault);
    }

    fn close_box(&mut self, id: u64) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.endpoints = None;
        }
        self.command(id, BoxCommand::Halt);
    }

    /// Stops an instance: its box dies, its disk stays, the GPU is let go.
    pub(crate) fn halt(&mut self, id: u64, why: &str, fault: Option<FaultId>) {
        self.close_box(id);
        self.say(id, why);
        self.enter_until(id, Phase::Stopped, None);
        self.note(id, Truth::Stopped, fault);
    }

    /// Takes a box down to bring it up again; `wipe` loses its disk.
    pub(crate) fn restart(&mut self, id: u64, wipe: bool, now: SimSeconds) {
        let moved =
            self.draw_for(id, None, None, |kind| matches!(kind, FaultKind::AddressChanges).then_some(()));
        self.bill_one(id, now);
        self.close_box(id);
        if wipe {
            self.command(id, BoxCommand::Wipe);
        }
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.new_address |= moved.is_some();
        }
        let lag = self.config.lifecycle.restart_lag_s;
        self.enter(id, Phase::Restarting, now, lag);
    }

    /// A start that must wait; `after` is when it fires, if ever.
    pub(crate) fn queue_start(&mut self, id: u64, after: Option<f64>, now: SimSeconds) {
        self.say(id, "Scheduling");
        self.enter_until(id, Phase::Queued, after.map(|seconds| now + seconds));
    }

    /// Sets or clears the lost host.
    pub(crate) fn set_host_lost(
        &mut self,
        id: u64,
        status: Option<&'static str>,
        back_at: Option<SimSeconds>,
        fault: Option<FaultId>,
    ) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        instance.lost = status;
        instance.back_at = back_at;
        self.command(id, BoxCommand::Silence(status.is_some()));
        self.note(id, if status.is_some() { Truth::HostLost } else { Truth::HostBack }, fault);
    }
}
