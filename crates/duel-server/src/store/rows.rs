//! From stored rows back to the state: what both databases share of loading.

use std::collections::HashMap;

use super::statements::stage;
use super::{Loaded, StoreError};
use crate::arena::{
    Agent, Bet, BetKey, Cents, Duel, Maintenance, MaintenanceStage, MarketStatus, Phase, Player, PlayerId,
    Side, Stage, State,
};
use crate::clock::Millis;

/// The players.
pub const PLAYERS: &str = "SELECT id, name, balance FROM players";
/// The duel that has not ended.
pub const DUEL: &str =
    "SELECT id, seed, agent_a, agent_b, phase, market, opened_at, phase_started_at, phase_ends_at,
    fight_started_at, fight_ended_at, winner FROM duels WHERE ended_at IS NULL ORDER BY id DESC LIMIT 1";
/// The bets of one duel.
pub const BETS: &str =
    "SELECT id, player_id, idempotency_key, side, cents, placed_at FROM bets WHERE duel_id = $1 ORDER BY id";
/// The settled duels' sides and winners, counted.
pub const SCORES: &str = "SELECT agent_a, agent_b, winner, COUNT(*) FROM duels
    WHERE settled_at IS NOT NULL AND winner IS NOT NULL GROUP BY agent_a, agent_b, winner";
/// The highest numbers given out: duels and bets.
pub const NUMBERS: &str =
    "SELECT (SELECT COALESCE(MAX(id), 0) FROM duels), (SELECT COALESCE(MAX(id), 0) FROM bets)";
/// Active maintenance.
pub const MAINTENANCE: &str = "SELECT entered_at, reason, stage, deadline FROM maintenance";
/// The last coming or going of a server.
pub const LAST_LIFE_SIGN: &str = "SELECT kind FROM audit WHERE kind IN ('server_started', 'server_stopped')
    ORDER BY id DESC LIMIT 1";
/// A page of a ledger.
pub const LEDGER: &str = "SELECT id, at, kind, cents, bet_id FROM ledger
    WHERE player_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
/// A page of the duels.
pub const DUELS: &str = "SELECT id, agent_a, agent_b, opened_at, ended_at, winner,
    CAST((SELECT COALESCE(SUM(cents), 0) FROM bets WHERE duel_id = duels.id) AS BIGINT)
    FROM duels WHERE id < $1 ORDER BY id DESC LIMIT $2";
/// The books, in the order of the audit's fields.
pub const AUDIT: &str = "SELECT
    CAST((SELECT COALESCE(SUM(cents), 0) FROM ledger WHERE kind = 'grant') AS BIGINT),
    CAST((SELECT COALESCE(SUM(balance), 0) FROM players) AS BIGINT),
    CAST((SELECT COALESCE(SUM(cents), 0) FROM bets WHERE payout IS NULL) AS BIGINT),
    (SELECT COUNT(*) FROM players WHERE balance <>
        (SELECT COALESCE(SUM(cents), 0) FROM ledger WHERE player_id = players.id)),
    (SELECT COUNT(*) FROM duels WHERE settled_at IS NOT NULL AND
        (SELECT COALESCE(SUM(cents), 0) FROM bets WHERE duel_id = duels.id) <>
        (SELECT COALESCE(SUM(payout), 0) FROM bets WHERE duel_id = duels.id)),
    (SELECT COUNT(*) FROM bets)";

/// The newest lines of the audit trail.
pub const TRAIL: &str = "SELECT at, kind, detail FROM audit ORDER BY id DESC LIMIT 100";

/// A row of [`DUEL`].
pub struct DuelRow {
    pub id: i64,
    pub seed: i64,
    pub agents: [String; 2],
    pub phase: String,
    pub market: String,
    pub opened_at: Millis,
    pub phase_started_at: Millis,
    pub phase_ends_at: Millis,
    pub fight_started_at: Option<Millis>,
    pub fight_ended_at: Option<Millis>,
    pub winner: Option<String>,
}

/// A row of [`BETS`].
pub struct BetRow {
    pub id: i64,
    pub player: String,
    pub key: String,
    pub side: String,
    pub cents: Cents,
    pub at: Millis,
}

