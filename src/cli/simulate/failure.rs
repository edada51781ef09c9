//! A failed run as a file: all that is needed to see it fail again.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    cli::{
        exit::{self, Failure},
        print::talk,
    },
    fleet::policy::Policy,
    world::{Menu, Violation},
};

/// The story of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failed {
    /// The keeper that failed; another one may decide otherwise.
    pub version: String,
    pub seed: u64,
    pub hours: u64,
    /// What went wrong; of the gate's own drawing where there is none.
    pub menu: Option<Menu>,
    /// The configuration file, where one was named.
    pub config: Option<PathBuf>,
    /// The configuration's digest, so that no other one passes for it.
    pub policy: Option<String>,
    pub violation: Violation,
}

impl Failed {
    pub fn of_gate(seed: u64, hours: u64, violation: Violation) -> Self {
        let version = env!("CARGO_PKG_VERSION").into();
        Self { version, seed, hours, menu: None, config: None, policy: None, violation }
    }

    pub fn configured(
        seed: u64,
        hours: u64,
        menu: Menu,
        config: Option<PathBuf>,
        policy: String,
        violation: Violation,
    ) -> Self {
        let (menu, policy) = (Some(menu), Some(policy));
        Self { menu, config, policy, ..Self::of_gate(seed, hours, violation) }
    }

    /// Writes it to the working directory and says so.
    pub fn write(&self) -> Result<(), Failure> {
        let path = format!("simulate-failure-{}.json", self.seed);
        let text =
            serde_json::to_string_pretty(self).map_err(|fault| Failure::new(exit::BUG, fault.to_string()))?;
        std::fs::write(&path, text)
            .map_err(|fault| Failure::new(exit::BUG, format!("{path} cannot be written: {fault}")))?;
        talk(&format!("seed {}: {}: {}", self.seed, self.violation.invariant, self.violation.detail));
        talk(&format!("hint: `vast-keeper simulate --replay {path}` tells the same story again"));
        Ok(())
    }

    pub fn read(path: &Path) -> Result<Self, Failure> {
        let usage = |why: String| Failure::new(exit::USAGE, format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|fault| usage(fault.to_string()))?;
        serde_json::from_str(&text).map_err(|fault| usage(fault.to_string()))
    }
}

/// A digest of the whole policy; it holds no secret.
pub(super) fn fingerprint(policy: &Policy) -> String {
    let digest = Sha256::digest(format!("{policy:?}"));
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
