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

/// What the title of a message says that tells several notices, because they waited for each other.
const FOLDED: &str = "notices waited and come together";
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

    /// Takes a message. A fold of several notices tells them in its `lines`, and each of them counts.
    fn take(&self, sink: &str, title: &str, lines: &[&str], pick: impl Fn(&mut Counts) -> &mut Count) {
        let mut taken = self.lock();
        taken.fresh.push(format!("{sink} got: {title}"));
        let folded = title.contains(FOLDED);
        if folded {
            taken.fresh.extend(lines.iter().map(|line| format!("{sink} got:   {line}")));
        }
        let told = if folded { lines } else { &[title] };
        let count = pick(&mut taken.counts);
        for line in told {
            let opened = line.contains(" is failing: ");
            count.opened += u64::from(opened);
            count.closed += u64::from(!opened && line.contains("healthy") && line.contains(" after "));
        }
        drop(taken);
        self.changed.notify_waiters();
    }
}

/// The lines of every text at `field` of the elements of `list`.
fn lines<'a>(list: Option<&'a Value>, field: &str) -> Vec<&'a str> {
    let elements = list.and_then(Value::as_array).into_iter().flatten();
    elements.filter_map(|element| element.pointer(field)?.as_str()).flat_map(str::lines).collect()
}

/// Slack refuses what has neither text nor blocks, and answers `ok` as plain text.
async fn slack(State(receiver): State<Receiver>, Json(message): Json<Value>) -> Response {
    let Some(text) = message.get("text").and_then(Value::as_str) else {
        return (StatusCode::BAD_REQUEST, "no_text").into_response();
    };
    let sections = lines(message.get("blocks"), "/text/text");
    // The heading repeats the text.
    let sections: Vec<&str> = sections.into_iter().filter(|line| *line != text).collect();
    receiver.take("slack", text, &sections, |counts| &mut counts.slack);
    "ok".into_response()
}

/// Discord refuses an empty message, and answers with the message it made.
async fn discord(State(receiver): State<Receiver>, Json(message): Json<Value>) -> Response {
    let Some(title) = message.pointer("/embeds/0/title").and_then(Value::as_str) else {
        let refusal = serde_json::json!({ "message": "Cannot send an empty message", "code": 50006 });
        return (StatusCode::BAD_REQUEST, Json(refusal)).into_response();
    };
    let described = lines(message.get("embeds"), "/description");
    receiver.take("discord", title, &described, |counts| &mut counts.discord);
    Json(serde_json::json!({ "id": "1" })).into_response()
}

async fn webhook(State(receiver): State<Receiver>, Json(message): Json<Value>) -> StatusCode {
    let Some(title) = message.get("text").and_then(Value::as_str) else { return StatusCode::BAD_REQUEST };
    let notices = lines(message.pointer("/data/notices"), "/title");
    receiver.take("webhook", title, &notices, |counts| &mut counts.webhook);
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn each_notice_of_a_fold_counts() {
        let receiver = Receiver::start(CancellationToken::new()).await.unwrap();
        let (one, two) = ("duel-0 is failing: no answer", "duel-1 is replaced and healthy after 9 s");
        let three = "the provider's list fails";
        let title = format!("3 {FOLDED}");
        let text = format!("10:00:00 x {one}\n10:00:01 x {two}\n10:00:02 x {three}\n");
        let blocks = json!([
            { "type": "header", "text": { "type": "plain_text", "text": &title } },
            { "type": "section", "text": { "type": "mrkdwn", "text": &text } },
        ]);
        slack(State(receiver.clone()), Json(json!({ "text": &title, "blocks": blocks }))).await;
        let embeds = json!([{ "title": &title, "description": &text }]);
        discord(State(receiver.clone()), Json(json!({ "embeds": embeds }))).await;
        let notices = json!([{ "title": one }, { "title": two }, { "title": three }]);
        let fold = json!({ "text": &title, "data": { "notices": notices } });
        webhook(State(receiver.clone()), Json(fold)).await;
        // A message of its own counts once, although its blocks repeat it.
        let blocks =
            json!([{ "text": { "text": one } }, { "text": { "text": "duel-0 is failing: no answer" } }]);
        slack(State(receiver.clone()), Json(json!({ "text": one, "blocks": blocks }))).await;
        let counts = receiver.lock().counts;
        let once = Count { opened: 1, closed: 1 };
        assert_eq!(counts, Counts { slack: Count { opened: 2, closed: 1 }, discord: once, webhook: once });
    }
}
