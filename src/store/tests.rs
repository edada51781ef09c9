//! The store's promises, on real files.

mod crash;
mod outbox;

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::fleet::{
    journal::{Cause, DoomReason, Outcome, Record},
    name::{IncidentId, InstanceId, NodeName, OpId},
    notice::{Notice, Severity, Topic},
    units::{Money, Timestamp},
};

pub(super) fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

pub(super) fn notice(title: &str) -> Notice {
    Notice {
        at: Timestamp(1_000),
        severity: Severity::Critical,
        topic: Topic::IncidentOpened,
        node: Some(node("duel-0")),
        incident: Some(IncidentId(1)),
        title: title.into(),
        facts: vec![("why".into(), "no answer within 5000 ms".into())],
        next: "destroy and rent another".into(),
    }
}

pub(super) fn entry(at: u64, record: Record) -> Entry {
    Entry { at: Timestamp(at), record }
}

pub(super) fn noted(at: u64, name: &str, text: &str) -> Entry {
    entry(at, Record::Noted { node: node(name), incident: None, text: text.into() })
}

pub(super) fn entries(entries: Vec<Entry>) -> Batch {
    Batch { entries, ..Batch::default() }
}

fn opened(at: u64, id: u64, name: &str) -> Entry {
    entry(
        at,
        Record::IncidentOpened {
            incident: IncidentId(id),
            node: node(name),
            cause: Cause::Failing { why: "503 \"quoted\"\n$HOME".into() },
            first_failure_at: Timestamp(at - 5),
        },
    )
}

