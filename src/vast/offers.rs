//! The search for offers: the request built from a policy, and what comes back.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::wire::{Flag, Id, Number, WireFault};
use crate::fleet::{
    name::{HostId, MachineId, OfferId},
    offer::{Offer, OfferPolicy},
    provider::OffersFound,
    query::{Op, Value as Wanted},
    units::Money,
};

/// Most offers that the provider gives for one search, whatever is asked (as observed by its users).
const LIMIT: u32 = 64;

/// How much of the policy goes into the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breadth {
    /// The query and the floors, so that none of the few places is lost to what is rejected anyway.
    Floors,
    /// The query alone.
    QueryOnly,
}

/// Which kind of rental is searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    OnDemand,
    Interruptible,
}

impl Kind {
    pub(super) fn of(policy: &OfferPolicy) -> Self {
        if policy.bid.is_some() { Self::Interruptible } else { Self::OnDemand }
    }

    /// The word of the search's `type`.
    fn word(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Interruptible => "bid",
        }
    }
}

type Filters = BTreeMap<&'static str, Map<String, Value>>;

/// The search request: a flat object of filters and options (Vast.ai API, `POST /bundles/`).
pub(super) fn request(policy: &OfferPolicy, disk_gb: u32, breadth: Breadth) -> Value {
    let mut filters = Filters::new();
    for (field, wanted) in [("verified", true), ("external", false), ("rentable", true), ("rented", false)] {
        if !policy.query.mentions(field) {
            filters.entry(field).or_default().insert(Op::Eq.word().into(), wanted.into());
        }
    }
    for filter in policy.query.filters() {
        filters.entry(filter.field).or_default().insert(filter.op.word().into(), json_of(&filter.value));
    }
    if breadth == Breadth::Floors {
        add_floors(&mut filters, policy, disk_gb);
    }
    let mut body: Map<String, Value> =
        filters.into_iter().map(|(field, ops)| (field.to_owned(), Value::Object(ops))).collect();
    body.insert("type".into(), Kind::of(policy).word().into());
    body.insert("allocated_storage".into(), disk_gb.into());
    body.insert("order".into(), json!([["dph_total", "asc"]]));
    body.insert("limit".into(), LIMIT.into());
    Value::Object(body)
}

fn add_floors(filters: &mut Filters, policy: &OfferPolicy, disk_gb: u32) {
    let floors = [
        ("disk_space", f64::from(disk_gb)),
        ("reliability2", policy.min_reliability),
        ("cpu_ram", policy.min_cpu_ram_mb),
        ("cpu_cores_effective", policy.min_cpu_cores),
        ("gpu_ram", policy.min_gpu_ram_mb),
        ("direct_port_count", f64::from(policy.min_direct_ports)),
        ("inet_down", policy.min_inet_down_mbps),
        ("duration", policy.min_duration_s),
    ];
    for (field, floor) in floors.into_iter().filter(|(_, floor)| *floor > 0.0) {
        narrow(filters, field, Op::Gte, floor, f64::max);
    }
    narrow(filters, "dph_total", Op::Lte, policy.price_cap.dollars(), f64::min);
    if let Some(bids) = policy.bid {
        narrow(filters, "min_bid", Op::Lte, bids.most.dollars(), f64::min);
    }
    if !policy.gpus.is_empty() && !policy.query.mentions("gpu_name") {
        let names: Vec<String> = policy.gpus.iter().map(|name| name.trim().replace('_', " ")).collect();
        filters.entry("gpu_name").or_default().insert(Op::In.word().into(), names.into());
    }
}

/// Adds a bound, or tightens the one that the query gives.
fn narrow(filters: &mut Filters, field: &'static str, op: Op, bound: f64, tighter: fn(f64, f64) -> f64) {
    let ops = filters.entry(field).or_default();
    let given = ops.get(op.word()).and_then(Value::as_f64);
    ops.insert(op.word().into(), number(given.map_or(bound, |given| tighter(given, bound))));
}

fn json_of(value: &Wanted) -> Value {
    match value {
        Wanted::Number(value) => number(*value),
        Wanted::Flag(flag) => (*flag).into(),
        Wanted::Text(text) => text.as_str().into(),
        Wanted::Null => Value::Null,
        Wanted::List(values) => values.iter().map(json_of).collect(),
    }
}

/// Whole numbers without a fraction, as ids must be.
fn number(value: f64) -> Value {
    /// Up to here an f64 holds every integer.
    const EXACT: f64 = 9e15;
    if value.fract() == 0.0 && value.abs() < EXACT { (value as i64).into() } else { value.into() }
}

