//! What is to be done, from what was found on the box. Pure.

use std::fmt;

use super::{fault::DeployFault, request::Strategy};

/// Room that must stay on the box besides twice the artifact (its upload and its sealed copy): logs and data grow.
const DISK_MARGIN_BYTES: u64 = 256 * 1024 * 1024;

/// One step of a deploy, in the order of a full one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Get a session.
    Connect,
    /// See what is there.
    Assess,
    /// Send the artifact, into a temporary name.
    Upload,
    /// Read it back from the box's disk, and only then give it its name.
    Verify,
    /// Make it a release folder by one rename.
    Seal,
    /// Write the server's settings.
    WriteEnv,
    /// Point `current` at it.
    Switch,
    /// Restart the server under the supervisor.
    Start,
    /// Prove it from outside.
    Gate,
    /// Mark it verified and remove what is not kept.
    Prune,
}

impl Step {
    /// The word shown to people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Assess => "assess",
            Self::Upload => "upload",
            Self::Verify => "verify",
            Self::Seal => "seal",
            Self::WriteEnv => "write-env",
            Self::Switch => "switch",
            Self::Start => "start",
            Self::Gate => "gate",
            Self::Prune => "prune",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What was found on the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// As `uname -m` says.
    pub arch: String,
    /// Free space where the releases live, in bytes.
    pub free_bytes: u64,
    /// Programs that the scripts need and the box lacks.
    pub missing: Vec<String>,
    /// Whether the release is sealed and its content has the right digest.
    pub sealed: bool,
    /// Whether a former deploy left the artifact uploaded and its content has the right digest.
    pub uploaded: bool,
    /// The release that `current` names.
    pub current: Option<String>,
    /// The release that `previous` names.
    pub previous: Option<String>,
}

impl Assessment {
    /// Reads the report of the `assess` script.
    ///
    /// # Errors
    /// Names the line that is missing or makes no sense: a box with other tools than we know.
    pub fn read(report: &str) -> Result<Self, String> {
        let field = |name: &str| report.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let needed = |name: &str| field(name).ok_or_else(|| format!("the box did not tell `{name}`"));
        let free_kb: u64 =
            needed("free_kb")?.parse().map_err(|_| "the box told no number as `free_kb`".to_owned())?;
        Ok(Self {
            arch: needed("arch")?.to_owned(),
            free_bytes: free_kb.saturating_mul(1024),
            missing: needed("missing")?.split_whitespace().map(str::to_owned).collect(),
            sealed: needed("release")? == "sealed",
            uploaded: needed("incoming")? == "whole",
            current: field("current").map(str::to_owned),
            previous: field("previous").map(str::to_owned),
        })
    }
}

/// The steps that follow the assessment.
///
/// # Errors
/// The box cannot take this artifact: too little room, another processor, or programs that its image lacks.
pub fn plan(
    strategy: Strategy,
    found: &Assessment,
    size: u64,
    arch: Option<&str>,
) -> Result<Vec<Step>, DeployFault> {
    let Strategy::Artifact = strategy;
    if !found.missing.is_empty() {
        let missing = found.missing.join("`, `");
        return Err(DeployFault::Release(format!("the box image lacks `{missing}`")));
    }
    if let Some(arch) = arch.filter(|arch| *arch != found.arch) {
        let detail = format!("its processor is `{}`, the artifact is for `{arch}`", found.arch);
        return Err(DeployFault::Box(detail));
    }
    let mut steps = Vec::new();
    if !found.sealed {
        if !found.uploaded {
            let needed = size.saturating_mul(2).saturating_add(DISK_MARGIN_BYTES);
            if found.free_bytes < needed {
                let detail = format!("{} MiB free, {} MiB needed", found.free_bytes >> 20, needed >> 20);
                return Err(DeployFault::Box(detail));
            }
            steps.extend([Step::Upload, Step::Verify]);
        }
        steps.push(Step::Seal);
    }
    // The server is restarted even if everything stands already: only a new start is proof of what runs.
    steps.extend([Step::WriteEnv, Step::Switch, Step::Start, Step::Gate, Step::Prune]);
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sealed: bool, uploaded: bool) -> Assessment {
        let release = if sealed { "sealed" } else { "damaged" };
        let incoming = if uploaded { "whole" } else { "absent" };
        let report = format!(
            "arch=x86_64\nfree_kb=1000000\nmissing=\nrelease={release}\nincoming={incoming}\ncurrent=ab\n"
        );
        Assessment::read(&report).unwrap()
    }

    #[test]
    fn only_what_is_not_there_yet_is_done() {
        let tail = [Step::WriteEnv, Step::Switch, Step::Start, Step::Gate, Step::Prune];
        let steps = |sealed, uploaded| {
            plan(Strategy::Artifact, &found(sealed, uploaded), 1 << 20, Some("x86_64")).unwrap()
        };
        assert_eq!(steps(true, false), tail);
        assert_eq!(steps(false, true), [&[Step::Seal][..], &tail].concat());
        assert_eq!(steps(false, false), [&[Step::Upload, Step::Verify, Step::Seal][..], &tail].concat());
    }

    #[test]
    fn a_box_that_cannot_take_it_is_refused_before_anything_is_sent() {
        let refused =
            |found: &Assessment| plan(Strategy::Artifact, found, 1 << 30, Some("x86_64")).unwrap_err();
        let fresh = found(false, false);
        assert!(matches!(refused(&fresh), DeployFault::Box(detail) if detail.contains("MiB needed")));
        let arm = Assessment { arch: "aarch64".into(), ..fresh.clone() };
        assert!(matches!(refused(&arm), DeployFault::Box(detail) if detail.contains("aarch64")));
        let bare = Assessment { missing: vec!["flock".into()], ..fresh };
        assert!(matches!(refused(&bare), DeployFault::Release(detail) if detail.contains("`flock`")));
    }

    #[test]
    fn a_report_that_makes_no_sense_is_an_error() {
        for report in ["", "arch=x\n", "arch=x\nfree_kb=many\nmissing=\nrelease=absent\nincoming=absent\n"] {
            assert!(Assessment::read(report).is_err(), "{report:?}");
        }
    }
}
