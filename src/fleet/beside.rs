//! Looking up many names in their order: the maps of all nodes are walked beside each other, once, instead of searched anew
//! for each node.

use std::{
    collections::{BTreeMap, btree_map},
    iter::Peekable,
};

use super::name::NodeName;

/// A map of nodes that is asked for ever later names.
pub(super) struct Beside<'a, V> {
    rest: Peekable<btree_map::Iter<'a, NodeName, V>>,
}

impl<'a, V> Beside<'a, V> {
    pub fn new(map: &'a BTreeMap<NodeName, V>) -> Self {
        Self { rest: map.iter().peekable() }
    }

    /// The value of a name that is not before any asked for so far.
    pub fn get(&mut self, name: &NodeName) -> Option<&'a V> {
        while self.rest.next_if(|(earlier, _)| *earlier < name).is_some() {}
        self.rest.peek().filter(|(found, _)| *found == name).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_whatever_the_maps_lack() {
        let map = |numbers: &[u32]| -> BTreeMap<NodeName, u32> {
            numbers.iter().map(|number| (format!("duel-{number}").parse().unwrap(), *number)).collect()
        };
        let (asked, known) = (map(&[1, 2, 4, 5, 7]), map(&[0, 2, 3, 5, 6]));
        let mut beside = Beside::new(&known);
        let found: Vec<Option<u32>> = asked.keys().map(|name| beside.get(name).copied()).collect();
        assert_eq!(found, [None, Some(2), None, Some(5), None]);
        let last = known.keys().last().unwrap();
        let mut beside = Beside::new(&known);
        assert_eq!((beside.get(last), beside.get(last)), (Some(&6), Some(&6)), "asked for twice");
    }
}
