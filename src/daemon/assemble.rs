//! From the configuration's plain words to the rooms' own types.

use std::sync::Arc;

use secrecy::ExposeSecret;

use super::StartError;
use crate::{
    alerts::{self, Channel, SigningKeys, Sink, check_url},
    clock::Clock,
    config::{Artifact, Config, SinkConfig, SinkKind},
    deploy::{self, ArtifactSource},
    engine::{BoxAccess, Edges, Releases},
    fleet::policy::{NodeSpec, Policy, RentalSpec},
    probe::Prober,
    remote::{Remote, RemoteConfig},
    vast::{Vast, VastConfig},
};

pub(super) fn sinks(config: &Config) -> Result<Vec<Sink>, StartError> {
    config.alerts.iter().map(sink).collect()
}

fn sink(config: &SinkConfig) -> Result<Sink, StartError> {
    let fault = |why: String| StartError::Setting { what: format!("alert sink `{}`: {why}", config.name) };
    let url = check_url(config.url.expose_secret()).map_err(|why| fault(why.to_string()))?;
    let channel = match config.kind {
        SinkKind::Slack => Channel::Slack { url },
        SinkKind::Discord => Channel::Discord { url },
        SinkKind::Webhook => {
            let keys = config.signing_key.as_ref().map(|key| key.expose_secret().parse::<SigningKeys>());
            let keys = keys.transpose().map_err(|why| fault(why.to_string()))?;
            Channel::Webhook { url, headers: Default::default(), keys }
        }
    };
    Ok(Sink {
        name: config.name.clone(),
        minimum: config.min_severity,
        topics: config.topics.clone(),
        channel,
        timeout: alerts::TIMEOUT,
    })
}

/// The policy as it runs: a box that reboots brings its server back by itself, before anything of the user's own.
pub(super) fn policy(config: &Config) -> Policy {
    let mut policy = config.policy.clone();
    for spec in policy.nodes.values_mut() {
        let onstart = match &spec.rental.onstart {
            None => deploy::ONSTART.to_owned(),
            Some(own) => format!("{}\n{own}", deploy::ONSTART),
        };
        let rental = RentalSpec { onstart: Some(onstart), ..spec.rental.clone() };
        *spec = Arc::new(NodeSpec { rental, ..NodeSpec::clone(spec) });
    }
    policy
}

pub(super) fn edges(
    config: &Config,
    clock: Clock,
    prober: Prober,
    http: reqwest::Client,
) -> Result<Edges, StartError> {
    let api_key = config.provider.api_key.clone();
    let api_key = api_key.ok_or_else(|| StartError::Setting { what: "`VAST_API_KEY` is not set".into() })?;
    let vast = Vast::new(VastConfig {
        base_url: config.provider.base_url.clone(),
        api_key,
        clock,
        timeout: config.provider.timeout,
        pacing: config.provider.pacing,
    })?;
    let remote = Remote::new(RemoteConfig {
        connect_timeout: config.ssh.connect_timeout,
        alive_interval: config.ssh.alive_interval,
        ..RemoteConfig::new(config.ssh.key_file.clone(), config.state_dir.join("hosts"))
    })?;
    let access = BoxAccess {
        user: config.ssh.user.clone(),
        server_env: config.deploy.env.clone(),
        keep: config.deploy.keep as usize,
        gate_healthy: config.deploy.gate_healthy,
        gate_within: config.deploy.gate_within,
        connect_budget: config.ssh.connect_budget,
    };
    let releases = Releases::new(artifact(&config.deploy.artifact));
    Ok(Edges { vast: Arc::new(vast), remote: Arc::new(remote), prober, releases, http, access })
}

fn artifact(artifact: &Artifact) -> ArtifactSource {
    match artifact {
        Artifact::File(path) => ArtifactSource::File(path.clone()),
        Artifact::Build { workspace, package, portable } => ArtifactSource::Build {
            workspace: workspace.clone(),
            package: package.clone(),
            profile: "release".into(),
            portable: *portable,
        },
    }
}
