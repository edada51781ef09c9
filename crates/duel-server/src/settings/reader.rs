//! Reads variables one by one and collects every fault on the way.

use std::fmt;
use std::time::Duration;

use super::Secret;

/// One thing wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong with it; never quotes its value.
    pub what: String,
}

/// Everything wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of the settings cannot be used", self.0.len())?;
        for fault in &self.0 {
            write!(formatter, "\n  {} {}", fault.variable, fault.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Reads and collects; every reading method gives a usable value even after a fault, so that reading can go on.
pub struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { variable, faults: Vec::new() }
    }

    pub fn fault(&mut self, variable: &'static str, what: String) {
        self.faults.push(Fault { variable, what });
    }

    /// The trimmed value; empty counts as unset.
    pub fn text(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    pub fn optional<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let parsed = parse(&self.text(name)?);
        if parsed.is_none() {
            self.fault(name, format!("must be {expected}"));
        }
        parsed
    }

    pub fn word<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        default: T,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.optional(name, expected, parse).unwrap_or(default)
    }

    pub fn number(&mut self, name: &'static str, default: i64, least: i64, most: i64) -> i64 {
        let expected = format!("a whole number from {least} to {most}");
        let in_range = |text: &str| text.parse().ok().filter(|number| (least..=most).contains(number));
        self.optional(name, &expected, in_range).unwrap_or(default)
    }

    pub fn milliseconds(&mut self, name: &'static str, default: i64, least: i64, most: i64) -> Duration {
        Duration::from_millis(self.number(name, default, least, most).unsigned_abs())
    }

    pub fn flag(&mut self, name: &'static str, default: bool) -> bool {
        self.word(name, "true or false", default, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    /// A secret, taken as it is but for surrounding white space.
    pub fn secret(&mut self, name: &'static str, required: bool, least_chars: usize) -> Option<Secret> {
        match self.text(name) {
            Some(text) if text.chars().count() < least_chars => {
                self.fault(name, format!("must have at least {least_chars} characters"));
                None
            }
            Some(text) => Some(Secret::new(text)),
            None if required => {
                self.fault(name, String::from("is required in this environment"));
                None
            }
            None => None,
        }
    }

    pub fn finish<T>(self, value: T) -> Result<T, Faults> {
        if self.faults.is_empty() { Ok(value) } else { Err(Faults(self.faults)) }
    }
}
