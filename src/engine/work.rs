//! Work on a box: deploys and soft remedies.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Edges;
use crate::{
    clock::Clock,
    deploy::{self, DeployFault, DeployRequest, Gate, Strategy},
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
        let request = DeployRequest {
            node: self.node.clone(),
            instance: self.tenant.instance,
            op: op.clone(),
            endpoints: address.endpoints,
            user: address.user,
            strategy: Strategy::Artifact,
            env: access.server_env.clone(),
            server_port: self.spec.rental.port,
            public: self.tenant.address,
            gate: Gate {
                path: self.spec.health.path.clone(),
                healthy_in_a_row: access.gate_healthy,
                within: access.gate_within,
                ..Gate::new(op, Some(artifact.commit.clone()))
            },
            artifact,
            keep: access.keep,
            deadline: clock.now().until(self.deadline),
            connect_budget: access.connect_budget,
        };
        // Each step is logged where it is done; reports that nobody takes are dropped.
        let (progress, _untaken) = mpsc::channel(1);
        deploy::deploy(&edges.remote, &request, &progress).await.map_err(fault)
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
            // Replacing is a recovery, not work on the box.
            Rung::Replace => Err(WorkFault::Unknown("replacing is not a soft remedy".into())),
        }
    }
}

fn fault(fault: DeployFault) -> WorkFault {
    match fault {
        DeployFault::Release(detail) => WorkFault::Release(detail),
        DeployFault::Box(detail) => WorkFault::Box(detail),
        DeployFault::HostKeyChanged(detail) => WorkFault::HostKeyChanged(detail),
        DeployFault::Unknown(detail) => WorkFault::Unknown(detail),
    }
}
