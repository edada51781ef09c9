//! The client against servers of both shapes, and against what goes wrong.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::IntoResponse,
};
use serde_json::{Value, json};

use super::*;

/// Far more than any wait takes that does not go on in vain.
const WAIT: Duration = Duration::from_secs(60);

/// What is answered to one verb.
type Answers = (&'static str, VecDeque<(u16, Value)>);

/// Answers in the order they were given, per verb; the last one again and again. And what was asked.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Vec<Answers>>>, Arc<Mutex<Vec<String>>>);

impl Script {
    fn on(self, verb: &'static str, answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        self.0.lock().unwrap().push((verb, answers.into_iter().collect()));
        self
    }

    fn next(&self, verb: &str) -> (u16, Value) {
        let mut verbs = self.0.lock().unwrap();
        let Some((_, answers)) = verbs.iter_mut().find(|(known, _)| *known == verb) else {
            return (404, Value::Null);
        };
        if answers.len() > 1 { answers.pop_front().unwrap() } else { answers.front().cloned().unwrap() }
    }

    fn asked(&self) -> Vec<String> {
        self.1.lock().unwrap().clone()
    }

    async fn serve(&self) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        async fn answer(State(script): State<Script>, uri: Uri, headers: HeaderMap) -> impl IntoResponse {
            let verb = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
            let code = headers.get("x-admin-code").map(|code| code.to_str().unwrap().to_owned());
            assert_eq!(code.as_deref(), Some("the code"));
            let (status, body) = script.next(&verb);
            script.1.lock().unwrap().push(verb);
            (StatusCode::from_u16(status).unwrap(), Json(body))
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Client::new(address, "the code".into()).unwrap()
    }
}

fn state(phase: &str, safe: bool, entered_at: u64, reason: &str) -> Value {
    json!({ "active": true, "enteredAt": entered_at, "reason": reason, "safeToDeploy": safe,
        "currentPhase": phase, "marketStatus": if safe { "resolved" } else { "active" },
        "pendingMarkets": u8::from(!safe) })
}

fn idle() -> Value {
    json!({ "active": false, "enteredAt": null, "reason": null, "safeToDeploy": true, "currentPhase": "FIGHTING",
        "marketStatus": "active", "pendingMarkets": 1, "elapsedMs": null })
}

#[tokio::test]
async fn rest_is_awaited_and_proven_anew_right_before_acting() {
    let script = Script::default().on("enter", [(200, json!({ "success": true, "safeToDeploy": true }))]).on(
        "status",
        [
            (200, state("FIGHTING", false, 7, "mine")),
            (200, state("RESOLUTION", true, 7, "mine")),
            (200, state("IDLE", true, 7, "mine")),
            (200, state("IDLE", true, 7, "mine")),
            // Left and entered again by somebody else.
            (200, state("IDLE", true, 8, "mine")),
            (200, idle()),
        ],
    );
    let client = script.serve().await;
    let entered = client.enter("mine", WAIT).await.unwrap();
    assert_eq!(entered.entered_at, Some(7));
    client.still(&entered).await.unwrap();
    assert!(matches!(client.still(&entered).await, Err(Fault::Lost(_))));
    assert!(matches!(client.still(&entered).await, Err(Fault::Lost(words)) if words.contains("not in")));
}

#[tokio::test]
async fn a_200_that_is_not_safe_is_waited_out_in_vain() {
    let nested = |phase: &str| json!({ "success": true, "status": state(phase, false, 7, "mine") });
    let script =
        Script::default().on("enter", [(200, nested("FIGHTING"))]).on("status", [(200, nested("FIGHTING"))]);
    let client = script.serve().await;
    let fault = client.enter("mine", Duration::from_millis(700)).await.unwrap_err();
    assert!(matches!(&fault, Fault::NoRest { last, .. } if last.contains("FIGHTING")), "{fault:?}");
}

#[tokio::test]
async fn a_504_may_still_come_to_rest_and_a_conflict_may_be_our_own() {
    let timed_out = json!({ "success": false, "message": "Timeout waiting for markets to resolve", "safeToDeploy": false });
    let conflict = json!({ "error": "Conflict", "message": "Maintenance mode already active", "enteredAt": 7, "reason": "mine" });
    for (code, body) in [(504, timed_out), (409, conflict)] {
        let script = Script::default()
            .on("enter", [(code, body)])
            .on("status", [(200, state("IDLE", true, 7, "mine"))]);
        assert!(script.serve().await.enter("mine", WAIT).await.is_ok(), "{code}");
    }
}

#[tokio::test]
async fn what_somebody_else_holds_is_left_to_them() {
    let conflict = json!({ "error": "Conflict", "message": "Maintenance mode already active", "enteredAt": 3, "reason": "theirs" });
    // The documented shape tells by a 409, the original one by a 200 with the other reason.
    let nested = json!({ "success": true, "status": state("IDLE", true, 3, "theirs") });
    for (code, body) in [(409, conflict), (200, nested.clone())] {
        let script = Script::default().on("enter", [(code, body)]).on("status", [(200, nested.clone())]);
        let fault = script.serve().await.enter("mine", WAIT).await.unwrap_err();
        let theirs = Fault::Held { entered_at: Some(3), reason: "theirs".into() };
        assert_eq!(fault, theirs);
        assert!(!script.asked().contains(&"exit".to_owned()));
    }
}

#[tokio::test]
async fn each_refusal_has_its_meaning() {
    let cases = [
        (401, json!({ "error": "Unauthorized" }), Fault::Refused),
        (403, json!({ "error": "Admin panel not configured" }), Fault::Refused),
        (404, json!({ "message": "Route not found" }), Fault::TooOld),
        (429, json!({ "retryAfter": 300 }), Fault::LockedOut(Duration::from_secs(300))),
        (500, json!({ "error": "boom" }), Fault::Strange("500: boom".into())),
        (302, Value::Null, Fault::Strange("302: nothing that is documented".into())),
    ];
    for (code, body, fault) in cases {
        let script = Script::default().on("enter", [(code, body.clone())]).on("status", [(code, body)]);
        let client = script.serve().await;
        assert_eq!(client.enter("mine", WAIT).await.unwrap_err(), fault, "{code}");
        assert_eq!(client.status().await.unwrap_err(), fault, "{code}");
    }
    let nobody = Client::new(([127, 0, 0, 1], 9).into(), "the code".into()).unwrap();
    assert!(matches!(nobody.enter("mine", WAIT).await, Err(Fault::Unreachable(_))));
}

#[tokio::test]
async fn a_short_lock_out_is_waited_for() {
    let script = Script::default()
        .on("enter", [(429, json!({ "retryAfter": 0 })), (200, json!({}))])
        .on("status", [(200, state("IDLE", true, 7, "mine"))]);
    assert!(script.serve().await.enter("mine", WAIT).await.is_ok());
    assert_eq!(script.asked().iter().filter(|verb| *verb == "enter").count(), 2);
}

#[tokio::test]
async fn leaving_is_done_when_it_is_over_however_it_ended() {
    let inactive = json!({ "error": "Conflict", "message": "Maintenance mode not active" });
    for answers in [
        vec![(200, json!({ "success": true, "duration": 5 }))],
        vec![(409, inactive)],
        vec![(503, json!({})), (500, json!({})), (200, json!({ "success": true }))],
    ] {
        Script::default().on("exit", answers).serve().await.exit(WAIT).await.unwrap();
    }
    let refused = Script::default().on("exit", [(401, json!({}))]).serve().await;
    assert_eq!(refused.exit(WAIT).await.unwrap_err(), Fault::Refused);
    let broken = Script::default().on("exit", [(500, json!({ "error": "boom" }))]).serve().await;
    assert!(matches!(broken.exit(Duration::from_millis(300)).await, Err(Fault::Strange(_))));
}
