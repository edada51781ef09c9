//! Records as SQL that both databases understand.
//!
//! Parameters are `$1`, `$2`, … and always appear first in ascending order, because SQLite numbers such names by first
//! appearance. A statement that must change exactly one row says so; anything else means that the store and the state
//! disagree, and the whole batch is rolled back.

use crate::arena::{Payout, Phase, Record};
use crate::clock::Millis;

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// One statement with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The kind of record it came from, for errors.
    pub record: &'static str,
    /// The SQL.
    pub sql: &'static str,
    /// The parameters, in order.
    pub values: Vec<Value>,
    /// Whether exactly one row must change.
    pub exactly_one: bool,
}

const JOIN: &str = "INSERT INTO players (id, name, balance, joined_at) VALUES ($1, $2, $3, $4)";
const LEDGER: &str = "INSERT INTO ledger (player_id, at, kind, cents, bet_id) VALUES ($1, $2, $3, $4, NULL)";
const LEDGER_OF_BET: &str =
    "INSERT INTO ledger (player_id, at, kind, cents, bet_id) VALUES ($1, $2, $3, $4, $5)";
const SPEND: &str = "UPDATE players SET balance = balance - $1 WHERE id = $2";
const BET: &str = "INSERT INTO bets (id, duel_id, player_id, idempotency_key, side, cents, placed_at, payout)
    VALUES ($1, $2, $3, $4, $5, $6, $7, NULL)";
