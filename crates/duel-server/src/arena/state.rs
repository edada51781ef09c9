//! The state of the arena and how records change it.

use std::collections::HashMap;

use super::duel::{Bet, Duel, Stage};
use super::payout::Payout;
use super::record::Record;
use super::roster::{AGENTS, Agent};
use super::words::{Cents, DuelId, MarketStatus, Phase, PlayerId};
use crate::clock::Millis;

/// A player of the betting market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Player {
    /// Display name.
    pub name: String,
    /// Spendable cents; stakes in an open market are already taken off.
    pub balance: Cents,
}

/// The outcome of the duel before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastDuel {
    /// Its number.
    pub id: DuelId,
    /// Id of the winner; none when it was called off.
    pub winner: Option<&'static Agent>,
}

/// Wins and losses of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentScore {
    /// Who.
    pub agent: &'static Agent,
    /// Duels won.
    pub wins: i64,
    /// Duels lost.
    pub losses: i64,
}

/// How far maintenance has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaintenanceStage {
    /// A duel or market is still unfinished.
    Waiting {
        /// When the wait counts as failed.
        deadline: Millis,
    },
    /// The wait failed; the duel is still unfinished.
    TimedOut,
    /// Nothing is unfinished.
    Safe,
}

/// An active maintenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// When it was entered.
    pub entered_at: Millis,
    /// Why, in the operator's words.
    pub reason: String,
    /// How far it has come.
    pub stage: MaintenanceStage,
}

/// Everything the arena knows.
#[derive(Debug, Clone)]
pub struct State {
    /// All players.
    pub players: HashMap<PlayerId, Player>,
    /// The running duel, unless idle.
    pub duel: Option<Duel>,
    /// The duel before.
    pub last: Option<LastDuel>,
    /// Agent scores, in roster order.
    pub scores: Vec<AgentScore>,
    /// The number the next duel gets.
    pub next_duel: DuelId,
    /// The number the next bet gets.
    pub next_bet: i64,
    /// When the current idle gap began.
    pub idle_since: Millis,
    /// Before this, no next duel starts.
    pub next_duel_at: Millis,
    /// Maintenance, while active.
    pub maintenance: Option<Maintenance>,
    /// Counts phase changes since this process started.
    pub phase_version: u64,
}

impl State {
    /// An arena in which nothing has happened yet.
    pub fn new(now: Millis) -> Self {
        Self {
            players: HashMap::new(),
            duel: None,
            last: None,
            scores: AGENTS.iter().map(|agent| AgentScore { agent, wins: 0, losses: 0 }).collect(),
            next_duel: 1,
            next_bet: 1,
            idle_since: now,
            next_duel_at: now,
            maintenance: None,
            phase_version: 0,
        }
    }

    /// The phase of the cycle.
    pub fn phase(&self) -> Phase {
        self.duel.as_ref().map_or(Phase::Idle, Duel::phase)
    }

    /// The status of the current market; with no duel there is nothing unresolved.
    pub fn market(&self) -> MarketStatus {
        self.duel.as_ref().map_or(MarketStatus::Resolved, Duel::market)
    }

    /// How many markets are not resolved: 0 or 1.
    pub fn pending_markets(&self) -> u32 {
        u32::from(self.market() != MarketStatus::Resolved)
    }

    /// Whether a deploy now would interrupt nothing: idle, and every market resolved.
    pub fn is_quiet(&self) -> bool {
        self.duel.is_none()
    }

    /// All cents that exist: balances plus stakes not paid out yet.
    pub fn cents_in_circulation(&self) -> i128 {
        let balances: i128 = self.players.values().map(|player| i128::from(player.balance)).sum();
        let staked = self
            .duel
            .as_ref()
            .filter(|duel| duel.market() != MarketStatus::Resolved)
            .map_or(0, |duel| duel.pools.iter().map(|pool| i128::from(*pool)).sum());
        balances + staked
    }

