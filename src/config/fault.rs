//! Faults of a configuration: each names its key, its place and what would be right; all are told at once.
//!
//! No fault holds a secret's value, nor a line of a file that may hold one.

use std::fmt;

use serde::Serialize;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub struct Place {
    /// A file as it was given, or `environment`, `--set`, `built-in`.
    pub origin: String,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// The environment variable, where it was one.
    pub variable: Option<String>,
}

impl Place {
    /// A place without line or variable.
    pub(super) fn origin(origin: impl Into<String>) -> Self {
        Self { origin: origin.into(), ..Self::default() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(variable) = &self.variable {
            write!(f, " ({variable})")?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// Where, if it stands anywhere.
    pub place: Option<Place>,
    /// The key as a dotted path, or the variable where it has none; empty for a whole file.
    pub key: Box<str>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<Box<str>>,
}

impl Fault {
    pub(super) fn new(key: impl Into<Box<str>>, message: impl Into<String>) -> Self {
        Self { place: None, key: key.into(), message: message.into(), hint: None }
    }

    pub(super) fn at(self, place: Option<Place>) -> Self {
        Self { place, ..self }
    }

    pub(super) fn hint(self, hint: impl Into<Box<str>>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, in the order of the places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The faults; never empty.
    pub faults: Vec<Fault>,
}

impl ConfigErrors {
    /// Sorted by place and without repetitions: a shared default may be at fault for several nodes.
    pub(super) fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort();
        faults.dedup();
        Self { faults }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.faults.len();
        write!(f, "the configuration has {count} fault{}", if count == 1 { "" } else { "s" })?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n{fault}"))
    }
}
