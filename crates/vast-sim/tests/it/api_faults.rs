//! Faults of the API: outages, lost answers, lies.

use std::pin::pin;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use vast_sim::{ApiBreak, Fault, FaultKind, GoneStatus, RateLimitBody, RentalEnd};

use crate::bench::{Bench, PASSING_S, eventually};

async fn create(bench: &Bench, offer: u64) -> Result<crate::bench::Answer, reqwest::Error> {
    bench.try_call(Method::PUT, &format!("/api/v0/asks/{offer}/"), bench.launch("vk:a", "")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_shows_in_every_form_and_ends_when_cleared() {
    let bench = Bench::start().await;
    let path = "/api/v1/instances/";
    for (how, status, is_json) in [
        (ApiBreak::Html502, 502, false),
        (ApiBreak::Html504, 504, false),
        (ApiBreak::Html404, 404, false),
        (ApiBreak::Json500, 500, true),
        (ApiBreak::Garbage, 200, false),
        (ApiBreak::EmptyObject, 200, true),
    ] {
        let id = bench.sim.inject(Fault::lasting(FaultKind::ApiOutage { how })).expect("a rule");
        let answer = bench.try_call(Method::GET, path, Value::Null).await.expect("an answer");
        assert_eq!(answer.status.as_u16(), status, "{how:?}");
        assert_eq!(serde_json::from_str::<Value>(&answer.text).is_ok(), is_json, "{how:?}: {}", answer.text);
        assert!(bench.sim.clear_fault(id));
        assert_eq!(bench.sim.calls().last().map(|call| call.faults.clone()), Some(vec![id]));
    }
    for how in [ApiBreak::Reset, ApiBreak::Truncated] {
        bench.sim.inject(Fault::once(FaultKind::ApiOutage { how })).expect("a rule");
        assert!(bench.try_call(Method::GET, path, Value::Null).await.is_err(), "{how:?}");
        assert!(bench.try_call(Method::GET, path, Value::Null).await.is_ok(), "once is once");
    }
    let id = bench.sim.inject(Fault::once(FaultKind::ApiOutage { how: ApiBreak::Hang })).expect("a rule");
    let struck = || bench.sim.calls().into_iter().find(|call| call.faults.contains(&id));
    let mut hanging = pin!(bench.try_call(Method::GET, path, Value::Null));
    tokio::select! {
        answer = &mut hanging => panic!("answered: {answer:?}"),
        _ = eventually("it has arrived and is struck", || async { struck() }) => {}
    }
    assert!(tokio::time::timeout(Duration::from_millis(300), hanging).await.is_err());
    assert_eq!(struck().and_then(|call| call.status), None, "no answer is no status");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_create_reply_still_rents_exactly_one_box() {
    for how in [ApiBreak::Reset, ApiBreak::Html502, ApiBreak::Truncated, ApiBreak::EmptyObject] {
        let bench = Bench::start().await;
        let fault = bench.sim.inject(Fault::lost_create_reply(how).on_label("vk:")).expect("a rule");
        let offer = bench.offers(1).await[0];
        let readable =
            create(&bench, offer).await.ok().and_then(|answer| serde_json::from_str(&answer.text).ok());
        let id = readable.and_then(|body: Value| body["new_contract"].as_u64());
        assert_eq!(id, None, "{how:?}: the caller never learns the id");
        let ledger = bench.sim.ledger();
        assert_eq!(ledger.rentals.len(), 1, "{how:?}");
        assert_eq!(ledger.rentals[0].label.as_deref(), Some("vk:a"));
        let call = bench.sim.calls().into_iter().find(|call| call.endpoint == "create").expect("recorded");
        assert_eq!((call.faults, call.instances), (vec![fault], vec![ledger.rentals[0].instance]));
        eventually("it can be found by its label", || async {
            (bench.rows().await.len() == 1).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_fail_in_every_documented_way_without_renting() {
    let bench = Bench::start().await;
    let offer = bench.offers(1).await[0];
    for (kind, status, error) in [
        (FaultKind::OfferGone { status: GoneStatus::Gone }, 410, "no_such_ask"),
        (FaultKind::OfferGone { status: GoneStatus::NotFound }, 404, "invalid_args"),
        (FaultKind::OfferGone { status: GoneStatus::BadRequest }, 400, "no_such_ask"),
        (FaultKind::InsufficientCredit, 400, "insufficient_credit"),
        (FaultKind::SpendRateLimit, 400, "spend_rate_limit"),
    ] {
        bench.sim.inject(Fault::once(kind.clone())).expect("a rule");
        let refused = create(&bench, offer).await.expect("an answer");
        assert_eq!(
            (refused.status.as_u16(), refused.json()["error"].as_str()),
            (status, Some(error)),
            "{kind:?}"
        );
    }
    assert_eq!(bench.sim.ledger().rentals.len(), 0);
    bench.sim.inject(Fault::once(FaultKind::CreateErrorWithContract)).expect("a rule");
    let failed = create(&bench, offer).await.expect("an answer");
    assert_eq!(failed.status, 400);
    let id = failed.json()["new_contract"].as_u64().expect("a box to account for");
    assert_eq!(bench.row(id).await["cur_state"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_comes_in_four_shapes_with_and_without_retry_after() {
    let bench = Bench::start().await;
    for (body, is_json) in [
        (RateLimitBody::Text, false),
        (RateLimitBody::TextThreshold, false),
        (RateLimitBody::Detail, true),
        (RateLimitBody::Envelope, true),
    ] {
        for retry_after in [None, Some(3)] {
            bench.sim.inject(Fault::once(FaultKind::RateLimited { body, retry_after })).expect("a rule");
            let answer = bench.call(Method::GET, "/api/v1/instances/", Value::Null).await;
            assert_eq!(answer.status, 429);
            assert_eq!(answer.retry_after, retry_after.map(|seconds| seconds.to_string()));
            assert_eq!(serde_json::from_str::<Value>(&answer.text).is_ok(), is_json, "{}", answer.text);
            assert!(answer.text.contains("API requests too frequent"));
        }
    }
    bench.sim.inject(Fault::once(FaultKind::SearchQuota { resets_in_s: Some(30) })).expect("a rule");
    assert_eq!(bench.call(Method::GET, "/api/v1/instances/", Value::Null).await.status, 200, "only searches");
    let quota = bench.call(Method::POST, "/api/v0/bundles/", json!({})).await;
    assert_eq!((quota.status.as_u16(), quota.json()["error"].as_str()), (429, Some("search_quota_exceeded")));
    bench.sim.inject(Fault::once(FaultKind::AuthError)).expect("a rule");
    let revoked = bench.call(Method::GET, "/api/v1/instances/", Value::Null).await;
    assert_eq!((revoked.status.as_u16(), revoked.json()["error"].as_str()), (404, Some("auth_error")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_can_lie_about_its_length_and_fail_on_its_second_page() {
    let bench = Bench::start().await;
    for offer in bench.offers(30).await {
        create(&bench, offer).await.expect("an answer");
    }
    bench.sim.inject(Fault::once(FaultKind::ListShort { rows: 2 })).expect("a rule");
    let short = bench.get("/api/v1/instances/").await;
    assert_eq!(
        (short["instances"].as_array().map(Vec::len), short["total_instances"].as_u64()),
        (Some(2), Some(2))
    );
    let rule = FaultKind::ListPageFails { page: 2, how: ApiBreak::Html502 };
    bench.sim.inject(Fault::once(rule)).expect("a rule");
    let first = bench.get("/api/v1/instances/").await;
    let token = first["next_token"].as_str().expect("a second page");
    let second = format!("/api/v1/instances/?after_token={token}");
    assert_eq!(bench.call(Method::GET, &second, Value::Null).await.status, 502);
    assert_eq!(bench.get(&second).await["instances"].as_array().map(Vec::len), Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroy_can_be_refused_ignored_or_linger() {
    let bench = Bench::start().await;
    let offer = bench.offers(1).await[0];
    let id = create(&bench, offer).await.expect("an answer").json()["new_contract"].as_u64().expect("an id");
    let path = format!("/api/v0/instances/{id}/");
    let destroy = || async { bench.call(Method::DELETE, &path, json!({})).await.json()["success"].clone() };
    bench.sim.inject(Fault::once(FaultKind::DestroyRefused)).expect("a rule");
    assert_eq!(destroy().await, false);
    bench.sim.inject(Fault::once(FaultKind::DestroyIgnored)).expect("a rule");
    assert_eq!(destroy().await, true);
    assert_eq!(bench.sim.ledger().live().count(), 1, "neither did anything");
    bench.sim.inject(Fault::once(FaultKind::DestroyLingers { for_s: PASSING_S })).expect("a rule");
    assert_eq!(destroy().await, true);
    assert_eq!(bench.row(id).await["cur_state"], "unloaded");
    assert_eq!(bench.sim.ledger().live().count(), 0, "billing has ended all the same");
    eventually("the row goes", || async { bench.row(id).await.is_null().then_some(()) }).await;
    let calls = bench.sim.calls();
    let last = calls.iter().rfind(|call| call.endpoint == "destroy").expect("recorded");
    assert_eq!(bench.sim.ledger().rentals[0].ended_by, Some(RentalEnd::Call(last.seq)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_row_can_stay_unreadable_and_a_status_can_be_stale() {
    let bench = Bench::start().await;
    bench.sim.inject(Fault::once(FaultKind::UnreadableRow { for_s: PASSING_S })).expect("a rule");
    let offer = bench.offers(1).await[0];
    let id = create(&bench, offer).await.expect("an answer").json()["new_contract"].as_u64().expect("an id");
    assert_eq!(bench.row(id).await, Value::Null);
    assert_eq!(bench.rows().await.len(), 0, "the list does not have it either");
    bench.up(id).await;
    let lie = FaultKind::StaleStatus { status: "exited".to_owned() };
    let rule = bench.sim.inject(Fault::lasting(lie).on_instance(id)).expect("a rule");
    assert_eq!(bench.row(id).await["actual_status"], "exited");
    assert_eq!(bench.info(id).actual_status.as_deref(), Some("running"), "the truth");
    assert_eq!(bench.sim.ledger().disturbed_ms(id), None, "a lie disturbs no box");
    bench.sim.clear_fault(rule);
    assert_eq!(bench.row(id).await["actual_status"], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_can_be_queued_and_fire_later_or_be_cancelled() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "").await;
    let path = format!("/api/v0/instances/{id}/");
    for (after_s, cancel) in [(Some(PASSING_S), false), (None, true)] {
        bench.put(&path, json!({"state": "stopped"})).await;
        bench.sim.inject(Fault::once(FaultKind::QueuedStart { after_s })).expect("a rule");
        let queued = bench.call(Method::PUT, &path, json!({"state": "running"})).await;
        assert_eq!(queued.status, 200);
        let body = queued.json();
        assert_eq!(
            (body["success"].as_bool(), body["error"].as_str()),
            (Some(false), Some("resources_unavailable"))
        );
        let row = bench.row(id).await;
        assert_eq!(
            (row["cur_state"].as_str(), row["intended_status"].as_str()),
            (Some("stopped"), Some("running"))
        );
        if cancel {
            bench.put(&path, json!({"state": "stopped"})).await;
            assert_eq!(bench.row(id).await["intended_status"], "stopped");
        } else {
            bench.up(id).await;
        }
    }
}
