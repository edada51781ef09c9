//! Configuration: many sources in, one checked [`Config`] out, or every fault at once.
//!
//! ```text
//! built-in < config/keeper.toml < profile < .env < environment < --set
//! ```
//!
//! `keys` lists every key once; `layer` merges the sources and remembers where each value stands; `reader` types them;
//! `check` holds the rules between keys. Secrets take another way (`secret`). Nothing is contacted here and nothing is
//! written; besides the named files only the SSH key's and the artifact's existence is looked at.
//!
//! Deliberately absent: reading the process environment (an argument, so that tests need not change it), and any default
//! that hides a missing secret.

mod changes;
mod check;
mod edges;
mod environment;
mod fault;
mod fleet;
pub mod keys;
mod kind;
mod layer;
mod node;
mod reader;
pub mod reference;
mod secret;
mod sinks;
mod suggest;
mod toml_file;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;
use url::Url;

pub use self::{
    changes::{Change, changes},
    fault::{ConfigErrors, Fault, Place},
    kind::{Kind, Parsed},
};
use self::{
    edges::Surroundings,
    environment::Reading,
    layer::{Layer, Settings},
    reader::Reader,
    secret::{Secrets, Variables},
};
use crate::fleet::{
    notice::{Severity, Topic},
    policy::Policy,
};

/// What the configuration is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Need {
    /// To run the keeper: secrets and files must be there.
    #[default]
    Run,
    /// To talk to a running keeper: its secrets may be out of reach.
    Talk,
}

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The main file; must exist if given.
    pub config_file: Option<PathBuf>,
    /// The profile: `<profile>.toml` beside the main file. `KEEPER_PROFILE` (environment, `.env`) without it.
    pub profile: Option<String>,
    /// The `.env` file; must exist if given.
    pub env_file: Option<PathBuf>,
    /// The process environment.
    pub environment: BTreeMap<String, String>,
    /// `--set path=value`.
    pub flags: BTreeMap<String, String>,
    /// What for.
    pub need: Need,
}

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
    explained: Vec<Explained>,
}

/// How the provider is reached.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Scheme and host, with a path if there is one.
    pub base_url: Url,
    /// The API key; there under [`Need::Run`].
    pub api_key: Option<SecretString>,
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
        /// The target triple; the host's own without it.
        target: Option<String>,
    },
    /// A finished binary.
    File(PathBuf),
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
    /// Longest wait for them.
    pub gate_within: Duration,
    /// Environment of the server: plain variables, named secrets and the admin code.
    pub env: BTreeMap<String, SecretString>,
    /// Admin code of the maintenance API.
    pub admin_code: Option<SecretString>,
    /// Where players reach the server.
    pub public_url: Option<Url>,
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
#[derive(Debug, Clone)]
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
    secret: Option<SecretString>,
}

impl Config {
    /// Every key with its value (secrets masked) and its source, in the order of their names.
    #[must_use]
    pub fn explain(&self) -> &[Explained] {
        &self.explained
    }
}

/// Loads and checks everything.
///
/// # Errors
/// All faults at once.
pub fn load(sources: &Sources) -> Result<Config, ConfigErrors> {
    let mut faults = Vec::new();
    let mut warnings = Vec::new();
    let dotenv = dotenv(sources, &mut faults, &mut warnings);
    let environment = Variables {
        origin: "environment".into(),
        values: sources
            .environment
            .iter()
            .map(|(name, value)| (name.clone(), (value.clone(), None)))
            .collect(),
    };
    let profile = sources.profile.clone().or_else(|| {
        [&environment, &dotenv]
            .into_iter()
            .find_map(|variables| variables.get("KEEPER_PROFILE").map(|(name, _)| name.into()))
    });
    let mut layers = files(sources, profile.as_deref(), &mut faults);
    for Reading { layer, faults: more, warnings: odd } in [
        environment::layer(&dotenv, true),
        environment::layer(&environment, false),
        environment::flags(&sources.flags),
    ] {
        layers.push(layer);
        faults.extend(more);
        warnings.extend(odd);
    }
    let settings = Settings::merge(layers);
    let credentials = sources.environment.get("CREDENTIALS_DIRECTORY").map(Path::new);
    let around = Surroundings {
        secrets: Secrets { sources: vec![&environment, &dotenv], credentials },
        environment: &sources.environment,
        need: sources.need,
    };
    let mut reader = Reader::new(&settings);
    reader.faults.append(&mut faults);
    let config = read(&mut reader, &around, profile, warnings);
    match config {
        Some(config) if reader.faults.is_empty() => Ok(config),
        _ => Err(ConfigErrors::new(reader.faults)),
    }
}

