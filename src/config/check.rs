//! Rules between keys. Each says what would happen otherwise, so that nobody has to look it up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use url::Url;

use super::{reader::Reader, value::duration_text};
use crate::fleet::{
    name::NodeName,
    policy::{HealthPolicy, InventoryPolicy, NodeSpec, Rails, Rung},
};

/// Fewest lists, and the shortest span of them, that settle an ambiguous create at the real provider: a connection's own
/// retries may deliver a request long after it was given up.
const REAL_SETTLE: (u32, Duration) = (3, Duration::from_secs(180));

/// Variables that the keeper itself sets on a box.
const RESERVED: &[&str] = &["INSTANCE_ID", "PORT"];

/// Most characters of the provider's start script (Vast.ai API), and what the keeper's own parts of it take at most: one line
/// that starts the server, and the dead man's switch.
const ONSTART_MOST: usize = 4_048;
const ONSTART_ADDED: usize = 100;
const SWITCH_ADDED: usize = 1_300;

/// Rules within one node's specification.
pub(super) fn node(reader: &mut Reader<'_>, spec: &NodeSpec, simulated: bool) {
    health(reader, &spec.health);
    rental(reader, spec, simulated);
    let settled =
        spec.health.retry_interval * spec.health.success_threshold.saturating_sub(1) + spec.health.timeout;
    for (key, deadline) in
        [("deadlines.probation", spec.deadlines.probation), ("deadlines.remedy", spec.deadlines.remedy)]
    {
        let soft = spec.ladder.iter().any(|rung| *rung != Rung::Replace);
        if deadline < settled && (key == "deadlines.probation" || soft) {
            reader.fault(
                key,
                format!(
                    "{} is shorter than the {} that {} healthy answers take: no box could ever pass",
                    duration_text(deadline),
                    duration_text(settled),
                    spec.health.success_threshold,
                ),
            );
        }
    }
    if spec.offers.gpus.iter().any(|gpu| gpu.trim().is_empty()) {
        reader.fault("offers.gpus", "a GPU name must not be empty");
    }
}

fn health(reader: &mut Reader<'_>, health: &HealthPolicy) {
    let HealthPolicy { interval, retry_interval, timeout, .. } = *health;
    if timeout > interval {
        reader.fault(
            "health.timeout",
            format!(
                "{} is longer than the interval of {}: probes would overlap",
                duration_text(timeout),
                duration_text(interval),
            ),
        );
    }
    if retry_interval > interval {
        reader.fault(
            "health.retry_interval",
            format!(
                "{} is longer than `health.interval` of {}: a failing node would be watched less than \
                 a healthy one",
                duration_text(retry_interval),
                duration_text(interval),
            ),
        );
    }
    let visible = health.path.chars().all(|c| c.is_ascii_graphic());
    if !health.path.starts_with('/') || !visible || health.path.contains('#') {
        reader.fault("health.path", "must start with `/` and hold neither spaces nor `#`");
    }
}

fn rental(reader: &mut Reader<'_>, spec: &NodeSpec, simulated: bool) {
    let image = &spec.rental.image;
    if image.is_empty() || !image.chars().all(|c| c.is_ascii_graphic()) {
        reader.fault("rental.image", "must name an image, without spaces");
    }
    environment(reader, "rental.env", &spec.rental.env);
    let limits = &spec.deadlines;
    if let Some(after) = spec.rental.dead_mans_switch
        && after < limits.boot.saturating_add(limits.deploy)
        && !simulated
    {
        let hint = "60m is a good value; the keeper gives up and destroys such a box itself before that";
        reader.fault_hint(
            "rental.dead_mans_switch",
            "must exceed `deadlines.boot` and `deadlines.deploy` together, or boxes still on their way would end themselves",
            hint,
        );
    }
    let own = spec.rental.onstart.as_ref().map_or(0, String::len);
    let added = ONSTART_ADDED + if spec.rental.dead_mans_switch.is_some() { SWITCH_ADDED } else { 0 };
    if own + added > ONSTART_MOST {
        let message = format!(
            "is {own} characters long; with the {added} that the keeper adds it exceeds the {ONSTART_MOST} that the provider takes"
        );
        reader.fault_hint("rental.onstart", message, "fetch a longer script from the image, or compress it");
    }
    if spec.rental.allow_private_addresses && !simulated {
        let hint = "only a simulator on loopback has boxes there; at the real provider a host could \
                    point the keeper into your network";
        reader.fault_hint("rental.allow_private_addresses", "must be false with a real provider", hint);
    }
}

