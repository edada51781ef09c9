//! The verbs that work on boxes by hand, end to end: the real binary, the running keeper, real SSH.

use rustix::process::Signal;

use crate::harness::{
    ADMIN_CODE, Fleet, PATIENCE, Run, crashing_server, eventually, next_server, sick_server,
};

/// The commit of the fixture server that every fleet begins with, and of the one after it.
const FIRST: &str = "aaaa111";
const NEXT: &str = "bbbb222";

async fn serving(name: &'static str, nodes: u32) -> Fleet {
    Fleet::released(name, nodes).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_deployed_once_proven_and_gone_back_from() {
    let mut fleet = serving("deploy by hand", 1).await;
    let instances = fleet.instances().await;

    let unchanged = fleet.cli(&["deploy", "duel-0"]).await.exits(10);
    assert!(unchanged.said().contains("serves already"), "{}", unchanged.said());
    let started = fleet.health_of("duel-0").await["started_at"].clone();
    fleet.cli(&["deploy", "--fleet", "--dry-run"]).await.exits(10);

    fleet.gives(next_server());
    let plan = fleet.cli(&["deploy", "duel-0", "--dry-run"]).await.exits(0).stdout;
    assert!(plan.contains("# upload") && plan.contains("# gate") && !plan.contains(ADMIN_CODE), "{plan}");
    assert_eq!(fleet.health_of("duel-0").await["started_at"], started, "a dry run and an unchanged release");
    assert_eq!(fleet.commit_of("duel-0").await, FIRST);

    let deployed = fleet.cli(&["deploy", "duel-0", "--json"]).await.exits(0).json();
    assert_eq!((deployed["commit"].as_str(), deployed["unchanged"].as_bool()), (Some(NEXT), Some(false)));
    let steps: Vec<&str> =
        deployed["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    for step in ["upload", "seal", "switch", "start", "gate", "confirm"] {
        assert!(steps.contains(&step), "{steps:?}");
    }
    assert_eq!(fleet.commit_of("duel-0").await, NEXT);
    fleet.all_serve().await;

    let stock = fleet.cli(&["releases", "duel-0", "--json"]).await.exits(0).json();
    let releases = stock[0]["releases"].as_array().unwrap();
    let named = |role: &str| releases.iter().find(|release| release["role"] == role).unwrap();
    assert_eq!(named("current")["commit"], NEXT);
    assert_eq!(named("previous")["commit"], FIRST);
    assert_eq!(stock[0]["way_back"], named("previous")["name"]);

    fleet.cli(&["rollback", "duel-0"]).await.exits(20);
    assert_eq!(fleet.commit_of("duel-0").await, NEXT, "nobody confirmed it");
    let refused = fleet.cli(&["rollback", "duel-0", "--to", "ffff", "--yes"]).await.exits(20);
    assert!(refused.stderr.contains("no release `ffff`"), "{}", refused.stderr);
    fleet.cli(&["rollback", "duel-0", "--yes"]).await.exits(0);
    assert_eq!(fleet.commit_of("duel-0").await, FIRST);
    fleet.cli(&["rollback", "duel-0", "--to", NEXT, "--yes"]).await.exits(0);
    assert_eq!(fleet.commit_of("duel-0").await, NEXT);

    fleet.all_serve().await;
    assert_eq!(fleet.instances().await, instances, "no box was exchanged for all that");
    assert_eq!((fleet.incidents().await.len(), fleet.paused().await), (0, 0));
    fleet.cli(&["deploy"]).await.exits(2);
    fleet.cli(&["deploy", "duel-9"]).await.exits(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_release_goes_back_with_its_own_exit_code_and_is_not_tried_again_unforced() {
    let mut fleet = serving("bad release by hand", 1).await;
    let instances = fleet.instances().await;
    fleet.gives(crashing_server());
    let failed = fleet.cli(&["deploy", "duel-0"]).await.exits(30);
    assert!(failed.stderr.contains("went back to"), "{}", failed.stderr);
    assert_eq!(fleet.commit_of("duel-0").await, FIRST, "the old one serves");
    assert_eq!(fleet.paused().await, 0, "healing goes on");
    let shunned = fleet.cli(&["deploy", "duel-0"]).await.exits(20);
    assert!(shunned.stderr.contains("--force") || shunned.stderr.contains("went back"), "{}", shunned.stderr);
    let forced = fleet.cli(&["deploy", "duel-0", "--force"]).await;
    assert_eq!(forced.code, 30, "{}", forced.said());
    assert_eq!(fleet.commit_of("duel-0").await, FIRST);
    fleet.all_serve().await;
    assert_eq!(fleet.instances().await, instances);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_is_entered_shown_and_left() {
    let fleet = serving("maintenance by hand", 2).await;
    let status = fleet.cli(&["maintenance", "status"]).await.exits(0).stdout;
    assert_eq!(status.lines().count(), 2, "{status}");
    fleet
        .cli(&["maintenance", "enter", "duel-0", "--reason", "a look inside", "--timeout", "20s"])
        .await
        .exits(0);
    let status = fleet.cli(&["maintenance", "status", "duel-0", "--json"]).await.exits(0).json();
    assert!(status["text"].as_str().unwrap().contains("a look inside"), "{status}");
    // Somebody else's maintenance is theirs: a deploy does not take it over.
    let refused = fleet.cli(&["deploy", "duel-0", "--restart"]).await.exits(20);
    assert!(refused.stderr.contains("a look inside"), "{}", refused.stderr);
    fleet.cli(&["maintenance", "exit", "duel-0"]).await.exits(0);
    let status = fleet.cli(&["maintenance", "status", "duel-0"]).await.exits(0).stdout;
    assert!(!status.contains("a look inside"), "{status}");
    fleet.cli(&["deploy", "duel-0", "--restart"]).await.exits(0);
    fleet.all_serve().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_that_a_killed_deploy_left_the_keeper_ends() {
    let alarm = [("health.maintenance_alarm", "10s")];
    let mut fleet = Fleet::released_with("killed at rest", 1, &alarm).await;
    fleet.gives(next_server());
    fleet.dies(&["deploy", "duel-0"], "step-done:enter-maintenance 1").await;
    let held = fleet.cli(&["maintenance", "status", "duel-0"]).await.exits(0).stdout;
    assert!(held.contains("deploy "), "{held}");
    // It holds its lease for a while, as if it were at work; a person need not wait for that.
    fleet.cli(&["lock", "break", "duel-0", "--yes"]).await.exits(0);
    eventually("the keeper lets the server go on", PATIENCE, async || {
        let status = fleet.cli(&["maintenance", "status", "duel-0"]).await.exits(0).stdout;
        status.contains("not in maintenance")
    })
    .await;
    assert_eq!(fleet.commit_of("duel-0").await, FIRST, "nothing was switched");
    eventually("it is told", PATIENCE, async || {
        fleet.receiver.count("webhook", "was left in maintenance by work that died") == 1
    })
    .await;
    assert!(fleet.cli(&["lock", "show", "duel-0"]).await.exits(0).stdout.contains("nobody holds"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deploys_never_meet_and_an_interrupted_one_is_taken_up_again() {
    let mut fleet = serving("two deploys", 1).await;
    let free = fleet.cli(&["lock", "show", "duel-0"]).await.exits(0).stdout;
    assert!(free.contains("nobody holds"), "{free}");
    fleet.cli(&["lock", "break", "duel-0", "--yes"]).await.exits(10);

    // A release that never becomes well keeps its deploy at the gate; meanwhile the box is taken.
    fleet.settings.edit("deploy = \"60s\"", "deploy = \"240s\"");
    fleet.settings.edit("gate_within = \"20s\"", "gate_within = \"150s\"");
    fleet.gives(sick_server());
    let first = fleet.begin(&["deploy", "duel-0"]);
    let pid = first.pid();
    let mut ended = std::pin::pin!(first.ended());
    tokio::select! {
        ended = &mut ended => panic!("it ended by itself: {}", ended.said()),
        () = eventually("the first deploy holds the box", PATIENCE, async || {
            let shown = fleet.cli(&["lock", "show", "duel-0", "--json"]).await.exits(0).json();
            !shown["holder"].is_null()
        }) => {}
    }
    let second = fleet.cli(&["deploy", "duel-0"]).await.exits(40);
    assert!(second.stderr.contains("lock show"), "{}", second.stderr);
    tokio::select! {
        ended = &mut ended => panic!("it ended by itself: {}", ended.said()),
        () = eventually("it serves on trial", PATIENCE, async || {
            fleet.commit_of("duel-0").await == "dddd444"
        }) => {}
    }

    // Ctrl-C: nothing is left half-way, no lease stands, and healing is not kept away.
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let ended = ended.await.exits(30);
    assert!(ended.stderr.contains("interrupted; `"), "{}", ended.stderr);
    assert_ne!(fleet.commit_of("duel-0").await, "dddd444");
    assert_eq!(fleet.paused().await, 0);
    let free = fleet.cli(&["lock", "show", "duel-0"]).await.exits(0).stdout;
    assert!(free.contains("nobody holds"), "{free}");
    fleet.gives(next_server());
    fleet.cli(&["deploy", "duel-0"]).await.exits(0);
    assert_eq!(fleet.commit_of("duel-0").await, NEXT);
    fleet.all_serve().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_can_be_looked_into_by_name() {
    let fleet = serving("looking into a box", 1).await;
    let log = fleet.cli(&["logs", "duel-0"]).await.exits(0).stdout;
    assert!(log.contains("serving as"), "{log}");
    let nothing = fleet.cli(&["logs", "duel-0", "--grep", "no such words"]).await.exits(0).stdout;
    assert_eq!(nothing.trim(), "");
    let deploys = fleet.cli(&["logs", "duel-0", "--of", "deploys"]).await.exits(0).stdout;
    assert!(deploys.contains("verified") || deploys.contains("confirm"), "{deploys}");
    let screen = fleet.cli(&["diagnose", "duel-0", "--json"]).await.exits(0).json();
    assert!(screen["facts"].as_array().unwrap().len() > 5, "{screen}");
    let told = fleet.cli(&["ssh", "duel-0", "--", "echo $((6 * 7)); exit 7"]).await;
    assert_eq!((told.code, told.stdout.trim()), (7, "42"), "{}", told.said());
    for said in [log, deploys, screen.to_string()] {
        assert!(!said.contains(ADMIN_CODE), "a secret was printed: {said}");
    }
}
