//! Live state: what WebSockets get, when, and how they are let go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::harness::{PATIENCE, Server, Setup};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(server: &Server) -> Socket {
    connect_async(format!("ws://{}/ws", server.address)).await.expect("a WebSocket").0
}

/// A client with a small receive buffer, so that not reading is soon noticed.
async fn connect_narrow(server: &Server) -> WebSocketStream<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    let stream = socket.connect(server.address).await.expect("connected");
    let url = format!("ws://{}/ws", server.address);
    tokio_tungstenite::client_async(url, stream).await.expect("a WebSocket").0
}

async fn next_state(socket: &mut Socket) -> Value {
    loop {
        let message =
            timeout(PATIENCE, socket.next()).await.expect("in time").expect("open").expect("readable");
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).expect("JSON");
        }
    }
}

#[tokio::test]
async fn every_phase_and_every_bet_reaches_every_client() {
    let server = Setup::new().cycle(50, 10_000, 1_000, 1_000).start();
    let mut sockets = vec![connect(&server).await, connect(&server).await, connect(&server).await];
    let player = server.join().await;
    let duel = server.open_duel_for(7_000).await;
    assert_eq!(server.bet(&player, duel, "b", 1234, "k").await.0, 201);
    for socket in &mut sockets {
        let mut seen = Vec::new();
        let mut pool_seen = false;
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let state = next_state(socket).await;
            assert_eq!(state["type"], "STREAMING_STATE_UPDATE");
            pool_seen |= state["market"]["poolCents"][1] == 1234;
            let step = (state["cycle"]["phase"].clone(), state["market"]["status"].clone());
            if seen.last() != Some(&step) {
                seen.push(step);
            }
            let complete = ["OPEN", "LOCKED", "RESOLVED"]
                .iter()
                .all(|status| seen.iter().any(|(_, market)| market == status));
            if complete && pool_seen && seen.iter().any(|(phase, _)| phase == "ANNOUNCEMENT") {
                break;
            }
        }
        let phases: Vec<&str> = seen.iter().filter_map(|(phase, _)| phase.as_str()).collect();
        for phase in ["COUNTDOWN", "FIGHTING", "ANNOUNCEMENT"] {
            assert!(phases.contains(&phase), "{phase} missing in {phases:?}");
        }
        assert!(pool_seen, "the bet was never shown");
    }
}

#[tokio::test]
async fn a_stopping_server_closes_its_sockets_with_a_reason() {
    let mut server = Setup::new().start();
    let mut socket = connect(&server).await;
    next_state(&mut socket).await;
    server.signal("TERM");
    let frame = loop {
        match timeout(PATIENCE, socket.next()).await.expect("in time") {
            Some(Ok(Message::Close(frame))) => break frame.expect("a reason"),
            Some(Ok(_)) => {}
            other => panic!("the socket ended without a reason: {other:?}"),
        }
    };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1012, "server restarting"));
    assert_eq!(server.exited().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_is_dropped_and_others_are_not() {
    // Some 25 changes a second for a reader, and sockets that read nothing: their backlog fills and they are let go. Not
    // hundreds: a reader that stands still for some seconds is not to be taken for one of them.
    let server = Setup::new().cycle(50, 50, 50, 50).start();
    let mut reader = connect(&server).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(connect_narrow(&server).await);
    }
    // It reads whatever else is done here, or it would be a slow one itself.
    let states = Arc::new(Notify::new());
    let news = Arc::clone(&states);
    let mut reading = tokio::spawn(async move {
        loop {
            next_state(&mut reader).await;
            news.notify_one();
        }
    });
    let started = Instant::now();
    loop {
        tokio::select! {
            () = states.notified() => {}
            ended = &mut reading => panic!("the reader was dropped as well: {ended:?}"),
        }
        let (_, metrics) = server.get("/metrics").await;
        let metrics = metrics.as_str().unwrap_or_default();
        let dropped = |line: &str| line.starts_with("duel_websocket_dropped_total{outcome=\"too slow\"}");
        let count = metrics.lines().find(|line| dropped(line)).and_then(|line| line.rsplit(' ').next());
        if count == Some("3") {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "slow readers are kept");
    }
    for _ in 0..2 {
        timeout(PATIENCE, states.notified()).await.expect("the reader is told on");
    }
    reading.abort();
}

#[tokio::test]
async fn a_client_that_talks_too_much_or_sends_too_large_a_message_is_closed() {
    let server = Setup::new().start();
    let mut chatty = connect(&server).await;
    for _ in 0..150 {
        // The server may close while we are still talking.
        if chatty.send(Message::text("hello")).await.is_err() {
            break;
        }
    }
    let mut large = connect(&server).await;
    let _ = large.send(Message::text("x".repeat(64 * 1024))).await;
    for mut socket in [chatty, large] {
        let ended = async {
            while let Some(Ok(message)) = socket.next().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
            }
        };
        timeout(PATIENCE, ended).await.expect("closed");
    }
    assert_eq!(server.get("/health").await.0, 200);
}

#[tokio::test]
async fn a_public_delay_holds_the_state_back() {
    // The delay runs before the server listens: long enough for the first answer to come within it.
    let server = Setup::new().with("STREAMING_PUBLIC_DELAY_MS", "8000").start();
    let (status, problem) = server.get("/api/streaming/state").await;
    assert_eq!((status.as_u16(), &problem["status"]), (503, &Value::from(503)), "{problem}");
    let started = server.get("/health").await.1["started_at"].as_i64().expect("a time");
    let state =
        server.until("the first state", "/api/streaming/state", |body| body["cycle"].is_object()).await;
    let uptime = server.get("/health").await.1["uptime"].as_i64().expect("a duration");
    assert!(uptime >= 8_000, "shown after {uptime} ms");
    assert!(state["cycle"]["phaseStartTime"].as_i64().is_some_and(|at| at >= started));
}

#[tokio::test]
async fn the_watch_page_and_its_files_are_served_with_a_strict_policy() {
    let server = Setup::new().start();
    for (path, needle) in [("/", "watch.js"), ("/watch.js", "WebSocket"), ("/watch.css", "color-scheme")] {
        let response = server.client.get(server.url(path)).send().await.expect("answered");
        let policy = response.headers()["content-security-policy"].to_str().expect("text").to_owned();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(response.text().await.expect("a body").contains(needle), "{path}");
    }
}
