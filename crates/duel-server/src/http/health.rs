//! Health for each purpose: `/health` for keepers and dashboards, `/healthz` for liveness, `/ready` for balancers,
//! `/api/v1/version` and `/status` for people and deploy checks.
//!
//! `/health` answers 503 only when replacing the server would help. A PostgreSQL elsewhere that is down makes it
//! `degraded` (a new box would see the same), a local SQLite file that stays broken makes it `unhealthy`. Checks are
//! heartbeats and timed round trips done in the background, so asking costs nothing and cannot hang.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::App;
use crate::arena::Phase;
use crate::build_info;
use crate::clock::Millis;
use crate::view::View;
use crate::vitals::DatabaseState;

/// A heart that has been silent for longer is taken for dead. Twice the longest commit, which holds up one beat.
pub const SILENCE_LIMIT_MS: Millis = 10_000;

/// A local database in trouble for longer makes the server unhealthy.
pub const DATABASE_PATIENCE_MS: Millis = 10_000;

/// The overall word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Overall {
    /// All systems operational.
    Healthy,
    /// Something is amiss that a replacement would not mend.
    Degraded,
    /// Should be replaced.
    Unhealthy,
}

/// What the verdict is made of.
#[derive(Debug, Clone, Copy)]
pub struct Findings {
    /// Milliseconds since the scheduler's last turn.
    pub scheduler_silence: Millis,
    /// Milliseconds since the last turn of the WebSocket path.
    pub websocket_silence: Millis,
    /// How the database answered last.
    pub database: DatabaseState,
    /// For how long it has been other than connected.
    pub database_trouble_ms: Millis,
    /// Whether the database lives and dies with this box.
    pub database_is_local: bool,
    /// The stream is configured but has given up.
    pub stream_gave_up: bool,
    /// The server is on its way out.
    pub draining: bool,
}

impl Findings {
    /// The overall word for these findings.
    pub fn overall(&self) -> Overall {
        let dead = !self.scheduler_running() || !self.websocket_active();
        let lost = self.database_is_local && self.database_trouble_ms > DATABASE_PATIENCE_MS;
        if dead || lost {
            Overall::Unhealthy
        } else if self.database != DatabaseState::Connected || self.stream_gave_up || self.draining {
            Overall::Degraded
        } else {
            Overall::Healthy
        }
    }

    fn scheduler_running(&self) -> bool {
        self.scheduler_silence <= SILENCE_LIMIT_MS
    }

    fn websocket_active(&self) -> bool {
        self.websocket_silence <= SILENCE_LIMIT_MS
    }
}

#[derive(Serialize)]
struct Health<'a> {
    status: Overall,
    uptime: Millis,
    version: &'static str,
    commit: &'static str,
    build_time: &'a str,
    instance: Option<&'a str>,
    started_at: Millis,
    environment: &'static str,
    database: &'static str,
    database_latency_ms: Millis,
    websocket: &'static str,
    scheduler: &'static str,
    maintenance: bool,
    draining: bool,
    streaming: Streaming,
}

#[derive(Serialize)]
struct Streaming {
    active: bool,
    phase: Phase,
    uptime: Millis,
    rtmp: &'static str,
}

/// The last answer of `/health`, good for the millisecond and the view it was made of: a crowd of askers shares one.
#[derive(Debug, Default)]
pub struct LastAnswer(Mutex<Option<Answer>>);

#[derive(Debug, Clone)]
struct Answer {
    at: Millis,
    /// Held, not only compared: a view that has been dropped could give its address to a newer one.
    view: Arc<View>,
    code: StatusCode,
    body: Bytes,
}

impl LastAnswer {
    fn or_make(
        &self,
        at: Millis,
        view: Arc<View>,
        make: impl FnOnce(&View) -> (StatusCode, Bytes),
    ) -> Answer {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref().filter(|answer| answer.at == at && Arc::ptr_eq(&answer.view, &view)) {
            Some(answer) => answer.clone(),
            None => {
                let (code, body) = make(&view);
                last.insert(Answer { at, view, code, body }).clone()
            }
        }
    }
}

/// `GET /health`.
pub async fn health(State(app): State<App>) -> Response {
    let now = app.clock.now();
    let answer = app.last_health.or_make(now, app.arena.view(), |view| render(&app, view, now));
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (answer.code, headers, answer.body).into_response()
}

