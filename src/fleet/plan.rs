//! How long a mass replacement takes, and in which order: said before it happens.
//!
//! The order is the configured priority, then whoever served longest. The time is the longest of what the parallel limit, the
//! breaker's spacing, the provider's spacing of calls and the hourly cap leave; it is an estimate, and says what it hangs on.

use std::{cmp::Reverse, time::Duration};

use super::{
    breaker::Position,
    guard::Guard,
    name::NodeName,
    state::{Node, NodeState, Stage},
    units::Timestamp,
};

/// One replacement from the decision to healthy, until the keeper has seen some itself: a boot of some minutes and a deploy.
const TYPICAL: Duration = Duration::from_secs(360);
/// The slowest call that each replacement needs once: Vast.ai allows ten searches a minute.
const SLOWEST_CALL: Duration = Duration::from_secs(6);
const HOUR: Duration = Duration::from_secs(3600);

/// What is ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Failed nodes whose replacement has not begun, the next one first.
    pub waiting: Vec<NodeName>,
    /// Replacements under way.
    pub under_way: u32,
    /// How long until the last one serves; `None` while the breaker holds.
    pub takes: Option<Duration>,
    /// What that hangs on, in words.
    pub limit: String,
}

impl Guard<'_> {
    /// The plan, where some failed node waits.
    #[must_use]
    pub fn plan(&self) -> Option<Plan> {
        let failed = |name: &NodeName, node: &Node| match &node.state {
            NodeState::Suspect { .. } => {
                let threshold = self.policy.nodes.get(name).map(|spec| spec.health.failure_threshold.max(1));
                let failures = self.memory.watches.get(name).map_or(0, |watch| watch.failures);
                node.paused.is_none() && threshold.is_some_and(|threshold| failures >= threshold)
            }
            _ => false,
        };
        let waiting = self.fleet.nodes.iter().filter(|(name, node)| failed(name, node));
        let mut waiting: Vec<NodeName> = waiting.map(|(name, _)| name.clone()).collect();
        if waiting.is_empty() {
            return None;
        }
        waiting.sort_by_cached_key(|name| self.rank(name));
        let under_way = self.recoveries_under_way();
        let (takes, limit) = self.takes(u32::try_from(waiting.len()).unwrap_or(u32::MAX), under_way);
        Some(Plan { waiting, under_way, takes, limit })
    }

    /// Sorts the most valuable node first: the highest priority, then whoever serves longest, then by name.
    fn rank(&self, name: &NodeName) -> (Reverse<u32>, Timestamp, NodeName) {
        let priority = self.policy.nodes.get(name).map_or(0, |spec| spec.priority);
        let serves_since = self.fleet.nodes.get(name).and_then(|node| node.adopted_at);
        (Reverse(priority), serves_since.unwrap_or(Timestamp(u64::MAX)), name.clone())
    }

    /// A node that waits for the same turn as this one and is worth more. Only those that nothing but a shared rail keeps
    /// back count, so that no node waits for one that waits for something else.
    #[must_use]
    pub fn more_valuable(&self, name: &NodeName) -> Option<NodeName> {
        let own = self.rank(name);
        let shared = |other: &NodeName| {
            let blocked = self.memory.desks.get(other).and_then(|desk| desk.blocked.as_ref());
            blocked.is_some_and(|blocked| blocked.rail.is_shared_turn())
        };
        let waits = |other: &NodeName, node: &Node| {
            matches!(node.state, NodeState::Suspect { .. })
                && other != name
                && node.paused.is_none()
                && shared(other)
        };
        let others = self.fleet.nodes.iter().filter(|(other, node)| waits(other, node));
        let best = others.map(|(other, _)| self.rank(other)).min()?;
        (best < own).then_some(best.2)
    }

    fn takes(&self, waiting: u32, under_way: u32) -> (Option<Duration>, String) {
        let typical = self.memory.typical_recovery().unwrap_or(TYPICAL);
        let rails = &self.policy.rails;
        if self.fleet.breaker == Position::Hold {
            return (None, "the breaker holds until some node is healthy".into());
        }
        let all = waiting.saturating_add(under_way);
        let lanes = self.parallel().max(1);
        let mut ways = vec![
            (typical.saturating_mul(all.div_ceil(lanes)), format!("`rails.parallel`, {lanes} at once")),
            (
                SLOWEST_CALL.saturating_mul(all).saturating_add(typical),
                "the provider's spacing of searches".to_owned(),
            ),
        ];
        if self.fleet.breaker == Position::Slow {
            let spaced = rails.breaker_spacing.saturating_mul(waiting).saturating_add(typical);
            ways.push((spaced, "the breaker, one start at a time".into()));
        }
        let left = rails.fleet_hourly.saturating_sub(self.replacements_since(HOUR));
        if waiting > left {
            let hours = (waiting - left).div_ceil(rails.fleet_hourly.max(1));
            let capped = HOUR.saturating_mul(hours).saturating_add(typical);
            ways.push((capped, format!("`rails.fleet_hourly`, {left} of {} left", rails.fleet_hourly)));
        }
        let longest = ways.into_iter().max_by_key(|(takes, _)| *takes);
        longest.map_or((Some(typical), String::new()), |(takes, limit)| (Some(takes), limit))
    }
}

/// Whether a recovery still has to rent.
#[must_use]
pub fn seeks(state: &NodeState) -> bool {
    match state {
        NodeState::Vacant => true,
        NodeState::Recovering(recovery) => matches!(recovery.stage, Stage::Started { .. }),
        NodeState::Serving(_)
        | NodeState::Suspect { .. }
        | NodeState::Remedying { .. }
        | NodeState::Held { .. } => false,
    }
}
