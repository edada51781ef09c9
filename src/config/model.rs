//! The checked configuration: plain values for the daemon to hand to the edges.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use secrecy::SecretString;
use serde::Serialize;
use url::Url;

use super::fault::Place;
use crate::fleet::{
    notice::{Severity, Topic},
    policy::Policy,
    rollout::Plan,
};

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The profile in force.
    pub profile: Option<String>,
    /// What the core needs.
    pub policy: Policy,
    /// The provider.
    pub provider: Provider,
    /// SSH to the boxes.
    pub ssh: Ssh,
    /// What is deployed and how.
    pub deploy: Deploy,
    /// How a release is brought to several nodes.
    pub rollout: Rollouts,
    /// Where the nodes' addresses are published.
    pub publish: Publish,
    /// How this fleet stands among others.
    pub environment: Environment,
    /// Who is told.
    pub alerts: Vec<SinkConfig>,
    /// What happens by the clock.
    pub schedule: Schedule,
    /// Where page, API and metrics are served.
    pub http: Option<SocketAddr>,
    /// Where the journal lives.
    pub state_dir: PathBuf,
    /// Socket of the running daemon.
    pub control_socket: PathBuf,
    /// What is logged.
    pub log: Log,
    /// What is odd without being a fault, for the log and for `check`.
    pub warnings: Vec<String>,
    /// Every secret's value, so that logs can strike it out.
    pub secrets: Vec<SecretString>,
    pub(super) explained: Vec<Explained>,
}

/// How the provider is reached.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Scheme and host, with a path if there is one.
    pub base_url: Url,
    /// The API key; there under [`Need::Run`](super::Need::Run).
    pub api_key: Option<SecretString>,
    /// What the provider's notifications are signed with; without it none are taken.
    pub webhook_secret: Option<SecretString>,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Scale of the published spacing of calls; 1 is as published, 0 none.
    pub pacing: f64,
}

/// How boxes are reached over SSH.
#[derive(Debug, Clone)]
pub struct Ssh {
    /// Private key.
    pub key_file: PathBuf,
    /// User on the boxes.
    pub user: String,
    /// Longest wait for one connection.
    pub connect_timeout: Duration,
    /// How long connecting to a fresh box is tried again.
    pub connect_budget: Duration,
    /// Between signs of life.
    pub alive_interval: Duration,
}

/// Where the server's binary comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Artifact {
    /// Built by cargo.
    Build {
        /// The cargo workspace.
        workspace: PathBuf,
        /// The package.
        package: String,
        /// Whether it is linked statically.
        portable: bool,
    },
    /// A finished binary.
    File(PathBuf),
    /// A finished binary that is fetched.
    Url {
        /// From where.
        url: Url,
        /// Its SHA-256 in lower-case hex.
        sha256: String,
    },
}

/// What is deployed and how.
#[derive(Debug, Clone)]
pub struct Deploy {
    /// The binary's source.
    pub artifact: Artifact,
    /// Releases kept on a box.
    pub keep: u32,
    /// Healthy answers in a row that end a deploy.
    pub gate_healthy: u32,
    /// How long they must span.
    pub gate_steady: Duration,
    /// Longest wait for them.
    pub gate_within: Duration,
    /// What a box waits beyond that before it leaves a release that nobody confirms.
    pub confirm_within: Duration,
    /// How long a running server is given to come to rest.
    pub maintenance_wait: Duration,
    /// What happens when it does not.
    pub maintenance_timeout: RestTimeout,
    /// Smoke checks: a path and the conditions of its answer.
    pub smoke: Vec<String>,
    /// Texts that the server's log must hold after a start.
    pub log_expected: Vec<String>,
    /// Texts that it must not hold.
    pub log_errors: Vec<String>,
    /// Lines with one of these are no errors.
    pub log_ignored: Vec<String>,
    /// Environment of the server: plain variables, named secrets and the admin code.
    pub env: BTreeMap<String, SecretString>,
    /// Admin code of the maintenance API.
    pub admin_code: Option<SecretString>,
    /// Where players reach the server.
    pub public_url: Option<Url>,
    /// How a release is put on a box.
    pub method: Method,
}

/// Where a release's code comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The artifact.
    Artifact,
    /// A commit.
    Git {
        /// The repository.
        url: String,
        /// A full hash, branch or tag.
        rev: String,
        /// Builds it.
        build: Option<String>,
        /// What is made of it.
        made: Made,
    },
    /// An image, with its engine.
    Image {
        /// Pinned by its digest.
        image: String,
        /// The file that holds it, where it is not pulled.
        archive: Option<PathBuf>,
        /// The commit that its server names.
        commit: Option<String>,
        /// The engine's command.
        engine: String,
        /// Options of its `run`.
        options: Vec<String>,
    },
}

/// What is made of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// A tree on each box, in which this command becomes the server.
    OnBox(String),
    /// This file, here.
    Here(PathBuf),
}

