//! The client against the provider simulator, which shares no code with it: two readings of one API must agree.

use std::time::Duration;

use futures_util::future::{join, join_all};
use secrecy::SecretString;
use vast_sim::{LifecycleConfig, Sim, SimConfig};

use super::{config, label};
use crate::{
    fleet::{
        name::InstanceId,
        offer::{Exclusions, Offer, OfferPolicy, select},
        policy::RentalSpec,
        provider::{CreateAnswer, DestroyAnswer, ProviderFault, Status},
    },
    vast::{CreateRequest, Vast, VastConfig},
};

/// Simulated seconds in a real one; the client's pacing is its inverse.
const SPEED: f64 = 10.0;

async fn simulator() -> Sim {
    let lifecycle = LifecycleConfig::all(0.1);
    let config = SimConfig { time_scale: SPEED, rate_limits: true, lifecycle, ..SimConfig::default() };
    Sim::start(config).await.unwrap()
}

fn client(sim: &Sim, key: &str) -> Vast {
    let api_key = SecretString::from(key);
    let timeout = Duration::from_secs(10);
    Vast::new(VastConfig { api_key, timeout, pacing: 1.0 / SPEED, ..config(sim.url().as_ref()) }).unwrap()
}

async fn rent(vast: &Vast, offer: &Offer) -> CreateAnswer {
    let (label, rental) = (label(), RentalSpec::default());
    let not_after = vast.clock.now().after(Duration::from_secs(30));
    vast.create(CreateRequest { offer: offer.id, label: &label, rental: &rental, bid: None, not_after }).await
}

fn created(answer: CreateAnswer) -> InstanceId {
    match answer {
        CreateAnswer::Created(id) => id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_box_is_found_rented_reached_and_gone_without_one_call_too_many() {
    let sim = simulator().await;
    let vast = client(&sim, "sim-key");
    // Wherever and with or without a display: the market of one seed may have few others.
    let policy = OfferPolicy { query: "num_gpus=1 rented=False".parse().unwrap(), ..OfferPolicy::default() };
    let found = vast.search(&policy, 120).await.unwrap();
    let ranked = select(&found.offers, &policy, &Exclusions::default(), None, 120).ranked;
    let [first, second, ..] = ranked.as_slice() else { panic!("the market has too little: {ranked:?}") };

    let (one, two) = join(rent(&vast, first), rent(&vast, second)).await;
    let ids = [created(one), created(two)];
    let again = rent(&vast, first).await;
    assert!(matches!(&again, CreateAnswer::OfferGone(_)), "{again:?}");

    let up = async {
        loop {
            let rentals = vast.inventory().await.unwrap().rentals;
            let ready = rentals.iter().filter(|rental| {
                rental.status == Status::Running
                    && rental.address(5555).is_some()
                    && rental.address(22).is_some()
            });
            if ready.count() == ids.len() {
                break rentals;
            }
        }
    };
    let rentals = tokio::time::timeout(Duration::from_secs(30), up).await.expect("both boxes run");
    assert!(rentals.iter().all(|rental| rental.label == Some(label().to_string())), "{rentals:?}");
    assert_eq!(rentals.iter().map(|rental| rental.price).max(), Some(second.price.max(first.price)));
    assert!(vast.credit().await.unwrap().dollars > crate::fleet::units::Money(0));

    let not_after = vast.clock.now().after(Duration::from_secs(30));
    let destroyed = join_all(ids.map(|id| vast.destroy(id, not_after))).await;
    assert_eq!(destroyed, [DestroyAnswer::Acknowledged, DestroyAnswer::Acknowledged]);
    let gone = async { while !vast.inventory().await.unwrap().rentals.is_empty() {} };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("both boxes go");

    let calls = sim.calls();
    let throttled: Vec<_> = calls.iter().filter(|call| call.status == Some(429)).collect();
    assert!(throttled.is_empty(), "the spacing was not kept: {throttled:?}");
    assert_eq!(calls.iter().filter(|call| call.endpoint == "create").count(), 3, "one send per create");
    sim.shutdown().await;
}

#[tokio::test]
async fn a_wrong_key_is_neither_an_empty_account_nor_a_destroyed_box() {
    let sim = simulator().await;
    let vast = client(&sim, "revoked");
    let list = vast.inventory().await;
    assert!(matches!(&list, Err(ProviderFault::Auth { .. })), "{list:?}");
    let destroyed = vast.destroy(InstanceId(1), vast.clock.now().after(Duration::from_secs(30))).await;
    assert!(matches!(&destroyed, DestroyAnswer::Failed(ProviderFault::Auth { .. })), "{destroyed:?}");
    sim.shutdown().await;
}
