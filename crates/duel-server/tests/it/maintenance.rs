//! The maintenance API over the wire, field by field as its reference says.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ADMIN_CODE, Setup, answer};

fn fields(body: &Value) -> BTreeSet<&str> {
    body.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test]
async fn entering_waits_for_the_running_duel_and_says_when_it_is_safe() {
    let server = Setup::new().cycle(50, 10_000, 200, 100).start();
    let player = server.join().await;
    let duel = server.open_duel_for(7_000).await;
    assert_eq!(server.bet(&player, duel, "a", 100, "k").await.0, StatusCode::CREATED);

    let (status, body) =
        server.admin("enter", Some(json!({ "reason": "deployment", "timeoutMs": 60_000 }))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let documented = "success message safeToDeploy currentPhase marketStatus pendingMarkets enteredAt";
    assert_eq!(fields(&body), documented.split(' ').collect());
    let expected = json!({ "success": true, "message": "Maintenance mode activated", "safeToDeploy": true,
        "currentPhase": "IDLE", "marketStatus": "resolved", "pendingMarkets": 0, "enteredAt": body["enteredAt"] });
    assert_eq!(body, expected);
    assert_eq!(
        server.balance(&player).await,
        100_000,
        "the only bettor got the stake back: the market was resolved"
    );

    let (status, conflict) = server.admin("enter", None).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let expected = json!({ "error": "Conflict", "message": "Maintenance mode already active",
        "enteredAt": body["enteredAt"], "reason": "deployment" });
    assert_eq!(conflict, expected);

    let (_, report) = server.admin("status", None).await;
    let documented =
        "active enteredAt reason safeToDeploy currentPhase marketStatus pendingMarkets elapsedMs";
    assert_eq!(fields(&report), documented.split(' ').collect());
    assert_eq!((&report["active"], &report["reason"]), (&json!(true), &json!("deployment")));
    assert!(report["elapsedMs"].as_i64().is_some_and(|elapsed| elapsed >= 0));
    assert_eq!(server.get("/health").await.1["maintenance"], true);

    let (status, left) = server.admin("exit", None).await;
    assert_eq!((status, &left["success"]), (StatusCode::OK, &json!(true)));
    assert_eq!(left["message"], "Maintenance mode deactivated");
    assert!(left["duration"].as_i64().is_some_and(|duration| duration > 0));
    assert_eq!(server.get("/health").await.1["maintenance"], false);
    assert!(server.open_duel().await > duel, "duels go on");
}

#[tokio::test]
async fn no_duel_starts_while_in_maintenance_not_even_at_the_end_of_a_cycle() {
    let setup = Setup::new().cycle(1, 40, 40, 20);
    for _ in 0..5 {
        let server = setup.start();
        server.until_phase("ANNOUNCEMENT").await;
        let (status, body) = server.admin("enter", None).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let (_, before) = server.get("/api/v1/duels?limit=1").await;
        // Long enough for two whole cycles to have happened, were they not stopped.
        let watched = server.until("a long enough maintenance", "/status", |_| true).await;
        assert_eq!(watched["phase"], "IDLE");
        let settled = tokio::time::Instant::now() + Duration::from_millis(250);
        while tokio::time::Instant::now() < settled {
            let (_, report) = server.admin("status", None).await;
            assert_eq!((&report["safeToDeploy"], &report["currentPhase"]), (&json!(true), &json!("IDLE")));
        }
        let (_, after) = server.get("/api/v1/duels?limit=1").await;
        assert_eq!(before["duels"][0]["duelId"], after["duels"][0]["duelId"]);
    }
}

#[tokio::test]
async fn entering_locks_an_open_market_and_leaving_opens_it_again() {
    let server = Setup::new().cycle(50, 600_000, 100, 50).start();
    let player = server.join().await;
    let duel = server.open_duel().await;
    let (status, body) = server.admin("enter", Some(json!({ "timeoutMs": 0 }))).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    let expected = json!({ "success": false, "message": "Timeout waiting for markets to resolve",
        "safeToDeploy": false, "currentPhase": "COUNTDOWN", "marketStatus": "locked", "pendingMarkets": 1,
        "timeoutMs": 0 });
    assert_eq!(body, expected);
    let (status, refused) = server.bet(&player, duel, "a", 100, "k").await;
    assert_eq!((status, &refused["marketStatus"]), (StatusCode::CONFLICT, &json!("LOCKED")));
    let (_, report) = server.admin("status", None).await;
    assert_eq!(
        (&report["active"], &report["safeToDeploy"]),
        (&json!(true), &json!(false)),
        "a timeout stays on"
    );
    assert_eq!(server.admin("exit", None).await.0, StatusCode::OK);
    assert_eq!(server.bet(&player, duel, "a", 100, "k").await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_wait_whose_client_hung_up_still_ends_in_safety() {
    let server = Setup::new().cycle(50, 5_000, 200, 100).start();
    server.open_duel().await;
    let request = server.request(Method::POST, "/admin/maintenance/enter").header("x-admin-code", ADMIN_CODE);
    let waiting = tokio::spawn(request.send());
    server.until("maintenance", "/health", |body| body["maintenance"] == true).await;
    waiting.abort();
    let started = tokio::time::Instant::now();
    loop {
        let (_, report) = server.admin("status", None).await;
        assert_eq!(report["active"], true);
        if report["safeToDeploy"] == true {
            break;
        }
        assert!(started.elapsed() < crate::harness::PATIENCE);
    }
}

#[tokio::test]
async fn leaving_answers_the_one_who_still_waits() {
    let server = Setup::new().cycle(50, 600_000, 100, 50).start();
    server.open_duel().await;
    let waiting = server.admin("enter", None);
    let leaving = async {
        while server.admin("status", None).await.1["active"] != true {
            // The server has other things to do than to be asked this.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.admin("exit", None).await
    };
    let ((status, body), (left, _)) = tokio::join!(waiting, leaving);
    assert_eq!((status, left), (StatusCode::CONFLICT, StatusCode::OK), "{body}");
    let (status, body) = server.admin("exit", None).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(body, json!({ "error": "Conflict", "message": "Maintenance mode not active" }));
    let (_, report) = server.admin("status", None).await;
    assert_eq!((&report["active"], &report["safeToDeploy"]), (&json!(false), &json!(true)));
    for null in ["enteredAt", "reason", "elapsedMs"] {
        assert!(report[null].is_null(), "{null}");
    }
}

#[tokio::test]
async fn wrong_codes_are_401_and_then_429_even_with_the_right_one() {
    let server = Setup::new().start();
    let ask = |code: Option<&'static [u8]>| {
        let request = server.request(Method::GET, "/admin/maintenance/status");
        match code {
            Some(code) => request.header("x-admin-code", code),
            None => request,
        }
    };
    let unauthorized = json!({ "error": "Unauthorized", "message": "Invalid or missing admin code" });
    for _ in 0..10 {
        assert_eq!(answer(ask(None)).await, (StatusCode::UNAUTHORIZED, unauthorized.clone()));
    }
    for wrong in [&b"x"[..], b"the-admin-cod", b"the-admin-code2", b"\xff\xfe", b"THE-ADMIN-CODE"] {
        assert_eq!(answer(ask(Some(wrong))).await, (StatusCode::UNAUTHORIZED, unauthorized.clone()));
    }
    let response = ask(Some(ADMIN_CODE.as_bytes())).send().await.expect("answered");
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = response.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((290..=300).contains(&wait), "{wait}");
    assert!(!server.log().contains("the-admin-cod"), "no code, right or wrong, is logged");
}

#[tokio::test]
async fn nonsense_is_a_400_and_changes_nothing() {
    let server = Setup::new().start();
    for body in [
        r#"{"timeoutMs":-1}"#,
        r#"{"timeoutMs":1e300}"#,
        r#"{"timeoutMs":"300000"}"#,
        r#"{"timeoutMs":1.5}"#,
        r#"{"reason":5}"#,
        r#"{"reason":"#,
        "[]",
        "[null, null]",
        "null",
        "\u{1F980}",
    ] {
        let request =
            server.request(Method::POST, "/admin/maintenance/enter").header("x-admin-code", ADMIN_CODE);
        let (status, answer) = answer(request.header("content-type", "application/json").body(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
    }
    assert_eq!(server.admin("status", None).await.1["active"], false);
}

#[tokio::test]
async fn a_restart_ends_maintenance_unless_it_is_told_to_keep_it() {
    let setup = Setup::new();
    for (setup, kept) in [(setup, false), (Setup::new().with("MAINTENANCE_PERSIST", "true"), true)] {
        let mut server = setup.start();
        assert_eq!(server.admin("enter", Some(json!({ "reason": "move" }))).await.0, StatusCode::OK);
        server.signal("TERM");
        assert_eq!(server.exited().await.code(), Some(0));
        let server = setup.start();
        let (_, report) = server.admin("status", None).await;
        assert_eq!(report["active"], kept, "{report}");
        if kept {
            assert_eq!((&report["reason"], &report["safeToDeploy"]), (&json!("move"), &json!(true)));
        }
    }
}

#[tokio::test]
async fn a_server_started_in_maintenance_opens_its_doors_only_on_request() {
    let setup = Setup::new();
    let server = setup.try_start(&["--start-in-maintenance"]).expect("starts");
    let (_, report) = server.admin("status", None).await;
    assert_eq!((&report["active"], &report["safeToDeploy"]), (&json!(true), &json!(true)), "{report}");
    assert_eq!(server.get("/api/v1/duels").await.1["duels"], json!([]));
    assert_eq!(server.admin("exit", None).await.0, StatusCode::OK);
    server.open_duel().await;
}

#[tokio::test]
async fn every_step_of_maintenance_is_in_the_audit_trail() {
    let setup = Setup::new();
    let mut server = setup.start();
    assert_eq!(server.admin("enter", Some(json!({ "reason": "audit me" }))).await.0, StatusCode::OK);
    assert_eq!(server.admin("exit", None).await.0, StatusCode::OK);
    server.signal("TERM");
    server.exited().await;
    let books = crate::harness::audit(&setup);
    let trail: Vec<(&str, &str)> = books["books"]["trail"]
        .as_array()
        .expect("lines")
        .iter()
        .rev()
        .filter_map(|line| Some((line["kind"].as_str()?, line["detail"].as_str()?)))
        .collect();
    let kinds: Vec<&str> = trail.iter().map(|(kind, _)| *kind).collect();
    let expected =
        ["server_started", "maintenance_entered", "maintenance_safe", "maintenance_exited", "server_stopped"];
    assert_eq!(kinds, expected);
    assert_eq!(trail[1].1, "audit me");
}
