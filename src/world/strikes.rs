//! When faults strike and what they do at once; what lasts is looked up by whomever it touches.

use super::{
    DAY, Fault, HOUR, MINUTE, SECOND, World,
    boxes::{Fate, Rented},
};
use crate::fleet::name::{HostId, InstanceId};

/// Hosts that may turn bad, by number.
const HOSTS: u64 = 8_000;
/// The farthest that the wall clock is off.
const WALL_ERROR: i64 = 3_600_000;

impl World {
    /// When a fault of this run strikes next: at random, as often a day as its menu says.
    pub(super) fn schedule_strike(&mut self, place: usize) {
        let Some((_, daily)) = self.faults.get(place).copied() else { return };
        // The waiting time of a Poisson process.
        let wait = -(1.0 - self.rng.f64()).ln() * (DAY as f64) / daily;
        if wait.is_finite() && wait < 1e13 {
            self.queue.push(self.now + wait as u64, super::keeper::Due::Strike(place));
        }
    }

    pub(super) fn strike(&mut self, place: usize) {
        if !self.stormy {
            return;
        }
        self.schedule_strike(place);
        let Some((fault, _)) = self.faults.get(place).copied() else { return };
        let (from, to) = fault.row().lasts;
        if to > 0 {
            let lasts = self.seconds(from..to + 1);
            if let Some(until) = self.spells.get_mut(fault as usize) {
                *until = self.now + lasts;
            }
        } else {
            self.tally.add(fault.name());
        }
        self.strike_at_once(fault);
    }

    fn strike_at_once(&mut self, fault: Fault) {
        match fault {
            Fault::KeeperCrash if self.keeper.up => self.arm_crash(),
            Fault::CrashStorm => {
                self.keeper.crashes_left = self.rng.u32(2..6);
                self.crash("crash at any time");
            }
            Fault::KeeperPause if self.rng.bool() => self.keeper.pause = Some(false),
            Fault::KeeperPause => {
                let lasts = self.seconds(5..600);
                self.freeze(lasts);
            }
            Fault::PauseBeforeSend => self.keeper.pause = Some(true),
            Fault::Suspend => {
                let lasts = self.rng.u64(10 * MINUTE..8 * HOUR);
                self.freeze(lasts);
            }
            Fault::StateLost => self.lose_state(),
            Fault::StateRestored => self.restore_state(),
            Fault::WallJump => self.wall_error = self.rng.i64(-WALL_ERROR..WALL_ERROR),
            Fault::CommitFails => self.keeper.commit_fails = true,
            Fault::Reload => self.reload(),
            Fault::NewRelease => self.new_release(),
            Fault::BadHost => {
                let host = HostId(self.rng.u64(1..HOSTS));
                self.bad_hosts.insert(host);
            }
            Fault::Wish => self.wish(),
            Fault::CreditOut => self.strike_share(1, 2, Fate::Exited, None),
            Fault::MassHang => {
                let heals = self.seconds(300..3600);
                self.strike_share(6, 10, Fate::Hung, Some(heals));
            }
            Fault::MassDeath => self.strike_share(4, 10, Fate::Exited, None),
            Fault::TotalDeath => self.strike_share(1, 1, Fate::Exited, None),
            _ => self.strike_box(fault),
        }
    }

    /// Something happens to one box, of whichever node is drawn.
    fn strike_box(&mut self, fault: Fault) {
        let node = self.rng.usize(0..self.names.len().max(1));
        let Some(id) = self.box_of(node) else { return };
        let up = self.boxes.get(&id).is_some_and(|rented| rented.fate == Fate::Up);
        match fault {
            Fault::BoxVanish => self.end_box(id),
            Fault::LabelDropped => self.change(id, |rented| rented.label = None),
            Fault::AddressMoves => self.move_address(id),
            Fault::BoxCut => {
                let lasts = self.seconds(60..2400);
                self.cut(id, lasts);
            }
            _ if !up => {}
            Fault::BoxExit => self.befall(id, Fate::Exited, None),
            Fault::BoxStopped => self.befall(id, Fate::Stopped, None),
            Fault::BoxOutbid => self.outbid(id),
            Fault::BoxOffline => {
                let heals = self.perhaps(120..2400, 3);
                self.befall(id, Fate::Offline, heals);
            }
            Fault::ServerHang => {
                let heals = self.perhaps(60..3600, 2);
                self.befall(id, Fate::Hung, heals);
            }
            Fault::ServerError => {
                let heals = self.perhaps(60..3600, 2);
                self.befall(id, Fate::Failing, heals);
            }
            Fault::Flap => {
                let heals = self.seconds(10..120);
                self.befall(id, Fate::Hung, Some(heals));
            }
            Fault::Maintenance => {
                let heals = self.seconds(60..1800);
                if (heals / SECOND).is_multiple_of(2) {
                    self.befall(id, Fate::Forgotten, None);
                } else {
                    self.befall(id, Fate::Maintained, Some(heals));
                }
            }
            _ => {}
        }
    }

    /// Part of all boxes of ours fare alike.
    fn strike_share(&mut self, of: u32, among: u32, fate: Fate, heals: Option<u64>) {
        let ours = |rented: &&Rented| rented.node.is_some() && rented.alive() && rented.fate == Fate::Up;
        let ids: Vec<InstanceId> =
            self.boxes.iter().filter(|(_, rented)| ours(rented)).map(|(id, _)| *id).collect();
        for id in ids {
            if self.rng.u32(0..among) < of {
                self.befall(id, fate, heals);
            }
        }
    }

    /// A time in seconds, or never: once in `one_in` times.
    fn perhaps(&mut self, range: std::ops::Range<u64>, one_in: u32) -> Option<u64> {
        let time = self.seconds(range);
        (self.rng.u32(0..one_in) == 0).then_some(time)
    }

    /// No fault strikes any more and every spell is over. What was broken stays so: that is the keeper's to mend.
    pub(super) fn end_faults(&mut self) {
        self.stormy = false;
        let now = self.now;
        // When they ended is still asked: what they did to a probe shows for a while.
        self.spells.iter_mut().for_each(|until| *until = now.min(*until));
        self.bad_hosts.clear();
        if self.release.bad {
            self.new_release();
        }
        if self.unwanted.is_some() {
            self.reload();
        }
        let keeper = &mut self.keeper;
        (keeper.crash, keeper.pause, keeper.commit_fails, keeper.crashes_left) = (None, None, false, 0);
    }
}
