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
mod method;
mod model;
mod node;
mod process;
mod reader;
pub mod reference;
mod rollout;
mod secret;
mod sinks;
mod surroundings;
mod toml_file;
mod unknown;
mod value;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

pub use self::{
    changes::{Change, changes},
    fault::{ConfigErrors, Fault, Place},
    kind::{Kind, Parsed},
    model::{
        Artifact, Config, Deploy, Environment, Explained, Keeping, Log, Made, Manager, Method, Origin,
        Provider, Publish, Push, RestTimeout, Rollouts, Schedule, SinkConfig, SinkKind, Ssh,
    },
    value::parse_duration,
};
use self::{
    environment::Reading,
    layer::{BUILT_IN, Layer, Settings},
    reader::Reader,
    secret::{Secrets, Variables},
    surroundings::Surroundings,
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
    let mut layers = files(sources, profile.as_deref(), &mut faults, &mut warnings);
    for Reading { layer, faults: more, warnings: odd } in [
        environment::layer(&dotenv, true),
        environment::layer(&environment, false),
        environment::flags(&sources.flags),
    ] {
        layers.push(Arc::new(layer));
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
    reader.faults.extend(unknown::sections_of(&settings));
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
            if permits(path, 0o077) {
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

/// Whether a file's mode has one of these bits.
fn permits(path: &Path, bits: u32) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & bits != 0)
}

/// The built-in layer. It is the same each time, and the largest one by far.
static DEFAULTS: LazyLock<Result<Arc<Layer>, Fault>> =
    LazyLock::new(|| toml_file::parse(BUILT_IN, &reference::defaults_toml()).map(Arc::new));

/// The built-in layer, the main file and the profile, as far as they can be read.
fn files(
    sources: &Sources,
    profile: Option<&str>,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<String>,
) -> Vec<Arc<Layer>> {
    let mut layers = Vec::new();
    match &*DEFAULTS {
        Ok(layer) => layers.push(Arc::clone(layer)),
        Err(fault) => faults.push(fault.clone()),
    }
    let folder = sources.config_file.as_deref().and_then(Path::parent).unwrap_or(Path::new("config"));
    let profile = profile.and_then(|name| profile_file(folder, name, faults));
    for path in sources.config_file.iter().chain(&profile) {
        match toml_file::read(path) {
            Ok(layer) => {
                faults.extend(unknown::keys_of(&layer));
                if permits(path, 0o002) {
                    let shown = path.display();
                    warnings.push(format!(
                        "everybody can write {shown}, and so command this keeper; chmod o-w {shown}"
                    ));
                }
                layers.push(Arc::new(layer));
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
    let rollout = rollout::rollout(reader);
    let publish = rollout::publish(reader, around);
    let environment = rollout::environment(reader);
    let alerts = sinks::sinks(reader, around, &mut warnings);
    let schedule = process::schedule(reader);
    let http = process::http(reader, &mut warnings);
    let (state_dir, control_socket) = process::places(reader, around, profile.as_deref());
    let log = process::log(reader);
    Some(Config {
        profile,
        policy: policy?,
        provider: provider?,
        ssh,
        deploy,
        rollout,
        publish,
        environment,
        alerts,
        schedule,
        http,
        state_dir,
        control_socket,
        log,
        warnings,
        secrets: surroundings::secret_values(reader),
        explained: reader.explained.values().cloned().collect(),
    })
}

#[cfg(test)]
mod tests;
