//! The release that nodes should run: prepared once, shared by every deploy.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Mutex;

use super::Edges;
use crate::{
    deploy::{self, Artifact, ArtifactSource, DeployFault},
    fleet::{event::Event, journal::ReleaseRef},
};

/// Prepares the wanted release on first use and keeps it.
#[derive(Debug)]
pub struct Releases {
    source: ArtifactSource,
    prepared: Mutex<Option<Arc<Artifact>>>,
    stale: AtomicBool,
}

impl Releases {
    /// Nothing is built yet.
    #[must_use]
    pub fn new(source: ArtifactSource) -> Self {
        Self { source, prepared: Mutex::new(None), stale: AtomicBool::new(false) }
    }

    /// The wanted release; the first caller prepares it, the others wait for the same one.
    ///
    /// # Errors
    /// It cannot be built or read.
    pub async fn wanted(&self) -> Result<Arc<Artifact>, DeployFault> {
        let mut prepared = self.prepared.lock().await;
        if self.stale.swap(false, Ordering::Relaxed) {
            *prepared = None;
        }
        if let Some(artifact) = &*prepared {
            return Ok(Arc::clone(artifact));
        }
        let artifact = Arc::new(Artifact::prepare(&self.source).await?);
        tracing::info!(digest = %artifact.digest, commit = %artifact.commit, "the release is prepared");
        *prepared = Some(Arc::clone(&artifact));
        Ok(artifact)
    }

    /// Lets the next caller prepare it anew, also while one is being prepared.
    pub fn forget(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }
}

/// What the core is to hear of the wanted release, in this order.
pub(super) async fn release_events(edges: &Edges) -> Vec<Event> {
    let prepared = async {
        let artifact = edges.releases.wanted().await?;
        let access = &edges.access;
        let name = deploy::release_name(&edges.remote, &artifact, &access.server_env, &access.method)?;
        let (digest, commit) = (artifact.digest.clone(), artifact.commit.clone());
        Ok::<_, DeployFault>((name, ReleaseRef { digest, commit }))
    };
    match prepared.await {
        Ok((name, release)) => vec![Event::ReleaseNamed(name), Event::ReleasePrepared(Ok(release))],
        Err(fault) => vec![Event::ReleasePrepared(Err(fault.to_string()))],
    }
}
