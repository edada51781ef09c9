//! With the store broken nothing is decided: health is still measured, failing nodes are still told, and the store is tried
//! again until it can be written; then the state is read back from it.

use super::{Engine, StorageFault, Timers};
use crate::fleet::{
    event::Event,
    memory::Memory,
    name::NodeName,
    notice::{Notice, Severity, Topic},
    units::Timestamp,
};

impl Engine {
    /// Health is still measured, so that the page and the metrics stay true, and a node that fails is still told, once.
    pub(super) fn only_watch(&mut self, event: Event) {
        let Event::Probed { node, observation } = event else { return };
        let threshold =
            self.policy.nodes.get(&node).map_or(u32::MAX, |spec| spec.health.failure_threshold.max(1));
        let watch = self.memory.watch(&node);
        let before = watch.failures;
        watch.observe(observation);
        if watch.failures >= threshold && before < threshold {
            let why = watch.failure_text();
            let notice = unhealed(self.clock.now(), &node, &why);
            tracing::error!(%node, "{}", notice.title);
            self.storage.tell_unstored(&notice);
        }
    }

    pub(super) async fn storage_failed(&mut self, fault: StorageFault) {
        tracing::error!(%fault, "the store failed: nothing is changed until it works again");
        self.storage.fail(&fault, self.clock.now()).await;
        self.executor.stop_interruptible();
    }

    pub(super) async fn try_storage_again(&mut self, now: Timestamp) {
        let Some(fleet) = self.storage.reopen(now).await else { return };
        tracing::info!("the store works again; the state was read back from it");
        self.fleet = fleet;
        let watches = std::mem::take(&mut self.memory.watches);
        self.memory = Memory { watches, ..Memory::starting(now, self.policy.rails.warm_up) };
        self.timers = Timers::default();
        self.boot().await;
    }
}

/// The news that the journal cannot be written.
pub(super) fn unwritable(at: Timestamp, fault: &StorageFault) -> Notice {
    let next = match fault {
        StorageFault::Store(_) => {
            "free the disk or mend the state directory; the keeper tries again by itself"
        }
        StorageFault::Defect(_) => {
            "the keeper reads its state anew and tries again by itself; if this comes back, stop it, keep a copy of the state \
             directory and report the defect with it"
        }
    };
    Notice {
        at,
        severity: Severity::Critical,
        topic: Topic::Keeper,
        node: None,
        incident: None,
        title: "the keeper cannot write its journal: it only watches and tells".into(),
        facts: vec![("why".into(), fault.to_string())],
        next: next.into(),
    }
}

fn unhealed(at: Timestamp, node: &NodeName, why: &str) -> Notice {
    Notice {
        at,
        severity: Severity::Critical,
        topic: Topic::IncidentOpened,
        node: Some(node.clone()),
        incident: None,
        title: format!("{node} is failing and is not healed while the journal cannot be written: {why}"),
        facts: vec![("why".into(), why.to_owned())],
        next: "mend the state directory; healing goes on by itself then".into(),
    }
}
