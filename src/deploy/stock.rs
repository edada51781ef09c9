//! The releases that stand on a box, and which of them is the way back.

use serde::Serialize;

use super::assessment::Bad;

/// What part a release plays on its box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It serves.
    Current,
    /// It serves on trial, and is not confirmed yet.
    Trial,
    /// It served before.
    Previous,
    /// It is kept.
    Kept,
}

/// A release on a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its name: twelve digits of the program's digest, twelve of its settings'.
    pub name: String,
    /// SHA-256 of the program.
    pub digest: String,
    /// The commit it was built from, or `unknown`.
    pub commit: String,
    /// When it was last proven there, in seconds since the Unix epoch by the box's clock; `None` if it never was.
    pub verified_at: Option<u64>,
    /// Its part.
    pub role: Role,
    /// The schema version that it brings; 0 for none.
    pub schema: u64,
    /// Why the box once went back from it.
    pub bad: Option<String>,
}

/// All releases on a box.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Stock {
    /// Newest proof first; those never proven last.
    pub releases: Vec<Standing>,
    /// The oldest schema version whose releases can work with the data; 0 for any.
    pub floor: u64,
    /// The reason for which a deploy that never ended its work has the server in maintenance.
    pub owed: Option<String>,
    /// The release on trial, if somebody was going back to it and was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returning: Option<String>,
    /// What was changing the data when it was cut or failed: which server fits it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_half_way: Option<String>,
}

impl Stock {
    /// Reads the report of the `releases` script. A line that makes no sense is left out: it is no way back.
    #[must_use]
    pub fn read(report: &str) -> Self {
        let mut releases: Vec<Standing> =
            report.lines().filter_map(|line| standing(line.strip_prefix("release=")?)).collect();
        releases.sort_by(|a, b| b.verified_at.cmp(&a.verified_at).then_with(|| a.name.cmp(&b.name)));
        let told = |key: &str| report.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let floor = told("floor").and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let owed = told("maintenance").and_then(|note| note.split_once(' '));
        let owed = owed.map(|(_, reason)| reason.to_owned());
        let on_trial = |name: &&str| {
            releases.iter().any(|release| release.role == Role::Trial && release.name == **name)
        };
        let returning = told("returning").map(str::trim).filter(on_trial).map(str::to_owned);
        let data_half_way = told("data").map(str::to_owned);
        Self { releases, floor, owed, returning, data_half_way }
    }

    /// The release that serves.
    #[must_use]
    pub fn current(&self) -> Option<&Standing> {
        self.releases.iter().find(|release| matches!(release.role, Role::Current | Role::Trial))
    }

    /// Where a rollback leads: to the wanted release (its name, the beginning of it, or its commit), which may be the one that
    /// serves, or else to the last one that was verified and that the box did not go back from. One that was cut is taken up
    /// where it led.
    ///
    /// # Errors
    /// In words, why there is no such way.
    pub fn way_back(&self, to: Option<&str>) -> Result<&Standing, String> {
        let serves = |release: &Standing| matches!(release.role, Role::Current | Role::Trial);
        let Some(to) = to.or(self.returning.as_deref()) else {
            let proven = |release: &&Standing| {
                !serves(release) && release.verified_at.is_some() && release.bad.is_none()
            };
            let good = |release: &&Standing| proven(release) && release.schema >= self.floor;
            if let (None, Some(barred)) = (self.releases.iter().find(good), self.releases.iter().find(proven))
            {
                return Err(self.barred(barred));
            }
            let previous = self.releases.iter().filter(good).find(|release| release.role == Role::Previous);
            return previous
                .or_else(|| self.releases.iter().find(good))
                .ok_or_else(|| "no other release was ever verified on this box".to_owned());
        };
        let named = |release: &&Standing| release.name.starts_with(to) || release.commit == to;
        let mut found = self.releases.iter().filter(named);
        match (found.next(), found.next()) {
            (None, _) => Err(format!("the box has no release `{to}`")),
            (Some(_), Some(_)) => Err(format!("more than one release is named like `{to}`")),
            // What is on trial is not proven to serve: it is switched to, and that may be all.
            (Some(release), None) if release.verified_at.is_none() => {
                Err(format!("`{}` was never verified on this box: deploy it instead", release.name))
            }
            (Some(release), None) if release.schema < self.floor => Err(self.barred(release)),
            (Some(release), None) => Ok(release),
        }
    }

    fn barred(&self, release: &Standing) -> String {
        format!(
            "`{}` knows schema {}, and the data can be read from schema {} on; hint: deploy a release that knows it, or \
             `vast-keeper restore NODE` brings back the data from before",
            release.name, release.schema, self.floor
        )
    }
}

