//! The journal is damaged, cut, from the future or not writable; the keeper has no descriptors, no names, or the wrong time. It
//! refuses or waits, and changes nothing until it knows where it stands.

use std::{fs, path::Path, time::Duration};

use rusqlite::Connection;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use vast_keeper::{clock::OFFSET_VARIABLE, crash::Point};
use vast_sim::Action;

use crate::harness::{Fleet, KILL_SERVER, Keeper, LONG_PATIENCE, Run, eventually, room};

/// Calls that change something at the provider.
const CHANGING: [&str; 3] = ["create", "destroy", "reboot"];

/// A fleet that serves, and may be stopped.
async fn serving(name: &'static str, nodes: u32) -> Fleet {
    let mut fleet = Fleet::small(name, 1, nodes).await;
    fleet.start().await;
    fleet.all_serve().await;
    fleet
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for file in ["keeper.db", "keeper.db-wal"] {
        if from.join(file).exists() {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
}

fn overwrite(file: &Path, from: usize, bytes: usize) {
    let mut content = fs::read(file).unwrap();
    content[from..from + bytes].fill(0xa5);
    fs::write(file, content).unwrap();
}

/// What was done to the journal, the deed, and a word of the refusal.
type Damage = (&'static str, fn(&Path), &'static str);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_cannot_be_trusted_is_refused_and_nobody_is_contacted() {
    let _room = room(2).await;
    let mut fleet = serving("damaged journal", 1).await;
    let before = fleet.instances().await;
    fleet.take_keeper().kill().await;
    let (state, good) = (fleet.settings.state(), fleet.folder().join("good"));
    let open = |state: &Path| Connection::open(state.join("keeper.db")).unwrap();
    // Everything in one file, as after an ordinary stop, but without a snapshot.
    open(&state).query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    copy(&state, &good);
    let damages: [Damage; 7] = [
        ("a damaged page", |state| overwrite(&state.join("keeper.db"), 2 * 4096, 4096), "damaged"),
        ("a damaged header", |state| overwrite(&state.join("keeper.db"), 0, 100), "damaged"),
        ("a text", |state| fs::write(state.join("keeper.db"), "my notes\n".repeat(999)).unwrap(), "damaged"),
        ("a newer schema", |state| run_sql(state, "PRAGMA user_version = 99"), "schema 99"),
        (
            "another program's file",
            |state| run_sql(state, "PRAGMA application_id = 7"),
            "not a keeper's journal",
        ),
        ("a gap", |state| run_sql(state, "DELETE FROM journal WHERE seq = 3"), "jumps from record 2 to 4"),
        (
            "a record of no kind",
            |state| run_sql(state, "UPDATE journal SET body = '{}' WHERE seq = 3"),
            "record 3",
        ),
    ];
    let call = fleet.newest_call();
    for (what, damage, word) in damages {
        copy(&good, &state);
        damage(&state);
        let ended = fleet.cli(&["run"]).await;
        assert!(ended.stderr.contains(word), "{what}: {}", ended.stderr);
        assert!(ended.stderr.contains("nothing was changed"), "{what}: {}", ended.stderr);
        let ended = ended.exits(70);
        assert!(!ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
    }
    assert_eq!(fleet.newest_call(), call, "somebody was contacted");
    copy(&good, &state);
    fleet.start().await;
    fleet.all_serve().await;
    assert_eq!(fleet.instances().await, before);
    assert_eq!(fleet.calls_of(&CHANGING, call), 0);
}

fn run_sql(state: &Path, sql: &str) {
    Connection::open(state.join("keeper.db")).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_older_than_the_world_rents_and_destroys_nothing() {
    let _room = room(2).await;
    let mut fleet = serving("cut journal", 1).await;
    let box_before = fleet.instance("duel-0").await;
    fleet.take_keeper().kill().await;
    let (state, good) = (fleet.settings.state(), fleet.folder().join("good"));
    copy(&state, &good);
    let log = fs::read(good.join("keeper.db-wal")).unwrap();
    assert!(log.len() > 40 * 4096, "nothing to cut: {}", log.len());

    // A torn write behind the last commit is no loss.
    fs::write(state.join("keeper.db-wal"), [log.as_slice(), &[0xa5; 5000]].concat()).unwrap();
    let call = fleet.newest_call();
    fleet.start().await;
    fleet.all_serve().await;
    assert_eq!(fleet.calls_of(&CHANGING, call), 0);
    fleet.take_keeper().kill().await;

    // What was durable is lost, as after a restored backup: the box bears our label, and its op may be unknown.
    for eighth in [7, 5, 4, 3, 1, 0] {
        copy(&good, &state);
        fs::write(state.join("keeper.db-wal"), &log[..log.len() / 8 * eighth]).unwrap();
        let (call, messages) = (fleet.newest_call(), fleet.receiver.messages().len());
        fleet.start().await;
        eventually("several lists are read", LONG_PATIENCE, async || fleet.calls_of(&["list"], call) >= 8)
            .await;
        let view = fleet.view().await.unwrap();
        let served =
            view.nodes[0].state == "serving" && view.nodes[0].instance.map(|id| id.0) == Some(box_before);
        let told = fleet.receiver.messages().len() > messages;
        assert!(served || told || view.nodes[0].state == "recovering", "{eighth}/8: {view:?}");
        assert_eq!(fleet.calls_of(&["create", "destroy"], call), 0, "{eighth}/8: {view:?}");
        fleet.take_keeper().kill().await;
    }
    assert_eq!(fleet.sim.ledger().live().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_state_is_watched_over_and_told_and_healed_once_it_can_be_written() {
    let _room = room(2).await;
    let mut fleet = serving("read-only state", 1).await;
    let before = fleet.instances().await;
    fleet.take_keeper().end(Signal::TERM, LONG_PATIENCE).await;
    let state = fleet.settings.state();
    let set = |writable: bool| {
        use std::os::unix::fs::PermissionsExt as _;
        for entry in fs::read_dir(&state).unwrap() {
            let path = entry.unwrap().path();
            let mode = match (path.is_dir(), writable) {
                (true, true) => 0o700,
                (true, false) => 0o500,
                (false, true) => 0o600,
                (false, false) => 0o400,
            };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let mode = if writable { 0o700 } else { 0o500 };
        fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
    };
    set(false);
    // The superuser may write everywhere, unless it gives that up.
    let capable = rustix::process::geteuid().is_root();
    let prefix: &[&str] = if capable {
        &["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    } else {
        &[]
    };
    let call = fleet.newest_call();
    let keeper = Keeper::spawn_under(&fleet.settings, fleet.log(), prefix);
    fleet.adopt(keeper);
    fleet.answers().await;
    fleet.until("the view says so", |view| view.summary == "storage-failed").await;
    fleet.until("it is watched all the same", |view| view.nodes[0].health.checks > 3).await;
    eventually("somebody is told", LONG_PATIENCE, async || {
        fleet.receiver.count("webhook", "cannot write its journal") > 0
    })
    .await;
    fleet.sim.act(before["duel-0"], Action::Do(KILL_SERVER)).await.unwrap();
    eventually("the failing node is told", LONG_PATIENCE, async || {
        fleet.receiver.count("webhook", "is not healed while the journal cannot be written") > 0
    })
    .await;
    assert_eq!(fleet.calls_of(&CHANGING, call), 0);
    set(true);
    fleet.replaced(&["duel-0".into()], &before).await;
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_descriptors_no_box_is_blamed() {
    let _room = room(2).await;
    let mut fleet = serving("no descriptors", 2).await;
    let before = fleet.instances().await;
    let call = fleet.newest_call();
    let pid = Pid::from_raw(i32::try_from(fleet.keeper().id()).unwrap());
    let usual = getrlimit(Resource::Nofile);
    // What is open stays open; nothing more can be.
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(3), maximum: usual.maximum }).unwrap();
    eventually("it is felt", LONG_PATIENCE, async || fleet.said().contains("Too many open files")).await;
    // Long enough for every threshold, doubled, to be passed by probes that never left.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(fleet.calls_of(&CHANGING, call), 0);
    prlimit(pid, Resource::Nofile, usual).unwrap();
    fleet.all_serve().await;
    assert_eq!(fleet.instances().await, before);
    assert_eq!(fleet.calls_of(&CHANGING, call), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_names_the_fleet_is_watched_and_healed_once_they_are_back() {
    let _room = room(2).await;
    let mut fleet = serving("no names", 1).await;
    let before = fleet.instances().await;
    fleet.take_keeper().end(Signal::TERM, LONG_PATIENCE).await;
    let provider = fleet.settings.flags["provider.base_url"].clone();
    fleet.settings.set("provider.base_url", "https://api.invalid");
    // What only a simulator may be given is refused for any other address.
    let file = fleet.settings.file.clone();
    fleet.settings.edit("allow_private_addresses = true", "");
    fleet.settings.edit("settle = \"3s\"", "");
    fleet.settings.edit("pacing = 0", "");
    let call = fleet.newest_call();
    fleet.start().await;
    eventually("the outage is told", LONG_PATIENCE, async || fleet.receiver.count("webhook", "provider") > 0)
        .await;
    fleet.sim.act(before["duel-0"], Action::Do(KILL_SERVER)).await.unwrap();
    fleet.until("the failure is seen", |view| view.nodes[0].health.failures >= 18).await;
    assert_eq!(fleet.newest_call(), call);
    assert!(fleet.sim.ledger().live().count() == 1);
    fleet.take_keeper().end(Signal::TERM, LONG_PATIENCE).await;
    fleet.settings.set("provider.base_url", &provider);
    fleet.settings.file = file;
    fleet.start().await;
    fleet.replaced(&["duel-0".into()], &before).await;
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_jumps_between_two_lives_costs_no_box() {
    let _room = room(2).await;
    let mut fleet = serving("clock jumps", 1).await;
    for (point, offset) in [
        (Point::Durable("created"), 3600),
        (Point::Durable("doomed"), -3600),
        (Point::Deployed("switch"), 3600),
        (Point::Sending("create"), 0),
        (Point::Durable("adopted"), -3600),
    ] {
        fleet.dies_at(point, 1).await;
        fleet.settings.environment.insert(OFFSET_VARIABLE.into(), offset.to_string());
        fleet.is_whole_again().await;
    }
    let last = fleet.instances().await;
    let call = fleet.newest_call();
    for offset in [0, 8 * 3600, -8 * 3600] {
        fleet.take_keeper().end(Signal::TERM, LONG_PATIENCE).await;
        fleet.settings.environment.insert(OFFSET_VARIABLE.into(), offset.to_string());
        fleet.start().await;
        fleet.all_serve().await;
    }
    assert_eq!(fleet.instances().await, last);
    assert_eq!(fleet.calls_of(&CHANGING, call), 0);
}
