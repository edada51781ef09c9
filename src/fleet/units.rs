//! Time and money, as integers: instants in milliseconds, dollars in millionths.
//!
//! The core never reads a clock; every `now` is an argument of these types.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant: milliseconds since the Unix epoch, as the keeper's own monotone clock tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This instant plus a duration, saturating.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// How long until `later`; zero if it is past.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        later.since(self)
    }

    /// This instant minus a duration, saturating.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

/// A duration in whole milliseconds, saturating.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An amount of US dollars in millionths; prices per hour use it too. On the wire and in the journal it is a plain
/// number of dollars.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(pub i64);

impl Money {
    /// From a number of dollars; not-a-number becomes `None`, and so does what does not fit.
    #[must_use]
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        let micros = (dollars * 1e6).round();
        // Up to a thousand million dollars an f64 tells every millionth, so what is written down reads back the same.
        (micros.abs() <= 1e15).then_some(Self(micros as i64))
    }

    /// As a number of dollars.
    #[must_use]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// What an hourly price costs over a duration.
    #[must_use]
    pub fn over(self, duration: Duration) -> Self {
        let micros = i128::from(self.0) * duration.as_millis() as i128 / 3_600_000;
        Self(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// The difference, saturating.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Self::plus)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In integers: this is formatted with every decision.
        let thousandths = (self.0.unsigned_abs() + 500) / 1000;
        let (whole, part) = (thousandths / 1000, thousandths % 1000);
        let sign = if self.0 < 0 { "-" } else { "" };
        let text = if part % 10 == 0 {
            format!("${sign}{whole}.{:02}", part / 10)
        } else {
            format!("${sign}{whole}.{part:03}")
        };
        f.pad(&text)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.dollars())
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let dollars = f64::deserialize(deserializer)?;
        Self::from_dollars(dollars).ok_or_else(|| serde::de::Error::custom("not an amount of dollars"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_survives_the_journal() {
        for micros in [0, 1, 345_678, 2_500_000, -12, 8_999_999_999_999] {
            let text = serde_json::to_string(&Money(micros)).unwrap();
            assert_eq!(serde_json::from_str::<Money>(&text).unwrap(), Money(micros), "{text}");
        }
        assert_eq!(Money::from_dollars(f64::NAN), None);
        assert_eq!(Money::from_dollars(f64::INFINITY), None);
        assert_eq!(Money(2_000_000).over(Duration::from_secs(1800)), Money(1_000_000));
        assert_eq!(Money(345_000).to_string(), "$0.345");
        assert_eq!(Money(340_000).to_string(), "$0.34");
    }
}
