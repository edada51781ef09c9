//! The public state message: what viewers, the REST endpoint and the WebSocket all get.
//!
//! What must not be known yet is left out here and nowhere else: the seed and the winner before the fight is over,
//! and blows that have not been shown. A digest of the seed is given from the start, so that viewers can check
//! afterwards that the outcome was fixed before the betting.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::arena::{Agent, Cents, MarketStatus, Phase, Side};
use crate::clock::Millis;
use crate::view::{DuelView, View};

/// The whole message. Times are Unix milliseconds, `timeRemaining` is milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateMessage<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    cycle: Cycle<'a>,
    market: Market,
    leaderboard: Vec<Score<'a>>,
    maintenance: bool,
    camera_target: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cycle<'a> {
    cycle_id: Option<String>,
    phase: Phase,
    phase_version: u64,
    cycle_start_time: Option<Millis>,
    phase_start_time: Millis,
    phase_end_time: Option<Millis>,
    time_remaining: Option<Millis>,
    agent1: Option<Fighter<'a>>,
    agent2: Option<Fighter<'a>>,
    duel_id: Option<i64>,
    duel_key_hex: Option<String>,
    bet_open_time: Option<Millis>,
    bet_close_time: Option<Millis>,
    fight_start_time: Option<Millis>,
    duel_end_time: Option<Millis>,
    winner_id: Option<&'a str>,
    winner_name: Option<&'a str>,
    win_reason: Option<&'static str>,
    seed: Option<String>,
    last_duel_id: Option<i64>,
    last_winner_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Fighter<'a> {
    id: &'a str,
    name: &'a str,
    hp: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Market {
    status: MarketStatus,
    pool_cents: [Cents; 2],
    odds: [Option<f64>; 2],
    bets: usize,
}

#[derive(Debug, Serialize)]
struct Score<'a> {
    id: &'a str,
    name: &'a str,
    wins: i64,
    losses: i64,
}

impl<'a> StateMessage<'a> {
    /// Renders a view as of `now`.
    pub fn of(view: &'a View, now: Millis) -> Self {
        let duel = view.duel.as_ref();
        let winner: Option<&Agent> = duel.and_then(|duel| match duel.winner? {
            Side::A => Some(duel.a),
            Side::B => Some(duel.b),
        });
        Self {
            kind: "STREAMING_STATE_UPDATE",
            cycle: cycle(view, duel, winner, now),
            market: market(view, duel),
            leaderboard: view
                .leaderboard
                .iter()
                .map(|score| Score {
                    id: score.agent.id,
                    name: score.agent.name,
                    wins: score.wins,
                    losses: score.losses,
                })
                .collect(),
            maintenance: view.maintenance.is_some(),
            camera_target: winner.map(|agent| agent.id),
        }
    }
}

fn cycle<'a>(
    view: &'a View,
    duel: Option<&'a DuelView>,
    winner: Option<&'a Agent>,
    now: Millis,
) -> Cycle<'a> {
    let health = duel.map(|duel| shown_health(duel, view, now));
    let fighter = |agent: &'a Agent, hp| Fighter { id: agent.id, name: agent.name, hp };
    let revealed = duel.filter(|duel| duel.winner.is_some());
    Cycle {
        cycle_id: duel.map(|duel| format!("cycle-{}", duel.id)),
        phase: view.phase,
        phase_version: view.phase_version,
        cycle_start_time: duel.map(|duel| duel.opened_at),
        phase_start_time: view.phase_started_at,
        phase_end_time: view.phase_ends_at,
        time_remaining: view.phase_ends_at.map(|end| (end - now).max(0)),
        agent1: duel.zip(health).map(|(duel, (hp, _))| fighter(duel.a, hp)),
        agent2: duel.zip(health).map(|(duel, (_, hp))| fighter(duel.b, hp)),
        duel_id: duel.map(|duel| duel.id),
        duel_key_hex: duel.map(seed_digest),
        bet_open_time: duel.map(|duel| duel.opened_at),
        bet_close_time: duel.and_then(|duel| match view.phase {
            Phase::Countdown => view.phase_ends_at,
            Phase::Idle | Phase::Fighting | Phase::Announcement => duel.fight_started_at,
        }),
        fight_start_time: duel.and_then(|duel| duel.fight_started_at),
        duel_end_time: duel.and_then(|duel| duel.fight_ended_at),
        winner_id: winner.map(|agent| agent.id),
        winner_name: winner.map(|agent| agent.name),
        win_reason: winner.map(|_| "knockout"),
        seed: revealed.map(|duel| duel.seed.to_string()),
        last_duel_id: view.last.as_ref().map(|last| last.id),
        last_winner_id: view.last.as_ref().and_then(|last| last.winner).map(|agent| agent.id),
    }
}

