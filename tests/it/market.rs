//! The market takes boxes away: interruptible ones that are outbid, and ones that the provider stops for no reason it names.

use vast_sim::{Fault, FaultKind};

use crate::harness::{Fleet, PATIENCE, eventually};

/// Never is more bid, in dollars an hour.
const MOST: f64 = 1.5;

/// A fleet of interruptible boxes that serves.
async fn interruptible(name: &'static str, nodes: u32) -> Fleet {
    let mut fleet = Fleet::light(name, nodes).await;
    fleet.settings.set("rental.kind", "interruptible");
    fleet.settings.set("rental.max_bid", &MOST.to_string());
    fleet.start().await;
    fleet.all_serve().await;
    fleet
}

/// Every price that the keeper bid since, first bids and raises.
fn bids(fleet: &Fleet, after: u64) -> Vec<f64> {
    let calls = fleet.sim.calls_after(after);
    let bidding = calls.iter().filter(|call| matches!(call.endpoint, "create" | "change_bid"));
    bidding.map(|call| call.body["price"].as_f64().expect("an interruptible rental names its bid")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbid_box_is_bid_more_for_and_comes_back_as_itself() {
    let fleet = interruptible("outbid", 2).await;
    let before = fleet.instances().await;
    assert!(bids(&fleet, 0).iter().all(|bid| *bid <= MOST));
    let call = fleet.newest_call();
    fleet.hit("duel-0", FaultKind::Outbid { min_bid: None }).await;
    eventually("more is bid", PATIENCE, async || !bids(&fleet, call).is_empty()).await;
    fleet
        .until("it serves again", |view| view.healthy == 2 && view.nodes.iter().all(|n| n.incident.is_none()))
        .await;
    assert_eq!(fleet.instances().await, before, "the same boxes");
    assert_eq!(fleet.calls_of(&["create", "destroy"], call), 0);
    assert!(bids(&fleet, call).iter().all(|bid| *bid <= MOST), "{:?}", bids(&fleet, call));
    let incidents = fleet.incidents().await;
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_cap_nothing_is_bid_and_the_box_is_replaced() {
    let fleet = interruptible("too dear", 2).await;
    let before = fleet.instances().await;
    let call = fleet.newest_call();
    fleet.hit("duel-0", FaultKind::Outbid { min_bid: Some(MOST * 1.5) }).await;
    fleet.replaced(&["duel-0".into()], &before).await;
    assert_eq!(fleet.calls_of(&["change_bid"], call), 0);
    assert!(bids(&fleet, call).iter().all(|bid| *bid <= MOST), "{:?}", bids(&fleet, call));
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_box_is_started_and_a_queued_start_is_awaited() {
    let mut fleet = Fleet::light("stopped", 2).await;
    fleet.settings.environment.insert("KEEPER__LADDER".into(), "start,replace".into());
    fleet.start().await;
    fleet.all_serve().await;
    let before = fleet.instances().await;
    let call = fleet.newest_call();
    let queued = fleet.inject(Fault::once(FaultKind::QueuedStart { after_s: Some(1.0) }));
    // On demand nobody is outbid, so this is a stop without a word.
    fleet.hit("duel-0", FaultKind::Outbid { min_bid: None }).await;
    eventually("it is started", PATIENCE, async || fleet.fired(queued) == 1).await;
    fleet
        .until("it serves again", |view| view.healthy == 2 && view.nodes.iter().all(|n| n.incident.is_none()))
        .await;
    assert_eq!(fleet.instances().await, before, "the same boxes");
    assert_eq!(fleet.calls_of(&["create", "destroy"], call), 0);

    // One that never fires ends in a replacement, which cancels it: the box is gone.
    let call = fleet.newest_call();
    let never = fleet.inject(Fault::once(FaultKind::QueuedStart { after_s: None }).times(20));
    fleet.hit("duel-0", FaultKind::Outbid { min_bid: None }).await;
    fleet.replaced(&["duel-0".into()], &before).await;
    assert!(fleet.fired(never) >= 1);
    assert_eq!(fleet.calls_of(&["destroy"], call), 1);
    fleet.sim.clear_fault(never);
    fleet.verdict(&[]).await.is_clean();
}
