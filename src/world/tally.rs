//! How often what happened, and what must have happened sometimes: a campaign in which a case never came proves nothing
//! of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fault::TABLE;

/// Counts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// One more.
    pub fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Another run's counts.
    pub fn join(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// How often.
    #[must_use]
    pub fn get(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(what, count)| (*what, *count))
    }

    /// What should have happened in a campaign under the whole storm and did not.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        sometimes().filter(|what| self.get(what) == 0).collect()
    }
}

/// Cases that are not faults themselves.
const CASES: &[&str] = &[
    "maintenance of dead work ended",
    "recovery completed",
    "recovery not needed",
    "remedy tried again on a box",
    "box taken over",
    "box not taken over",
    "box that nobody knew destroyed by a person",
    "replacement cancelled",
    "create resolved by its label",
    "create settled as absent",
    "late create reaped",
    "duplicate reaped",
    "broken create doomed",
    "boot timed out",
    "breaker slow",
    "breaker hold",
    "breaker back to normal",
    "implausible list refused",
    "implausible list believed at last",
    "witness vetoed",
    "held",
    "held, then released by a person",
    "stranger answered",
    "command expired unsent",
    "command sent after a pause past its check",
    "crash before a commit",
    "crash after a commit",
    "crash between effects",
    "crash before an answer",
    "commit of unknown outcome",
    "key refused",
    "budget stop",
    "gone",
    "restart under another wall clock",
    "stopped box started",
    "start queued",
    "evidence shown",
    "spare promoted",
    "spare refilled",
    "spare lost",
    "spare shed",
    "replaced ahead of its contract's end",
    "bad release wanted",
    "box lost to a bad release",
    "box rented on a bad host",
    "outbid",
    "outbid beyond the most",
    "bid raised",
    "outbid box back by itself",
    "outbid box only left alone",
    "start in vain, outbid",
];

/// Everything that must have happened at least once in a campaign under the storm.
pub fn sometimes() -> impl Iterator<Item = &'static str> {
    CASES.iter().copied().chain(TABLE.iter().map(|row| row.name))
}
