//! The rail of the keeper's own network: before a box is destroyed, something else must prove that we are not the ones cut off.

use std::time::Duration;

use super::{Deferral, Guard, Rail, Wanted, defer};
use crate::fleet::{
    breaker::Census,
    name::NodeName,
    planted::{Bug, planted},
    probe::Verdict,
    units::Timestamp,
};

/// How late the probe of a failing node that follows a peer's good one may start and still be the next.
const LATE_START: Duration = Duration::from_secs(5);

impl Guard<'_> {
    /// Proof that we are not the ones cut off.
    pub(super) fn own_network(&self, census: Census, wanted: Wanted) -> Result<String, Deferral> {
        self.inventory()?;
        if census.healthy > 0 {
            return Ok("the provider and a healthy node answer".into());
        }
        if self.policy.rails.canaries.is_empty() && wanted != Wanted::Unwitnessed {
            return Ok(
                "the provider answers and a witness confirms; no peer is healthy and no canary is configured"
                    .into(),
            );
        }
        self.canaries(Timestamp(0))
    }

    /// Proof that we can reach boxes, where no witness confirms what our probes saw: a peer that answered all along while this
    /// node failed. One answer says nothing of a network that comes and goes.
    pub(super) fn way_to_boxes(&self, node: &NodeName, since: Timestamp) -> Result<String, Deferral> {
        self.inventory()?;
        // Canaries prove our way into the internet, not our way to the boxes: that only another box can, where there is one.
        if self.policy.nodes.keys().any(|peer| peer != node) && !planted(Bug::CanariesProveAll) {
            if let Some(peer) = self.peer_that_answered_all_along(node) {
                return Ok(format!("the provider answers, and so did {peer} all along"));
            }
            let why = "only our own probes fail it: no witness answers, and no other node has answered all along, so our way \
                       to all boxes may be cut";
            return defer(Rail::SelfCheck, why, None);
        }
        self.canaries(since)
    }

    /// Another node all of whose probes were good for as long as the threshold takes, while all of this one's failed, and the last
    /// of them just before this one's last: what failed since then may have failed for our own sake, and this one may be well.
    fn peer_that_answered_all_along(&self, node: &NodeName) -> Option<&NodeName> {
        let (health, own) = (&self.policy.nodes.get(node)?.health, self.memory.watches.get(node)?);
        let (failing_since, own_last) = (own.undisproved()?.0, own.last.as_ref()?.at);
        let window = health.interval.saturating_mul(health.failure_threshold.max(1));
        let just_before = health.retry_interval.max(health.timeout).saturating_add(LATE_START);
        let answered = |name: &&NodeName| {
            let Some(watch) = self.memory.watches.get(*name) else { return false };
            let (Some(well_since), Some(last)) = (watch.well_since, watch.last.as_ref()) else {
                return false;
            };
            last.at <= own_last
                && own_last.since(last.at) <= just_before
                && last.at.since(well_since.max(failing_since)) >= window
        };
        self.policy.nodes.keys().filter(|peer| *peer != node).find(answered)
    }

    /// Another node whose last probe was good and began after `since`, and before the last one of this node: what failed
    /// before our way to the boxes came back says nothing of what it would answer now.
    pub fn peer_that_answered(&self, node: &NodeName, since: Timestamp) -> Option<&NodeName> {
        let last = |name: &NodeName| self.memory.watches.get(name).and_then(|watch| watch.last.as_ref());
        let own = last(node)?.at;
        let answers = |name: &&NodeName| {
            last(name).is_some_and(|last| {
                (since..=own).contains(&last.at) && !matches!(last.verdict, Verdict::Failing(_))
            })
        };
        self.policy.nodes.keys().filter(|peer| *peer != node).find(answers)
    }

    /// Most canaries answered, when last asked and not before `since`.
    fn canaries(&self, since: Timestamp) -> Result<String, Deferral> {
        if self.policy.rails.canaries.is_empty() {
            let why = "only our own probes fail it: no witness answers, there is no peer and no canary is configured, so we may \
                       be the ones cut off; name one or two in `rails.canaries`";
            return defer(Rail::SelfCheck, why, None);
        }
        let fresh = |at: Timestamp| self.now.since(at) <= self.policy.rails.inventory_fresh && at >= since;
        match self.memory.self_check {
            Some(check) if fresh(check.at) && check.answered * 2 > check.asked => {
                Ok(format!("the provider and {} of {} canaries answer", check.answered, check.asked))
            }
            Some(check) if fresh(check.at) => {
                let why =
                    format!("only {} of {} canaries answer: we may be cut off", check.answered, check.asked);
                defer(Rail::SelfCheck, why, None)
            }
            _ => defer(Rail::SelfCheck, "the canaries were not asked yet", None),
        }
    }
}
