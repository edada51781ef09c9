//! Nodes that should be probed and are not: the one fault that no probe can report.
//!
//! A prober that died or starves leaves the last good observation standing, so the view lets it lapse and this tells it.

use std::time::Duration;

use super::{
    super::{beside::Beside, tell},
    Turn,
};

/// How often the nodes are counted: cheap for the largest fleet, and soon enough for what takes intervals to show.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Turn<'_> {
    /// Tells once that nodes go unobserved, and once that they no longer do.
    pub(super) fn notice_blindness(&mut self) {
        let now = self.now();
        if now.since(self.memory.blindness.looked_at) < LOOK_EVERY {
            return;
        }
        self.memory.blindness.looked_at = now;
        let (mut blind, mut oldest) = (0_u32, now);
        let (mut specs, mut watches) =
            (Beside::new(&self.context.policy.nodes), Beside::new(&self.memory.watches));
        for (name, node) in &self.fleet.nodes {
            let (Some(_), Some(spec)) = (node.state.probed(), specs.get(name)) else { continue };
            if let Some(since) = self.memory.unobserved_since(watches.get(name), &spec.health, now) {
                blind += 1;
                oldest = oldest.min(since);
            }
        }
        if (blind > 0) == self.memory.blindness.told {
            return;
        }
        self.memory.blindness.told = blind > 0;
        let notice =
            if blind > 0 { tell::blind(now, blind, now.since(oldest)) } else { tell::blind_no_more(now) };
        self.tell(notice);
    }
}
