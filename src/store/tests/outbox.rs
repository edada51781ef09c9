//! Notices wait, are folded, postponed and settled, and none is lost by a restart.

use super::*;

fn addressed(titles: std::ops::Range<u32>, sinks: &[&str]) -> Batch {
    let sinks: Vec<String> = sinks.iter().map(|sink| (*sink).to_owned()).collect();
    let notices =
        titles.map(|title| Addressed { notice: notice(&title.to_string()), sinks: sinks.clone() }).collect();
    Batch { notices, ..Batch::default() }
}

async fn reopened(store: Store, folder: &Path) -> Store {
    store.close().await;
    Store::open(folder).unwrap().0
}

#[tokio::test]
async fn a_notice_waits_per_sink_with_one_id_until_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path()).unwrap();
    store.commit(addressed(0..2, &["slack", "ops", "slack"])).await.unwrap();
    assert_eq!(store.head().borrow().notice, 2);
    let first = store.due("slack", Some(Fold { above: 20, most: 40 })).await.unwrap().unwrap();
    assert_eq!((first.notices.len(), first.attempts, first.not_before), (1, 0, Timestamp(0)));
    assert_eq!(first.notices[0].notice, notice("0"));
    assert!(first.id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{}", first.id);

    store.postpone(&first, Timestamp(99), "503".into()).await.unwrap();
    let store = reopened(store, folder.path()).await;
    let again = store.due("slack", Some(Fold { above: 20, most: 40 })).await.unwrap().unwrap();
    assert_eq!(again, Due { attempts: 1, not_before: Timestamp(99), ..first });

    store.settle(&again, Settled::Sent, Timestamp(100)).await.unwrap();
    let second = store.due("slack", Some(Fold { above: 20, most: 40 })).await.unwrap().unwrap();
    assert_eq!(second.notices[0].notice, notice("1"));
    store.settle(&second, Settled::Dead { detail: "400".into() }, Timestamp(100)).await.unwrap();
    assert_eq!(store.due("slack", Some(Fold { above: 20, most: 40 })).await.unwrap(), None);

    let stats = store.history().outbox_stats().await.unwrap();
    let stands = |row: &SinkStats| (row.sink.clone(), row.pending, row.sent, row.dead);
    assert_eq!(
        stats.iter().map(stands).collect::<Vec<_>>(),
        [("ops".into(), 2, 0, 0), ("slack".into(), 0, 1, 1)]
    );
    assert_eq!(stats[0].oldest_pending_at, Some(Timestamp(1_000)));
}

#[tokio::test]
async fn a_fold_is_the_same_after_a_restart_and_takes_no_newcomers() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path()).unwrap();
    store.commit(addressed(0..25, &["slack"])).await.unwrap();
    assert_eq!(
        store.due("slack", Some(Fold { above: 25, most: 40 })).await.unwrap().unwrap().notices.len(),
        1
    );
    assert_eq!(store.due("slack", None).await.unwrap().unwrap().notices.len(), 1);
    let fold = store.due("slack", Some(Fold { above: 20, most: 22 })).await.unwrap().unwrap();
    assert_eq!(fold.notices.len(), 22);
    store.commit(addressed(25..60, &["slack"])).await.unwrap();
    let store = reopened(store, folder.path()).await;
    assert_eq!(
        store.due("slack", Some(Fold { above: 20, most: 22 })).await.unwrap().unwrap(),
        Due { depth: 60, ..fold.clone() }
    );
    assert_eq!(store.due("slack", None).await.unwrap().unwrap().id, fold.id);
    store.settle(&fold, Settled::Sent, Timestamp(5)).await.unwrap();
    let next = store.due("slack", Some(Fold { above: 20, most: 100 })).await.unwrap().unwrap();
    assert_eq!(next.notices.len(), 38);
    assert_eq!(next.notices[0].notice, notice("22"));
    assert_ne!(next.id, fold.id);
}

#[tokio::test]
async fn what_waits_for_a_sink_that_is_gone_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path()).unwrap();
    store.commit(addressed(0..3, &["old", "slack"])).await.unwrap();
    assert_eq!(store.abandon_unknown_sinks(&["slack".into()], Timestamp(9)).await.unwrap(), 3);
    let stats = store.history().outbox_stats().await.unwrap();
    assert_eq!((stats[0].dead, stats[1].pending), (3, 3));
}

#[tokio::test]
async fn ids_differ_between_states_and_old_settled_notices_are_removed() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut ids = Vec::new();
    for folder in &folders {
        let (store, _) = Store::open(folder.path()).unwrap();
        store.commit(addressed(0..2, &["slack"])).await.unwrap();
        let due = store.due("slack", Some(Fold { above: 20, most: 40 })).await.unwrap().unwrap();
        store.settle(&due, Settled::Sent, Timestamp(1)).await.unwrap();
        ids.push(due.id);
        // Forty days later the settled one goes and the waiting one stays.
        let late = noted(40 * 86_400_000, "duel-0", "late");
        store.commit(Batch { snapshot: Some("{}".into()), ..entries(vec![late]) }).await.unwrap();
        let stats = store.history().outbox_stats().await.unwrap();
        assert_eq!((stats[0].sent, stats[0].pending), (0, 1));
        let waiting = store.due("slack", Some(Fold { above: 20, most: 40 })).await.unwrap().unwrap();
        assert_eq!(waiting.notices[0].notice, notice("1"));
    }
    assert_ne!(ids[0], ids[1]);
}
