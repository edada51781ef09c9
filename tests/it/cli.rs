//! The command line, with a daemon and without.

use std::{process::Stdio, time::Duration};

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::{ADMIN_CODE, API_KEY, Fleet, PATIENCE, Run, URL_SECRET};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_does_what_it_says_and_exits_as_it_says() {
    let mut fleet = Fleet::serving("verbs", 2).await;
    reading(&fleet).await;
    wishes(&fleet).await;
    let asked_for = drastic(&fleet).await;
    fleet.verdict(&asked_for).await.is_clean();
    follow(&fleet).await;
    fleet.take_keeper().end(Signal::TERM, PATIENCE).await;
    without_a_daemon(&mut fleet, &asked_for).await;
}

async fn reading(fleet: &Fleet) {
    let before = fleet.newest_event().await;
    fleet.cli(&["check"]).await.exits(0);
    let shown = fleet.cli(&["config", "show"]).await.exits(0).said();
    let json = fleet.cli(&["config", "show", "--json"]).await.exits(0);
    for secret in [API_KEY, ADMIN_CODE, URL_SECRET] {
        assert!(!shown.contains(secret) && !json.said().contains(secret), "`config show` prints {secret}");
    }
    assert!(shown.contains("***") && json.json().as_array().is_some_and(|rows| rows.len() > 50));
    let status = fleet.cli(&["status", "--json"]).await.exits(0).json();
    assert_eq!((status["healthy"].as_u64(), status["wanted"].as_u64()), (Some(2), Some(2)));
    let table = fleet.cli(&["status"]).await.exits(0).stdout;
    assert!(table.contains("duel-0") && table.contains("duel-1") && !table.contains('\u{1b}'), "{table}");
    let offers = fleet.cli(&["offers", "--json"]).await.exits(0);
    assert!(offers.json().is_object() || offers.json().is_array());
    fleet.cli(&["offers", "duel-1"]).await.exits(0);
    fleet.cli(&["offers", "duel-7"]).await.exits(2);
    fleet.cli(&["incidents"]).await.exits(0);
    fleet.cli(&["incidents", "99"]).await.exits(2);
    let lines = fleet.cli(&["events", "--json", "--after", "0"]).await.exits(0).stdout;
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{lines}");
    let entries = lines.lines().count() as u64;
    assert!((before..=fleet.newest_event().await).contains(&entries), "one line an entry");
    fleet.cli(&["status", "--no-such-flag"]).await.exits(2);
}

async fn wishes(fleet: &Fleet) {
    fleet.cli(&["pause", "duel-0"]).await.exits(0);
    fleet.cli(&["pause", "duel-0"]).await.exits(10);
    let view = fleet.view().await.unwrap();
    assert!(view.nodes[0].paused_by.is_some());
    // A paused node that fails is watched, told, and not healed.
    let before = fleet.instances().await;
    fleet.hit("duel-0", crate::harness::KILL_SERVER).await;
    fleet
        .until("the paused node is blocked", |view| {
            view.nodes[0].blocked.as_ref().is_some_and(|blocked| blocked.rail == "paused")
        })
        .await;
    assert_eq!(fleet.instances().await, before);
    fleet.cli(&["resume", "duel-0"]).await.exits(0);
    fleet.replaced(&["duel-0".into()], &before).await;
    fleet.cli(&["resume", "duel-0"]).await.exits(10);
    fleet.cli(&["pause", "duel-9"]).await.exits(20);
    fleet.cli(&["pause"]).await.exits(2);
    fleet.cli(&["pause", "duel-0", "--all"]).await.exits(2);
    let all = fleet.cli(&["pause", "--all", "--json"]).await.exits(0).json();
    let view = fleet.view().await.unwrap();
    assert_eq!(all.as_array().map(Vec::len), Some(view.nodes.len()), "{all}");
    assert!(view.nodes.iter().all(|node| node.paused_by.is_some()));
    fleet.cli(&["pause", "--all"]).await.exits(10);
    fleet.cli(&["resume", "--all"]).await.exits(0);
    fleet.cli(&["resume", "--all"]).await.exits(10);
    assert!(fleet.view().await.unwrap().nodes.iter().all(|node| node.paused_by.is_none()));
    let story = fleet.cli(&["incidents", "1"]).await.exits(0).stdout;
    for word in ["detected", "destroyed", "rented", "booted", "deployed", "healthy"] {
        assert!(story.contains(word), "the story lacks `{word}`: {story}");
    }
    let json = fleet.cli(&["incidents", "1", "--json"]).await.exits(0).json();
    assert_eq!(json["milestones"].as_array().map(Vec::len), Some(7), "{json}");
}

