//! The control panel over HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::bench::{Bench, web_server};

#[tokio::test(flavor = "multi_thread")]
async fn the_panel_documents_itself_and_its_examples_are_accepted() {
    let bench = Bench::start().await;
    let index = bench.get("/panel/").await;
    let kinds = index["faults"].as_array().expect("kinds");
    assert!(kinds.len() > 30);
    for kind in kinds.iter().filter(|kind| kind["kind"] != "zero_credit") {
        let added = bench.call(Method::POST, "/panel/faults", kind["example"].clone()).await;
        assert_eq!(added.status, 201, "{kind}: {}", added.text);
    }
    assert_eq!(bench.get("/panel/faults").await.as_array().map(Vec::len), Some(kinds.len() - 1));
    assert_eq!(bench.call(Method::DELETE, "/panel/faults/1", Value::Null).await.status, 204);
    assert_eq!(bench.call(Method::DELETE, "/panel/faults/1", Value::Null).await.status, 404);
    assert_eq!(bench.call(Method::DELETE, "/panel/faults", Value::Null).await.status, 204);
    assert_eq!(bench.get("/panel/faults").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_makes_no_sense_is_refused_with_a_reason() {
    let bench = Bench::start().await;
    for rule in [
        json!({"kind": "no_such_kind"}),
        json!({"kind": "kill_server", "instnce": 4}),
        json!({"kind": "auth_error", "endpoint": "creat"}),
        json!({"kind": "auth_error", "probability": 2}),
        json!([1]),
    ] {
        let refused = bench.call(Method::POST, "/panel/faults", rule.clone()).await;
        assert_eq!(refused.status, 400, "{rule}");
        assert!(refused.json()["error"].as_str().is_some_and(|why| !why.is_empty()));
    }
    assert_eq!(bench.call(Method::POST, "/panel/boxes/1/kill-server", Value::Null).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn boxes_calls_and_ledger_tell_the_truth_without_secrets() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", web_server()).await;
    bench.app_up(id).await;
    let boxes = bench.get("/panel/boxes").await;
    assert_eq!((boxes[0]["instance"].as_u64(), boxes[0]["label"].as_str()), (Some(id), Some("vk:a")));
    let killed = bench
        .call(Method::POST, &format!("/panel/boxes/{id}/kill-server"), json!({"whole_session": true}))
        .await;
    assert_eq!(killed.json()["pids"].as_array().map(Vec::len), Some(1), "{}", killed.text);
    assert!(bench.visit(id).await.is_err());
    let not_a_deed = bench.call(Method::POST, &format!("/panel/boxes/{id}/auth-error"), Value::Null).await;
    assert_eq!(not_a_deed.status, 400);

    let calls = bench.get("/panel/calls?after=0").await;
    let create =
        calls.as_array().expect("calls").iter().find(|call| call["endpoint"] == "create").expect("recorded");
    assert_eq!((create["status"].as_u64(), create["instances"][0].as_u64()), (Some(200), Some(id)));
    assert_eq!(create["body"]["label"], "vk:a");
    let all = calls.to_string();
    assert!(!all.contains(crate::bench::KEY), "the account's key is not in the record");
    let instance_key =
        bench.run(id, "tr '\\0' '\\n' < /proc/1/environ >/dev/null 2>&1; echo $CONTAINER_API_KEY").await;
    assert_eq!(
        crate::bench::text(&instance_key.stdout),
        "\n",
        "the environment does not reach ssh sessions by itself"
    );
    let seq =
        calls.as_array().and_then(|all| all.last()).and_then(|call| call["seq"].as_u64()).expect("a number");
    assert_eq!(bench.get(&format!("/panel/calls?after={seq}")).await, json!([]));
    let ledger = bench.get("/panel/ledger").await;
    assert_eq!(ledger["rentals"][0]["instance"].as_u64(), Some(id));
    let truths: Vec<_> =
        ledger["truth"].as_array().expect("truth").iter().filter_map(|it| it["what"].as_str()).collect();
    assert_eq!(truths, ["created", "running", "server_killed"]);
}
