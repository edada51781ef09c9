//! Instances from create to destroy: phases, restarts, money.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use vast_sim::{LifecycleConfig, RentalEnd, SimConfig, Truth};

use crate::bench::{Bench, config, eventually, lives, text, web_server};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_instance_passes_through_the_stages_and_its_row_is_complete() {
    let slow = LifecycleConfig { unreadable_s: 0.3, ports_lag_s: 0.5, ..LifecycleConfig::all(0.6) };
    let bench = Bench::with(SimConfig { lifecycle: slow, ..config() }).await;
    let offer = bench.offers(1).await[0];
    let created = bench.put(&format!("/api/v0/asks/{offer}/"), bench.launch("vk:a", "")).await;
    let id = created["new_contract"].as_u64().expect("an id");
    let mut seen: Vec<Value> = vec![];
    while seen.last().is_none_or(|stage| stage[2] == false) {
        let row = bench.row(id).await;
        let stage = json!([row.is_null(), row["actual_status"], row["ports"].is_object()]);
        if seen.last() != Some(&stage) {
            seen.push(stage);
        }
    }
    // A busy machine may let a stage pass between two reads; that none is left out, the world's own tests see.
    let mut stages = [
        json!([true, null, false]),
        json!([false, null, false]),
        json!([false, "created", false]),
        json!([false, "loading", false]),
        json!([false, "running", false]),
        json!([false, "running", true]),
    ]
    .into_iter();
    assert!(
        seen.iter().all(|stage| stages.any(|known| known == *stage)),
        "unknown or out of order: {seen:?}"
    );
    let row = bench.row(id).await;
    assert!(row["public_ipaddr"].as_str().is_some_and(|ip| ip.ends_with('\n')), "the live service's newline");
    assert!(row["ports"]["5555/tcp"][0]["HostPort"].is_string());
    assert_eq!(row["ports"]["5555/tcp"].as_array().map(Vec::len), Some(2), "v4 and v6");
    assert!(row["start_date"].is_number());
    assert!(!row.as_object().expect("a row").contains_key("volume_info"), "the list alone has it");
    assert_eq!(bench.rows().await[0]["volume_info"], json!([]));
    assert_eq!(row["extra_env"], json!([["-p 5555:5555", "1"], ["APP", "duel"]]));
    assert_eq!((row["label"].as_str(), row["intended_status"].as_str()), (Some("vk:a"), Some("running")));
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_kills_every_process_frees_the_ports_and_reoffers_the_machine() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", web_server()).await;
    bench.app_up(id).await;
    let (info, app) = (bench.info(id), bench.app(id));
    let escaped = bench
        .run(id, "(setsid sh -c 'sleep 301 & sleep 302 & wait' >/dev/null 2>&1 </dev/null &); env -i setsid /bin/sleep 303 >/dev/null 2>&1 </dev/null & pgrep -f 'sleep 30[123]' | tr '\\n' ' '; echo $!")
        .await;
    let pids: Vec<i32> =
        text(&escaped.stdout).split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    assert!(!pids.is_empty());
    let before: Vec<u64> = machine_offers(&bench, info.machine).await;
    assert!(before.is_empty(), "a rented single-GPU machine is not on offer: {before:?}");
    let gone = bench.call(Method::DELETE, &format!("/api/v0/instances/{id}/"), json!({})).await;
    assert_eq!(gone.json()["success"], true);
    eventually("the box is gone", || async {
        bench.sim.ledger().truth.iter().any(|it| it.instance == id && it.what == Truth::Gone).then_some(())
    })
    .await;
    assert!(pids.iter().all(|pid| !lives(*pid)), "{pids:?}");
    assert!(!info.home.expect("a home").exists());
    assert!(tokio::net::TcpStream::connect(app).await.is_err(), "the port is closed");
    assert_eq!(bench.row(id).await, Value::Null);
    assert!(!machine_offers(&bench, info.machine).await.is_empty(), "offered again, under a new id");
    let again = bench.call(Method::DELETE, &format!("/api/v0/instances/{id}/"), json!({})).await;
    assert_eq!((again.status.as_u16(), again.json()["error"].as_str()), (404, Some("no_such_instance")));
    let rental = bench.sim.ledger().rentals[0].clone();
    let call = bench.sim.calls().into_iter().find(|call| call.endpoint == "destroy").expect("recorded");
    assert_eq!(rental.ended_by, Some(RentalEnd::Call(call.seq)));
    assert!(rental.running_ms.is_some() && rental.cost > 0.0);
}

