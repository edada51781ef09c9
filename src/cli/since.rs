//! Cutting a log to what was written lately.

use jiff::Timestamp as Instant;
use serde_json::Value;

use crate::fleet::units::Timestamp;

/// Where a JSON log line keeps its time.
const TIME_FIELDS: [&str; 4] = ["timestamp", "time", "ts", "@timestamp"];

/// The lines written at or after `from`; a line without a time belongs to the one before it. `None` where no line tells its
/// time, so that nothing can be left out.
pub(super) fn since(text: &str, from: Timestamp) -> Option<String> {
    let mut kept = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(at) = time_of(line) {
            kept = Some(at >= from);
        }
        if kept == Some(true) {
            lines.push(line);
        }
    }
    kept.map(|_| lines.join("\n"))
}

/// A time at the beginning of a line, or in the usual field of a JSON line.
fn time_of(line: &str) -> Option<Timestamp> {
    let line = line.trim_start();
    let text = match line.starts_with('{') {
        true => {
            let object: Value = serde_json::from_str(line).ok()?;
            let found = TIME_FIELDS.iter().find_map(|field| object.get(field))?;
            if let Some(number) = found.as_u64() {
                // Seconds have ten digits until the year 2286, milliseconds thirteen.
                return Some(Timestamp(if number < 100_000_000_000 { number * 1000 } else { number }));
            }
            found.as_str()?.to_owned()
        }
        false => line.trim_start_matches('[').split([' ', ']']).next()?.to_owned(),
    };
    let at: Instant = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(1_704_110_400_000);

    #[test]
    fn lines_are_cut_at_their_time_in_every_usual_form() {
        let log = "2024-01-01T11:59:59Z before\n  of it\n2024-01-01T12:00:00.5Z after\n  of it, too\n";
        assert_eq!(since(log, NOON).unwrap(), "2024-01-01T12:00:00.5Z after\n  of it, too");
        for later in [
            "{\"timestamp\":\"2024-01-01T12:00:01Z\"}",
            "{\"ts\":1704110401}",
            "{\"time\":1704110401000}",
            "[2024-01-01T12:00:01Z] x",
            "2024-01-01T13:00:01+01:00 x",
        ] {
            assert_eq!(since(later, NOON).as_deref(), Some(later));
            assert_eq!(since(later, Timestamp(NOON.0 + 2_000)).as_deref(), Some(""), "{later}");
        }
    }

    #[test]
    fn a_log_without_times_cannot_be_cut() {
        assert_eq!(since("serving as 17\n{\"level\":\"info\"}\n{broken\n", NOON), None);
        assert_eq!(since("", NOON), None);
    }
}