const OPEN: &str = "INSERT INTO duels
    (id, seed, agent_a, agent_b, phase, market, opened_at, phase_started_at, phase_ends_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const MARKET: &str = "UPDATE duels SET market = $1 WHERE id = $2 AND ended_at IS NULL";
const FIGHT: &str = "UPDATE duels SET phase = $1, market = $2, phase_started_at = $3, fight_started_at = $4,
    phase_ends_at = $5 WHERE id = $6 AND ended_at IS NULL";
const WINNER: &str = "UPDATE duels SET phase = $1, winner = $2, phase_started_at = $3, fight_ended_at = $4,
    phase_ends_at = $5 WHERE id = $6 AND ended_at IS NULL";
const PAY_BET: &str = "UPDATE bets SET payout = $1 WHERE id = $2 AND duel_id = $3 AND payout IS NULL";
const PAY_LEDGER: &str = "INSERT INTO ledger (player_id, at, kind, cents, bet_id)
    SELECT player_id, CAST($1 AS BIGINT), CAST($2 AS TEXT), payout, id FROM bets
    WHERE duel_id = $3 AND payout > 0 ORDER BY id";
const PAY_PLAYERS: &str = "UPDATE players SET balance = balance +
    (SELECT SUM(payout) FROM bets WHERE duel_id = $1 AND player_id = players.id)
    WHERE id IN (SELECT player_id FROM bets WHERE duel_id = $1 AND payout > 0)";
const SETTLED: &str = "UPDATE duels SET market = $1, settled_at = $2 WHERE id = $3 AND settled_at IS NULL";
const ENDED: &str = "UPDATE duels SET phase = $1, ended_at = $2 WHERE id = $3 AND ended_at IS NULL";
const ENTER: &str =
    "INSERT INTO maintenance (id, entered_at, reason, stage, deadline) VALUES (1, $1, $2, $3, $4)";
const STAGE: &str = "UPDATE maintenance SET stage = $1 WHERE id = 1";
const EXIT: &str = "DELETE FROM maintenance WHERE id = 1";
const AUDIT: &str = "INSERT INTO audit (at, kind, detail) VALUES ($1, $2, $3)";

/// The stored words of the stages of maintenance.
pub mod stage {
    /// Waiting for a market.
    pub const WAITING: &str = "WAITING";
    /// The wait failed.
    pub const TIMED_OUT: &str = "TIMEOUT";
    /// Safe to deploy.
    pub const SAFE: &str = "SAFE";
}

/// The stored words of the audit trail that are read back.
pub mod audit {
    /// The server took over.
    pub const STARTED: &str = "server_started";
    /// The server left in good order.
    pub const STOPPED: &str = "server_stopped";
}

/// The statements that make one record durable.
pub fn of(record: &Record) -> Vec<Statement> {
    match record {
        Record::PlayerJoined { player, name, grant, at } => {
            let player = player.as_str();
            vec![
                one("join", JOIN, [player.into(), name.as_str().into(), (*grant).into(), (*at).into()]),
                one("join", LEDGER, [player.into(), (*at).into(), "grant".into(), (*grant).into()]),
            ]
        }
        Record::BetPlaced { bet, duel, player, key, side, cents, at } => {
            let (id, player, at) = (Value::Int(*bet), player.as_str(), Value::Int(*at));
            let (key, side) = (key.as_str().into(), side.as_str().into());
            let row = [id.clone(), (*duel).into(), player.into(), key, side, (*cents).into(), at.clone()];
            vec![
                one("bet", BET, row),
                one("bet", SPEND, [(*cents).into(), player.into()]),
                one("bet", LEDGER_OF_BET, [player.into(), at, "stake".into(), (-cents).into(), id]),
            ]
        }
        Record::DuelOpened { duel, seed, a, b, at, ends_at } => {
            let at = Value::Int(*at);
            let values = [
                (*duel).into(),
                seed.cast_signed().into(),
                a.as_str().into(),
                b.as_str().into(),
                Phase::Countdown.as_str().into(),
                "OPEN".into(),
                at.clone(),
                at,
                (*ends_at).into(),
            ];
            vec![one("duel", OPEN, values)]
        }
        Record::MarketLocked { duel, .. } => vec![one("lock", MARKET, ["LOCKED".into(), (*duel).into()])],
        Record::MarketReopened { duel, .. } => vec![one("reopen", MARKET, ["OPEN".into(), (*duel).into()])],
        Record::FightStarted { duel, at, ends_at } => {
            let at = Value::Int(*at);
            let phase = Phase::Fighting.as_str().into();
            let values = [phase, "LOCKED".into(), at.clone(), at, (*ends_at).into(), (*duel).into()];
            vec![one("fight", FIGHT, values)]
        }
        Record::WinnerAnnounced { duel, winner, at, ends_at } => {
            let at = Value::Int(*at);
            let phase = Phase::Announcement.as_str().into();
            let values = [phase, winner.as_str().into(), at.clone(), at, (*ends_at).into(), (*duel).into()];
            vec![one("winner", WINNER, values)]
        }
        Record::MarketSettled { duel, payouts, at } => settled("settle", *duel, payouts, "payout", *at),
        Record::DuelCalledOff { duel, refunds, at, .. } => {
            let mut statements = settled("call-off", *duel, refunds, "refund", *at);
            statements.push(ended(*duel, *at));
            statements
        }
        Record::DuelEnded { duel, at, .. } => vec![ended(*duel, *at)],
        Record::MaintenanceEntered { .. }
        | Record::MaintenanceSafe { .. }
        | Record::MaintenanceTimedOut { .. }
        | Record::MaintenanceExited { .. }
        | Record::ServerStarted { .. }
        | Record::ServerStopped { .. } => upkeep(record),
    }
}

/// Maintenance and the server's coming and going, which also leave an audit line.
fn upkeep(record: &Record) -> Vec<Statement> {
    let audited =
        |at: Millis, kind: &str, detail: &str| one("audit", AUDIT, [at.into(), kind.into(), detail.into()]);
    match record {
        Record::MaintenanceEntered { reason, at, deadline } => {
            let values = [(*at).into(), reason.as_str().into(), stage::WAITING.into(), (*deadline).into()];
            vec![one("maintenance", ENTER, values), audited(*at, "maintenance_entered", reason)]
        }
        Record::MaintenanceSafe { at } => {
            vec![one("maintenance", STAGE, [stage::SAFE.into()]), audited(*at, "maintenance_safe", "")]
        }
        Record::MaintenanceTimedOut { at } => {
            vec![
                one("maintenance", STAGE, [stage::TIMED_OUT.into()]),
                audited(*at, "maintenance_timed_out", ""),
            ]
        }
        Record::MaintenanceExited { at, .. } => {
            vec![one("maintenance", EXIT, []), audited(*at, "maintenance_exited", "")]
        }
        Record::ServerStarted { at } => vec![audited(*at, audit::STARTED, crate::build_info::COMMIT)],
        Record::ServerStopped { at } => vec![audited(*at, audit::STOPPED, crate::build_info::COMMIT)],
        _ => Vec::new(),
    }
}

fn one<const N: usize>(record: &'static str, sql: &'static str, values: [Value; N]) -> Statement {
    Statement { record, sql, values: values.into(), exactly_one: true }
}

fn ended(duel: i64, at: Millis) -> Statement {
    one("end", ENDED, [Phase::Idle.as_str().into(), at.into(), duel.into()])
}

fn settled(record: &'static str, duel: i64, payouts: &[Payout], kind: &str, at: Millis) -> Vec<Statement> {
    let pay = |payout: &Payout| one(record, PAY_BET, [payout.cents.into(), payout.bet.into(), duel.into()]);
    let many = |sql, values: Vec<Value>| Statement { record, sql, values, exactly_one: false };
    let mut statements: Vec<Statement> = payouts.iter().map(pay).collect();
    statements.push(many(PAY_LEDGER, vec![at.into(), kind.into(), duel.into()]));
    statements.push(many(PAY_PLAYERS, vec![duel.into()]));
    statements.push(one(record, SETTLED, ["RESOLVED".into(), at.into(), duel.into()]));
    statements
}
