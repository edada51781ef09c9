//! The boxes behind the nodes' names, for verbs that work on them over SSH.

use std::{net::SocketAddr, sync::OnceLock, time::Duration};

use super::{
    args::Common,
    exit::{self, Failure},
    known::known,
    offers::provider_failure,
    setup,
    stop::Stop,
};
use crate::{
    clock::Clock,
    config::{Config, Need},
    daemon::{self, Boxes},
    deploy::{DeployFault, Gate, Site},
    engine,
    fleet::{
        name::NodeName,
        state::{self, Tenant},
    },
    remote::BoxAddress,
};

/// How long a box may take to be reached by a person who waits.
const CONNECT_BUDGET: Duration = Duration::from_secs(30);

/// Nodes that are named one by one before a person is asked.
const NAMES_SHOWN: usize = 8;

/// The configuration, the provider and the boxes.
pub(super) struct Fleet {
    pub config: Config,
    pub edges: Boxes,
    pub nodes: Vec<Filled>,
    /// What the journal says.
    pub known: state::Fleet,
    stop: OnceLock<Stop>,
}

/// A node with what fills it.
pub(super) struct Filled {
    pub node: NodeName,
    pub tenant: Tenant,
    pub address: BoxAddress,
    /// Where its server is published now.
    pub public: SocketAddr,
}

impl Fleet {
    /// Those of the named nodes that are filled: a rollout that is taken up goes on without the others.
    pub(super) async fn find_filled(common: &Common, wanted: &[NodeName]) -> Result<Self, Failure> {
        let mut fleet = Self::look(common, &[]).await?;
        fleet.nodes.retain(|filled| wanted.contains(&filled.node));
        Ok(fleet)
    }

    /// The named nodes, or all that are filled. The journal tells who fills them, the provider how they are reached.
    pub(super) async fn find(common: &Common, wanted: &[NodeName]) -> Result<Self, Failure> {
        let fleet = Self::look(common, wanted).await?;
        if fleet.nodes.is_empty() {
            return Err(Failure::new(exit::NOTHING, "no node is filled")
                .hint("`vast-keeper status` tells why; `vast-keeper run` fills them"));
        }
        Ok(fleet)
    }

    async fn look(common: &Common, wanted: &[NodeName]) -> Result<Self, Failure> {
        let (config, _) = setup::load(common, Need::Run)?;
        let edges = daemon::boxes(&config, Clock::new()).map_err(setup::start_failure)?;
        let known = known(&config).await?;
        let listed = edges.vast.inventory().await.map_err(provider_failure)?;
        let mut nodes = Vec::new();
        for (name, spec) in &config.policy.nodes {
            if !wanted.is_empty() && !wanted.contains(name) {
                continue;
            }
            let tenant = known.nodes.get(name).and_then(|node| node.state.tenant());
            let row = tenant.and_then(|tenant| listed.rentals.iter().find(|row| row.id == tenant.instance));
            let (Some(tenant), Some(row)) = (tenant, row) else {
                if wanted.is_empty() {
                    continue;
                }
                return Err(Failure::new(exit::UNREACHABLE, format!("nothing fills `{name}` now"))
                    .hint("`vast-keeper status` tells why; `vast-keeper run` fills it"));
            };
            let user = edges.access.user.clone();
            let address = BoxAddress { instance: tenant.instance, endpoints: engine::endpoints(row), user };
            let public = row.address(spec.rental.port).unwrap_or(tenant.address);
            nodes.push(Filled { node: name.clone(), tenant: tenant.clone(), address, public });
        }
        if let Some(name) = wanted.iter().find(|name| !config.policy.nodes.contains_key(*name)) {
            let names: Vec<&str> = config.policy.nodes.keys().map(NodeName::as_str).collect();
            return Err(Failure::new(exit::USAGE, format!("node `{name}` is not configured"))
                .hint(format!("the nodes are {}", names.join(", "))));
        }
        Ok(Self { config, edges, nodes, known, stop: OnceLock::new() })
    }

