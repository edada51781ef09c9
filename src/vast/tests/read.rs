//! Lists, searches and the account: part of an answer is no answer.

use serde_json::{Value, json};

use super::{
    client, client_for, config,
    fake::{Answer, Fake, json as reply, refusal},
};
use crate::{
    fleet::{
        name::{HostId, InstanceId, MachineId},
        offer::OfferPolicy,
        provider::{Inventory, ProviderFault, Rental, Status},
        units::{Money, Timestamp},
    },
    vast::Vast,
};

fn row(id: u64) -> Value {
    json!({"id": id, "machine_id": 5, "host_id": 9, "label": null, "actual_status": "running", "dph_total": 0.35})
}

fn with(id: u64, changes: Value) -> Value {
    let mut row = row(id);
    row.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    row
}

fn page(rows: Vec<Value>, total: usize, next: Value) -> Answer {
    let found = rows.len();
    reply(
        200,
        json!({"success": true, "instances": rows, "total_instances": total, "instances_found": found, "next_token": next}),
    )
}

async fn listed(rows: Vec<Value>) -> Result<Inventory, ProviderFault> {
    let total = rows.len();
    client(&Fake::always(page(rows, total, Value::Null)).await).inventory().await
}

async fn one(changes: Value) -> Rental {
    listed(vec![with(1, changes)]).await.unwrap().rentals.remove(0)
}

#[tokio::test]
async fn every_page_is_read_and_the_order_is_that_of_the_ids() {
    let fake =
        Fake::start(|_, seen| match seen.target.split_once("after_token=").map(|(_, cursor)| cursor) {
            None => page((26..=50).map(row).collect(), 52, "two==".into()),
            Some("two%3D%3D") => page((1..=25).map(row).collect(), 52, "three".into()),
            Some("three") => page(vec![row(99), row(51)], 52, Value::Null),
            Some(other) => panic!("cursor {other}"),
        })
        .await;
    let vast = client(&fake);
    let before = vast.clock.now();
    let inventory = vast.inventory().await.unwrap();
    let ids: Vec<u64> = inventory.rentals.iter().map(|rental| rental.id.0).collect();
    assert_eq!(ids, (1..=51).chain([99]).collect::<Vec<_>>());
    assert!(inventory.started_at >= before && inventory.started_at <= vast.clock.now());
    let seen = fake.seen();
    assert!(seen[0].target.starts_with("/api/v1/instances/?limit=25&order_by="), "{}", seen[0].target);
    assert!(seen.iter().all(|seen| !seen.target.contains("api_key")), "the key stays out of URLs");
}

#[tokio::test]
async fn a_list_that_does_not_add_up_is_no_list() {
    let short = Fake::always(page(vec![row(1)], 2, Value::Null)).await;
    let long = Fake::always(page(vec![row(1), row(2)], 1, Value::Null)).await;
    let twice = Fake::always(page(vec![row(1), row(1)], 2, Value::Null)).await;
    let circle = Fake::always(page(vec![], 0, "again".into())).await;
    let moved = Fake::start(|before, _| match before {
        0 => page(vec![row(1)], 2, "next".into()),
        _ => page(vec![row(2), row(3)], 3, Value::Null),
    })
    .await;
    let second_fails = Fake::start(|before, _| match before {
        0 => page(vec![row(1)], 2, "next".into()),
        _ => Answer::Http(502, "text/html", "<html>".into()),
    })
    .await;
    for (why, fake) in [
        ("short", short),
        ("long", long),
        ("twice", twice),
        ("circle", circle),
        ("moved", moved),
        ("502", second_fails),
    ] {
        let list = client(&fake).inventory().await;
        assert!(list.is_err(), "{why}: {list:?}");
    }
}

#[tokio::test]
async fn an_empty_account_is_believed_only_when_the_provider_counts_zero() {
    assert!(listed(vec![]).await.unwrap().rentals.is_empty());
    for body in [
        json!({}),
        json!([]),
        json!({"success": true, "instances": []}),
        json!({"success": true, "instances": null, "total_instances": 0}),
        json!({"success": false, "instances": [], "total_instances": 0}),
        json!({"instances": [], "total_instances": 0, "next_token": 7}),
    ] {
        let list = client(&Fake::always(reply(200, body.clone())).await).inventory().await;
        assert!(list.is_err(), "{body} became {list:?}");
    }
}

