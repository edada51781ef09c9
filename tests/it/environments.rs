//! Several profiles beside each other: what serves in one is promoted to the next, what is pushed is deployed, what a node must be
//! is shown, and breaking something on purpose is measured.

use std::{path::Path, process::Command};

use crate::harness::{
    Fleet, KILL_SERVER, PATIENCE, Run, crashing_server, eventually, next_server, small_server,
};

const FIRST: &str = "aaaa111";
const NEXT: &str = "bbbb222";

/// A profile of its own beside the fleet's file: another name, another state.
fn profile(fleet: &Fleet, name: &str, more: &str) {
    let folder = fleet.folder();
    let text = format!(
        "[fleet]\nname = \"{name}\"\n{more}\n[keeper]\nstate_dir = \"{0}/{name}\"\ncontrol_socket = \"{0}/{name}.sock\"\n",
        folder.display()
    );
    std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
}

/// A keeper of the profile is started, fills its nodes, and is the fleet's from now on.
async fn started(fleet: &mut Fleet, name: &str) {
    for key in ["keeper.state_dir", "keeper.control_socket"] {
        fleet.settings.flags.remove(key);
    }
    fleet.settings.environment.insert("KEEPER_PROFILE".into(), name.into());
    fleet.settings.write();
    let keeper = crate::harness::Keeper::spawn(&fleet.settings, fleet.log());
    fleet.adopt(keeper);
    let socket = fleet.folder().join(format!("{name}.sock"));
    eventually("the profile's nodes serve", PATIENCE, async || {
        let view = crate::harness::view_at(&socket).await;
        view.is_some_and(|view| view.healthy == view.wanted && view.doomed.is_empty())
    })
    .await;
}

