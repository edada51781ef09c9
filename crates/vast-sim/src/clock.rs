//! The only place that reads time: a monotone clock with a simulated face (scaled) and a real one.
//!
//! Both faces derive from one reading, so that a step of the machine's clock moves neither.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Simulated unix time in seconds.
pub(crate) type SimSeconds = f64;

/// Started once per simulator.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_unix: Duration,
    scale: f64,
}

impl Clock {
    /// Starts at the machine's present time; `scale` simulated seconds pass per real one.
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    pub(crate) fn start(scale: f64) -> Self {
        let started_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { started: Instant::now(), started_unix, scale }
    }

    /// Simulated unix time.
    pub(crate) fn now(&self) -> SimSeconds {
        self.started_unix.as_secs_f64() + self.started.elapsed().as_secs_f64() * self.scale
    }

    /// Real unix time in milliseconds: the face of the call record and the ledger.
    pub(crate) fn wall_ms(&self) -> u64 {
        let elapsed = self.started_unix + self.started.elapsed();
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    /// The real time that `seconds` simulated ones take; zero for a negative or unrepresentable span.
    pub(crate) fn real(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds / self.scale).unwrap_or_default()
    }
}