/// What of a search's row is read. Which fields are there varies between machines; the six that make an offer rentable
/// are required.
#[derive(Deserialize)]
struct Row {
    id: Id,
    machine_id: Id,
    host_id: Id,
    gpu_name: String,
    num_gpus: Number,
    dph_total: Number,
    #[serde(default)]
    gpu_ram: Number,
    #[serde(default)]
    cpu_ram: Number,
    #[serde(default)]
    cpu_cores_effective: Number,
    #[serde(default)]
    disk_space: Number,
    #[serde(default)]
    reliability2: Number,
    #[serde(default)]
    reliability: Number,
    #[serde(default)]
    inet_down: Number,
    #[serde(default)]
    inet_up: Number,
    #[serde(default)]
    direct_port_count: Number,
    #[serde(default)]
    duration: Number,
    #[serde(default)]
    cuda_max_good: Number,
    #[serde(default)]
    gpu_display_active: Flag,
    #[serde(default)]
    geolocation: Option<String>,
    #[serde(default)]
    verification: Option<String>,
    #[serde(default)]
    verified: Flag,
    #[serde(default)]
    static_ip: Flag,
    #[serde(default)]
    rentable: Flag,
    #[serde(default)]
    is_bid: Flag,
    #[serde(default)]
    min_bid: Number,
    #[serde(default)]
    dph_base: Number,
}

/// Decodes a search's answer. A row that does not decode is left out, since nobody can rent it; a list of which no row
/// decodes is a fault.
pub(super) fn decode(page: &Map<String, Value>, kind: Kind) -> Result<OffersFound, WireFault> {
    let Some(Value::Array(rows)) = page.get("offers") else {
        return Err(WireFault::NoList { field: "offers" });
    };
    let mut offers = Vec::with_capacity(rows.len());
    let mut unreadable = None;
    for row in rows {
        match offer(row, kind) {
            Ok(Some(offer)) => offers.push(offer),
            Ok(None) => {}
            Err(fault) => {
                tracing::debug!(%fault, "left out an offer");
                unreadable = Some(fault);
            }
        }
    }
    match unreadable {
        Some(fault) if offers.is_empty() => Err(fault),
        _ => Ok(OffersFound { offers }),
    }
}

/// What an interruptible offer costs at its floor: the floor, with the storage that is part of the total.
fn at_floor(row: &Row, total: Money, floor: Money) -> Money {
    let base = row.dph_base.0.and_then(Money::from_dollars).unwrap_or(floor);
    floor.plus(total.minus(base).max(Money(0)))
}

