//! Start and stop: refusals, the version, and a drain that loses nothing.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ADMIN_CODE, Setup};

#[tokio::test]
async fn production_without_its_settings_names_all_of_them_and_exits_2() {
    let setup = Setup::new().with("NODE_ENV", "production").with("ADMIN_CODE", "").with("PORT", "http");
    let output = setup.command().output().expect("run");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    for name in ["ADMIN_CODE", "JWT_SECRET", "PORT", "DISABLE_RATE_LIMIT"] {
        assert!(text.contains(name), "{name} is missing in: {text}");
    }
}

#[tokio::test]
async fn a_complete_production_setup_starts() {
    let setup = Setup::new()
        .with("NODE_ENV", "production")
        .with("JWT_SECRET", "0123456789abcdef0123456789abcdef")
        .with("DISABLE_RATE_LIMIT", "false");
    assert_eq!(setup.start().get("/ready").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_version_is_the_same_everywhere() {
    let setup = Setup::new().with("INSTANCE_ID", "box \"7\"");
    let printed = setup.command().arg("--version").output().expect("run").stdout;
    let printed = String::from_utf8(printed).expect("text");
    let server = setup.start();
    let (_, version) = server.get("/api/v1/version").await;
    let (_, health) = server.get("/health").await;
    let commit = version["commit"].as_str().expect("a commit");
    assert!(printed.contains(commit) && printed.contains(version["version"].as_str().expect("a version")));
    assert_eq!((&health["commit"], &health["version"]), (&version["commit"], &version["version"]));
    assert_eq!(health["instance"], "box \"7\"");
    assert!(version["buildTime"].as_str().is_some_and(|time| time.ends_with('Z')));
}

#[tokio::test]
async fn health_has_the_documented_fields() {
    let server = Setup::new().start();
    let (status, health) = server.get("/health").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(health["status"], "healthy");
    assert_eq!((&health["database"], &health["websocket"]), (&json!("connected"), &json!("active")));
    assert_eq!((&health["maintenance"], &health["streaming"]["active"]), (&json!(false), &json!(true)));
    assert!(health["streaming"]["phase"].is_string() && health["instance"].is_null());
    let started = health["started_at"].as_i64().expect("a time");
    assert!(started > 1_600_000_000_000 && health["uptime"].as_i64().is_some_and(|uptime| uptime >= 0));
}

#[tokio::test]
async fn a_database_that_breaks_is_seen_and_one_that_heals_too() {
    let setup = Setup::new();
    let server = setup.start();
    // A table that is gone fails every commit of a duel, as a corrupt file would.
    let database = rusqlite::Connection::open(setup.folder.path().join("duel.db")).expect("opened");
    database.busy_timeout(Duration::from_secs(5)).expect("set");
    database.execute_batch("ALTER TABLE duels RENAME TO lost").expect("renamed");
    let lost = |body: &Value| body["database"] == "disconnected";
    let health = server.until("trouble in /health", "/health", lost).await;
    assert_eq!(health["status"], "degraded", "not yet worth a replacement");
    assert_eq!(server.get("/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
    database.execute_batch("ALTER TABLE lost RENAME TO duels").expect("renamed back");
    server.until("a healed /health", "/health", |body| body["status"] == "healthy").await;
    server.open_duel().await;
}

#[tokio::test]
async fn sigterm_drains_within_its_limit_and_exits_0() {
    // Nothing here is waited out, neither the duel nor the drain: both take longer than the test has patience.
    let setup = Setup::new().cycle(50, 600_000, 100, 50).with("DRAIN_TIMEOUT_MS", "600000");
    let mut server = setup.start();
    server.open_duel().await;
    // A request that would wait for minutes is answered when the stop begins.
    let waiting = server.request(Method::POST, "/admin/maintenance/enter").header("x-admin-code", ADMIN_CODE);
    let waiting = tokio::spawn(waiting.send());
    while server.admin("status", None).await.1["active"] != true {}
    server.signal("TERM");
    assert_eq!(server.exited().await.code(), Some(0));
    let answered = waiting.await.expect("joined").expect("answered");
    assert_eq!(answered.status(), StatusCode::SERVICE_UNAVAILABLE);
    let log = server.log();
    assert!(log.contains("the arena is checkpointed") && log.contains("\"stopped\""), "{log}");
    assert!(!setup.start().log().contains("it crashed"), "a good-bye was left");
}

#[tokio::test]
async fn no_secret_appears_in_any_output_not_even_in_the_most_talkative_log() {
    // A webhook that accepts the connection and says nothing, so that the request is really written.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let webhook =
        format!("http://{}/services/canary-hook?token=canary-token", silent.local_addr().expect("bound"));
    let setup = Setup::new()
        .with("DRAIN_TIMEOUT_MS", "2000")
        .with("LOG_LEVEL", "trace")
        .with("JWT_SECRET", "canary-jwt-0123456789-0123456789-0123")
        .with("JWT_SECRET_PREVIOUS", "canary-old-0123456789-0123456789-0123")
        .with("JWT_PREVIOUS_VALID_UNTIL", "2100-01-01T00:00:00Z")
        .with("ADMIN_CODE", "canary-admin-code")
        .with("ALERT_WEBHOOK_URL", &webhook)
        .with("TWITCH_STREAM_KEY", "canary-stream-key")
        .with("FFMPEG_PATH", "/nonexistent");
    setup.start().crash();
    let mut server = setup.start();
    server.join().await;
    let mut outputs = vec![];
    for path in
        ["/health", "/ready", "/status", "/metrics", "/api/streaming/rtmp/status", "/api/streaming/state"]
    {
        outputs.push(server.get(path).await.1.to_string());
    }
    let admin =
        server.request(Method::GET, "/admin/maintenance/status").header("x-admin-code", "canary-admin-code");
    outputs.push(admin.send().await.expect("answered").text().await.expect("a body"));
    let wrong = server.request(Method::GET, "/api/v1/account").bearer_auth("canary-admin-code");
    outputs.push(wrong.send().await.expect("answered").text().await.expect("a body"));
    server.signal("TERM");
    server.exited().await;
    let log = server.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is talkative");
    outputs.push(log);
    for output in outputs {
        let leak = output.lines().find(|line| line.contains("canary"));
        assert!(leak.is_none(), "{leak:?}");
    }
    let away = Setup::new().with("DATABASE_URL", "postgresql://duel:canary-password@127.0.0.1:1/duel");
    let output = away.with("LOG_LEVEL", "trace").command().output().expect("run");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("cannot connect in the PostgreSQL store") && !text.contains("canary"), "{text}");
}