/// Returns what was destroyed by hand.
async fn drastic(fleet: &Fleet) -> Vec<u64> {
    let before = fleet.instances().await;
    let call = fleet.newest_call();
    for verb in ["destroy", "reprovision"] {
        fleet.cli(&[verb, "duel-1"]).await.exits(20);
        let dry = fleet.cli(&[verb, "duel-1", "--dry-run"]).await.exits(0);
        assert!(dry.stderr.contains(&before["duel-1"].to_string()), "{}", dry.said());
        fleet.cli(&[verb, "duel-9", "--yes"]).await.exits(2);
    }
    assert_eq!(fleet.calls_of(&["destroy", "create"], call), 0);
    let reply = fleet.cli(&["reprovision", "duel-1", "--yes", "--json"]).await.exits(0).json();
    assert_eq!(reply["reply"], "accepted");
    fleet.replaced(&["duel-1".into()], &before).await;
    let second = fleet.instance("duel-1").await;
    fleet.cli(&["destroy", "duel-1", "--yes"]).await.exits(0);
    let empty = |view: &vast_keeper::fleet::view::FleetView| {
        view.doomed.is_empty() && view.nodes[1].state == "held" && view.nodes[1].instance.is_none()
    };
    fleet.until("the node is empty and stays so", empty).await;
    assert_eq!(fleet.sim.ledger().live().count(), 1);
    fleet.cli(&["resume", "duel-1"]).await.exits(0);
    fleet.all_serve().await;
    vec![before["duel-1"], second]
}

/// `events --follow` prints what happens after it was started.
async fn follow(fleet: &Fleet) {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_vast-keeper"))
        .args(["events", "--follow"])
        .args(fleet.settings.arguments())
        .current_dir(&fleet.settings.scratch)
        .env_clear()
        .envs(&fleet.settings.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // It has shown the past before the pause below is journaled.
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    assert!(first.is_some());
    fleet.cli(&["pause", "duel-1"]).await.exits(0);
    let seen = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("duel-1") && line.contains("pause") {
                return true;
            }
        }
        false
    };
    assert!(tokio::time::timeout(PATIENCE, seen).await.unwrap());
    child.kill().await.unwrap();
    fleet.cli(&["resume", "duel-1"]).await.exits(0);
}

async fn without_a_daemon(fleet: &mut Fleet, asked_for: &[u64]) {
    for verb in
        [&["status"] as &[_], &["pause", "duel-0"], &["resume", "duel-0"], &["destroy", "duel-0", "--yes"]]
    {
        let ended = fleet.cli(verb).await.exits(69);
        assert!(ended.stderr.contains("hint:"), "{}", ended.stderr);
    }
    let incidents = fleet.cli(&["incidents", "--json"]).await.exits(0).json();
    assert_eq!(incidents.as_array().map(Vec::len), Some(2), "the past is read from the journal: {incidents}");
    let live: Vec<u64> = fleet.sim.ledger().live().map(|rental| rental.instance).collect();
    fleet.cli(&["reprovision", "duel-0"]).await.exits(20);
    fleet.cli(&["reprovision", "duel-0", "--dry-run"]).await.exits(0);
    fleet.cli(&["reprovision", "duel-9", "--yes"]).await.exits(2);
    let now: Vec<u64> = fleet.sim.ledger().live().map(|rental| rental.instance).collect();
    assert_eq!(live, now);

    let done = fleet.cli(&["reprovision", "duel-0", "--yes"]).await.exits(0);
    assert!(done.stdout.contains("duel-0"), "{}", done.said());
    for stage in ["booting", "deploying"] {
        assert!(done.stderr.contains(stage), "progress shows `{stage}`: {}", done.stderr);
    }
    // The daemon takes the result over.
    fleet.start().await;
    fleet.all_serve().await;
    let replaced: Vec<u64> = live.into_iter().chain(asked_for.iter().copied()).collect();
    fleet.verdict(&replaced).await.is_clean();
    let ended = fleet.take_keeper().end(Signal::TERM, Duration::from_secs(15)).await;
    assert!(ended.success());
}
