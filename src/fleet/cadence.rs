//! When a node is probed next.
//!
//! The schedule is fixed: a start is due one gap after the start before it was *due*, so neither the time a probe takes
//! nor a late timer adds up. The gap is `interval` while the node is settled and `retry_interval` from the first failure
//! until `success_threshold` successes followed: three failures in a row are then known in seconds, for no more load
//! while all is well. A node that was never seen well is unsettled too, so a fresh box is taken into service quickly.
//!
//! A probe that outlasts its gap is never doubled. A settled node skips the starts it missed and stays on its grid; an
//! unsettled one starts over as soon as it can. With `timeout ≤ interval` a hung server is therefore known after at most
//! `threshold · interval + timeout`: one interval until the first probe that meets it, as much at most to each further
//! one, and the last one's timeout.

use std::time::Duration;

use super::{name::NodeName, policy::HealthPolicy, probe::Verdict};

/// Shortest gap, whatever the policy says: no setting may turn a probe into a flood.
pub const GAP_MIN: Duration = Duration::from_millis(10);

/// New nodes are spread by this much each, up to one interval: a fleet's first probes neither come as one burst nor
/// leave a small fleet waiting.
const SPREAD_PER_NODE: Duration = Duration::from_secs(1);

/// The pace of one node's probes.
#[derive(Debug, Clone)]
pub struct Cadence {
    interval: Duration,
    retry_interval: Duration,
    success_threshold: u32,
    /// Successes still missing until the node is settled; 0 when it is.
    missing: u32,
}

impl Cadence {
    /// For a node of which nothing is known yet: unsettled.
    #[must_use]
    pub fn new(policy: &HealthPolicy) -> Self {
        let interval = policy.interval.max(GAP_MIN);
        let success_threshold = policy.success_threshold.max(1);
        Self {
            interval,
            retry_interval: policy.retry_interval.clamp(GAP_MIN, interval),
            success_threshold,
            missing: success_threshold,
        }
    }

    /// The same node under another policy: what was seen so far stays true.
    #[must_use]
    pub fn under(&self, policy: &HealthPolicy) -> Self {
        let fresh = Self::new(policy);
        Self { missing: self.missing.min(fresh.success_threshold), ..fresh }
    }

    /// Takes note of a verdict. Maintenance is neither a success nor a failure and changes nothing.
    pub fn note(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Healthy => self.missing = self.missing.saturating_sub(1),
            Verdict::Failing(_) => self.missing = self.success_threshold,
            Verdict::Maintenance => {}
        }
    }

    /// From the moment the last probe was due to the moment the next is due, when `elapsed` has passed since the former.
    /// Never less than `elapsed`: a start lies in the future or is now.
    #[must_use]
    pub fn gap(&self, elapsed: Duration) -> Duration {
        if self.missing > 0 {
            return self.retry_interval.max(elapsed);
        }
        if elapsed <= self.interval {
            return self.interval;
        }
        let missed = elapsed.as_nanos().div_ceil(self.interval.as_nanos());
        self.interval.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX)).max(elapsed)
    }
}

