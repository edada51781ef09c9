//! Alerts: what a webhook receives, over the wire.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Setup};

/// Remembers what it is told; the first message it refuses with 500, as an overloaded webhook would.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<Value>>>);

impl Receiver {
    async fn start() -> (Self, String) {
        let receiver = Self::default();
        let app =
            Router::new().route("/hook/the-secret-path", post(Self::receive)).with_state(receiver.clone());
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}/hook/the-secret-path", socket.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(socket, app).await });
        (receiver, url)
    }

    async fn receive(State(Self(told)): State<Self>, axum::Json(body): axum::Json<Value>) -> StatusCode {
        let mut told = told.lock().expect("not poisoned");
        told.push(body);
        if told.len() == 1 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    }

    async fn until(&self, satisfied: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let found = self.0.lock().expect("not poisoned").iter().find(|body| satisfied(body)).cloned();
            if let Some(body) = found {
                return body;
            }
            assert!(started.elapsed() < PATIENCE, "not told: {:?}", self.0);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_crash_a_lost_database_and_a_maintenance_timeout_are_told() {
    let (receiver, url) = Receiver::start().await;
    let setup = Setup::new()
        .cycle(50, 1_000, 200, 100)
        .with("ALERT_WEBHOOK_URL", &url)
        .with("ALERT_WEBHOOK_KIND", "json")
        .with("INSTANCE_ID", "box-1");
    setup.start().crash();
    let server = setup.start();
    let crashed = receiver.until(|body| body["kind"] == "server-crashed").await;
    assert_eq!((&crashed["severity"], &crashed["origin"]), (&json!("critical"), &json!("box-1")));
    let tries = || receiver.0.lock().expect("not poisoned").iter().filter(|it| **it == crashed).count();
    let started = Instant::now();
    while tries() < 2 {
        assert!(started.elapsed() < PATIENCE, "a refused alert is sent again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    server.open_duel().await;
    assert_eq!(server.admin("enter", Some(json!({ "timeoutMs": 1 }))).await.0, 504);
    receiver.until(|body| body["kind"] == "maintenance-timeout" && body["severity"] == "critical").await;
    assert_eq!(server.admin("exit", None).await.0, 200);

    let database = rusqlite::Connection::open(setup.folder.path().join("duel.db")).expect("opened");
    database.busy_timeout(Duration::from_secs(5)).expect("set");
    database.execute_batch("ALTER TABLE duels RENAME TO lost").expect("renamed");
    receiver.until(|body| body["kind"] == "database-lost" && body["severity"] == "critical").await;
    database.execute_batch("ALTER TABLE lost RENAME TO duels").expect("renamed back");
    receiver.until(|body| body["kind"] == "database-lost" && body["severity"] == "info").await;
    assert!(!server.log().contains("the-secret-path"), "the webhook's address is a secret");
}

#[tokio::test]
async fn slack_and_discord_get_their_own_shapes() {
    for (kind, field) in [("slack", "text"), ("discord", "content")] {
        let (receiver, url) = Receiver::start().await;
        let setup = Setup::new().with("ALERT_WEBHOOK_URL", &url).with("ALERT_WEBHOOK_KIND", kind);
        setup.start().crash();
        let _server = setup.start();
        let told = receiver.until(|body| body[field].is_string()).await;
        assert!(told[field].as_str().is_some_and(|text| text.starts_with("critical: ")), "{told}");
    }
}
