//! The one place that reads time.
//!
//! Times on the wire and in the store are Unix milliseconds. They are derived from one wall-clock reading at start
//! plus the monotonic clock, so a step of the system clock can neither shorten a duel nor close a market early.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A point in time: milliseconds since the Unix epoch.
pub type Millis = i64;

/// A clock that never jumps: wall time at start plus monotonic time since.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin_ms: Millis,
    origin: Instant,
}

impl Clock {
    /// Reads the wall clock once.
    #[expect(clippy::disallowed_methods, reason = "this module is the clock")]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let origin_ms = Millis::try_from(since_epoch.as_millis()).unwrap_or(Millis::MAX);
        Self { origin_ms, origin: Instant::now() }
    }

    /// Now, in Unix milliseconds; never less than an earlier answer.
    pub fn now(&self) -> Millis {
        let elapsed = Millis::try_from(self.origin.elapsed().as_millis()).unwrap_or(Millis::MAX);
        self.origin_ms.saturating_add(elapsed)
    }

    /// When this clock was started, in Unix milliseconds: the server's start time.
    pub fn started_at(&self) -> Millis {
        self.origin_ms
    }

    /// The timer instant at which [`Clock::now`] will have reached `at`.
    pub fn instant_of(&self, at: Millis) -> Instant {
        let ahead = u64::try_from(at.saturating_sub(self.origin_ms)).unwrap_or(0);
        // A year ahead is far enough for a timer, and keeps the addition from overflowing.
        self.origin + Duration::from_millis(ahead.min(365 * 24 * 3_600_000))
    }

    /// The monotonic instant behind this clock, for measuring durations.
    pub fn monotonic(&self) -> Instant {
        Instant::now()
    }
}