#[tokio::test]
async fn a_fault_is_named_for_what_it_is() {
    let fault = async |answer: Answer| {
        let fake = Fake::always(answer.clone()).await;
        client_for(&answer, &fake).inventory().await.unwrap_err()
    };
    let auth = fault(refusal(404, "auth_error", "Invalid user key")).await;
    assert_eq!(auth, ProviderFault::Auth { detail: "auth_error: Invalid user key".into() });
    let retired = fault(refusal(410, "deprecated_endpoint", "Use /api/v1/instances/")).await;
    assert!(matches!(&retired, ProviderFault::Refused { .. }), "{retired:?}");
    let throttled = fault(Answer::With(429, "retry-after: 1.5\r\n", json!({"detail": "slow"}))).await;
    assert_eq!(throttled, ProviderFault::RateLimited { retry_after_ms: Some(1500) });
    for (status, body) in [(500, "{}"), (502, "<html>"), (503, "")] {
        let down = fault(Answer::Http(status, "text/html", body.into())).await;
        assert!(matches!(&down, ProviderFault::Unreachable { .. }), "{down:?}");
    }
    for (status, body) in
        [(200, "<html>hotel</html>"), (403, "<html>blocked</html>"), (404, "<html>"), (200, "[]")]
    {
        let odd = fault(Answer::Http(status, "text/html", body.into())).await;
        assert!(matches!(&odd, ProviderFault::Malformed { .. }), "{odd:?}");
    }
    let redirect = fault(Answer::With(308, "location: /elsewhere/\r\n", json!({}))).await;
    assert!(matches!(&redirect, ProviderFault::Malformed { .. }), "{redirect:?}");
    for answer in [Answer::Close, Answer::Hang] {
        let down = fault(answer).await;
        assert!(matches!(&down, ProviderFault::Unreachable { .. }), "{down:?}");
    }
    let huge = fault(Answer::Http(200, "application/json", "x".repeat((8 << 20) + 1))).await;
    assert!(matches!(&huge, ProviderFault::Malformed { .. }), "{huge:?}");
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let down = Vast::new(config(&format!("http://{closed}"))).unwrap().inventory().await.unwrap_err();
    assert!(matches!(&down, ProviderFault::Unreachable { .. }), "{down:?}");
}

#[tokio::test]
async fn a_row_without_what_decisions_need_spoils_the_list() {
    for field in ["id", "machine_id", "host_id", "label", "actual_status", "dph_total"] {
        let mut row = row(1);
        row.as_object_mut().unwrap().remove(field);
        match listed(vec![row]).await {
            Err(ProviderFault::Malformed { detail }) => assert!(detail.contains(field), "{detail}"),
            other => panic!("without {field}: {other:?}"),
        }
    }
    for changes in
        [json!({"id": 0}), json!({"id": "x"}), json!({"dph_total": null}), json!({"dph_total": -1})]
    {
        assert!(listed(vec![with(1, changes.clone())]).await.is_err(), "{changes}");
    }
}

#[tokio::test]
async fn a_running_instance_is_read_whole() {
    let rental = one(json!({
        "label": "vk:prod:duel-0:abc", "public_ipaddr": " 203.0.113.7\n", "gpu_name": "RTX 4090",
        "ports": {
            "22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "41022"}, {"HostIp": "::", "HostPort": "41022"}],
            "5555/tcp": [{"HostIp": "0.0.0.0", "HostPort": 41555}], "8082/udp": [{"HostPort": "41082"}],
        },
        "ssh_host": "ssh5.vast.ai", "ssh_port": 12345, "image_runtype": "ssh_direct", "end_date": 1_790_000_000.5,
        "status_msg": " success, running nvidia/cuda:12/ssh\n", "jupyter_token": "t0ken",
        "extra_env": [["SECRET", "s3cret"]],
    }))
    .await;
    assert_eq!((rental.id, rental.machine, rental.host), (InstanceId(1), MachineId(5), HostId(9)));
    assert_eq!(rental.label.as_deref(), Some("vk:prod:duel-0:abc"));
    assert_eq!(
        (rental.status.clone(), rental.price, rental.gpu.as_str()),
        (Status::Running, Money(350_000), "RTX 4090")
    );
    assert_eq!(rental.address(5555).unwrap().to_string(), "203.0.113.7:41555");
    assert_eq!(rental.ports.into_iter().collect::<Vec<_>>(), [(22, 41022), (5555, 41555)]);
    assert_eq!(rental.ssh_proxy, Some(("ssh5.vast.ai".into(), 12345)));
    assert_eq!(rental.ends_at, Some(Timestamp(1_790_000_000_500)));
    assert_eq!(rental.message.as_deref(), Some("success, running nvidia/cuda:12/ssh"));
    let jupyter =
        one(json!({"ssh_host": "ssh5.vast.ai", "ssh_port": "12345", "image_runtype": "jupyter_direct"}))
            .await;
    assert_eq!(jupyter.ssh_proxy, Some(("ssh5.vast.ai".into(), 12346)));
}

#[tokio::test]
async fn no_host_can_spoil_the_list_with_what_it_says() {
    for changes in [
        json!({"ports": null}),
        json!({"ports": [41022, 41023]}),
        json!({"ports": {"22/tcp": null, "x/tcp": [{"HostPort": "1"}], "80/tcp": [{"HostPort": "0"}, {}, 7]}}),
        json!({"ports": {"22/tcp": [{"HostPort": "70000"}], "0/tcp": [{"HostPort": "5"}]}}),
        json!({"public_ipaddr": "not an address"}),
        json!({"public_ipaddr": ["1.2.3.4"]}),
        json!({"ssh_host": "-oProxyCommand=reboot", "ssh_port": 1}),
        json!({"ssh_host": "a b;c", "ssh_port": 1}),
        json!({"ssh_host": "ssh1.vast.ai", "ssh_port": 65535, "image_runtype": "jupyter"}),
        json!({"status_msg": {"deep": true}, "gpu_name": 7, "end_date": "never"}),
    ] {
        let rental = one(changes.clone()).await;
        assert_eq!((rental.ports.len(), rental.public_ip, rental.ssh_proxy), (0, None, None), "{changes}");
    }
    let noisy = one(json!({"status_msg": format!("\u{1b}[2J{}", "é".repeat(999))})).await.message.unwrap();
    assert!(noisy.chars().count() <= 300 && !noisy.contains('\u{1b}'), "{noisy}");
    assert_eq!(one(json!({"end_date": 1e300})).await.ends_at, Some(Timestamp(u64::MAX)));
}

