//! The watchers: one asks the database for a sign of life, one tells humans what the sentinel finds.

use std::sync::Arc;
use std::time::Duration;

use crate::alerts::Alerts;
use crate::clock::Clock;
use crate::director::Handle;
use crate::metrics::Metrics;
use crate::sentinel::{Observation, Sentinel};
use crate::store::Store;
use crate::stream::{Stream, StreamState};
use crate::vitals::{DatabaseState, Vitals};

/// The database is asked for a sign of life this often.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// The sentinel looks this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Looks once a second, and whenever maintenance moves on, and tells what the sentinel finds.
pub async fn guard(clock: Clock, vitals: Arc<Vitals>, arena: Handle, stream: Stream, alerts: Alerts) {
    let mut sentinel = Sentinel::default();
    let mut views = arena.views();
    loop {
        let now = clock.now();
        let maintenance = views.borrow_and_update().maintenance.clone();
        let seen = Observation {
            now,
            database: vitals.database(),
            database_trouble_ms: vitals.database_trouble_ms(now),
            scheduler_silence: vitals.director_silence(now),
            websocket_silence: vitals.websocket_silence(now),
            maintenance: maintenance.clone(),
            memory_share: crate::metrics::memory_share(),
            stream_gave_up: stream.state() == StreamState::Failed,
        };
        sentinel.look(&seen).into_iter().for_each(|alert| alerts.tell(alert));
        let moved = views.wait_for(|view| view.maintenance != maintenance);
        // A director that is gone sends no views any more: then only the clock is left.
        let gone = matches!(tokio::time::timeout(LOOK_INTERVAL, moved).await, Ok(Err(_)));
        if gone {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

/// Asks the database for a sign of life again and again; one question at a time, however long it takes.
pub async fn watch_database(
    store: Arc<dyn Store>,
    clock: Clock,
    vitals: Arc<Vitals>,
    metrics: Arc<Metrics>,
    limit: Duration,
) {
    loop {
        let started = clock.monotonic();
        let mut ping = std::pin::pin!(store.ping());
        let answer = match tokio::time::timeout(limit, ping.as_mut()).await {
            Ok(answer) => answer,
            Err(_) => {
                let waited = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
                vitals.database_answered(DatabaseState::Slow, waited, clock.now());
                ping.await
            }
        };
        let took = started.elapsed();
        metrics.database_ping.observe(took.as_secs_f64());
        let state = match answer {
            Ok(()) if took <= limit => DatabaseState::Connected,
            Ok(()) => DatabaseState::Slow,
            Err(error) => {
                metrics.database_errors.inc();
                tracing::warn!(error = crate::error_chain(&error), "the database does not answer");
                DatabaseState::Disconnected
            }
        };
        let took_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        vitals.database_answered(state, took_ms, clock.now());
        tokio::time::sleep(PING_INTERVAL).await;
    }
}
