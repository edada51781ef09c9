//! Work on one node's box by hand: healing is kept away meanwhile, steps are shown and timed, and the end is put on record.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{
    alone,
    boxes::{Filled, Fleet, failure},
    claim::Claim,
    client::Client,
    exit::{self, Failure},
    kept_away::KeptAway,
    print::talk,
    verbs::person,
};
use crate::{
    clock::Clock,
    config::Config,
    deploy::{
        self, DeployFault, DeployRequest, Deployed, RestoreRequest, RollbackRequest, Site, StepPhase,
        StepReport,
    },
    engine::{Journey, placed},
    fleet::{
        deployed::{DeployKind, DeployReport, Placed},
        event::{Event, Reply},
        name::NodeName,
    },
};

/// Reports that may wait to be printed.
const REPORTS: usize = 64;
/// How long until a keeper is looked for again that just ends or starts.
const LOOK_FOR_KEEPER: Duration = Duration::from_secs(2);
/// How often a report is tried to be put on record: a keeper starts or ends in less than these take together.
const TELL_TRIES: u32 = 8;
/// What is put on record of work that was interrupted.
const INTERRUPTED: &str = "interrupted: the same command takes it up again";
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

/// Why work on a box came to no good end.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// It failed.
    Fault(DeployFault),
    /// Somebody ended it; what became of it is not known.
    Interrupted,
}

impl Unfinished {
    /// What that means to the person who typed the command.
    pub(super) fn failure(&self, node: &NodeName) -> Failure {
        match self {
            Self::Fault(fault) => failure(node, fault),
            Self::Interrupted => Failure::new(exit::UNKNOWN, format!("{node}: {INTERRUPTED}")).hint(format!(
                "without it the box goes back by itself; `vast-keeper releases {node}` tells what serves"
            )),
        }
    }
}

