//! What is asked of a deploy, and what it reports on its way.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use secrecy::SecretString;

use super::{artifact::Artifact, plan::Step};
use crate::{
    fleet::{
        name::{InstanceId, NodeName, OpId},
        provider::SshEndpoint,
    },
    remote::BoxAddress,
};

/// How a release comes to the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// One executable file, built or given here, uploaded, run under our supervisor.
    #[default]
    Artifact,
}

/// One deploy to one box.
#[derive(Debug, Clone)]
pub struct DeployRequest {
    /// The node, for logs.
    pub node: NodeName,
    /// The instance; its host key is pinned.
    pub instance: InstanceId,
    /// The identity that the server gets as `INSTANCE_ID` and must echo.
    pub op: OpId,
    /// Ways to the box, direct first.
    pub endpoints: Vec<SshEndpoint>,
    /// Login name, `root` on Vast.ai.
    pub user: String,
    /// How.
    pub strategy: Strategy,
    /// What.
    pub artifact: Arc<Artifact>,
    /// The server's settings. `INSTANCE_ID` and `PORT` are added, and win.
    pub env: BTreeMap<String, SecretString>,
    /// The port that the server listens on inside the container.
    pub server_port: u16,
    /// Where that port is published.
    pub public: SocketAddr,
    /// What proves success.
    pub gate: Gate,
    /// How many verified releases stay on the box; the current and the previous one always do.
    pub keep: usize,
    /// Limit for the whole deploy.
    pub deadline: Duration,
    /// Limit for getting a connection; a fresh box needs minutes until its SSH server knows our key.
    pub connect_budget: Duration,
}

impl DeployRequest {
    /// The box's address.
    #[must_use]
    pub fn address(&self) -> BoxAddress {
        BoxAddress { instance: self.instance, endpoints: self.endpoints.clone(), user: self.user.clone() }
    }
}

/// What the server must answer, from outside, before a deploy counts as done.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Path asked, such as `/health`.
    pub path: String,
    /// Good answers in a row.
    pub healthy_in_a_row: u32,
    /// Limit from the start of the server.
    pub within: Duration,
    /// Pause between two questions.
    pub interval: Duration,
    /// The commit it must name; `None` for a server that names none.
    pub expect_commit: Option<String>,
    /// The identity it must name.
    pub identity: OpId,
}

impl Gate {
    /// Three in a row, half a second apart, within two minutes.
    #[must_use]
    pub fn new(identity: OpId, expect_commit: Option<String>) -> Self {
        Self {
            path: "/health".into(),
            healthy_in_a_row: 3,
            within: Duration::from_secs(120),
            interval: Duration::from_millis(500),
            expect_commit,
            identity,
        }
    }
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepPhase {
    /// It began.
    Started,
    /// It goes on; the detail tells how far it is.
    Going,
    /// It ended well.
    Finished,
}

/// One line of a deploy's progress. Reports are dropped when nobody takes them; they decide nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// Which step.
    pub step: Step,
    /// Where it stands.
    pub phase: StepPhase,
    /// What there is to say, free of secrets; may be empty.
    pub detail: String,
}
