//! What a deploy or a rollback by hand, by a rollout or by the keeper itself came to: reported to the core, journaled, and
//! from then on what healing goes by.
//!
//! A release is a program *and* its settings (a pair), named by both. What was last verified on a node by hand is what healing
//! puts there again; a pair that a box went back from is quarantined for the whole fleet, until it is deployed by force or
//! proves itself elsewhere.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    name::{InstanceId, NodeName},
    release::Digest,
    units::Timestamp,
};

/// A release's name on every box: twelve digits of the program's digest, a dash, twelve of its settings'.
pub type PairName = String;

/// Pairs remembered as quarantined; the oldest go first.
const QUARANTINE_KEPT: usize = 64;
/// Characters kept of a report's texts: they go into journal, alerts and terminals.
const TEXT_LENGTH: usize = 600;
/// Steps kept of a report; a whole deploy has fewer than twenty.
const STEPS_KEPT: usize = 64;

/// A release as it stands on a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Its name.
    pub name: PairName,
    /// SHA-256 of the program.
    pub digest: Digest,
    /// The commit it was built from, or `unknown`.
    pub commit: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployKind {
    /// A release was put on a box.
    Deploy,
    /// A box was taken back to an earlier release.
    Rollback,
    /// A backup was brought back, with the release that it belongs to.
    Restore,
}

impl DeployKind {
    /// The word shown to people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Restore => "restore",
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployOutcome {
    /// The wanted release serves and was verified.
    Verified,
    /// It served already and was seen to.
    Unchanged,
    /// It failed, and what was verified before serves again.
    RolledBack,
    /// It failed, and going back failed too.
    RollbackFailed,
    /// It failed where data was already being changed: only a person can tell the way on.
    Halfway,
    /// Nothing was changed.
    Refused,
    /// It failed, and there was nothing to go back to.
    Failed,
    /// What serves is not known.
    Unknown,
}

impl DeployOutcome {
    /// The word shown to people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unchanged => "unchanged",
            Self::RolledBack => "rolled back",
            Self::RollbackFailed => "rollback failed",
            Self::Halfway => "stopped halfway",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the wanted release serves.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Verified | Self::Unchanged)
    }
}

/// A step with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTook {
    /// Its word.
    pub step: String,
    /// Milliseconds it took.
    pub took_ms: u64,
    /// Milliseconds it should take at most, by the deployment runbook.
    pub target_ms: u64,
}

impl StepTook {
    /// Whether it took longer than it should.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.took_ms > self.target_ms
    }
}

/// What a deploy or a rollback of one node came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployReport {
    /// The node.
    pub node: NodeName,
    /// Its box.
    pub instance: InstanceId,
    /// What was done.
    pub work: DeployKind,
    /// Who asked for it.
    pub by: String,
    /// Whether the keeper did it as part of its healing; what a person does is what healing goes by afterwards.
    #[serde(default)]
    pub healing: bool,
    /// The rollout it was part of.
    #[serde(default)]
    pub rollout: Option<String>,
    /// The release that was wanted, once it was known.
    pub wanted: Option<Placed>,
    /// The release that serves now, where it was seen to.
    pub serves: Option<Placed>,
    /// How it ended.
    pub outcome: DeployOutcome,
    /// Whether the release, and not the box or the way to it, is at fault.
    #[serde(default)]
    pub at_fault: bool,
    /// The release that was left because it is at fault, where it is one that had been verified.
    #[serde(default)]
    pub leaves: Option<Placed>,
    /// What went wrong, in words; empty where nothing did.
    #[serde(default)]
    pub detail: String,
    /// Why the server is still in maintenance, if it is.
    #[serde(default)]
    pub closed: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// Milliseconds it took.
    pub took_ms: u64,
    /// Its steps.
    #[serde(default)]
    pub steps: Vec<StepTook>,
}

impl DeployReport {
    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Duration {
        Duration::from_millis(self.took_ms)
    }

