//! Pages of instances into one complete list, or a fault.
//!
//! What the account's owner and the provider say (ids, label, price) must be there. What a marketplace host says
//! (address, ports, status text) is read as far as it makes sense and dropped where it does not: no host can blind the
//! keeper to the rest of the fleet by a malformed word.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    error::printable,
    wire::{Id, Number, WireFault, nullable, shown_id},
};
use crate::fleet::{
    bid::Bidding,
    name::{HostId, InstanceId, MachineId},
    provider::{Rental, Status},
    units::{Money, Timestamp},
};

/// The pages read so far.
#[derive(Default)]
pub(super) struct Pages {
    total: Option<u64>,
    rentals: BTreeMap<InstanceId, Rental>,
    cursors: BTreeSet<String>,
}

impl Pages {
    /// Takes the next page and returns the cursor of the one after it, if there is one.
    pub(super) fn add(&mut self, page: &Map<String, Value>) -> Result<Option<String>, WireFault> {
        let Some(Value::Array(rows)) = page.get("instances") else {
            return Err(WireFault::NoList { field: "instances" });
        };
        let total = page.get("total_instances").and_then(Value::as_u64);
        let total = total.ok_or(WireFault::Field { field: "total_instances", wanted: "count" })?;
        let listed = self.rentals.len() as u64 + rows.len() as u64;
        if listed > total || self.total.is_some_and(|before| before != total) {
            return Err(WireFault::Count { listed, total });
        }
        self.total = Some(total);
        for row in rows {
            let rental = rental(row)?;
            let id = rental.id;
            if self.rentals.insert(id, rental).is_some() {
                return Err(WireFault::Twice { id: id.0 });
            }
        }
        match page.get("next_token") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(cursor)) if cursor.is_empty() => Ok(None),
            Some(Value::String(cursor)) if self.cursors.insert(cursor.clone()) => Ok(Some(cursor.clone())),
            Some(Value::String(_)) => Err(WireFault::CursorRepeated),
            Some(_) => Err(WireFault::Field { field: "next_token", wanted: "cursor" }),
        }
    }

    /// The whole list, if it is whole.
    pub(super) fn finish(self) -> Result<Vec<Rental>, WireFault> {
        let listed = self.rentals.len() as u64;
        match self.total {
            Some(total) if total == listed => Ok(self.rentals.into_values().collect()),
            total => Err(WireFault::Count { listed, total: total.unwrap_or_default() }),
        }
    }
}

/// What of an instance's row is read; its secrets (`jupyter_token`, `extra_env`, …) are not.
#[derive(Deserialize)]
struct Row {
    id: Id,
    machine_id: Id,
    host_id: Id,
    #[serde(deserialize_with = "nullable")]
    label: Option<String>,
    #[serde(deserialize_with = "nullable")]
    actual_status: Option<String>,
    dph_total: Number,
    #[serde(default)]
    cur_state: Value,
    #[serde(default)]
    status_msg: Value,
    #[serde(default)]
    gpu_name: Value,
    #[serde(default)]
    public_ipaddr: Value,
    #[serde(default)]
    ports: Value,
    #[serde(default)]
    ssh_host: Value,
    #[serde(default)]
    ssh_port: Value,
    #[serde(default)]
    image_runtype: Value,
    #[serde(default)]
    end_date: Value,
    #[serde(default)]
    is_bid: Value,
    #[serde(default)]
    dph_base: Value,
    #[serde(default)]
    min_bid: Value,
}

fn rental(row: &Value) -> Result<Rental, WireFault> {
    let fault = |detail: String| WireFault::Row { what: "instance", id: shown_id(row), detail };
    let row = Row::deserialize(row).map_err(|error| fault(error.to_string()))?;
    let price = row.dph_total.0.filter(|price| *price >= 0.0).and_then(Money::from_dollars);
    let text = |value: &Value| value.as_str().map(printable).filter(|text| !text.is_empty());
    let message = text(&row.status_msg);
    Ok(Rental {
        id: InstanceId(row.id.0),
        machine: MachineId(row.machine_id.0),
        host: HostId(row.host_id.0),
        status: status(row.actual_status.as_deref(), row.cur_state.as_str(), message.as_deref()),
        message,
        price: price.ok_or_else(|| fault("no price in `dph_total`".to_owned()))?,
        gpu: text(&row.gpu_name).unwrap_or_else(|| "unknown GPU".to_owned()),
        public_ip: row.public_ipaddr.as_str().and_then(|address| address.trim().parse().ok()),
        ports: tcp_ports(&row.ports),
        ssh_proxy: ssh_proxy(&row),
        ends_at: Number::deserialize(&row.end_date)
            .ok()
            .and_then(|end| end.0)
            .filter(|seconds| *seconds > 0.0)
            // A float beyond the range saturates, which is a contract without end.
            .map(|seconds| Timestamp((seconds * 1000.0) as u64)),
        stopped: is_stopped(&row),
        bidding: bidding(&row),
        label: row.label,
    })
}

