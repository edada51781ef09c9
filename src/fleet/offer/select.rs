//! Which of the offers found would be taken, in which order, and why each other would not.
//!
//! Every comparison of names is exact (an `A100` is no `A10`, a `3080 Ti` no `3080`), every floor rejects an offer that
//! does not say, and the disk floor is the disk that will be rented. The order is total, so that the same offers give
//! the same choice.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use super::{Offer, OfferPolicy, RankKey};
use crate::fleet::{
    name::{MachineId, OfferId},
    units::Money,
};

/// What must not be rented now, each with its reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Machines that failed us or that the configuration forbids.
    pub machines: BTreeMap<MachineId, String>,
    /// Offers that were gone when tried; a search may go on showing them for a while.
    pub offers: BTreeMap<OfferId, String>,
}

/// The outcome of a selection; every offer given is in exactly one of the two.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Acceptable offers, the one to rent first in front; one per machine.
    pub ranked: Vec<Offer>,
    /// The others with the first reason against each, in the order given.
    pub rejected: Vec<(Offer, Rejection)>,
}

/// Why an offer is not acceptable.
#[derive(Debug, Clone, PartialEq)]
pub enum Rejection {
    /// The machine is excluded, for this reason.
    MachineExcluded(String),
    /// The offer itself is excluded, for this reason.
    OfferExcluded(String),
    /// A filter of the query does not hold after all.
    Query(String),
    /// The GPU is none of those wanted.
    Gpu(String),
    /// A floor is missed: what, the floor, and what the offer says, if anything.
    Below {
        /// What, with its unit.
        what: &'static str,
        /// At least this was wanted.
        floor: f64,
        /// What the offer says.
        got: Option<f64>,
    },
    /// Dearer than the cap.
    AboveCap {
        /// Dollars per hour.
        price: Money,
        /// The cap.
        cap: Money,
    },
    /// Dearer than a replacement may be.
    AboveStep {
        /// Dollars per hour.
        price: Money,
        /// The highest price of a replacement.
        limit: Money,
        /// What the replaced instance cost.
        previous: Money,
    },
    /// A price that nobody asks.
    NoPrice(Money),
    /// A cheaper offer of the same machine is taken instead.
    SameMachine {
        /// That offer.
        instead: OfferId,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MachineExcluded(why) => write!(f, "machine excluded: {why}"),
            Self::OfferExcluded(why) => write!(f, "offer excluded: {why}"),
            Self::Query(filter) => write!(f, "does not meet `{filter}`"),
            Self::Gpu(gpu) => write!(f, "`{gpu}` is not a wanted GPU"),
            Self::Below { what, floor, got: Some(got) } => write!(f, "{what} {got} is below {floor}"),
            Self::Below { what, floor, got: None } => write!(f, "{what} is not stated, {floor} is wanted"),
            Self::AboveCap { price, cap } => write!(f, "{price}/h is above the cap of {cap}/h"),
            Self::AboveStep { price, limit, previous } => {
                write!(f, "{price}/h is above {limit}/h, the most for a replacement of {previous}/h")
            }
            Self::NoPrice(price) => write!(f, "{price}/h is no price"),
            Self::SameMachine { instead } => write!(f, "offer {instead} is the same machine and cheaper"),
        }
    }
}

/// Sorts offers into acceptable ones, best first, and rejected ones.
///
/// `previous_price` is the hourly price of the instance that is replaced, if one is; `disk_gb` the disk that will be
/// rented.
#[must_use]
pub fn select(
    offers: &[Offer],
    policy: &OfferPolicy,
    exclusions: &Exclusions,
    previous_price: Option<Money>,
    disk_gb: u32,
) -> Selection {
    let mut acceptable: Vec<&Offer> = Vec::new();
    let mut rejections: BTreeMap<usize, Rejection> = BTreeMap::new();
    let mut by_price: Vec<(usize, &Offer)> = offers.iter().enumerate().collect();
    by_price.sort_by_key(|(index, offer)| (offer.price, offer.id, *index));

    let mut machines: BTreeMap<MachineId, OfferId> = BTreeMap::new();
    for (index, offer) in by_price {
        let fault = rejection(offer, policy, exclusions, previous_price, disk_gb);
        match (fault, machines.get(&offer.machine)) {
            (Some(fault), _) => {
                rejections.insert(index, fault);
            }
            (None, Some(instead)) => {
                rejections.insert(index, Rejection::SameMachine { instead: *instead });
            }
            (None, None) => {
                machines.insert(offer.machine, offer.id);
                acceptable.push(offer);
            }
        }
    }
    acceptable.sort_by(|a, b| compare(a, b, policy));
    let rejected =
        rejections.into_iter().filter_map(|(index, fault)| Some((offers.get(index)?.clone(), fault)));
    Selection { rejected: rejected.collect(), ranked: acceptable.into_iter().cloned().collect() }
}

