//! Carrying out steps on one box, over a connection that may die at any moment.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{
    control,
    env_file::mask,
    fault::DeployFault,
    gate::Status,
    lease::{LEASE, Lease, RC_HELD},
    method::Schema,
    request::{Gate, Site, StepPhase, StepReport, StepTime},
    rest::Held,
    step::Step,
};
use crate::{
    crash::{self, Point},
    remote::{Output, Remote, RunFault, Script, Session},
};

/// Limit for one script; the slowest stops a server that takes its time and hashes a release on a slow disk.
pub(super) const SCRIPT_LIMIT: Duration = Duration::from_secs(120);
/// Limit for a look at the supervisor.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// How often a step is tried when its connection dies. Every step is idempotent, so a repetition is harmless.
pub(super) const TRIES: u32 = 3;
/// How long the lease may last while an upload is under way.
const UPLOAD_LEASE: Duration = Duration::from_secs(900);
/// How often another deploy's lease is looked at while it is waited for.
const LOCK_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Limit for the new connection over which a release is confirmed, where none shorter is configured: the box was reached a moment
/// ago.
const CONFIRM_BUDGET: Duration = Duration::from_secs(45);

/// The commit of a release that was taken over (`adopt.sh`): nobody knows it.
const ADOPTED: &str = "adopted";

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

