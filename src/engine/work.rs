//! Work on a box: deploys and soft remedies.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{Edges, Journey, KeptRelease, placed, releases::release_events};
use crate::{
    clock::Clock,
    deploy::{self, DeployFault, DeployRequest, Gate, Maintenance, Restart, RollbackRequest, Site},
    fleet::{
        command::Chosen,
        deployed::DeployKind,
        event::{Event, Seen, WorkFault},
        journal::ReleaseRef,
        name::NodeName,
        policy::{NodeSpec, Policy, Rung},
        state::Tenant,
        units::Timestamp,
    },
    remote::BoxAddress,
};

/// Who does it, as journals and boxes are told.
const THE_KEEPER: &str = "the keeper";
/// How long the lease of a look at the box may last, should the keeper have died over it.
const LOOK_LEASE: Duration = Duration::from_secs(125);
/// Steps that may wait to be noted.
const REPORTS: usize = 64;

/// One piece of work on a box.
pub(super) struct Job {
    pub node: NodeName,
    pub tenant: Tenant,
    spec: Arc<NodeSpec>,
    release: Chosen,
    deadline: Timestamp,
}

impl Job {
    /// `None` for a node that is not configured any more.
    pub fn new(
        node: NodeName,
        tenant: Tenant,
        release: Chosen,
        deadline: Timestamp,
        policy: &Policy,
    ) -> Option<Self> {
        let spec = policy.nodes.get(&node).cloned()?;
        Some(Self { node, tenant, spec, release, deadline })
    }

    /// Deploys, and reports that before the core hears how it ended.
    pub async fn deploy(
        &self,
        edges: &Edges,
        address: BoxAddress,
        clock: Clock,
        events: &mpsc::Sender<Event>,
    ) -> Result<ReleaseRef, WorkFault> {
        let chosen = self.chosen(edges, events).await?;
        let artifact = Arc::clone(&chosen.artifact);
        let request = self.request(edges, address, clock, chosen);
        let mut journey = Journey {
            node: self.node.clone(),
            instance: self.tenant.instance,
            work: DeployKind::Deploy,
            by: THE_KEEPER.into(),
            healing: true,
            rollout: None,
            wanted: match &self.release {
                Chosen::Configured(_) => None,
                Chosen::Verified(release) => Some(release.clone()),
            },
            leaves: None,
            started_at: clock.now(),
            steps: Vec::new(),
        };
        let (progress, mut reports) = mpsc::channel(REPORTS);
        let work = async {
            let result = deploy::deploy(&edges.remote, &request, &progress).await;
            drop(progress);
            result
        };
        let noted = async {
            while let Some(report) = reports.recv().await {
                journey.take(&report);
            }
        };
        let (result, ()) = tokio::join!(work, noted);
        if let Ok(deployed) = &result
            && let Err(fault) =
                edges.shelf.put(&placed(deployed), &artifact, &request.env, &request.method).await
        {
            tracing::warn!(node = %self.node, %fault, "the verified release cannot be kept");
        }
        let report = journey.end(clock.now(), &result, None);
        // The engine outlives its work except at the very end.
        let _ = events.send(Event::DeployReported(Box::new(report))).await;
        result.map(|deployed| deployed.release).map_err(fault)
    }

    /// The program, its settings and its method: the configured ones, or those that were verified for the node.
    async fn chosen(&self, edges: &Edges, events: &mpsc::Sender<Event>) -> Result<KeptRelease, WorkFault> {
        let release = match &self.release {
            Chosen::Verified(release) => release,
            Chosen::Configured(judged) => {
                let artifact = edges.releases.wanted().await.map_err(fault)?;
                if judged.as_ref().is_some_and(|judged| *judged != artifact.digest) {
                    // The core may not have heard of it: its own question was answered before.
                    for event in release_events(edges).await {
                        let _ = events.send(event).await;
                    }
                    let why = "another release is configured since it was decided: that one is judged first";
                    return Err(WorkFault::Superseded(why.into()));
                }
                return Ok(KeptRelease { artifact, env: edges.access.server_env.clone(), method: None });
            }
        };
        let gone = |why: String| {
            let name = &release.name;
            WorkFault::Release(format!("the release `{name}`, last verified for this node, {why}"))
        };
        match edges.shelf.take(&release.name).await {
            Ok(Some(kept)) => Ok(kept),
            Ok(None) => Err(gone("is not kept here any more: deploy one by hand".into())),
            Err(fault) => Err(gone(format!("cannot be read: {fault}"))),
        }
    }

