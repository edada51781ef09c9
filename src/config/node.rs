//! What one node must be: the keys that a `[[group]]` may set, read into the core's [`NodeSpec`].

use std::{path::Path, time::Duration};

use super::{check, kind::shown, reader::Reader};
use crate::fleet::{
    bid::{BidPolicy, RentalKind},
    condition::Condition,
    offer::OfferPolicy,
    policy::{Deadlines, HealthPolicy, NodeSpec, RentalSpec, Rung},
    query::Query,
};

/// The remedies' words.
const RUNGS: &[&str] = &["restart-server", "redeploy", "reboot", "start", "replace"];
/// The ranking keys' words.
const RANK_KEYS: &[&str] = &["region", "gpu", "price", "reliability"];

/// The specification of the reader's present group, or of the fleet.
pub(super) fn spec(reader: &mut Reader<'_>, simulated: bool) -> NodeSpec {
    let spec = NodeSpec {
        group: "".into(),
        health: health(reader),
        ladder: ladder(reader),
        priority: reader.count("replace.priority"),
        before_end: reader.duration("replace.before_end"),
        order: reader.choice("replace.order"),
        offers: offers(reader),
        rental: rental(reader),
        deadlines: Deadlines {
            rent: reader.duration("deadlines.rent"),
            boot: reader.duration("deadlines.boot"),
            deploy: reader.duration("deadlines.deploy"),
            probation: reader.duration("deadlines.probation"),
            remedy: reader.duration("deadlines.remedy"),
        },
    };
    check::node(reader, &spec, simulated);
    spec
}

fn health(reader: &mut Reader<'_>) -> HealthPolicy {
    let interval = reader.duration("health.interval");
    HealthPolicy {
        path: reader.text("health.path").unwrap_or_default(),
        interval,
        retry_interval: retry_interval(reader, interval),
        timeout: reader.duration("health.timeout"),
        failure_threshold: reader.count("health.failure_threshold"),
        success_threshold: reader.count("health.success_threshold"),
        conditions: conditions(reader),
        require_identity: reader.flag("health.require_identity"),
        maintenance_alarm: reader.duration("health.maintenance_alarm"),
        keep_alive: reader.flag("health.keep_alive"),
    }
}

/// Only a value that somebody wrote can be at fault: whoever asks every 5 s must not have to know this key too.
fn retry_interval(reader: &mut Reader<'_>, interval: Duration) -> Duration {
    let retry = reader.duration("health.retry_interval");
    if reader.is_set("health.retry_interval") { retry } else { retry.min(interval) }
}

fn conditions(reader: &mut Reader<'_>) -> Vec<Condition> {
    let Some(texts) = reader.texts("health.conditions") else {
        return Condition::preset();
    };
    let mut conditions = Vec::with_capacity(texts.len());
    for text in &texts {
        match text.parse::<Condition>() {
            Ok(condition) => conditions.push(condition),
            Err(error) => {
                let message = format!("`{}`: column {}: {}", shown(text), error.column, error.problem);
                reader.fault_hint("health.conditions", message, error.hint);
            }
        }
    }
    if texts.is_empty() {
        let hint = "leave it out for the default conditions, or write `[STATUS] == 200`";
        reader.fault_hint("health.conditions", "without any condition every answer would be healthy", hint);
    }
    conditions
}

fn ladder(reader: &mut Reader<'_>) -> Vec<Rung> {
    let rungs: Vec<Rung> = reader.words("ladder", RUNGS);
    if reader.texts("ladder").is_none_or(|texts| texts.is_empty()) {
        reader.fault("ladder", "must name at least one remedy");
    }
    if rungs.windows(2).any(|pair| matches!(pair, [one, two] if one >= two)) {
        let hint = format!("the order is {}", RUNGS.join(", "));
        reader.fault_hint("ladder", "remedies must go from the mildest to the hardest, each once", hint);
    }
    if rungs.is_empty() { vec![Rung::Replace] } else { rungs }
}

fn offers(reader: &mut Reader<'_>) -> OfferPolicy {
    let fallback = OfferPolicy::default();
    let order = reader.words("offers.order", RANK_KEYS);
    let repeated =
        (1..order.len()).any(|index| order.get(..index).is_some_and(|before| before.contains(&order[index])));
    if repeated || order.is_empty() {
        reader.fault("offers.order", "must name at least one ranking key, and each at most once");
    }
    OfferPolicy {
        bid: bids(reader),
        query: query(reader).unwrap_or(fallback.query),
        price_cap: reader.dollars("offers.price_cap").unwrap_or(fallback.price_cap),
        price_step_percent: reader.count("offers.price_step_percent"),
        min_reliability: reader.number("offers.min_reliability"),
        min_cpu_ram_mb: reader.number("offers.min_cpu_ram_mb"),
        min_cpu_cores: reader.number("offers.min_cpu_cores"),
        min_gpu_ram_mb: reader.number("offers.min_gpu_ram_mb"),
        min_direct_ports: reader.count("offers.min_direct_ports"),
        min_inet_down_mbps: reader.number("offers.min_inet_down_mbps"),
        min_duration_s: reader.duration("offers.min_duration").as_secs_f64(),
        gpus: reader.texts("offers.gpus").unwrap_or_default(),
        // Who is replaced ahead of the contract's end must not be replaced by one that ends as soon.
        min_life_s: reader.duration("replace.before_end").as_secs_f64() * 2.0,
        prefer_regions: reader.texts("offers.prefer_regions").unwrap_or_default(),
        order,
    }
}

/// How interruptible boxes are bid for; `None` rents on demand.
fn bids(reader: &mut Reader<'_>) -> Option<BidPolicy> {
    let kind: RentalKind = reader.choice("rental.kind");
    let (start, most) = (reader.dollars("rental.bid"), reader.dollars("rental.max_bid"));
    let cap = reader.dollars("offers.price_cap");
    if kind == RentalKind::OnDemand {
        return None;
    }
    let Some(most) = most else {
        reader
            .fault("rental.max_bid", "must be set for interruptible boxes: nothing else bounds what is bid");
        return None;
    };
    if start.is_some_and(|start| start > most) {
        reader.fault("rental.bid", "is more than `rental.max_bid` allows");
    }
    if cap.is_some_and(|cap| most > cap) {
        reader.fault("rental.max_bid", "is more than `offers.price_cap` allows");
    }
    Some(BidPolicy { start, most })
}

fn query(reader: &mut Reader<'_>) -> Option<Query> {
    let text = reader.text("offers.query")?;
    if text.trim().is_empty() {
        reader.fault("offers.query", "must not be empty: any machine of the market would do");
        return None;
    }
    match text.parse() {
        Ok(query) => Some(query),
        Err(error) => {
            reader.fault("offers.query", format!("{error}"));
            None
        }
    }
}

fn rental(reader: &mut Reader<'_>) -> RentalSpec {
    let dead_mans_switch = reader.duration("rental.dead_mans_switch");
    RentalSpec {
        dead_mans_switch: (!dead_mans_switch.is_zero()).then_some(dead_mans_switch),
        image: reader.text("rental.image").unwrap_or_default(),
        disk_gb: reader.count("rental.disk_gb"),
        port: u16::try_from(reader.count("rental.port")).unwrap_or(1),
        env: reader.table("rental.env"),
        onstart: reader.text("rental.onstart"),
        allow_private_addresses: reader.flag("rental.allow_private_addresses"),
    }
}

/// A path with `~/` in front of it, with the home directory in its place.
pub(super) fn expand(path: &str, home: Option<&Path>) -> std::path::PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}
