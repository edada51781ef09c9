//! The fold of deploys: what serves where by hand, and which pairs are quarantined.

use crate::fleet::{
    deployed::{DeployReport, Quarantined, quarantine},
    journal::ReleaseRef,
    state::Fleet,
    units::Timestamp,
};

impl Fleet {
    pub(super) fn apply_report(&mut self, at: Timestamp, report: &DeployReport) {
        if let (true, Some(wanted)) = (report.condemns_its_pair(), &report.wanted) {
            let why = report.detail.clone();
            let entry = Quarantined { release: wanted.clone(), at, node: report.node.clone(), why };
            // A pair that another node was last verified with is good; what failed here is this box.
            let proven = self.nodes.iter().any(|(name, node)| {
                *name != report.node && node.placed.as_ref().is_some_and(|placed| placed.name == wanted.name)
            });
            if !proven {
                quarantine(&mut self.quarantine, entry);
            }
        }
        if let Some(left) = report.leaves.as_ref().filter(|_| report.at_fault) {
            let why = "it was found at fault after it had been verified".into();
            let entry = Quarantined { release: left.clone(), at, node: report.node.clone(), why };
            quarantine(&mut self.quarantine, entry);
        }
        let Some(serves) = &report.serves else { return };
        if report.outcome.is_good() {
            self.quarantine.remove(&serves.name);
        }
        let Some(node) = self.nodes.get_mut(&report.node) else { return };
        if node.state.tenant().is_none_or(|tenant| tenant.instance != report.instance) {
            return;
        }
        node.release = Some(ReleaseRef { digest: serves.digest.clone(), commit: serves.commit.clone() });
        if !report.healing {
            node.placed = Some(serves.clone());
            self.verified = Some(serves.clone());
        }
        if report.outcome.is_good() {
            self.prove(at, Some(serves.digest.clone()));
        }
    }
}