fn dotenv(sources: &Sources, faults: &mut Vec<Fault>, warnings: &mut Vec<String>) -> Variables {
    let Some(path) = &sources.env_file else { return Variables::default() };
    match environment::read_file(path) {
        Ok((variables, more)) => {
            faults.extend(more);
            if secret::is_open_to_others(path) {
                warnings.push(format!("{0} can be read by others; chmod 600 {0}", path.display()));
            }
            variables
        }
        Err(fault) => {
            faults.push(fault);
            Variables::default()
        }
    }
}

/// The built-in layer, the main file and the profile, as far as they can be read.
fn files(sources: &Sources, profile: Option<&str>, faults: &mut Vec<Fault>) -> Vec<Layer> {
    let mut layers = Vec::new();
    match toml_file::parse("built-in", &reference::defaults_toml()) {
        Ok(layer) => layers.push(layer),
        Err(fault) => faults.push(fault),
    }
    let folder = sources.config_file.as_deref().and_then(Path::parent).unwrap_or(Path::new("config"));
    let profile = profile.and_then(|name| profile_file(folder, name, faults));
    for path in sources.config_file.iter().chain(&profile) {
        match toml_file::read(path) {
            Ok(layer) => {
                unknown_keys(&layer, faults);
                layers.push(layer);
            }
            Err(fault) => faults.push(fault),
        }
    }
    layers
}

fn profile_file(folder: &Path, name: &str, faults: &mut Vec<Fault>) -> Option<PathBuf> {
    let path = folder.join(format!("{name}.toml"));
    let plain =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if plain && path.is_file() {
        return Some(path);
    }
    let fault = Fault::new("profile", format!("there is no profile `{}`", kind::shown(name)));
    faults.push(fault.hint(format!("a profile is a file `<profile>.toml` in {}", folder.display())));
    None
}

fn unknown_keys(layer: &Layer, faults: &mut Vec<Fault>) {
    for (path, place) in layer.places().filter(|(path, _)| !is_known(path)) {
        // The unknown table is told, not each key in it once more.
        let above = path.rfind(['.', '[']).and_then(|end| path.get(..end));
        if above.is_none_or(is_known) {
            faults.push(environment::unknown_path(path).at(Some(place.clone())));
        }
    }
}

/// Whether a path is a key, part of one, or a table on the way to one.
fn is_known(path: &str) -> bool {
    let leads_to = |known: &str, path: &str| {
        known == path || known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
    };
    let (list, inner) = suggest::split_list(path);
    let Some(list) = list else {
        let list = ["group", "alerts.sink"]
            .into_iter()
            .any(|list| leads_to(list, path.split('[').next().unwrap_or_default()));
        return list
            || keys::find_in_table(path).is_some()
            || keys::all().any(|key| leads_to(key.path, path));
    };
    let field = keys::FIELDS.iter().any(|field| field.list == list && field.name == inner);
    let table = keys::find_in_table(inner).is_some_and(|(key, _)| key.per_group);
    let grouped =
        list == "group" && (table || keys::all().any(|key| key.per_group && leads_to(key.path, inner)));
    field || grouped
}

fn read(
    reader: &mut Reader<'_>,
    around: &Surroundings<'_>,
    profile: Option<String>,
    mut warnings: Vec<String>,
) -> Option<Config> {
    let (base_url, simulated) = edges::base_url(reader);
    let policy = fleet::policy(reader, simulated);
    let provider = edges::provider(reader, around, base_url, simulated);
    let ssh = edges::ssh(reader, around);
    let deploy = edges::deploy(reader, around);
    let alerts = sinks::sinks(reader, around, &mut warnings);
    let schedule = edges::schedule(reader);
    let http = edges::http(reader, &mut warnings);
    let (state_dir, control_socket) = edges::places(reader, around);
    let log = edges::log(reader);
    Some(Config {
        profile,
        policy: policy?,
        provider: provider?,
        ssh,
        deploy,
        alerts,
        schedule,
        http,
        state_dir,
        control_socket,
        log,
        warnings,
        secrets: edges::secret_values(reader),
        explained: reader.explained.values().cloned().collect(),
    })
}

#[cfg(test)]
mod tests;
