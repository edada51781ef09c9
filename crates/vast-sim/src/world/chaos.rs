//! Faults that are deeds: done to a running box, at injection or with a chance drawn once per real second.

use super::State;
use super::instance::Phase;
use crate::boxes::{BoxCommand, Deed};
use crate::clock::SimSeconds;
use crate::faults::{FaultId, FaultKind};
use crate::record::Truth;

/// How far others go beyond our bid where a fault names no price.
const OUTBID_BY: f64 = 1.1;

impl State {
    /// Draws deeds (all rules, or `only` one) for every running box and does what fires.
    pub(crate) fn chaos(&mut self, only: Option<FaultId>, now: SimSeconds) {
        let running: Vec<u64> =
            self.instances.values().filter(|it| it.phase == Phase::Running).map(|it| it.id).collect();
        for id in running {
            for (fault, kind) in self.draw_deeds(id, only) {
                self.apply(id, &kind, Some(fault), now);
            }
        }
    }

    /// Others bid more for the machine of an interruptible rental.
    fn raise_floor(&mut self, id: u64, min_bid: Option<f64>) {
        let Some(instance) = self.alive_mut(id) else { return };
        let Some(bid) = instance.launch.bid else { return };
        let floor = min_bid.unwrap_or(bid * OUTBID_BY) / f64::from(instance.offer.gpus);
        instance.machine.min_bid_per_gpu = floor;
        let machine = instance.offer.machine;
        self.market.set_floor(machine, floor);
    }

    fn draw_deeds(&mut self, id: u64, only: Option<FaultId>) -> Vec<(FaultId, FaultKind)> {
        let Some(instance) = self.instances.get(&id) else { return Vec::new() };
        let target = crate::faults::Target {
            instance: Some(id),
            label: instance.launch.label.as_deref(),
            machine: Some(instance.machine.id),
            ..Default::default()
        };
        self.faults.draw_all(&mut self.fault_rng, &target, |rule, kind| {
            kind.is_deed() && only.is_none_or(|only| only == rule)
        })
    }

    /// Does a deed to an instance; whether `kind` is one and the instance can suffer it.
    pub(crate) fn apply(
        &mut self,
        id: u64,
        kind: &FaultKind,
        fault: Option<FaultId>,
        now: SimSeconds,
    ) -> bool {
        if self.alive(id).is_none() {
            return false;
        }
        self.bill_one(id, now);
        match kind {
            FaultKind::KillInstance => self.die(id, Truth::InstanceKilled, fault),
            FaultKind::Outbid { min_bid } => {
                self.raise_floor(id, *min_bid);
                // The live service goes on saying that it runs (measured by users, August 2026).
                let said = self.alive(id).and_then(|it| it.status_msg.clone()).unwrap_or_default();
                self.halt(id, &said, fault);
            }
            FaultKind::HostOffline { for_s, status } => {
                let status = if status == "unknown" { "unknown" } else { "offline" };
                self.set_host_lost(id, Some(status), for_s.map(|seconds| now + seconds), fault);
            }
            FaultKind::ContractEnds { in_s } => {
                if let Some(instance) = self.alive_mut(id) {
                    instance.ends_at = now + in_s;
                }
            }
            FaultKind::ZeroCredit => self.account.credit = 0.0,
            FaultKind::Overcharged { dollars } => self.overcharge(id, *dollars, now),
            other => match self.deed(id, other) {
                Some(deed) => self.command(id, BoxCommand::Do { deed, fault, reply: None }),
                None => return false,
            },
        }
        true
    }

    /// The deed of a kind that the box itself carries out.
    pub(crate) fn deed(&self, id: u64, kind: &FaultKind) -> Option<Deed> {
        Some(match kind {
            FaultKind::KillServer { whole_session } => Deed::KillServer { whole_session: *whole_session },
            FaultKind::Freeze => Deed::Freeze,
            FaultKind::ChangeHostKey => Deed::ChangeHostKey,
            FaultKind::DropSsh => Deed::DropSsh,
            FaultKind::WipeAuthorizedKeys { keep_attached } => {
                let attached = self.alive(id).map(|it| it.keys.as_slice()).unwrap_or_default();
                let keep = attached.iter().filter(|_| *keep_attached).map(|key| key.public_key.clone());
                Deed::ResetKeys { keys: keep.collect() }
            }
            _ => return None,
        })
    }
}
