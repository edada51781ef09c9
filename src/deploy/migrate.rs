//! Migrating the data before the code that needs it: status, a look for statements that lose data, run, validate.
//!
//! The old release still stands, and its server runs on at rest, so that a migration which changes nothing harms nobody. The status
//! afterwards tells whether it did change something: then the data is in between, the server stays in maintenance, and the fault
//! names the way on. Nothing is run twice at once: a migration that a lost connection left behind is waited for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    env_file::mask,
    fault::DeployFault,
    job::{Ended, Job},
    risky::risky_statements,
    run::Run,
    step::Step,
};

/// From this exit code on a command was not found, or was ended by a signal: what it printed is no status.
const RC_NO_ANSWER: i32 = 124;
/// Risky statements that are told; the rest is counted.
const TOLD: usize = 5;

/// How the data is migrated. Each command runs on the box with the settings of the new release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Migrate {
    /// Prints what is pending. Its exit code means nothing: some tools fail where something is pending.
    pub status: Option<String>,
    /// Brings the schema that the release needs; harmless when nothing is pending. `None` migrates nothing.
    pub run: Option<String>,
    /// Fails unless the schema is what the release needs.
    pub validate: Option<String>,
    /// Whether statements that lose data may run.
    pub risky: bool,
    /// How long each of the commands may take.
    pub limit: Duration,
}

impl Default for Migrate {
    fn default() -> Self {
        Self { status: None, run: None, validate: None, risky: false, limit: Duration::from_secs(300) }
    }
}

impl Run<'_> {
    /// Migrates the data for a sealed release. The old one serves on until the switch.
    pub(super) async fn migrate(
        &mut self,
        with: &Migrate,
        release: &str,
        place: &str,
    ) -> Result<String, DeployFault> {
        let Some(command) = &with.run else { return Ok(String::new()) };
        let job = |slot, command| Job { place, ..Job::new(slot, command, release, with.limit) };
        let mut before = None;
        if let Some(status) = &with.status {
            let ended = self.job(Step::Migrate, &job("migrate-status", status)).await?;
            if ended.rc >= RC_NO_ANSWER {
                ended.good("the migration's status", self)?;
                return Err(DeployFault::Release("the migration's status has no answer".into()));
            }
            self.ask_about_risks(with, &ended)?;
            before = Some(ended.log);
        }
        let ended = self.job(Step::Migrate, &job("migrate-run", command)).await?;
        if ended.rc != 0 {
            let why = ended.words("the migration", self);
            let after = match (&with.status, &before) {
                (Some(status), Some(_)) => {
                    Some(self.job(Step::Migrate, &job("migrate-status", status)).await?.log)
                }
                _ => None,
            };
            if before.is_some() && after == before {
                let words = format!("{why}; it changed nothing, and the release of before goes on");
                return Err(DeployFault::Release(words));
            }
            return Err(self.halfway(format!("{why}; part of it may have been applied")));
        }
        if let Some(validate) = &with.validate {
            let ended = self.job(Step::Migrate, &job("migrate-validate", validate)).await?;
            if ended.rc != 0 {
                let why = ended.words("the check of the migrated schema", self);
                return Err(self.halfway(why));
            }
        }
        let said = mask(ended.log.lines().last().unwrap_or_default(), self.secrets);
        Ok(said.chars().filter(|c| !c.is_control()).take(120).collect())
    }

    fn ask_about_risks(&self, with: &Migrate, status: &Ended) -> Result<(), DeployFault> {
        let risks = risky_statements(&status.log);
        if with.risky || risks.is_empty() {
            return Ok(());
        }
        let told: Vec<String> = risks.iter().take(TOLD).map(ToString::to_string).collect();
        let more = risks.len().saturating_sub(TOLD);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let words = mask(&told.join("; "), self.secrets);
        Err(DeployFault::Release(format!(
            "the migration would lose data: {words}{more}; hint: `--set deploy.migrate.risky=true` lets it"
        )))
    }

    fn halfway(&self, what: String) -> DeployFault {
        let node = &self.site.node;
        let forward = match &self.backup {
            Some(backup) => {
                format!("deploy a mended release, or `vast-keeper restore {node} --backup {backup}`")
            }
            None => "deploy a mended release".into(),
        };
        let after = format!(", then `vast-keeper maintenance exit {node}`");
        DeployFault::Halfway { what, forward: forward + &after }
    }
}
