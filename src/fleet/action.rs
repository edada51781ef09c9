//! What the rails count: rentals and recoveries of the last week, by time.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    name::{NodeName, OpId},
    units::{Money, Timestamp},
};

/// How long an action is remembered: longer than any window a rail is sensibly given.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Something a rail counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// When.
    pub at: Timestamp,
    /// Whose.
    pub node: NodeName,
    /// What.
    pub what: ActionKind,
}

/// What a rail counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum ActionKind {
    /// A rental that happened or may have.
    Create {
        /// The attempt.
        op: OpId,
        /// Whether it replaces something or is a node's first.
        replacement: bool,
        /// Its price an hour.
        price: Money,
    },
    /// A recovery of a node that had been filled began.
    Recovery,
}

/// Actions in the order of their times, also where a clock was set back between two of them: so a window is looked at
/// without the week before it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "VecDeque<Action>")]
pub struct Actions(VecDeque<Action>);

impl Actions {
    /// Counts one more, and forgets those that are older than any window.
    pub fn add(&mut self, action: Action) {
        while self.0.front().is_some_and(|oldest| action.at.since(oldest.at) > KEPT) {
            self.0.pop_front();
        }
        let place = self.0.partition_point(|earlier| earlier.at <= action.at);
        self.0.insert(place, action);
    }

    /// A create that certainly rented nothing does not count.
    pub fn forget_create(&mut self, failed: &OpId) {
        let is_it = |action: &Action| matches!(&action.what, ActionKind::Create { op, .. } if op == failed);
        if let Some(place) = self.0.iter().rposition(is_it) {
            self.0.remove(place);
        }
    }

    /// Those of `since` and later.
    pub fn from(&self, since: Timestamp) -> impl DoubleEndedIterator<Item = &Action> {
        let first = self.0.partition_point(|earlier| earlier.at < since);
        self.0.range(first..)
    }

    /// Those of the whole week, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Action> {
        self.0.iter().rev()
    }
}

/// A snapshot of an earlier version may hold them in the order of their entries.
impl From<VecDeque<Action>> for Actions {
    fn from(mut actions: VecDeque<Action>) -> Self {
        actions.make_contiguous().sort_by_key(|action| action.at);
        Self(actions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Action {
        Action { at: Timestamp(ms), node: "duel-0".parse().unwrap(), what: ActionKind::Recovery }
    }

    fn times<'a>(actions: impl Iterator<Item = &'a Action>) -> Vec<u64> {
        actions.map(|action| action.at.0).collect()
    }

    #[test]
    fn a_window_is_whole_though_the_clock_was_set_back() {
        let mut actions = Actions::default();
        [1_000, 3_000, 2_000, 3_000].into_iter().for_each(|ms| actions.add(at(ms)));
        assert_eq!(times(actions.from(Timestamp(2_000))), [2_000, 3_000, 3_000]);
        assert_eq!(times(actions.newest_first()), [3_000, 3_000, 2_000, 1_000]);
        assert!(times(actions.from(Timestamp(3_001))).is_empty());
    }

    #[test]
    fn a_snapshot_in_the_order_of_its_entries_is_put_in_order() {
        let disordered = serde_json::to_string(&[at(3_000), at(1_000)]).unwrap();
        let actions: Actions = serde_json::from_str(&disordered).unwrap();
        assert_eq!(times(actions.from(Timestamp(0))), [1_000, 3_000]);
        let again: Actions = serde_json::from_str(&serde_json::to_string(&actions).unwrap()).unwrap();
        assert_eq!(again, actions);
    }

    #[test]
    fn what_is_older_than_a_week_is_forgotten() {
        let mut actions = Actions::default();
        actions.add(at(0));
        actions.add(at(7 * 24 * 3_600_000 + 1));
        assert_eq!(times(actions.newest_first()), [604_800_001]);
    }
}
