//! Exit codes, and failures that carry one.

use std::fmt;

pub use crate::engine::chain;

/// Done.
pub const DONE: u8 = 0;
/// The command line or the configuration is wrong.
pub const USAGE: u8 = 2;
/// There was nothing to do.
pub const NOTHING: u8 = 10;
/// Refused by a rail, or not confirmed.
pub const REFUSED: u8 = 20;
/// A release failed, and the box went back to the one before.
pub const ROLLED_BACK: u8 = 30;
/// A release failed, and going back failed too.
pub const ROLLBACK_FAILED: u8 = 31;
/// The outcome is not known.
pub const UNKNOWN: u8 = 32;
/// Another keeper works on the same state.
pub const LOCKED: u8 = 40;
/// The provider, a node or the daemon cannot be reached.
pub const UNREACHABLE: u8 = 69;
/// A defect of the keeper, or an answer that cannot be written.
pub const BUG: u8 = 70;

/// Why a command failed, what to type next, and the exit code.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure with its code.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The reader of the answer has gone: the command ends, and there is nothing to say and nobody to blame.
    pub fn unheard() -> Self {
        Self::new(DONE, "")
    }

    /// Adds the next command to type.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Why, in words; empty when there is nothing to say.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}
