//! A failed run as a file: all that is needed to see it fail again.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{MOST_DAYS, menu};
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
        let failed: Self = serde_json::from_str(&text).map_err(|fault| usage(fault.to_string()))?;
        failed.check().map_err(usage)?;
        Ok(failed)
    }

    /// The file may have been written by anybody: what it asks for must be what `simulate` could have been asked for.
    fn check(&self) -> Result<(), String> {
        if !(1..=MOST_DAYS * 24).contains(&self.hours) {
            return Err(format!("`hours` is {}, and may be 1 to {}", self.hours, MOST_DAYS * 24));
        }
        self.menu.as_ref().map_or(Ok(()), menu::check)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Base, Fault, Invariant};

    #[test]
    fn a_file_that_asks_for_more_than_a_run_can_be_is_refused() {
        let violation = Violation { invariant: Invariant::Rate, after_ms: 1, detail: String::new() };
        let of_hours = |hours| Failed::of_gate(1, hours, violation.clone()).check();
        assert_eq!(of_hours(168), Ok(()));
        for hours in [0, MOST_DAYS * 24 + 1, u64::MAX] {
            assert!(of_hours(hours).unwrap_err().contains("hours"), "{hours}");
        }
        let mut menu = Menu::of(Base::Storm);
        for rate in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            menu.rates.insert(Fault::BoxExit, rate);
            let failed = Failed { menu: Some(menu.clone()), ..Failed::of_gate(1, 5, violation.clone()) };
            assert!(failed.check().unwrap_err().contains("box-exit"), "{rate}");
        }
    }
}
