//! The client against a provider on real sockets that answers by script, row by row of what is known of Vast.ai.

mod create;
mod destroy;
mod fake;
mod fuzz;
mod never_wrong;
mod pacing;
mod read;
mod simulated;

use std::time::Duration;

use super::{CreateRequest, Vast, VastConfig, VastError};
use crate::{
    clock::Clock,
    fleet::{
        name::{Label, OfferId, OpId},
        policy::RentalSpec,
        provider::CreateAnswer,
    },
};

/// The key of these tests; long enough to be masked.
const KEY: &str = "k3y-that-must-appear-nowhere-else";
/// Far more than an answer takes on a machine that does other things.
const TIMEOUT: Duration = Duration::from_secs(20);
/// For a provider that never answers: long enough that the request has reached it before it is given up.
const IN_VAIN: Duration = Duration::from_secs(8);

fn config(url: &str) -> VastConfig {
    VastConfig {
        base_url: url.parse().unwrap(),
        api_key: KEY.into(),
        clock: Clock::new(),
        timeout: TIMEOUT,
        pacing: 0.0,
    }
}

fn client(fake: &fake::Fake) -> Vast {
    Vast::new(config(fake.url().as_str())).unwrap()
}

/// A client of one that always answers so.
fn client_for(answer: &fake::Answer, fake: &fake::Fake) -> Vast {
    let timeout = if matches!(answer, fake::Answer::Hang) { IN_VAIN } else { TIMEOUT };
    Vast::new(VastConfig { timeout, ..config(fake.url().as_str()) }).unwrap()
}

fn label() -> Label {
    Label { fleet: "prod".parse().unwrap(), node: "duel-0".parse().unwrap(), op: OpId::from_bits(7) }
}

/// Sends the one create of these tests, with `left` until it expires.
async fn create_within(vast: &Vast, left: Duration) -> CreateAnswer {
    let (label, rental) = (label(), RentalSpec::default());
    let not_after = vast.clock.now().after(left);
    vast.create(CreateRequest { offer: OfferId(71), label: &label, rental: &rental, bid: None, not_after })
        .await
}

async fn create(vast: &Vast) -> CreateAnswer {
    create_within(vast, Duration::from_secs(30)).await
}

#[test]
fn a_key_never_travels_in_the_clear_and_a_wrong_root_is_told() {
    let why = |url: &str| match Vast::new(config(url)) {
        Err(error @ VastError::BaseUrl { .. }) => error.to_string(),
        other => panic!("{url}: {other:?}"),
    };
    assert!(why("http://console.vast.ai").contains("in the clear"));
    assert!(why("http://192.168.0.7:8099/").contains("in the clear"));
    assert!(why("https://console.vast.ai/api/v0").contains("root alone"));
    assert!(why("https://console.vast.ai/?api_key=x").contains("root alone"));
    assert!(why("https://me:pw@console.vast.ai").contains("password"));
    assert!(why("ftp://console.vast.ai").contains("https://"));
    for url in ["https://console.vast.ai", "http://127.9.9.9:1/", "http://[::1]:1", "http://localhost:8099"] {
        assert!(Vast::new(config(url)).is_ok(), "{url}");
    }
    for key in ["", "  ", "line\nbreak"] {
        let config = VastConfig { api_key: key.into(), ..config("https://console.vast.ai") };
        assert!(matches!(Vast::new(config), Err(VastError::Key)), "{key:?}");
    }
}

#[test]
fn nothing_printable_holds_the_key() {
    let config = config("https://console.vast.ai");
    assert!(!format!("{config:?}").contains(KEY));
    assert!(!format!("{:?}", Vast::new(config).unwrap()).contains(KEY));
}
