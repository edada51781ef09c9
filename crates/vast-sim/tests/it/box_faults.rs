//! Faults of the boxes and of the way to them.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use vast_sim::{Action, Fault, FaultKind, LifecycleConfig, SimConfig, TrafficBreak, Truth};

use crate::bench::{Bench, PASSING_S, config, eventually, text, web_server};

async fn with_app() -> (Bench, u64) {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", web_server()).await;
    bench.app_up(id).await;
    (bench, id)
}

fn truths(bench: &Bench, id: u64) -> Vec<Truth> {
    let ledger = bench.sim.ledger();
    ledger.truth.into_iter().filter(|event| event.instance == id).map(|event| event.what).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_dead_and_the_box_lives() {
    let (bench, id) = with_app().await;
    let hit =
        bench.sim.act(id, Action::Do(FaultKind::KillServer { whole_session: false })).await.expect("done");
    assert_eq!(hit.len(), 1);
    assert!(bench.visit(id).await.is_err());
    assert!(bench.run(id, "true").await.status.success());
    assert_eq!(bench.row(id).await["actual_status"], "running", "the provider knows nothing of it");
    assert_eq!(truths(&bench, id), [Truth::Created, Truth::Running, Truth::ServerKilled]);
    assert!(bench.sim.ledger().disturbed_ms(id).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_comes_too_early_waits_for_a_server() {
    let bench = Bench::start().await;
    let rule = bench.sim.inject(Fault::once(FaultKind::KillServer { whole_session: true })).expect("a rule");
    let id = bench
        .rent("vk:a", "mkfifo go; read -r word < go; exec python3 -m http.server --bind $HOST 5555")
        .await;
    let gate = bench.info(id).home.expect("a home").join("go");
    eventually("the box waits", || async { gate.exists().then_some(()) }).await;
    assert!(!truths(&bench, id).contains(&Truth::ServerKilled));
    tokio::task::spawn_blocking(move || std::fs::write(gate, "go\n"))
        .await
        .expect("not cancelled")
        .expect("written");
    eventually("it strikes", || async { truths(&bench, id).contains(&Truth::ServerKilled).then_some(()) })
        .await;
    let fired = bench.sim.faults().into_iter().find(|it| it.id == rule).map(|it| it.fired);
    assert_eq!(fired, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_brings_a_killed_server_back_unless_it_dies_too() {
    let bench = Bench::start().await;
    let supervised =
        "echo ok > index.html; while true; do python3 -m http.server --bind $HOST 5555 2>/dev/null; done";
    let id = bench.rent("vk:a", supervised).await;
    bench.app_up(id).await;
    bench.sim.act(id, Action::Do(FaultKind::KillServer { whole_session: false })).await.expect("done");
    bench.app_up(id).await;
    let hit =
        bench.sim.act(id, Action::Do(FaultKind::KillServer { whole_session: true })).await.expect("done");
    assert!(hit.len() >= 2, "{hit:?}");
    assert!(bench.visit(id).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_box_is_silent_everywhere_and_thaws_as_it_was() {
    let (bench, id) = with_app().await;
    bench.sim.act(id, Action::Do(FaultKind::Freeze)).await.expect("done");
    assert!(bench.visit_briefly(id).await.expect_err("silent").is_timeout());
    // Ahead of the bench's own limit: of two settings `ssh` takes the first.
    let mut ssh = Command::new("ssh");
    ssh.args(["-o", "ConnectTimeout=1"]).args(bench.ssh(id).get_args()).arg("true");
    let refused = crate::bench::output(ssh).await;
    assert!(text(&refused.stderr).contains("timed out"), "{}", text(&refused.stderr));
    assert!(bench.info(id).frozen);
    bench.sim.act(id, Action::Thaw).await.expect("done");
    bench.app_up(id).await;
    assert!(bench.run(id, "true").await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_container_says_exited_and_a_reboot_brings_it_back() {
    let (bench, id) = with_app().await;
    bench.sim.inject(Fault::once(FaultKind::KillInstance).on_instance(id)).expect("a rule");
    eventually("it says so", || async { (bench.row(id).await["actual_status"] == "exited").then_some(()) })
        .await;
    assert_eq!(bench.row(id).await["cur_state"], "running");
    bench.put(&format!("/api/v0/instances/reboot/{id}/"), json!({})).await;
    bench.up(id).await;
    bench.app_up(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn boots_break_in_every_documented_way() {
    let bench = Bench::start().await;
    for (kind, actual, current, message) in [
        (FaultKind::StuckLoading, "loading", "running", "Downloading"),
        (FaultKind::OciFailure, "created", "stopped", "OCI runtime create failed"),
        (FaultKind::ImageFault, "loading", "running", "manifest unknown"),
        (FaultKind::ExitsInBoot, "exited", "running", "Exited (1)"),
    ] {
        bench.sim.inject(Fault::once(kind.clone()).on_label("vk:")).expect("a rule");
        let offer = bench.offers(1).await[0];
        let created = bench.put(&format!("/api/v0/asks/{offer}/"), bench.launch("vk:a", "")).await;
        let id = created["new_contract"].as_u64().expect("an id");
        let row = eventually("the fault shows", || async {
            truths(&bench, id).contains(&Truth::BootBroken).then_some(bench.row(id).await)
        })
        .await;
        assert_eq!(
            (row["actual_status"].as_str(), row["cur_state"].as_str()),
            (Some(actual), Some(current)),
            "{kind:?}"
        );
        assert!(row["status_msg"].as_str().is_some_and(|msg| msg.contains(message)), "{row}");
        assert!(bench.info(id).ssh.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_can_come_late_and_a_restart_can_move_the_box() {
    let bench = Bench::start().await;
    bench.sim.inject(Fault::once(FaultKind::PortsMissing { for_s: PASSING_S })).expect("a rule");
    bench.sim.inject(Fault::once(FaultKind::AddressChanges)).expect("a rule");
    let offer = bench.offers(1).await[0];
    let created = bench.put(&format!("/api/v0/asks/{offer}/"), bench.launch("vk:a", web_server())).await;
    let id = created["new_contract"].as_u64().expect("an id");
    let bare = eventually("running without ports", || async {
        let row = bench.row(id).await;
        (row["actual_status"] == "running").then_some(row)
    })
    .await;
    assert!(bare["ports"].is_null() && bare["public_ipaddr"].is_null());
    let before = bench.up(id).await;
    bench.put(&format!("/api/v0/instances/reboot/{id}/"), json!({})).await;
    let after = bench.up(id).await;
    assert_ne!(before["public_ipaddr"], after["public_ipaddr"]);
    bench.app_up(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_host_is_silent_unbilled_and_comes_back() {
    let (bench, id) = with_app().await;
    let lost = FaultKind::HostOffline { for_s: None, status: "offline".to_owned() };
    bench.sim.inject(Fault::once(lost)).expect("a rule");
    assert_eq!(bench.row(id).await["actual_status"], "offline");
    let cost = bench.sim.ledger().rentals[0].cost;
    assert!(bench.visit_briefly(id).await.expect_err("silent").is_timeout());
    assert!((bench.sim.ledger().rentals[0].cost - cost).abs() < f64::EPSILON, "two seconds cost nothing");
    bench.sim.act(id, Action::HostBack).await.expect("done");
    assert_eq!(bench.row(id).await["actual_status"], "running");
    bench.app_up(id).await;
    let brief = FaultKind::HostOffline { for_s: Some(0.5), status: "unknown".to_owned() };
    bench.sim.inject(Fault::once(brief)).expect("a rule");
    eventually("it comes back by itself", || async {
        (bench.row(id).await["actual_status"] == "running").then_some(())
    })
    .await;
    bench.app_up(id).await;
    let twice = [Truth::HostLost, Truth::HostBack, Truth::HostLost, Truth::HostBack];
    assert!(truths(&bench, id).ends_with(&twice));
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_to_the_app_breaks_in_every_way() {
    let (bench, id) = with_app().await;
    let inject = |how: TrafficBreak| {
        bench.sim.inject(Fault::once(FaultKind::HttpTraffic { how }).on_port(5555)).expect("a rule")
    };
    let hang = inject(TrafficBreak::Hang);
    assert!(bench.visit_briefly(id).await.expect_err("hangs").is_timeout());
    // A gate that stood still takes the visitor only now; the hang must not strike the next one.
    eventually("the hang is spent", || async {
        bench.sim.faults().into_iter().find(|it| it.id == hang && it.fired == 1)
    })
    .await;
    for how in [
        TrafficBreak::Reset,
        TrafficBreak::Close,
        TrafficBreak::CutAfter(20),
        TrafficBreak::CutUploadAfter(5),
    ] {
        inject(how.clone());
        let error = bench.visit(id).await.expect_err("broken");
        assert!(!error.is_timeout(), "{how:?}: {error:?}");
    }
    inject(TrafficBreak::Html502);
    let page = bench.visit(id).await.expect("a page");
    assert_eq!(page.status, 502);
    assert!(page.text.contains("<html>"));
    inject(TrafficBreak::Garbage);
    assert!(serde_json::from_str::<Value>(&bench.visit(id).await.expect("bytes").text).is_err());
    inject(TrafficBreak::Huge(3_000_000));
    assert_eq!(bench.visit(id).await.expect("a body").text.len(), 3_000_000);
    inject(TrafficBreak::Stranger);
    let stranger: Value = bench.visit(id).await.expect("an answer").json();
    assert_eq!(
        (stranger["status"].as_str(), stranger["instance"].as_str()),
        (Some("healthy"), Some("stranger-0"))
    );
    inject(TrafficBreak::DelayMs(300));
    let started = tokio::time::Instant::now();
    assert_eq!(bench.visit(id).await.expect("late").status, 200);
    assert!(started.elapsed() >= Duration::from_millis(300));
    inject(TrafficBreak::BytesPerSecond(400));
    let started = tokio::time::Instant::now();
    let _ = bench.visit(id).await;
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(bench.visit(id).await.expect("whole again").text, "it works\n");
    let network = truths(&bench, id).into_iter().filter(|truth| matches!(truth, Truth::Network(_))).count();
    assert_eq!(network, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_breaks_on_one_way_while_the_other_works() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "").await;
    let direct = FaultKind::SshTraffic { how: TrafficBreak::Reset, path: Some("direct".to_owned()) };
    bench.sim.inject(Fault::lasting(direct)).expect("a rule");
    assert_eq!(bench.run(id, "true").await.status.code(), Some(255));
    let mut proxied = bench.ssh_to(id, bench.info(id).ssh_proxy.expect("a proxy"));
    proxied.arg("true");
    assert!(crate::bench::output(proxied).await.status.success());
    bench.sim.clear_faults();
    let cut = FaultKind::SshTraffic { how: TrafficBreak::CutUploadAfter(500_000), path: None };
    bench.sim.inject(Fault::once(cut)).expect("a rule");
    let source = bench.folder.path().join("big");
    std::fs::write(&source, vec![7; 2_000_000]).expect("written");
    let mut upload = bench.ssh(id);
    upload.arg("cat > part").stdin(std::fs::File::open(&source).expect("opened"));
    assert_eq!(crate::bench::output(upload).await.status.code(), Some(255));
    let part = bench.info(id).home.expect("a home").join("part");
    let length = eventually("a part arrived", || async {
        std::fs::metadata(&part).ok().map(|part| part.len()).filter(|length| *length > 0)
    })
    .await;
    assert!(length < 500_000, "{length}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_and_host_keys_break_as_they_do_on_rented_boxes() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "").await;
    assert!(bench.run(id, "true").await.status.success());
    bench.sim.inject(Fault::once(FaultKind::SshAuthRefused)).expect("a rule");
    assert!(text(&bench.run(id, "true").await.stderr).contains("Permission denied"));
    assert!(bench.run(id, "true").await.status.success(), "one login");
    bench
        .sim
        .act(id, Action::Do(FaultKind::WipeAuthorizedKeys { keep_attached: false }))
        .await
        .expect("done");
    assert!(text(&bench.run(id, "true").await.stderr).contains("Permission denied"));
    let path = format!("/api/v0/instances/{id}/ssh/");
    bench.call(reqwest::Method::POST, &path, json!({"ssh_key": bench.public_key()})).await;
    eventually("attaching repairs it", || async {
        bench.run(id, "true").await.status.success().then_some(())
    })
    .await;
    assert_eq!(bench.sim.ledger().disturbed_ms(id), None, "its server never noticed");
    let key = bench.info(id).host_key;
    bench.sim.act(id, Action::Do(FaultKind::ChangeHostKey)).await.expect("done");
    assert_ne!(bench.info(id).host_key, key);
    let warned = bench.run(id, "true").await;
    assert!(text(&warned.stderr).contains("Host key verification failed"), "{}", text(&warned.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn outbid_contract_end_and_zero_credit_stop_a_box() {
    for kind in
        [FaultKind::Outbid { min_bid: None }, FaultKind::ContractEnds { in_s: 0.1 }, FaultKind::ZeroCredit]
    {
        let bench = Bench::start().await;
        let id = bench.rent("vk:a", "").await;
        bench.sim.inject(Fault::once(kind.clone())).expect("a rule");
        let row = eventually("it stops", || async {
            let row = bench.row(id).await;
            (row["cur_state"] == "stopped").then_some(row)
        })
        .await;
        assert_eq!(
            (row["intended_status"].as_str(), row["next_state"].as_str()),
            (Some("stopped"), Some("stopped")),
            "{kind:?}"
        );
        assert!(truths(&bench, id).contains(&Truth::Stopped));
    }
    let kept = LifecycleConfig { expired_kept_s: 0.2, ..LifecycleConfig::all(0.02) };
    let bench = Bench::with(SimConfig { lifecycle: kept, ..config() }).await;
    let id = bench.rent("vk:a", "").await;
    bench.sim.inject(Fault::once(FaultKind::ContractEnds { in_s: 0.05 })).expect("a rule");
    eventually("an expired row is deleted", || async { bench.row(id).await.is_null().then_some(()) }).await;
    assert_eq!(bench.sim.ledger().rentals[0].ended_by, Some(vast_sim::RentalEnd::Expired));
}

#[tokio::test(flavor = "multi_thread")]
async fn deeds_with_a_chance_strike_sooner_or_later_and_by_the_seed() {
    let bench = Bench::with(SimConfig { seed: 11, ..config() }).await;
    let id = bench.rent("vk:a", web_server()).await;
    bench.app_up(id).await;
    let rule = Fault::once(FaultKind::KillServer { whole_session: false }).with_probability(0.5);
    bench.sim.inject(rule).expect("a rule");
    eventually("it strikes (seed 11)", || async {
        truths(&bench, id).contains(&Truth::ServerKilled).then_some(())
    })
    .await;
    assert_eq!(bench.sim.faults()[0].fired, 1);
}