/// One offer; `None` if it is not rentable in the wanted way after all.
fn offer(row: &Value, kind: Kind) -> Result<Option<Offer>, WireFault> {
    let fault = |detail: String| WireFault::Row { what: "offer", id: super::wire::shown_id(row), detail };
    let row = Row::deserialize(row).map_err(|error| fault(error.to_string()))?;
    // What makes a rental interruptible is the bid in its create, so an offer of either kind serves for that.
    if row.rentable.0 == Some(false) || (kind == Kind::OnDemand && row.is_bid.0 == Some(true)) {
        return Ok(None);
    }
    let total =
        row.dph_total.0.and_then(Money::from_dollars).ok_or_else(|| fault("no `dph_total`".into()))?;
    let floor = row.min_bid.0.and_then(Money::from_dollars).filter(|_| kind == Kind::Interruptible);
    let price = floor.map_or(total, |floor| at_floor(&row, total, floor));
    let gpus = row.num_gpus.whole().ok_or_else(|| fault("no `num_gpus`".into()))?;
    Ok(Some(Offer {
        id: OfferId(row.id.0),
        machine: MachineId(row.machine_id.0),
        host: HostId(row.host_id.0),
        gpu: row.gpu_name.trim().to_owned(),
        gpus,
        gpu_ram_mb: row.gpu_ram.0,
        cpu_ram_mb: row.cpu_ram.0,
        cpu_cores: row.cpu_cores_effective.0,
        disk_gb: row.disk_space.0,
        price,
        reliability: row.reliability2.0.or(row.reliability.0),
        inet_down_mbps: row.inet_down.0,
        inet_up_mbps: row.inet_up.0,
        direct_ports: row.direct_port_count.whole(),
        duration_s: row.duration.0,
        cuda: row.cuda_max_good.0,
        display_active: row.gpu_display_active.0,
        geolocation: row
            .geolocation
            .map(|place| super::error::printable(&place))
            .filter(|place| !place.is_empty()),
        verified: row.verification.map(|word| word == "verified").or(row.verified.0),
        static_ip: row.static_ip.0,
        floor,
        bid: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_query_the_defaults_and_the_floors() {
        let policy = OfferPolicy {
            query:
                "gpu_name=RTX_4090 dph<=3 reliability>=0.98 verified=any num_gpus=1 machine_id notin [1,2]"
                    .parse()
                    .unwrap(),
            gpus: vec!["RTX_4090".into()],
            ..OfferPolicy::default()
        };
        assert_eq!(
            request(&policy, 120, Breadth::Floors),
            json!({
                "allocated_storage": 120, "limit": 64, "order": [["dph_total", "asc"]], "type": "on-demand",
                "external": {"eq": false}, "rentable": {"eq": true}, "rented": {"eq": false},
                "gpu_name": {"eq": "RTX 4090"}, "num_gpus": {"eq": 1}, "machine_id": {"notin": [1, 2]},
                "dph_total": {"lte": 2.5}, "reliability2": {"gte": 0.98}, "cpu_ram": {"gte": 16000},
                "cpu_cores_effective": {"gte": 8}, "gpu_ram": {"gte": 10000}, "direct_port_count": {"gte": 2},
                "disk_space": {"gte": 120},
            })
        );
        let wide = request(&policy, 120, Breadth::QueryOnly);
        assert_eq!(wide["dph_total"], json!({"lte": 3}));
        assert_eq!(wide.get("disk_space"), None);
    }

    #[test]
    fn an_offer_is_read_whatever_form_its_numbers_take() {
        let row = json!({
            "id": "71", "machine_id": 5.0, "host_id": 9, "gpu_name": " RTX 4090 ", "num_gpus": "1", "dph_total": "0.35",
            "gpu_ram": 24564, "cpu_ram": null, "cpu_cores_effective": 15.5, "reliability": 0.97, "direct_port_count": 20,
            "gpu_display_active": 1, "geolocation": null, "verification": "deverified", "static_ip": true,
        });
        let found = decode(json!({"offers": [row]}).as_object().unwrap(), Kind::OnDemand).unwrap();
        let offer = &found.offers[0];
        assert_eq!((offer.id, offer.machine, offer.host), (OfferId(71), MachineId(5), HostId(9)));
        assert_eq!((offer.gpu.as_str(), offer.gpus, offer.price), ("RTX 4090", 1, Money(350_000)));
        assert_eq!((offer.cpu_ram_mb, offer.reliability, offer.direct_ports), (None, Some(0.97), Some(20)));
        assert_eq!(
            (offer.display_active, offer.verified, &offer.geolocation),
            (Some(true), Some(false), &None)
        );
    }

    #[test]
    fn a_row_without_what_renting_needs_is_left_out_and_nothing_but_such_rows_is_a_fault() {
        let whole = json!({"id": 1, "machine_id": 2, "host_id": 3, "gpu_name": "L4", "num_gpus": 1, "dph_total": 0.2});
        let without = |field: &str| {
            let mut row = whole.clone();
            row.as_object_mut().unwrap().remove(field);
            row
        };
        for field in ["id", "machine_id", "host_id", "gpu_name", "num_gpus", "dph_total"] {
            let page = json!({"offers": [without(field), whole]});
            assert_eq!(decode(page.as_object().unwrap(), Kind::OnDemand).unwrap().offers.len(), 1, "{field}");
            let fault =
                decode(json!({"offers": [without(field)]}).as_object().unwrap(), Kind::OnDemand).unwrap_err();
            assert!(fault.to_string().contains(field), "{fault}");
        }
        for page in [json!({}), json!({"offers": {}}), json!({"offers": null})] {
            assert!(
                decode(page.as_object().unwrap(), Kind::OnDemand).is_err(),
                "{page}: no list is not an empty list"
            );
        }
        assert!(
            decode(json!({"offers": []}).as_object().unwrap(), Kind::OnDemand).unwrap().offers.is_empty()
        );
    }

    #[test]
    fn a_bid_or_a_taken_offer_is_not_rented_on_demand() {
        let row = |key: &str, value: bool| json!({"id": 1, "machine_id": 2, "host_id": 3, "gpu_name": "L4", "num_gpus": 1, "dph_total": 0.2, key: value});
        let page = json!({"offers": [row("is_bid", true), row("rentable", false), row("is_bid", false)]});
        assert_eq!(decode(page.as_object().unwrap(), Kind::OnDemand).unwrap().offers.len(), 1);
    }
}
