//! The one place that reads time.
//!
//! The keeper's clock is the wall clock once, at start, and the boot-time clock ever after: it goes on during a suspend
//! and does not move when somebody sets the wall clock, so neither a step of an hour nor a sleep of eight can make a
//! deadline lie. Over a restart it is the journal that knows: a clock that starts before the newest entry goes on from there
//! ([`Clock::not_before`]), or what was decided before would lie in the future and every wait would last until the old time
//! comes again. What others compare with their own clocks gets [`Clock::civil`] time.

use rustix::time::{ClockId, clock_gettime};

use crate::fleet::units::Timestamp;

/// The keeper's clock; copies agree with each other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall_at_start: u64,
    boot_at_start: u64,
    /// How far the keeper's time is ahead of the wall clock's at the start, in milliseconds.
    ahead: u64,
}

impl Clock {
    /// A clock that starts from the wall clock's present time.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "reading the time is an act, not a default")]
    pub fn new() -> Self {
        Self { wall_at_start: wall(), boot_at_start: millis(ClockId::Boottime), ahead: 0 }
    }

    /// The same clock, set forward if it is behind `newest`.
    #[must_use]
    pub fn not_before(self, newest: Timestamp) -> Self {
        Self { ahead: self.ahead + newest.0.saturating_sub(self.now().0), ..self }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.civil().0.saturating_add(self.ahead))
    }

    /// The present by the wall clock of the start: for what others compare with clocks of their own.
    #[must_use]
    pub fn civil(&self) -> Timestamp {
        Timestamp(self.wall_at_start + millis(ClockId::Boottime).saturating_sub(self.boot_at_start))
    }
}

/// Shifts the wall clock by so many seconds, in builds with debug assertions: tests cannot set it, and somebody may.
pub const OFFSET_VARIABLE: &str = "VAST_KEEPER_CLOCK_OFFSET";

fn wall() -> u64 {
    let now = millis(ClockId::Realtime);
    if !cfg!(debug_assertions) {
        return now;
    }
    let offset = std::env::var(OFFSET_VARIABLE).ok().and_then(|seconds| seconds.parse::<i64>().ok());
    now.saturating_add_signed(offset.unwrap_or(0).saturating_mul(1000))
}

fn millis(id: ClockId) -> u64 {
    let time = clock_gettime(id);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_the_journal_and_never_back() {
        let clock = Clock::new();
        let hour = std::time::Duration::from_secs(3600);
        let later = clock.now().after(hour);
        let ahead = clock.not_before(later);
        assert!(ahead.now() >= later && ahead.now().since(later) < hour);
        assert!(ahead.civil() < later);
        assert_eq!(ahead.not_before(clock.now()).ahead, ahead.ahead);
        assert_eq!(clock.not_before(Timestamp(0)).ahead, 0);
    }
}
