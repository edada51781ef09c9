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
        let mut unfit: Vec<String> = Vec::new();
        for (node, fault) in nodes.iter().zip(faults) {
            if is_no_disturbance(&fault.kind) {
                unfit.push(Self::label_of(node));
            }
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
        // Newcomers that were unfit from the first moment; whom a node had before, and has now, must be in order.
        let now = self.instances().await;
        let ledger = self.sim.ledger();
        let kept = |id: u64| before.values().chain(now.values()).any(|kept| *kept == id);
        let of_unfit = |label: &str| unfit.iter().any(|prefix| label.starts_with(prefix.as_str()));
        let unfit = ledger.rentals.iter().filter(|rental| rental.label.as_deref().is_some_and(of_unfit));
        let unfit: Vec<u64> = unfit.map(|rental| rental.instance).filter(|id| !kept(*id)).collect();
        self.excuse(unfit);
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

/// Whether a rental hit by this never serves although nothing ever happens to its box.
fn is_no_disturbance(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::PortsMissing { .. } | FaultKind::CreateErrorWithContract | FaultKind::SshAuthRefused
    )
}