fn closed(at: u64, id: u64, name: &str) -> Entry {
    entry(
        at,
        Record::IncidentClosed { incident: IncidentId(id), node: node(name), outcome: Outcome::Replaced },
    )
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart_and_numbers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (store, loaded) = Store::open(folder.path()).unwrap();
    assert_eq!(loaded, Loaded { snapshot: None, entries: vec![], next_seq: 1 });
    let first = vec![noted(1, "duel-0", "a"), noted(2, "duel-1", "b")];
    assert_eq!(store.commit(entries(first.clone())).await.unwrap(), 2);
    assert_eq!(store.head().borrow().seq, 2);
    let second = Batch { snapshot: Some("{\"x\":1}".into()), ..entries(vec![noted(3, "duel-0", "c")]) };
    assert_eq!(store.commit(second).await.unwrap(), 3);
    let last = noted(4, "duel-0", "d");
    assert_eq!(store.commit(entries(vec![last.clone()])).await.unwrap(), 4);
    assert_eq!(store.commit(Batch::default()).await.unwrap(), 4);
    store.close().await;

    let (store, loaded) = Store::open(folder.path()).unwrap();
    assert_eq!(loaded.snapshot, Some(Snapshot { seq: 3, body: "{\"x\":1}".into() }));
    assert_eq!((loaded.entries, loaded.next_seq), (vec![last], 5));
    let all = store.history().events_after(0, 100, None).await.unwrap();
    assert_eq!(all.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(all[0].1, first[0]);
    let mine = store.history().events_after(1, 100, Some(&node("duel-0"))).await.unwrap();
    assert_eq!(mine.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(store.history().events_after(u64::MAX, 1, None).await.unwrap(), vec![]);
    assert_eq!(store.history().last_seq().await.unwrap(), 4);
}

#[tokio::test]
async fn a_second_keeper_is_refused_with_the_pid_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path()).unwrap();
    let second = Store::open(folder.path());
    assert!(
        matches!(&second, Err(OpenError::Locked { pid: Some(pid) }) if *pid == std::process::id()),
        "{second:?}"
    );
    let text = second.unwrap_err().to_string();
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    // A reader may look meanwhile, and sees what is committed while it looks.
    let reader = Store::open_read_only(folder.path()).unwrap();
    store.commit(entries(vec![noted(1, "duel-0", "a")])).await.unwrap();
    assert_eq!(reader.events_after(0, 10, None).await.unwrap().len(), 1);
    store.close().await;
    Store::open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_closed_store_says_so_to_its_other_handles() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path()).unwrap();
    let other = store.clone();
    store.close().await;
    assert!(matches!(other.commit(Batch::default()).await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn an_incident_has_its_whole_timeline_and_nothing_of_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path()).unwrap();
    let doomed = entry(
        130,
        Record::Doomed {
            instance: InstanceId(77),
            node: Some(node("duel-0")),
            reason: DoomReason::Replaced { evidence: "3 of 3".into() },
            price: Money(345_000),
        },
    );
    let created = Record::Created { node: node("duel-0"), op: OpId::from_bits(5), instance: InstanceId(78) };
    let story = vec![
        noted(100, "duel-0", "before"),
        opened(110, 1, "duel-0"),
        opened(111, 2, "duel-1"),
        noted(120, "duel-0", "a witness"),
        doomed,
        entry(131, Record::DestroyAcknowledged { instance: InstanceId(77) }),
        entry(131, Record::DestroyAcknowledged { instance: InstanceId(99) }),
        entry(140, created),
        closed(150, 1, "duel-0"),
        noted(160, "duel-0", "after"),
        entry(170, Record::Gone { instance: InstanceId(77) }),
    ];
    store.commit(entries(story)).await.unwrap();
    let history = store.history();
    let (row, timeline) = history.incident(IncidentId(1)).await.unwrap().unwrap();
    assert_eq!(row.closure, Some(Closure { at: Timestamp(150), outcome: Outcome::Replaced }));
    assert_eq!(row.cause, Cause::Failing { why: "503 \"quoted\"\n$HOME".into() });
    assert_eq!((row.first_failure_at, row.opened_at), (Timestamp(105), Timestamp(110)));
    assert_eq!(timeline.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [2, 4, 5, 6, 8, 9, 11]);
    assert_eq!(history.incident(IncidentId(3)).await.unwrap(), None);
    let newest = history.incidents(10, None).await.unwrap();
    assert_eq!(newest.iter().map(|row| row.id.0).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(newest[0].closure, None);
    assert_eq!(history.incidents(10, Some(&node("duel-0"))).await.unwrap(), [row]);
    assert_eq!(history.incidents(1, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn after_a_failed_write_nothing_more_is_written_and_reading_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path()).unwrap();
    store.commit(entries(vec![noted(1, "duel-0", "kept")])).await.unwrap();
    // The database's own limit answers exactly as a full disk does.
    let fill = |pages: i64| {
        store.handle.call(move |writer| {
            writer.connection.pragma_update(None, "max_page_count", pages)?;
            Ok(())
        })
    };
    fill(1).await.unwrap();
    let big = "x".repeat(1 << 20);
    let failed = store.commit(entries(vec![noted(2, "duel-0", "small"), noted(3, "duel-0", &big)])).await;
    assert!(matches!(&failed, Err(StoreError::Write { trouble: Trouble::DiskFull, .. })), "{failed:?}");
    assert_eq!(failed.unwrap_err().to_string(), "the journal cannot be written: the disk is full");
    // Room again, but this handle is not trusted any more.
    fill(1_000_000).await.unwrap();
    let refused = store.commit(entries(vec![noted(4, "duel-0", "late")])).await;
    assert!(matches!(refused, Err(StoreError::Poisoned)), "{refused:?}");
    assert_eq!(store.history().events_after(0, 10, None).await.unwrap().len(), 1);
    store.close().await;
    let (store, loaded) = Store::open(folder.path()).unwrap();
    assert_eq!(loaded.entries, [noted(1, "duel-0", "kept")]);
    assert_eq!(store.commit(entries(vec![noted(5, "duel-0", "new")])).await.unwrap(), 2);
}

#[tokio::test]
async fn an_unwritable_state_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path()).unwrap();
    let forbid =
        |writer: &mut thread::Writer| Ok(writer.connection.pragma_update(None, "query_only", true)?);
    store.commit(Batch::default()).await.unwrap();
    store.handle.call(forbid).await.unwrap();
    // Also an empty batch, by which a broken store is tried after it was opened anew.
    let failed = store.commit(Batch::default()).await.unwrap_err();
    assert_eq!(failed.to_string(), "the journal cannot be written: the file or its folder is read-only");
    // A file where the folder should be.
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = Store::open(&file.join("state")).unwrap_err();
    assert!(matches!(refused, OpenError::Folder { .. }), "{refused:?}");
}