/// The first reason against an offer taken by itself.
fn rejection(
    offer: &Offer,
    policy: &OfferPolicy,
    exclusions: &Exclusions,
    previous_price: Option<Money>,
    disk_gb: u32,
) -> Option<Rejection> {
    if let Some(why) = exclusions.machines.get(&offer.machine) {
        return Some(Rejection::MachineExcluded(why.clone()));
    }
    if let Some(why) = exclusions.offers.get(&offer.id) {
        return Some(Rejection::OfferExcluded(why.clone()));
    }
    if !policy.gpus.is_empty() && gpu_position(offer, policy).is_none() {
        return Some(Rejection::Gpu(offer.gpu.clone()));
    }
    price_fault(offer.price, policy, previous_price)
        .or_else(|| floor_fault(offer, policy, disk_gb))
        .or_else(|| policy.query.miss(offer).map(|filter| Rejection::Query(filter.to_string())))
}

fn price_fault(price: Money, policy: &OfferPolicy, previous: Option<Money>) -> Option<Rejection> {
    if price <= Money(0) {
        return Some(Rejection::NoPrice(price));
    }
    if price > policy.price_cap {
        return Some(Rejection::AboveCap { price, cap: policy.price_cap });
    }
    // An instance that cost nothing gives no measure for its replacement.
    let previous = previous.filter(|previous| *previous > Money(0))?;
    let limit = i128::from(previous.0) * i128::from(policy.price_step_percent) / 100;
    let limit = Money(i64::try_from(limit).unwrap_or(i64::MAX));
    (price > limit).then_some(Rejection::AboveStep { price, limit, previous })
}

fn floor_fault(offer: &Offer, policy: &OfferPolicy, disk_gb: u32) -> Option<Rejection> {
    let floors = [
        ("disk in GB", f64::from(disk_gb), offer.disk_gb),
        ("reliability", policy.min_reliability, offer.reliability),
        ("CPU memory in MB", policy.min_cpu_ram_mb, offer.cpu_ram_mb),
        ("CPU cores", policy.min_cpu_cores, offer.cpu_cores),
        ("GPU memory in MB", policy.min_gpu_ram_mb, offer.gpu_ram_mb),
        ("direct ports", f64::from(policy.min_direct_ports), offer.direct_ports.map(f64::from)),
        ("download in Mbit/s", policy.min_inet_down_mbps, offer.inet_down_mbps),
        ("seconds until the offer ends", policy.min_duration_s, offer.duration_s),
    ];
    // Not-a-number is below every floor, on either side of the comparison.
    floors
        .into_iter()
        .find(|(_, floor, got)| *floor != 0.0 && !got.is_some_and(|got| got >= *floor))
        .map(|(what, floor, got)| Rejection::Below { what, floor, got })
}

fn compare(a: &Offer, b: &Offer, policy: &OfferPolicy) -> Ordering {
    let by_key = |key: &RankKey| match key {
        RankKey::Region => region_position(a, policy).cmp(&region_position(b, policy)),
        RankKey::Gpu => last_if_none(gpu_position(a, policy)).cmp(&last_if_none(gpu_position(b, policy))),
        RankKey::Price => a.price.cmp(&b.price),
        RankKey::Reliability => {
            let of = |offer: &Offer| offer.reliability.unwrap_or(f64::NEG_INFINITY);
            of(b).total_cmp(&of(a))
        }
    };
    let keyed = policy.order.iter().map(by_key).find(|order| order.is_ne()).unwrap_or(Ordering::Equal);
    keyed.then(a.price.cmp(&b.price)).then(a.id.cmp(&b.id))
}

fn last_if_none(position: Option<usize>) -> usize {
    position.unwrap_or(usize::MAX)
}

fn gpu_position(offer: &Offer, policy: &OfferPolicy) -> Option<usize> {
    let same = |wanted: &String| wanted.trim().replace('_', " ").eq_ignore_ascii_case(offer.gpu.trim());
    policy.gpus.iter().position(same)
}

fn region_position(offer: &Offer, policy: &OfferPolicy) -> usize {
    let place = words(offer.geolocation.as_deref().unwrap_or_default());
    let within = |region: &String| {
        let region = words(region);
        !region.is_empty() && place.windows(region.len()).any(|window| *window == *region)
    };
    last_if_none(policy.prefer_regions.iter().position(within))
}

fn words(text: &str) -> Vec<String> {
    let split = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    split.map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
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
        let offers: Vec<Offer> =
            (1..).zip(names).map(|(id, name)| with(id, |o| o.gpu = name.into())).collect();
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
}
