//! Which release a command puts on boxes: the configured one, or one that is kept since it was verified.

use std::sync::Arc;

use super::{
    boxes::{Filled, Fleet},
    exit::{self, Failure},
    release::maintenance,
};
use crate::{
    deploy::{self, Artifact, DeployFault, DeployRequest, Method, Restart},
    engine::ServerEnv,
    fleet::{deployed::Placed, rollout::Terms},
};

/// Kept releases that are named where none or several fit.
const NAMED_SHOWN: usize = 5;

/// What is to be put on a box.
#[derive(Debug, Clone)]
pub(super) struct Release {
    pub placed: Placed,
    pub artifact: Arc<Artifact>,
    pub env: ServerEnv,
    /// How it is put on a box.
    pub method: Method,
}

impl Release {
    /// The configured release, built or read.
    pub(super) async fn configured(fleet: &Fleet) -> Result<Self, Failure> {
        let refused = |fault: DeployFault| Failure::new(exit::REFUSED, fault.to_string());
        let artifact = fleet.edges.releases.wanted().await.map_err(refused)?;
        let env = fleet.edges.access.server_env.clone();
        Self::of(fleet, artifact, env)
    }

    /// One that is kept here since it was verified, by the beginning of its name or by its commit.
    pub(super) async fn named(fleet: &Fleet, name: &str) -> Result<Self, Failure> {
        let unreadable = |fault: std::io::Error| {
            Failure::new(exit::REFUSED, format!("the kept releases cannot be read: {fault}"))
        };
        let found = fleet.edges.shelf.named(name).await.map_err(unreadable)?;
        let refused = |why: &str, known: &[Placed]| {
            let known = known.iter().map(|placed| format!("{} (commit {})", placed.name, placed.commit));
            let known: Vec<String> = known.take(NAMED_SHOWN).collect();
            let hint = if known.is_empty() {
                "none was verified yet; without `--release` the configured one is deployed".to_owned()
            } else {
                format!("kept are {}", known.join(", "))
            };
            Failure::new(exit::REFUSED, format!("{why} `{name}`")).hint(hint)
        };
        match found.as_slice() {
            [placed] => {
                let taken = Self::kept(fleet, placed).await.map_err(unreadable)?;
                taken.ok_or_else(|| refused("no release is kept that is named like", &[]))
            }
            [] => {
                let all = fleet.edges.shelf.named("").await.map_err(unreadable)?;
                Err(refused("no release is kept that is named like", &all))
            }
            several => Err(refused("more than one kept release is named like", several)),
        }
    }

    /// That very release from the keeper's own copy, if it is there.
    pub(super) async fn kept(fleet: &Fleet, placed: &Placed) -> std::io::Result<Option<Self>> {
        let taken = fleet.edges.shelf.take(&placed.name).await?;
        let now = &fleet.edges.access.method;
        Ok(taken.map(|kept| {
            let method = kept.method.map_or_else(|| now.clone(), |then| then.under(now));
            Self { placed: placed.clone(), artifact: kept.artifact, env: kept.env, method }
        }))
    }

    /// A program with settings.
    pub(super) fn of(fleet: &Fleet, artifact: Arc<Artifact>, env: ServerEnv) -> Result<Self, Failure> {
        let method = fleet.edges.access.method.clone();
        let name = deploy::release_name(&fleet.edges.remote, &artifact, &env, &method);
        let name = name.map_err(|fault| Failure::new(exit::REFUSED, fault.to_string()))?;
        let placed = Placed { name, digest: artifact.digest.clone(), commit: artifact.commit.clone() };
        Ok(Self { placed, artifact, env, method })
    }

    /// Keeps it where the keeper finds it, so that it is the very same whoever deploys it later.
    pub(super) async fn keep(&self, fleet: &Fleet) -> std::io::Result<()> {
        fleet.edges.shelf.put(&self.placed, &self.artifact, &self.env, &self.method).await
    }

    /// What a deploy of it to one box is asked for with; none where the node is not configured any more.
    pub(super) fn request(&self, fleet: &Fleet, filled: &Filled, terms: &Terms) -> Option<DeployRequest> {
        let mut site = fleet.site(filled, terms.wait_lock)?;
        let commit = &self.artifact.commit;
        site.gate.expect_commit = (commit != "unknown").then(|| commit.clone());
        Some(DeployRequest {
            site,
            method: self.method.clone(),
            artifact: Arc::clone(&self.artifact),
            env: self.env.clone(),
            restart: if terms.restart { Restart::Always } else { Restart::IfChanged },
            force: terms.force,
            maintenance: maintenance(fleet, terms.unrest),
            smoke: fleet.edges.access.smoke.clone(),
        })
    }

    /// Refuses a release that the fleet went back from, or that healing found at fault.
    pub(super) fn unless_shunned(&self, fleet: &Fleet) -> Result<(), Failure> {
        let quarantined = fleet.known.quarantine.get(&self.placed.name).map(|shunned| {
            let (name, node, why) = (&self.placed.name, &shunned.node, &shunned.why);
            format!("release {name} is quarantined since `{node}` went back from it: {why}")
        });
        match quarantined.or_else(|| fleet.known.fault_of(&self.placed.digest)) {
            Some(words) => Err(Failure::new(exit::REFUSED, words)
                .hint("`--force` deploys it all the same; another release needs no force")),
            None => Ok(()),
        }
    }
}
