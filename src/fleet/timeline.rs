//! The story of an incident in words and durations, told from its journal entries.

use serde::{Deserialize, Serialize};

use super::{
    culprit::Attribution,
    journal::{Cause, DoomReason, Entry, HeldReason, Outcome, Record},
    name::{IncidentId, InstanceId, NodeName},
    release, tell,
    units::{Timestamp, millis},
};

/// An incident as a person sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentView {
    /// Its number.
    pub id: IncidentId,
    /// Whose.
    pub node: NodeName,
    /// Why it began, in words.
    pub why: String,
    /// The first failed probe.
    pub first_failure_at: Timestamp,
    /// When it was recognised.
    pub opened_at: Timestamp,
    /// When it ended.
    pub closed_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Who is at fault, and what that rests on, as far as boxes were compared; only of an incident that is shown by itself.
    #[serde(default)]
    pub fault: Option<Attribution>,
    /// The milestones of its healing.
    #[serde(default)]
    pub milestones: Vec<Milestone>,
    /// What happened, line by line.
    #[serde(default)]
    pub lines: Vec<Line>,
}

/// One step of the healing, with how long it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Milestone {
    /// `detected`, `decided`, `destroyed`, `rented`, `booted`, `deployed` or, for a spare, `promoted`, `healthy`.
    pub name: String,
    /// When it was reached.
    pub at: Timestamp,
    /// Milliseconds since the milestone before; since the first failed probe for the first.
    pub took_ms: u64,
}

/// One journaled fact in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its number in the journal.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The node, if one.
    pub node: Option<NodeName>,
    /// The stable word for its kind.
    pub kind: String,
    /// What, in words.
    pub text: String,
}

/// A numbered entry in words.
#[must_use]
pub fn line(seq: u64, entry: &Entry) -> Line {
    Line {
        seq,
        at: entry.at,
        node: entry.record.node().cloned(),
        kind: entry.record.kind().into(),
        text: words(&entry.record),
    }
}

/// The milestones that the entries of an incident show, in order, the last of each kind; attempts that failed count into
/// the milestone that came after them.
#[must_use]
pub fn milestones(first_failure_at: Timestamp, entries: &[(u64, Entry)]) -> Vec<Milestone> {
    let name = |record: &Record| match record {
        Record::IncidentOpened { .. } => Some("detected"),
        Record::RecoveryStarted { .. } => Some("decided"),
        Record::DestroyAcknowledged { .. } => Some("destroyed"),
        Record::Created { .. } => Some("rented"),
        Record::InstanceUp { .. } => Some("booted"),
        Record::Promoted { .. } => Some("promoted"),
        Record::Deployed { .. } => Some("deployed"),
        Record::Adopted { .. } | Record::IncidentClosed { .. } => Some("healthy"),
        _ => None,
    };
    let mut found: Vec<(&str, Timestamp)> = Vec::new();
    for (_, entry) in entries {
        let Some(name) = name(&entry.record) else { continue };
        match found.iter().position(|(earlier, _)| *earlier == name) {
            // The first destroy is the old instance's; every other milestone counts when it is reached for good.
            Some(_) if name == "destroyed" || name == "healthy" => {}
            Some(index) => {
                found.truncate(index);
                found.push((name, entry.at));
            }
            None => found.push((name, entry.at)),
        }
    }
    let mut before = first_failure_at;
    let spaced = found.into_iter().map(|(name, at)| {
        let took_ms = millis(at.since(before));
        before = at;
        Milestone { name: name.into(), at, took_ms }
    });
    spaced.collect()
}

/// Who was at fault at last, by the entries of an incident.
#[must_use]
pub fn fault(entries: &[(u64, Entry)]) -> Option<Attribution> {
    entries.iter().rev().find_map(|(_, entry)| match &entry.record {
        Record::Attributed { culprit, evidence, .. } => {
            Some(Attribution { culprit: *culprit, evidence: evidence.clone() })
        }
        _ => None,
    })
}

/// Why an instance was condemned, in words.
#[must_use]
pub fn doom_text(reason: &DoomReason) -> String {
    match reason {
        DoomReason::Replaced { evidence } => format!("replaced: {evidence}"),
        DoomReason::FailedToStart { detail } => format!("never became healthy: {detail}"),
        DoomReason::BrokenCreate { detail } => format!("its create reported an error: {detail}"),
        DoomReason::Stray => "rented late or twice".into(),
        DoomReason::Planned { detail } => format!("replaced ahead of trouble: {detail}"),
        DoomReason::Unneeded { detail } => format!("not needed any more: {detail}"),
        DoomReason::Manual { by } => format!("asked for by {by}"),
    }
}

fn on(instance: &InstanceId, what: &str) -> String {
    format!("instance {instance} {what}")
}

