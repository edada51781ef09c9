//! Whether our own probes start on time. A keeper that is starved of processor time measures itself, not its fleet.
//!
//! Consul's Lifeguard (<https://arxiv.org/abs/1707.00788>) found that a detector which doubts itself when it is late gives
//! far fewer false alarms, and no slower true ones. A gap of the whole loop is noticed elsewhere; this notices the prober that
//! falls behind while the loop goes on.

use std::time::Duration;

use super::units::Timestamp;

/// From this lateness on a probe is late, unless its interval is long: no scheduler of a sound machine is late by seconds.
const LATE_LEAST: Duration = Duration::from_secs(2);
/// However long the interval, so much is late: the same that makes a gap of the loop a stall by default.
const LATE_MOST: Duration = Duration::from_secs(10);
/// More than this many percent of the probes being late makes the keeper doubt itself.
const LATE_PERCENT: u32 = 30;
/// Fewer probes than this say nothing about a share.
const PROBES_LEAST: u32 = 4;
/// Half of the time that is looked back on, at least; two intervals where those are longer.
const HALF_WINDOW: Duration = Duration::from_secs(30);

/// Counts of two half windows, so that old probes are forgotten without remembering each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lateness {
    since: Timestamp,
    current: Counts,
    before: Counts,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    probes: u32,
    late: u32,
}

/// Too many probes were late.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLate {
    /// Late ones.
    pub late: u32,
    /// Of these many.
    pub probes: u32,
}

/// Whether a probe that started `lateness` after its time in a schedule of `interval` was late.
#[must_use]
pub fn is_late(lateness: Duration, interval: Duration) -> bool {
    lateness > (interval / 4).clamp(LATE_LEAST, LATE_MOST)
}

impl Lateness {
    /// Counts a probe that started `lateness` after its time in a schedule of `interval`. When too many were late the counting
    /// starts over.
    pub fn count(&mut self, now: Timestamp, lateness: Duration, interval: Duration) -> Option<TooLate> {
        if now.since(self.since) > HALF_WINDOW.max(interval.saturating_mul(2)) {
            *self = Self { since: now, current: Counts::default(), before: self.current };
        }
        self.current.probes = self.current.probes.saturating_add(1);
        self.current.late = self.current.late.saturating_add(u32::from(is_late(lateness, interval)));
        let probes = self.current.probes.saturating_add(self.before.probes);
        let late = self.current.late.saturating_add(self.before.late);
        if probes < PROBES_LEAST || u64::from(late) * 100 <= u64::from(LATE_PERCENT) * u64::from(probes) {
            return None;
        }
        *self = Self { since: now, ..Self::default() };
        Some(TooLate { late, probes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_share_above_the_limit_is_too_late_and_an_old_one_is_forgotten() {
        let mut lateness = Lateness::default();
        let mut count =
            |at: u64, late_s: u64| lateness.count(Timestamp(at * 1000), Duration::from_secs(late_s), MINUTE);
        for second in 0..7 {
            assert_eq!(count(second, 0), None);
        }
        assert_eq!((count(8, 11), count(9, 11)), (None, None), "two of nine");
        assert_eq!(count(10, 11), None, "three of ten are not more than 30 %");
        assert_eq!(count(11, 11), Some(TooLate { late: 4, probes: 11 }));
        assert_eq!(count(12, 11), None, "the counting started over");
        for second in [400, 401, 402, 403] {
            assert_eq!(count(second, 0), None);
        }
        assert_eq!(count(800, 9), None, "nine seconds of a minute are within a scheduler's right");
    }

    #[test]
    fn few_probes_say_nothing() {
        let mut lateness = Lateness::default();
        for at in 0..3 {
            assert_eq!(lateness.count(Timestamp(at), MINUTE, MINUTE), None);
        }
        assert!(lateness.count(Timestamp(5), MINUTE, MINUTE).is_some());
    }
}
