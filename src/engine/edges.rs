//! Everything outside that the engine drives, and how it reaches its boxes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use secrecy::SecretString;

use super::{EvidenceRoom, Publisher, Releases, Shelf};
use crate::{
    deploy,
    fleet::provider::{Rental, SshEndpoint},
    probe::Prober,
    remote::Remote,
    vast::Vast,
};

/// The container port of SSH.
const SSH_PORT: u16 = 22;

/// How boxes are reached and what their server is given.
#[derive(Debug, Clone)]
pub struct BoxAccess {
    /// Login name.
    pub user: String,
    /// Environment of the server; secrets, so only ever uploaded, never logged.
    pub server_env: BTreeMap<String, SecretString>,
    /// Releases kept on a box.
    pub keep: usize,
    /// Healthy answers in a row that end a deploy.
    pub gate_healthy: u32,
    /// How long healthy answers must span.
    pub gate_steady: Duration,
    /// How long the gate may take.
    pub gate_within: Duration,
    /// How servers are brought to rest before a deploy; `None` without an admin code.
    pub maintenance: Option<deploy::Maintenance>,
    /// What a box waits beyond that before it leaves a release that nobody confirms.
    pub confirm_within: Duration,
    /// What must hold besides the gate.
    pub smoke: deploy::Smoke,
    /// How a release is put on a box.
    pub method: deploy::Method,
    /// How long a fresh box may refuse connections or our key.
    pub connect_budget: Duration,
}

/// Everything outside that the engine drives.
pub struct Edges {
    /// The provider.
    pub vast: Arc<Vast>,
    /// The boxes.
    pub remote: Arc<Remote>,
    /// The probes.
    pub prober: Prober,
    /// The release.
    pub releases: Releases,
    /// Releases that were verified, kept.
    pub shelf: Shelf,
    /// Where the nodes' addresses are published.
    pub publisher: Publisher,
    /// Asks the canaries.
    pub http: reqwest::Client,
    /// How boxes are reached.
    pub access: BoxAccess,
    /// Where the evidence of condemned boxes is kept.
    pub evidence: EvidenceRoom,
}

/// Ways to a box, as the provider's list tells them: direct first, then its relay.
#[must_use]
pub fn endpoints(row: &Rental) -> Vec<SshEndpoint> {
    let direct = row.address(SSH_PORT).map(|at| SshEndpoint { host: at.ip().to_string(), port: at.port() });
    let proxy = row.ssh_proxy.as_ref().map(|(host, port)| SshEndpoint { host: host.clone(), port: *port });
    direct.into_iter().chain(proxy).collect()
}
