//! What a reload changes: which keys differ, and which of those only a restart takes over.

use secrecy::ExposeSecret;
use serde::Serialize;

use super::{Config, Explained};

/// One key that differs between two configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Dotted path, or a secret's name.
    pub key: String,
    /// Its value before, masked if secret.
    pub before: Option<String>,
    /// Its value after, masked if secret.
    pub after: Option<String>,
    /// Whether it takes effect only after a restart of the keeper.
    pub needs_restart: bool,
}

/// The keys that differ, in the order of their names. A value that only moved to another source is no change.
#[must_use]
pub fn changes(before: &Config, after: &Config) -> Vec<Change> {
    let find = |config: &Config, key: &str| -> Option<Explained> {
        config.explain().iter().find(|explained| explained.key == key).cloned()
    };
    let mut keys: Vec<&str> =
        before.explain().iter().chain(after.explain()).map(|explained| explained.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    let change = |key: &str| {
        let (old, new) = (find(before, key), find(after, key));
        let secret = |explained: &Option<Explained>| {
            explained
                .as_ref()
                .and_then(|explained| Some(explained.secret.as_ref()?.expose_secret().to_string()))
        };
        let value =
            |explained: &Option<Explained>| explained.as_ref().and_then(|explained| explained.value.clone());
        let same = value(&old) == value(&new) && secret(&old) == secret(&new);
        (!same).then(|| Change {
            key: key.into(),
            before: value(&old),
            after: value(&new),
            needs_restart: old.iter().chain(&new).any(|explained| explained.needs_restart),
        })
    };
    keys.into_iter().filter_map(change).collect()
}
