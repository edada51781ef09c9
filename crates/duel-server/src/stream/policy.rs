//! When an encoder that ended is started again, and when it is given up.
//!
//! A stall is answered with an immediate restart as long as stalls do not follow each other too often
//! (`CAPTURE_RECOVERY_MAX_FAILURES`); then it counts as a failure. Failures in a row are answered with a growing
//! delay, 1 s to 60 s, up to `FFMPEG_MAX_RESTART_ATTEMPTS`; then the destination is given up. A run that held for a
//! minute clears both counts.

use std::time::Duration;

/// Delay before the first restart after a failure; it doubles from then on.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// Longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// A run that held for this long was a good one.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// How a run of the encoder ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exited or could not be started.
    Exited,
    /// It made no progress and was killed.
    Stalled,
}

/// What to do next.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start again after this delay.
    RestartAfter(Duration),
    /// Too many failures.
    GiveUp,
}

/// Counts failures in a row.
#[derive(Debug, Clone)]
pub struct Policy {
    max_restarts: u32,
    max_recoveries: u32,
    failures: u32,
    recoveries: u32,
}

impl Policy {
    /// A policy with its limits.
    pub fn new(max_restarts: u32, max_recoveries: u32) -> Self {
        Self { max_restarts, max_recoveries, failures: 0, recoveries: 0 }
    }

    /// A run ended: what next?
    pub fn ended(&mut self, end: End, ran: Duration) -> Next {
        if ran >= GOOD_RUN {
            (self.failures, self.recoveries) = (0, 0);
        }
        if end == End::Stalled && self.recoveries < self.max_recoveries {
            self.recoveries += 1;
            return Next::RestartAfter(Duration::ZERO);
        }
        if self.failures >= self.max_restarts {
            return Next::GiveUp;
        }
        let delay = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_DELAY);
        self.failures += 1;
        Next::RestartAfter(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(3);

    fn delays(policy: &mut Policy, end: End, runs: usize) -> Vec<Option<u64>> {
        let seconds = |next| match next {
            Next::RestartAfter(delay) => Some(delay.as_secs()),
            Next::GiveUp => None,
        };
        (0..runs).map(|_| seconds(policy.ended(end, SHORT))).collect()
    }

    #[test]
    fn failures_wait_longer_each_time_and_end_in_giving_up() {
        let found = delays(&mut Policy::new(8, 4), End::Exited, 9);
        let grown = [1, 2, 4, 8, 16, 32, 60, 60].map(Some);
        assert_eq!(found, [&grown[..], &[None]].concat());
    }

    #[test]
    fn stalls_are_recovered_at_once_until_they_are_too_many() {
        assert_eq!(delays(&mut Policy::new(1, 2), End::Stalled, 4), [Some(0), Some(0), Some(1), None]);
    }

    #[test]
    fn a_good_run_clears_the_past() {
        let mut policy = Policy::new(1, 0);
        assert_eq!(delays(&mut policy, End::Exited, 1), [Some(1)]);
        assert_eq!(policy.ended(End::Exited, GOOD_RUN), Next::RestartAfter(FIRST_DELAY));
        assert_eq!(policy.ended(End::Exited, SHORT), Next::GiveUp);
    }
}
