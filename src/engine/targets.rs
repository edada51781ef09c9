//! Keeps the prober pointed at whom the state says to probe.

use std::sync::Arc;

use super::Engine;
use crate::fleet::{
    name::NodeName,
    probe::{Target, Watched},
};

impl Engine {
    pub(super) fn retarget_all(&mut self) {
        let names: Vec<NodeName> = self.fleet.nodes.keys().chain(self.watched.keys()).cloned().collect();
        for name in names {
            self.retarget(&name);
        }
    }

    /// Lets the prober take over changed rules for a node it watches already.
    pub(super) fn watch_anew(&mut self, name: &NodeName) {
        if let (Some(target), Some(spec)) = (self.watched.get(name), self.policy.nodes.get(name)) {
            self.watch(Watched { target: target.clone(), health: Arc::clone(spec) });
        }
    }

    fn watch(&mut self, watched: Watched) {
        let target = watched.target.clone();
        match self.executor.edges().prober.watch(watched) {
            Ok(()) => {
                self.watched.insert(target.node.clone(), target);
            }
            Err(fault) => {
                let fault = &fault as &dyn std::error::Error;
                tracing::error!(node = %target.node, fault, "cannot probe the node");
            }
        }
    }

    /// Points the node's probe at whom the state says to probe, if anybody.
    pub(super) fn retarget(&mut self, name: &NodeName) {
        let spec = self.policy.nodes.get(name);
        let probed = self.fleet.nodes.get(name).and_then(|node| node.state.probed());
        let (Some(spec), Some(tenant)) = (spec, probed) else {
            if self.watched.remove(name).is_some() {
                self.executor.edges().prober.unwatch(name);
            }
            return;
        };
        let target =
            Target { node: name.clone(), address: tenant.address, identity: tenant.rental.op.clone() };
        if self.watched.get(name) == Some(&target) {
            return;
        }
        self.watch(Watched { target, health: Arc::clone(spec) });
    }
}
