//! An instance as the list and the single read show it.
//!
//! The official CLI crashes on some shapes, so every row has a numeric `start_date`, an `extra_env` of pairs, a text
//! `image_runtype`, and no `ports` member at all while there are none.

use serde_json::{Map, Value, json};

use crate::clock::SimSeconds;
use crate::market::{PriceKind, offer_row};
use crate::world::instance::{Instance, Phase};

/// Builds a row. `stale` is the `actual_status` of a fault that makes reads lie.
pub(crate) fn instance_row(
    instance: &Instance,
    stale: Option<String>,
    now: SimSeconds,
) -> Map<String, Value> {
    let kind = if instance.launch.bid.is_some() { PriceKind::Bid } else { PriceKind::OnDemand };
    let mut row = offer_row(&instance.offer, &instance.machine, kind, instance.launch.disk_gb, true, now);
    row.remove("ask_contract_id");
    row.remove("disk_bw");
    row.extend(identity(instance, now));
    row.extend(status(instance, stale));
    row.extend(money(instance));
    row.extend(usage(instance));
    row.extend(reach(instance, now));
    row
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn identity(instance: &Instance, now: SimSeconds) -> Map<String, Value> {
    let launch = &instance.launch;
    object(json!({
        "id": instance.id,
        "label": launch.label,
        "image_uuid": launch.image,
        "image_runtype": launch.runtype,
        "image_args": launch.args,
        "extra_env": launch.env,
        "onstart": launch.onstart,
        "template_id": null,
        "template_hash_id": launch.template_hash_id,
        "template_name": null,
        "volume_info": [],
        "jupyter_token": format!("{:016x}", instance.id.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        "start_date": instance.started_at,
        "end_date": instance.ends_at,
        "duration": instance.ends_at - now,
        "time_remaining": "",
        "is_bid": launch.bid.is_some(),
        "rentable": false,
        "country_code": instance.machine.country(),
        "machine_dir_ssh_port": 40_000 + instance.machine.id % 1_000,
    }))
}

fn status(instance: &Instance, stale: Option<String>) -> Map<String, Value> {
    let statuses = instance.phase.statuses();
    let actual = stale.or_else(|| instance.actual_status().map(str::to_owned));
    object(json!({
        "actual_status": actual,
        "cur_state": statuses.current,
        "intended_status": statuses.intended,
        "next_state": statuses.next,
        "status_msg": instance.status_msg,
        "uptime_mins": null,
    }))
}

fn money(instance: &Instance) -> Map<String, Value> {
    let (base, storage) = (instance.dph_base(), instance.storage_dph());
    let breakdown = json!({
        "gpuCostPerHour": base,
        "diskHour": storage,
        "totalHour": base + storage,
        "discountTotalHour": 0.0,
        "discountedTotalPerHour": base + storage,
    });
    let mut row = object(json!({
        "dph_base": base,
        "dph_total": base + storage,
        "storage_total_cost": storage,
        "search": breakdown,
        "instance": breakdown,
        "credit_balance": (instance.deposit > 0.0).then_some(instance.deposit),
        "credit_discount": (instance.discount > 0.0).then_some(instance.discount),
    }));
    if let Some(bid) = instance.launch.bid {
        row.insert("min_bid".to_owned(), json!(shown_floor(instance, bid)));
    }
    row
}

/// What the live service shows as an interruptible rental's floor (measured by users, August 2026): of a stopped one what
/// others pay, of a running one at least a fifth more than its own bid.
fn shown_floor(instance: &Instance, bid: f64) -> f64 {
    let floor = instance.offer.min_bid(&instance.machine);
    if matches!(instance.phase, Phase::Stopped | Phase::Queued) { floor } else { floor.max(bid * 1.2) }
}

fn usage(instance: &Instance) -> Map<String, Value> {
    let up = instance.phase == Phase::Running;
    object(json!({
        "gpu_util": up.then_some(0.0),
        "gpu_temp": up.then_some(38.0),
        "cpu_util": if up { 1.5 } else { 0.0 },
        "mem_usage": up.then_some(0.4),
        "mem_limit": up.then_some(16.0),
        "vmem_usage": up.then_some(0.0),
        "disk_space": instance.launch.disk_gb,
        "disk_usage": if up { 1.2 } else { -1.0 },
        "disk_util": if up { 1.2 / instance.launch.disk_gb } else { -1.0 },
        "client_run_time": 0.1,
        "host_run_time": 3_600.0,
    }))
}

/// Addresses and ports, which appear some time after `running` and vanish when the box goes down.
fn reach(instance: &Instance, now: SimSeconds) -> Map<String, Value> {
    let mut row = object(json!({
        "ssh_host": null,
        "ssh_port": null,
        "ssh_idx": null,
        "public_ipaddr": null,
        "local_ipaddrs": "",
        "direct_port_count": instance.machine.ports,
        "direct_port_start": -1,
        "direct_port_end": -1,
    }));
    let Some(endpoints) = instance.endpoints.as_ref().filter(|_| now >= instance.ports_at) else {
        return row;
    };
    let map_port = |(name, host_port): (&String, &u16)| {
        let both = json!([
            {"HostIp": "0.0.0.0", "HostPort": host_port.to_string()},
            {"HostIp": "::", "HostPort": host_port.to_string()},
        ]);
        (name.clone(), both)
    };
    let ports: Map<String, Value> = endpoints.ports.iter().map(map_port).collect();
    // The trailing newline and blank are the live service's.
    row.insert("public_ipaddr".to_owned(), json!(format!("{}\n", endpoints.address)));
    row.insert("local_ipaddrs".to_owned(), json!(format!("{} \n", endpoints.address)));
    row.insert("direct_port_start".to_owned(), json!(endpoints.ports.values().min()));
    row.insert("direct_port_end".to_owned(), json!(endpoints.ports.values().max()));
    if !ports.is_empty() {
        row.insert("ports".to_owned(), Value::Object(ports));
    }
    if let Some((address, port)) = endpoints.proxy {
        // Clients add one to the proxy's port for Jupyter images.
        let shown = if instance.launch.runtype.contains("jupyter") { port - 1 } else { port };
        row.insert("ssh_host".to_owned(), json!(address.to_string()));
        row.insert("ssh_port".to_owned(), json!(shown));
        row.insert("ssh_idx".to_owned(), json!((instance.id % 8).to_string()));
    }
    row
}
