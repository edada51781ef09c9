//! What the panel and [`crate::Sim::boxes`] tell about an instance and its box.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Serialize;

use crate::record::first_disturbance;
use crate::world::State;

/// One instance that is not destroyed, and its box if it has ever been up.
#[derive(Debug, Clone, Serialize)]
pub struct BoxInfo {
    /// Instance (contract) id.
    pub instance: u64,
    /// Label.
    pub label: Option<String>,
    /// Machine id.
    pub machine: u64,
    /// The true `actual_status`, whatever faults make reads report.
    pub actual_status: Option<String>,
    /// `status_msg`.
    pub status_msg: Option<String>,
    /// The box's own address.
    pub address: Option<Ipv4Addr>,
    /// Where SSH listens (`ports["22/tcp"]`).
    pub ssh: Option<SocketAddr>,
    /// The second way to SSH (`ssh_host`, `ssh_port`).
    pub ssh_proxy: Option<SocketAddr>,
    /// Container port and protocol (`5555/tcp`) to the address clients reach it at.
    pub ports: BTreeMap<String, SocketAddr>,
    /// The box's home folder on this machine.
    pub home: Option<PathBuf>,
    /// `SHA256:…` of the SSH host key.
    pub host_key: Option<String>,
    /// Whether it is frozen.
    pub frozen: bool,
    /// Whether its host is lost.
    pub host_lost: bool,
    /// When the simulator first broke something of it (see [`crate::Truth::disturbs`]).
    pub disturbed_ms: Option<u64>,
}

/// All instances that are not destroyed, oldest first.
pub(crate) fn boxes(state: &State) -> Vec<BoxInfo> {
    let living = state.instances.values().filter(|instance| !instance.is_destroyed());
    let describe = |instance: &crate::world::instance::Instance| {
        let summary = state.boxes.get(&instance.id);
        let reach = |port: u16| summary.map(|summary| SocketAddr::from((summary.address, port)));
        let ports = summary.into_iter().flat_map(|summary| summary.ports.iter());
        let ports: BTreeMap<String, SocketAddr> =
            ports.filter_map(|(name, port)| Some((name.clone(), reach(*port)?))).collect();
        BoxInfo {
            instance: instance.id,
            label: instance.launch.label.clone(),
            machine: instance.machine.id,
            actual_status: instance.actual_status().map(str::to_owned),
            status_msg: instance.status_msg.clone(),
            address: summary.map(|summary| summary.address),
            ssh: ports.get("22/tcp").copied(),
            ssh_proxy: summary.and_then(|summary| summary.proxy).map(SocketAddr::from),
            ports,
            home: summary.map(|summary| summary.home.clone()),
            host_key: summary.map(|summary| summary.host_key.clone()).filter(|key| !key.is_empty()),
            frozen: summary.is_some_and(|summary| summary.frozen),
            host_lost: instance.lost.is_some(),
            disturbed_ms: first_disturbance(&state.truth, instance.id),
        }
    };
    living.map(describe).collect()
}
