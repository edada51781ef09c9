//! Creates: every answer the provider is known to give, and every way in which it gives none.

use std::time::Duration;

use serde_json::json;

use super::{
    KEY, client, client_for, config, create, create_within,
    fake::{Answer, Fake, json as reply, refusal},
};
use crate::{
    fleet::{
        name::InstanceId,
        provider::{CreateAnswer, ProviderFault},
    },
    vast::Vast,
};

/// The answer to one create, and the proof that it was sent exactly once.
async fn answer_to(answer: Answer) -> CreateAnswer {
    let fake = Fake::always(answer.clone()).await;
    let outcome = create(&client_for(&answer, &fake)).await;
    let seen = fake.seen();
    assert_eq!(seen.len(), 1, "{answer:?} made it send {seen:?}");
    outcome
}

#[tokio::test]
async fn the_request_carries_label_identity_port_and_nothing_twice() {
    let fake =
        Fake::always(reply(200, json!({"success": true, "new_contract": 7, "instance_api_key": "s"}))).await;
    assert_eq!(create(&client(&fake)).await, CreateAnswer::Created(InstanceId(7)));
    let seen = fake.seen().remove(0);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PUT", "/api/v0/asks/71/"));
    assert!(seen.head.contains(&format!("authorization: bearer {KEY}")), "{}", seen.head);
    assert!(seen.head.contains("content-type: application/json"), "{}", seen.head);
    let op = super::label().op;
    assert_eq!(
        seen.body,
        json!({
            "image": "nvidia/cuda:12.4.0-runtime-ubuntu22.04", "disk": 120, "label": format!("vk:prod:duel-0:{op}"),
            "env": {"-p 5555:5555": "1", "INSTANCE_ID": op, "VK_NODE": "duel-0"},
            "runtype": "ssh_direct", "target_state": "running", "cancel_unavail": true,
        })
    );
}

