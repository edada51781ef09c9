//! Work on one node's box by hand: healing is kept away meanwhile, steps are shown and timed, and the end is put on record.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    alone,
    boxes::{Filled, Fleet},
    client::Client,
    exit::{self, Failure},
    print::talk,
    verbs::{ask, person},
};
use crate::{
    clock::Clock,
    config::Config,
    deploy::{
        self, Artifact, DeployFault, DeployRequest, Deployed, RestoreRequest, RollbackRequest, StepPhase,
        StepReport,
    },
    engine::{Journey, ServerEnv, placed},
    fleet::{
        deployed::{DeployKind, DeployReport, Placed},
        event::{Event, Reply, Wish},
        name::NodeName,
    },
};

/// Reports that may wait to be printed.
const REPORTS: usize = 64;
/// What a deploy may take beyond its own deadline: connections that end slowly, a look at what serves.
const SLACK: Duration = Duration::from_secs(120);
/// The fault of work that a person at the terminal has ended.
pub(super) const INTERRUPTED: &str = "interrupted: the same command takes it up again";
/// How long a box may take to tell what stands on it.
const LOOK_LIMIT: Duration = Duration::from_secs(45);

/// One node's share of a command.
pub(super) struct Work<'a> {
    pub fleet: &'a Fleet,
    pub filled: &'a Filled,
    /// The rollout it belongs to.
    pub rollout: Option<&'a str>,
    /// Whether only the ends of steps are said, for commands that print JSON.
    pub quiet: bool,
    /// The release that is left because it is at fault, where it is.
    pub leaves: Option<Placed>,
}

/// What is to be put on a box.
#[derive(Debug, Clone)]
pub(super) struct Release {
    pub placed: Placed,
    pub artifact: Arc<Artifact>,
    pub env: ServerEnv,
}

impl Release {
    /// The configured release, built or read.
    pub(super) async fn configured(fleet: &Fleet) -> Result<Self, Failure> {
        let refused = |fault: DeployFault| Failure::new(exit::REFUSED, fault.to_string());
        let artifact = fleet.edges.releases.wanted().await.map_err(refused)?;
        let env = fleet.edges.access.server_env.clone();
        Self::of(fleet, artifact, env)
    }

    /// A program with settings.
    pub(super) fn of(fleet: &Fleet, artifact: Arc<Artifact>, env: ServerEnv) -> Result<Self, Failure> {
        let name = deploy::release_name(&fleet.edges.remote, &artifact, &env, &fleet.edges.access.method);
        let name = name.map_err(|fault| Failure::new(exit::REFUSED, fault.to_string()))?;
        let placed = Placed { name, digest: artifact.digest.clone(), commit: artifact.commit.clone() };
        Ok(Self { placed, artifact, env })
    }

    /// Refuses a release that the fleet went back from.
    pub(super) fn unless_quarantined(&self, fleet: &Fleet) -> Result<(), Failure> {
        let Some(shunned) = fleet.known.quarantine.get(&self.placed.name) else { return Ok(()) };
        let words = format!(
            "release {} is quarantined since `{}` went back from it: {}",
            self.placed.name, shunned.node, shunned.why
        );
        Err(Failure::new(exit::REFUSED, words)
            .hint("`--force` deploys it all the same; another release needs no force"))
    }
}

