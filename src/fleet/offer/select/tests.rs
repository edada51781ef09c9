use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fleet::offer::tests::offer;

fn any_policy() -> OfferPolicy {
    OfferPolicy { query: "".parse().unwrap(), ..OfferPolicy::default() }
}

fn with(id: u64, change: impl FnOnce(&mut Offer)) -> Offer {
    let mut offer = offer(id);
    change(&mut offer);
    offer
}

fn ids(selection: &Selection) -> Vec<u64> {
    selection.ranked.iter().map(|offer| offer.id.0).collect()
}

fn why_not(offer: Offer, policy: &OfferPolicy) -> String {
    let selection = select(&[offer], policy, &Exclusions::default(), None, 120);
    assert!(selection.ranked.is_empty(), "{:?}", selection.ranked);
    selection.rejected[0].1.to_string()
}

#[test]
fn each_floor_rejects_what_is_too_little_and_what_is_not_said() {
    let policy = OfferPolicy { min_inet_down_mbps: 500.0, min_duration_s: 3600.0, ..any_policy() };
    assert_eq!(ids(&select(&[offer(1)], &policy, &Exclusions::default(), None, 120)), [1]);
    let said = |change: fn(&mut Offer)| why_not(with(1, change), &policy);
    assert_eq!(said(|o| o.disk_gb = Some(119.0)), "disk in GB 119 is below 120");
    assert_eq!(said(|o| o.disk_gb = None), "disk in GB is not stated, 120 is wanted");
    assert_eq!(said(|o| o.reliability = Some(0.959)), "reliability 0.959 is below 0.96");
    assert_eq!(said(|o| o.reliability = None), "reliability is not stated, 0.96 is wanted");
    assert_eq!(said(|o| o.reliability = Some(f64::NAN)), "reliability NaN is below 0.96");
    assert_eq!(said(|o| o.cpu_ram_mb = None), "CPU memory in MB is not stated, 16000 is wanted");
    assert_eq!(said(|o| o.cpu_cores = Some(7.9)), "CPU cores 7.9 is below 8");
    assert_eq!(said(|o| o.gpu_ram_mb = None), "GPU memory in MB is not stated, 10000 is wanted");
    assert_eq!(said(|o| o.direct_ports = Some(1)), "direct ports 1 is below 2");
    assert_eq!(said(|o| o.inet_down_mbps = None), "download in Mbit/s is not stated, 500 is wanted");
    assert_eq!(said(|o| o.duration_s = Some(60.0)), "seconds until the offer ends 60 is below 3600");
    assert_eq!(said(|o| o.price = Money(2_500_001)), "$2.50/h is above the cap of $2.50/h");
    assert_eq!(said(|o| o.price = Money(0)), "$0.00/h is no price");
}

#[test]
fn a_replacement_may_not_cost_much_more_than_what_it_replaces() {
    let offers = [with(1, |o| o.price = Money(451_000)), with(2, |o| o.price = Money(450_000))];
    let selection = select(&offers, &any_policy(), &Exclusions::default(), Some(Money(300_000)), 120);
    assert_eq!(ids(&selection), [2]);
    let why = selection.rejected[0].1.to_string();
    assert_eq!(why, "$0.451/h is above $0.45/h, the most for a replacement of $0.30/h");
    assert_eq!(ids(&select(&offers, &any_policy(), &Exclusions::default(), Some(Money(0)), 120)), [2, 1]);
}

#[test]
fn gpu_names_are_exact() {
    let names = ["A10", "A100 SXM4", "A100", "RTX 3080", "RTX 3080 Ti", "L4", "L40S"];
    let offers: Vec<Offer> = (1..).zip(names).map(|(id, name)| with(id, |o| o.gpu = name.into())).collect();
    let chosen = |wanted: &[&str]| {
        let gpus = wanted.iter().map(ToString::to_string).collect();
        ids(&select(&offers, &OfferPolicy { gpus, ..any_policy() }, &Exclusions::default(), None, 120))
    };
    assert_eq!(chosen(&["A10"]), [1]);
    assert_eq!(chosen(&["rtx_3080"]), [4]);
    assert_eq!(chosen(&["L4", "RTX 3080 Ti", "A100"]), [6, 5, 3]);
    assert_eq!(chosen(&[]).len(), 7);
}

#[test]
fn regions_are_whole_words_and_come_in_the_order_wished() {
    let places = ["Minsk, Belarus", "Texas, US", "New York, US", "York, GB", "Oregon, US"];
    let offers: Vec<Offer> =
        (1..).zip(places).map(|(id, place)| with(id, |o| o.geolocation = Some(place.into()))).collect();
    let order = |regions: &[&str]| {
        let prefer_regions = regions.iter().map(ToString::to_string).collect();
        ids(&select(
            &offers,
            &OfferPolicy { prefer_regions, ..any_policy() },
            &Exclusions::default(),
            None,
            120,
        ))
    };
    assert_eq!(order(&["us"]), [2, 3, 5, 1, 4]);
    assert_eq!(order(&["oregon", "New York"]), [5, 3, 1, 2, 4]);
    assert_eq!(order(&["york"]), [3, 4, 1, 2, 5]);
    assert_eq!(order(&["or", "", " , "]), [1, 2, 3, 4, 5]);
}

