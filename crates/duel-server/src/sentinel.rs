//! The sentinel: looks at the signs of life once a second and says what a human should be told.
//!
//! Each trouble is told once when it begins and once when it ends. It is a pure judge over observations; who looks
//! and who sends are elsewhere.

use crate::arena::{Maintenance, MaintenanceStage};
use crate::clock::Millis;
use crate::vitals::DatabaseState;

/// A database away for longer is worth an alert; a shorter hiccup is not.
const DATABASE_PATIENCE_MS: Millis = 3_000;

/// A heart silent for longer has stalled; as in `/health`.
const SILENCE_LIMIT_MS: Millis = crate::http::SILENCE_LIMIT_MS;

/// Maintenance active for longer was probably forgotten (maintenance API reference, "Monitoring").
const FORGOTTEN_MAINTENANCE_MS: Millis = 600_000;

/// Memory above this share of the machine's is worth a warning (deployment guide, "Alerts").
const MEMORY_SHARE: f64 = 0.8;

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Somebody must act now.
    Critical,
    /// Somebody should look.
    Warning,
    /// A trouble has ended, or something happened that one may want to know.
    Info,
}

impl Severity {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// Something a human should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// How urgent.
    pub severity: Severity,
    /// A stable word for machines.
    pub kind: &'static str,
    /// One sentence for people.
    pub text: String,
}

/// What is seen at one look.
#[derive(Debug, Clone)]
pub struct Observation {
    /// When.
    pub now: Millis,
    /// How the database answered last.
    pub database: DatabaseState,
    /// For how long it has been other than connected.
    pub database_trouble_ms: Millis,
    /// Milliseconds since the scheduler's last turn.
    pub scheduler_silence: Millis,
    /// Milliseconds since the last turn of the WebSocket path.
    pub websocket_silence: Millis,
    /// Maintenance, while active.
    pub maintenance: Option<Maintenance>,
    /// Resident share of the machine's memory, where it is known.
    pub memory_share: Option<f64>,
    /// The stream has given up.
    pub stream_gave_up: bool,
}

/// Remembers what has been told.
#[derive(Debug, Default)]
pub struct Sentinel {
    told: Vec<&'static str>,
}

impl Sentinel {
    /// Judges one look; gives what is new.
    pub fn look(&mut self, seen: &Observation) -> Vec<Alert> {
        let stage = seen.maintenance.as_ref().map(|active| active.stage);
        let maintained_for = seen.maintenance.as_ref().map_or(0, |active| seen.now - active.entered_at);
        let troubles = [
            (
                "database-lost",
                Severity::Critical,
                seen.database != DatabaseState::Connected && seen.database_trouble_ms > DATABASE_PATIENCE_MS,
                "the database connection is lost",
                "the database is connected again",
            ),
            (
                "scheduler-stalled",
                Severity::Critical,
                seen.scheduler_silence > SILENCE_LIMIT_MS,
                "the duel scheduler makes no progress",
                "the duel scheduler makes progress again",
            ),
            (
                "websocket-down",
                Severity::Critical,
                seen.websocket_silence > SILENCE_LIMIT_MS,
                "the WebSocket server makes no progress",
                "the WebSocket server makes progress again",
            ),
            (
                "maintenance-timeout",
                Severity::Critical,
                stage == Some(MaintenanceStage::TimedOut),
                "maintenance: the markets did not resolve in time",
                "maintenance: the markets are resolved, or maintenance was left",
            ),
            (
                "maintenance-long",
                Severity::Warning,
                maintained_for > FORGOTTEN_MAINTENANCE_MS,
                "maintenance has been active for more than ten minutes",
                "maintenance was left",
            ),
            (
                "memory-high",
                Severity::Warning,
                seen.memory_share.is_some_and(|share| share > MEMORY_SHARE),
                "more than 80 % of the memory is used",
                "memory use is normal again",
            ),
            (
                "stream-failed",
                Severity::Critical,
                seen.stream_gave_up,
                "the streaming pipeline has failed and was given up",
                "the streaming pipeline runs again",
            ),
        ];
        troubles
            .into_iter()
            .filter(|(kind, _, present, ..)| self.changed(kind, *present))
            .map(|(kind, severity, present, begins, ends)| Alert {
                severity: if present { severity } else { Severity::Info },
                kind,
                text: String::from(if present { begins } else { ends }),
            })
            .collect()
    }

    fn changed(&mut self, kind: &'static str, present: bool) -> bool {
        let known = self.told.contains(&kind);
        match (known, present) {
            (false, true) => self.told.push(kind),
            (true, false) => self.told.retain(|told| *told != kind),
            (true, true) | (false, false) => {}
        }
        known != present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine(now: Millis) -> Observation {
        Observation {
            now,
            database: DatabaseState::Connected,
            database_trouble_ms: 0,
            scheduler_silence: 0,
            websocket_silence: 0,
            maintenance: None,
            memory_share: Some(0.1),
            stream_gave_up: false,
        }
    }

    fn kinds(alerts: &[Alert]) -> Vec<(&'static str, Severity)> {
        alerts.iter().map(|alert| (alert.kind, alert.severity)).collect()
    }

    #[test]
    fn a_trouble_is_told_once_when_it_begins_and_once_when_it_ends() {
        let mut sentinel = Sentinel::default();
        let lost =
            |ms| Observation { database: DatabaseState::Disconnected, database_trouble_ms: ms, ..fine(0) };
        assert_eq!(sentinel.look(&fine(0)), []);
        assert_eq!(sentinel.look(&lost(2_000)), [], "a hiccup");
        assert_eq!(kinds(&sentinel.look(&lost(3_001))), [("database-lost", Severity::Critical)]);
        assert_eq!(sentinel.look(&lost(60_000)), [], "told already");
        assert_eq!(kinds(&sentinel.look(&fine(0))), [("database-lost", Severity::Info)]);
    }

    #[test]
    fn a_maintenance_that_times_out_or_is_forgotten_is_told() {
        let mut sentinel = Sentinel::default();
        let with = |now, stage| Observation {
            maintenance: Some(Maintenance { entered_at: 0, reason: String::new(), stage }),
            ..fine(now)
        };
        assert_eq!(sentinel.look(&with(0, MaintenanceStage::Waiting { deadline: 10 })), []);
        let timed_out = sentinel.look(&with(10, MaintenanceStage::TimedOut));
        assert_eq!(kinds(&timed_out), [("maintenance-timeout", Severity::Critical)]);
        let safe = sentinel.look(&with(20, MaintenanceStage::Safe));
        assert_eq!(kinds(&safe), [("maintenance-timeout", Severity::Info)]);
        let forgotten = sentinel.look(&with(600_001, MaintenanceStage::Safe));
        assert_eq!(kinds(&forgotten), [("maintenance-long", Severity::Warning)]);
        assert_eq!(kinds(&sentinel.look(&fine(600_002))), [("maintenance-long", Severity::Info)]);
    }
}