/// A record in words.
#[must_use]
pub fn words(record: &Record) -> String {
    match record {
        Record::Booted { version } => format!("the keeper started, version {version}"),
        Record::IncidentOpened { cause, .. } => format!("incident: {}", tell::cause_text(cause)),
        Record::Noted { text, .. } => text.clone(),
        Record::IncidentClosed { outcome, .. } => match outcome {
            Outcome::ByItself => "healthy again by itself".into(),
            Outcome::Remedied => "healthy again after a remedy".into(),
            Outcome::Replaced => "replaced and healthy".into(),
            Outcome::Ended => "ended by hand".into(),
        },
        Record::RemedyStarted { rung, permit, .. } => format!("remedy `{}` begins ({permit})", rung.word()),
        Record::RemedyEnded { rung, helped: true, .. } => format!("remedy `{}` helped", rung.word()),
        Record::RemedyEnded { rung, detail, .. } => {
            format!("remedy `{}` did not help: {detail}", rung.word())
        }
        Record::RecoveryStarted { cause: Cause::Wanted, permit, .. } => format!("to be filled ({permit})"),
        Record::RecoveryStarted { keeps: Some(_), permit, .. } => {
            format!("to be replaced, and kept until the newcomer has proven itself ({permit})")
        }
        Record::RecoveryStarted { permit, .. } => format!("to be replaced ({permit})"),
        Record::Promoted { from, instance, .. } => {
            on(instance, &format!("is healthy in hand as {from} and takes over, on probation"))
        }
        Record::ReplacementCancelled { instance, .. } => {
            on(instance, "came back before its replacement had proven itself, and keeps the node")
        }
        Record::Doomed { instance, reason, .. } => on(instance, &format!("condemned: {}", doom_text(reason))),
        Record::DestroyAcknowledged { instance } => on(instance, "destroyed, says the provider"),
        Record::Gone { instance } => on(instance, "proven gone by complete lists"),
        Record::Intent { offer, machine, price, offer_text, permit, .. } => {
            format!("renting offer {offer} on machine {machine} at {price}/h: {offer_text} ({permit})")
        }
        Record::BidRaised { instance, bid, price, permit, .. } => {
            on(instance, &format!("is bid {bid}/h for and costs {price}/h then ({permit})"))
        }
        Record::PriceChanged { instance, price, .. } => on(instance, &format!("costs {price}/h now")),
        Record::CreateUnresolved { detail, .. } => {
            format!("the create's outcome is unknown ({detail}): looking for its label, not sending again")
        }
        Record::Created { instance, .. } => on(instance, "rented"),
        Record::CreateFailed { detail, .. } => format!("nothing was rented: {detail}"),
        Record::CreateAbandoned { .. } => "the ambiguous create rented nothing, say complete lists".into(),
        Record::InstanceUp { instance, address, .. } => {
            on(instance, &format!("is up, its server will be at {address}"))
        }
        Record::AddressChanged { instance, address, .. } => on(instance, &format!("moved to {address}")),
        Record::Deployed { release, .. } => {
            let digest: String = release.digest.chars().take(12).collect();
            format!("deployed release {digest}, commit {}", release.commit)
        }
        Record::NextRelease { release, .. } => {
            format!(
                "the newcomer gets release {} (commit {}); the tenant is kept as the way back",
                release.name, release.commit
            )
        }
        Record::StoodBy { instance, .. } => on(instance, "stands by as the way back"),
        Record::SwitchedBack { instance, by, .. } => on(instance, &format!("serves again: {by}")),
        Record::Published { addresses } => format!("published the addresses of {} nodes", addresses.len()),
        Record::DeployReported(report) => tell::report_text(report),
        Record::Imported { instance, op, .. } => {
            on(instance, &format!("is taken over on probation: it bears the label of attempt {op}"))
        }
        Record::ImportRefused { instance, detail, .. } => {
            on(instance, &format!("is not taken over and left alone: {detail}"))
        }
        Record::JournalDoubted => {
            "this journal is new or was written long ago: it may lack what was rented since".into()
        }
        Record::JournalSettled => "the lists agreed with the journal for long enough".into(),
        Record::UnknownSeen { instance, .. } => {
            on(instance, "bears this node's label, and nothing is known of it")
        }
        Record::UnknownGone { instance } => on(instance, "of which nothing was known, is there no more"),
        Record::AttemptFailed { detail, .. } => format!("the attempt failed: {detail}"),
        Record::Adopted { instance, .. } => on(instance, "is healthy and takes the node"),
        Record::Held { reason: reason @ HeldReason::Destroyed { .. }, .. } => tell::held_text(reason),
        Record::Held { reason, .. } => format!("waits for a human: {}", tell::held_text(reason)),
        Record::Released { by, .. } => format!("let go on by {by}"),
        Record::Paused { by, until: None, .. } => format!("paused by {by}"),
        Record::Paused { by, until: Some(_), .. } => format!("paused by {by} while its box is worked on"),
        Record::Resumed { by, .. } => format!("resumed by {by}"),
        Record::Retired { .. } => "no longer configured".into(),
        Record::MachineBlamed { machine, detail, .. } => {
            format!("machine {machine} is not rented for a while: {detail}")
        }
        Record::MachineImported { machine, by, .. } => {
            format!("machine {machine} was taken over from another ledger by {by}")
        }
        Record::MachineForgiven { machine, by } => format!("machine {machine} was forgiven by {by}"),
        Record::Attributed { culprit, evidence, .. } => format!("fault: {culprit} ({evidence})"),
        Record::ReleaseFailed { instance, digest, detail, .. } => {
            on(instance, &format!("does not serve release {}: {detail}", release::short(digest)))
        }
        Record::ReleaseCondemned { digest, evidence } => {
            format!("release {} is at fault: {evidence}", release::short(digest))
        }
        Record::ReleaseCleared { digest, by } => {
            format!("release {} may be tried again, says {by}", release::short(digest))
        }
        Record::KeyAccepted { accepted: true } => "the provider takes the api key again".into(),
        Record::KeyAccepted { accepted: false } => "the provider refuses the api key".into(),
        Record::BreakerMoved { to } => format!("the mass-failure breaker moved to `{}`", to.word()),
    }
}