async fn machine_offers(bench: &Bench, machine: u64) -> Vec<u64> {
    let query = json!({"machine_id": {"eq": machine}, "verified": {"in": [true, false]}});
    let found = bench.call(Method::POST, "/api/v0/bundles/", query).await.json();
    found["offers"].as_array().expect("offers").iter().filter_map(|offer| offer["id"].as_u64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_keeps_the_disk_a_recycle_loses_it_and_both_rerun_onstart() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "date +%N >> boots").await;
    let home = bench.info(id).home.expect("a home");
    let (key, ssh) = (bench.info(id).host_key, bench.info(id).ssh);
    let boots = || std::fs::read_to_string(home.join("boots")).unwrap_or_default().lines().count();
    eventually("onstart ran", || async { (boots() == 1).then_some(()) }).await;
    assert_eq!(bench.put(&format!("/api/v0/instances/reboot/{id}/"), json!({})).await["success"], true);
    bench.up(id).await;
    eventually("onstart ran again", || async { (boots() == 2).then_some(()) }).await;
    assert_eq!((bench.info(id).host_key, bench.info(id).ssh), (key.clone(), ssh));
    assert!(bench.run(id, "true").await.status.success());
    assert_eq!(bench.put(&format!("/api/v0/instances/recycle/{id}/"), json!({})).await["success"], true);
    bench.up(id).await;
    eventually("onstart ran on a fresh disk", || async { (boots() == 1).then_some(()) }).await;
    assert_ne!(bench.info(id).host_key, key, "a new container has new host keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_status_lingers_when_a_reboot_begins() {
    // Longer than any read takes; nothing here waits for its end.
    let slow = LifecycleConfig { restart_lag_s: 60.0, ..LifecycleConfig::all(0.02) };
    let bench = Bench::with(SimConfig { lifecycle: slow, ..config() }).await;
    let id = bench.rent("vk:a", "").await;
    assert_eq!(bench.put(&format!("/api/v0/instances/reboot/{id}/"), json!({})).await["success"], true);
    assert_eq!(bench.row(id).await["actual_status"], "exited");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_instance_keeps_its_disk_and_starts_again() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "touch kept").await;
    let path = format!("/api/v0/instances/{id}/");
    assert_eq!(bench.put(&path, json!({"state": "stopped"})).await["success"], true);
    let row = bench.row(id).await;
    let states =
        ["actual_status", "cur_state", "intended_status", "next_state"].map(|name| row[name].as_str());
    assert_eq!(states, [Some("exited"), Some("stopped"), Some("stopped"), Some("stopped")]);
    assert!(row["ports"].is_null() && !row.as_object().expect("a row").contains_key("ports"));
    assert_eq!(bench.put(&path, json!({"state": "running"})).await["success"], true);
    bench.up(id).await;
    assert!(bench.info(id).home.expect("a home").join("kept").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entrypoint_that_ends_is_an_exited_container() {
    let bench = Bench::start().await;
    let offer = bench.offers(1).await[0];
    let mut body = bench.launch("vk:args", "/bin/sh");
    body["runtype"] = json!("args");
    body["args"] = json!(["-c", "echo \"$APP runs\"; exit 4"]);
    let id =
        bench.put(&format!("/api/v0/asks/{offer}/"), body).await["new_contract"].as_u64().expect("an id");
    eventually("it exits", || async { (bench.row(id).await["actual_status"] == "exited").then_some(()) })
        .await;
    let row = bench.row(id).await;
    assert_eq!(
        (row["cur_state"].as_str(), row["status_msg"].as_str()),
        (Some("running"), Some("Exited (4)"))
    );
    let log = bench.info(id).home.expect("a home").with_file_name("container.log");
    assert_eq!(std::fs::read_to_string(log).expect("a log"), "duel runs\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_runs_down_with_scaled_time_and_everything_stops_at_zero() {
    // An hour a second: the cheapest box eats a cent within a second, and has two left once it is up.
    let scaled = SimConfig { time_scale: 3600.0, lifecycle: LifecycleConfig::all(20.0), ..config() };
    let bench = Bench::with(scaled).await;
    let id = bench.rent("vk:a", "").await;
    let before = bench.sim.ledger().spent;
    bench.sim.set_credit(0.02);
    let row = eventually("the credit is gone", || async {
        Some(bench.row(id).await).filter(|row| row["intended_status"] == "stopped")
    })
    .await;
    assert_eq!(row["status_msg"], "stopped: account credit used up");
    let (since, stopped) = (Instant::now(), bench.sim.ledger());
    assert!(stopped.credit <= 0.0 && stopped.spent >= before + 0.02, "{before} before {stopped:?}");
    let user = bench.get("/api/v0/users/current/").await;
    assert_eq!(user["credit"], 0.0);
    let offer = bench.offers(1).await[0];
    let refused = bench.call(Method::PUT, &format!("/api/v0/asks/{offer}/"), bench.launch("vk:b", "")).await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["error"].as_str()),
        (400, Some("insufficient_credit"))
    );
    bench.sim.set_credit(5.0);
    assert_eq!(bench.row(id).await["intended_status"], "stopped", "a top-up starts nothing");
    // The two readings lie within the hours counted here, so that a halt only leaves the disk more to cost.
    let kept = bench.sim.ledger().spent - stopped.spent;
    let hours = since.elapsed().as_secs_f64();
    let disk = row["storage_total_cost"].as_f64().expect("a price") * hours;
    assert!(kept > 0.0 && kept <= disk + 1e-9, "{kept} in {hours} h, the disk alone costs {disk}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bid_below_the_floor_leaves_a_stopped_contract_and_an_error() {
    let bench = Bench::start().await;
    let offer = bench.offers(1).await[0];
    let mut body = bench.launch("vk:bid", "");
    body["price"] = json!(0.001);
    body["cancel_unavail"] = json!(false);
    let answer = bench.call(Method::PUT, &format!("/api/v0/asks/{offer}/"), body).await;
    assert_eq!(answer.status, 400);
    let id = answer.json()["new_contract"].as_u64().expect("an id to account for");
    let row = bench.row(id).await;
    assert_eq!((row["cur_state"].as_str(), row["is_bid"].as_bool()), (Some("stopped"), Some(true)));
    assert_eq!(bench.sim.ledger().live().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_simulator_leaves_no_process_and_no_folder() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "setsid sleep 304 & echo $! > pid").await;
    let home = bench.info(id).home.expect("a home");
    let pid = eventually("the pid is written", || async {
        std::fs::read_to_string(home.join("pid")).ok()?.trim().parse::<i32>().ok()
    })
    .await;
    assert!(lives(pid));
    drop(bench.sim);
    assert!(!lives(pid));
    assert!(!home.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_simulators_never_share_a_state_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let keeping = SimConfig { state_dir: Some(folder.path().to_owned()), ..config() };
    let stale = folder.path().join("boxes/20000001/root");
    std::fs::create_dir_all(&stale).expect("made");
    let bench = Bench::with(keeping.clone()).await;
    assert!(!stale.exists(), "an earlier one's boxes are cleared");
    let second = vast_sim::Sim::start(keeping.clone()).await;
    assert!(matches!(second, Err(vast_sim::SimError::StateInUse(_))), "{second:?}");
    bench.sim.shutdown().await;
    // Another test that starts a program at this moment holds a copy of every open file until its exec.
    let mut again = vast_sim::Sim::start(keeping.clone()).await;
    for _ in 0..100_000 {
        if !matches!(again, Err(vast_sim::SimError::StateInUse(_))) {
            break;
        }
        tokio::task::yield_now().await;
        again = vast_sim::Sim::start(keeping.clone()).await;
    }
    assert!(again.is_ok(), "free again: {again:?}");
}
