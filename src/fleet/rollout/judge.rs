//! What is to be done next.

use std::collections::BTreeMap;

use super::{Ending, Left, Manner, Member, Progress, Rollout, Verdict};
use crate::fleet::{name::NodeName, release::signature, units::Timestamp};

/// Which nodes answered well just now; one that is missing did not.
pub type Health = BTreeMap<NodeName, bool>;

/// What a runner is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Begin on these at once, and wait for all of them.
    Start(Vec<NodeName>),
    /// Wait for what is under way.
    Await(Vec<NodeName>),
    /// Wait.
    Wait {
        /// Until when.
        until: Timestamp,
    },
    /// Wait until enough nodes are healthy.
    WaitForHealth {
        /// Until when, before a person must decide.
        until: Timestamp,
        /// What is missing.
        why: String,
    },
    /// Ask this node and the others, and compare them.
    Analyse {
        /// The held node.
        node: NodeName,
        /// Those that still have the release before.
        others: Vec<NodeName>,
        /// Until when.
        until: Timestamp,
    },
    /// Note that nothing begins until somebody decides.
    Pause {
        /// Why.
        why: String,
    },
    /// Nothing: a person is awaited.
    Stand,
    /// Take these back to the release before.
    GoBack {
        /// Which.
        nodes: Vec<NodeName>,
        /// Why.
        why: String,
    },
    /// See to these, which a runner that died left half-way: nothing ends over them.
    Settle(Vec<NodeName>),
    /// Note that it has ended.
    Finish(Ending),
    /// It has ended.
    Nothing,
}

impl Rollout {
    /// What is to be done now.
    #[must_use]
    pub fn next(&self, now: Timestamp, health: &Health) -> Order {
        if self.ending.is_some() {
            return Order::Nothing;
        }
        let working = self.in_state(|progress| *progress == Progress::Working);
        if !working.is_empty() {
            return Order::Await(working);
        }
        let half_way = self.half_way();
        if let Some(order) = self.end() {
            return if half_way.is_empty() { order } else { Order::Settle(half_way) };
        }
        if self.paused.is_some() {
            return Order::Stand;
        }
        // Whoever was worked on is disturbed already: to wait for others' health would only prolong that.
        if !half_way.is_empty() {
            return Order::Start(half_way);
        }
        if let Some(order) = self.hold() {
            return order;
        }
        let waiting = self.in_state(|progress| *progress == Progress::Waiting);
        if waiting.is_empty() {
            return Order::Finish(Ending::Done);
        }
        let due = self.settled_at.after(self.brief.plan.wait);
        if self.has_begun() && now < due {
            return Order::Wait { until: due };
        }
        self.batch(waiting, now, health)
    }

    /// The evidence, where two boxes of different hosts failed alike with the release and the release is said to be at fault.
    #[must_use]
    pub fn at_fault(&self) -> Option<String> {
        let failed: Vec<(&Member, &str)> = self
            .standing()
            .filter_map(|(member, progress)| match progress {
                Progress::Failed { detail, at_fault: true, .. } => Some((member, detail.as_str())),
                _ => None,
            })
            .collect();
        let alike = |one: &(&Member, &str), other: &(&Member, &str)| {
            one.0.host != other.0.host && signature(one.1) == signature(other.1)
        };
        let (first, second) = failed.iter().enumerate().find_map(|(index, one)| {
            failed.iter().skip(index + 1).find(|other| alike(one, other)).map(|other| (one, other))
        })?;
        Some(format!(
            "`{}` of host {} and `{}` of host {} failed alike: {}",
            first.0.node, first.0.host, second.0.node, second.0.host, first.1
        ))
    }

    /// Where it must end: the release at fault, the held node worse, the budget used up, somebody's wish.
    fn end(&self) -> Option<Order> {
        if let Some(evidence) = self.at_fault() {
            return Some(self.back_or(&evidence, Ending::AtFault { evidence: evidence.clone() }));
        }
        if let Some(Verdict::Worse { why }) = &self.verdict {
            return Some(self.back_or(why, Ending::Worse { why: why.clone() }));
        }
        if let Some((by, back)) = &self.aborted {
            let ending = Ending::Aborted { by: by.clone() };
            return Some(if *back { self.back_or("it was aborted", ending) } else { Order::Finish(ending) });
        }
        let stopped = |why: String| Some(Order::Finish(Ending::Stopped { why }));
        let blamed = self.progress.iter().find_map(|(node, progress)| match progress {
            Progress::Failed { detail, at_fault: true, .. } => Some((node, detail)),
            _ => None,
        });
        if let Some((node, detail)) = blamed.filter(|_| !self.gate_passed()) {
            return stopped(format!("the gate `{node}` does not take it: {detail}"));
        }
        let lost = self.progress.iter().find_map(|(node, progress)| match progress {
            Progress::Failed { left: Left::Broken, detail, .. } => Some((node, detail)),
            _ => None,
        });
        if let Some((node, detail)) = lost {
            return stopped(format!("`{node}` could not go back: {detail}"));
        }
        let (failures, budget) = (self.failures(), self.budget());
        (failures > budget).then(|| stopped(format!("{failures} nodes failed, {budget} may"))).flatten()
    }

