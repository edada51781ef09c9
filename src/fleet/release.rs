//! How each release stands: whether it ever served here, which fresh boxes failed with it, and whether it is condemned.
//!
//! A release that nobody has seen serving is tried on few boxes first, and one that fails alike on fresh boxes of different
//! hosts is not tried on any more: a bad release must cost two boxes, not a fleet.

use serde::{Deserialize, Serialize};

use super::{
    name::{HostId, InstanceId, NodeName},
    units::Timestamp,
};

/// SHA-256 of an artifact in hex.
pub type Digest = String;

/// Failures remembered of one release.
const FAILURES_KEPT: usize = 32;
/// Releases remembered; the oldest that are neither proven nor condemned go first.
const RELEASES_KEPT: usize = 64;
/// Failures further apart than this are not compared with each other.
const ALIKE_WITHIN_MS: u64 = 24 * 3_600_000;
/// Characters of a failure that are compared; what follows is mostly output.
const SIGNATURE_LENGTH: usize = 96;

/// How one release stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// When a server of it was first seen healthy and took its node.
    #[serde(default)]
    pub proven_at: Option<Timestamp>,
    /// Fresh boxes that failed with it, oldest first.
    #[serde(default)]
    pub failures: Vec<FreshFailure>,
    /// Why it is not deployed any more.
    #[serde(default)]
    pub condemned: Option<Condemned>,
    /// When it was last heard of.
    #[serde(default)]
    pub seen_at: Timestamp,
}

/// A fresh box that failed with a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreshFailure {
    /// When.
    pub at: Timestamp,
    /// The node it was to fill.
    pub node: NodeName,
    /// The box.
    pub instance: InstanceId,
    /// Its host.
    pub host: HostId,
    /// How it failed, in words.
    pub detail: String,
}

/// A release at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condemned {
    /// Since when.
    pub at: Timestamp,
    /// What it rests on.
    pub evidence: String,
}

impl Standing {
    /// The evidence, where this box and one of another host failed alike with it within a day.
    #[must_use]
    pub fn alike(&self, instance: InstanceId, now: Timestamp) -> Option<String> {
        let own = self.failures.iter().find(|failure| failure.instance == instance)?;
        let wanted = signature(&own.detail);
        let recent = |failure: &&FreshFailure| now.0.saturating_sub(failure.at.0) <= ALIKE_WITHIN_MS;
        let other = self
            .failures
            .iter()
            .rev()
            .filter(recent)
            .find(|failure| failure.host != own.host && signature(&failure.detail) == wanted)?;
        Some(format!(
            "fresh boxes of host {} and host {} failed alike ({}), and it serves nowhere",
            own.host, other.host, own.detail
        ))
    }

    /// Records a fresh box that failed; one box counts once.
    pub(super) fn failed(&mut self, failure: FreshFailure) {
        self.seen_at = failure.at;
        self.failures.retain(|earlier| earlier.instance != failure.instance);
        self.failures.push(failure);
        let surplus = self.failures.len().saturating_sub(FAILURES_KEPT);
        self.failures.drain(..surplus);
    }

    /// It was seen healthy: what failed before it is forgiven, and so is its sentence.
    pub(super) fn proven(&mut self, at: Timestamp) {
        self.seen_at = at;
        self.proven_at.get_or_insert(at);
        self.failures.clear();
        self.condemned = None;
    }
}

/// Keeps the record of releases bounded.
pub(super) fn forget_oldest(releases: &mut std::collections::BTreeMap<Digest, Standing>) {
    while releases.len() > RELEASES_KEPT {
        let oldest = releases
            .iter()
            .min_by_key(|(_, standing)| (standing.condemned.is_some(), standing.seen_at))
            .map(|(digest, _)| digest.clone());
        let Some(oldest) = oldest else { return };
        releases.remove(&oldest);
    }
}

/// What of a failure's words is the same on every box: numbers, addresses and ids are not.
#[must_use]
pub fn signature(detail: &str) -> String {
    let mut words = String::new();
    let mut in_number = false;
    for c in detail.chars().filter(|c| !c.is_control()) {
        if c.is_ascii_digit() {
            if !in_number {
                words.push('#');
            }
            in_number = true;
        } else if !(in_number && matches!(c, '.' | ':')) {
            in_number = false;
            words.extend(c.to_lowercase());
        }
    }
    words.chars().take(SIGNATURE_LENGTH).collect()
}

/// A digest as people read it: its first twelve characters.
#[must_use]
pub fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(instance: u64, host: u64, detail: &str) -> FreshFailure {
        FreshFailure {
            at: Timestamp(1000),
            node: "duel-0".parse().unwrap(),
            instance: InstanceId(instance),
            host: HostId(host),
            detail: detail.into(),
        }
    }

    #[test]
    fn numbers_and_addresses_do_not_make_a_failure_another() {
        assert_eq!(
            signature("probation: instance 101 at 10.0.0.1:4555: exited with code 2"),
            signature("probation: instance 77 at 10.99.0.12:41055: exited with code 2")
        );
        assert_ne!(signature("connection refused"), signature("disk full"));
    }

    #[test]
    fn two_boxes_of_one_host_prove_nothing() {
        let mut standing = Standing::default();
        let later = Timestamp(2000);
        standing.failed(failure(1, 7, "exited with code 2"));
        standing.failed(failure(2, 7, "exited with code 3"));
        assert_eq!(standing.alike(InstanceId(2), later), None);
        standing.failed(failure(3, 8, "disk full"));
        assert_eq!(standing.alike(InstanceId(3), later), None, "another failure");
        assert_eq!(standing.alike(InstanceId(4), later), None, "not on record");
        standing.failed(failure(4, 8, "exited with code 4"));
        assert!(standing.alike(InstanceId(4), later).is_some());
        let too_late = Timestamp(1000 + ALIKE_WITHIN_MS + 1);
        assert_eq!(standing.alike(InstanceId(4), too_late), None, "too long ago");
    }

    #[test]
    fn one_box_counts_once_and_the_record_stays_bounded() {
        let mut standing = Standing::default();
        for instance in 0..100 {
            standing.failed(failure(instance, instance, "x"));
            standing.failed(failure(instance, instance, "y"));
        }
        assert_eq!(standing.failures.len(), FAILURES_KEPT);
        let mut releases = std::collections::BTreeMap::new();
        for number in 0..200_u64 {
            let standing = Standing { seen_at: Timestamp(number), ..Standing::default() };
            releases.insert(format!("{number:03}"), standing);
            forget_oldest(&mut releases);
        }
        assert_eq!(releases.len(), RELEASES_KEPT);
        assert!(releases.contains_key("199") && !releases.contains_key("000"));
    }
}
