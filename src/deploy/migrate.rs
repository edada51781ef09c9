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
    half_way::MIGRATION,
    job::Job,
    pending::{File, pending},
    risky::risky_statements,
    run::{Run, script},
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
    /// A pattern for the files of the release that hold migrations, relative to its tree; those still to run are looked through
    /// besides what the status prints. `None` looks at the status alone.
    pub files: Option<String>,
    /// Whether statements that lose data may run.
    pub risky: bool,
    /// How long each of the commands may take.
    pub limit: Duration,
}

impl Default for Migrate {
    fn default() -> Self {
        Self {
            status: None,
            run: None,
            validate: None,
            files: None,
            risky: false,
            limit: Duration::from_secs(300),
        }
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
            before = Some(ended.log);
        }
        if !with.risky {
            let said = before.as_deref().unwrap_or_default();
            let mut risks: Vec<String> = risky_statements(said).iter().map(ToString::to_string).collect();
            if let Some(files) = &with.files {
                risks.extend(self.risks_in(files, place, said).await?);
            }
            self.ask_about(&risks)?;
        }
        let cut_before = self.half_way.is_some();
        self.data_changes(Step::Migrate, &format!("{MIGRATION}{release}")).await?;
        let ended = self.job(Step::Migrate, &job("migrate-run", command)).await?;
        if ended.rc != 0 {
            let why = ended.words("the migration", self);
            let after = match (&with.status, &before) {
                (Some(status), Some(_)) => {
                    Some(self.job(Step::Migrate, &job("migrate-status", status)).await?.log)
                }
                _ => None,
            };
            if before.is_some() && after == before && !cut_before {
                self.data_is_whole(Step::Migrate).await?;
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
        // The switch ends the note, with the schema that it writes down: until then the old server must not meet this data.
        let said = mask(ended.log.lines().last().unwrap_or_default(), self.secrets);
        Ok(said.chars().filter(|c| !c.is_control()).take(120).collect())
    }

    /// The statements that lose data in the release's own files that are still to run.
    async fn risks_in(&mut self, files: &str, place: &str, status: &str) -> Result<Vec<String>, DeployFault> {
        let before =
            if self.current.is_empty() { String::new() } else { format!("releases/{}/tree", self.current) };
        let script = |read: &str| {
            script!("migrations.sh")
                .value("place", place)
                .value("before", before.as_str())
                .value("files", files)
                .value("read", read)
        };
        let found = File::read(&self.script(Step::Migrate, script(""), b"").await?.stdout);
        if found.is_empty() {
            // A look at nothing would find nothing, for ever.
            let words =
                format!("no file of the release is like `{files}`; hint: mend `deploy.migrate.files`");
            return Err(DeployFault::Release(words));
        }
        let mut risks = Vec::new();
        for file in pending(&found, status) {
            let text = self.script(Step::Migrate, script(&file.path), b"").await?.stdout;
            risks.extend(risky_statements(&text).iter().map(|risk| format!("{} {risk}", file.path)));
        }
        Ok(risks)
    }

    fn ask_about(&self, risks: &[String]) -> Result<(), DeployFault> {
        if risks.is_empty() {
            return Ok(());
        }
        let told = risks.get(..TOLD.min(risks.len())).unwrap_or_default();
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