impl Work<'_> {
    /// Deploys, keeps what was verified for later, and reports.
    pub(super) async fn deploy(
        &self,
        request: &DeployRequest,
        wanted: &Placed,
    ) -> Result<Deployed, Unfinished> {
        let remote = &self.fleet.edges.remote;
        let work = async |site, progress| {
            deploy::deploy(remote, &DeployRequest { site, ..request.clone() }, &progress).await
        };
        let result = self.carry_out(DeployKind::Deploy, Some(wanted.clone()), &request.site, work).await;
        if let Ok(deployed) = &result {
            let shelf = &self.fleet.edges.shelf;
            let kept = shelf.put(&placed(deployed), &request.artifact, &request.env, &request.method).await;
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
    ) -> Result<Deployed, Unfinished> {
        let remote = &self.fleet.edges.remote;
        let work = async |site, progress| {
            deploy::rollback(remote, &RollbackRequest { site, ..request.clone() }, &progress).await
        };
        self.carry_out(DeployKind::Rollback, wanted, &request.site, work).await
    }

    /// Sees to a box on which the work to bring `wanted`, or to go back from it, was cut short, and reports what serves.
    pub(super) async fn settle(
        &self,
        request: &RollbackRequest,
        wanted: &Placed,
    ) -> Result<Deployed, Unfinished> {
        let remote = &self.fleet.edges.remote;
        let work = async |site, progress| {
            let request = RollbackRequest { site, ..request.clone() };
            deploy::settle_half_way(remote, &request, &wanted.name, &progress).await
        };
        self.carry_out(DeployKind::Rollback, None, &request.site, work).await
    }

    /// Brings a backup back, and reports.
    pub(super) async fn restore(&self, request: &RestoreRequest) -> Result<Deployed, Unfinished> {
        let remote = &self.fleet.edges.remote;
        let work = async |site, progress| {
            deploy::restore(remote, &RestoreRequest { site, ..request.clone() }, &progress).await
        };
        self.carry_out(DeployKind::Restore, None, &request.site, work).await
    }

    async fn carry_out(
        &self,
        kind: DeployKind,
        wanted: Option<Placed>,
        site: &Site,
        work: impl AsyncFnOnce(Site, mpsc::Sender<StepReport>) -> Result<Deployed, DeployFault>,
    ) -> Result<Deployed, Unfinished> {
        let node = &self.filled.node;
        let config = &self.fleet.config;
        let refused =
            |failure: Failure| Unfinished::Fault(DeployFault::Refused(failure.message().to_owned()));
        let lasting = site.deadline + config.deploy.maintenance_wait;
        let claim = Claim::to(&config.state_dir, node);
        let mut away = KeptAway::new(&config.control_socket, node, claim.name(), lasting);
        if let Err(failure) = away.ask().await {
            // The keeper may have heard it all the same.
            let _ = away.ended(false).await;
            return Err(refused(failure));
        }
        let mut journey = self.journey(kind, wanted);
        let (sender, mut reports) = mpsc::channel::<StepReport>(REPORTS);
        let shown = async {
            while let Some(report) = reports.recv().await {
                journey.take(&report);
                line(node, &report, self.quiet);
            }
        };
        let site = Site { by: claim.name().to_owned(), ..site.clone() };
        let result = tokio::select! {
            (result, ()) = async { tokio::join!(work(site, sender), shown) } => Some(result),
            () = self.fleet.stop().asked() => None,
            () = away.go_on_asking() => None,
        };
        self.report(journey, result.as_ref()).await;
        if let Err(failure) = away.ended(matches!(result, Some(Ok(_)))).await {
            talk(&format!("warning: `{node}` is still paused for a while: {}", failure.message()));
        }
        // Where the end is not known the lease may stand, and whoever goes on must be let in.
        if !matches!(result, None | Some(Err(DeployFault::Unknown(_)))) {
            claim.given_back();
        }
        match result {
            Some(result) => result.map_err(Unfinished::Fault),
            None => Err(Unfinished::Interrupted),
        }
    }

    fn journey(&self, work: DeployKind, wanted: Option<Placed>) -> Journey {
        Journey {
            node: self.filled.node.clone(),
            instance: self.filled.tenant.instance,
            work,
            by: person(),
            healing: false,
            rollout: self.rollout.map(str::to_owned),
            wanted,
            leaves: self.leaves.clone(),
            started_at: Clock::new().now(),
            steps: Vec::new(),
        }
    }

    /// Puts the end on record; none is one that nobody waited for.
    async fn report(&self, journey: Journey, result: Option<&Result<Deployed, DeployFault>>) {
        let serves = match result {
            // Another's work is theirs to report.
            Some(Err(DeployFault::Locked(_))) => return,
            Some(Err(fault)) if !matches!(fault, DeployFault::Refused(_)) => self.serves().await,
            _ => None,
        };
        let unknown = Err(DeployFault::Unknown(INTERRUPTED.into()));
        let ended = journey.end(Clock::new().now(), result.unwrap_or(&unknown), serves);
        tell(&self.fleet.config, ended).await;
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

/// Puts a report on record, by the keeper that runs now or, where none does, by this process: one may start or end at any
/// moment, so both are tried again for a while. What was done is done: a record that cannot be made is a warning.
async fn tell(config: &Config, report: DeployReport) {
    let node = report.node.clone();
    let mut tries = 0;
    loop {
        let told = match Client::find(&config.control_socket).await {
            Ok(Some(keeper)) => keeper.post::<_, Reply>("/api/v1/deploys", &report).await.map(drop),
            Ok(None) => {
                alone::decide(config, Event::DeployReported(Box::new(report.clone()))).await.map(drop)
            }
            Err(failure) => Err(failure),
        };
        let Err(failure) = told else { return };
        tries += 1;
        if tries == TELL_TRIES {
            let words = failure.message();
            return talk(&format!("warning: what was done on `{node}` is not on record: {words}"));
        }
        tokio::time::sleep(LOOK_FOR_KEEPER).await;
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