/// Work on a box under way.
pub(super) struct Run<'a> {
    remote: &'a Remote,
    pub(super) site: &'a Site,
    /// Whose values are masked in what the box says.
    pub(super) secrets: &'a BTreeMap<String, SecretString>,
    pub(super) progress: &'a mpsc::Sender<StepReport>,
    session: Option<Session>,
    /// Our claim to the box; `None` for work that only looks.
    lease: Option<Lease>,
    /// Whether the switch was begun: from there on, what serves is not known without looking.
    pub(super) switched: bool,
    /// When the server was last started, in seconds of the box's clock.
    pub(super) began: Option<u64>,
    /// How long rest is waited for.
    pub(super) waits: Duration,
    /// The server, while we hold it in maintenance.
    pub(super) held: Option<Held>,
    /// The reason for which an earlier deploy put it there and never let it go.
    pub(super) owed: Option<String>,
    /// What was changing the data, now or when it was cut or failed: no server is let go on before it is whole.
    pub(super) half_way: Option<String>,
    /// The admin code with which the server that runs was started; another one may be wanted by now.
    pub(super) code_before: Option<SecretString>,
    /// The release that serves, as it was found; empty for none.
    pub(super) current: String,
    /// Process and program of whoever else listens where the server is to.
    pub(super) foreign: Option<String>,
    /// The backup that was taken before anything changed.
    pub(super) backup: Option<String>,
    /// The verified release to which the box cannot go back, because it cannot read the schema of now.
    pub(super) blocked: Option<String>,
    pub(super) taken: Vec<StepTime>,
    /// Scripts that were sent and connections that were made: each costs at least the way to the box and back.
    pub(super) round_trips: u32,
    /// The step under way, and since when.
    pub(super) under_way: Option<(Step, Instant)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        remote: &'a Remote,
        site: &'a Site,
        secrets: &'a BTreeMap<String, SecretString>,
        progress: &'a mpsc::Sender<StepReport>,
    ) -> Self {
        let (taken, under_way, backup, blocked) = (Vec::new(), None, None, None);
        let (session, switched, began, held, owed) = (None, false, None, None, None);
        let lease = None;
        Self {
            remote,
            site,
            secrets,
            progress,
            session,
            lease,
            switched,
            began,
            waits: Duration::ZERO,
            held,
            owed,
            half_way: None,
            code_before: None,
            current: String::new(),
            foreign: None,
            backup,
            blocked,
            taken,
            round_trips: 0,
            under_way,
        }
    }

    /// The same for work that changes the box, and therefore needs its lease.
    pub(super) fn leasing(self) -> Self {
        Self { lease: Some(Lease::new(&self.site.by)), ..self }
    }

    /// Gives the lease back and closes the connection; what the box is doing at that moment it finishes by itself.
    pub(super) async fn close(mut self) {
        if let (Some(lease), Some(session)) = (&self.lease, &self.session)
            && lease.granted
        {
            let script = script!("lease.sh").value("verb", "release").value("token", lease.token.as_str());
            if let Err(fault) = session.run(&script, b"", LOOK_LIMIT).await {
                tracing::debug!(node = %self.site.node, %fault, "the lease runs out by itself");
            }
        }
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// The fault of work that its deadline has ended.
    pub(super) fn too_late(&self) -> DeployFault {
        let step = self.under_way.map_or(Step::Connect, |(step, _)| step);
        let limit = self.site.deadline.as_secs();
        let detail = format!("the step `{step}` did not end within the deploy's {limit} s");
        DeployFault::unreached(detail, self.switched)
    }

    pub(super) async fn connect(&mut self) -> Result<(), DeployFault> {
        self.begin(Step::Connect);
        self.session().await?;
        let endpoint = self.session.as_ref().map(Session::endpoint);
        self.finish(
            endpoint.map(|endpoint| format!("{}:{}", endpoint.host, endpoint.port)).unwrap_or_default(),
        );
        Ok(())
    }

    /// Points `current` at a sealed release, on trial. With a schema, that is what the data has from now on. Where somebody asked
    /// for the way back, the box remembers it, so that the same wish leads there again when this keeper dies.
    pub(super) async fn switch(
        &mut self,
        name: &str,
        schema: Option<Schema>,
        returning: bool,
    ) -> Result<(), DeployFault> {
        self.switched = true;
        let words = schema.map(|schema| format!("{} {}", schema.version, schema.floor)).unwrap_or_default();
        let script = script!("switch.sh")
            .value("name", name)
            .value("trial", self.trial())
            .value("schema", words)
            .value("returning", if returning { "yes" } else { "no" });
        let told = self.done(Step::Switch, script, b"").await?;
        self.half_way = None;
        self.blocked = told.lines().find_map(|line| line.strip_prefix("blocked=")).map(str::to_owned);
        Ok(())
    }

    /// Restarts the server. Returns when it was started, in seconds of the box's clock.
    pub(super) async fn start(&mut self, name: &str) -> Result<u64, DeployFault> {
        let script = script!("start.sh").value("name", name).value("trial", self.trial());
        let output = self.done(Step::Start, script, control::SUPERVISOR.as_bytes()).await?;
        control::began(&output).map_err(DeployFault::Box)
    }

    fn trial(&self) -> String {
        self.site.trial().as_secs().to_string()
    }

    /// Ends the trial, over a connection made for it: a release that cuts us off from the box must not stay.
    pub(super) async fn confirm(&mut self, name: &str) -> Result<String, DeployFault> {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
        let address = self.site.address();
        let budget = CONFIRM_BUDGET.min(self.site.connect_budget);
        let connected = Box::pin(self.remote.connect(&address, budget)).await;
        self.session = Some(connected.map_err(|fault| DeployFault::connect(&fault, true))?);
        let script = script!("confirm.sh").value("name", name).value("by", self.site.by.as_str());
        self.done(Step::Confirm, script, b"").await
    }

    /// What serves already; what cannot be tidied up now is tidied up by the next deploy.
    pub(super) async fn prune(&mut self) -> String {
        let script = script!("prune.sh").value("keep", self.site.keep.max(1).to_string());
        match self.done(Step::Prune, script, b"").await {
            Ok(output) => output,
            Err(fault) => {
                tracing::warn!(node = %self.site.node, fault = %fault, "cannot prune old releases");
                "left for the next deploy".into()
            }
        }
    }

    /// Runs a step's script; a non-zero exit code is the box's fault.
    pub(super) async fn done(
        &mut self,
        step: Step,
        script: Script,
        input: &[u8],
    ) -> Result<String, DeployFault> {
        let script = script.value("size", input.len().to_string());
        Ok(self.script(step, script, input).await?.stdout)
    }

    /// A script for which another deploy's lease is waited for: the first one.
    pub(super) async fn patiently(&mut self, step: Step, script: Script) -> Result<Output, DeployFault> {
        let end = Instant::now() + self.site.wait_lock;
        loop {
            match self.script(step, script.clone(), b"").await {
                Err(DeployFault::Locked(_)) if Instant::now() < end => sleep(LOCK_LOOK_EVERY).await,
                result => return result,
            }
        }
    }

    /// How long the lease must last after that step: until the next script.
    fn lasting(&self, step: Step) -> Duration {
        match step {
            // An upload may follow.
            Step::Connect | Step::Assess => self.site.deadline.min(UPLOAD_LEASE).max(LEASE),
            Step::Start | Step::Gate => self.site.trial() + LEASE,
            // The wait for rest, a server that is slow to answer, and letting it go on.
            Step::Enter => self.waits + LEASE,
            _ => LEASE,
        }
    }

    pub(super) async fn script(
        &mut self,
        step: Step,
        script: Script,
        input: &[u8],
    ) -> Result<Output, DeployFault> {
        let script = script.of(step.word());
        let mut last = String::new();
        for _ in 0..TRIES {
            let lasting = self.lasting(step);
            let claimed = self.lease.as_ref().map(|lease| lease.on(script.clone(), lasting));
            let script = claimed.as_ref().unwrap_or(&script);
            self.round_trips += 1;
            match Box::pin(self.session().await?.run(script, input, SCRIPT_LIMIT)).await {
                Ok(output) if output.rc == RC_HELD && self.lease.is_some() => {
                    let granted = self.lease.as_ref().is_some_and(|lease| lease.granted);
                    let words = output.reason();
                    // Whoever has it now decides what becomes of the box.
                    return Err(if granted {
                        DeployFault::Unknown(words)
                    } else {
                        DeployFault::Locked(words)
                    });
                }
                Ok(output) if output.rc == 0 => {
                    if let Some(lease) = &mut self.lease {
                        lease.granted = true;
                    }
                    return Ok(output);
                }
                Ok(output) => {
                    let words = mask(&output.reason(), self.secrets);
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

    pub(super) fn lost(&mut self, step: Step, fault: &RunFault) -> String {
        tracing::debug!(node = %self.site.node, %step, fault = %fault, "connecting again");
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
    pub(super) async fn session(&mut self) -> Result<&Session, DeployFault> {
        if self.session.is_none() {
            self.round_trips += 1;
            let budget = self.site.connect_budget;
            let address = self.site.address();
            let connected = Box::pin(self.remote.connect(&address, budget)).await;
            self.session = Some(connected.map_err(|fault| DeployFault::connect(&fault, self.switched))?);
        }
        self.session.as_ref().ok_or_else(|| DeployFault::unreached("no session".into(), self.switched))
    }

    pub(super) fn begin(&mut self, step: Step) {
        self.under_way = Some((step, Instant::now()));
        self.report(step, StepPhase::Started, Duration::ZERO, String::new());
    }

    /// Ends the step under way, and tells when its part has taken longer than it should.
    pub(super) fn finish(&mut self, detail: String) {
        let Some((step, began)) = self.under_way.take() else { return };
        let took = began.elapsed();
        self.taken.push(StepTime { step, took });
        let (node, instance) = (&self.site.node, self.site.instance);
        let elapsed_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(%node, %instance, %step, elapsed_ms, detail, "deploy step done");
        crash::at(Point::Deployed(step.word()));
        let part = step.part();
        let whole: Duration =
            self.taken.iter().filter(|taken| taken.step.part() == part).map(|taken| taken.took).sum();
        if whole > part.target() && whole.saturating_sub(took) <= part.target() {
            let (target_s, took_s) = (part.target().as_secs(), whole.as_secs());
            tracing::warn!(%node, %instance, ?part, took_s, target_s, "this part of the deploy overran its target");
        }
        self.report(step, StepPhase::Finished, took, detail);
    }

    fn report(&self, step: Step, phase: StepPhase, took: Duration, detail: String) {
        // A reader that lags misses a line; it must not hold the deploy up.
        let _ = self.progress.try_send(StepReport { step, phase, took, detail });
    }

    /// Asks the gate, with another commit than the site's where one is given; `steady` where it must hold for a while.
    pub(super) async fn pass_gate(
        &mut self,
        commit: Option<&str>,
        began: u64,
        steady: bool,
    ) -> Result<String, DeployFault> {
        let mut gate: Gate = self.site.gate.clone();
        if !steady {
            gate.steady = Duration::ZERO;
        }
        if let Some(commit) = commit {
            gate.expect_commit = (commit != "unknown").then(|| commit.to_owned());
            gate.any_server = commit == ADOPTED;
        }
        self.gate(&gate, began).await
    }
}

/// Ends work on its deadline; what was begun on the box goes on within its scripts' limits. The work is put on the heap: its
/// future holds every step's, and whoever awaits it in a chain of futures of their own has a stack to mind.
pub(super) async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, DeployFault>>,
) -> Option<Result<T, DeployFault>> {
    timeout(limit, Box::pin(work)).await.ok()
}