/// What keeps a server running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// Our supervisor.
    Supervised,
    /// systemd.
    Systemd,
    /// pm2.
    Pm2,
    /// The container engine.
    Docker,
    /// Commands.
    Command,
}

/// What keeps a server running, and its commands where it is those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// Which.
    pub kind: Keeping,
    /// Starts, stops, tells the state, tells the process.
    pub commands: [Option<String>; 4],
}

/// How a release is put on a box; the commands run there, by `sh`.
#[derive(Debug, Clone)]
pub struct Method {
    /// Where the code comes from.
    pub origin: Origin,
    /// What keeps it running.
    pub manager: Manager,
    /// The manager's name for it.
    pub service: String,
    /// Limit of fetching, and of building.
    pub build_within: Duration,
    /// Whether somebody else's server is taken over.
    pub adopt: bool,
    /// Settings that must be there, with their forms.
    pub required: Vec<String>,
    /// Writes a dump of the data.
    pub backup_command: Option<String>,
    /// Accepts a dump.
    pub backup_check: Option<String>,
    /// Brings a dump back.
    pub restore_command: Option<String>,
    /// Backups that stay on a box.
    pub backups_kept: u32,
    /// Limit of each command.
    pub command_within: Duration,
    /// Prints what is pending.
    pub migrate_status: Option<String>,
    /// Migrates.
    pub migrate_run: Option<String>,
    /// Fails unless the schema is right.
    pub migrate_validate: Option<String>,
    /// Files of the release that hold migrations.
    pub migrate_files: Option<String>,
    /// Whether statements that lose data may run.
    pub migrate_risky: bool,
    /// Schema version that the release brings.
    pub schema: Option<u32>,
    /// Oldest schema version whose releases work with it.
    pub schema_floor: u32,
}

/// How a release is brought to several nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollouts {
    /// The order of things.
    pub plan: Plan,
    /// Boxes worked on at once.
    pub parallel: usize,
    /// How long the box before is kept after a blue-green deploy.
    pub keep_old: Duration,
}

/// Where the nodes' addresses are published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publish {
    /// A file.
    pub file: Option<PathBuf>,
    /// A command for the shell.
    pub command: Option<String>,
    /// A URL.
    pub url: Option<Url>,
}

/// How a fleet stands among others: development, staging, production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Whether others depend on it.
    pub protected: bool,
    /// The profiles that a release goes through.
    pub order: Vec<String>,
    /// What is deployed when it is pushed.
    pub push: Option<Push>,
}

/// What is deployed when it is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The git remote.
    pub remote: String,
    /// The branch.
    pub branch: String,
    /// How often it is asked.
    pub every: Duration,
    /// The shell command that builds the server.
    pub build: String,
    /// Where that leaves the binary, in the checkout.
    pub artifact: PathBuf,
    /// Longest build.
    pub build_within: Duration,
}

/// What happens when a server does not come to rest in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestTimeout {
    /// Nothing is deployed.
    #[default]
    Abort,
    /// It is deployed all the same.
    Proceed,
    /// A person decides; where there is none, nothing is deployed.
    Ask,
}

/// The format of a sink's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkKind {
    /// Slack incoming webhook.
    Slack,
    /// Discord webhook.
    Discord,
    /// Generic JSON in the manner of Standard Webhooks.
    Webhook,
}

/// One place where notices go.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// Its name.
    pub name: String,
    /// Its format.
    pub kind: SinkKind,
    /// Its URL, which is a secret.
    pub url: SecretString,
    /// Signs generic webhooks.
    pub signing_key: Option<SecretString>,
    /// Least severity it gets.
    pub min_severity: Severity,
    /// Only these topics; empty means all.
    pub topics: BTreeSet<Topic>,
}

/// Six-field cron expressions (seconds first) in UTC; `None` is never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// List and compare.
    pub inventory_sweep: Option<String>,
    /// Look for rentals nobody knows.
    pub orphan_check: Option<String>,
    /// The daily digest.
    pub digest: Option<String>,
    /// Deploy the current release again.
    pub nightly_redeploy: Option<String>,
}

/// What is logged and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Filter in the form of `tracing_subscriber::filter::Targets`.
    pub level: String,
    /// JSON lines instead of text.
    pub json: bool,
}

/// One key with its value and where it came from, for `config show`.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    /// Dotted path, or a secret's name.
    pub key: String,
    /// The value as TOML, `***` for a secret; `None` if it has none.
    pub value: Option<String>,
    /// Where it stands.
    pub source: Place,
    /// Whether a change needs a restart.
    pub needs_restart: bool,
    /// Only for telling a changed secret.
    #[serde(skip)]
    pub(super) secret: Option<SecretString>,
}

impl Config {
    /// Every key with its value (secrets masked) and its source, in the order of their names.
    #[must_use]
    pub fn explain(&self) -> &[Explained] {
        &self.explained
    }
}
