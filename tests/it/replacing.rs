//! The two ways of replacing without waiting for a new box, over real sockets and real SSH: create-first and spares.

use vast_sim::FaultKind;

use crate::harness::{Fleet, KILL_SERVER};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_first_keeps_the_old_box_until_the_new_one_serves() {
    let mut fleet = Fleet::provider("create-first", 2).await;
    fleet.settings.set("replace.order", "create-first");
    fleet.start().await;
    fleet.all_serve().await;
    let before = fleet.instances().await;
    let (old, from) = (before["duel-0"], fleet.newest_event().await);
    fleet.hit("duel-0", KILL_SERVER).await;
    fleet.replaced(&["duel-0".into()], &before).await;

    kept_until_the_next_served(&fleet, old).await;
    let doomed = fleet.journaled(from, "doomed", Some("duel-0")).await.seq;
    let adopted = fleet.journaled(from, "adopted", Some("duel-0")).await.seq;
    assert_eq!(adopted, doomed + 1, "condemned in the transaction that adopts the newcomer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_whose_contract_ends_within_the_hour_serves_until_another_does() {
    let fleet = Fleet::serving("contract's end", 2).await;
    let before = fleet.instances().await;
    let (old, from) = (before["duel-0"], fleet.newest_event().await);
    fleet.hit("duel-0", FaultKind::ContractEnds { in_s: 1800.0 }).await;
    fleet.excuse(vec![old]);
    fleet.replaced(&["duel-0".into()], &before).await;
    kept_until_the_next_served(&fleet, old).await;
    let planned = fleet.journaled(from, "recovery-started", Some("duel-0")).await;
    assert!(planned.text.contains("contract"), "{}", planned.text);
}

/// The old box of `duel-0` ended, and not before its replacement was up.
async fn kept_until_the_next_served(fleet: &Fleet, old: u64) {
    let new = fleet.instance("duel-0").await;
    let ledger = fleet.sim.ledger();
    let rental = |id: u64| ledger.rentals.iter().find(|rental| rental.instance == id).unwrap();
    let ended = rental(old).ended_ms.expect("the old box lives on");
    let up = rental(new).running_ms.expect("the new box never ran");
    assert!(up < ended, "the old box ended at {ended} ms, before the new one was up at {up} ms");
    let verdict = fleet.verdict(&[]).await;
    assert_eq!(verdict.doubled, [(old, new)], "the one pair that may live at once");
    assert!(verdict.leaked.is_empty() && verdict.wrongly_destroyed.is_empty(), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spare_takes_over_under_its_own_name_and_another_is_rented_behind_it() {
    let mut fleet = Fleet::provider("spares", 2).await;
    fleet.settings.set("replace.spares", "1");
    fleet.start().await;
    fleet.until("nodes and spare serve", |view| view.healthy == 2 && view.spares_ready == 1).await;
    let before = fleet.instances().await;
    let (old, in_hand) = (before["duel-0"], before["duel-spare-0"]);
    fleet.hit("duel-0", KILL_SERVER).await;
    fleet
        .until("the spare's box serves as duel-0, and there is another spare", |view| {
            let of = |name: &str| view.nodes.iter().find(|node| node.node.as_str() == name).unwrap();
            let spare = of("duel-spare-0").instance.map(|id| id.0);
            view.healthy == 2
                && view.spares_ready == 1
                && view.doomed.is_empty()
                && of("duel-0").instance.map(|id| id.0) == Some(in_hand)
                && spare.is_some_and(|spare| spare != in_hand && spare != old)
        })
        .await;

    let ledger = fleet.sim.ledger();
    let label = |id: u64| ledger.rentals.iter().find(|rental| rental.instance == id).unwrap().label.clone();
    assert!(label(in_hand).unwrap().starts_with("vk:e2e:duel-0:"), "the provider knows it by its new name");
    let verdict = fleet.verdict(&[]).await;
    assert!(verdict.leaked.is_empty() && verdict.wrongly_destroyed.is_empty(), "{verdict:?}");
    assert_eq!(ledger.live().count(), 3, "two nodes and one spare");

    // Fewer are wanted: the spare is given back, and nothing else.
    let spare = fleet.instance("duel-spare-0").await;
    let keeper = fleet.take_keeper();
    keeper.kill().await;
    fleet.settings.set("replace.spares", "0");
    fleet.start().await;
    fleet.until("the spare is given back", |view| view.nodes.len() == 2 && view.doomed.is_empty()).await;
    fleet.all_serve().await;
    let verdict = fleet.verdict(&[spare]).await;
    assert!(verdict.leaked.is_empty() && verdict.wrongly_destroyed.is_empty(), "{verdict:?}");
}