#[tokio::test]
async fn an_id_is_created_only_with_success() {
    let created = CreateAnswer::Created(InstanceId(7));
    assert_eq!(answer_to(reply(200, json!({"success": true, "new_contract": "7"}))).await, created);
    for answer in [
        reply(200, json!({"success": false, "error": "bid_too_low", "new_contract": 7})),
        reply(400, json!({"success": false, "error": "invalid_price", "msg": "too low", "new_contract": 7})),
        reply(410, json!({"success": false, "error": "no_such_ask", "new_contract": 7})),
        reply(500, json!({"success": true, "new_contract": 7})),
        reply(200, json!({"new_contract": 7})),
        reply(200, json!({"success": true, "error": "stopped", "new_contract": 7})),
    ] {
        let outcome = answer_to(answer).await;
        assert!(matches!(&outcome, CreateAnswer::CreatedBroken(InstanceId(7), _)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_taken_offer_is_known_by_its_words_whatever_the_status() {
    for answer in [
        refusal(404, "invalid_args", "error 404/3603: no_such_ask Instance type by id 71 is not available."),
        refusal(410, "no_such_ask", "error 410/3907: no_such_ask Instance type 71 is no longer available."),
        refusal(400, "no_such_ask", "gone"),
        refusal(200, "no_such_ask", "gone"),
        refusal(403, "invalid_args", "error 403/3586: Offer 71 is not your own"),
    ] {
        let outcome = answer_to(answer).await;
        assert!(matches!(&outcome, CreateAnswer::OfferGone(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_refusal_says_whom_it_concerns() {
    let fault = |outcome: CreateAnswer| match outcome {
        CreateAnswer::Refused(fault) => fault,
        other => panic!("{other:?}"),
    };
    for (status, error, msg) in [
        (404, "auth_error", "Invalid user key"),
        (401, "auth_error", "Invalid user key"),
        (403, "forbidden", "instance_write is missing"),
        (401, "", "Two Factor Authentication"),
    ] {
        let fault = fault(answer_to(refusal(status, error, msg)).await);
        assert!(matches!(&fault, ProviderFault::Auth { .. }), "{fault:?}");
    }
    for error in ["insufficient_credit", "spend_rate_limit", "missing_billing"] {
        let fault = fault(answer_to(refusal(400, error, "")).await);
        assert!(matches!(&fault, ProviderFault::Credit { .. }), "{fault:?}");
    }
    let wrong = fault(answer_to(refusal(400, "invalid_args", "error 400/3467: Invalid args: disk")).await);
    let detail = "invalid_args: error 400/3467: Invalid args: disk".to_owned();
    assert_eq!(wrong, ProviderFault::Refused { detail });
}

#[tokio::test]
async fn every_shape_of_a_429_is_a_refusal_with_its_wait() {
    let text = |body: &str| Answer::Http(429, "text/plain", body.to_owned());
    for (answer, wait_ms) in [
        (text("API requests too frequent"), None),
        (text("API requests too frequent: endpoint threshold=4.5"), Some(4500)),
        (reply(429, json!({"detail": "API requests too frequent endpoint threshold=4.5"})), Some(4500)),
        (refusal(429, "rate_limit_exceeded", "API requests too frequent endpoint threshold=3.0"), Some(3000)),
        (Answer::With(429, "retry-after: 2\r\n", json!({"error": "rate_limit_exceeded"})), Some(2000)),
        (reply(429, json!({"error": "rate_limit_exceeded", "retry_after": 7})), Some(7000)),
    ] {
        let outcome = answer_to(answer).await;
        let fault = ProviderFault::RateLimited { retry_after_ms: wait_ms };
        assert_eq!(outcome, CreateAnswer::Refused(fault));
    }
    let proxy = answer_to(Answer::Http(429, "text/html", "<html>slow down</html>".into())).await;
    assert!(matches!(&proxy, CreateAnswer::Ambiguous(_)), "{proxy:?}");
}

#[tokio::test]
async fn what_may_have_rented_is_ambiguous_and_never_sent_again() {
    let html = |status| Answer::Http(status, "text/html", "<html>bad gateway</html>".into());
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n{\"success\": true, \"new_contr";
    let long = format!("{{\"success\": true, \"filler\": \"{}\", \"new_contract\": 7}}", "x".repeat(70_000));
    for answer in [
        html(200),
        html(403),
        html(404),
        html(502),
        reply(500, json!({"success": false, "error": "no_such_ask"})),
        reply(503, json!({"error": "auth_error"})),
        reply(200, json!({})),
        reply(200, json!({"success": true})),
        reply(200, json!([{"new_contract": 7}])),
        reply(200, json!({"success": true, "new_contract": "seven"})),
        reply(200, json!({"success": false, "error": "something new"})),
        reply(400, json!({"success": false, "error": "invalid_args", "results": [{"new_contract": 7}]})),
        reply(404, json!({})),
        reply(408, json!({"error": "request timeout"})),
        reply(409, json!({"error": "conflict"})),
        refusal(
            200,
            "resources_unavailable",
            "Required resources are currently unavailable, state change queued.",
        ),
        reply(400, json!({"error": "invalid_args", "also": ["required, state change queued"]})),
        Answer::Http(200, "application/json", "{\"success\": true, \"new_con".into()),
        Answer::Http(200, "application/json", String::new()),
        Answer::Http(200, "application/json", long),
        Answer::Cut(cut.into()),
        Answer::Cut("HTTP/1.1 garbage".into()),
        Answer::Close,
        Answer::Hang,
    ] {
        let outcome = answer_to(answer.clone()).await;
        assert!(matches!(&outcome, CreateAnswer::Ambiguous(_)), "{answer:?} became {outcome:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 307, 308] {
        let outcome = answer_to(Answer::With(status, "location: /api/v0/asks/72/\r\n", json!({}))).await;
        assert!(matches!(&outcome, CreateAnswer::Ambiguous(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn what_never_left_was_not_sent() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let refused = create(&Vast::new(config(&url)).unwrap()).await;
    assert!(matches!(&refused, CreateAnswer::NotSent(why) if why.contains("refused")), "{refused:?}");

    let no_tls = Fake::always(Answer::Close).await;
    let url = no_tls.url().as_str().replace("http:", "https:");
    let outcome = create(&Vast::new(config(&url)).unwrap()).await;
    assert!(matches!(&outcome, CreateAnswer::NotSent(_)), "TLS that hangs: {outcome:?}");
    assert!(no_tls.seen().is_empty());
}

#[tokio::test]
async fn an_expired_create_is_not_sent() {
    let fake = Fake::always(reply(200, json!({"success": true, "new_contract": 7}))).await;
    let vast = client(&fake);
    // Let the clock move on by a millisecond, so that "now" is past.
    let start = vast.clock.now();
    while vast.clock.now() <= start {
        tokio::task::yield_now().await;
    }
    let (label, rental) = (super::label(), crate::fleet::policy::RentalSpec::default());
    let offer = crate::fleet::name::OfferId(71);
    let outcome = vast.create(crate::vast::CreateRequest {
        offer,
        label: &label,
        rental: &rental,
        bid: None,
        not_after: start,
    });
    let outcome = outcome.await;
    assert!(matches!(&outcome, CreateAnswer::NotSent(why) if why.contains("expired")), "{outcome:?}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_connection_that_takes_past_the_expiry_is_given_up() {
    let silent = Fake::always(Answer::Close).await;
    let url = silent.url().as_str().replace("http:", "https:");
    let mut config = config(&url);
    config.timeout = Duration::from_secs(60);
    let vast = Vast::new(config).unwrap();
    // The machine may stand still for one of them.
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let started = vast.clock.now();
        let outcome = create_within(&vast, Duration::from_millis(150)).await;
        assert!(matches!(&outcome, CreateAnswer::NotSent(_)), "{outcome:?}");
        quickest = quickest.min(started.until(vast.clock.now()));
    }
    assert!(quickest < Duration::from_secs(4), "it waited for the usual connect limit");
}

#[tokio::test]
async fn secrets_of_the_answer_go_no_further() {
    let bare = json!({"success": true, "instance_api_key": "contract-secret"});
    let outcome = format!("{:?}", answer_to(reply(200, bare)).await);
    assert!(!outcome.contains("contract-secret"), "{outcome}");
    let echo = format!("Invalid user key {KEY}");
    let outcome = format!("{:?}", answer_to(refusal(404, "auth_error", &echo)).await);
    assert!(outcome.contains("Invalid user key ***") && !outcome.contains(KEY), "{outcome}");
}
