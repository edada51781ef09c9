//! Conditions in the form users know from Gatus.

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(String);

impl Condition {
    /// The default preset.
    #[must_use]
    pub fn preset() -> Vec<Self> {
        Vec::new()
    }
}
