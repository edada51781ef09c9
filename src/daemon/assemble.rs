//! From the configuration's plain words to the rooms' own types.

use std::{collections::BTreeMap, sync::Arc};

use secrecy::ExposeSecret;

use super::StartError;
use crate::{
    alerts::{self, Channel, SigningKeys, Sink, check_url},
    clock::Clock,
    config::{self, Artifact, Config, Keeping, Made, Origin, RestTimeout, SinkConfig, SinkKind},
    deploy::{
        self, ArtifactSource, Backup, Download, ImagePull, Maintenance, Manager, Method, Migrate, OnTimeout,
        Recipe, Schema, Smoke, Source, Strategy, TreeBuild,
    },
    engine::{BoxAccess, Edges, EvidenceRoom, Publisher, Releases, Shelf},
    fleet::{
        name::NodeName,
        notice::Notice,
        policy::{NodeSpec, Policy, RentalSpec},
    },
    probe::Prober,
    remote::{Remote, RemoteConfig},
    store::Addressed,
    telemetry::Redactor,
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

/// Notices with the sinks that get them.
///
/// # Errors
/// A sink's URL or key is not one.
pub fn addressed(config: &Config, notices: Vec<Notice>) -> Result<Vec<Addressed>, StartError> {
    let sinks = sinks(config)?;
    let address = |notice: Notice| Addressed { sinks: alerts::route(&sinks, &notice), notice };
    Ok(notices.into_iter().map(address).collect())
}

/// The policy as it runs: a box that reboots brings its server back by itself, before anything of the user's own.
pub(super) fn policy(config: &Config) -> Policy {
    let mut policy = config.policy.clone();
    bring_servers_back(&mut policy.nodes, &config.provider.base_url);
    policy
}

fn bring_servers_back(nodes: &mut BTreeMap<NodeName, Arc<NodeSpec>>, base_url: &url::Url) {
    // Nodes of one group share their specification before and after: thousands of copies would be most of the memory.
    let mut shared: Vec<(Arc<NodeSpec>, Arc<NodeSpec>)> = Vec::new();
    for spec in nodes.values_mut() {
        let known = shared.iter().find(|(before, _)| Arc::ptr_eq(before, spec));
        let after =
            known.map_or_else(|| Arc::new(with_onstart(spec, base_url)), |(_, after)| Arc::clone(after));
        let before = std::mem::replace(spec, Arc::clone(&after));
        if shared.iter().all(|(known, _)| !Arc::ptr_eq(known, &before)) {
            shared.push((before, after));
        }
    }
}

fn with_onstart(spec: &NodeSpec, base_url: &url::Url) -> NodeSpec {
    let switch = spec.rental.dead_mans_switch.map(|after| deploy::dead_mans_switch(after, base_url));
    let parts = [Some(deploy::ONSTART), switch.as_deref(), spec.rental.onstart.as_deref()];
    let onstart = parts.into_iter().flatten().collect::<Vec<_>>().join("\n");
    let rental = RentalSpec { onstart: Some(onstart), ..spec.rental.clone() };
    NodeSpec { rental, ..spec.clone() }
}

/// The provider and the boxes: what work on a box by hand needs, too.
pub struct Boxes {
    /// The provider.
    pub vast: Arc<Vast>,
    /// The boxes.
    pub remote: Arc<Remote>,
    /// The release.
    pub releases: Releases,
    /// Releases that were verified, kept.
    pub shelf: Shelf,
    /// How boxes are reached.
    pub access: BoxAccess,
}

pub(super) fn edges(
    config: &Config,
    clock: Clock,
    prober: Prober,
    http: reqwest::Client,
) -> Result<Edges, StartError> {
    let Boxes { vast, remote, releases, shelf, access } = boxes(config, clock)?;
    let redactor = Redactor::default();
    redactor.learn(&config.secrets);
    let evidence = EvidenceRoom {
        folder: config.state_dir.join("evidence"),
        scrub: Arc::new(move |text| redactor.redact(text).into_owned()),
    };
    let publish = &config.publish;
    let publisher =
        Publisher { file: publish.file.clone(), command: publish.command.clone(), url: publish.url.clone() };
    Ok(Edges { vast, remote, prober, releases, shelf, publisher, http, access, evidence })
}

/// Reaches nobody yet.
///
/// # Errors
/// What the configuration's own check cannot see: a key file that is none, a directory that cannot be made.
pub fn boxes(config: &Config, clock: Clock) -> Result<Boxes, StartError> {
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
        gate_steady: config.deploy.gate_steady,
        gate_within: config.deploy.gate_within,
        confirm_within: config.deploy.confirm_within,
        maintenance: maintenance(config),
        smoke: smoke(config)?,
        method: method(config)?,
        connect_budget: config.ssh.connect_budget,
    };
    let releases = Releases::new(artifact(config));
    let shelf = Shelf::new(&config.state_dir);
    Ok(Boxes { vast: Arc::new(vast), remote: Arc::new(remote), releases, shelf, access })
}