impl Work<'_> {
    /// Deploys, keeps what was verified for later, and reports.
    pub(super) async fn deploy(
        &self,
        request: &DeployRequest,
        wanted: &Placed,
    ) -> Result<Deployed, DeployFault> {
        let remote = &self.fleet.edges.remote;
        let work = async |progress| deploy::deploy(remote, request, &progress).await;
        let result =
            self.carry_out(DeployKind::Deploy, Some(wanted.clone()), request.site.deadline, work).await;
        if let Ok(deployed) = &result {
            let kept = self.fleet.edges.shelf.put(&placed(deployed), &request.artifact, &request.env).await;
            if let Err(fault) = kept {
                talk(&format!("warning: the release cannot be kept for healing: {fault}"));
            }
        }
        result
    }

    /// Goes back, and reports.
    pub(super) async fn rollback(
        &self,
        request: &RollbackRequest,
        wanted: Option<Placed>,
    ) -> Result<Deployed, DeployFault> {
        let remote = &self.fleet.edges.remote;
        let work = async |progress| deploy::rollback(remote, request, &progress).await;
        self.carry_out(DeployKind::Rollback, wanted, request.site.deadline, work).await
    }

    /// Brings a backup back, and reports.
    pub(super) async fn restore(&self, request: &RestoreRequest) -> Result<Deployed, DeployFault> {
        let remote = &self.fleet.edges.remote;
        let work = async |progress| deploy::restore(remote, request, &progress).await;
        self.carry_out(DeployKind::Restore, None, request.site.deadline, work).await
    }

    async fn carry_out(
        &self,
        kind: DeployKind,
        wanted: Option<Placed>,
        deadline: Duration,
        work: impl AsyncFnOnce(mpsc::Sender<StepReport>) -> Result<Deployed, DeployFault>,
    ) -> Result<Deployed, DeployFault> {
        let (node, clock) = (&self.filled.node, Clock::new());
        let refused = |failure: Failure| DeployFault::Refused(failure.message().to_owned());
        let config = &self.fleet.config;
        let keeper = Client::find(&config.control_socket).await.map_err(refused)?;
        let paused = match &keeper {
            Some(keeper) => {
                keep_away(keeper, node, deadline + config.deploy.maintenance_wait).await.map_err(refused)?
            }
            None => false,
        };
        let mut journey = Journey {
            node: node.clone(),
            instance: self.filled.tenant.instance,
            work: kind,
            by: person(),
            healing: false,
            rollout: self.rollout.map(str::to_owned),
            wanted,
            leaves: self.leaves.clone(),
            started_at: clock.now(),
            steps: Vec::new(),
        };
        let (sender, mut reports) = mpsc::channel::<StepReport>(REPORTS);
        let shown = async {
            while let Some(report) = reports.recv().await {
                journey.take(&report);
                line(node, &report, self.quiet);
            }
        };
        let result = tokio::select! {
            (result, ()) = async { tokio::join!(work(sender), shown) } => result,
            _ = tokio::signal::ctrl_c() => Err(DeployFault::Unknown(INTERRUPTED.into())),
        };
        // Another's work is theirs to report.
        if !matches!(result, Err(DeployFault::Locked(_))) {
            let serves = match &result {
                Err(fault) if !matches!(fault, DeployFault::Refused(_)) => self.serves().await,
                _ => None,
            };
            tell(config, keeper.as_ref(), journey.end(clock.now(), &result, serves)).await;
        }
        if paused
            && let Some(keeper) = &keeper
            && let Err(failure) = ask(keeper, node, Wish::Resume).await
        {
            talk(&format!("warning: `{node}` is still paused for a while: {}", failure.message()));
        }
        result
    }

    /// What stands verified and current on the box now, if it can be asked.
    async fn serves(&self) -> Option<Placed> {
        let site = self.fleet.site(self.filled, Duration::ZERO)?;
        let stock = deploy::stock(&self.fleet.edges.remote, &site, LOOK_LIMIT).await.ok()?;
        let current = stock.current().filter(|current| current.role == deploy::Role::Current)?;
        current.verified_at?;
        let (name, digest) = (current.name.clone(), current.digest.clone());
        Some(Placed { name, digest, commit: current.commit.clone() })
    }
}

/// Keeps the keeper's healing away for as long as the work may take; should this process die, healing comes back by itself.
async fn keep_away(keeper: &Client, node: &NodeName, lasting: Duration) -> Result<bool, Failure> {
    let seconds = u32::try_from((lasting + SLACK).as_secs()).unwrap_or(u32::MAX);
    Ok(matches!(ask(keeper, node, Wish::PauseFor(seconds)).await?, Reply::Accepted(_)))
}

/// Puts a report on record. What was done is done: a record that cannot be made is a warning.
async fn tell(config: &Config, keeper: Option<&Client>, report: DeployReport) {
    let node = report.node.clone();
    let told = match keeper {
        Some(keeper) => keeper.post::<_, Reply>("/api/v1/deploys", &report).await.map(drop),
        None => alone::decide(config, Event::DeployReported(Box::new(report))).await.map(drop),
    };
    if let Err(failure) = told {
        talk(&format!("warning: what was done on `{node}` is not on record: {}", failure.message()));
    }
}

fn line(node: &NodeName, report: &StepReport, quiet: bool) {
    let seconds = report.took.as_secs_f64();
    let over = if report.took > report.step.part().target() { ", over its target" } else { "" };
    match report.phase {
        StepPhase::Started if quiet => {}
        StepPhase::Started => talk(&format!("{node}: {} …", report.step)),
        StepPhase::Going => talk(&format!("{node}: {}: {}", report.step, report.detail)),
        StepPhase::Finished if report.detail.is_empty() => {
            talk(&format!("{node}: {} done in {seconds:.1} s{over}", report.step));
        }
        StepPhase::Finished => {
            talk(&format!("{node}: {} done in {seconds:.1} s{over}: {}", report.step, report.detail));
        }
    }
}
