//! `/api/streaming/…` and `/ws`: the live state, asked for and pushed, and the RTMP output's condition.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval, timeout};

use super::App;
use super::message::StateMessage;
use super::problem::Problem;
use crate::metrics::OutcomeLabel;

/// Most WebSockets at once.
pub const MAX_SOCKETS: i64 = 10_000;

/// A client is pinged this often.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// A client not heard of for this long is gone: three pings unanswered.
const SILENCE_LIMIT: Duration = Duration::from_secs(65);

/// A message that cannot be handed to a client's socket within this time marks it as too slow.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Clients have nothing to say but pongs; larger messages are refused unread.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// A client that talks more than this between two pings is closed.
const MAX_MESSAGES_PER_PING: u32 = 100;

/// Read buffer per client: small, because thousands of clients only listen.
const READ_BUFFER_BYTES: usize = 1024;

/// `GET /api/streaming/state`.
pub async fn state(State(app): State<App>) -> Response {
    match app.live.public_view() {
        Some(view) => {
            let shown_at = app.clock.now() - app.live.delay();
            ([("cache-control", "no-store")], Json(StateMessage::of(&view, shown_at))).into_response()
        }
        None => Problem::unavailable("the public delay has not passed yet").into_response(),
    }
}

/// `GET /api/streaming/rtmp/status`.
pub async fn rtmp(State(app): State<App>) -> Response {
    ([("cache-control", "no-store")], Json(app.stream.report())).into_response()
}

/// `GET /ws`.
pub async fn socket(
    State(app): State<App>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return Problem::malformed(rejection.body_text()).into_response(),
    };
    if app.metrics.sockets.get() >= MAX_SOCKETS {
        return Problem::unavailable("too many WebSockets are open").into_response();
    }
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .on_upgrade(move |socket| {
            let tracker = app.sockets.clone();
            tracker.track_future(serve(app, socket))
        })
}

async fn serve(app: App, mut socket: WebSocket) {
    app.metrics.sockets.inc();
    app.metrics.sockets_opened.inc();
    let goodbye = converse(&app, &mut socket).await;
    app.metrics.sockets.dec();
    if let Some((code, reason)) = goodbye {
        app.metrics.sockets_dropped.get_or_create(&OutcomeLabel { outcome: reason }).inc();
        let frame = CloseFrame { code, reason: reason.into() };
        // A client too slow or gone will not read this either; one second is enough for all others.
        let _ = timeout(Duration::from_secs(1), socket.send(Message::Close(Some(frame)))).await;
    }
}

/// Talks to a client until either side ends it; says why the server does, if it does.
async fn converse(app: &App, socket: &mut WebSocket) -> Option<(u16, &'static str)> {
    const TOO_SLOW: (u16, &str) = (close_code::AGAIN, "too slow");
    let mut messages = app.live.subscribe();
    if let Some(view) = app.live.public_view() {
        let now = app.clock.now() - app.live.delay();
        let text = serde_json::to_string(&StateMessage::of(&view, now)).ok()?;
        if send(socket, Message::text(text)).await.is_err() {
            return Some(TOO_SLOW);
        }
    }
    let mut pings = interval(PING_INTERVAL);
    pings.tick().await;
    let (mut heard_at, mut heard) = (Instant::now(), 0);
    loop {
        // Receiving from the channel and from the socket both lose nothing when another arm wins.
        let outgoing = tokio::select! {
            () = app.closing_sockets.cancelled() => return Some((close_code::RESTART, "server restarting")),
            message = messages.recv() => match message {
                Ok(text) => Message::Text(text),
                Err(RecvError::Lagged(_)) => return Some(TOO_SLOW),
                Err(RecvError::Closed) => return Some((close_code::RESTART, "server restarting")),
            },
            _ = pings.tick() => {
                if heard_at.elapsed() > SILENCE_LIMIT {
                    return Some((close_code::POLICY, "no answer to pings"));
                }
                heard = 0;
                Message::Ping(axum::body::Bytes::new())
            }
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_))) | None | Some(Err(_)) => return None,
                Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {
                    heard_at = Instant::now();
                    heard += 1;
                    if heard > MAX_MESSAGES_PER_PING {
                        return Some((close_code::POLICY, "too many messages"));
                    }
                    continue;
                }
            },
        };
        if send(socket, outgoing).await.is_err() {
            return Some(TOO_SLOW);
        }
    }
}

/// Fails when the client is gone or takes too long.
async fn send(socket: &mut WebSocket, message: Message) -> Result<(), ()> {
    match timeout(SEND_TIMEOUT, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
