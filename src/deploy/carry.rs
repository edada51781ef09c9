//! Bringing the program to the box: sent into a temporary name, read back there, and only then named.

use tokio::{fs::File, time::Instant};

use super::{
    artifact::Artifact,
    fault::DeployFault,
    request::{StepPhase, StepReport},
    run::{Run, SCRIPT_LIMIT, TRIES},
    step::Step,
};
use crate::{
    crash::{self, Point},
    remote::Upload,
};

/// The exit code of an upload that arrived damaged (`upload.sh`, `settle.sh`).
const RC_DAMAGED: i32 = 65;

impl Run<'_> {
    /// Sends the artifact, from the beginning again when the connection dies.
    pub(super) async fn upload(
        &mut self,
        artifact: &Artifact,
        upload: &Upload,
    ) -> Result<String, DeployFault> {
        let mut last = String::new();
        for _ in 0..TRIES {
            let mut file = File::open(&artifact.path).await.map_err(|error| {
                let path = artifact.path.display();
                DeployFault::Release(format!("cannot read the artifact `{path}`: {error}"))
            })?;
            let (progress, limit) = (self.progress, self.site.deadline);
            let mut shown = 0;
            let began = Instant::now();
            let mut report = |sent: u64| {
                let tenth = sent * 10 / artifact.size.max(1);
                crash::at(Point::Uploading);
                if tenth > shown {
                    shown = tenth;
                    let detail = format!("{} of {} MiB", sent >> 20, artifact.size >> 20);
                    let (step, phase) = (Step::Upload, StepPhase::Going);
                    let _ = progress.try_send(StepReport { step, phase, took: began.elapsed(), detail });
                }
            };
            match Box::pin(self.session().await?.send(&mut file, upload, &mut report, limit)).await {
                Ok(output) if output.rc == 0 => return Ok(format!("{} bytes", artifact.size)),
                Ok(output) if output.rc == RC_DAMAGED => {
                    changed_here(artifact).await?;
                    last = output.reason();
                }
                Ok(output) => {
                    return Err(DeployFault::Box(format!("cannot store the upload: {}", output.reason())));
                }
                Err(fault) => last = self.lost(Step::Upload, &fault),
            }
        }
        Err(DeployFault::Box(format!("the upload failed {TRIES} times: {last}")))
    }

    /// Has the box read the artifact back from its disk. One that was damaged on the way is sent once more.
    pub(super) async fn verify(
        &mut self,
        artifact: &Artifact,
        upload: &Upload,
    ) -> Result<String, DeployFault> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.session().await?.settle(upload, SCRIPT_LIMIT).await {
                Ok(output) if output.rc == 0 => return Ok(String::new()),
                Ok(output) if output.rc == RC_DAMAGED => {
                    changed_here(artifact).await?;
                    last = output.reason();
                    self.upload(artifact, upload).await?;
                }
                Ok(output) => {
                    return Err(DeployFault::Box(format!("cannot keep the upload: {}", output.reason())));
                }
                Err(fault) => last = self.lost(Step::Verify, &fault),
            }
        }
        Err(DeployFault::Box(format!("the upload could not be verified: {last}")))
    }
}

/// The fault, if the file here is not any more what was prepared: nothing could mend that.
async fn changed_here(artifact: &Artifact) -> Result<(), DeployFault> {
    if artifact.unchanged().await {
        return Ok(());
    }
    let path = artifact.path.display();
    Err(DeployFault::Release(format!("the artifact `{path}` changed since it was prepared")))
}
