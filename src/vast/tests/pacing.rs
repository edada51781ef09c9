//! Spacing as the provider sees it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    client, config, create_within,
    fake::{Answer, Fake, json as reply},
};
use crate::{
    fleet::{
        name::InstanceId,
        provider::{CreateAnswer, DestroyAnswer, ProviderFault},
    },
    vast::{Vast, VastConfig},
};

#[tokio::test]
async fn a_create_whose_turn_comes_too_late_is_not_sent() {
    let fake = Fake::always(reply(200, json!({"success": true, "new_contract": 7}))).await;
    // Twenty times the create's 4.5 s: far longer than a create may wait here, which in turn is far longer than one takes.
    let vast = Vast::new(VastConfig { pacing: 20.0, ..config(fake.url().as_str()) }).unwrap();
    let in_time = Duration::from_secs(30);
    assert_eq!(create_within(&vast, in_time).await, CreateAnswer::Created(InstanceId(7)));
    let outcome = create_within(&vast, in_time).await;
    assert!(matches!(&outcome, CreateAnswer::NotSent(why) if why.contains("spacing")), "{outcome:?}");
    assert_eq!(fake.seen().len(), 1);
    let soon = vast.clock.now().after(in_time);
    assert_eq!(vast.destroy(InstanceId(7), soon).await, DestroyAnswer::Acknowledged, "endpoints are apart");
}

#[tokio::test]
async fn calls_at_once_reach_the_provider_apart() {
    let fake = Fake::always(reply(200, json!({"success": true}))).await;
    // A hundredth of the destroy's 3 s.
    let vast = Vast::new(VastConfig { pacing: 0.01, ..config(fake.url().as_str()) }).unwrap();
    let started = vast.clock.now();
    let soon = started.after(Duration::from_secs(30));
    let calls = (1..=5).map(|id| vast.destroy(InstanceId(id), soon));
    for outcome in futures_util::future::join_all(calls).await {
        assert_eq!(outcome, DestroyAnswer::Acknowledged);
    }
    assert!(
        started.until(vast.clock.now()) >= Duration::from_millis(120),
        "five calls have four gaps of 30 ms"
    );
    assert_eq!(fake.seen().len(), 5);
}

#[tokio::test]
async fn the_wait_that_a_429_asks_for_is_kept_even_without_pacing() {
    let fake = Fake::start(|before, _| match before {
        0 => Answer::With(429, "retry-after: 300\r\n", json!({"detail": "API requests too frequent"})),
        _ => reply(
            200,
            json!({"success": true, "instances": [], "total_instances": 0, "next_token": Value::Null}),
        ),
    })
    .await;
    let vast = client(&fake);
    let told = vast.inventory().await.unwrap_err();
    assert_eq!(told, ProviderFault::RateLimited { retry_after_ms: Some(300_000) });
    let kept = vast.inventory().await.unwrap_err();
    assert!(
        matches!(&kept, ProviderFault::RateLimited { retry_after_ms: Some(ms) } if *ms > 250_000),
        "{kept:?}"
    );
    assert_eq!(fake.seen().len(), 1, "nothing is sent into a wait that was asked for");
}