    /// Lets one record happen.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::PlayerJoined { player, name, grant, .. } => {
                let joined = Player { name: name.clone(), balance: *grant };
                self.players.insert(player.clone(), joined);
            }
            Record::BetPlaced { bet, player, key, side, cents, at, .. } => {
                if let Some(player) = self.players.get_mut(player) {
                    player.balance -= cents;
                }
                let (player, key) = (player.clone(), key.clone());
                let placed = Bet { bet: *bet, player, key, side: *side, cents: *cents, at: *at };
                self.next_bet = bet + 1;
                self.with_duel(|duel| duel.book(placed));
            }
            Record::DuelOpened { duel, seed, a, b, at, ends_at } => {
                self.open(*duel, *seed, (a, b), *at, *ends_at)
            }
            Record::MarketLocked { .. } => {
                self.with_duel(|duel| duel.stage = Stage::Countdown { betting: false });
            }
            Record::MarketReopened { .. } => {
                self.with_duel(|duel| duel.stage = Stage::Countdown { betting: true });
            }
            Record::FightStarted { at, ends_at, .. } => {
                self.enter_stage(Stage::Fighting, *at, *ends_at);
                self.with_duel(|duel| duel.fight_started_at = Some(*at));
            }
            Record::WinnerAnnounced { winner, at, ends_at, .. } => {
                self.enter_stage(Stage::Announcement { winner: *winner, settled: false }, *at, *ends_at);
                self.with_duel(|duel| duel.fight_ended_at = Some(*at));
            }
            Record::MarketSettled { payouts, .. } => self.settle(payouts),
            Record::DuelEnded { at, next_at, .. } => self.end(*at, *next_at),
            Record::DuelCalledOff { refunds, at, next_at, .. } => {
                self.pay(refunds);
                self.end(*at, *next_at);
            }
            Record::MaintenanceEntered { reason, at, deadline } => {
                let stage = MaintenanceStage::Waiting { deadline: *deadline };
                self.maintenance = Some(Maintenance { entered_at: *at, reason: reason.clone(), stage });
            }
            Record::MaintenanceSafe { .. } => self.set_maintenance_stage(MaintenanceStage::Safe),
            Record::MaintenanceTimedOut { .. } => self.set_maintenance_stage(MaintenanceStage::TimedOut),
            Record::MaintenanceExited { next_at, .. } => {
                self.maintenance = None;
                self.next_duel_at = self.next_duel_at.max(*next_at);
            }
            Record::ServerStarted { .. } | Record::ServerStopped { .. } => {}
        }
    }

    fn with_duel(&mut self, change: impl FnOnce(&mut Duel)) {
        if let Some(duel) = &mut self.duel {
            change(duel);
        }
    }

    fn open(&mut self, id: DuelId, seed: u64, (a, b): (&str, &str), at: Millis, ends_at: Millis) {
        if let (Some(a), Some(b)) = (Agent::by_id(a), Agent::by_id(b)) {
            self.duel = Some(Duel::opened(id, seed, a, b, at, ends_at));
            self.next_duel = id + 1;
            self.phase_version += 1;
        }
    }

    fn enter_stage(&mut self, stage: Stage, at: Millis, ends_at: Millis) {
        self.phase_version += 1;
        self.with_duel(|duel| {
            duel.stage = stage;
            duel.phase_started_at = at;
            duel.phase_ends_at = ends_at;
        });
    }

    fn settle(&mut self, payouts: &[Payout]) {
        self.pay(payouts);
        let Some(duel) = &mut self.duel else { return };
        let Stage::Announcement { winner, .. } = duel.stage else { return };
        duel.stage = Stage::Announcement { winner, settled: true };
        let (won, lost) = (duel.agent(winner), duel.agent(winner.other()));
        for score in &mut self.scores {
            score.wins += i64::from(score.agent.id == won.id);
            score.losses += i64::from(score.agent.id == lost.id);
        }
    }

    /// Pays bets of the running duel. `payouts` are in the order of its bets, as settlement made them.
    fn pay(&mut self, payouts: &[Payout]) {
        let Some(duel) = &self.duel else { return };
        for (bet, payout) in duel.bets.iter().zip(payouts) {
            if let Some(player) = self.players.get_mut(&bet.player) {
                player.balance += payout.cents;
            }
        }
    }

    fn end(&mut self, at: Millis, next_at: Millis) {
        if let Some(duel) = self.duel.take() {
            let winner = duel.winner().map(|side| duel.agent(side));
            self.last = Some(LastDuel { id: duel.id, winner });
        }
        self.idle_since = at;
        self.next_duel_at = next_at;
        self.phase_version += 1;
    }

    fn set_maintenance_stage(&mut self, stage: MaintenanceStage) {
        if let Some(maintenance) = &mut self.maintenance {
            maintenance.stage = stage;
        }
    }
}
