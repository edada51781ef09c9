//! Deploys to several nodes, end to end: the gate, batches, budgets, a canary, a runner that is killed, and what healing does
//! afterwards.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Fleet, KILL_SERVER, PATIENCE, Run, crashing_server, eventually, next_server, picky_server, tiring_server,
};

const FIRST: &str = "aaaa111";
const NEXT: &str = "bbbb222";

/// Waits that a test can afford.
const QUICK: [(&str, &str); 3] =
    [("rollout.wait", "0s"), ("rollout.health_within", "60s"), ("rollout.hold", "20s")];

impl Fleet {
    async fn rollout(&self) -> Value {
        self.cli(&["rollout", "status", "--json"]).await.exits(0).json()
    }

    /// The deploys on record that were no healing, newest first.
    async fn deploys(&self) -> Vec<Value> {
        let deploys = self.cli(&["deploys", "--limit", "100", "--json"]).await.exits(0).json();
        deploys.as_array().unwrap().iter().filter(|deploy| deploy["healing"] == false).cloned().collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_goes_to_one_node_first_then_in_batches_and_healing_goes_by_it() {
    let mut fleet = Fleet::released_with("a rollout", 5, &QUICK).await;
    let instances = fleet.instances().await;
    fleet.gives(next_server());
    fleet.settings.set("rollout.min_healthy", "50");
    let told = fleet.cli(&["deploy", "--fleet", "--batch", "2"]).await.exits(0);
    assert_eq!(fleet.commits().await, [NEXT; 5], "{}", told.said());
    let batches: Vec<&str> = told
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("deploying to ")?.split(" (").next())
        .collect();
    assert_eq!(batches, ["duel-0", "duel-1, duel-2", "duel-3, duel-4"]);
    let rollout = fleet.rollout().await;
    assert_eq!(rollout["ending"]["ending"], "done", "{rollout}");
    let id = rollout["id"].as_str().unwrap();
    let deploys = fleet.deploys().await;
    assert_eq!(deploys.len(), 5);
    for deploy in &deploys {
        assert_eq!((deploy["rollout"].as_str(), deploy["outcome"].as_str()), (Some(id), Some("verified")));
        let steps = deploy["steps"].as_array().unwrap();
        let step = |word: &str| steps.iter().find(|step| step["step"] == word);
        assert!(
            step("gate").is_some() && step("upload").is_none(),
            "brought before anything was switched: {deploy}"
        );
    }
    fleet.cli(&["deploy", "--fleet"]).await.exits(10);
    assert_eq!((fleet.incidents().await.len(), fleet.paused().await), (0, 0));
    eventually("each end is told once, and its deploys are not", PATIENCE, async || {
        fleet.receiver.count("webhook", "every node was reached") == 2
    })
    .await;
    assert_eq!(fleet.receiver.count("webhook", "duel-1 serves"), 0);

    // The keeper was started with the first release. What it heals gets what was verified there.
    fleet.hit("duel-3", KILL_SERVER).await;
    fleet.replaced(&["duel-3".into()], &instances).await;
    assert_eq!(fleet.commit_of("duel-3").await, NEXT);
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_release_costs_the_gate_a_restart_and_nobody_else_anything() {
    let mut fleet = Fleet::released_with("a bad rollout", 3, &QUICK).await;
    let started = fleet.health_of("duel-1").await["started_at"].clone();
    fleet.gives(crashing_server());
    let told = fleet.cli(&["deploy", "--fleet"]).await.exits(30);
    assert!(told.stderr.contains("the gate `duel-0` does not take it"), "{}", told.stderr);
    assert_eq!(fleet.commits().await, [FIRST; 3]);
    assert_eq!(fleet.health_of("duel-1").await["started_at"], started, "it was not touched");
    let again = fleet.cli(&["deploy", "--fleet"]).await.exits(20);
    assert!(again.stderr.contains("quarantined"), "{}", again.stderr);
    let other = fleet.cli(&["deploy", "duel-1"]).await.exits(20);
    assert!(other.stderr.contains("quarantined"), "the whole fleet's, not the box's: {}", other.stderr);
    eventually("somebody is told", PATIENCE, async || {
        fleet.receiver.count("webhook", "does not take cccc") == 0
            && fleet.receiver.count("webhook", "and went back") == 1
            && fleet.receiver.count("webhook", "rollout r") == 1
    })
    .await;
    fleet.gives(next_server());
    fleet.cli(&["deploy", "--fleet"]).await.exits(0);
    assert_eq!(fleet.commits().await, [NEXT; 3], "another release needs no force");
    assert_eq!(fleet.incidents().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_failure_on_two_hosts_takes_everybody_back() {
    let mut fleet = Fleet::released_with("a release at fault", 4, &QUICK).await;
    for node in ["duel-1", "duel-2", "duel-3"] {
        fleet.cli(&["ssh", node, "--", "touch keeper/data/poison"]).await.exits(0);
    }
    fleet.gives(picky_server());
    fleet.settings.set("rollout.min_healthy", "0");
    let told = fleet.cli(&["deploy", "--fleet", "--batch", "3", "--max-failures", "100%"]).await.exits(30);
    assert!(told.stderr.contains("the release is at fault"), "{}", told.stderr);
    assert_eq!(fleet.commits().await, [FIRST; 4], "the gate that took it went back as well");
    assert_eq!(fleet.rollout().await["ending"]["ending"], "at-fault");
    let again = fleet.cli(&["deploy", "duel-0"]).await.exits(20);
    assert!(again.stderr.contains("quarantined"), "{}", again.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_does_worse_is_taken_back_and_one_that_does_not_is_followed() {
    let mut fleet = Fleet::released_with("a canary", 3, &QUICK).await;
    fleet.gives(tiring_server());
    let told = fleet.cli(&["deploy", "--fleet", "--strategy", "canary"]).await.exits(30);
    assert!(told.stderr.contains("the canary is worse"), "{}", told.stderr);
    assert_eq!(fleet.commits().await, [FIRST; 3]);
    fleet.gives(next_server());
    let told = fleet.cli(&["deploy", "--fleet", "--strategy", "canary"]).await.exits(0);
    assert!(told.stderr.contains("no worse"), "{}", told.stderr);
    assert_eq!(fleet.commits().await, [NEXT; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_is_killed_is_followed_and_a_pause_is_one() {
    let mut fleet = Fleet::released_with("a killed rollout", 3, &QUICK).await;
    // Long enough for what is to happen within one.
    fleet.settings.set("rollout.wait", "15s");
    fleet.gives(next_server());
    let runner = fleet.begin(&["deploy", "--fleet", "--batch", "1"]);
    let done = async |fleet: &Fleet| {
        let rollout = fleet.cli(&["rollout", "status", "--json"]).await;
        let nodes = if rollout.code == 0 { rollout.json()["nodes"].clone() } else { Value::Null };
        nodes.as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["state"] == "done").count())
    };
    eventually("the first node has it", PATIENCE, async || done(&fleet).await == 1).await;
    fleet.cli(&["deploy", "--fleet"]).await.exits(40);
    rustix::process::kill_process(runner.pid(), Signal::KILL).unwrap();
    let _ = runner.ended().await;
    let status = fleet.cli(&["rollout", "status"]).await.exits(0).stdout;
    assert!(status.contains("left by its command") && status.contains("rollout continue"), "{status}");

    // The configuration may be another one by now: what was begun is what goes on.
    fleet.gives(crashing_server());
    let runner = fleet.begin(&["rollout", "continue"]);
    eventually("the second node has it", PATIENCE, async || done(&fleet).await == 2).await;
    fleet.cli(&["rollout", "pause"]).await.exits(0);
    let paused = runner.ended().await.exits(20);
    assert!(paused.stderr.contains("rollout continue"), "{}", paused.stderr);
    assert_eq!(fleet.commit_of("duel-2").await, FIRST);
    fleet.cli(&["rollout", "continue"]).await.exits(0);
    assert_eq!(fleet.commits().await, [NEXT; 3]);
    assert_eq!(fleet.paused().await, 0);
    fleet.cli(&["rollout", "continue"]).await.exits(10);
    fleet.cli(&["rollout", "abort"]).await.exits(10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rollout_was_begun_with_holds_for_whoever_takes_it_up() {
    let mut fleet = Fleet::released_with("a rollout's terms", 2, &QUICK).await;
    fleet.settings.set("rollout.wait", "15s");
    let killed_after_the_first = async |fleet: &Fleet, words: &[&str]| {
        let state = async || {
            let rollout = fleet.cli(&["rollout", "status", "--json"]).await;
            if rollout.code == 0 { rollout.json() } else { Value::Null }
        };
        let runner = fleet.begin(words);
        tokio::select! {
            ended = runner.ended() => panic!("it ended by itself: {}", ended.said()),
            // What loses is dropped, and a command that is dropped is killed.
            () = eventually("the first node has it", PATIENCE, async || {
                let rollout = state().await;
                rollout["running"] == true && rollout["nodes"][0]["state"] == "done"
            }) => {}
        }
        eventually("it is dead", PATIENCE, async || state().await["running"] == false).await;
    };
    // By default a release that serves already is left alone.
    let started = fleet.health_of("duel-1").await["started_at"].clone();
    let words = ["deploy", "--fleet", "--restart", "--wait-lock", "7s", "--on-timeout", "proceed"];
    killed_after_the_first(&fleet, &words).await;
    let terms = fleet.rollout().await["terms"].clone();
    assert_eq!((&terms["restart"], &terms["unrest"]), (&true.into(), &"proceed".into()), "{terms}");
    assert_eq!(terms["wait_lock"]["secs"], 7, "{terms}");
    fleet.cli(&["rollout", "continue"]).await.exits(0);
    assert_ne!(fleet.health_of("duel-1").await["started_at"], started, "it was to be started anew");

    // By default what a box once went back from is not brought there again.
    fleet.cli(&["ssh", "duel-1", "--", "touch keeper/data/poison"]).await.exits(0);
    fleet.gives(picky_server());
    fleet.cli(&["deploy", "duel-1"]).await.exits(30);
    let status = fleet.cli(&["status"]).await.exits(0).stdout;
    assert!(status.contains("quarantined: release") && status.contains("deploy duel-1 --force"), "{status}");
    let shown = fleet.cli(&["status", "--json"]).await.exits(0).json()["quarantine"].clone();
    assert_eq!(
        (shown[0]["node"].as_str(), shown[0]["release"]["commit"].as_str()),
        (Some("duel-1"), Some("ffff666"))
    );
    let page = fleet.text("/").await;
    assert!(page.contains("quarantined releases") && page.contains("ffff666"), "{page}");
    fleet.cli(&["ssh", "duel-1", "--", "rm keeper/data/poison"]).await.exits(0);
    killed_after_the_first(&fleet, &["deploy", "--fleet", "--force"]).await;
    fleet.cli(&["rollout", "continue"]).await.exits(0);
    assert_eq!(fleet.commits().await, ["ffff666"; 2]);
    let status = fleet.cli(&["status"]).await.exits(0).stdout;
    assert!(!status.contains("quarantined"), "it has proven itself: {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_without_a_keeper_is_on_record_when_it_starts_again() {
    let mut fleet = Fleet::released_with("a deploy alone", 1, &[]).await;
    let instances = fleet.instances().await;
    fleet.take_keeper().kill().await;
    fleet.gives(next_server());
    fleet.cli(&["deploy", "duel-0"]).await.exits(0);
    assert_eq!(fleet.deploys().await.len(), 1);
    fleet.gives(crashing_server());
    fleet.cli(&["deploy", "duel-0"]).await.exits(30);
    // The keeper is started with the very release that was gone back from.
    fleet.start().await;
    fleet.all_serve().await;
    eventually("what happened meanwhile is told", PATIENCE, async || {
        fleet.receiver.count("webhook", "and went back") == 1
    })
    .await;
    fleet.hit("duel-0", KILL_SERVER).await;
    fleet.replaced(&["duel-0".into()], &instances).await;
    assert_eq!(fleet.commit_of("duel-0").await, NEXT, "the last one that was verified");
    let story = fleet.cli(&["deploys", "duel-0"]).await.exits(0).stdout;
    assert!(story.contains("rolled back") && story.contains("verified") && story.contains("gate"), "{story}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blue_green_proves_a_second_box_first_and_goes_back_to_the_first_in_a_moment() {
    let published = |fleet: &Fleet| fleet.folder().join("nodes.json");
    let mut fleet = Fleet::light("blue-green", 1).await;
    let path = published(&fleet).display().to_string();
    fleet.settings.set("publish.file", &path);
    fleet.start().await;
    let serving = fleet.all_serve().await;
    let first = fleet.instance("duel-0").await;
    let address_of = |view: &vast_keeper::fleet::view::FleetView| view.nodes[0].address.unwrap().to_string();
    let home = address_of(&serving);
    fleet.gives(next_server());
    let told = fleet.cli(&["deploy", "duel-0", "--strategy", "blue-green"]).await.exits(0).stdout;
    assert_eq!(fleet.rollout().await["plan"]["manner"], "blue-green");
    assert!(told.contains(&format!("way back: instance {first}")), "{told}");
    let second = fleet.instance("duel-0").await;
    assert_ne!(second, first);
    assert_eq!(fleet.commit_of("duel-0").await, NEXT);
    let away = address_of(&fleet.view().await.unwrap());
    let says = |address: &str| std::fs::read_to_string(&path).is_ok_and(|text| text.contains(address));
    eventually("the second box's address is published", PATIENCE, async || says(&away)).await;
    assert_eq!(fleet.sim.ledger().live().count(), 2, "both are alive");

    let rented = || fleet.sim.calls().iter().filter(|call| call.endpoint == "create").count();
    let before = rented();
    fleet.cli(&["rollback", "duel-0"]).await.exits(20);
    fleet.cli(&["rollback", "duel-0", "--yes"]).await.exits(0);
    assert_eq!(rented(), before, "the way back is a switch, not a rental");
    assert_eq!((fleet.instance("duel-0").await, fleet.commit_of("duel-0").await.as_str()), (first, FIRST));
    eventually("the first box's address is published again", PATIENCE, async || says(&home)).await;
    fleet.all_serve().await;
    assert_eq!(fleet.incidents().await.len(), 0);
    let verdict = fleet.verdict(&[second]).await;
    assert_eq!(verdict.doubled, [(first, second)], "the one pair that may live at once");
    assert!(verdict.leaked.is_empty() && verdict.wrongly_destroyed.is_empty(), "{verdict:?}");
}
