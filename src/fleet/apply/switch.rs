//! The fold of blue-green replacements: what the newcomer gets, who stands by, who was switched back to.

use super::{Misfit, misfit};
use crate::fleet::{
    journal::{Entry, Record},
    name::InstanceId,
    standby::{Next, Standby},
    state::{Fleet, Node, NodeState},
};

impl Node {
    /// Whether an instance is the way back.
    pub(super) fn stands_by(&self, instance: InstanceId) -> bool {
        self.standby.as_ref().is_some_and(|standby| standby.tenant.instance == instance)
    }
}

impl Fleet {
    pub(super) fn apply_switch(&mut self, entry: &Entry) -> Result<(), Misfit> {
        let at = entry.at;
        match &entry.record {
            Record::NextRelease { node: name, release, keep_ms } => {
                let node = self.node_mut(name);
                let NodeState::Recovering(recovery) = &node.state else {
                    return Err(misfit("next-release", name, &node.state));
                };
                if recovery.kept.is_none() || recovery.stage.claim().is_some() {
                    return Err(misfit("next-release", name, &node.state));
                }
                node.next = Some(Next { release: release.clone(), keep_ms: *keep_ms });
            }
            Record::StoodBy { node: name, instance, until } => {
                let doomed = self.doomed.contains_key(instance);
                let node = self.node_mut(name);
                let fits = node.standby.is_none() && !doomed;
                let NodeState::Recovering(recovery) = &mut node.state else {
                    return Err(misfit("stood-by", name, &node.state));
                };
                let Some(kept) = recovery.kept.take_if(|kept| fits && kept.tenant.instance == *instance)
                else {
                    return Err(misfit("stood-by", name, &node.state));
                };
                // What the node remembers as deployed is the newcomer's by now; the tenant's own is what was verified there.
                let placed = node.placed.clone();
                let release = placed.as_ref().map(|placed| crate::fleet::journal::ReleaseRef {
                    digest: placed.digest.clone(),
                    commit: placed.commit.clone(),
                });
                let release = release.or(kept.release);
                node.standby = Some(Standby { tenant: kept.tenant, until: *until, release, placed });
            }
            Record::SwitchedBack { node: name, instance, .. } => {
                self.newcomer_is_settled("switched-back", name)?;
                let alive = self.nodes.get(name).and_then(|node| node.state.tenant());
                let orphaned = alive.is_some_and(|tenant| !self.doomed.contains_key(&tenant.instance));
                let doomed = self.doomed.contains_key(instance);
                let node = self.node_mut(name);
                let Some(standby) = node
                    .standby
                    .take_if(|standby| !orphaned && !doomed && standby.tenant.instance == *instance)
                else {
                    return Err(misfit("switched-back", name, &node.state));
                };
                node.state = NodeState::Serving(standby.tenant);
                node.adopted_at = Some(at);
                node.release = standby.release;
                node.placed = standby.placed;
                node.next = None;
            }
            _ => {}
        }
        Ok(())
    }
}