/// SHA-256 over the duel's number and seed, both as 8 little-endian bytes, in hex: a commitment to the outcome.
pub fn seed_digest(duel: &DuelView) -> String {
    let digest =
        Sha256::new().chain_update(duel.id.to_le_bytes()).chain_update(duel.seed.to_le_bytes()).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hit points of (A, B) that viewers may see at `now`.
pub fn shown_health(duel: &DuelView, view: &View, now: Millis) -> (u32, u32) {
    let span = |from: Millis, to: Millis| u64::try_from(to - from).unwrap_or(0);
    match (view.phase, view.phase_ends_at) {
        (Phase::Announcement, _) => duel.fight.health_at(1, 1),
        (Phase::Fighting, Some(end)) => {
            let total = span(view.phase_started_at, end).max(1);
            // The last blow is not shown before it is announced.
            let shown = span(view.phase_started_at, now).min(total.saturating_sub(1));
            duel.fight.health_at(shown, total)
        }
        (Phase::Idle | Phase::Countdown | Phase::Fighting, _) => duel.fight.health_at(0, 1),
    }
}

fn market(view: &View, duel: Option<&DuelView>) -> Market {
    let pools = duel.map_or([0; 2], |duel| duel.pools);
    let total = pools[0] + pools[1];
    // What one unit staked would return if the duel were settled now; for display only, payouts are computed exactly.
    let odds = |pool: Cents| (pool > 0).then(|| (total as f64 / pool as f64 * 100.0).round() / 100.0);
    Market {
        status: view.market,
        pool_cents: pools,
        odds: pools.map(odds),
        bets: duel.map_or(0, |duel| duel.bets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::{State, Timing};

    const TIMING: Timing = Timing {
        idle: 10,
        countdown: 100,
        fight: 100,
        announcement: 100,
        settlement: 10,
        resume_limit: 1000,
    };

    fn happen(state: &mut State, now: Millis) {
        while let Some(record) = state.due(now, &TIMING, 7) {
            state.apply(&record);
        }
    }

    fn text(state: &State, now: Millis) -> serde_json::Value {
        serde_json::to_value(StateMessage::of(&View::of(state), now)).expect("serialises")
    }

    #[test]
    fn the_outcome_stays_hidden_until_the_announcement() {
        let mut state = State::new(0);
        happen(&mut state, 0);
        for now in [0, 50, 100, 150, 199] {
            happen(&mut state, now);
            let message = text(&state, now);
            for hidden in ["winnerId", "winnerName", "seed"] {
                assert!(message["cycle"][hidden].is_null(), "{hidden} at {now}");
            }
            let alive = |agent: &str| message["cycle"][agent]["hp"].as_u64().expect("hit points") > 0;
            assert!(alive("agent1") && alive("agent2"), "nobody is seen to fall before the end, at {now}");
        }
        let promised = text(&state, 199)["cycle"]["duelKeyHex"].clone();
        happen(&mut state, 200);
        let message = text(&state, 200);
        assert!(message["cycle"]["winnerId"].is_string() && message["cycle"]["seed"].is_string());
        assert_eq!(message["cycle"]["duelKeyHex"], promised, "the promise made before the betting is kept");
    }

    #[test]
    fn an_idle_arena_still_sends_a_cycle() {
        let mut state = State::new(0);
        for record in state.enter_maintenance(String::from("x"), 10, 0).expect("enters") {
            state.apply(&record);
        }
        let message = text(&state, 5);
        assert_eq!(message["type"], "STREAMING_STATE_UPDATE");
        assert_eq!(message["cycle"]["phase"], "IDLE");
        assert_eq!(message["market"]["status"], "RESOLVED");
        assert!(message["cycle"]["timeRemaining"].is_null(), "maintenance holds the idle phase open");
    }
}
