//! How a release is put on a box: everything that the configuration says of it and that is the same for all boxes.

use serde::{Deserialize, Serialize};

use super::{backup::Backup, manager::Manager, migrate::Migrate, request::Strategy, required::Required};

/// How a release is put on a box. What of it belongs to the release travels with it; the rest is the rule of the day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// How it comes there.
    pub strategy: Strategy,
    /// What keeps the server running there.
    pub manager: Manager,
    /// What is kept before.
    #[serde(skip)]
    pub backup: Backup,
    /// How the data follows.
    pub migrate: Migrate,
    /// Whether somebody else's server on a box without one of ours is taken over, as the release to go back to.
    #[serde(skip)]
    pub adopt: bool,
    /// Settings that must be there, and what they must look like.
    #[serde(skip)]
    pub required: Vec<Required>,
    /// The schema of the data that the release brings, where releases have such numbers.
    pub schema: Option<Schema>,
}

impl Method {
    /// The method of a release that was verified before, under the rules of now. What it requires of its settings was checked
    /// then: a demand that came later is none of it.
    #[must_use]
    pub fn under(self, now: &Self) -> Self {
        Self { backup: now.backup.clone(), adopt: now.adopt, required: Vec::new(), ..self }
    }
}

/// The schema of the data that a release brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Its version; the release works with data of this version.
    pub version: u32,
    /// The oldest version whose releases still work with such data. A box goes back to none older.
    pub floor: u32,
}
