//! Work on a box: deploys and soft remedies.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::Edges;
use crate::{
    clock::Clock,
    deploy::{self, DeployFault, DeployRequest, Gate, Maintenance, Restart, Site},
    fleet::{
        event::WorkFault,
        journal::ReleaseRef,
        name::NodeName,
        policy::{NodeSpec, Rung},
        state::Tenant,
        units::Timestamp,
    },
    remote::BoxAddress,
};

/// One piece of work on a box.
pub(super) struct Job {
    pub node: NodeName,
    pub tenant: Tenant,
    pub spec: Arc<NodeSpec>,
    pub deadline: Timestamp,
}

impl Job {
    pub async fn deploy(
        &self,
        edges: &Edges,
        address: BoxAddress,
        clock: Clock,
    ) -> Result<ReleaseRef, WorkFault> {
        let artifact = edges.releases.wanted().await.map_err(fault)?;
        let access = &edges.access;
        let op = self.tenant.rental.op.clone();
        let gate = Gate {
            path: self.spec.health.path.clone(),
            healthy_in_a_row: access.gate_healthy,
            steady: access.gate_steady,
            within: access.gate_within,
            confirm_within: access.confirm_within,
            ..Gate::new(op.clone(), Some(artifact.commit.clone()))
        };
        let budget = clock.now().until(self.deadline);
        // Half of the time must be left for the deploy itself.
        let maintenance =
            access.maintenance.clone().map(|with| Maintenance { wait: with.wait.min(budget / 2), ..with });
        let site = Site {
            node: self.node.clone(),
            instance: self.tenant.instance,
            op,
            endpoints: address.endpoints,
            user: address.user,
            server_port: self.spec.rental.port,
            public: self.tenant.address,
            gate,
            keep: access.keep,
            deadline: budget,
            connect_budget: access.connect_budget,
            by: "the keeper".into(),
            wait_lock: Duration::ZERO,
        };
        let request = DeployRequest {
            site,
            method: access.method.clone(),
            artifact,
            env: access.server_env.clone(),
            restart: Restart::Always,
            force: false,
            maintenance,
            smoke: access.smoke.clone(),
        };
        // Each step is logged where it is done; reports that nobody takes are dropped.
        let (progress, _untaken) = mpsc::channel(1);
        let deployed = deploy::deploy(&edges.remote, &request, &progress).await.map_err(fault)?;
        Ok(deployed.release)
    }

    pub async fn remedy(
        &self,
        rung: Rung,
        edges: &Edges,
        address: BoxAddress,
        clock: Clock,
        not_after: Timestamp,
    ) -> Result<Option<ReleaseRef>, WorkFault> {
        if clock.now() > not_after {
            return Err(WorkFault::Unknown("the command expired before it was sent".into()));
        }
        match rung {
            Rung::RestartServer => {
                let budget = clock.now().until(self.deadline);
                deploy::restart_server(&edges.remote, &address, budget).await.map_err(fault)?;
                Ok(None)
            }
            Rung::Redeploy => self.deploy(edges, address, clock).await.map(Some),
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
        // Another box has not the data, so that half-migrated data is no reason to leave this one.
        DeployFault::Unknown(_)
        | DeployFault::Refused(_)
        | DeployFault::Locked(_)
        | DeployFault::Halfway { .. } => WorkFault::Unknown(words),
        DeployFault::Box(_) | DeployFault::RolledBack { .. } | DeployFault::RollbackFailed { .. } => {
            WorkFault::Box(words)
        }
    }
}
