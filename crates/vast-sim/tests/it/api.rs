//! The API's ordinary answers.

use reqwest::Method;
use serde_json::{Value, json};
use vast_sim::{CallRecord, SimConfig};

use crate::bench::{Bench, KEY, config, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_checked_as_on_the_live_service() {
    let bench = Bench::start().await;
    let path = "/api/v0/users/current/";
    let wrong = bench.call_as(Some("nope"), Method::GET, path, Value::Null).await.expect("an answer");
    assert_eq!((wrong.status.as_u16(), wrong.json()["error"].as_str()), (404, Some("auth_error")));
    let none = bench.call_as(None, Method::GET, path, Value::Null).await.expect("an answer");
    assert_eq!(none.status, 404);
    let by_query = bench.call_as(None, Method::GET, &format!("{path}?api_key={KEY}"), Value::Null).await;
    assert_eq!(by_query.expect("an answer").status, 200);
    let anonymous_search =
        bench.call_as(None, Method::POST, "/api/v0/bundles/", json!({})).await.expect("an answer");
    assert_eq!(
        (anonymous_search.status.as_u16(), anonymous_search.content_type.as_str()),
        (200, "application/json")
    );
    assert!(bench.sim.calls().iter().all(|call| !call.path.contains(KEY)));

    let strict = Bench::with(SimConfig { auth_error_status: 401, ..config() }).await;
    let wrong = strict.call_as(Some("nope"), Method::GET, path, Value::Null).await.expect("an answer");
    assert_eq!(wrong.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_key_reaches_its_own_instance_and_no_other_thing() {
    let bench = Bench::start().await;
    let offers = bench.offers(2).await;
    let mut created = Vec::new();
    for offer in offers {
        created.push(bench.put(&format!("/api/v0/asks/{offer}/"), bench.launch("vk:a", "")).await);
    }
    let (key, own) = (created[0]["instance_api_key"].as_str().expect("a key"), &created[0]["new_contract"]);
    let other = &created[1]["new_contract"];
    let bench = &bench;
    let call = |method: Method, path: String| async move {
        bench.call_as(Some(key), method, &path, json!({})).await.expect("an answer")
    };
    assert_eq!(call(Method::GET, "/api/v0/users/current/".to_owned()).await.status, 403);
    assert_eq!(call(Method::DELETE, format!("/api/v0/instances/{other}/")).await.status, 403);
    assert_eq!(call(Method::DELETE, format!("/api/v0/instances/{own}/")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_slash_redirects_an_unknown_path_is_a_page_and_the_old_list_is_retired() {
    let bench = Bench::start().await;
    assert_eq!(bench.call(Method::GET, "/api/v0/users/current", Value::Null).await.status, 301);
    let unknown = bench.call(Method::GET, "/api/v0/nothing/", Value::Null).await;
    assert_eq!((unknown.status.as_u16(), unknown.content_type.as_str()), (404, "text/html"));
    let retired = bench.call(Method::GET, "/api/v0/instances/", Value::Null).await;
    assert_eq!(
        (retired.status.as_u16(), retired.json()["error"].as_str()),
        (410, Some("deprecated_endpoint"))
    );
    assert_eq!(bench.get("/api/v0/instances/12345/").await, json!({"instances": null}));
    assert_eq!(bench.call(Method::POST, "/api/v0/users/current/", json!({})).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_take_both_forms_and_refuse_what_the_service_refuses() {
    let bench = Bench::start().await;
    let flat = json!({"num_gpus": {"eq": "2"}, "dph_total": {"lte": 5}, "order": [["dph_total", "asc"]], "limit": 500});
    let offers = bench.call(Method::POST, "/api/v0/bundles/", flat.clone()).await.json();
    let rows = offers["offers"].as_array().expect("offers").clone();
    assert!(!rows.is_empty() && rows.len() <= 64, "{}", rows.len());
    let prices: Vec<f64> = rows.iter().filter_map(|row| row["dph_total"].as_f64()).collect();
    assert!(prices.is_sorted(), "{prices:?}");
    assert!(
        rows.iter()
            .all(|row| row["num_gpus"] == 2 && row["verification"] == "verified" && row["rented"] == false)
    );
    let wrapped =
        bench.call(Method::PUT, "/api/v0/search/asks/", json!({"select_cols": ["*"], "q": flat})).await;
    assert_eq!(wrapped.json()["offers"].as_array().map(Vec::len), Some(rows.len()));
    let flat_on_asks =
        bench.call(Method::PUT, "/api/v0/search/asks/", json!({"rentable": {"eq": true}})).await;
    assert_eq!(flat_on_asks.status, 400);
    assert!(flat_on_asks.text.contains("Extra inputs are not permitted"));
    let bad = bench.call(Method::POST, "/api/v0/bundles/", json!("x")).await;
    assert_eq!((bad.status.as_u16(), bad.json()["error"].as_str()), (400, Some("invalid_request")));
    let bid = bench
        .call(Method::POST, "/api/v0/bundles/", json!({"type": "bid", "limit": 5, "allocated_storage": 100}))
        .await;
    for row in bid.json()["offers"].as_array().expect("offers") {
        let number = |name: &str| row[name].as_f64().expect("a number");
        let storage = number("storage_cost") * 100.0 / 720.0;
        assert!((number("dph_total") - number("min_bid") - storage).abs() < 1e-9, "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_can_be_rented_once_and_a_bad_body_rents_nothing() {
    let bench = Bench::start().await;
    let offer = bench.offers(1).await[0];
    let path = format!("/api/v0/asks/{offer}/");
    for (what, wrong) in [
        ("image", json!(null)),
        ("disk", json!(2)),
        ("disk", json!(1e9)),
        ("price", json!(1000)),
        ("label", json!("x".repeat(257))),
        ("onstart", json!("x".repeat(4049))),
        ("env", json!(["A"])),
    ] {
        let mut body = bench.launch("vk:a", "");
        body[what] = wrong;
        let refused = bench.call(Method::PUT, &path, body).await;
        assert_eq!(refused.status, 400, "{what}: {}", refused.text);
    }
    assert_eq!(bench.sim.ledger().rentals.len(), 0);
    assert_eq!(bench.put(&path, bench.launch("vk:a", "")).await["success"], true);
    let second = bench.call(Method::PUT, &path, bench.launch("vk:a", "")).await;
    assert_eq!((second.status.as_u16(), second.json()["error"].as_str()), (410, Some("no_such_ask")));
    let never = bench.call(Method::PUT, "/api/v0/asks/1/", bench.launch("vk:a", "")).await;
    assert_eq!(never.status, 404);
    assert!(never.json()["msg"].as_str().is_some_and(|msg| msg.contains("3603")));
    assert_eq!(bench.sim.ledger().rentals.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_pages_filters_and_counts() {
    let bench = Bench::start().await;
    for (number, offer) in bench.offers(60).await.into_iter().enumerate() {
        let mut body = bench.launch(&format!("vk:{}", number % 2), "");
        if number % 3 == 0 {
            body["label"] = Value::Null;
        }
        assert_eq!(bench.put(&format!("/api/v0/asks/{offer}/"), body).await["success"], true);
    }
    let order = "order_by=%5B%7B%22col%22%3A%20%22id%22%2C%20%22dir%22%3A%20%22desc%22%7D%5D";
    let (mut ids, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = bench.get(&format!("/api/v1/instances/?{order}&limit=100{after}")).await;
        let rows = page["instances"].as_array().expect("rows");
        assert!(rows.len() <= 25);
        assert_eq!((page["total_instances"].as_u64(), page["success"].as_bool()), (Some(60), Some(true)));
        ids.extend(rows.iter().filter_map(|row| row["id"].as_u64()));
        pages += 1;
        match page["next_token"].as_str() {
            Some(token) => after = format!("&after_token={token}"),
            None => break,
        }
    }
    assert_eq!((pages, ids.len()), (3, 60));
    assert!(ids.is_sorted_by(|left, right| left > right));
    let unlabelled = bench.get("/api/v1/instances/?select_filters=%7B%22label%22%3A%7B%22in%22%3A%5Bnull%5D%7D%7D&select_cols=%5B%22id%22%2C%22nope%22%5D").await;
    assert_eq!(unlabelled["instances_found"].as_u64(), Some(20));
    assert_eq!(unlabelled["label_counts"], json!({"": 20}));
    assert!(
        unlabelled["instances"][0].as_object().is_some_and(|row| row.len() == 2 && row["nope"].is_null())
    );
    for bad in [
        "select_filters=%7B%22dph_total%22%3A%7B%22gt%22%3A1%7D%7D",
        "after_token=zz",
        "limit=x",
        "order_by=3",
    ] {
        assert_eq!(
            bench.call(Method::GET, &format!("/api/v1/instances/?{bad}"), Value::Null).await.status,
            400,
            "{bad}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn published_spacing_is_enforced_when_asked() {
    let bench = Bench::with(SimConfig { rate_limits: true, time_scale: 0.25, ..config() }).await;
    let path = "/api/v1/instances/";
    let served = || async {
        eventually("a list is served", || async {
            (bench.call(Method::GET, path, Value::Null).await.status == 200).then_some(())
        })
        .await;
    };
    // The published spacing of the list is one second, here four real ones. The record holds a call's earliest and
    // latest moment: of two calls that a busy machine brings that far apart, the second is rightly served.
    let span = |first: &CallRecord, second: &CallRecord| second.answered_ms.expect("answered") - first.at_ms;
    let refused = loop {
        served().await;
        bench.call(Method::GET, path, Value::Null).await;
        let calls = bench.sim.calls();
        let [.., first, second] = calls.as_slice() else { panic!("two calls: {calls:?}") };
        if span(first, second) < 4_000 {
            break second.status;
        }
    };
    assert_eq!(refused, Some(429));
    served().await;
    let calls: Vec<_> = bench.sim.calls().into_iter().filter(|call| call.status == Some(200)).collect();
    assert!(calls.windows(2).all(|pair| span(&pair[0], &pair[1]) >= 3_990), "{calls:?}");
    let mut searches = Vec::new();
    for _ in 0..11 {
        let answer = bench.call(Method::POST, "/api/v0/bundles/", json!({"limit": 1})).await;
        searches.push(answer.status.as_u16());
    }
    assert_eq!(
        (searches[..10].iter().all(|status| *status == 200), searches[10]),
        (true, 429),
        "ten a minute"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_attach_and_detach_and_the_listing_is_text() {
    let bench = Bench::start().await;
    let empty = bench.call(Method::GET, "/api/v0/ssh/", Value::Null).await;
    assert_eq!(empty.status, 404);
    let offer = bench.offers(1).await[0];
    let created = bench.put(&format!("/api/v0/asks/{offer}/"), bench.launch("vk:a", "")).await;
    let id = created["new_contract"].as_u64().expect("an id");
    bench.up(id).await;
    assert_eq!(bench.run(id, "true").await.status.code(), Some(255), "no key, no login");
    let path = format!("/api/v0/instances/{id}/ssh/");
    for _ in 0..2 {
        let attached =
            bench.call(Method::POST, &path, json!({"ssh_key": format!("{}\n", bench.public_key())})).await;
        assert_eq!(attached.json()["success"], true);
    }
    eventually("the key is in force", || async {
        bench.run(id, "true").await.status.success().then_some(())
    })
    .await;
    let listed = bench.get(&path).await;
    let keys: Value = serde_json::from_str(listed["ssh_keys"].as_str().expect("text")).expect("JSON in text");
    assert_eq!(keys.as_array().map(Vec::len), Some(1), "attaching twice is harmless");
    let key = keys[0]["id"].as_u64().expect("an id");
    assert_eq!(bench.call(Method::DELETE, &format!("{path}{key}/"), json!({})).await.status, 200);
    eventually("the key is out of force", || async {
        (!bench.run(id, "true").await.status.success()).then_some(())
    })
    .await;
    assert_eq!(bench.call(Method::POST, &path, json!({"ssh_key": "nonsense"})).await.status, 400);
}
