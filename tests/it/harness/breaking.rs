//! Breaking things on purpose, and waiting until the keeper has healed them.

use std::collections::BTreeMap;

use vast_sim::{Action, Fault, FaultId, FaultKind};

use super::Fleet;

/// The listener and every process that would restart it.
pub const KILL_SERVER: FaultKind = FaultKind::KillServer { whole_session: true };

impl Fleet {
    /// Does a deed to the instance that fills a node now.
    pub async fn hit(&self, node: &str, deed: FaultKind) {
        let instance = self.instance(node).await;
        self.sim.act(instance, Action::Do(deed)).await.unwrap();
    }

    pub fn inject(&self, fault: Fault) -> FaultId {
        self.sim.inject(fault).unwrap()
    }

    /// How often a rule has fired.
    pub fn fired(&self, id: FaultId) -> u32 {
        self.sim.faults().iter().find(|rule| rule.id == id).map_or(0, |rule| rule.fired)
    }

    /// The label prefix of a node's rentals.
    pub fn label_of(node: &str) -> String {
        format!("vk:e2e:{node}:")
    }

    /// One round: each fault waits for the rental of its own node, duel-0, duel-1 and so on; then the servers of those nodes
    /// die together. Every node must serve from a new instance at the end, every fault have fired, and nothing be leaked,
    /// doubled or wrongly destroyed.
    pub async fn round(&self, faults: Vec<Fault>) {
        let before = self.instances().await;
        let nodes: Vec<String> = (0..faults.len()).map(|number| format!("duel-{number}")).collect();
        let mut rules: BTreeMap<FaultId, String> = BTreeMap::new();
        for (node, fault) in nodes.iter().zip(faults) {
            let what = format!("{:?} at {:?}", fault.kind, fault.endpoint);
            rules.insert(self.inject(fault.on_label(&Self::label_of(node))), what);
        }
        for node in &nodes {
            self.hit(node, KILL_SERVER).await;
        }
        self.replaced(&nodes, &before).await;
        for (rule, what) in rules {
            assert!(self.fired(rule) > 0, "{what} never fired");
        }
        self.sim.clear_faults();
        self.verdict(&[]).await.is_clean();
    }

    /// Waits until all nodes serve, these ones from another instance than before.
    pub async fn replaced(&self, nodes: &[String], before: &BTreeMap<String, u64>) {
        self.until(&format!("{nodes:?} replaced"), |view| {
            view.healthy == view.wanted
                && view.doomed.is_empty()
                && view.nodes.iter().all(|node| {
                    let same = before.get(node.node.as_str()).copied() == node.instance.map(|id| id.0);
                    let hit = nodes.iter().any(|name| node.node.as_str() == name);
                    node.incident.is_none() && node.state == "serving" && same != hit
                })
        })
        .await;
    }
}
