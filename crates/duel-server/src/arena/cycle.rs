//! What the passing of time does: the duel cycle, settlement, and the stages of maintenance.

use super::duel::{Duel, Stage};
use super::payout::settle;
use super::record::Record;
use super::roster::AGENTS;
use super::state::{Maintenance, MaintenanceStage, State};
use crate::clock::Millis;

/// The lengths of the cycle, in milliseconds, all at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Gap between two duels.
    pub idle: Millis,
    /// Announcement of a duel to its first blow; the time to bet.
    pub countdown: Millis,
    /// The fight.
    pub fight: Millis,
    /// The winner's time on screen.
    pub announcement: Millis,
    /// From the end of the fight to the payout; never more than `announcement`.
    pub settlement: Millis,
    /// A duel whose phase ended longer ago than this when the server comes back is called off and refunded.
    pub resume_limit: Millis,
}

impl State {
    /// The next thing that is due at `now`, or nothing. Call again after applying, until nothing is due.
    ///
    /// Every path to a new duel goes through `may_open`, so that maintenance stops them all, the one right
    /// after a duel's end included.
    pub fn due(&self, now: Millis, timing: &Timing, fresh_seed: u64) -> Option<Record> {
        self.maintenance_due(now).or_else(|| match &self.duel {
            Some(duel) => duel_due(duel, now, timing),
            None if self.may_open(now) => Some(self.next_opening(now, timing, fresh_seed)),
            None => None,
        })
    }

    /// When something will be due next; none when only a command can change anything.
    pub fn next_due_at(&self, timing: &Timing) -> Option<Millis> {
        let deadline = self.maintenance.as_ref().and_then(|maintenance| match maintenance.stage {
            MaintenanceStage::Waiting { deadline } => Some(deadline),
            MaintenanceStage::TimedOut | MaintenanceStage::Safe => None,
        });
        let phase = match &self.duel {
            Some(duel) => Some(duel_due_at(duel, timing)),
            None if self.maintenance.is_none() => Some(self.next_duel_at),
            None => None,
        };
        [deadline, phase].into_iter().flatten().min()
    }

    /// What to do, right after loading, with a duel that was interrupted.
    ///
    /// One interrupted for no longer than the resume limit goes on; a longer one is called off and every unpaid
    /// stake returned, because its bettors have long gone.
    pub fn interrupted(&self, now: Millis, timing: &Timing) -> Option<Record> {
        let duel = self.duel.as_ref()?;
        let settled = matches!(duel.stage, Stage::Announcement { settled: true, .. });
        let stale = now.saturating_sub(duel.phase_ends_at) > timing.resume_limit;
        (stale && !settled).then(|| Record::DuelCalledOff {
            duel: duel.id,
            refunds: settle(&duel.stakes(), None),
            at: now,
            next_at: now + timing.idle,
        })
    }

    fn may_open(&self, now: Millis) -> bool {
        self.maintenance.is_none() && now >= self.next_duel_at
    }

    fn next_opening(&self, now: Millis, timing: &Timing, seed: u64) -> Record {
        let mut dice = fastrand::Rng::with_seed(seed);
        let a = dice.usize(0..AGENTS.len());
        let b = (a + 1 + dice.usize(0..AGENTS.len() - 1)) % AGENTS.len();
        Record::DuelOpened {
            duel: self.next_duel,
            seed,
            a: AGENTS[a].id.to_owned(),
            b: AGENTS[b].id.to_owned(),
            at: now,
            ends_at: now + timing.countdown,
        }
    }

    fn maintenance_due(&self, now: Millis) -> Option<Record> {
        let Maintenance { stage, .. } = self.maintenance.as_ref()?;
        match stage {
            MaintenanceStage::Safe => None,
            MaintenanceStage::Waiting { .. } | MaintenanceStage::TimedOut if self.is_quiet() => {
                Some(Record::MaintenanceSafe { at: now })
            }
            MaintenanceStage::Waiting { deadline } if now >= *deadline => {
                Some(Record::MaintenanceTimedOut { at: now })
            }
            MaintenanceStage::Waiting { .. } | MaintenanceStage::TimedOut => None,
        }
    }
}

fn duel_due(duel: &Duel, now: Millis, timing: &Timing) -> Option<Record> {
    if now < duel_due_at(duel, timing) {
        return None;
    }
    let id = duel.id;
    Some(match duel.stage {
        Stage::Countdown { .. } => Record::FightStarted { duel: id, at: now, ends_at: now + timing.fight },
        Stage::Fighting => Record::WinnerAnnounced {
            duel: id,
            winner: duel.fight.winner,
            at: now,
            ends_at: now + timing.announcement,
        },
        Stage::Announcement { winner, settled: false } => {
            Record::MarketSettled { duel: id, payouts: settle(&duel.stakes(), Some(winner)), at: now }
        }
        Stage::Announcement { settled: true, .. } => {
            Record::DuelEnded { duel: id, opened_at: duel.opened_at, at: now, next_at: now + timing.idle }
        }
    })
}

fn duel_due_at(duel: &Duel, timing: &Timing) -> Millis {
    match duel.stage {
        Stage::Announcement { settled: false, .. } => {
            duel.phase_ends_at.min(duel.phase_started_at + timing.settlement)
        }
        Stage::Countdown { .. } | Stage::Fighting | Stage::Announcement { settled: true, .. } => {
            duel.phase_ends_at
        }
    }
}
