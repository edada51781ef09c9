//! The one place that reads time.
//!
//! The keeper's clock is the wall clock once, at start, and the boot-time clock ever after: it goes on during a suspend
//! and does not move when somebody sets the wall clock, so neither a step of an hour nor a sleep of eight can make a
//! deadline lie.

use rustix::time::{ClockId, clock_gettime};

use crate::fleet::units::Timestamp;

/// The keeper's clock; copies agree with each other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall_at_start: u64,
    boot_at_start: u64,
}

impl Clock {
    /// A clock that starts from the wall clock's present time.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "reading the time is an act, not a default")]
    pub fn new() -> Self {
        Self { wall_at_start: wall(), boot_at_start: millis(ClockId::Boottime) }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Timestamp {
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