    /// The same with every text short and on one line: a report may come from outside.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let placed = self.wanted.iter_mut().chain(&mut self.serves).chain(&mut self.leaves);
        let named = placed.flat_map(|placed| [&mut placed.name, &mut placed.digest, &mut placed.commit]);
        let steps = self.steps.iter_mut().map(|step| &mut step.step);
        let others =
            [&mut self.by, &mut self.detail].into_iter().chain(&mut self.closed).chain(&mut self.rollout);
        for text in named.chain(steps).chain(others) {
            *text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_LENGTH).collect();
        }
        self.steps.truncate(STEPS_KEPT);
        self
    }

    /// Whether the box's data may be neither what it was nor what it was to become. Only this box and its backups have it,
    /// so another box is no remedy.
    #[must_use]
    pub fn leaves_data_halfway(&self) -> bool {
        let unclear = matches!(self.outcome, DeployOutcome::RollbackFailed | DeployOutcome::Unknown);
        self.outcome == DeployOutcome::Halfway || (self.work == DeployKind::Restore && unclear)
    }

    /// Whether the box left the wanted release because that was at fault.
    #[must_use]
    pub fn condemns_its_pair(&self) -> bool {
        let left = matches!(self.outcome, DeployOutcome::RolledBack | DeployOutcome::RollbackFailed);
        self.work == DeployKind::Deploy && self.at_fault && left && !self.healing
    }
}

/// What a blue-green replacement is asked for with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRequest {
    /// The node.
    pub node: NodeName,
    /// What the other box is given; the keeper's shelf has it.
    pub release: Placed,
    /// How many seconds the present one is kept afterwards as the way back.
    pub keep_s: u32,
    /// Who.
    pub by: String,
}

/// Why a pair is not deployed any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The pair.
    pub release: Placed,
    /// Since when.
    pub at: Timestamp,
    /// The node whose box went back from it.
    pub node: NodeName,
    /// Why.
    pub why: String,
}

/// Adds a pair, and lets the oldest go where there are too many.
pub(super) fn quarantine(pairs: &mut BTreeMap<PairName, Quarantined>, entry: Quarantined) {
    pairs.insert(entry.release.name.clone(), entry);
    while pairs.len() > QUARANTINE_KEPT {
        let oldest = pairs.iter().min_by_key(|(_, pair)| pair.at).map(|(name, _)| name.clone());
        let Some(oldest) = oldest else { return };
        pairs.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(name: &str) -> Placed {
        Placed { name: name.into(), digest: "d".into(), commit: "c".into() }
    }

    #[test]
    fn the_quarantine_stays_bounded_and_keeps_the_newest() {
        let mut pairs = BTreeMap::new();
        for number in 0..200_u64 {
            let release = placed(&format!("{number:03}"));
            let why = "x".into();
            let node = "duel-0".parse().unwrap();
            quarantine(&mut pairs, Quarantined { release, at: Timestamp(number), node, why });
        }
        assert_eq!(pairs.len(), QUARANTINE_KEPT);
        assert!(pairs.contains_key("199") && !pairs.contains_key("000"));
    }

    #[test]
    fn a_report_from_outside_is_cut_to_size() {
        let report = DeployReport {
            node: "duel-0".parse().unwrap(),
            instance: InstanceId(1),
            work: DeployKind::Deploy,
            by: "a\u{1b}[2J".repeat(1000),
            healing: false,
            rollout: None,
            wanted: Some(placed(&"n".repeat(5000))),
            serves: None,
            outcome: DeployOutcome::RolledBack,
            at_fault: true,
            leaves: None,
            detail: "two\nlines".into(),
            closed: None,
            started_at: Timestamp(1),
            took_ms: 1,
            steps: vec![StepTook { step: "gate".into(), took_ms: 2, target_ms: 1 }; 1000],
        };
        assert!(report.condemns_its_pair() && report.steps[0].is_over());
        let report = report.bounded();
        assert_eq!((report.by.len(), report.steps.len()), (TEXT_LENGTH, STEPS_KEPT));
        assert!(!report.by.contains('\u{1b}') && report.detail == "two lines");
        assert_eq!(report.wanted.as_ref().unwrap().name.len(), TEXT_LENGTH);
        assert!(!DeployReport { work: DeployKind::Rollback, ..report.clone() }.condemns_its_pair());
        assert!(!DeployReport { healing: true, ..report }.condemns_its_pair());
    }
}