async fn commit_at(fleet: &Fleet, name: &str, node: &str) -> String {
    let socket = fleet.folder().join(format!("{name}.sock"));
    let view = crate::harness::view_at(&socket).await.unwrap();
    let address = view.nodes.iter().find(|known| known.node.as_str() == node).unwrap().address.unwrap();
    let answer = crate::harness::exchange(address, "GET", "/health", b"").await.unwrap();
    let health: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    health["commit"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_verified_in_staging_and_nothing_else_goes_to_production() {
    let mut fleet = Fleet::light("promotions", 1).await;
    profile(&fleet, "staging", "");
    profile(&fleet, "production", "protected = true\n");
    started(&mut fleet, "staging").await;
    let staging = fleet.take_keeper();
    started(&mut fleet, "production").await;
    let promote = |more: &'static [&'static str]| {
        [&["promote", "--from", "staging", "--to", "production"][..], more].concat()
    };

    fleet.gives(next_server());
    fleet.settings.environment.insert("KEEPER_PROFILE".into(), "staging".into());
    fleet.cli(&["deploy", "duel-0"]).await.exits(0);
    // What is configured by now is something else: the file that was verified is what goes on.
    fleet.gives(crashing_server());
    let refused = fleet.cli(&promote(&["--yes"])).await.exits(20);
    assert!(refused.stderr.contains("--i-mean production"), "{}", refused.stderr);
    fleet.cli(&promote(&["--yes", "--i-mean", "staging"])).await.exits(20);
    fleet.cli(&promote(&[])).await.exits(20);
    let would = fleet.cli(&promote(&["--dry-run"])).await.exits(0).stdout;
    assert!(would.contains(NEXT) && would.contains("1 nodes of production"), "{would}");
    assert_eq!(commit_at(&fleet, "production", "duel-0").await, FIRST);
    fleet.cli(&promote(&["--yes", "--i-mean", "production"])).await.exits(0);
    assert_eq!(commit_at(&fleet, "production", "duel-0").await, NEXT);
    fleet.cli(&promote(&["--yes", "--i-mean", "production"])).await.exits(10);

    let backwards = ["promote", "--from", "production", "--to", "staging", "--yes"];
    assert!(fleet.cli(&backwards).await.exits(20).stderr.contains("promote.order"));
    let unknown = ["promote", "--from", "staging", "--to", "elsewhere", "--yes"];
    fleet.cli(&unknown).await.exits(2);

    // Nothing is broken on purpose where others depend on it.
    fleet.settings.environment.insert("KEEPER_PROFILE".into(), "production".into());
    let refused = fleet.cli(&["drill", "kill-server", "--node", "duel-0", "--yes"]).await.exits(20);
    assert!(refused.stderr.contains("protected"), "{}", refused.stderr);
    staging.kill().await;
}

fn git(folder: &Path, words: &[&str]) -> String {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").arg("-C").arg(folder).args(identity).args(words).output().unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Commits a server and pushes it; the commit's name.
fn push(work: &Path, server: &Path, branch: &str) -> String {
    std::fs::copy(server, work.join("server.bin")).unwrap();
    std::fs::write(
        work.join("make.sh"),
        "mkdir -p out && cp server.bin out/server && chmod 755 out/server\n",
    )
    .unwrap();
    git(work, &["add", "-A"]);
    git(work, &["commit", "--quiet", "--allow-empty", "-m", "another server"]);
    git(work, &["push", "--quiet", "origin", &format!("HEAD:refs/heads/{branch}")]);
    git(work, &["rev-parse", "HEAD"])
}

/// A remote whose branch the fleet follows, and the working copy that is pushed from.
fn followed(fleet: &mut Fleet) -> std::path::PathBuf {
    let (bare, work) = (fleet.folder().join("origin.git"), fleet.folder().join("work"));
    std::fs::create_dir(&work).unwrap();
    git(&fleet.folder(), &["init", "--quiet", "--bare", bare.to_str().unwrap()]);
    git(&work, &["init", "--quiet"]);
    git(&work, &["remote", "add", "origin", bare.to_str().unwrap()]);
    push(&work, small_server(), "server-development");
    let settings = [
        ("push.remote", bare.to_str().unwrap()),
        ("push.branch", "server-development"),
        ("push.build", "sh make.sh"),
        ("push.artifact", "out/server"),
        ("push.every", "1s"),
    ];
    for (key, value) in settings {
        fleet.settings.set(key, value);
    }
    work
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_waits_for_healing_and_is_taken_up_after_a_stop() {
    let quick = [("rollout.wait", "15s"), ("rollout.min_healthy", "0")];
    let mut fleet = Fleet::released_with("a push while a node heals", 2, &quick).await;
    let before = fleet.instances().await;
    let work = followed(&mut fleet);
    fleet.cli(&["follow", "--once"]).await.exits(10);
    push(&work, next_server(), "server-development");

    // Nobody heals the node for now.
    fleet.cli(&["pause", "duel-0"]).await.exits(0);
    fleet.hit("duel-0", KILL_SERVER).await;
    eventually("it has an incident", PATIENCE, async || !fleet.incidents().await.is_empty()).await;
    let follower = fleet.begin(&["follow"]);
    eventually("the push is built", PATIENCE, async || {
        fleet.settings.state().join("source/out/server").exists()
    })
    .await;
    assert_eq!(fleet.commit_of("duel-1").await, FIRST, "healing comes first");
    fleet.cli(&["resume", "duel-0"]).await.exits(0);
    fleet.replaced(&["duel-0".into()], &before).await;

    // It is told to stop in the middle of the rollout that follows.
    eventually("the first node has it", PATIENCE, async || {
        let rollout = fleet.cli(&["rollout", "status", "--json"]).await;
        rollout.code == 0 && rollout.json()["nodes"][0]["state"] == "done"
    })
    .await;
    rustix::process::kill_process(follower.pid(), rustix::process::Signal::TERM).unwrap();
    let ended = follower.ended().await.exits(0);
    assert!(ended.stderr.contains("waits for the healing of duel-0"), "{}", ended.stderr);
    assert_eq!(fleet.commit_of("duel-1").await, FIRST);
    let taken_up = fleet.cli(&["follow", "--once"]).await.exits(0);
    assert!(taken_up.stderr.contains("taking it up"), "{}", taken_up.stderr);
    assert_eq!(fleet.commits().await, [NEXT; 2]);
    fleet.cli(&["follow", "--once"]).await.exits(10);
    assert_eq!(fleet.paused().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pushed_to_the_fleets_branch_is_deployed_and_what_is_bad_is_tried_once() {
    let mut fleet = Fleet::released("pushes", 1).await;
    let work = followed(&mut fleet);
    let first = fleet.cli(&["follow", "--once"]).await.exits(10);
    assert!(first.stderr.contains("what is pushed from now on"), "{}", first.stderr);
    fleet.cli(&["follow", "--once"]).await.exits(10);

    push(&work, next_server(), "main");
    fleet.cli(&["follow", "--once"]).await.exits(10);
    assert_eq!(fleet.commit_of("duel-0").await, FIRST, "another branch is another fleet's");
    let pushed = push(&work, next_server(), "server-development");
    let told = fleet.cli(&["follow", "--once"]).await.exits(0);
    assert!(told.stdout.contains(&pushed), "{}", told.said());
    assert_eq!(fleet.commit_of("duel-0").await, NEXT);

    push(&work, crashing_server(), "server-development");
    fleet.cli(&["follow", "--once"]).await.exits(30);
    assert_eq!(fleet.commit_of("duel-0").await, NEXT);
    fleet.cli(&["follow", "--once"]).await.exits(10);
    std::fs::write(work.join("make.sh"), "echo no compiler here >&2; exit 1\n").unwrap();
    git(&work, &["commit", "--quiet", "-am", "broken"]);
    git(&work, &["push", "--quiet", "origin", "HEAD:refs/heads/server-development"]);
    let broken = fleet.cli(&["follow", "--once"]).await.exits(20);
    assert!(broken.stderr.contains("no compiler here"), "{}", broken.stderr);
    eventually("a push that fails is told", PATIENCE, async || {
        fleet.receiver.count("webhook", "is not deployed to e2e") >= 1
    })
    .await;
    fleet.settings.set("push.branch", "absent");
    fleet.cli(&["follow", "--once"]).await.exits(69);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drills_are_measured_and_remembered_and_a_specification_shows_its_drift() {
    let mut fleet = Fleet::released("drills", 2).await;
    let never = fleet.cli(&["drill", "history"]).await.exits(0).stdout;
    assert_eq!(never.matches("never").count(), 3, "{never}");
    let spec = fleet.cli(&["spec", "duel-0", "--json"]).await.exits(0).json();
    assert_eq!(spec["drift"], serde_json::json!([]), "{spec}");
    assert_eq!(spec["wanted"]["release"], spec["runs"]["release"]);
    assert!(!spec.to_string().contains(crate::harness::ADMIN_CODE));

    let before = fleet.instances().await;
    fleet.cli(&["drill", "kill-server", "--node", "duel-0"]).await.exits(20);
    let drill = ["drill", "kill-server", "--node", "duel-0", "--yes", "--target", "60s", "--json"];
    let drill = fleet.cli(&drill).await.exits(0).json();
    let rto = drill["rto_ms"].as_u64().unwrap();
    assert!((1..60_000).contains(&rto), "{drill}");
    fleet.all_serve().await;
    assert_eq!(fleet.incidents().await.len(), 1, "the keeper healed it by itself");

    // One that is left before its end is remembered, and has tested nothing.
    let left = fleet.begin(&["drill", "kill-server", "--node", "duel-0", "--yes"]);
    eventually("the keeper notices", PATIENCE, async || fleet.incidents().await.len() == 2).await;
    rustix::process::kill_process(left.pid(), rustix::process::Signal::INT).unwrap();
    let left = left.ended().await.exits(32);
    assert!(left.stderr.contains("healed without you"), "{}", left.stderr);
    fleet.all_serve().await;

    let drill = ["drill", "replace", "--node", "duel-1", "--yes", "--target", "60s"];
    let told = fleet.cli(&drill).await.exits(0).stdout;
    assert!(told.contains("gave way to"), "{told}");
    assert_ne!(fleet.instance("duel-1").await, before["duel-1"]);

    let refused = fleet.cli(&["drill", "rollback", "--node", "duel-1", "--yes"]).await.exits(20);
    assert!(refused.stderr.contains("no other release"), "{}", refused.stderr);
    fleet.gives(next_server());
    fleet.cli(&["deploy", "duel-1"]).await.exits(0);
    fleet.cli(&["drill", "rollback", "--node", "duel-1", "--yes"]).await.exits(0);
    assert_eq!(fleet.commit_of("duel-1").await, NEXT, "it ends as it began");
    let history = fleet.cli(&["drill", "history", "--json"]).await.exits(0).json();
    let kinds: Vec<&str> =
        history["drills"].as_array().unwrap().iter().map(|drill| drill["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["kill-server", "kill-server", "replace", "rollback"]);
    assert!(history["drills"][1]["cut"].as_str().unwrap().contains("interrupted"), "{history}");
    assert_eq!(history["last"]["kill-server"], history["drills"][0]["at"], "{history}");

    fleet.gives(crashing_server());
    let spec = fleet.cli(&["spec", "duel-1"]).await.exits(0).stdout;
    assert!(spec.contains("is configured and was not deployed; healing brings"), "{spec}");
    let text = fleet.cli(&["logs", "duel-1", "--of", "deploys", "--since", "1h"]).await.exits(0).stdout;
    assert!(text.contains("verified") || text.contains("confirm"), "{text}");
    let none = fleet.cli(&["logs", "duel-1", "--of", "deploys", "--since", "0s"]).await.exits(0).stdout;
    assert_eq!(none.trim(), "");
    fleet.cli(&["logs", "duel-1", "--since", "1h"]).await.exits(20);
}
