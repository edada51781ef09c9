//! Every fault that the simulator knows, end to end: either the fleet is whole again at the end, or nothing was destroyed
//! and somebody was told.

use vast_sim::{ApiBreak, Fault, FaultKind, GoneStatus, RateLimitBody, TrafficBreak};

use crate::harness::{Fleet, KILL_SERVER};

const BREAKS: [ApiBreak; 9] = [
    ApiBreak::Hang,
    ApiBreak::Reset,
    ApiBreak::Html502,
    ApiBreak::Html504,
    ApiBreak::Html404,
    ApiBreak::Json500,
    ApiBreak::Garbage,
    ApiBreak::Truncated,
    ApiBreak::EmptyObject,
];

fn create(kind: FaultKind) -> Fault {
    Fault::once(kind).on_endpoint("create")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_rented_and_whose_answer_was_lost_is_never_sent_again() {
    let fleet = Fleet::serving("lost create replies", 5).await;
    for breaks in BREAKS.chunks(4) {
        fleet.round(breaks.iter().map(|how| Fault::lost_create_reply(*how)).collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_never_arrived_is_given_up_by_looking_and_another_is_sent() {
    let fleet = Fleet::serving("creates that fail", 5).await;
    for breaks in BREAKS.chunks(4) {
        fleet.round(breaks.iter().map(|how| create(FaultKind::ApiOutage { how: *how })).collect()).await;
    }
    fleet
        .round(vec![
            create(FaultKind::OfferGone { status: GoneStatus::NotFound }).times(3),
            create(FaultKind::OfferGone { status: GoneStatus::Gone }).times(3),
            create(FaultKind::OfferGone { status: GoneStatus::BadRequest }).times(3),
            create(FaultKind::RateLimited { body: RateLimitBody::Text, retry_after: Some(2) }),
        ])
        .await;
    fleet
        .round(vec![
            create(FaultKind::RateLimited { body: RateLimitBody::TextThreshold, retry_after: None }),
            create(FaultKind::RateLimited { body: RateLimitBody::Detail, retry_after: None }),
            create(FaultKind::RateLimited { body: RateLimitBody::Envelope, retry_after: None }),
            create(FaultKind::UnreadableRow { for_s: 1.0 }),
        ])
        .await;
    // A refusal for money's sake, although there is some: it is asked again.
    fleet.round(vec![create(FaultKind::SpendRateLimit), create(FaultKind::InsufficientCredit)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_that_never_comes_up_is_destroyed_and_another_rented() {
    let mut fleet = Fleet::provider("boots that fail", 5).await;
    fleet.settings.set("deadlines.boot", "20s");
    fleet.start().await;
    fleet.all_serve().await;
    let boot = Fault::once;
    fleet
        .round(vec![
            boot(FaultKind::StuckLoading),
            boot(FaultKind::OciFailure),
            boot(FaultKind::ImageFault),
            boot(FaultKind::ExitsInBoot),
        ])
        .await;
    fleet
        .round(vec![
            boot(FaultKind::PortsMissing { for_s: 2.0 }),
            boot(FaultKind::PortsMissing { for_s: 600.0 }),
            create(FaultKind::CreateErrorWithContract),
            boot(FaultKind::SshAuthRefused).times(2),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destroy_is_repeated_until_the_box_is_gone_and_searches_are_repeated_too() {
    let fleet = Fleet::serving("destroys and searches", 5).await;
    let destroy = |kind| Fault::once(kind).on_endpoint("destroy");
    fleet
        .round(vec![
            destroy(FaultKind::DestroyRefused).times(2),
            // `DestroyIgnored` is left to the core's stories: a destroy that is acknowledged and not done leaves two boxes
            // alive until the lists show it, which this judge rightly counts.
            destroy(FaultKind::DestroyLingers { for_s: 2.0 }),
            destroy(FaultKind::RateLimited { body: RateLimitBody::Text, retry_after: None }),
        ])
        .await;
    for breaks in [ApiBreak::Hang, ApiBreak::Html404, ApiBreak::Garbage, ApiBreak::EmptyObject].chunks(2) {
        let lost = breaks.iter().map(|how| destroy(FaultKind::LostReply { how: *how }));
        let never = breaks.iter().map(|how| destroy(FaultKind::ApiOutage { how: *how }));
        fleet.round(lost.chain(never).collect()).await;
    }

    let search = |kind| Fault::once(kind).on_endpoint("search");
    let before = fleet.instances().await;
    let rules = [
        FaultKind::SearchQuota { resets_in_s: Some(2) },
        FaultKind::ApiOutage { how: ApiBreak::Garbage },
        FaultKind::ApiOutage { how: ApiBreak::EmptyObject },
        FaultKind::RateLimited { body: RateLimitBody::Text, retry_after: Some(1) },
    ]
    .map(|kind| fleet.inject(search(kind)));
    fleet.hit("duel-0", KILL_SERVER).await;
    fleet.replaced(&["duel-0".into()], &before).await;
    assert_eq!(rules.map(|rule| fleet.fired(rule)), [1; 4]);
    fleet.verdict(&[]).await.is_clean();
}

/// The provider says that a box is destroyed and leaves it running: for a while two boxes of the node live, which nothing
/// can prevent, since the replacement follows the provider's word. The lists show it, and the destroy is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destroy_that_was_acknowledged_and_not_done_is_found_out_and_sent_again() {
    let fleet = Fleet::serving("destroys that lie", 2).await;
    let before = fleet.instances().await;
    let old = before["duel-0"];
    let call = fleet.newest_call();
    let lie = fleet.inject(Fault::once(FaultKind::DestroyIgnored).on_instance(old).times(2));
    fleet.hit("duel-0", KILL_SERVER).await;
    fleet.replaced(&["duel-0".into()], &before).await;
    assert_eq!((fleet.fired(lie), fleet.calls_of(&["destroy"], call)), (2, 3));
    let verdict = fleet.verdict(&[]).await;
    let new = fleet.instances().await["duel-0"];
    assert_eq!(verdict.doubled, [(old, new)], "the lie's doing, and no other");
    assert!(verdict.leaked.is_empty() && verdict.wrongly_destroyed.is_empty(), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_whose_connection_breaks_ends_on_this_box_or_on_another() {
    let fleet = Fleet::serving("broken uploads", 5).await;
    // The first connection may be the question to the dying box; the later ones are the deploy to the new one.
    let ssh = |how| Fault::once(FaultKind::SshTraffic { how, path: None }).times(3);
    fleet
        .round(vec![
            ssh(TrafficBreak::Reset),
            ssh(TrafficBreak::CutUploadAfter(1_000_000)),
            ssh(TrafficBreak::Hang),
            ssh(TrafficBreak::DelayMs(300)),
        ])
        .await;
}
