//! When to look at a node again. One entry a node: the earliest wish wins.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::{name::NodeName, units::Timestamp};

/// Pending looks.
#[derive(Debug, Default)]
pub struct Timers {
    by_node: BTreeMap<NodeName, Timestamp>,
    by_time: BTreeSet<(Timestamp, NodeName)>,
}

impl Timers {
    /// Asks for a look at `at`, unless an earlier one is pending.
    pub fn set(&mut self, node: NodeName, at: Timestamp) {
        if let Some(earlier) = self.by_node.get(&node).copied() {
            if earlier <= at {
                return;
            }
            self.by_time.remove(&(earlier, node.clone()));
        }
        self.by_time.insert((at, node.clone()));
        self.by_node.insert(node, at);
    }

    /// The time of the earliest look.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes a node whose look is due.
    pub fn pop(&mut self, now: Timestamp) -> Option<NodeName> {
        if self.next().is_none_or(|at| at > now) {
            return None;
        }
        let (_, node) = self.by_time.pop_first()?;
        self.by_node.remove(&node);
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_wish_wins_and_each_node_comes_once() {
        let (a, b): (NodeName, NodeName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut timers = Timers::default();
        timers.set(a.clone(), Timestamp(30));
        timers.set(b.clone(), Timestamp(20));
        timers.set(a.clone(), Timestamp(10));
        timers.set(a.clone(), Timestamp(40));
        assert_eq!(timers.next(), Some(Timestamp(10)));
        assert_eq!(timers.pop(Timestamp(9)), None);
        assert_eq!(timers.pop(Timestamp(25)), Some(a));
        assert_eq!(timers.pop(Timestamp(25)), Some(b));
        assert_eq!(timers.pop(Timestamp(99)), None);
    }
}