/// Whether the provider stopped it, and its GPU is let go: outbid, out of credit, at the contract's end, or by hand.
fn is_stopped(row: &Row) -> bool {
    let down = matches!(row.actual_status.as_deref().map(str::trim), Some("exited" | "stopped"));
    down && row.cur_state.as_str() == Some("stopped")
}

/// Our bid is the price of the GPUs alone; a machine's owner says what wins (measured by users, August 2026).
fn bidding(row: &Row) -> Option<Bidding> {
    let money = |value: &Value| {
        let number = Number::deserialize(value).ok()?.0;
        number.filter(|number| *number >= 0.0).and_then(Money::from_dollars)
    };
    let interruptible = row.is_bid.as_bool().or_else(|| row.is_bid.as_f64().map(|flag| flag != 0.0))?;
    let bid = money(&row.dph_base).filter(|_| interruptible)?;
    Some(Bidding { bid, floor: money(&row.min_bid) })
}

/// Words of the host's runtime after which a container never starts (as seen by other keepers of Vast.ai boxes), the
/// image's own faults included.
const FATAL: [&str; 8] = [
    "oci runtime create failed",
    "failed to create shim task",
    "failed to create task",
    "unresolvable cdi devices",
    "no space left on device",
    "manifest unknown",
    "pull access denied",
    "repository does not exist",
];

/// What the provider's status words come to. Only `exited`, `stopped` and `offline` are words against an instance; the
/// heartbeat behind them lags, and what we do not know is not dead.
fn status(actual: Option<&str>, current: Option<&str>, message: Option<&str>) -> Status {
    let word = actual.map(str::trim).unwrap_or_default();
    let on_its_way = matches!(word, "" | "created" | "loading");
    // A stale message of an earlier start stays on a running row, so it counts only before the first run; the daemon
    // reports the end of a pull ("complete") in the words of an error.
    let message = message.unwrap_or_default().to_lowercase();
    let refused = message.contains("error response from daemon") && !message.contains("complete");
    if on_its_way && (refused || FATAL.iter().any(|fatal| message.contains(fatal))) {
        return Status::Broken;
    }
    match word {
        _ if on_its_way && current == Some("stopped") => {
            Status::Unclear("stopped before its first start".into())
        }
        "" | "created" | "loading" | "rebooting" | "restarting" | "recycling" => Status::Starting,
        "running" => Status::Running,
        "exited" | "stopped" => Status::Exited,
        "offline" => Status::Offline,
        other => Status::Unclear(other.chars().filter(|c| !c.is_control()).take(40).collect()),
    }
}

/// Docker's port map, TCP only: `{"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "41022"}, …]}`.
fn tcp_ports(ports: &Value) -> BTreeMap<u16, u16> {
    let Some(map) = ports.as_object() else { return BTreeMap::new() };
    let published = map.iter().filter_map(|(inside, bindings)| {
        let inside = inside.strip_suffix("/tcp")?.parse().ok()?;
        let bindings = bindings.as_array()?.iter();
        let outside = bindings.filter_map(|binding| port_of(binding.get("HostPort")?)).next()?;
        Some((inside, outside))
    });
    published.filter(|(inside, _)| *inside != 0).collect()
}

/// The relay, whose port is one further for images of the Jupyter kind (as in the provider's own command line).
fn ssh_proxy(row: &Row) -> Option<(String, u16)> {
    let host = row.ssh_host.as_str()?.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    // The name ends up as an argument of `ssh`: nothing that could be taken for an option or for more than a name.
    if host.is_empty() || host.starts_with('-') || !host.chars().all(is_name) {
        return None;
    }
    let jupyter = row.image_runtype.as_str().is_some_and(|kind| kind.contains("jupyter"));
    let port = port_of(&row.ssh_port)?.checked_add(u16::from(jupyter))?;
    Some((host.to_owned(), port))
}

fn port_of(value: &Value) -> Option<u16> {
    let port = Number::deserialize(value).ok()?.whole()?;
    u16::try_from(port).ok().filter(|port| *port != 0)
}
