//! The keeper itself is killed, stopped, paused by the system, or told to read its configuration again.

use std::time::Duration;

use rustix::process::Signal;
use vast_sim::{ApiBreak, Fault, FaultKind};

use crate::harness::{Fleet, KILL_SERVER, PATIENCE, Run, eventually};

/// Longer than `rails.stall` (10 s by default) and than a command's expiry.
const STALL: Duration = Duration::from_secs(12);

/// Kills the keeper with SIGKILL once this is journaled while duel-0 is being replaced, and starts it again.
async fn killed_at(fleet: &mut Fleet, kind: &str, fault: Option<Fault>) {
    let before = fleet.instances().await;
    let after = fleet.newest_event().await;
    let fault = fault.map(|fault| fleet.inject(fault.on_label(&Fleet::label_of("duel-0"))));
    fleet.hit("duel-0", KILL_SERVER).await;
    match fault {
        // The call that hangs is on its way: the keeper dies with its answer outstanding.
        Some(rule) => eventually("the fault is met", PATIENCE, async || fleet.fired(rule) > 0).await,
        None => drop(fleet.journaled(after, kind, None).await),
    }
    fleet.take_keeper().kill().await;
    fleet.start().await;
    fleet.replaced(&["duel-0".into()], &before).await;
    fleet.sim.clear_faults();
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_killed_at_any_moment_of_a_recovery_goes_on_where_it_was() {
    let mut fleet = Fleet::serving("kills by moment", 2).await;
    for kind in [
        "incident-opened",
        "recovery-started",
        "doomed",
        "destroy-acknowledged",
        "intent",
        "created",
        "instance-up",
        "deployed",
    ] {
        killed_at(&mut fleet, kind, None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_killed_with_a_call_on_its_way_neither_leaks_nor_doubles() {
    let mut fleet = Fleet::serving("kills by call", 2).await;
    let lost = |endpoint: &str, how| Fault::once(FaultKind::LostReply { how }).on_endpoint(endpoint);
    let never = |endpoint: &str, how| Fault::once(FaultKind::ApiOutage { how }).on_endpoint(endpoint);
    killed_at(&mut fleet, "intent", Some(lost("create", ApiBreak::Hang))).await;
    killed_at(&mut fleet, "intent", Some(never("create", ApiBreak::Hang))).await;
    killed_at(&mut fleet, "doomed", Some(lost("destroy", ApiBreak::Hang))).await;
    killed_at(&mut fleet, "doomed", Some(never("destroy", ApiBreak::Hang))).await;

    // The first filling as well: all intents open at once, all answers lost.
    drop(fleet);
    let mut fleet = Fleet::provider("killed while filling", 4).await;
    let rule = fleet
        .inject(Fault::lasting(FaultKind::LostReply { how: ApiBreak::Hang }).times(4).on_endpoint("create"));
    fleet.start().await;
    eventually("all creates hang", PATIENCE, async || fleet.fired(rule) == 4).await;
    fleet.take_keeper().kill().await;
    fleet.start().await;
    fleet.all_serve().await;
    fleet.verdict(&[]).await.is_clean();
    assert_eq!(fleet.sim.ledger().rentals.len(), 4, "what was rented is found by its label and kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_leaves_the_fleet_running_and_a_start_takes_it_over_untouched() {
    let mut fleet = Fleet::serving("stop and start", 3).await;
    let before = fleet.instances().await;
    let call = fleet.newest_call();
    for signal in [Signal::TERM, Signal::INT] {
        let status = fleet.take_keeper().end(signal, Duration::from_secs(15)).await;
        assert_eq!(status.code(), Some(0), "{signal:?}");
        fleet.cli(&["status"]).await.exits(69);
        fleet.start().await;
        fleet.all_serve().await;
        assert_eq!(fleet.instances().await, before);
    }

    // The system stops the keeper for a while, as a suspended laptop or a starved container would.
    let after = fleet.newest_event().await;
    fleet.keeper().signal(Signal::STOP);
    tokio::time::sleep(STALL).await;
    fleet.keeper().signal(Signal::CONT);
    fleet.all_serve().await;
    assert_eq!(fleet.instances().await, before);
    let opened =
        fleet.events_after(after).await.into_iter().filter(|event| event.kind == "incident-opened").count();
    assert_eq!(opened, 0, "what was not looked at has not failed");
    assert_eq!(fleet.calls_of(&["create", "destroy", "reboot"], call), 0);
    assert_eq!(fleet.sim.ledger().truth.iter().filter(|event| event.what.disturbs()).count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_a_good_configuration_and_refuses_a_bad_one_whole() {
    let mut fleet = Fleet::serving("reload", 2).await;
    let before = fleet.instances().await;
    let call = fleet.newest_call();
    let good = fleet.settings.file.clone();

    // Three nodes and a slip: neither is taken.
    fleet.settings.edit("nodes = 2", "nodes = 3");
    fleet.settings.edit("timeout = \"1500ms\"", "timeout = \"quickly\"");
    fleet.settings.write();
    fleet.keeper().signal(Signal::HUP);
    eventually("the refusal is said", PATIENCE, async || fleet.said().contains("the old one kept")).await;
    assert!(fleet.said().contains("health.timeout"), "the refusal names the fault");
    let view = fleet.all_serve().await;
    assert_eq!((view.wanted, fleet.calls_of(&["create", "destroy"], call)), (2, 0));

    // The same without the slip: the third node is filled.
    fleet.settings.file = good.replace("nodes = 2", "nodes = 3");
    fleet.settings.write();
    fleet.keeper().signal(Signal::HUP);
    fleet.until("three nodes are wanted", |view| view.wanted == 3).await;
    fleet.all_serve().await;
    let three = fleet.instances().await;
    assert_eq!(three.len(), 3);

    // A node that is no longer configured is left alone, and told.
    fleet.settings.file = good;
    fleet.settings.write();
    fleet.keeper().signal(Signal::HUP);
    fleet.until("two nodes are wanted", |view| view.wanted == 2).await;
    eventually("somebody is told of the node that left", PATIENCE, async || {
        fleet.receiver.count("webhook", "duel-2") > 0
            && fleet
                .receiver
                .messages()
                .iter()
                .any(|message| message.title.contains("duel-2") && message.body.contains("configur"))
    })
    .await;
    let ledger = fleet.sim.ledger();
    assert_eq!(ledger.live().count(), 3, "nothing was destroyed for a line of configuration");
    assert!(before.iter().all(|(node, instance)| three[node] == *instance));
}