/// How a release is put on a box.
fn method(config: &Config) -> Result<Method, StartError> {
    let method = &config.deploy.method;
    let limit = method.command_within;
    let backup = Backup {
        command: method.backup_command.clone(),
        check: method.backup_check.clone(),
        restore: method.restore_command.clone(),
        keep: method.backups_kept,
        limit,
    };
    let migrate = Migrate {
        status: method.migrate_status.clone(),
        run: method.migrate_run.clone(),
        validate: method.migrate_validate.clone(),
        files: method.migrate_files.clone(),
        risky: method.migrate_risky,
        limit,
    };
    let schema = method.schema.map(|version| Schema { version, floor: method.schema_floor });
    let within = method.build_within;
    let strategy = match &method.origin {
        Origin::Git { url, build, made: Made::OnBox(_), .. } => {
            Strategy::Git(TreeBuild { url: url.clone(), build: build.clone(), limit: within })
        }
        Origin::Image { image, archive, engine, .. } => Strategy::Docker(ImagePull {
            engine: engine.clone(),
            image: image.clone(),
            archive: archive.is_some(),
            limit: within,
        }),
        Origin::Artifact | Origin::Git { made: Made::Here(_), .. } => Strategy::Artifact,
    };
    let fault =
        |text: &str, why: String| StartError::Setting { what: format!("`deploy.required`: `{text}` {why}") };
    let required = method.required.iter().map(|text| text.parse().map_err(|why| fault(text, why)));
    let required = required.collect::<Result<_, _>>()?;
    Ok(Method { strategy, manager: manager(method), backup, migrate, adopt: method.adopt, required, schema })
}

fn manager(method: &config::Method) -> Manager {
    let service = method.service.clone();
    match (method.manager.kind, &method.origin) {
        (Keeping::Systemd, _) => Manager::Systemd { service },
        (Keeping::Pm2, _) => Manager::Pm2 { service },
        (Keeping::Docker, Origin::Image { image, engine, options, .. }) => Manager::Docker {
            engine: engine.clone(),
            service,
            image: image.clone(),
            options: options.clone(),
        },
        (Keeping::Command, _) => {
            let [start, stop, status, pid] = method.manager.commands.clone().map(Option::unwrap_or_default);
            Manager::Command { start, stop, status: (!status.is_empty()).then_some(status), pid }
        }
        (Keeping::Supervised | Keeping::Docker, _) => Manager::Supervised,
    }
}

fn smoke(config: &Config) -> Result<Smoke, StartError> {
    let deploy = &config.deploy;
    let fault = |why: String| StartError::Setting { what: format!("`deploy.smoke`: {why}") };
    let checks = deploy.smoke.iter().map(|text| text.parse().map_err(fault)).collect::<Result<_, _>>()?;
    Ok(Smoke {
        checks,
        expected: deploy.log_expected.clone(),
        errors: deploy.log_errors.clone(),
        ignored: deploy.log_ignored.clone(),
    })
}

/// How servers are brought to rest before a deploy. Where a person should be asked there is none in the daemon.
fn maintenance(config: &Config) -> Option<Maintenance> {
    let deploy = &config.deploy;
    let on_timeout = match deploy.maintenance_timeout {
        RestTimeout::Proceed => OnTimeout::Proceed,
        RestTimeout::Abort | RestTimeout::Ask => OnTimeout::Abort,
    };
    let code = deploy.admin_code.clone()?;
    Some(Maintenance { code, wait: deploy.maintenance_wait, on_timeout })
}

fn artifact(config: &Config) -> ArtifactSource {
    let method = &config.deploy.method;
    let folder = config.state_dir.join("recipes");
    match &method.origin {
        Origin::Artifact => {}
        Origin::Git { url, rev, build, made } => {
            let source = Source { url: url.clone(), rev: rev.clone(), build: build.clone() };
            let recipe = match made {
                Made::OnBox(run) => Recipe::Tree { source, run: run.clone() },
                Made::Here(output) => {
                    Recipe::Built { source, output: output.clone(), limit: method.build_within }
                }
            };
            return ArtifactSource::Recipe(recipe, folder);
        }
        Origin::Image { image, archive, commit, .. } => {
            let commit = commit.clone();
            let recipe = match archive {
                Some(file) => Recipe::Archive { file: file.clone(), commit },
                None => Recipe::Image { image: image.clone(), commit },
            };
            return ArtifactSource::Recipe(recipe, folder);
        }
    }
    match &config.deploy.artifact {
        Artifact::Url { url, sha256 } => ArtifactSource::Url(Download {
            url: url.clone(),
            sha256: sha256.clone(),
            folder: config.state_dir.join("artifacts"),
        }),
        Artifact::File(path) => ArtifactSource::File(path.clone()),
        Artifact::Build { workspace, package, portable } => ArtifactSource::Build {
            workspace: workspace.clone(),
            package: package.clone(),
            profile: "release".into(),
            portable: *portable,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::bring_servers_back;

    #[test]
    fn nodes_of_one_group_share_what_they_must_be() {
        let spec = Arc::default();
        let group = ["duel-0", "duel-1"].map(|name| (name.parse().unwrap(), Arc::clone(&spec)));
        let mut nodes: BTreeMap<_, _> = group.into();
        nodes.insert("other".parse().unwrap(), Arc::default());
        bring_servers_back(&mut nodes, &"https://console.vast.ai".parse().unwrap());
        let of = |name: &str| &nodes[&name.parse().unwrap()];
        assert!(Arc::ptr_eq(of("duel-0"), of("duel-1")) && !Arc::ptr_eq(of("duel-0"), of("other")));
        assert!(of("other").rental.onstart.is_some());
    }
}
