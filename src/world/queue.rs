//! What is still to happen, by time and then by order of arrival, so that a seed tells one story.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

/// Things to come.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<Slot<T>>>,
    next: u64,
}

#[derive(Debug)]
struct Slot<T> {
    at: u64,
    order: u64,
    due: T,
}

impl<T> Queue<T> {
    /// Nothing to come.
    #[must_use]
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), next: 0 }
    }

    /// Something is due at `at` ms.
    pub fn push(&mut self, at: u64, due: T) {
        self.next += 1;
        self.heap.push(Reverse(Slot { at, order: self.next, due }));
    }

    /// The next thing due until `until`, with its time.
    pub fn pop(&mut self, until: u64) -> Option<(u64, T)> {
        if self.heap.peek().is_none_or(|Reverse(slot)| slot.at > until) {
            return None;
        }
        self.heap.pop().map(|Reverse(slot)| (slot.at, slot.due))
    }
}

impl<T> PartialEq for Slot<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Slot<T> {}

impl<T> PartialOrd for Slot<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Slot<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
