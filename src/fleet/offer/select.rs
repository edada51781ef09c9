//! Which of the offers found would be taken, in which order, and why each other would not.
//!
//! Every comparison of names is exact (an `A100` is no `A10`, a `3080 Ti` no `3080`), every floor rejects an offer that
//! does not say, and the disk floor is the disk that will be rented. The order is total, so that the same offers give
//! the same choice.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use super::{Offer, OfferPolicy, RankKey};
use crate::fleet::{
    bid,
    name::{HostId, MachineId, OfferId},
    units::Money,
};

/// What must not be rented now, each with its reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Machines that failed us or that the configuration forbids.
    pub machines: BTreeMap<MachineId, String>,
    /// Hosts whose machines failed us.
    pub hosts: BTreeMap<HostId, String>,
    /// Offers that were gone when tried; a search may go on showing them for a while.
    pub offers: BTreeMap<OfferId, String>,
}

impl Exclusions {
    /// Why an offer must not be rented, if so.
    #[must_use]
    pub fn why(&self, offer: &Offer) -> Option<&str> {
        let by_host = || self.hosts.get(&offer.host);
        let machine = self.machines.get(&offer.machine).or_else(by_host);
        machine.or_else(|| self.offers.get(&offer.id)).map(String::as_str)
    }
}

/// The outcome of a selection; every offer given is in exactly one of the two.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Acceptable offers, the one to rent first in front; one per machine.
    pub ranked: Vec<Offer>,
    /// The others with the first reason against each, in the order given.
    pub rejected: Vec<(Offer, Rejection)>,
}

impl Selection {
    /// Why nothing would be taken: how many were found, and the reasons, the most frequent first.
    #[must_use]
    pub fn why_none(&self) -> String {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for (_, rejection) in &self.rejected {
            *counts.entry(rejection.to_string()).or_default() += 1;
        }
        let mut counts: Vec<(String, u32)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shown: Vec<String> =
            counts.iter().take(3).map(|(why, count)| format!("{count} × {why}")).collect();
        format!("{} offers found, none acceptable: {}", self.rejected.len(), shown.join("; "))
    }
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
    /// Others bid more than may be bid.
    AboveBid {
        /// The lowest bid that wins, if the offer states it.
        floor: Option<Money>,
        /// The most that may be bid.
        most: Money,
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
    /// Ends so soon that it would have to be replaced at once.
    EndsSoon {
        /// Seconds left.
        left: f64,
        /// Seconds wanted.
        wanted: f64,
    },
    /// Another offer of the same machine, at no higher price, is taken instead.
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
            Self::AboveBid { floor: Some(floor), most } => {
                write!(f, "wins at {floor}/h and more, the most to bid is {most}/h")
            }
            Self::AboveBid { floor: None, .. } => f.write_str("does not state what wins it"),
            Self::AboveStep { price, limit, previous } => {
                write!(f, "{price}/h is above {limit}/h, the most for a replacement of {previous}/h")
            }
            Self::NoPrice(price) => write!(f, "{price}/h is no price"),
            Self::EndsSoon { left, wanted } => {
                write!(f, "ends in {left:.0} s, at least {wanted:.0} s are wanted")
            }
            Self::SameMachine { instead } => {
                write!(f, "offer {instead} is the same machine at no higher price")
            }
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
    let priced: Vec<Offer>;
    let offers = if policy.bid.is_some() {
        priced = offers.iter().map(|offer| bid::priced(offer, policy)).collect();
        &priced
    } else {
        offers
    };
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
    let by_host = || exclusions.hosts.get(&offer.host);
    if let Some(why) = exclusions.machines.get(&offer.machine).or_else(by_host) {
        return Some(Rejection::MachineExcluded(why.clone()));
    }
    if let Some(why) = exclusions.offers.get(&offer.id) {
        return Some(Rejection::OfferExcluded(why.clone()));
    }
    if !policy.gpus.is_empty() && gpu_position(offer, policy).is_none() {
        return Some(Rejection::Gpu(offer.gpu.clone()));
    }
    if let Some(bids) = policy.bid.filter(|_| offer.bid.is_none()) {
        return Some(Rejection::AboveBid { floor: offer.floor, most: bids.most });
    }
    price_fault(offer.price, policy, previous_price)
        .or_else(|| floor_fault(offer, policy, disk_gb))
        .or_else(|| {
            let left = offer.duration_s.filter(|left| *left < policy.min_life_s)?;
            Some(Rejection::EndsSoon { left, wanted: policy.min_life_s })
        })
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
mod tests;
