//! The provider's scalars, decoded with tolerance for form (integers, floats and strings alternate) and none for
//! absence, and the faults of its answers.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::error::printable;
use crate::fleet::{
    provider::{Credit, ProviderFault},
    units::Money,
};

/// Why a well-formed JSON answer is not what the API promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireFault {
    /// The list is missing or is no list.
    #[error("no list `{field}`")]
    NoList {
        /// Where it should be.
        field: &'static str,
    },
    /// A row does not decode.
    #[error("{what} {id}: {detail}")]
    Row {
        /// Instance or offer.
        what: &'static str,
        /// Its id, as far as it has one.
        id: String,
        /// What is wrong.
        detail: String,
    },
    /// A field of the answer itself is missing or of the wrong kind.
    #[error("no {wanted} in `{field}`")]
    Field {
        /// Which.
        field: &'static str,
        /// What should be there.
        wanted: &'static str,
    },
    /// The pages do not add up: the list changed meanwhile, or part of it is missing.
    #[error("{listed} instances listed where the provider counts {total}")]
    Count {
        /// How many rows there were.
        listed: u64,
        /// The provider's `total_instances`.
        total: u64,
    },
    /// The same instance twice.
    #[error("instance {id} is listed twice")]
    Twice {
        /// Which.
        id: u64,
    },
    /// The same cursor twice: the pages would never end.
    #[error("the cursor of a page came back")]
    CursorRepeated,
}

/// The fault of an answer that did not decode.
pub(super) fn malformed(fault: WireFault) -> ProviderFault {
    ProviderFault::Malformed { detail: printable(&fault.to_string()) }
}

/// A number that may be a string, or nothing; never infinite or not-a-number.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Number(pub(super) Option<f64>);

impl Number {
    /// As a count, fractions dropped.
    pub(super) fn whole(self) -> Option<u32> {
        self.0.filter(|value| (0.0..=f64::from(u32::MAX)).contains(value)).map(|value| value as u32)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = match &value {
            Value::Null => return Ok(Self(None)),
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let number = number.filter(|number: &f64| number.is_finite());
        number
            .map(|number| Self(Some(number)))
            .ok_or_else(|| serde::de::Error::custom("a field is no number"))
    }
}

/// An id: a positive whole number, as integer, float or string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub(super) u64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        id_of(&value).map(Self).ok_or_else(|| serde::de::Error::custom("an id is no positive whole number"))
    }
}

/// The id in a value, if it is one.
pub(super) fn id_of(value: &Value) -> Option<u64> {
    /// Up to here an f64 holds every integer.
    const EXACT: f64 = 9e15;
    let id = match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let float = number.as_f64()?;
            (float.fract() == 0.0 && (0.0..EXACT).contains(&float)).then_some(float as u64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    id.filter(|id| *id > 0)
}

/// A row's id for a message, whatever it is.
pub(super) fn shown_id(row: &Value) -> String {
    row.get("id").and_then(id_of).map_or_else(|| "without an id".to_owned(), |id| id.to_string())
}

/// A flag that may be 0 or 1, or nothing. What is none of these counts as not stated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flag(pub(super) Option<bool>);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Self(value.as_bool().or_else(|| value.as_f64().map(|number| number != 0.0))))
    }
}

/// Text that may be null but must be there: a row without its `label` would look like a stranger's.
pub(super) fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

/// The spendable dollars of an account.
pub(super) fn credit(account: &Map<String, Value>) -> Result<Credit, WireFault> {
    let field = account.get("credit").and_then(|value| Number::deserialize(value).ok());
    let dollars = field.and_then(|number| number.0).and_then(Money::from_dollars);
    let dollars = dollars.ok_or(WireFault::Field { field: "credit", wanted: "number of dollars" })?;
    Ok(Credit { dollars })
}
