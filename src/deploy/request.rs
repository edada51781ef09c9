//! What is asked of a deploy or a rollback, and what it reports on its way.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{
    artifact::Artifact,
    build::{ImagePull, TreeBuild},
    method::Method,
    smoke::Smoke,
    step::Step,
};
use crate::{
    fleet::{
        journal::ReleaseRef,
        name::{InstanceId, NodeName, OpId},
        provider::SshEndpoint,
    },
    remote::BoxAddress,
};

/// How a release comes to the box.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One executable file, built, given or fetched here, and uploaded.
    #[default]
    Artifact,
    /// A commit, checked out and built on the box; what is uploaded is its launcher.
    Git(TreeBuild),
    /// An image, pulled by the box; what is uploaded is its name.
    Docker(ImagePull),
}

/// Whether a release that serves already is started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Always: only a new start is proof of what runs. What a remedy needs.
    #[default]
    Always,
    /// Only if something changed. A verified release that serves is left alone, and is proven to serve.
    IfChanged,
}

/// What happens when a server does not come to rest in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnTimeout {
    /// Nothing is deployed, and the server goes on.
    #[default]
    Abort,
    /// The server is replaced all the same.
    Proceed,
}

/// How a server is brought to rest before it is replaced.
#[derive(Debug, Clone)]
pub struct Maintenance {
    /// The servers' admin code.
    pub code: SecretString,
    /// How long rest is waited for.
    pub wait: Duration,
    /// And then?
    pub on_timeout: OnTimeout,
}

/// One box, and what proves that its server serves.
#[derive(Debug, Clone)]
pub struct Site {
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
    /// The port that the server listens on inside the container.
    pub server_port: u16,
    /// Where that port is published.
    pub public: SocketAddr,
    /// What proves success.
    pub gate: Gate,
    /// How many verified releases stay on the box; the current and the previous one always do.
    pub keep: usize,
    /// Limit for the whole work.
    pub deadline: Duration,
    /// Limit for getting a connection; a fresh box needs minutes until its SSH server knows our key.
    pub connect_budget: Duration,
    /// Who asked for it, for the box's own log of deploys, and for whoever meets its lease.
    pub by: String,
    /// How long another deploy's lease is waited for.
    pub wait_lock: Duration,
}

impl Site {
    /// The box's address.
    #[must_use]
    pub fn address(&self) -> BoxAddress {
        BoxAddress { instance: self.instance, endpoints: self.endpoints.clone(), user: self.user.clone() }
    }

    /// How long a new release may serve before it is confirmed; after that the box goes back by itself.
    pub(super) fn trial(&self) -> Duration {
        self.gate.within + self.gate.confirm_within
    }
}

/// One deploy to one box.
#[derive(Debug, Clone)]
pub struct DeployRequest {
    /// Where.
    pub site: Site,
    /// How.
    pub method: Method,
    /// What.
    pub artifact: Arc<Artifact>,
    /// The server's settings. `INSTANCE_ID` and `PORT` are added, and win.
    pub env: BTreeMap<String, SecretString>,
    /// Whether what serves already is started anew.
    pub restart: Restart,
    /// Deploy even a release that this box once went back from.
    pub force: bool,
    /// How a server that runs is brought to rest before; `None` replaces it as it stands.
    pub maintenance: Option<Maintenance>,
    /// What must hold besides the gate.
    pub smoke: Smoke,
}

/// Going back on one box.
#[derive(Debug, Clone)]
pub struct RollbackRequest {
    /// Where. The gate's commit is not used: the release on the box tells its own.
    pub site: Site,
    /// The release's name on the box, or the beginning of it; `None` for the last verified one before the current.
    pub to: Option<String>,
    /// The server's present settings, whose values are masked in what is shown.
    pub env: BTreeMap<String, SecretString>,
    /// As for a deploy.
    pub maintenance: Option<Maintenance>,
}

/// What the server must answer, from outside, before a deploy counts as done.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Path asked, such as `/health`.
    pub path: String,
    /// Good answers in a row.
    pub healthy_in_a_row: u32,
    /// How long the good answers of one start must span: a server that dies soon is none.
    pub steady: Duration,
    /// Limit from the start of the server.
    pub within: Duration,
    /// What comes on top of that before a box leaves a release that nobody confirms: stopping the old server and
    /// connecting anew.
    pub confirm_within: Duration,
    /// Pause between two questions.
    pub interval: Duration,
    /// The commit it must name; `None` for a server that names none.
    pub expect_commit: Option<String>,
    /// The identity it must name.
    pub identity: OpId,
    /// Whether any server's 200 counts: one that was taken over and knows nothing of identities.
    pub any_server: bool,
}

impl Gate {
    /// Three in a row, half a second apart, within two minutes.
    #[must_use]
    pub fn new(identity: OpId, expect_commit: Option<String>) -> Self {
        Self {
            path: "/health".into(),
            healthy_in_a_row: 3,
            steady: Duration::ZERO,
            within: Duration::from_secs(120),
            confirm_within: Duration::from_secs(90),
            interval: Duration::from_millis(500),
            expect_commit,
            identity,
            any_server: false,
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
    /// How long it has taken.
    pub took: Duration,
    /// What there is to say, free of secrets; may be empty.
    pub detail: String,
}

/// How long a step took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTime {
    /// Which step.
    pub step: Step,
    /// From its begin to its end.
    pub took: Duration,
}

/// What a deploy or a rollback achieved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// What serves now.
    pub release: ReleaseRef,
    /// Its name on the box: twelve digits of the program's digest, twelve of its settings'.
    pub name: String,
    /// Whether it served already, so that nothing was done.
    pub unchanged: bool,
    /// Why the server is still in maintenance, if it is: it serves, but it is closed.
    pub closed: Option<String>,
    /// Every step with its time, in the order they were taken.
    pub steps: Vec<StepTime>,
    /// Scripts that were sent to the box and connections that were made.
    pub round_trips: u32,
}