/// Everything read, still as stored.
#[derive(Default)]
pub struct Rows {
    pub players: Vec<(String, String, Cents)>,
    pub duel: Option<DuelRow>,
    pub bets: Vec<BetRow>,
    pub scores: Vec<(String, String, String, i64)>,
    pub last_duel: i64,
    pub last_bet: i64,
    pub maintenance: Option<(Millis, String, String, Millis)>,
    pub last_life_sign: Option<String>,
}

impl Rows {
    /// Turns the rows into a state, refusing whatever this server would not have written.
    pub fn into_loaded(self, now: Millis) -> Result<Loaded, StoreError> {
        let crashed = self.last_life_sign.as_deref() == Some(super::statements::audit::STARTED);
        let mut state = State::new(now);
        state.next_duel = self.last_duel + 1;
        state.next_bet = self.last_bet + 1;
        state.players = players(self.players)?;
        for (a, b, winner, count) in &self.scores {
            let side = parsed("winner", winner, Side::parse)?;
            for score in &mut state.scores {
                let id = score.agent.id;
                let (won, lost) = if side == Side::A { (a, b) } else { (b, a) };
                score.wins += if id == won { *count } else { 0 };
                score.losses += if id == lost { *count } else { 0 };
            }
        }
        if let Some(row) = self.duel {
            state.duel = Some(duel(row, self.bets)?);
        }
        if let Some((entered_at, reason, word, deadline)) = self.maintenance {
            let stage = match word.as_str() {
                stage::WAITING => MaintenanceStage::Waiting { deadline },
                stage::TIMED_OUT => MaintenanceStage::TimedOut,
                stage::SAFE => MaintenanceStage::Safe,
                _ => return Err(StoreError::Unreadable { what: "maintenance stage", value: word }),
            };
            state.maintenance = Some(Maintenance { entered_at, reason, stage });
        }
        Ok(Loaded { state, crashed })
    }
}

fn parsed<T>(what: &'static str, text: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
    parse(text).ok_or_else(|| StoreError::Unreadable { what, value: text.to_owned() })
}

fn players(rows: Vec<(String, String, Cents)>) -> Result<HashMap<PlayerId, Player>, StoreError> {
    rows.into_iter()
        .map(|(id, name, balance)| Ok((parsed("player id", &id, PlayerId::parse)?, Player { name, balance })))
        .collect()
}

fn duel(row: DuelRow, bets: Vec<BetRow>) -> Result<Duel, StoreError> {
    let phase = parsed("phase", &row.phase, Phase::parse)?;
    let market = parsed("market status", &row.market, MarketStatus::parse)?;
    let stage = match (phase, row.winner.as_deref()) {
        (Phase::Countdown, None) => Stage::Countdown { betting: market == MarketStatus::Open },
        (Phase::Fighting, None) => Stage::Fighting,
        (Phase::Announcement, Some(winner)) => Stage::Announcement {
            winner: parsed("winner", winner, Side::parse)?,
            settled: market == MarketStatus::Resolved,
        },
        _ => return Err(StoreError::Unreadable { what: "phase of a running duel", value: row.phase }),
    };
    let a = parsed("agent", &row.agents[0], Agent::by_id)?;
    let b = parsed("agent", &row.agents[1], Agent::by_id)?;
    let seed = row.seed.cast_unsigned();
    let mut duel = Duel::opened(row.id, seed, a, b, row.opened_at, row.phase_ends_at);
    duel.stage = stage;
    duel.phase_started_at = row.phase_started_at;
    duel.fight_started_at = row.fight_started_at;
    duel.fight_ended_at = row.fight_ended_at;
    for bet in bets {
        duel.book(Bet {
            bet: bet.id,
            player: parsed("player id", &bet.player, PlayerId::parse)?,
            key: parsed("idempotency key", &bet.key, BetKey::parse)?,
            side: parsed("side", &bet.side, Side::parse)?,
            cents: bet.cents,
            at: bet.at,
        });
    }
    Ok(duel)
}
