//! The mass-failure breaker. It has three positions because one that can only freeze deadlocks on a real mass failure.

use serde::{Deserialize, Serialize};

/// Where the breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// Healing at the normal pace.
    #[default]
    Normal,
    /// One recovery per spacing.
    Slow,
    /// No recovery starts: everything is down, so the fault may be ours.
    Hold,
}