/// How long a newly watched node waits for its first probe while `waiting` others wait for theirs. A newcomer to a running
/// fleet, and the first of a starting one, do not wait; those behind it are spread evenly at random, the same way for the
/// same seed.
#[must_use]
pub fn first_wait(policy: &HealthPolicy, seed: u64, node: &NodeName, waiting: usize) -> Duration {
    let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
    let window = policy.interval.min(SPREAD_PER_NODE.saturating_mul(waiting));
    // FNV-1a, then the generator's own mixing: stable across versions of Rust, unlike the standard hasher.
    let hash = node.as_str().bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    window.mul_f64(fastrand::Rng::with_seed(hash).f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::probe::Failure;

    const SECOND: Duration = Duration::from_secs(1);

    fn failing() -> Verdict {
        Verdict::Failing(Failure::Timeout { limit_ms: 5000 })
    }

    fn policy(interval_ms: u64, retry_ms: u64, timeout_ms: u64) -> HealthPolicy {
        HealthPolicy {
            interval: Duration::from_millis(interval_ms),
            retry_interval: Duration::from_millis(retry_ms),
            timeout: Duration::from_millis(timeout_ms),
            ..HealthPolicy::default()
        }
    }

    fn settled(policy: &HealthPolicy) -> Cadence {
        let mut cadence = Cadence::new(policy);
        (0..policy.success_threshold).for_each(|_| cadence.note(&Verdict::Healthy));
        cadence
    }

    #[test]
    fn a_node_is_asked_often_until_it_has_been_well_and_again_after_a_failure() {
        let mut cadence = Cadence::new(&HealthPolicy::default());
        let mut gaps = Vec::new();
        for verdict in [
            failing(),
            Verdict::Healthy,
            Verdict::Healthy,
            Verdict::Maintenance,
            failing(),
            Verdict::Maintenance,
            Verdict::Healthy,
            failing(),
            Verdict::Healthy,
            Verdict::Healthy,
        ] {
            cadence.note(&verdict);
            gaps.push(cadence.gap(SECOND).as_secs());
        }
        assert_eq!(gaps, [10, 10, 60, 60, 10, 10, 10, 10, 10, 60]);
    }

    #[test]
    fn a_settled_node_keeps_its_grid_and_skips_what_it_missed() {
        let cadence = settled(&policy(1000, 200, 5000));
        let gap = |elapsed_ms| cadence.gap(Duration::from_millis(elapsed_ms)).as_millis();
        assert_eq!([gap(3), gap(1000), gap(1001), gap(4500), gap(5000)], [1000, 1000, 2000, 5000, 5000]);
    }

    #[test]
    fn an_unsettled_node_starts_over_as_soon_as_it_can() {
        let cadence = Cadence::new(&policy(60_000, 2000, 5000));
        assert_eq!(cadence.gap(Duration::from_millis(5003)), Duration::from_millis(5003));
        assert_eq!(cadence.gap(Duration::from_millis(3)), 2 * SECOND);
    }

    #[test]
    fn another_policy_changes_the_pace_but_not_what_is_known() {
        let cadence = settled(&policy(60_000, 10_000, 5000)).under(&policy(30_000, 10_000, 5000));
        assert_eq!(cadence.gap(SECOND), 30 * SECOND);
        let unsettled = Cadence::new(&policy(60_000, 10_000, 5000)).under(&policy(60_000, 5_000, 5000));
        assert_eq!(unsettled.gap(SECOND), 5 * SECOND);
    }

    #[test]
    fn the_first_of_a_fleet_does_not_wait_and_the_others_are_spread() {
        let policy = HealthPolicy::default();
        let node = |i: usize| format!("duel-{i}").parse::<NodeName>().unwrap();
        assert_eq!(first_wait(&policy, 7, &node(0), 0), Duration::ZERO);
        assert!(first_wait(&policy, 7, &node(1), 1) <= SECOND);
        let mut tenths = [0_u32; 10];
        for i in 0..5000 {
            let wait = first_wait(&policy, 7, &node(i), 5000);
            assert_eq!(wait, first_wait(&policy, 7, &node(i), 5000));
            tenths[usize::try_from(wait.as_millis() / 6000).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (400..600).contains(count)), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn a_hung_server_is_known_within_the_promised_time(
            interval in 10_u64..120_000, retry in 10_u64..120_000, timeout in 1_u64..120_000,
            threshold in 1_u32..8, hung_after in 0_u64..120_000,
        ) {
            let retry = retry.min(interval);
            let timeout = timeout.min(interval);
            let policy = policy(interval, retry, timeout);
            // It hangs right after a healthy answer to the probe due at 0, at the worst; the answer came at once.
            let hung_at = hung_after.min(interval - 1);
            let mut cadence = settled(&policy);
            let mut due = cadence.gap(Duration::ZERO);
            let mut known = Duration::ZERO;
            for _ in 0..threshold {
                known = due + policy.timeout;
                cadence.note(&failing());
                due += cadence.gap(policy.timeout);
            }
            let bound = policy.interval * threshold + policy.timeout;
            prop_assert!(known.saturating_sub(Duration::from_millis(hung_at)) <= bound, "{known:?} {bound:?}");
        }

        #[test]
        fn a_start_never_lies_in_the_past(interval in 0_u64..100_000, retry in 0_u64..100_000, elapsed: u64, well: bool) {
            let policy = policy(interval, retry, 1);
            let cadence = if well { settled(&policy) } else { Cadence::new(&policy) };
            let elapsed = Duration::from_nanos(elapsed);
            prop_assert!(cadence.gap(elapsed) >= elapsed.max(GAP_MIN));
        }
    }
}