fn standing(line: &str) -> Option<Standing> {
    let mut fields = line.splitn(7, '\t');
    let (name, digest, commit) = (fields.next()?, fields.next()?, fields.next()?);
    let (verified, role) = (fields.next()?, fields.next()?);
    let (schema, bad) = (fields.next()?, fields.next()?);
    Some(Standing {
        name: name.to_owned(),
        digest: digest.to_owned(),
        commit: commit.to_owned(),
        verified_at: verified.parse().ok(),
        role: match role {
            "current" => Role::Current,
            "trial" => Role::Trial,
            "previous" => Role::Previous,
            "kept" => Role::Kept,
            _ => return None,
        },
        schema: schema.parse().ok()?,
        bad: (!bad.is_empty()).then(|| Bad::read(bad).why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stock(lines: &[(&str, &str, &str, &str)]) -> Stock {
        let line = |(name, verified, role, bad): &(&str, &str, &str, &str)| {
            format!("release={name}\td1\tc-{name}\t{verified}\t{role}\t3\t{bad}\n")
        };
        Stock::read(&lines.iter().map(line).collect::<String>())
    }

    #[test]
    fn the_way_back_leads_to_the_previous_release_or_else_to_the_last_proven_one() {
        let box_of = stock(&[
            ("cur", "90", "current", ""),
            ("prev", "50", "previous", ""),
            ("old", "70", "kept", ""),
            ("new", "-", "kept", ""),
        ]);
        assert_eq!(box_of.way_back(None).unwrap().name, "prev");
        let shunned = stock(&[
            ("cur", "90", "current", ""),
            ("prev", "50", "previous", "1 release it crashed"),
            ("old", "20", "kept", ""),
            ("older", "10", "kept", ""),
        ]);
        assert_eq!(shunned.way_back(None).unwrap().name, "old");
        let alone = stock(&[("cur", "90", "current", ""), ("new", "-", "kept", "")]);
        assert!(alone.way_back(None).unwrap_err().contains("no other release"));
    }

    #[test]
    fn a_named_way_back_must_be_one() {
        let box_of =
            stock(&[("aa-1", "9", "current", ""), ("ab-1", "5", "kept", ""), ("ab-2", "-", "kept", "")]);
        let refused = |to: &str| box_of.way_back(Some(to)).unwrap_err();
        assert!(refused("zz").contains("no release"));
        assert!(refused("ab").contains("more than one"));
        assert_eq!(box_of.way_back(Some("aa")).unwrap().role, Role::Current, "who asks twice is there");
        assert!(refused("ab-2").contains("never verified"));
        let cut_short = stock(&[("aa-1", "9", "trial", ""), ("ab-1", "5", "kept", "")]);
        assert_eq!(cut_short.way_back(Some("aa")).unwrap().name, "aa-1");
        assert_eq!(box_of.way_back(Some("ab-1")).unwrap().commit, "c-ab-1");
        assert_eq!(box_of.way_back(Some("c-ab-1")).unwrap().name, "ab-1");
    }

    #[test]
    fn a_way_back_that_was_cut_is_taken_up_where_it_led() {
        let lines = [("bad", "90", "previous", ""), ("good", "50", "trial", "")];
        assert_eq!(stock(&lines).way_back(None).unwrap().name, "bad", "a deploy on trial is gone back from");
        assert_eq!(stock(&lines).way_back(Some("good")).unwrap().name, "good", "it may not be started yet");
        let report = |returning: &str| {
            format!(
                "returning={returning}\nrelease=bad\td\tc\t90\tprevious\t0\t\nrelease=good\td\tc\t50\ttrial\t0\t\n"
            )
        };
        assert_eq!(Stock::read(&report("good")).way_back(None).unwrap().name, "good");
        assert_eq!(Stock::read(&report("bad")).returning, None, "a note of an earlier one");
    }

    #[test]
    fn a_schema_that_an_older_release_cannot_read_forbids_the_way_back() {
        let mut box_of = stock(&[("cur", "90", "current", ""), ("prev", "50", "previous", "")]);
        box_of.floor = 3;
        assert_eq!(box_of.way_back(None).unwrap().name, "prev");
        box_of.floor = 4;
        for to in [None, Some("prev")] {
            let why = box_of.way_back(to).unwrap_err();
            assert!(why.contains("knows schema 3") && why.contains("hint:"), "{why}");
        }
    }

    #[test]
    fn data_that_was_being_changed_is_told() {
        let told = |line: &str| Stock::read(line).data_half_way;
        assert_eq!(told("floor=0\ndata=the migration to aa-1\n").as_deref(), Some("the migration to aa-1"));
        assert_eq!(told("floor=0\n"), None);
    }

    #[test]
    fn maintenance_that_is_owed_is_told_with_its_reason() {
        let owed = |line: &str| Stock::read(line).owed;
        assert_eq!(owed("floor=0\nmaintenance=1700000000 deploy aa-1\n").as_deref(), Some("deploy aa-1"));
        assert_eq!(owed("floor=0\n"), None);
        assert_eq!(owed("maintenance=\n"), None);
    }

    #[test]
    fn lines_that_make_no_sense_are_no_releases() {
        for line in [
            "",
            "release=",
            "release=a\tb",
            "release=a\td\tc\t1\tking\t0\t",
            "other=a\td\tc\t1\tkept\t0\t",
            "release=a\td\tc\t1\tkept\tx\t",
        ] {
            assert!(Stock::read(line).releases.is_empty(), "{line:?}");
        }
    }
}
