//! What a condition looks at: one answer of a server, its body parsed once.

use std::time::Duration;

use serde_json::Value;

use super::{Hop, Seen};

/// One whole answer. Its body is parsed as JSON when made, for all conditions together; serde_json refuses nesting
/// beyond 128 levels, so no body can exhaust the stack.
#[derive(Debug)]
pub struct Answer<'a> {
    status: u16,
    took: Duration,
    body: &'a [u8],
    json: Option<Value>,
}

impl<'a> Answer<'a> {
    /// From the HTTP status, the time the whole answer took, and the body.
    #[must_use]
    pub fn new(status: u16, took: Duration, body: &'a [u8]) -> Self {
        Self { status, took, body, json: serde_json::from_slice(body).ok() }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The time the whole answer took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The body as JSON, if it is that.
    #[must_use]
    pub fn json(&self) -> Option<&Value> {
        self.json.as_ref()
    }

    /// The value at a path; the empty path is the whole body as text. `null` is nothing.
    pub(super) fn read(&self, path: &[Hop]) -> Option<Seen<'_>> {
        let text = |text, number| Some(Seen { text, number });
        if path.is_empty() {
            let whole = match String::from_utf8_lossy(self.body) {
                std::borrow::Cow::Borrowed(body) => body.trim().into(),
                std::borrow::Cow::Owned(body) => body.trim().to_owned().into(),
            };
            return text(whole, matches!(self.json, Some(Value::Number(_))));
        }
        match self.value(path)? {
            Value::Null => None,
            Value::Bool(truth) => text(if *truth { "true" } else { "false" }.into(), false),
            Value::Number(number) => text(number.to_string().into(), true),
            Value::String(string) => text(string.into(), false),
            nested @ (Value::Array(_) | Value::Object(_)) => text(nested.to_string().into(), false),
        }
    }

    /// The number of elements, fields or characters at a path; numbers and truths have no length.
    pub(super) fn length(&self, path: &[Hop]) -> Option<usize> {
        match self.value(path) {
            Some(Value::Array(elements)) => Some(elements.len()),
            Some(Value::Object(fields)) => Some(fields.len()),
            Some(Value::String(string)) => Some(string.chars().count()),
            _ if path.is_empty() => self.read(path).map(|whole| whole.text.chars().count()),
            _ => None,
        }
    }

    fn value(&self, path: &[Hop]) -> Option<&Value> {
        path.iter().try_fold(self.json.as_ref()?, |value, hop| match hop {
            Hop::Key(key) => value.as_object()?.get(key),
            Hop::Index(index) => value.as_array()?.get(*index),
        })
    }
}