    /// Its nodes in words.
    pub(super) fn names(&self) -> String {
        match self.nodes.as_slice() {
            [one] => one.node.to_string(),
            all => {
                let shown = all.iter().take(NAMES_SHOWN).map(|filled| filled.node.as_str());
                let more = if all.len() > NAMES_SHOWN { ", …" } else { "" };
                format!("{} nodes ({}{more})", all.len(), shown.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Whoever wants the command to end. From the first call on a signal ends nothing by itself.
    pub(super) fn stop(&self) -> &Stop {
        self.stop.get_or_init(Stop::listen)
    }

    /// The one node that was named.
    pub(super) async fn one(common: &Common, node: &NodeName) -> Result<(Self, usize), Failure> {
        let fleet = Self::find(common, std::slice::from_ref(node)).await?;
        Ok((fleet, 0))
    }

    /// What a deploy needs to know of a box.
    pub(super) fn site(&self, filled: &Filled, wait_lock: Duration) -> Option<Site> {
        let spec = self.config.policy.nodes.get(&filled.node)?;
        let access = &self.edges.access;
        let op = filled.tenant.rental.op.clone();
        let gate = Gate {
            path: spec.health.path.clone(),
            healthy_in_a_row: access.gate_healthy,
            steady: access.gate_steady,
            within: access.gate_within,
            confirm_within: access.confirm_within,
            ..Gate::new(op.clone(), None)
        };
        Some(Site {
            node: filled.node.clone(),
            instance: filled.tenant.instance,
            op,
            endpoints: filled.address.endpoints.clone(),
            user: filled.address.user.clone(),
            server_port: spec.rental.port,
            public: filled.public,
            gate,
            keep: access.keep,
            deadline: spec.deadlines.deploy,
            connect_budget: CONNECT_BUDGET,
            by: format!("{} (process {})", super::verbs::person(), std::process::id()),
            wait_lock,
        })
    }
}

/// What a fault of a deploy means to the person who typed the command.
pub(super) fn failure(node: &NodeName, fault: &DeployFault) -> Failure {
    let code = match fault {
        DeployFault::RolledBack { .. } => exit::ROLLED_BACK,
        DeployFault::RollbackFailed { .. } | DeployFault::Halfway { .. } => exit::ROLLBACK_FAILED,
        DeployFault::Unknown(_) => exit::UNKNOWN,
        DeployFault::Locked(_) => exit::LOCKED,
        DeployFault::Release(_) | DeployFault::Refused(_) => exit::REFUSED,
        DeployFault::Box(_) | DeployFault::Unhealthy(_) | DeployFault::HostKeyChanged(_) => exit::UNREACHABLE,
    };
    let failure = Failure::new(code, format!("{node}: {fault}"));
    match fault {
        DeployFault::Locked(_) => {
            failure.hint(format!("`--wait-lock 2m` waits; `vast-keeper lock show {node}` tells who"))
        }
        DeployFault::Unknown(_) => failure.hint(format!(
            "`vast-keeper releases {node}` tells what serves; a release that was switched to and not confirmed is left \
             again by the box itself"
        )),
        DeployFault::RolledBack { .. } => {
            failure.hint(format!("`vast-keeper logs {node}` tells more; `--force` deploys it again"))
        }
        DeployFault::RollbackFailed { .. } => failure.hint(format!("`vast-keeper diagnose {node}`")),
        DeployFault::Refused(_) => failure.hint(format!(
            "`vast-keeper maintenance status {node}` tells who is in the way; a server that only is not at rest is changed \
             all the same by `--on-timeout proceed`"
        )),
        DeployFault::Release(_)
        | DeployFault::Box(_)
        | DeployFault::Unhealthy(_)
        | DeployFault::HostKeyChanged(_)
        | DeployFault::Halfway { .. } => failure,
    }
}
