//! Bad input and bad days: wrong settings, a refused key, lists that lie, a second keeper, a full disk, no credit.

use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use vast_sim::{ApiBreak, Fault, FaultKind, RateLimitBody};

use crate::harness::{Fleet, KILL_SERVER, Keeper, PATIENCE, Run, eventually};

/// Calls that change something at the provider.
const CHANGING: [&str; 6] = ["create", "destroy", "reboot", "recycle", "change", "launch"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_are_all_listed_and_nobody_is_contacted() {
    let mut fleet = Fleet::provider("wrong settings", 3).await;
    fleet.settings.edit("[health]\ninterval = \"2s\"", "[health]\ninterval = \"soon\"");
    fleet.settings.edit("disk_gb = 40", "disk_gb = \"many\"\ndisc_gb = 40");
    fleet.settings.set("rails.attemps", "3");
    fleet.settings.environment.insert("HEALTH_CHECK_TIMEOUT".into(), "never".into());
    for verb in [&["run"] as &[_], &["check"], &["status"], &["offers"], &["destroy", "duel-0", "--yes"]] {
        let ended = fleet.cli(verb).await.exits(2);
        for fault in ["health.interval", "disk_gb", "disc_gb", "rails.attemps", "HEALTH_CHECK_TIMEOUT"] {
            assert!(ended.stderr.contains(fault), "{verb:?} does not name {fault}: {}", ended.stderr);
        }
        assert_eq!(ended.stdout, "", "{verb:?}");
    }
    assert_eq!(fleet.sim.calls().len(), 0);
    assert_eq!(fleet.receiver.messages().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_is_told_once_and_judges_nobody() {
    let mut fleet = Fleet::provider("wrong key", 2).await;
    let key = fleet.settings.environment.insert("VAST_API_KEY".into(), "some-other-key".into());
    fleet.start().await;
    eventually("many calls are refused", PATIENCE, async || fleet.calls_of(&["list"], 0) >= 5).await;
    for sink in ["slack", "discord", "webhook"] {
        eventually("the sinks are told", PATIENCE, async || {
            fleet.receiver.count(sink, "refuses the api key") > 0
        })
        .await;
        assert_eq!(fleet.receiver.count(sink, "refuses the api key"), 1, "{sink}");
    }
    assert_eq!(fleet.calls_of(&CHANGING, 0), 0);
    fleet.take_keeper().end(Signal::TERM, PATIENCE).await;

    // With the right key the same state goes on, and a key that is revoked later costs no box.
    fleet.settings.environment.insert("VAST_API_KEY".into(), key.unwrap());
    fleet.start().await;
    fleet.all_serve().await;
    let before = fleet.instances().await;
    let call = fleet.newest_call();
    let revoked = fleet.inject(Fault::lasting(FaultKind::AuthError));
    fleet.until("the refusal is known", |view| !view.key_accepted).await;
    fleet.hit("duel-0", KILL_SERVER).await;
    let suspect = |view: &vast_keeper::fleet::view::FleetView| {
        view.nodes.iter().any(|node| node.state == "suspect" && node.health.failures >= 15)
    };
    fleet.until("probes go on, and the node is only suspect", suspect).await;
    assert!(
        fleet.sim.ledger().rentals.iter().all(|rental| rental.ended_ms.is_none()),
        "nothing is destroyed"
    );
    eventually("each refusal was told", PATIENCE, async || {
        fleet.receiver.count("webhook", "refuses the api key") == 2
    })
    .await;
    let accepted = fleet.sim.calls_after(call);
    let acted = accepted.iter().filter(|call| CHANGING.contains(&call.endpoint) && call.status == Some(200));
    assert_eq!(acted.count(), 0);
    fleet.sim.clear_fault(revoked);
    fleet.replaced(&["duel-0".into()], &before).await;
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_fail_or_lie_rent_nothing_and_destroy_nothing() {
    let mut fleet = Fleet::provider("lying lists", 3).await;
    // More rows than a page holds: other people's rentals, which never finish loading and cost nothing here.
    fleet.inject(Fault::lasting(FaultKind::StuckLoading).on_label("foreign"));
    let foreign = fleet.rent_foreign(&vec!["foreign".to_owned(); 30]).await;
    fleet.start().await;
    fleet.all_serve().await;
    let before = fleet.instances().await;
    let call = fleet.newest_call();
    let of_list = |how| Fault::lasting(FaultKind::ApiOutage { how }).on_endpoint("list");
    let page = |page, how| Fault::lasting(FaultKind::ListPageFails { page, how });
    let short = |rows| Fault::lasting(FaultKind::ListShort { rows });
    let faults = [
        of_list(ApiBreak::Html502),
        of_list(ApiBreak::Garbage),
        of_list(ApiBreak::Truncated),
        of_list(ApiBreak::EmptyObject),
        of_list(ApiBreak::Html404),
        of_list(ApiBreak::Json500),
        page(2, ApiBreak::Reset),
        page(2, ApiBreak::Garbage),
        page(2, ApiBreak::EmptyObject),
        Fault::lasting(FaultKind::RateLimited { body: RateLimitBody::Detail, retry_after: Some(1) })
            .on_endpoint("list"),
        short(0),
        short(1),
        short(31),
    ];
    for fault in faults {
        let what = format!("{:?}", fault.kind);
        let rule = fleet.inject(fault);
        eventually(&format!("{what} is met"), PATIENCE, async || fleet.fired(rule) >= 3).await;
        fleet.sim.clear_fault(rule);
        let view = fleet.until(&format!("a good list after {what}"), |view| view.list_fault.is_none()).await;
        assert!(view.nodes.iter().all(|node| node.state == "serving"), "{what}");
        fleet.until(&format!("all healthy after {what}"), |view| view.healthy == 3).await;
    }
    fleet.all_serve().await;
    assert_eq!(fleet.instances().await, before);
    assert_eq!(fleet.calls_of(&CHANGING, call), 0);
    let ledger = fleet.sim.ledger();
    let alive = ledger.live().filter(|rental| foreign.contains(&rental.instance)).count();
    assert_eq!(alive, 30, "other people's rentals are nobody's business");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_credit_nothing_is_rented_until_there_is_some() {
    let mut fleet = Fleet::provider("no credit", 2).await;
    // As long as a boot may take nobody is replaced for having been stopped: credit is just back.
    fleet.settings.set("deadlines.boot", "20s");
    fleet.sim.set_credit(0.0);
    fleet.start().await;
    let credit = |view: &vast_keeper::fleet::view::FleetView| {
        let blocked = |node: &vast_keeper::fleet::view::NodeView| {
            node.blocked.as_ref().is_some_and(|blocked| blocked.rail == "credit")
        };
        view.nodes.iter().all(blocked)
    };
    fleet.until("the credit rail blocks and shows it", credit).await;
    eventually("somebody is told", PATIENCE, async || fleet.receiver.count("webhook", "credit") > 0).await;
    assert_eq!(fleet.calls_of(&["create"], 0), 0);

    // Somebody pays; nobody has to tell the keeper.
    fleet.sim.set_credit(100.0);
    fleet.all_serve().await;

    // The account runs dry while the fleet serves: the provider stops every box, and nothing is destroyed for it.
    let before = fleet.instances().await;
    let call = fleet.newest_call();
    fleet.sim.set_credit(0.0);
    fleet
        .until("both wait for credit", |view| {
            let waits = |node: &vast_keeper::fleet::view::NodeView| node.incident.is_some();
            credit(view) && view.nodes.iter().all(waits)
        })
        .await;
    assert_eq!(fleet.calls_of(&["create", "destroy"], call), 0);

    // Paid at last; what does not come back is replaced.
    fleet.sim.set_credit(100.0);
    fleet.replaced(&["duel-0".into(), "duel-1".into()], &before).await;
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_keeper_on_the_same_state_is_refused_with_the_firsts_pid() {
    let mut fleet = Fleet::provider("two keepers", 1).await;
    // Nothing to rent: this story is about the lock.
    fleet.settings.set("fleet.observe_only", "true");
    fleet.start().await;
    let pid = fleet.keeper().id();
    let ended = fleet.cli(&["run"]).await.exits(40);
    assert!(ended.stderr.contains(&pid.to_string()), "{}", ended.stderr);
    assert!(fleet.keeper().runs());
    fleet.cli(&["status", "--json"]).await.exits(0);
    assert_eq!(fleet.calls_of(&CHANGING, 0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_every_change_but_not_the_watch_and_is_mended_without_a_restart() {
    let mut fleet = Fleet::serving("full disk", 2).await;
    let before = fleet.instances().await;
    fleet.take_keeper().end(Signal::TERM, PATIENCE).await;

    // The log goes through a pipe to a process without the limit, or it would be the first file to be full.
    let log = fleet.folder().join("keeper.log");
    let limits = format!("exec > >(exec cat >> {}) 2>&1; trap '' XFSZ", log.display());
    let keeper = Keeper::spawn_after(&fleet.settings, log, &limits);
    let pid = Pid::from_raw(i32::try_from(keeper.id()).unwrap());
    fleet.adopt(keeper);
    fleet.answers().await;
    fleet.all_serve().await;
    // From here on no file may be written beyond its first bytes, as on a disk that is full.
    let full = Rlimit { current: Some(1024), maximum: None };
    prlimit(pid, Resource::Fsize, full).unwrap();
    let failed = |view: &vast_keeper::fleet::view::FleetView| view.summary == "storage-failed";
    let wish = fleet.cli(&["pause", "duel-1"]).await;
    assert_ne!(wish.code, 0, "a wish that cannot be journaled is not accepted: {}", wish.said());
    let view = fleet.until("the store is known to have failed", failed).await;
    let call = fleet.newest_call();
    let checks: u64 = view.nodes.iter().map(|node| node.health.checks).sum();
    for sink in ["slack", "discord", "webhook"] {
        eventually(&format!("{sink} is told"), PATIENCE, async || {
            fleet.receiver.count(sink, "cannot write its journal") > 0
        })
        .await;
    }
    fleet.hit("duel-0", KILL_SERVER).await;
    fleet
        .until("probing goes on and sees the failure", |view| {
            let failing =
                view.nodes.iter().any(|node| node.node.as_str() == "duel-0" && node.health.failures >= 6);
            failing && view.nodes.iter().map(|node| node.health.checks).sum::<u64>() > checks + 6
        })
        .await;
    let wish = fleet.cli(&["reprovision", "duel-1", "--yes"]).await;
    assert_ne!(wish.code, 0, "a wish that cannot be journaled is not accepted: {}", wish.said());
    assert_eq!(fleet.calls_of(&CHANGING, call), 0);

    prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    fleet.until("the store works again", |view| view.summary != "storage-failed").await;
    fleet.replaced(&["duel-0".into()], &before).await;
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_folder_that_cannot_be_used_is_told_and_taken_once_mended() {
    let mut fleet = Fleet::provider("no state folder", 1).await;
    std::fs::write(fleet.settings.state(), "in the way").unwrap();
    fleet.start().await;
    fleet.until("the view says so", |view| view.summary == "storage-failed").await;
    for sink in ["slack", "discord", "webhook"] {
        eventually(&format!("{sink} is told"), PATIENCE, async || {
            fleet.receiver.count(sink, "cannot write its journal") > 0
        })
        .await;
    }
    assert_eq!(fleet.calls_of(&CHANGING, 0), 0);
    std::fs::remove_file(fleet.settings.state()).unwrap();
    fleet.all_serve().await;
    fleet.verdict(&[]).await.is_clean();
    assert!(fleet.keeper().runs());
    fleet.take_keeper().end(Signal::TERM, Duration::from_secs(30)).await;
}