    fn request(
        &self,
        edges: &Edges,
        address: BoxAddress,
        clock: Clock,
        chosen: KeptRelease,
    ) -> DeployRequest {
        let KeptRelease { artifact, env, method } = chosen;
        let access = &edges.access;
        let now = &access.method;
        let method = method.map_or_else(|| now.clone(), |then| then.under(now));
        let site = self.site(edges, address, clock, Some(artifact.commit.clone()));
        // Half of the time must be left for the deploy itself.
        let most = site.deadline / 2;
        let maintenance =
            access.maintenance.clone().map(|with| Maintenance { wait: with.wait.min(most), ..with });
        DeployRequest {
            site,
            method,
            artifact,
            env,
            restart: Restart::Always,
            force: false,
            maintenance,
            smoke: access.smoke.clone(),
        }
    }

    fn site(&self, edges: &Edges, address: BoxAddress, clock: Clock, commit: Option<String>) -> Site {
        let access = &edges.access;
        let op = self.tenant.rental.op.clone();
        let gate = Gate {
            path: self.spec.health.path.clone(),
            healthy_in_a_row: access.gate_healthy,
            steady: access.gate_steady,
            within: access.gate_within,
            confirm_within: access.confirm_within,
            ..Gate::new(op.clone(), commit)
        };
        Site {
            node: self.node.clone(),
            instance: self.tenant.instance,
            op,
            endpoints: address.endpoints,
            user: address.user,
            server_port: self.spec.rental.port,
            public: self.tenant.address,
            gate,
            keep: access.keep,
            deadline: clock.now().until(self.deadline),
            connect_budget: access.connect_budget,
            by: THE_KEEPER.into(),
            // The keeper's own look at the box holds it for a moment.
            wait_lock: LOOK_LEASE,
        }
    }

    /// Lets the server go on if work that died has left it in maintenance.
    pub async fn end_maintenance(&self, edges: &Edges, address: BoxAddress, clock: Clock) -> Seen {
        // By a name of its own: the keeper's own deploy has a lease that this must not take over.
        let by = "the keeper, ending maintenance".to_owned();
        let site = Site { by, wait_lock: Duration::ZERO, ..self.site(edges, address, clock, None) };
        let (env, maintenance) = (edges.access.server_env.clone(), edges.access.maintenance.clone());
        let request = RollbackRequest { site, to: None, env, maintenance };
        let seen = deploy::end_forgotten(&edges.remote, &request).await;
        let seen = seen.unwrap_or_else(|fault| Seen::Unclear(fault.to_string()));
        tracing::debug!(node = %self.node, ?seen, "a server is in maintenance");
        seen
    }

    pub async fn remedy(
        &self,
        rung: Rung,
        edges: &Edges,
        address: BoxAddress,
        (clock, not_after): (Clock, Timestamp),
        events: &mpsc::Sender<Event>,
    ) -> Result<Option<ReleaseRef>, WorkFault> {
        if clock.now() > not_after {
            return Err(WorkFault::Unknown("the command expired before it was sent".into()));
        }
        match rung {
            Rung::RestartServer => {
                let budget = clock.now().until(self.deadline);
                deploy::restart_server(&edges.remote, &address, &self.node, budget).await.map_err(fault)?;
                Ok(None)
            }
            Rung::Redeploy => self.deploy(edges, address, clock, events).await.map(Some),
            Rung::Reboot => {
                let rebooted = edges.vast.reboot(self.tenant.instance, not_after).await;
                rebooted.map(|()| None).map_err(|fault| WorkFault::Box(fault.to_string()))
            }
            // Replacing is a recovery, and the provider lets a stopped box run by a command of its own.
            Rung::Replace | Rung::RaiseBid | Rung::Start => {
                Err(WorkFault::Unknown(format!("`{}` is no work on a box", rung.word())))
            }
        }
    }
}

/// What the core should do next depends on the first fault; that the box went back or not is told in words.
fn fault(fault: DeployFault) -> WorkFault {
    let words = match &fault {
        DeployFault::Release(detail)
        | DeployFault::Box(detail)
        | DeployFault::Refused(detail)
        | DeployFault::Unhealthy(detail)
        | DeployFault::Locked(detail)
        | DeployFault::HostKeyChanged(detail)
        | DeployFault::Unknown(detail) => detail.clone(),
        DeployFault::RolledBack { .. } | DeployFault::RollbackFailed { .. } | DeployFault::Halfway { .. } => {
            fault.to_string()
        }
    };
    match fault.first() {
        DeployFault::Release(_) => WorkFault::Release(words),
        DeployFault::Unhealthy(_) => WorkFault::Unhealthy(words),
        DeployFault::HostKeyChanged(_) => WorkFault::HostKeyChanged(words),
        DeployFault::Unknown(_) | DeployFault::Refused(_) | DeployFault::Locked(_) => {
            WorkFault::Unknown(words)
        }
        // Another box has not the data, so that half-migrated data is no reason to leave this one.
        DeployFault::Halfway { .. } => WorkFault::Halfway(words),
        DeployFault::Box(_) | DeployFault::RolledBack { .. } | DeployFault::RollbackFailed { .. } => {
            WorkFault::Box(words)
        }
    }
}
