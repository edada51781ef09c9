//! `demo --once --json --fault all`: the main job in one command, as a script would call it.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::harness::{finish_within, room, server_binary};

/// Longer than the demo waits for its three nodes and for seven healings, so that it says itself what did not happen.
const PATIENCE: Duration = Duration::from_secs(180 + 7 * 120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_heals_every_fault_and_proves_it() {
    let _room = room(4).await;
    // Built here first, so that the demo's own build has nothing left to do.
    let target = server_binary().ancestors().nth(2).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vast-keeper"));
    command
        .args(["demo", "--once", "--json", "--fault", "all"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null());
    let ended = finish_within(PATIENCE, command).await.exits(0);
    let verdict = ended.json();
    assert_eq!(verdict["result"], "healed", "{verdict}");
    assert_eq!(verdict["nodes"], 3);
    for nothing in ["leaked", "double_rented", "wrongly_destroyed"] {
        assert_eq!(verdict[nothing], 0, "{verdict}");
    }
    assert_eq!(verdict["live_rentals"], 3);
    let faults = verdict["faults"].as_array().unwrap();
    let kinds: Vec<&str> = faults.iter().filter_map(|fault| fault["kind"].as_str()).collect();
    let wanted = [
        "kill-server",
        "freeze",
        "kill-instance",
        "stuck-loading",
        "offer-gone",
        "lost-create-reply",
        "api-outage",
    ];
    assert_eq!(kinds, wanted);
    for fault in faults {
        let time = |name: &str| fault[name].as_u64().unwrap_or_else(|| panic!("no {name}: {fault}"));
        assert!(
            time("detected_ms") > 0 && time("healed_ms") > time("detected_ms") && time("incident") > 0,
            "{fault}"
        );
        assert!(fault["node"].as_str().is_some_and(|node| node.starts_with("duel-")));
    }
    let (created, destroyed) = (verdict["rentals_created"].as_u64(), verdict["rentals_destroyed"].as_u64());
    assert_eq!(created.zip(destroyed).map(|(created, destroyed)| created - destroyed), Some(3));
    for sink in ["slack", "discord", "webhook"] {
        assert_eq!(
            (verdict["alerts"][sink]["opened"].as_u64(), verdict["alerts"][sink]["closed"].as_u64()),
            (Some(7), Some(7))
        );
    }
}
