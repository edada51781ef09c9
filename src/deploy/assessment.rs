//! What was found on a box, as its `assess` script tells it.

/// What was found on the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// As `uname -m` says.
    pub arch: String,
    /// Free space where the releases live, in bytes.
    pub free_bytes: u64,
    /// Free inodes there; `None` where the file system counts none.
    pub free_inodes: Option<u64>,
    /// Programs that the scripts need and the box lacks.
    pub missing: Vec<String>,
    /// Whether the release is sealed, its program and its settings of the right digests.
    pub sealed: bool,
    /// Whether the program is on the box: uploaded by a former deploy, or part of another release.
    pub uploaded: bool,
    /// Whether the release was ever proven on this box.
    pub verified: bool,
    /// Whether the box's identity is the wanted one.
    pub same_identity: bool,
    /// The release that `current` names.
    pub current: Option<String>,
    /// The release that `previous` names.
    pub previous: Option<String>,
    /// The release on trial.
    pub trial: Option<String>,
    /// When the server was last started by a deploy, in seconds of the box's clock.
    pub began: Option<u64>,
    /// Whether the supervisor's server is alive.
    pub server_alive: bool,
    /// The reason for which an earlier deploy, which did not end, put the server into maintenance.
    pub maintenance: Option<String>,
    /// What was changing the data when it was cut or failed.
    pub data_half_way: Option<String>,
    /// Process and program of whoever else listens where the server is to.
    pub foreign: Option<String>,
    /// What else the box tells of itself: memory, load, open files, its server.
    pub facts: Vec<String>,
    /// The state of the server by the word of its manager, where that is not ours.
    pub service: Option<String>,
    /// The oldest schema version whose releases can work with the data; 0 for any.
    pub schema_floor: u64,
    /// The mark of a release that the box went back from.
    pub bad: Option<Bad>,
}

/// A release that a box went back from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// How often.
    pub times: u32,
    /// Whether the release was found at fault; else nobody confirmed it.
    pub at_fault: bool,
    /// In words.
    pub why: String,
}

impl Bad {
    /// Reads `<times> <kind> <words>`. What cannot be read counts as at fault: the mark stands there for a reason.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut words = text.splitn(3, ' ');
        let times = words.next().and_then(|word| word.parse().ok());
        let kind = words.next().unwrap_or_default();
        let why: String =
            words.next().unwrap_or(text).chars().filter(|c| !c.is_control()).take(300).collect();
        Self { times: times.unwrap_or(1), at_fault: times.is_none() || kind != "unconfirmed", why }
    }
}

impl Assessment {
    /// Reads the report of the `assess` script.
    ///
    /// # Errors
    /// Names the line that is missing or makes no sense: a box with other tools than we know.
    pub fn read(report: &str) -> Result<Self, String> {
        let field = |name: &str| report.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let needed = |name: &str| field(name).ok_or_else(|| format!("the box did not tell `{name}`"));
        let owned = |name: &str| field(name).map(str::to_owned);
        let free_kb: u64 =
            needed("free_kb")?.parse().map_err(|_| "the box told no number as `free_kb`".to_owned())?;
        Ok(Self {
            arch: needed("arch")?.to_owned(),
            free_bytes: free_kb.saturating_mul(1024),
            free_inodes: field("free_inodes").and_then(|text| text.parse().ok()),
            missing: needed("missing")?.split_whitespace().map(str::to_owned).collect(),
            sealed: needed("release")? == "sealed",
            uploaded: needed("incoming")? == "whole",
            verified: field("verified").is_some(),
            same_identity: field("identity").is_some(),
            current: owned("current"),
            previous: owned("previous"),
            trial: owned("trial"),
            began: field("began").and_then(|text| text.parse().ok()),
            server_alive: field("server_server") == Some("alive"),
            maintenance: field("maintenance").and_then(|text| Some(text.split_once(' ')?.1.to_owned())),
            data_half_way: owned("data"),
            foreign: owned("foreign").map(|text| text.chars().filter(|c| !c.is_control()).take(60).collect()),
            facts: report.lines().filter_map(|line| line.strip_prefix("fact=")).map(str::to_owned).collect(),
            service: owned("server_service"),
            schema_floor: field("floor").and_then(|text| text.parse().ok()).unwrap_or(0),
            bad: field("bad").map(Bad::read),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_makes_no_sense_is_an_error() {
        for report in ["", "arch=x\n", "arch=x\nfree_kb=many\nmissing=\nrelease=absent\nincoming=absent\n"] {
            assert!(Assessment::read(report).is_err(), "{report:?}");
        }
    }
}