#[tokio::test]
async fn only_plain_words_speak_against_an_instance() {
    let oci = "Error response from daemon: OCI runtime create failed: unresolvable CDI devices";
    for (actual, current, message, status) in [
        (Value::Null, "running", "", Status::Starting),
        ("created".into(), "running", "", Status::Starting),
        ("loading".into(), "running", "pulling layer 3 of 9", Status::Starting),
        ("loading".into(), "running", "Error response from daemon: pull complete", Status::Starting),
        ("rebooting".into(), "running", "", Status::Starting),
        ("created".into(), "stopped", oci, Status::Broken),
        ("loading".into(), "running", "failed to register layer: no space left on device", Status::Broken),
        ("loading".into(), "running", "manifest unknown", Status::Broken),
        ("created".into(), "stopped", "", Status::Unclear("stopped before its first start".into())),
        ("running".into(), "running", oci, Status::Running),
        ("exited".into(), "stopped", "", Status::Exited),
        ("stopped".into(), "stopped", "", Status::Exited),
        ("offline".into(), "running", "", Status::Offline),
        ("unknown".into(), "running", "", Status::Unclear("unknown".into())),
        ("frozen".into(), "running", "", Status::Unclear("frozen".into())),
    ] {
        let rental = one(json!({"actual_status": actual, "cur_state": current, "status_msg": message})).await;
        assert_eq!(rental.status, status, "{actual} {message}");
    }
}

#[tokio::test]
async fn a_search_is_posted_flat_and_only_a_list_is_an_answer() {
    let offer =
        json!({"id": 1, "machine_id": 2, "host_id": 3, "gpu_name": "L4", "num_gpus": 1, "dph_total": 0.2});
    let fake = Fake::always(reply(200, json!({"offers": [offer]}))).await;
    let found = client(&fake).search(&OfferPolicy::default(), 120).await.unwrap();
    assert_eq!(found.offers.len(), 1);
    let seen = fake.seen().remove(0);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/api/v0/bundles/"));
    assert_eq!((&seen.body["limit"], &seen.body["disk_space"]), (&json!(64), &json!({"gte": 120})));
    client(&fake).survey(&OfferPolicy::default(), 120).await.unwrap();
    assert_eq!(fake.seen()[1].body.get("disk_space"), None);
    for body in [
        json!({}),
        json!({"offers": {"id": 1}}),
        json!([]),
        json!({"success": false, "error": "invalid_request"}),
    ] {
        let found =
            client(&Fake::always(reply(200, body.clone())).await).search(&OfferPolicy::default(), 120).await;
        assert!(found.is_err(), "{body} became {found:?}");
    }
}

#[tokio::test]
async fn a_used_up_search_quota_is_believed_for_a_quarter_of_an_hour_at_a_time() {
    let quota = json!({"success": false, "error": "search_quota_exceeded", "msg": "daily quota"});
    let fake = Fake::always(reply(429, quota)).await;
    let vast = client(&fake);
    let fault = vast.search(&OfferPolicy::default(), 120).await.unwrap_err();
    let wait_ms = fault.retry_after().expect("a wait").as_millis() as u64;
    let to_midnight_ms = 86_400_000 - vast.clock.now().0 % 86_400_000;
    assert!(wait_ms <= 900_000 && wait_ms + 3000 > to_midnight_ms.min(900_000), "{wait_ms}");
    let again = vast.search(&OfferPolicy::default(), 120).await.unwrap_err();
    assert!(matches!(&again, ProviderFault::RateLimited { retry_after_ms: Some(_) }), "{again:?}");
    assert_eq!(fake.seen().len(), 1, "a used-up quota is not asked again");
    assert!(vast.inventory().await.is_err());
    assert_eq!(fake.seen().len(), 2, "the quota of searches does not keep lists back");
}

#[tokio::test]
async fn credit_is_a_number_or_a_fault() {
    let credit = async |body: Value| client(&Fake::always(reply(200, body)).await).credit().await;
    assert_eq!(
        credit(json!({"credit": 12.5, "balance": 0, "api_key": "x"})).await.unwrap().dollars,
        Money(12_500_000)
    );
    assert_eq!(credit(json!({"credit": "-0.25"})).await.unwrap().dollars, Money(-250_000));
    for body in [json!({}), json!({"credit": null}), json!({"credit": "much"}), json!({"balance": 3})] {
        assert!(credit(body.clone()).await.is_err(), "{body}");
    }
}