#[test]
fn the_order_of_keys_is_the_policys() {
    let cheap = with(2, |o| (o.price, o.reliability) = (Money(200_000), Some(0.97)));
    let reliable = with(1, |o| (o.price, o.reliability) = (Money(900_000), Some(0.999)));
    let offers = [reliable, cheap];
    let order = |keys: &[RankKey]| {
        let policy = OfferPolicy { order: keys.to_vec(), ..any_policy() };
        ids(&select(&offers, &policy, &Exclusions::default(), None, 120))
    };
    assert_eq!(order(&[RankKey::Price, RankKey::Reliability]), [2, 1]);
    assert_eq!(order(&[RankKey::Reliability]), [1, 2]);
    assert_eq!(order(&[]), [2, 1], "without keys the price decides");
}

#[test]
fn a_machine_that_failed_us_and_an_offer_that_was_gone_are_passed_over() {
    let exclusions = Exclusions {
        machines: [(MachineId(10), "never booted".to_owned())].into(),
        offers: [(OfferId(2), "no longer available".to_owned())].into(),
        ..Exclusions::default()
    };
    let same_machine_again = with(7, |o| o.machine = MachineId(10));
    let offers = [offer(1), offer(2), offer(3), same_machine_again];
    let selection = select(&offers, &any_policy(), &exclusions, None, 120);
    assert_eq!(ids(&selection), [3]);
    let reasons: Vec<String> = selection.rejected.iter().map(|(_, why)| why.to_string()).collect();
    assert_eq!(
        reasons,
        [
            "machine excluded: never booted",
            "offer excluded: no longer available",
            "machine excluded: never booted"
        ]
    );
}

#[test]
fn of_one_machine_the_cheapest_acceptable_offer_is_taken() {
    let on_one = |id, micros| with(id, |o| (o.machine, o.price) = (MachineId(5), Money(micros)));
    let too_small = with(4, |o| (o.machine, o.price, o.disk_gb) = (MachineId(5), Money(1), None));
    let offers = [on_one(1, 400_000), on_one(3, 300_000), on_one(2, 300_000), too_small];
    let selection = select(&offers, &any_policy(), &Exclusions::default(), None, 120);
    assert_eq!(ids(&selection), [2]);
    assert_eq!(selection.rejected[0].1, Rejection::SameMachine { instead: OfferId(2) });
    assert_eq!(selection.rejected.len(), 3);
}

#[test]
fn what_the_provider_let_through_against_the_query_is_rejected() {
    let policy = OfferPolicy::default();
    let hidden = with(1, |o| o.display_active = Some(false));
    assert_eq!(why_not(hidden, &policy), "does not meet `gpu_display_active=true`");
    let two = with(1, |o| o.gpus = 2);
    assert_eq!(why_not(two, &policy), "does not meet `num_gpus=1`");
}

proptest! {
    #[test]
    fn nothing_is_lost_and_the_given_order_does_not_matter(
        offers in prop::collection::vec((1u64..30, 1u64..6, 1i64..4_000_000, 0.9f64..1.0), 0..30),
        seed: u64,
    ) {
        let offers: Vec<Offer> = offers
            .into_iter()
            .map(|(id, machine, price, reliability)| with(id, |o| {
                (o.machine, o.price, o.reliability) = (MachineId(machine), Money(price), Some(reliability));
            }))
            .collect();
        let policy = OfferPolicy::default();
        let selection = select(&offers, &policy, &Exclusions::default(), Some(Money(900_000)), 120);
        prop_assert_eq!(selection.ranked.len() + selection.rejected.len(), offers.len());
        let machines: BTreeSet<MachineId> = selection.ranked.iter().map(|offer| offer.machine).collect();
        prop_assert_eq!(machines.len(), selection.ranked.len());
        for offer in &selection.ranked {
            prop_assert!(offer.price <= Money(1_350_000) && offer.reliability.unwrap() >= 0.96);
        }
        let mut ids: BTreeSet<OfferId> = BTreeSet::new();
        let mut unique: Vec<Offer> = offers.into_iter().filter(|offer| ids.insert(offer.id)).collect();
        let first = select(&unique, &policy, &Exclusions::default(), None, 120).ranked;
        fastrand::Rng::with_seed(seed).shuffle(&mut unique);
        prop_assert_eq!(select(&unique, &policy, &Exclusions::default(), None, 120).ranked, first);
    }
}