    /// Takes back whoever got the release in this rollout; once nobody is left, ends.
    fn back_or(&self, why: &str, ending: Ending) -> Order {
        let nodes = self.in_state(|progress| matches!(progress, Progress::Done { changed: true, .. }));
        if nodes.is_empty() { Order::Finish(ending) } else { Order::GoBack { nodes, why: why.to_owned() } }
    }

    /// The canary's time between the gate and the first batch.
    fn hold(&self) -> Option<Order> {
        let plan = &self.brief.plan;
        let settled = matches!(self.verdict, Some(Verdict::Better { .. }));
        if plan.manner != Manner::Canary || settled {
            return None;
        }
        if let Some(Verdict::Unknown { why }) = &self.verdict {
            return Some(Order::Pause { why: format!("nothing can be said of the canary: {why}") });
        }
        let (node, at) = self.standing().find_map(|(member, progress)| match progress {
            Progress::Done { at, changed: true } => Some((member.node.clone(), at)),
            _ => None,
        })?;
        let others = self.in_state(|progress| *progress == Progress::Waiting);
        let from = self.taken_up_at.map_or(*at, |taken_up| taken_up.max(*at));
        Some(Order::Analyse { node, others, until: from.after(plan.hold) })
    }

    fn batch(&self, waiting: Vec<NodeName>, now: Timestamp, health: &Health) -> Order {
        let plan = &self.brief.plan;
        let well = |node: &NodeName| health.get(node).copied().unwrap_or(false);
        let nodes = self.brief.members.len();
        let healthy = self.brief.members.iter().filter(|member| well(&member.node)).count();
        let floor = plan.floor(nodes);
        let mut spare = healthy.saturating_sub(floor);
        let single = !self.gate_passed() || plan.manner == Manner::BlueGreen;
        let size = if single { 1 } else { plan.batch.batch(nodes) };
        let mut chosen = Vec::new();
        for node in waiting {
            if chosen.len() >= size {
                break;
            }
            // Whoever is not healthy anyway costs nobody anything; but a gate must be able to pass.
            if well(&node) {
                let Some(left) = spare.checked_sub(1) else { continue };
                spare = left;
            } else if !self.gate_passed() && healthy > 0 {
                continue;
            }
            chosen.push(node);
        }
        if !chosen.is_empty() {
            return Order::Start(chosen);
        }
        let why = format!("{healthy} of {nodes} nodes are healthy, and {floor} must stay so");
        let until = self.settled_at.after(plan.wait).after(plan.health_within);
        if now < until { Order::WaitForHealth { until, why } } else { Order::Pause { why } }
    }

    /// Those that a runner left half-way and nobody has begun again.
    fn half_way(&self) -> Vec<NodeName> {
        let cut_short = self.standing().filter(|(member, progress)| {
            **progress == Progress::Waiting && self.cut_short.contains(&member.node)
        });
        cut_short.map(|(member, _)| member.node.clone()).collect()
    }

    fn in_state(&self, wanted: impl Fn(&Progress) -> bool) -> Vec<NodeName> {
        self.standing()
            .filter(|(_, progress)| wanted(progress))
            .map(|(member, _)| member.node.clone())
            .collect()
    }

    /// Whether the release was seen serving on one node at least; a canary must be one that did not serve it before.
    fn gate_passed(&self) -> bool {
        let canary = self.brief.plan.manner == Manner::Canary;
        let passed = |progress: &Progress| match progress {
            Progress::Done { changed, .. } => *changed || !canary,
            _ => false,
        };
        self.progress.values().any(passed)
    }

    fn has_begun(&self) -> bool {
        self.progress.values().any(|progress| *progress != Progress::Waiting)
    }
}