#[tokio::test]
async fn foreign_newer_damaged_and_absent_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let absent = Store::open_read_only(folder.path()).unwrap_err();
    assert!(matches!(absent, OpenError::Absent { .. }), "{absent:?}");
    let file = folder.path().join(DATABASE_FILE);
    let change = |sql: &str| rusqlite::Connection::open(&file).unwrap().execute_batch(sql).unwrap();

    change("CREATE TABLE somebody (else_ TEXT)");
    let foreign = Store::open(folder.path()).unwrap_err();
    assert!(matches!(foreign, OpenError::Foreign), "{foreign:?}");
    std::fs::remove_file(&file).unwrap();

    let (store, _) = Store::open(folder.path()).unwrap();
    let many =
        (1..2_000).map(|at| noted(at, "duel-0", "a rather long sentence to fill some pages")).collect();
    store.commit(entries(many)).await.unwrap();
    store.close().await;
    change("UPDATE journal SET body = '{\"kind\":\"unheard-of\"}' WHERE seq = 2");
    let unknown = Store::open(folder.path()).unwrap_err();
    assert!(matches!(unknown, OpenError::Record { seq: 2, .. }), "{unknown:?}");
    change("DELETE FROM journal WHERE seq = 2");
    let gap = Store::open(folder.path()).unwrap_err();
    assert!(matches!(gap, OpenError::Gap { after: 1, found: 3 }), "{gap:?}");
    change("PRAGMA user_version = 999");
    for newer in [Store::open(folder.path()).unwrap_err(), Store::open_read_only(folder.path()).unwrap_err()]
    {
        assert!(matches!(newer, OpenError::Newer { found: 999, known: schema::VERSION }), "{newer:?}");
    }
    change(&format!("PRAGMA user_version = {}", schema::VERSION));

    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xa5);
    std::fs::write(&file, &bytes).unwrap();
    let damaged = Store::open(folder.path()).unwrap_err();
    let named =
        matches!(damaged, OpenError::Damaged { .. } | OpenError::Database { trouble: Trouble::Damaged, .. });
    assert!(named, "{damaged:?}");
    std::fs::write(&file, "this is no database, but it is long enough to have a header".repeat(100)).unwrap();
    let nonsense = Store::open(folder.path()).unwrap_err();
    assert!(matches!(nonsense, OpenError::Database { trouble: Trouble::Damaged, .. }), "{nonsense:?}");
}

#[tokio::test]
async fn the_state_is_private_to_its_user() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("deep/state");
    let (store, _) = Store::open(&state).unwrap();
    store.commit(entries(vec![noted(1, "duel-0", "a")])).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for file in std::fs::read_dir(&state).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

/// How long it takes is measured by `cargo bench --bench keeper`; here is counted what it does.
#[test]
fn opening_a_hundred_thousand_entries_with_a_snapshot_checks_the_file_and_folds_none() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let (store, _) = Store::open(folder.path()).unwrap();
        for batch in 0..10 {
            let some = (0..10_000).map(|at| noted(batch * 10_000 + at, "duel-0", "the box answers over SSH"));
            let snapshot = (batch == 9).then(|| "{}".to_owned());
            store.commit(Batch { snapshot, ..entries(some.collect()) }).await.unwrap();
        }
        store.close().await;
    });
    let size = std::fs::metadata(folder.path().join(DATABASE_FILE)).unwrap().len();
    let before = read_by_this_thread();
    let (store, loaded) = Store::open(folder.path()).unwrap();
    let read = read_by_this_thread() - before;
    assert_eq!((loaded.next_seq, loaded.entries.len()), (100_001, 0));
    // SQLite's check for damage reads each page, and the rows again; nothing else is as long as the journal.
    assert!(size > 4 << 20 && read < 2 * size, "{read} of {size} bytes");
    runtime.block_on(store.close());
}

/// Bytes, from files of every kind: proc(5), `rchar`.
fn read_by_this_thread() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let text = any::<String>();
    (1_u64..1_000_000, 1_u64..4, 0_u8..5, text).prop_map(|(at, id, which, text)| match which {
        0 => opened(at + 5, id, "duel-0"),
        1 => closed(at, id, "duel-0"),
        2 => entry(at, Record::Gone { instance: InstanceId(id) }),
        3 => entry(at, Record::Booted { version: text }),
        _ => noted(at, "duel-1", &text),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn every_prefix_reads_back_as_it_was_written(
        batches in proptest::collection::vec((proptest::collection::vec(any_entry(), 0..4), any::<bool>()), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut all: Vec<Entry> = Vec::new();
        let mut after_snapshot = 0;
        for (batch, snapshot) in batches {
            let (store, loaded) = Store::open(folder.path()).unwrap();
            prop_assert_eq!(&loaded.entries, &all[after_snapshot..]);
            prop_assert_eq!(loaded.snapshot.map_or(0, |snapshot| snapshot.seq), after_snapshot as u64);
            all.extend(batch.iter().cloned());
            if snapshot {
                after_snapshot = all.len();
            }
            let batch = Batch { snapshot: snapshot.then(|| "{}".into()), ..entries(batch) };
            let seq = runtime.block_on(store.commit(batch)).unwrap();
            prop_assert_eq!(seq, all.len() as u64);
            let kept = runtime.block_on(store.history().events_after(0, 1000, None)).unwrap();
            prop_assert!(kept.iter().map(|(_, entry)| entry).eq(all.iter()));
            runtime.block_on(store.close());
        }
    }
}