/// Rules about an environment given as a table.
pub(super) fn environment(reader: &mut Reader<'_>, key: &str, env: &BTreeMap<String, String>) {
    for (name, value) in env {
        if !is_variable(name) {
            reader.fault(key, format!("`{}` is not a variable's name", super::kind::shown(name)));
        } else if RESERVED.contains(&name.as_str()) {
            reader.fault(key, format!("`{name}` is set by the keeper itself"));
        }
        if value.contains('\0') {
            reader.fault(key, format!("the value of `{}` holds a NUL byte", super::kind::shown(name)));
        }
    }
}

/// Whether a text names an environment variable in every shell.
pub(super) fn is_variable(name: &str) -> bool {
    let word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    word && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// Rules about the fleet as a whole.
pub(super) fn fleet(
    reader: &mut Reader<'_>,
    nodes: &BTreeMap<NodeName, Arc<NodeSpec>>,
    rails: &Rails,
    inventory: &InventoryPolicy,
    simulated: bool,
) {
    if rails.backoff > rails.backoff_max {
        reader.fault("rails.backoff", "is longer than `rails.backoff_max`");
    }
    if rails.fleet_hourly > rails.fleet_daily {
        reader.fault("rails.fleet_hourly", "is more than `rails.fleet_daily` allows in a whole day");
    }
    if inventory.busy_interval > inventory.interval {
        reader.fault(
            "inventory.busy_interval",
            "is longer than `inventory.interval`: a busy fleet would be watched less than a quiet one",
        );
    }
    if rails.inventory_fresh < inventory.interval * 2 {
        reader.fault(
            "rails.inventory_fresh",
            format!(
                "{} is less than two of `inventory.interval`: one late list and no recovery could start",
                duration_text(rails.inventory_fresh),
            ),
        );
    }
    for (key, cap) in
        [("rails.dollars_per_hour", rails.dollars_per_hour), ("rails.dollars_per_day", rails.dollars_per_day)]
    {
        let dearest = nodes.values().map(|spec| spec.offers.price_cap).max().unwrap_or_default();
        if cap.is_some_and(|cap| cap < dearest) {
            reader.fault(
                key,
                format!("is below `offers.price_cap` of {dearest}: it could forbid the very first box"),
            );
        }
    }
    if let (Some(hour), Some(day)) = (rails.dollars_per_hour, rails.dollars_per_day)
        && day < hour
    {
        reader.fault("rails.dollars_per_day", "is less than `rails.dollars_per_hour`");
    }
    if !simulated {
        real_provider(reader, inventory);
    }
}

fn real_provider(reader: &mut Reader<'_>, inventory: &InventoryPolicy) {
    let (lists, span) = REAL_SETTLE;
    let why = "an ambiguous create could be given up while it is still on its way, and a second box rented";
    if inventory.settle_lists < lists {
        reader.fault(
            "inventory.settle_lists",
            format!("{} is less than {lists}: {why}", inventory.settle_lists),
        );
    }
    if inventory.settle < span {
        reader.fault(
            "inventory.settle",
            format!("{} is less than {}: {why}", duration_text(inventory.settle), duration_text(span)),
        );
    }
    if inventory.gone_lists < 2 {
        reader.fault("inventory.gone_lists", "one list is no proof: the provider's list lags behind");
    }
}

/// A URL with a host and one of the schemes; plain `http` only to loopback unless it is listed.
///
/// # Errors
/// One clause that does not hold the URL, which may be a secret.
pub(super) fn url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL ({error})"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("a URL needs a host".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must hold neither user nor password".into());
    }
    if schemes.contains(&url.scheme()) || (url.scheme() == "http" && is_loopback(&url)) {
        return Ok(url);
    }
    Err(format!("must start with {}://, not {}://", schemes.join(":// or "), url.scheme()))
}

/// Whether a URL leads to this machine by its literal address, or by the name every resolver keeps for it.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
