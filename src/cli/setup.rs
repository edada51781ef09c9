//! Verbs about the configuration, and the start of the daemon.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::json;

use super::{
    args::Common,
    exit::{self, Failure, chain},
    print::{self, data, talk},
};
use crate::{
    clock::Clock,
    config::{self, Config, ConfigErrors, Need, Sources},
    daemon::{self, Options, StartError},
    telemetry,
};

/// Where the configuration is looked for when none is named.
const CONFIG_FILES: [&str; 2] = ["config/keeper.toml", "/etc/vast-keeper/keeper.toml"];
/// The environment file that is read when none is named.
const ENV_FILE: &str = ".env";

/// Where settings come from, by the command line and this process' environment.
pub(super) fn sources(common: &Common, need: Need) -> Result<Sources, Failure> {
    let mut flags = BTreeMap::new();
    for setting in &common.set {
        let Some((key, value)) = setting.split_once('=') else {
            let message = format!("`--set {setting}` has no `=`");
            return Err(Failure::new(exit::USAGE, message).hint("write `--set health.interval=30s`"));
        };
        flags.insert(key.trim().to_owned(), value.to_owned());
    }
    let found = |names: &[&str]| names.iter().map(PathBuf::from).find(|path| path.is_file());
    Ok(Sources {
        config_file: common.config.clone().or_else(|| found(&CONFIG_FILES)),
        profile: common.profile.clone(),
        env_file: common.env_file.clone().or_else(|| found(&[ENV_FILE])),
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        flags,
        need,
    })
}

/// The configuration, or all its faults.
pub(super) fn load(common: &Common, need: Need) -> Result<(Config, Sources), Failure> {
    let sources = sources(common, need)?;
    Ok((read(&sources)?, sources))
}

fn read(sources: &Sources) -> Result<Config, Failure> {
    config::load(sources).map_err(|faults| faulty(&faults))
}

fn faulty(faults: &ConfigErrors) -> Failure {
    Failure::new(exit::USAGE, faults.to_string().trim_end())
        .hint("config/keeper.toml explains every key; nothing was contacted")
}

pub(super) fn check(common: &Common, json: bool) -> Result<u8, Failure> {
    let config = match config::load(&sources(common, Need::Run)?) {
        Ok(config) => config,
        Err(faults) if json => {
            let faults: Vec<String> = faults.faults.iter().map(ToString::to_string).collect();
            print::json(&json!({ "valid": false, "faults": faults }))?;
            return Ok(exit::USAGE);
        }
        Err(faults) => return Err(faulty(&faults)),
    };
    let nodes = config.policy.nodes.len();
    if json {
        let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
        let fleet = &config.policy.fleet;
        print::json(&json!({ "valid": true, "fleet": fleet, "nodes": nodes, "warnings": warnings }))?;
        return Ok(exit::DONE);
    }
    for warning in &config.warnings {
        talk(&format!("warning: {warning}"));
    }
    data(&format!("the configuration is valid: fleet `{}`, {nodes} nodes", config.policy.fleet))?;
    Ok(exit::DONE)
}

pub(super) fn show_config(common: &Common, json: bool) -> Result<u8, Failure> {
    let (config, _) = load(common, Need::Talk)?;
    let rows =
        config.explain().iter().map(|row| (row.key.clone(), row.value.clone(), row.source.to_string()));
    if json {
        let rows: Vec<_> = rows
            .map(|(key, value, source)| json!({ "key": key, "value": value, "source": source }))
            .collect();
        print::json(&rows)?;
        return Ok(exit::DONE);
    }
    let rows: Vec<_> = rows.map(|(key, value, source)| [key, value.unwrap_or_default(), source]).collect();
    super::show::table(&["setting", "value", "from"], &rows)?;
    Ok(exit::DONE)
}

pub(super) async fn daemon(common: &Common, observe_only: bool, import: bool) -> Result<u8, Failure> {
    let mut sources = sources(common, Need::Run)?;
    // Through the sources, so that a reload keeps them.
    for (key, wanted) in [("fleet.observe_only", observe_only), ("fleet.import", import)] {
        if wanted {
            sources.flags.insert(key.into(), "true".into());
        }
    }
    let config = read(&sources)?;
    let redactor = telemetry::Redactor::default();
    redactor.learn(&config.secrets);
    let form = telemetry::Form::of_stderr(config.log.json, &sources.environment);
    telemetry::begin(&config.log.level, form, &redactor)
        .map_err(|fault| Failure::new(exit::USAGE, chain(&fault)))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let options = Options { clock: Clock::new(), seed: fastrand::u64(..), bare: false };
    daemon::serve(config, &sources, options, &redactor).await.map_err(start_failure)?;
    Ok(exit::DONE)
}

/// What each failure to start means to the person who typed the command.
pub(super) fn start_failure(fault: StartError) -> Failure {
    let text = chain(&fault);
    match fault {
        StartError::Locked { .. } => {
            Failure::new(exit::LOCKED, text).hint("`vast-keeper status` talks to the one that runs")
        }
        StartError::Store { .. } | StartError::Journal { .. } => Failure::new(exit::BUG, text)
            .hint("nothing was changed; keep a copy of the state directory before mending it"),
        StartError::Serve { .. } => {
            Failure::new(exit::USAGE, text).hint("set another address with `--set http.listen=127.0.0.1:9311`, or the socket with `--set keeper.control_socket=…`")
        }
        StartError::Setting { .. }
        | StartError::Provider(_)
        | StartError::Remote(_)
        | StartError::Probe(_)
        | StartError::Http(_)
        | StartError::Schedule(_) => {
            Failure::new(exit::USAGE, text).hint("`vast-keeper check` lists every fault")
        }
    }
}
