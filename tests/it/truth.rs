//! What the keeper believes, shows and dares: explanations, observation without deeds, last words, a lost journal.

use rustix::process::Signal;
use vast_keeper::fleet::why::Why;

use crate::harness::{Fleet, KILL_SERVER, PATIENCE, Run, eventually};

/// Calls that change something at the provider.
const CHANGING: [&str; 7] = ["create", "destroy", "reboot", "recycle", "change", "launch", "attach_key"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_only_observes_decides_and_tells_and_changes_nothing() {
    let mut fleet = Fleet::serving("observes", 2).await;
    let before = fleet.instances().await;
    fleet.take_keeper().end(Signal::TERM, PATIENCE).await;
    fleet.settings.set("fleet.observe_only", "true");
    fleet.start().await;
    fleet.all_serve().await;
    let call = fleet.newest_call();
    fleet.hit("duel-0", KILL_SERVER).await;
    eventually("it tells what it would do", PATIENCE, async || {
        fleet.receiver.count("webhook", "duel-0 would be healed now (`replace`)") == 1
    })
    .await;

    let why: Why =
        serde_json::from_value(fleet.cli(&["why", "duel-0", "--json"]).await.exits(0).json()).unwrap();
    assert!(why.observe_only);
    assert!(why.evidence_for.iter().any(|piece| piece.source == "box"), "{why:?}");
    assert!(why.rails.iter().any(|rail| rail.rail.as_deref() == Some("observe-only")), "{why:?}");
    let told = fleet.cli(&["why", "duel-0"]).await.exits(0).stdout;
    assert!(told.contains("observing only") && told.contains("speaks for a fault"), "{told}");
    assert!(fleet.cli(&["status"]).await.exits(0).stdout.contains("observing only"));
    assert!(fleet.text("/").await.contains("observing only"));
    assert!(fleet.text("/metrics").await.contains("vast_keeper_observe_only 1"));
    for wish in [&["reprovision", "duel-0", "--yes"] as &[_], &["destroy", "duel-0", "--yes"]] {
        fleet.cli(wish).await.exits(20);
    }
    assert_eq!(fleet.calls_of(&CHANGING, call), 0);
    assert_eq!(fleet.instances().await, before);

    // The same state under a keeper that may act.
    fleet.take_keeper().end(Signal::TERM, PATIENCE).await;
    fleet.settings.set("fleet.observe_only", "false");
    fleet.start().await;
    fleet.replaced(&["duel-0".into()], &before).await;
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_explains_a_healthy_node_and_refuses_a_stranger() {
    let fleet = Fleet::serving("why", 1).await;
    let why: Why =
        serde_json::from_value(fleet.cli(&["why", "duel-0", "--json"]).await.exits(0).json()).unwrap();
    assert_eq!((why.evidence_for.len(), why.node.state.as_str()), (0, "serving"), "{why:?}");
    assert!(why.rails.iter().any(|rail| rail.question == "rental"), "{why:?}");
    let stranger = fleet.cli(&["why", "nobody"]).await.exits(2);
    assert!(stranger.stderr.contains("`nobody` is not known"), "{}", stranger.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_journal_rents_and_destroys_nothing_and_is_made_good_by_import() {
    let mut fleet = Fleet::serving("import", 2).await;
    let before = fleet.instances().await;
    fleet.take_keeper().end(Signal::TERM, PATIENCE).await;
    std::fs::remove_dir_all(fleet.settings.state()).unwrap();

    let call = fleet.newest_call();
    fleet.start().await;
    eventually("both are told", PATIENCE, async || {
        fleet.receiver.count("webhook", "the journal does not know it") == 2
    })
    .await;
    eventually("several lists were read", PATIENCE, async || fleet.calls_of(&["list"], call) >= 8).await;
    assert_eq!(fleet.calls_of(&CHANGING, call), 0);
    fleet.take_keeper().end(Signal::TERM, PATIENCE).await;

    fleet.settings.set("fleet.import", "true");
    fleet.start().await;
    fleet.all_serve().await;
    assert_eq!(fleet.instances().await, before, "each is where it was");
    assert_eq!(fleet.calls_of(&CHANGING, call), 0);

    // From now on they are healed like any other.
    fleet.hit("duel-0", KILL_SERVER).await;
    fleet.replaced(&["duel-0".into()], &before).await;
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_box_leaves_its_last_words_and_its_machine_a_line_in_the_ledger() {
    let mut fleet = Fleet::serving("last words", 2).await;
    let before = fleet.instances().await;
    fleet.hit("duel-0", KILL_SERVER).await;
    fleet.replaced(&["duel-0".into()], &before).await;
    let incident = fleet.incidents().await[0].id.to_string();
    let story = fleet.cli(&["incidents", &incident, "--evidence"]).await.exits(0).stdout;
    for part in ["fault: ", "== server log", "== processes", "== nvidia-smi", "last probes"] {
        assert!(story.contains(part), "no `{part}` in {story}");
    }
    for secret in [crate::harness::API_KEY, crate::harness::ADMIN_CODE] {
        assert!(!story.contains(secret), "a secret is in the evidence");
    }

    let ledger = fleet.cli(&["ledger", "--json"]).await.exits(0).json();
    assert_eq!(ledger["machines"].as_array().unwrap().len(), 1, "{ledger}");
    let machine = ledger["machines"][0]["machine"].to_string();
    assert_eq!(ledger["machines"][0]["excluded"], true);
    let file = fleet.folder().join("ledger.json").display().to_string();
    fleet.cli(&["ledger", "export", &file]).await.exits(0);
    fleet.cli(&["ledger", "import", &file]).await.exits(10);
    fleet.cli(&["ledger", "forgive", &machine]).await.exits(0);
    fleet.cli(&["ledger", "forgive", &machine]).await.exits(10);
    // Without a keeper the same is done on the state itself.
    fleet.take_keeper().end(Signal::TERM, PATIENCE).await;
    let told = fleet.cli(&["ledger", "import", &file]).await.exits(0).stdout;
    assert!(told.contains("1 machines were taken over"), "{told}");
    assert!(fleet.cli(&["ledger"]).await.exits(0).stdout.contains(&machine));
    fleet.start().await;
    fleet.all_serve().await;
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_that_no_keeper_comes_back_to_destroys_itself_and_one_that_serves_stays() {
    let mut fleet = Fleet::provider("dead man", 1).await;
    fleet.settings.set("rental.dead_mans_switch", "20s");
    fleet.start().await;
    fleet.all_serve().await;
    let kept = fleet.instance("duel-0").await;

    // A second node is wanted, and the keeper dies for good as soon as something was rented for it.
    fleet.take_keeper().end(Signal::TERM, PATIENCE).await;
    fleet.settings.edit("nodes = 1", "nodes = 2");
    let known = fleet.sim.ledger().rentals.len();
    fleet.settings.write();
    let log = fleet.folder().join("keeper.log");
    fleet.adopt(crate::harness::Keeper::spawn(&fleet.settings, log));
    eventually("a second box is rented", PATIENCE, async || fleet.sim.ledger().rentals.len() > known).await;
    fleet.take_keeper().kill().await;
    let lost = fleet.sim.ledger().rentals.last().unwrap().instance;
    assert_ne!(lost, kept);
    eventually("it destroys itself", PATIENCE, async || {
        let ledger = fleet.sim.ledger();
        ledger.rentals.iter().any(|rental| rental.instance == lost && rental.ended_ms.is_some())
    })
    .await;
    let ledger = fleet.sim.ledger();
    assert!(ledger.live().any(|rental| rental.instance == kept), "who serves is never destroyed by itself");
}
