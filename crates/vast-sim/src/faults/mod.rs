//! Faults: what can be made to go wrong, for whom, and how often.
//!
//! A [`Fault`] is a rule. Each place of the simulator where something can go wrong asks the [`FaultTable`] whether a
//! rule hits it; the answer counts as one firing. What one firing is stands at each kind: a call, a connection, an
//! instance, or a deed done to a box. Every draw uses the simulator's seeded generator.

mod catalogue;
mod kinds;
mod table;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use catalogue::{KindDoc, catalogue};
pub use kinds::{ApiBreak, FaultKind, GoneStatus, RateLimitBody, TrafficBreak};
pub use table::ActiveFault;
pub(crate) use table::{FaultTable, Target};

/// Names one injected rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);

impl fmt::Display for FaultId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "fault-{}", self.0)
    }
}

/// A rule: what goes wrong, how often, and for whom. Filters that are absent match everything.
///
/// As JSON one flat object: `{"kind":"http_hang","times":null,"instance":20000003}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong, with its parameters.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// How many firings; `null` (`None`) until cleared. Absent in JSON: once.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// Chance of each possible firing, 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// Only this instance.
    #[serde(default)]
    pub instance: Option<u64>,
    /// Only instances whose label starts so (for a create: the label it asks for).
    #[serde(default)]
    pub label_prefix: Option<String>,
    /// Only this machine.
    #[serde(default)]
    pub machine: Option<u64>,
    /// Only this endpoint, by its short name (`create`, `destroy`, `list`, `show`, `search`, …).
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Only this container port (network faults).
    #[serde(default)]
    pub port: Option<u16>,
}

fn once() -> Option<u32> {
    Some(1)
}

fn always() -> f64 {
    1.0
}

/// A rule that the table refuses.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum FaultError {
    /// Not an object of the documented form.
    #[error("fault is not valid: {0}")]
    Form(String),
    /// A member that the kind does not know.
    #[error("unknown field `{0}` in a fault of kind `{1}`")]
    UnknownField(String, String),
    /// A probability outside 0 to 1.
    #[error("probability {0} is not within 0 and 1")]
    Probability(String),
    /// An endpoint name that no endpoint has.
    #[error("no endpoint is called `{0}`")]
    Endpoint(String),
}

impl Fault {
    /// One firing of `kind`, for anybody.
    pub fn once(kind: FaultKind) -> Self {
        Fault {
            kind,
            times: once(),
            probability: always(),
            instance: None,
            label_prefix: None,
            machine: None,
            endpoint: None,
            port: None,
        }
    }

    /// `kind` until cleared, for anybody.
    pub fn lasting(kind: FaultKind) -> Self {
        Fault { times: None, ..Fault::once(kind) }
    }

    /// A create that rents its box and loses its reply in the given way.
    pub fn lost_create_reply(how: ApiBreak) -> Self {
        Fault { endpoint: Some("create".to_owned()), ..Fault::once(FaultKind::LostReply { how }) }
    }

    /// The same rule with `times` firings.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Fault { times: Some(times), ..self }
    }

    /// The same rule, firing with this chance only.
    #[must_use]
    pub fn with_probability(self, probability: f64) -> Self {
        Fault { probability, ..self }
    }

    /// The same rule for one instance only.
    #[must_use]
    pub fn on_instance(self, instance: u64) -> Self {
        Fault { instance: Some(instance), ..self }
    }

    /// The same rule for labels with this prefix only.
    #[must_use]
    pub fn on_label(self, prefix: &str) -> Self {
        Fault { label_prefix: Some(prefix.to_owned()), ..self }
    }

    /// The same rule for one machine only.
    #[must_use]
    pub fn on_machine(self, machine: u64) -> Self {
        Fault { machine: Some(machine), ..self }
    }

    /// The same rule for one endpoint only.
    #[must_use]
    pub fn on_endpoint(self, endpoint: &str) -> Self {
        Fault { endpoint: Some(endpoint.to_owned()), ..self }
    }

    /// The same rule for one container port only.
    #[must_use]
    pub fn on_port(self, port: u16) -> Self {
        Fault { port: Some(port), ..self }
    }

    /// Reads the JSON form, refusing members that would be ignored: a misspelt filter would widen the fault.
    pub fn from_json(value: &Value) -> Result<Self, FaultError> {
        let fault: Fault =
            serde_json::from_value(value.clone()).map_err(|error| FaultError::Form(error.to_string()))?;
        let known = serde_json::to_value(&fault).map_err(|error| FaultError::Form(error.to_string()))?;
        if let (Some(given), Some(known)) = (value.as_object(), known.as_object())
            && let Some(stray) = given.keys().find(|key| !known.contains_key(*key))
        {
            let kind = given.get("kind").and_then(Value::as_str).unwrap_or_default();
            return Err(FaultError::UnknownField(stray.clone(), kind.to_owned()));
        }
        fault.check()?;
        Ok(fault)
    }

    /// Whether every filter makes sense.
    pub fn check(&self) -> Result<(), FaultError> {
        if !(0.0..=1.0).contains(&self.probability) {
            return Err(FaultError::Probability(self.probability.to_string()));
        }
        match &self.endpoint {
            Some(name) if !crate::api::endpoint_names().contains(&name.as_str()) => {
                Err(FaultError::Endpoint(name.clone()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Fault, FaultError, catalogue};

    #[test]
    fn every_documented_example_is_accepted_and_survives_a_round_trip() {
        for doc in catalogue() {
            let fault =
                Fault::from_json(&doc.example).unwrap_or_else(|error| panic!("{}: {error}", doc.kind));
            let again = serde_json::to_value(&fault).unwrap();
            assert_eq!(again["kind"], doc.kind);
            assert_eq!(Fault::from_json(&again).unwrap(), fault);
        }
    }

    #[test]
    fn the_catalogue_knows_every_kind() {
        let error = Fault::from_json(&json!({"kind": "nothing"})).unwrap_err().to_string();
        let listed = error.split_once("expected one of").expect("serde lists the variants").1;
        let kinds: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
        assert!(kinds.len() > 30, "{error}");
        let documented: Vec<&str> = catalogue().iter().map(|doc| doc.kind).collect();
        assert!(kinds.iter().all(|kind| documented.contains(kind)), "{kinds:?} against {documented:?}");
        assert_eq!(kinds.len(), documented.len());
    }

    #[test]
    fn a_misspelt_filter_is_refused_instead_of_widening_the_fault() {
        let error = Fault::from_json(&json!({"kind":"kill_server","instnce":4})).unwrap_err();
        assert_eq!(error, FaultError::UnknownField("instnce".to_owned(), "kill_server".to_owned()));
    }

    #[test]
    fn an_endpoint_that_does_not_exist_and_an_odd_probability_are_refused() {
        assert!(Fault::from_json(&json!({"kind":"auth_error","endpoint":"creat"})).is_err());
        assert!(Fault::from_json(&json!({"kind":"auth_error","probability":1.5})).is_err());
    }
}
