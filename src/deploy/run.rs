//! Carrying out the plan, step by step, over a connection that may die at any moment.

use std::{sync::Arc, time::Duration};

use tokio::{
    fs::File,
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    artifact::Artifact,
    env_file::{env_file, mask},
    fault::DeployFault,
    gate::Status,
    plan::{Assessment, Step, plan},
    request::{DeployRequest, StepPhase, StepReport},
};
use crate::{
    crash::{self, Point},
    fleet::journal::ReleaseRef,
    remote::{Output, Remote, RunFault, Script, Session, Upload},
};

/// Limit for one script; the slowest stops a server that takes its time and hashes a release on a slow disk.
const SCRIPT_LIMIT: Duration = Duration::from_secs(120);
/// Limit for a look at the supervisor.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// How often a step is tried when its connection dies. Every step is idempotent, so a repetition is harmless.
const TRIES: u32 = 3;
/// The exit code of an upload that arrived damaged (`upload.sh`, `settle.sh`).
const RC_DAMAGED: i32 = 65;

/// A script of ours behind the common prologue.
macro_rules! script {
    ($name:literal) => {
        $crate::remote::Script::new(concat!(
            include_str!("scripts/prologue.sh"),
            include_str!(concat!("scripts/", $name))
        ))
    };
}
pub(super) use script;

/// Deploys to one box. Idempotent: killed anywhere and called again, it converges. Dropping the future stops it between
/// two steps; what the box is doing at that moment it finishes by itself, within that script's limit.
///
/// # Errors
/// [`DeployFault`] tells whose fault it is; nothing is rolled back.
pub async fn deploy(
    remote: &Remote,
    request: &DeployRequest,
    progress: &mpsc::Sender<StepReport>,
) -> Result<ReleaseRef, DeployFault> {
    let artifact = &request.artifact;
    let incoming = format!("keeper/incoming/{}", artifact.name());
    let upload = Upload::new(incoming, artifact.size, artifact.digest.clone());
    let mut run =
        Run { remote, request, progress, session: None, upload, switched: false, steps: Vec::new() };
    let result = match timeout(request.deadline, run.all()).await {
        Ok(result) => result,
        Err(_) => {
            let step = run.steps.last().copied().unwrap_or(Step::Connect);
            let detail =
                format!("the step `{step}` did not end within the deploy's {} s", request.deadline.as_secs());
            Err(DeployFault::unreached(detail, run.switched))
        }
    };
    if let Some(session) = run.session.take() {
        session.close().await;
    }
    result
}

/// A deploy under way.
pub(super) struct Run<'a> {
    remote: &'a Remote,
    pub(super) request: &'a DeployRequest,
    progress: &'a mpsc::Sender<StepReport>,
    session: Option<Session>,
    /// The artifact's way to the box; kept, for its second half may be repeated over another connection.
    upload: Upload,
    /// Whether the switch was begun: from there on, what serves is not known without looking.
    switched: bool,
    steps: Vec<Step>,
}

