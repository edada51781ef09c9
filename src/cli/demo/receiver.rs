//! A small local receiver in the place of Slack, Discord and a webhook: it takes what they would take and keeps it.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Serialize;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;

/// How long the last messages of a demo may take.
const SETTLE: Duration = Duration::from_secs(10);

/// Messages by sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// Slack's.
    pub slack: Count,
    /// Discord's.
    pub discord: Count,
    /// The webhook's.
    pub webhook: Count,
}

/// Incident messages of one sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Count {
    /// Opening messages.
    pub opened: u64,
    /// Closing messages.
    pub closed: u64,
}

#[derive(Debug, Default)]
struct Taken {
    counts: Counts,
    fresh: Vec<String>,
}

/// The running receiver.
#[derive(Debug, Clone)]
pub(super) struct Receiver {
    at: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    changed: Arc<Notify>,
}

impl Receiver {
    /// Listens on a free loopback port until `stop`.
    pub async fn start(stop: CancellationToken) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let at = listener.local_addr()?;
        let receiver = Self { at, taken: Arc::default(), changed: Arc::default() };
        let routes = Router::new()
            .route("/slack", post(slack))
            .route("/discord", post(discord))
            .route("/webhook", post(webhook))
            .with_state(receiver.clone());
        tokio::spawn(async move {
            let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(fault) = served.await {
                tracing::error!(%fault, "the receiver ended");
            }
        });
        Ok(receiver)
    }

    /// The URL of one sink.
    pub fn url(&self, sink: &str) -> String {
        format!("http://{}/{sink}", self.at)
    }

    /// The lines that came since the last call.
    pub fn fresh(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().fresh)
    }

    /// The counts, once every sink has `expected` openings and closings, or after a bounded wait.
    pub async fn settle(&self, expected: u64) -> Counts {
        let complete = async {
            loop {
                let changed = self.changed.notified();
                let counts = self.lock().counts;
                let sinks = [counts.slack, counts.discord, counts.webhook];
                if sinks.iter().all(|count| count.opened >= expected && count.closed >= expected) {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(SETTLE, complete).await;
        self.lock().counts
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, sink: &str, title: &str, pick: impl Fn(&mut Counts) -> &mut Count) {
        let mut taken = self.lock();
        taken.fresh.push(format!("{sink} got: {title}"));
        let count = pick(&mut taken.counts);
        count.opened += u64::from(title.contains("is failing"));
        count.closed += u64::from(title.contains("healthy") && title.contains(" after "));
        drop(taken);
        self.changed.notify_waiters();
    }
}

/// Slack refuses what has neither text nor blocks, and answers `ok` as plain text.
async fn slack(State(receiver): State<Receiver>, Json(message): Json<Value>) -> Response {
    let Some(text) = message.get("text").and_then(Value::as_str) else {
        return (StatusCode::BAD_REQUEST, "no_text").into_response();
    };
    receiver.take("slack", text, |counts| &mut counts.slack);
    "ok".into_response()
}

/// Discord refuses an empty message, and answers with the message it made.
async fn discord(State(receiver): State<Receiver>, Json(message): Json<Value>) -> Response {
    let Some(title) = message.pointer("/embeds/0/title").and_then(Value::as_str) else {
        let refusal = serde_json::json!({ "message": "Cannot send an empty message", "code": 50006 });
        return (StatusCode::BAD_REQUEST, Json(refusal)).into_response();
    };
    receiver.take("discord", title, |counts| &mut counts.discord);
    Json(serde_json::json!({ "id": "1" })).into_response()
}

async fn webhook(State(receiver): State<Receiver>, Json(message): Json<Value>) -> StatusCode {
    let Some(title) = message.get("text").and_then(Value::as_str) else { return StatusCode::BAD_REQUEST };
    receiver.take("webhook", title, |counts| &mut counts.webhook);
    StatusCode::NO_CONTENT
}
