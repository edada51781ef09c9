//! Work on one node's box by hand: healing is kept away meanwhile, steps are shown and timed, and the end is put on record.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    alone,
    boxes::{Filled, Fleet, failure},
    claim::Claim,
    client::Client,
    exit::{self, Failure},
    print::talk,
    release::maintenance,
    verbs::{ask, person},
};
use crate::{
    clock::Clock,
    config::Config,
    deploy::{
        self, Artifact, DeployFault, DeployRequest, Deployed, Method, Restart, RestoreRequest,
        RollbackRequest, Site, StepPhase, StepReport,
    },
    engine::{Journey, ServerEnv, placed},
    fleet::{
        deployed::{DeployKind, DeployReport, Placed},
        event::{Event, Reply, Wish},
        name::NodeName,
        rollout::Terms,
    },
};

/// Reports that may wait to be printed.
const REPORTS: usize = 64;
/// What a deploy may take beyond its own deadline: connections that end slowly, a look at what serves.
const SLACK: Duration = Duration::from_secs(120);
/// Kept releases that are named where none or several fit.
const NAMED_SHOWN: usize = 5;
/// What is put on record of work that was interrupted.
/// How often a keeper is looked for that does not run yet, or no more.
const LOOK_FOR_KEEPER: Duration = Duration::from_secs(2);
/// How often a report is tried to be put on record: a keeper starts or ends in less than these take together.
const TELL_TRIES: u32 = 8;
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
        let mut paused = match Client::find(&config.control_socket).await.map_err(refused)? {
            Some(keeper) => Some(keep_away(&keeper, node, lasting).await.map_err(refused)?),
            None => None,
        };
        let mut journey = self.journey(kind, wanted);
        let (sender, mut reports) = mpsc::channel::<StepReport>(REPORTS);
        let shown = async {
            while let Some(report) = reports.recv().await {
                journey.take(&report);
                line(node, &report, self.quiet);
            }
        };
        let claim = Claim::to(&config.state_dir, node);
        let site = Site { by: claim.name().to_owned(), ..site.clone() };
        let looks = paused.is_none();
        let comer = async {
            if looks {
                paused = Some(keep_away_who_comes(&config.control_socket, node, lasting).await);
            }
            std::future::pending::<()>().await;
        };
        let result = tokio::select! {
            (result, ()) = async { tokio::join!(work(site, sender), shown) } => Some(result),
            () = self.fleet.stop().asked() => None,
            () = comer => None,
        };
        // Where the end is not known the lease may stand, and whoever goes on must be let in.
        if !matches!(result, None | Some(Err(DeployFault::Unknown(_)))) {
            claim.given_back();
        }
        self.report(journey, result.as_ref()).await;
        // What failed must not let go on what its report holds.
        let wish = if matches!(result, Some(Ok(_))) { Wish::Resume } else { Wish::PauseOver };
        // Whoever holds the box may be somebody of the same name: theirs is the pause then.
        let theirs = matches!(result, Some(Err(DeployFault::Locked(_))));
        if paused == Some(true)
            && !theirs
            && let Err(failure) = wish_of_whoever_runs(config, node, wish).await
        {
            talk(&format!("warning: `{node}` is still paused for a while: {}", failure.message()));
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

/// Keeps the keeper's healing away for as long as the work may take; should this process die, healing comes back by itself.
async fn keep_away(keeper: &Client, node: &NodeName, lasting: Duration) -> Result<bool, Failure> {
    let seconds = u32::try_from((lasting + SLACK).as_secs()).unwrap_or(u32::MAX);
    Ok(matches!(ask(keeper, node, Wish::PauseFor(seconds)).await?, Reply::Accepted(_)))
}

/// The same for a keeper that starts only while the work goes on: it would take a server that is being changed for a dead one.
async fn keep_away_who_comes(socket: &Path, node: &NodeName, lasting: Duration) -> bool {
    loop {
        tokio::time::sleep(LOOK_FOR_KEEPER).await;
        if let Ok(Some(keeper)) = Client::find(socket).await
            && let Ok(paused) = keep_away(&keeper, node, lasting).await
        {
            return paused;
        }
    }
}

/// The keeper may have been started anew meanwhile; where none runs, its next one reads the pause and its end.
async fn wish_of_whoever_runs(config: &Config, node: &NodeName, wish: Wish) -> Result<(), Failure> {
    let Some(keeper) = Client::find(&config.control_socket).await? else { return Ok(()) };
    ask(&keeper, node, wish).await.map(drop)
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
