//! The command of a rollout dies by SIGKILL, at named points and between them. Whatever it left, `rollout status` tells it as it is,
//! and `rollout continue` or `rollout abort` ends it: no box half-switched, none in maintenance, no lock and no pause left.

use rustix::process::Signal;

use crate::harness::{Fleet, PATIENCE, Run, eventually, next_server, picky_server, small_server};

const FIRST: &str = "aaaa111";
const NEXT: &str = "bbbb222";

/// Waits that a test can afford.
const QUICK: [(&str, &str); 5] = [
    ("rollout.wait", "0s"),
    ("rollout.health_within", "60s"),
    ("rollout.hold", "2s"),
    ("rollout.min_healthy", "0"),
    ("rollout.batch", "2"),
];

/// A death and what ends the rollout after it.
struct Death {
    /// The command that dies; a deploy of the other release where none is named.
    dies: &'static [&'static str],
    /// The point, and at which passing.
    at: &'static str,
    /// Where the nodes stand afterwards.
    stand: [&'static str; 3],
    /// What ends it, and with which exit code.
    ends: &'static [&'static str],
    code: i32,
    /// The nodes that serve the other release in the end.
    new: [bool; 3],
}

const DEPLOY: &[&str] = &["deploy", "--fleet"];
const CANARY: &[&str] = &["deploy", "--fleet", "--strategy", "canary"];
const CONTINUE: &[&str] = &["rollout", "continue"];
const ABORT: &[&str] = &["rollout", "abort"];
const BACK: &[&str] = &["rollout", "abort", "--back"];

const WAITS: &str = "waiting";
const HALF: &str = "half-way";
const DONE: &str = "done";

impl Fleet {
    fn gives_other(&mut self, from: &str) {
        self.gives(if from == FIRST { next_server() } else { small_server() });
    }

    async fn stands(&self) -> Vec<String> {
        let rollout = self.cli(&["rollout", "status", "--json"]).await.exits(0).json();
        assert_eq!((&rollout["running"], &rollout["ending"]), (&false.into(), &serde_json::Value::Null));
        let nodes = rollout["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["state"].as_str().unwrap().to_owned()).collect()
    }

    /// Nothing of a rollout is left but what serves.
    async fn nothing_is_left(&self, what: &str) {
        let maintenance = self.cli(&["maintenance", "status"]).await.exits(0).stdout;
        assert_eq!(maintenance.matches(": not in maintenance").count(), 3, "{what}: {maintenance}");
        for node in ["duel-0", "duel-1", "duel-2"] {
            let lock = self.cli(&["lock", "show", node, "--json"]).await.exits(0).json();
            assert!(lock["holder"].is_null(), "{what}: {lock}");
            let releases = self.cli(&["releases", node, "--json"]).await.exits(0).json();
            assert!(!releases.to_string().contains("\"trial\""), "{what}: {releases}");
        }
        assert_eq!((self.paused().await, self.incidents().await.len()), (0, 0), "{what}");
        self.cli(&["rollout", "continue"]).await.exits(10);
    }

    async fn survives(&mut self, death: &Death) {
        let before = self.commit_of("duel-0").await;
        let other = if before == FIRST { NEXT } else { FIRST };
        let what = format!("{:?} died at {}, then {:?}", death.dies, death.at, death.ends);
        self.gives_other(&before);
        self.dies(death.dies, death.at).await;
        assert_eq!(self.stands().await, death.stand, "{what}");
        self.cli(DEPLOY).await.exits(40);
        let ended = self.cli(death.ends).await;
        assert_eq!(ended.code, death.code, "{what}: {}", ended.said());
        let wanted = death.new.map(|new| if new { other } else { before.as_str() });
        assert_eq!(self.commits().await, wanted, "{what}: {}", ended.said());
        self.nothing_is_left(&what).await;
        if death.new != [true; 3] && death.new != [false; 3] {
            // The next death begins with nodes that serve alike.
            self.cli(DEPLOY).await.exits(0);
        }
    }
}

const fn died(
    dies: &'static [&'static str],
    at: &'static str,
    stand: [&'static str; 3],
    ends: &'static [&'static str],
) -> Death {
    Death { dies, at, stand, ends, code: 0, new: [true; 3] }
}

