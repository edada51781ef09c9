//! A keeper killed while it writes, as a real process: this test binary runs itself.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use super::*;

/// Names the folder to the child; without it the child's test does nothing.
const FOLDER: &str = "STORE_CRASH_TEST_FOLDER";

/// Three entries and one notice for two sinks, always together.
fn whole(round: u64) -> Batch {
    let at = |nth| noted(round, "duel-0", &format!("round {round}, entry {nth}"));
    let addressed = Addressed { notice: notice("n"), sinks: vec!["slack".into(), "ops".into()] };
    let snapshot = round.is_multiple_of(7).then(|| format!("{round}"));
    Batch { entries: vec![at(0), at(1), at(2)], notices: vec![addressed], snapshot }
}

#[test]
#[ignore = "runs as the child of the test below"]
fn child_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (store, loaded) = Store::open(Path::new(&folder)).unwrap();
    let first = (loaded.next_seq - 1) / 3;
    for round in first.. {
        println!("acknowledged {}", runtime.block_on(store.commit(whole(round))).unwrap());
    }
}

#[test]
fn a_killed_keeper_keeps_what_it_acknowledged_and_no_half_batch() {
    let folder = tempfile::tempdir().unwrap();
    for kill_after in [1, 2, 7, 8, 30] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "store::tests::crash::child_writes_until_it_is_killed",
            ])
            .env(FOLDER, folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The harness may write its own words before the first of ours.
        let acknowledged = lines
            .map_while(Result::ok)
            .filter_map(|line| line.rsplit_once("acknowledged ").and_then(|(_, seq)| seq.parse::<u64>().ok()))
            .nth(kill_after - 1)
            .expect("the child writes");
        child.kill().unwrap();
        child.wait().unwrap();

        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (store, loaded) = Store::open(folder.path()).unwrap();
        let last = loaded.next_seq - 1;
        assert!(last >= acknowledged, "{last} < {acknowledged}");
        assert_eq!(last % 3, 0, "half a batch");
        let all = runtime.block_on(store.history().events_after(0, 10_000, None)).unwrap();
        for (seq, entry) in &all {
            assert_eq!(*entry, whole((seq - 1) / 3).entries[((seq - 1) % 3) as usize]);
        }
        for sink in runtime.block_on(store.history().outbox_stats()).unwrap() {
            assert_eq!(sink.pending, last / 3, "{sink:?}");
        }
        runtime.block_on(store.close());
    }
}
