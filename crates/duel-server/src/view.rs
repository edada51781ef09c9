//! The one read model: what health, the maintenance API, the state messages, metrics and the page all render.
//!
//! A snapshot without a clock: times are absolute, and whoever renders it says what "now" is.

use crate::arena::{
    Agent, AgentScore, Cents, Duel, DuelId, Fight, LastDuel, Maintenance, MarketStatus, Phase, Side, State,
};
use crate::clock::Millis;

/// A snapshot of the arena, taken after a commit.
#[derive(Debug, Clone)]
pub struct View {
    /// Phase of the cycle.
    pub phase: Phase,
    /// Counts phase changes since the start.
    pub phase_version: u64,
    /// Status of the current market.
    pub market: MarketStatus,
    /// Markets not resolved.
    pub pending_markets: u32,
    /// No duel and no unresolved market.
    pub quiet: bool,
    /// When the current phase began.
    pub phase_started_at: Millis,
    /// When it ends, unless maintenance holds it.
    pub phase_ends_at: Option<Millis>,
    /// The running duel.
    pub duel: Option<DuelView>,
    /// The duel before.
    pub last: Option<LastDuel>,
    /// Agent scores, best first.
    pub leaderboard: Vec<AgentScore>,
    /// Maintenance, while active.
    pub maintenance: Option<Maintenance>,
    /// Players known.
    pub players: usize,
}

/// The running duel as viewers may see it.
#[derive(Debug, Clone)]
pub struct DuelView {
    /// Its number.
    pub id: DuelId,
    /// Agent A.
    pub a: &'static Agent,
    /// Agent B.
    pub b: &'static Agent,
    /// The seed. Fixes the outcome: must not be rendered before the winner is.
    pub seed: u64,
    /// The fight. Must not be rendered beyond what has been shown.
    pub fight: Fight,
    /// When its market opened.
    pub opened_at: Millis,
    /// When the fight began.
    pub fight_started_at: Option<Millis>,
    /// When the fight ended.
    pub fight_ended_at: Option<Millis>,
    /// Who won, once announced.
    pub winner: Option<Side>,
    /// Cents on A and on B.
    pub pools: [Cents; 2],
    /// Accepted bets.
    pub bets: usize,
}

impl View {
    /// Takes the snapshot.
    pub fn of(state: &State) -> Self {
        let mut leaderboard = state.scores.clone();
        leaderboard.sort_by_key(|score| (-score.wins, score.losses, score.agent.id));
        let idle_end = state.maintenance.is_none().then_some(state.next_duel_at);
        Self {
            phase: state.phase(),
            phase_version: state.phase_version,
            market: state.market(),
            pending_markets: state.pending_markets(),
            quiet: state.is_quiet(),
            phase_started_at: state.duel.as_ref().map_or(state.idle_since, |duel| duel.phase_started_at),
            phase_ends_at: state.duel.as_ref().map_or(idle_end, |duel| Some(duel.phase_ends_at)),
            duel: state.duel.as_ref().map(DuelView::of),
            last: state.last.clone(),
            leaderboard,
            maintenance: state.maintenance.clone(),
            players: state.players.len(),
        }
    }

    /// Safe to deploy, as the maintenance API defines it: always when not in maintenance, else once quiet.
    pub fn safe_to_deploy(&self) -> bool {
        self.maintenance.is_none() || self.quiet
    }
}

impl DuelView {
    fn of(duel: &Duel) -> Self {
        Self {
            id: duel.id,
            a: duel.a,
            b: duel.b,
            seed: duel.seed,
            fight: duel.fight.clone(),
            opened_at: duel.opened_at,
            fight_started_at: duel.fight_started_at,
            fight_ended_at: duel.fight_ended_at,
            winner: duel.winner(),
            pools: duel.pools,
            bets: duel.bets.len(),
        }
    }
}