impl Run<'_> {
    async fn all(&mut self) -> Result<ReleaseRef, DeployFault> {
        let artifact: Arc<Artifact> = self.request.artifact.clone();
        // Faults of the configuration are found before the box is touched.
        let settings = env_file(&self.request.env, &self.request.op, self.request.server_port)?;
        let began = self.begin(Step::Connect);
        self.session().await?;
        self.finish(Step::Connect, began, self.by_which_way());

        let began = self.begin(Step::Assess);
        let output = self.script(Step::Assess, self.named(script!("assess.sh")), b"").await?;
        let found = Assessment::read(&output.stdout).map_err(DeployFault::Box)?;
        let steps = plan(self.request.strategy, &found, artifact.size, artifact.arch.as_deref())?;
        self.finish(Step::Assess, began, format!("{} MiB free", found.free_bytes >> 20));

        let mut started = 0;
        for step in steps {
            let began = self.begin(step);
            let detail = match step {
                Step::Connect | Step::Assess => String::new(),
                Step::Upload => self.upload().await?,
                Step::Verify => self.verify().await?,
                Step::Seal => self.done(step, script!("seal.sh"), b"").await?,
                Step::WriteEnv => self.done(step, script!("write_env.sh"), settings.as_bytes()).await?,
                Step::Switch => {
                    self.switched = true;
                    self.done(step, script!("switch.sh"), b"").await?
                }
                Step::Start => {
                    let output =
                        self.done(step, script!("start.sh"), super::control::SUPERVISOR.as_bytes()).await?;
                    started = super::control::began(&output).map_err(DeployFault::Box)?;
                    String::new()
                }
                Step::Gate => self.gate(started).await?,
                Step::Prune => {
                    let script = script!("prune.sh").value("keep", self.request.keep.max(1).to_string());
                    self.prune(script).await
                }
            };
            self.finish(step, began, detail.trim().to_owned());
        }
        Ok(ReleaseRef { digest: artifact.digest.clone(), commit: artifact.commit.clone() })
    }

    /// Sends the artifact, from the beginning again when the connection dies.
    async fn upload(&mut self) -> Result<String, DeployFault> {
        let artifact = self.request.artifact.clone();
        let mut last = String::new();
        for _ in 0..TRIES {
            let mut file = File::open(&artifact.path).await.map_err(|error| {
                DeployFault::Release(format!(
                    "cannot read the artifact `{}`: {error}",
                    artifact.path.display()
                ))
            })?;
            let (progress, upload, limit) = (self.progress, self.upload.clone(), self.request.deadline);
            let mut shown = 0;
            let mut report = |sent: u64| {
                let tenth = sent * 10 / artifact.size.max(1);
                crash::at(Point::Uploading);
                if tenth > shown {
                    shown = tenth;
                    let detail = format!("{} of {} MiB", sent >> 20, artifact.size >> 20);
                    let _ =
                        progress.try_send(StepReport { step: Step::Upload, phase: StepPhase::Going, detail });
                }
            };
            match self.session().await?.send(&mut file, &upload, &mut report, limit).await {
                Ok(output) if output.rc == 0 => return Ok(format!("{} bytes", artifact.size)),
                Ok(output) if output.rc == RC_DAMAGED => {
                    self.changed_here().await?;
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
    async fn verify(&mut self) -> Result<String, DeployFault> {
        let mut last = String::new();
        for _ in 0..TRIES {
            let upload = self.upload.clone();
            match self.session().await?.settle(&upload, SCRIPT_LIMIT).await {
                Ok(output) if output.rc == 0 => return Ok(String::new()),
                Ok(output) if output.rc == RC_DAMAGED => {
                    self.changed_here().await?;
                    last = output.reason();
                    self.upload().await?;
                }
                Ok(output) => {
                    return Err(DeployFault::Box(format!("cannot keep the upload: {}", output.reason())));
                }
                Err(fault) => last = self.lost(Step::Verify, &fault),
            }
        }
        Err(DeployFault::Box(format!("the upload could not be verified: {last}")))
    }

    /// The fault, if the file here is not any more what was prepared: nothing could mend that.
    async fn changed_here(&self) -> Result<(), DeployFault> {
        let artifact = &self.request.artifact;
        if artifact.unchanged().await {
            return Ok(());
        }
        let path = artifact.path.display();
        Err(DeployFault::Release(format!("the artifact `{path}` changed since it was prepared")))
    }

    /// The release serves already; what cannot be tidied up now is tidied up by the next deploy.
    async fn prune(&mut self, script: Script) -> String {
        match self.done(Step::Prune, script, b"").await {
            Ok(output) => output,
            Err(fault) => {
                tracing::warn!(node = %self.request.node, fault = %fault, "cannot prune old releases");
                "left for the next deploy".into()
            }
        }
    }

    /// Runs a step's script; a non-zero exit code is the box's fault.
    async fn done(&mut self, step: Step, script: Script, input: &[u8]) -> Result<String, DeployFault> {
        let script = self.named(script).value("size", input.len().to_string());
        Ok(self.script(step, script, input).await?.stdout)
    }

    /// The values that every script may use.
    fn named(&self, script: Script) -> Script {
        let artifact = &self.request.artifact;
        script
            .value("name", artifact.name())
            .value("digest", artifact.digest.as_str())
            .value("commit", artifact.commit.as_str())
    }

    async fn script(&mut self, step: Step, script: Script, input: &[u8]) -> Result<Output, DeployFault> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.session().await?.run(&script, input, SCRIPT_LIMIT).await {
                Ok(output) if output.rc == 0 => return Ok(output),
                Ok(output) => {
                    let words = mask(&output.reason(), &self.request.env);
                    return Err(DeployFault::Box(format!("the step `{step}` failed: {words}")));
                }
                Err(fault) => {
                    // The connection is not trusted any more; the step looks for itself what it finds done.
                    last = self.lost(step, &fault);
                }
            }
        }
        Err(DeployFault::unreached(format!("the step `{step}` has no known end: {last}"), self.switched))
    }

    fn lost(&mut self, step: Step, fault: &RunFault) -> String {
        tracing::debug!(node = %self.request.node, %step, fault = %fault, "connecting again");
        self.session = None;
        fault.to_string()
    }

    /// What the supervisor tells; `None` if the box cannot be asked now.
    pub(super) async fn status(&mut self) -> Option<Status> {
        let script = script!("control.sh").value("verb", "status");
        let result = self.session().await.ok()?.run(&script, b"", LOOK_LIMIT).await;
        match result {
            Ok(output) if output.rc == 0 => Some(Status::read(&output.stdout)),
            Ok(_) => None,
            Err(fault) => {
                self.lost(Step::Gate, &fault);
                None
            }
        }
    }

    /// The session, or a new one.
    async fn session(&mut self) -> Result<&Session, DeployFault> {
        if self.session.is_none() {
            let budget = self.request.connect_budget;
            let connected = self.remote.connect(&self.request.address(), budget).await;
            self.session = Some(connected.map_err(|fault| DeployFault::connect(&fault, self.switched))?);
        }
        self.session.as_ref().ok_or_else(|| DeployFault::unreached("no session".into(), self.switched))
    }

    fn by_which_way(&self) -> String {
        let endpoint = self.session.as_ref().map(Session::endpoint);
        endpoint.map(|endpoint| format!("{}:{}", endpoint.host, endpoint.port)).unwrap_or_default()
    }

    fn begin(&mut self, step: Step) -> Instant {
        self.steps.push(step);
        self.report(step, StepPhase::Started, String::new());
        Instant::now()
    }

    fn finish(&self, step: Step, began: Instant, detail: String) {
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (node, instance) = (&self.request.node, self.request.instance);
        tracing::info!(%node, %instance, %step, elapsed_ms, detail, "deploy step done");
        crash::at(Point::Deployed(step.word()));
        self.report(step, StepPhase::Finished, detail);
    }

    fn report(&self, step: Step, phase: StepPhase, detail: String) {
        // A reader that lags misses a line; it must not hold the deploy up.
        let _ = self.progress.try_send(StepReport { step, phase, detail });
    }
}
