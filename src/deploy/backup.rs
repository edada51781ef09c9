//! Backups: what is kept before anything changes, so that a bad day can be undone.
//!
//! Each is a folder on the box: the release that served, its settings, the box's identity, and the dump that
//! `deploy.backup_command` wrote, with their checksums. A dump counts only if it is not empty and, where a check is configured, if
//! that check accepts it: one that cannot be restored is found out now, and ends the deploy before anything was changed.
//!
//! Deliberately absent: copies elsewhere. A rented box can vanish with its disk; what must outlive it belongs into a store of its own, to
//! which the command may well write besides.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{
    fault::DeployFault,
    job::Job,
    run::{Run, script},
    step::Step,
};
use crate::remote::{BoxAddress, Remote};

/// How a box is backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Writes the dump to its standard output; `None` keeps settings and release only.
    pub command: Option<String>,
    /// Accepts a dump on its standard input, or fails.
    pub check: Option<String>,
    /// Takes a dump on its standard input and brings the data back.
    pub restore: Option<String>,
    /// How many with a dump stay on the box, and how many without.
    pub keep: u32,
    /// How long each of the commands may take.
    pub limit: Duration,
}

impl Default for Backup {
    /// Settings and release only, five of them.
    fn default() -> Self {
        Self { command: None, check: None, restore: None, keep: 5, limit: Duration::from_secs(300) }
    }
}

/// A backup on a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its name: when it was taken (UTC), and the release that served.
    pub name: String,
    /// The release that served.
    pub release: String,
    /// Whether that release still stands on the box.
    pub stands: bool,
    /// The schema version that was noted then; 0 for none.
    pub schema: u64,
    /// The oldest schema version whose releases can work with that one.
    pub floor: u64,
    /// When it was taken, in seconds since the Unix epoch by the box's clock.
    pub taken_at: u64,
    /// Bytes of its dump; `None` without one.
    pub dump_bytes: Option<u64>,
}

impl Kept {
    /// The backups in a report, the youngest first.
    pub(super) fn read(report: &str) -> Vec<Self> {
        let one = |line: &str| {
            let mut fields = line.strip_prefix("backup=")?.split('\t');
            let mut next = || fields.next();
            let (name, release, stands, schema) = (next()?, next()?, next()?, next()?);
            let (schema, floor) = schema.split_once(' ').unwrap_or((schema, "0"));
            Some(Self {
                name: name.to_owned(),
                release: release.to_owned(),
                stands: stands == "yes",
                schema: schema.parse().unwrap_or(0),
                floor: floor.parse().unwrap_or(0),
                taken_at: next()?.parse().ok()?,
                dump_bytes: next()?.trim().parse().ok(),
            })
        };
        let mut found: Vec<Self> = report.lines().filter_map(one).collect();
        found.sort_by(|a, b| b.name.cmp(&a.name));
        found
    }
}

impl Run<'_> {
    /// Takes a backup and tells its name.
    pub(super) async fn back_up(&mut self, with: &Backup) -> Result<String, DeployFault> {
        let script = |verb: &str, dump: &str| {
            script!("backup.sh").value("verb", verb).value("dump", dump).value("keep", with.keep.to_string())
        };
        let Some(command) = &with.command else {
            let told = self.script(Step::Backup, script("both", "no"), b"").await?.stdout;
            return Ok(self.kept(&told));
        };
        self.script(Step::Backup, script("begin", "yes"), b"").await?;
        let release = &self.current.clone();
        let dump = Job { output: "backups/.new/dump", ..Job::new("backup", command, release, with.limit) };
        let ended = self.job(Step::Backup, &dump).await?;
        ended.good("the backup command", self)?;
        if let Some(check) = &with.check {
            let job =
                Job { input: "backups/.new/dump", ..Job::new("backup-check", check, release, with.limit) };
            let ended = self.job(Step::Backup, &job).await?;
            ended.good("the backup's check", self)?;
        }
        let told = self.script(Step::Backup, script("end", "yes"), b"").await?.stdout;
        Ok(self.kept(&told))
    }

    fn kept(&mut self, told: &str) -> String {
        let field = |name: &str| told.lines().find_map(|line| line.strip_prefix(name));
        let name = field("backup=").unwrap_or_default().to_owned();
        let words = match field("bytes=") {
            Some(bytes) => format!("{name} ({bytes} bytes)"),
            None => name.clone(),
        };
        self.backup = Some(name);
        words
    }
}

/// The backups on a box, the youngest first.
///
/// # Errors
/// The box cannot be asked within `limit`.
pub async fn backups(
    remote: &Remote,
    address: &BoxAddress,
    limit: Duration,
) -> Result<Vec<Kept>, DeployFault> {
    let nothing = std::collections::BTreeMap::<String, SecretString>::new();
    let script = script!("backups.sh").value("prove", "");
    let told = super::look::ask(remote, address, script, &nothing, limit).await?;
    Ok(Kept::read(&told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_and_what_makes_no_sense_is_left_out() {
        let report = "backup=20260101T000000Z-aa\taa\tyes\t3 2\t1767225600\t12\n\
            backup=20260102T000000Z-bb\tbb\tno\t\t1767312000\t-\nbackup=x\nother=1\n";
        let found = Kept::read(report);
        let names: Vec<_> = found.iter().map(|kept| (kept.release.as_str(), kept.dump_bytes)).collect();
        assert_eq!(names, [("bb", None), ("aa", Some(12))]);
        assert!(found[1].stands && !found[0].stands && (found[1].schema, found[1].floor) == (3, 2));
    }
}