const fn with(death: Death, new: [bool; 3]) -> Death {
    Death { new, ..death }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_up_what_a_killed_command_left_comes_to_the_same_end() {
    let mut fleet = Fleet::released_with("killed rollouts", 3, &QUICK).await;
    let deaths = [
        died(DEPLOY, "rollout:started 1", [HALF, WAITS, WAITS], CONTINUE),
        died(DEPLOY, "step-done:switch 1", [HALF, WAITS, WAITS], CONTINUE),
        died(DEPLOY, "rollout:ended 1", [DONE, WAITS, WAITS], CONTINUE),
        died(DEPLOY, "rollout:started 2", [DONE, HALF, HALF], CONTINUE),
        died(DEPLOY, "step-done:start 3", [DONE, HALF, HALF], CONTINUE),
        died(CANARY, "rollout:analysed 1", [DONE, WAITS, WAITS], CONTINUE),
    ];
    for death in &deaths {
        fleet.survives(death).await;
    }
    // Held as the canary: what was seen of it died with the command, so it is held anew.
    let before = fleet.commit_of("duel-0").await;
    fleet.gives_other(&before);
    fleet.settings.set("rollout.hold", "20s");
    let runner = fleet.begin(CANARY);
    eventually("the canary is held", PATIENCE, async || {
        let rollout = fleet.cli(&["rollout", "status", "--json"]).await;
        rollout.code == 0 && rollout.json()["running"] == true && rollout.json()["nodes"][0]["state"] == DONE
    })
    .await;
    rustix::process::kill_process(runner.pid(), Signal::KILL).unwrap();
    let _ = runner.ended().await;
    assert_eq!(fleet.stands().await, [DONE, WAITS, WAITS]);
    let ended = fleet.cli(ABORT).await.exits(0);
    assert!(!ended.stderr.contains("half-way"), "nothing was: {}", ended.stderr);
    eventually("its end is told, although no box was touched", PATIENCE, async || {
        fleet.receiver.count("webhook", "aborted by") == 1
    })
    .await;
    assert_ne!(fleet.commit_of("duel-0").await, before, "it ends as it stands");
    assert_eq!(fleet.commit_of("duel-1").await, before);
    fleet.nothing_is_left("an abort over a held canary").await;
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_sees_to_what_a_killed_command_left() {
    let mut fleet = Fleet::released_with("aborted rollouts", 3, &QUICK).await;
    let none = [false; 3];
    let deaths = [
        with(died(DEPLOY, "step-done:enter-maintenance 1", [HALF, WAITS, WAITS], ABORT), none),
        with(died(DEPLOY, "step-done:start 1", [HALF, WAITS, WAITS], ABORT), none),
        with(died(DEPLOY, "step-done:gate 1", [HALF, WAITS, WAITS], BACK), none),
        // It was confirmed, and that is not on record: it serves, so it stays.
        with(died(DEPLOY, "step-done:confirm 1", [HALF, WAITS, WAITS], ABORT), [true, false, false]),
        with(died(DEPLOY, "step-done:switch 2", [DONE, HALF, HALF], BACK), none),
    ];
    for death in &deaths {
        fleet.survives(death).await;
    }
    // The way back dies as well, at each of its points, and is gone on with by whoever aborts again.
    let before = fleet.commit_of("duel-0").await;
    fleet.gives_other(&before);
    fleet.dies(DEPLOY, "rollout:finished 1").await;
    fleet.gives_other(if before == FIRST { NEXT } else { FIRST });
    fleet.dies(DEPLOY, "rollout:ended 3").await;
    for at in ["rollout:aborted 1", "step-done:switch 1", "step-done:confirm 1", "rollout:went-back 1"] {
        fleet.dies(BACK, at).await;
        let status = fleet.cli(&["rollout", "status"]).await.exits(0).stdout;
        assert!(status.contains("aborted by") && status.contains("left half-way"), "after {at}: {status}");
    }
    fleet.cli(BACK).await.exits(0);
    let other = if before == FIRST { NEXT } else { FIRST };
    assert_eq!(fleet.commits().await, [other; 3], "back to what served before, and no further");
    fleet.nothing_is_left("a way back that died four times").await;
    // A box outside of the rollout goes back from its release, which serves nowhere: nobody goes on with it, and it ends as ever.
    fleet.cli(&["ssh", "duel-2", "--", "touch keeper/data/poison"]).await.exits(0);
    fleet.gives(picky_server());
    fleet.dies(&["deploy", "--nodes", "duel-0,duel-1"], "rollout:started 1").await;
    fleet.cli(&["deploy", "duel-2"]).await.exits(30);
    let refused = fleet.cli(CONTINUE).await.exits(20);
    assert!(refused.stderr.contains("quarantined since `duel-2`"), "{}", refused.stderr);
    fleet.cli(BACK).await.exits(0);
    assert_eq!(fleet.commits().await, [other; 3]);
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_box_outlives_the_command_and_the_keeper_that_rent_it() {
    const BLUE_GREEN: &[&str] = &["deploy", "--fleet", "--strategy", "blue-green"];
    let mut fleet = Fleet::released_with("killed blue-green", 2, &QUICK).await;
    let before = fleet.instances().await;
    fleet.gives(next_server());
    // The keeper is asked for a second box, and the command that asked is dead.
    let runner = fleet.begin(BLUE_GREEN);
    eventually("a second box is rented", PATIENCE, async || fleet.sim.ledger().live().count() == 3).await;
    rustix::process::kill_process(runner.pid(), Signal::KILL).unwrap();
    let _ = runner.ended().await;
    let stands = async |fleet: &Fleet| {
        let rollout = fleet.cli(&["rollout", "status", "--json"]).await.exits(0).json();
        assert_eq!((&rollout["running"], &rollout["ending"]), (&false.into(), &serde_json::Value::Null));
        [0, 1].map(|at| rollout["nodes"][at]["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(stands(&fleet).await, [HALF, WAITS]);
    // So is the keeper; the next one finishes what was begun, and `continue` finds it.
    fleet.take_keeper().kill().await;
    fleet.start().await;
    fleet.dies(CONTINUE, "rollout:ended 1").await;
    assert_eq!(stands(&fleet).await, [DONE, WAITS]);
    assert_eq!(fleet.commits().await, [NEXT, FIRST]);
    fleet.cli(CONTINUE).await.exits(0);
    assert_eq!(fleet.commits().await, [NEXT; 2]);

    // In the time in which the first boxes are kept the keeper dies again, and the way back is still there.
    assert_eq!(fleet.sim.ledger().live().count(), 4);
    fleet.take_keeper().kill().await;
    fleet.start().await;
    fleet.all_serve().await;
    assert_eq!(fleet.sim.ledger().live().count(), 4, "nothing was rented or destroyed for that");
    let seconds = fleet.instances().await;
    fleet.cli(&["rollback", "--fleet", "--yes"]).await.exits(0);
    assert_eq!((fleet.instances().await, fleet.commits().await), (before, vec![FIRST.to_owned(); 2]));
    fleet.all_serve().await;
    let asked_for: Vec<u64> = seconds.into_values().collect();
    let verdict = fleet.verdict(&asked_for).await;
    assert_eq!(verdict.doubled.len(), 2, "one pair a node, for its time: {verdict:?}");
    assert!(verdict.leaked.is_empty() && verdict.wrongly_destroyed.is_empty(), "{verdict:?}");
    assert_eq!(fleet.incidents().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blue_green_rollout_that_is_aborted_switches_back() {
    let mut fleet = Fleet::released_with("aborted blue-green", 2, &QUICK).await;
    let before = fleet.instances().await;
    fleet.gives(next_server());
    fleet.dies(&["deploy", "--fleet", "--strategy", "blue-green"], "rollout:ended 1").await;
    assert_eq!(fleet.commits().await, [NEXT, FIRST]);
    fleet.cli(BACK).await.exits(0);
    assert_eq!((fleet.instances().await, fleet.commits().await), (before, vec![FIRST.to_owned(); 2]));
    let rollout = fleet.cli(&["rollout", "status", "--json"]).await.exits(0).json();
    assert_eq!(
        (&rollout["nodes"][0]["state"], &rollout["nodes"][1]["state"]),
        (&"back".into(), &WAITS.into())
    );
    fleet.all_serve().await;
}
