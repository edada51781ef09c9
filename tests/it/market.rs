//! The market takes boxes away: interruptible ones that are outbid, and ones that the provider stops for no reason it names.
//! And it sends its bill, and notifications.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use vast_sim::{Fault, FaultKind};

use crate::harness::{Fleet, PATIENCE, eventually, exchange_with};

/// Never is more bid, in dollars an hour.
const MOST: f64 = 1.5;

/// What the provider's notifications are signed with.
const WEBHOOK_SECRET: &str = "canary-webhook-secret-91ab";

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dollars_that_no_rental_explains_are_told_with_their_instance() {
    let mut fleet = Fleet::light("billing", 2).await;
    fleet.settings.set("rails.billing_check", "1s");
    // A stranger's rental in the same account is nobody's business, whatever it costs.
    let stranger = fleet.rent_foreign(&["somebody's".to_owned()]).await;
    fleet.start().await;
    fleet.all_serve().await;
    eventually("the charges are read", PATIENCE, async || fleet.calls_of(&["charges"], 0) >= 3).await;
    assert_eq!(fleet.receiver.count("webhook", "was charged"), 0, "an honest bill is no news");
    let instance = fleet.instance("duel-0").await;
    for (charged, dollars) in [(stranger[0], 50.0), (instance, 5.0)] {
        let deed = FaultKind::Overcharged { dollars };
        fleet.sim.act(charged, vast_sim::Action::Do(deed)).await.unwrap();
    }
    let told = || {
        let messages = fleet.receiver.messages();
        let about =
            messages.into_iter().filter(|told| told.sink == "webhook" && told.title.contains("was charged"));
        about.map(|told| told.title).collect::<Vec<_>>()
    };
    eventually("somebody is told", PATIENCE, async || !told().is_empty()).await;
    let call = fleet.newest_call();
    eventually("it is read again", PATIENCE, async || fleet.calls_of(&["charges"], call) >= 3).await;
    let told = told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(&format!("instance {instance} was charged $5")), "{told:?}");
    fleet.verdict(&[]).await.is_clean();
}

/// Sends a notification as the provider does, and gives the answer's status.
async fn notify(at: std::net::SocketAddr, secret: &str, event: &str) -> u16 {
    let body = format!(
        r#"{{"event_id":"{event}","user_id":1,"notif_type":"outbid","subject":"Your Interruptible Instance #7 Has Been Outbid","message":"","timestamp":1.5}}"#
    );
    let sent_at = vast_keeper::clock::Clock::new().civil().0 / 1000;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{sent_at}.{body}").as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let headers = [
        ("X-Vast-Event-Id", event.to_owned()),
        ("X-Vast-Timestamp", sent_at.to_string()),
        ("X-Vast-Signature-256", format!("sha256={signature}")),
    ];
    exchange_with(at, "POST", "/hooks/vast", &headers, body.as_bytes()).await.unwrap().status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_notification_prompts_a_look_and_decides_nothing() {
    let mut fleet = Fleet::light("notifications", 1).await;
    let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fleet.settings.set("http.listen", &at.to_string());
    fleet.settings.set("inventory.interval", "10m");
    fleet.settings.set("rails.inventory_fresh", "30m");
    fleet.settings.environment.insert("VAST_WEBHOOK_SECRET".into(), WEBHOOK_SECRET.into());
    fleet.start().await;
    fleet.all_serve().await;
    let before = fleet.instances().await;
    // From here on nothing but a notification makes it list.
    let lists = || fleet.calls_of(&["list"], 0);
    let mut quiet = lists();
    eventually("the last list has been read", PATIENCE, async || {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        std::mem::replace(&mut quiet, lists()) == lists()
    })
    .await;
    assert_eq!(notify(at, "another-secret", "e0").await, 401);
    assert_eq!(lists(), quiet, "what was not signed is not heard");
    assert_eq!(notify(at, WEBHOOK_SECRET, "e1").await, 204);
    eventually("it looks", PATIENCE, async || lists() == quiet + 1).await;
    assert_eq!(notify(at, WEBHOOK_SECRET, "e1").await, 204, "delivered again");
    assert_eq!(notify(at, WEBHOOK_SECRET, "e2").await, 204);
    eventually("it looks once for each", PATIENCE, async || lists() == quiet + 2).await;
    assert_eq!(fleet.instances().await, before);
    assert!(!fleet.said().contains(WEBHOOK_SECRET));
    fleet.verdict(&[]).await.is_clean();
}

/// A proxy before the provider repeats a create that had been executed: two boxes bear one label. Which of them the answer
/// names is kept, the other is destroyed as soon as a list shows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_rentals_of_one_create_one_is_kept_and_the_other_destroyed() {
    let fleet = Fleet::serving("rented twice", 2).await;
    let before = fleet.instances().await;
    let known = fleet.sim.ledger().rentals.len();
    let twice = fleet.inject(Fault::once(FaultKind::CreateTwice).on_label("vk:e2e:duel-0:"));
    fleet.hit("duel-0", crate::harness::KILL_SERVER).await;
    fleet.replaced(&["duel-0".into()], &before).await;
    assert_eq!(fleet.fired(twice), 1);
    let rentals = fleet.sim.ledger().rentals.split_off(known);
    let labels: Vec<&str> = rentals.iter().filter_map(|rental| rental.label.as_deref()).collect();
    assert_eq!((labels.len(), labels[0] == labels[1]), (2, true), "{labels:?}");
    let kept = fleet.instances().await["duel-0"];
    let extra = rentals.iter().find(|rental| rental.instance != kept).unwrap();
    eventually("the other is destroyed", PATIENCE, async || {
        let ledger = fleet.sim.ledger();
        !ledger.live().any(|rental| rental.instance == extra.instance)
    })
    .await;
    eventually("somebody is told", PATIENCE, async || {
        fleet.receiver.count("webhook", &extra.instance.to_string()) > 0
    })
    .await;
    let verdict = fleet.verdict(&[]).await;
    let (first, second) = (kept.min(extra.instance), kept.max(extra.instance));
    assert_eq!(verdict.doubled, [(first, second)], "the provider's doing, and no other");
    assert!(verdict.leaked.is_empty(), "{verdict:?}");
}
