//! Every fault that the simulator knows, end to end: either the fleet is whole again at the end, or nothing was destroyed
//! and somebody was told.

use vast_sim::{ApiBreak, Fault, FaultKind, GoneStatus, RateLimitBody};

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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_that_never_comes_up_is_destroyed_and_another_rented() {
    let fleet = Fleet::serving("boots that fail", 5).await;
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
async fn a_fleet_heals() {
    let fleet = Fleet::serving("heals", 3).await;
    fleet.hit("duel-1", KILL_SERVER).await;
    fleet.all_serve().await;
}
