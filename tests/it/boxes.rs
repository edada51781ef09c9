//! What happens to boxes while they serve: what is truly dead is replaced, what only seems so is left alone and told.

use std::time::Duration;

use vast_keeper::clock::Clock;
use vast_sim::{Action, Fault, FaultKind, TrafficBreak};

use crate::harness::{Fleet, KILL_SERVER, PATIENCE, eventually};

/// A keeper that reads a body without a bound would need more than this.
const MOST_MEMORY_KB: u64 = 150_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boxes_that_are_dead_are_replaced() {
    let fleet = Fleet::serving("deaths", 5).await;
    let rounds = [
        [
            FaultKind::KillInstance,
            FaultKind::Freeze,
            FaultKind::HostOffline { for_s: None, status: "offline".into() },
            // Over at once: one that is seen to end is replaced ahead of it, and two live for a while.
            FaultKind::ContractEnds { in_s: 0.0 },
        ],
        [
            FaultKind::HostOffline { for_s: None, status: "unknown".into() },
            FaultKind::Outbid { min_bid: None },
            KILL_SERVER,
            KILL_SERVER,
        ],
    ];
    for round in rounds {
        let before = fleet.instances().await;
        let nodes: Vec<String> = (0..round.len()).map(|number| format!("duel-{number}")).collect();
        // The last one's box cannot even be asked: no login is taken.
        let refused = before["duel-3"];
        let refusal = fleet.inject(Fault::lasting(FaultKind::SshAuthRefused).on_instance(refused));
        for (node, deed) in nodes.iter().zip(round) {
            fleet.hit(node, deed).await;
        }
        fleet.replaced(&nodes, &before).await;
        fleet.sim.clear_fault(refusal);
        fleet.verdict(&[]).await.is_clean();
    }
    let incidents = fleet.incidents().await;
    assert_eq!(incidents.len(), 8, "one incident for each death: {incidents:?}");
    for sink in ["slack", "discord", "webhook"] {
        let told = || {
            let messages = fleet.receiver.messages();
            let of = |words: &str| {
                messages
                    .iter()
                    .filter(|message| message.sink == sink && message.title.contains(words))
                    .count()
            };
            (of("is failing"), of("replaced and healthy"))
        };
        eventually("each incident is opened and closed once", PATIENCE, async || told() == (8, 8)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_only_seems_dead_is_left_alone_and_told() {
    let mut fleet = Fleet::serving("hostile traffic", 3).await;
    let before = fleet.instances().await;
    let call = fleet.newest_call();
    let kinds = [
        TrafficBreak::Hang,
        TrafficBreak::Reset,
        TrafficBreak::Close,
        TrafficBreak::CutAfter(20),
        TrafficBreak::CutUploadAfter(10),
        TrafficBreak::BytesPerSecond(20),
        TrafficBreak::DelayMs(2_000),
        TrafficBreak::Html502,
        TrafficBreak::Garbage,
        TrafficBreak::Huge(400_000_000),
        TrafficBreak::Stranger,
    ];
    let rounds = kinds.len();
    for (round, how) in kinds.into_iter().enumerate() {
        let node = format!("duel-{}", round % 3);
        let what = format!("{how:?} at {node}");
        let fault = Fault::lasting(FaultKind::HttpTraffic { how }).on_instance(before[&node]).on_port(5555);
        let after = fleet.newest_event().await;
        let rule = fleet.inject(fault);
        let veto = fleet.journaled(after, "incident-opened", Some(&node)).await;
        eventually(&format!("the box's word saves it from {what}"), PATIENCE, async || {
            let events = fleet.events_after(veto.seq).await;
            events.iter().any(|event| event.text.contains("veto"))
        })
        .await;
        fleet.sim.clear_fault(rule);
        fleet.all_serve().await;
        assert_eq!(fleet.instances().await, before, "{what}");
    }
    assert_eq!(fleet.calls_of(&["destroy", "create", "reboot", "recycle"], call), 0);
    eventually("somebody is told that the box says it is up", PATIENCE, async || {
        fleet.receiver.count("webhook", "the box itself says its server is up") == rounds
    })
    .await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", fleet.keeper().id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < MOST_MEMORY_KB, "{peak} kB at its peak");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_disturb_the_server_disturbs_nobody() {
    let fleet = Fleet::serving("harmless", 3).await;
    let before = fleet.instances().await;
    let call = fleet.newest_call();
    let stale = |status: &str| {
        Fault::lasting(FaultKind::StaleStatus { status: status.into() }).on_instance(before["duel-0"])
    };
    fleet.hit("duel-1", FaultKind::WipeAuthorizedKeys { keep_attached: false }).await;
    fleet.hit("duel-2", FaultKind::ChangeHostKey).await;
    fleet.hit("duel-2", FaultKind::DropSsh).await;
    for status in ["exited", "offline", "loading", "something new"] {
        let rule = fleet.inject(stale(status));
        eventually(&format!("{status} was read in several lists"), PATIENCE, async || fleet.fired(rule) >= 4)
            .await;
        fleet.sim.clear_fault(rule);
    }
    fleet.all_serve().await;
    assert_eq!(fleet.instances().await, before);
    assert_eq!(fleet.calls_of(&["destroy", "create", "reboot"], call), 0);
    assert_eq!(fleet.incidents().await.len(), 0);

    // A box with another host key is not ours to work on any more; if its server dies it is replaced all the same, or held.
    fleet.hit("duel-2", KILL_SERVER).await;
    fleet.hit("duel-1", KILL_SERVER).await;
    fleet.replaced(&["duel-1".into(), "duel-2".into()], &before).await;
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_fleet_is_noticed_in_time_and_held() {
    let mut fleet = Fleet::provider("detection", 3).await;
    fleet.settings.edit("failure_threshold = 5", "failure_threshold = 3");
    // The plain interval throughout, so that the promise is `3 · interval + timeout + 0.5 s`.
    fleet.settings.edit("retry_interval = \"250ms\"", "retry_interval = \"2s\"");
    fleet.settings.set("rails.breaker_count", "2");
    fleet.start().await;
    fleet.all_serve().await;
    let before = fleet.instances().await;
    let call = fleet.newest_call();
    let mut frozen_at = Vec::new();
    for (node, instance) in &before {
        frozen_at.push((node.clone(), Clock::new().now().0));
        fleet.sim.act(*instance, Action::Do(FaultKind::Freeze)).await.unwrap();
    }
    let mut quickest = Duration::MAX;
    for (node, frozen) in frozen_at {
        fleet.journaled(0, "incident-opened", Some(&node)).await;
        let incidents = fleet.incidents().await;
        let incident = incidents.iter().find(|incident| incident.node.as_str() == node).unwrap();
        quickest = quickest.min(Duration::from_millis(incident.opened_at.0.saturating_sub(frozen)));
        // At the third silence, not later.
        let title = format!("{node} is failing");
        eventually(&title, PATIENCE, async || fleet.receiver.count("webhook", &title) == 1).await;
        let messages = fleet.receiver.messages();
        let told =
            messages.iter().find(|message| message.sink == "webhook" && message.title.contains(&title));
        let body = &told.unwrap().body;
        assert!(body.contains("3 failed probes in a row"), "{body}");
    }
    // A machine that stands still for a moment may be late with one of them.
    let promised = 3 * Duration::from_secs(2) + Duration::from_millis(1500) + Duration::from_millis(500);
    assert!(quickest <= promised, "{quickest:?}, promised {promised:?}");
    // Nobody answers: the fault may be ours. Time passes beyond every doubled threshold, and nothing is destroyed.
    let checks = |view: &vast_keeper::fleet::view::FleetView| {
        view.nodes.iter().map(|node| node.health.failures).min().unwrap_or(0)
    };
    fleet.until("many more probes fail", |view| checks(view) >= 9).await;
    assert_eq!(fleet.calls_of(&["destroy", "create"], call), 0);
    for instance in before.values() {
        fleet.sim.act(*instance, Action::Thaw).await.unwrap();
    }
    fleet.all_serve().await;
    assert_eq!(fleet.instances().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ladder_tries_what_costs_least_first() {
    let mut fleet = Fleet::provider("ladder", 3).await;
    let ladder = "ladder = [\"restart-server\", \"redeploy\", \"reboot\", \"replace\"]\n";
    fleet.settings.file.insert_str(0, ladder);
    fleet.start().await;
    fleet.all_serve().await;
    let before = fleet.instances().await;
    let call = fleet.newest_call();

    // The listener alone: the supervisor on the box brings it back, and nobody does anything.
    fleet.hit("duel-0", FaultKind::KillServer { whole_session: false }).await;
    fleet.all_serve().await;

    // The whole session: the box says its server is dead, and a restart helps.
    let after = fleet.newest_event().await;
    fleet.hit("duel-1", KILL_SERVER).await;
    let ended = fleet.journaled(after, "remedy-ended", Some("duel-1")).await;
    assert!(ended.text.contains("restart"), "{}", ended.text);
    fleet.all_serve().await;

    // The container: only a reboot helps, and the provider may bring it up at another address.
    let after = fleet.newest_event().await;
    let moved = Fault::once(FaultKind::AddressChanges).on_instance(before["duel-2"]);
    let moved = fleet.inject(moved);
    fleet.hit("duel-2", FaultKind::KillInstance).await;
    fleet.journaled(after, "remedy-started", Some("duel-2")).await;
    fleet.all_serve().await;
    assert_eq!(fleet.fired(moved), 1);
    fleet.journaled(after, "address-changed", Some("duel-2")).await;
    assert_eq!(fleet.calls_of(&["reboot"], call), 1);

    assert_eq!(fleet.instances().await, before, "every remedy kept its box");
    assert_eq!(fleet.calls_of(&["destroy", "create"], call), 0);

    // Where nothing else can help, the box is replaced.
    fleet.hit("duel-0", FaultKind::HostOffline { for_s: None, status: "offline".into() }).await;
    fleet.replaced(&["duel-0".into()], &before).await;
    fleet.verdict(&[]).await.is_clean();
}