fn render(app: &App, view: &View, now: Millis) -> (StatusCode, Bytes) {
    let findings = findings(app, now);
    let overall = findings.overall();
    let running = findings.scheduler_running();
    let uptime = now - app.clock.started_at();
    let body = Health {
        status: overall,
        uptime,
        version: build_info::VERSION,
        commit: build_info::COMMIT,
        build_time: &app.build_time,
        instance: app.settings.instance.as_deref(),
        started_at: app.clock.started_at(),
        environment: app.settings.environment.as_str(),
        database: findings.database.as_str(),
        database_latency_ms: app.vitals.database_latency(now).0,
        websocket: if findings.websocket_active() { "active" } else { "down" },
        scheduler: if running { "running" } else { "stalled" },
        maintenance: view.maintenance.is_some(),
        draining: findings.draining,
        streaming: Streaming {
            active: running,
            phase: view.phase,
            uptime: if running { uptime } else { 0 },
            rtmp: app.stream_word(),
        },
    };
    let code = match overall {
        Overall::Healthy | Overall::Degraded => StatusCode::OK,
        Overall::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    // Plain words and numbers always serialise.
    (code, serde_json::to_vec(&body).unwrap_or_default().into())
}

/// `GET /healthz`: the process answers.
pub async fn liveness() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// `GET /ready`: may traffic be sent here, and if not, what is missing.
pub async fn ready(State(app): State<App>) -> Response {
    let found = findings(&app, app.clock.now());
    let part = |ready: bool, reason: &str| {
        if ready { json!({ "ready": true }) } else { json!({ "ready": false, "reason": reason }) }
    };
    let database = found.database == DatabaseState::Connected;
    let (scheduler, websocket) = (found.scheduler_running(), found.websocket_active());
    let ready = database && scheduler && websocket && !found.draining;
    let body = json!({
        "ready": ready,
        "dependencies": {
            "database": part(database, &format!("the database is {}", found.database.as_str())),
            "scheduler": part(scheduler, "the scheduler makes no progress"),
            "websocket": part(websocket, "the publisher of live state makes no progress"),
            "lifecycle": part(!found.draining, "the server is draining"),
        },
    });
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(body)).into_response()
}

/// `GET /api/v1/version`.
pub async fn version(State(app): State<App>) -> Response {
    Json(json!({
        "version": build_info::VERSION,
        "commit": build_info::COMMIT,
        "buildTime": app.build_time,
    }))
    .into_response()
}

/// `GET /status`: a summary for people; the original server's names.
pub async fn status(State(app): State<App>) -> Response {
    let view = app.arena.view();
    Json(json!({
        "uptime": (app.clock.now() - app.clock.started_at()) / 1000,
        "connectedUserCount": app.metrics.sockets.get(),
        "commitHash": build_info::COMMIT,
        "version": build_info::VERSION,
        "phase": view.phase,
        "maintenance": view.maintenance.is_some(),
        "players": view.players,
    }))
    .into_response()
}

fn findings(app: &App, now: Millis) -> Findings {
    Findings {
        scheduler_silence: app.vitals.director_silence(now),
        websocket_silence: app.vitals.websocket_silence(now),
        database: app.vitals.database(),
        database_trouble_ms: app.vitals.database_trouble_ms(now),
        database_is_local: matches!(app.settings.database, crate::store::Address::Sqlite(_)),
        stream_gave_up: app.stream_word() == "failed",
        draining: app.vitals.is_draining(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Findings = Findings {
        scheduler_silence: 400,
        websocket_silence: 900,
        database: DatabaseState::Connected,
        database_trouble_ms: 0,
        database_is_local: true,
        stream_gave_up: false,
        draining: false,
    };

    #[test]
    fn only_what_a_replacement_would_mend_is_unhealthy() {
        let away = Findings { database: DatabaseState::Disconnected, database_trouble_ms: 60_000, ..FINE };
        let cases = [
            (FINE, Overall::Healthy),
            (Findings { scheduler_silence: SILENCE_LIMIT_MS + 1, ..FINE }, Overall::Unhealthy),
            (Findings { websocket_silence: SILENCE_LIMIT_MS + 1, ..FINE }, Overall::Unhealthy),
            (
                Findings { database: DatabaseState::Slow, database_trouble_ms: 3_000, ..FINE },
                Overall::Degraded,
            ),
            (away, Overall::Unhealthy),
            (Findings { database_is_local: false, ..away }, Overall::Degraded),
            (Findings { stream_gave_up: true, ..FINE }, Overall::Degraded),
            (Findings { draining: true, ..FINE }, Overall::Degraded),
        ];
        for (findings, expected) in cases {
            assert_eq!(findings.overall(), expected, "{findings:?}");
        }
    }
}
