//! The release that nodes should run: prepared once, shared by every deploy.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::deploy::{Artifact, ArtifactSource, DeployFault};

/// Prepares the wanted release on first use and keeps it.
#[derive(Debug)]
pub struct Releases {
    source: ArtifactSource,
    prepared: Mutex<Option<Arc<Artifact>>>,
}

impl Releases {
    /// Nothing is built yet.
    #[must_use]
    pub fn new(source: ArtifactSource) -> Self {
        Self { source, prepared: Mutex::new(None) }
    }

    /// The wanted release; the first caller prepares it, the others wait for the same one.
    ///
    /// # Errors
    /// It cannot be built or read.
    pub async fn wanted(&self) -> Result<Arc<Artifact>, DeployFault> {
        let mut prepared = self.prepared.lock().await;
        if let Some(artifact) = &*prepared {
            return Ok(Arc::clone(artifact));
        }
        let artifact = Arc::new(Artifact::prepare(&self.source).await?);
        tracing::info!(digest = %artifact.digest, commit = %artifact.commit, "the release is prepared");
        *prepared = Some(Arc::clone(&artifact));
        Ok(artifact)
    }

    /// Lets the next deploy prepare it anew.
    pub fn forget(&self) {
        if let Ok(mut prepared) = self.prepared.try_lock() {
            *prepared = None;
        }
    }
}
