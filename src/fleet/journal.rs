//! The journal's vocabulary: every durable fact the keeper decides or learns, and the one fold that turns facts into
//! [`Fleet`](super::state::Fleet) (see `apply`).
//!
//! No record holds a secret. What a rail counts is here, so that a restart forgets nothing.

mod about;
mod reason;

use std::{collections::BTreeMap, net::SocketAddr};

pub use reason::{Cause, DoomReason, HeldReason};
use serde::{Deserialize, Serialize};

use super::{
    culprit::Culprit,
    deployed::{DeployReport, Placed},
    name::{HostId, IncidentId, InstanceId, MachineId, NodeName, OfferId, OpId},
    policy::Rung,
    release::Digest,
    state::Blame,
    units::{Money, Timestamp},
};

/// A record with its time, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was decided or learned.
    pub at: Timestamp,
    /// What.
    pub record: Record,
}

/// How an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It became healthy again by itself.
    ByItself,
    /// A soft remedy helped.
    Remedied,
    /// A new instance serves.
    Replaced,
    /// The node is no longer wanted, or a person ended it.
    Ended,
}

/// Where a deploy stands; the words shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRef {
    /// SHA-256 of the artifact in hex.
    pub digest: String,
    /// Commit baked into it.
    pub commit: String,
}

/// One durable fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Record {
    /// The keeper started: open intents become unresolved.
    Booted {
        /// Its version.
        version: String,
    },
    /// At the first look of a process at it, this journal had never rented, or was written long before: it may lack what was
    /// rented since.
    JournalDoubted,
    /// Lists agreed for long enough that this journal, which was doubted, lacks nothing that they show.
    JournalSettled,
    /// An incident began at the first failed probe that mattered.
    IncidentOpened {
        /// Its number.
        incident: IncidentId,
        /// Whose.
        node: NodeName,
        /// Why.
        cause: Cause,
        /// The first failed probe.
        first_failure_at: Timestamp,
    },
    /// A witness spoke, or a rail kept the next action back; for the timeline.
    Noted {
        /// Whose.
        node: NodeName,
        /// The incident, if one is open.
        incident: Option<IncidentId>,
        /// What.
        text: String,
    },
    /// An incident ended.
    IncidentClosed {
        /// Which.
        incident: IncidentId,
        /// Whose.
        node: NodeName,
        /// How.
        outcome: Outcome,
    },
    /// A soft remedy began.
    RemedyStarted {
        /// Whose.
        node: NodeName,
        /// Which.
        rung: Rung,
        /// Its deadline.
        deadline: Timestamp,
        /// Why the rails let it pass.
        permit: String,
    },
    /// A soft remedy is over, for better or worse.
    RemedyEnded {
        /// Whose.
        node: NodeName,
        /// Which.
        rung: Rung,
        /// Whether the node is healthy again.
        helped: bool,
        /// What happened.
        detail: String,
    },
    /// A recovery began: the node will be filled by a new instance.
    RecoveryStarted {
        /// Whose.
        node: NodeName,
        /// The incident it belongs to; a node's first filling is none.
        incident: Option<IncidentId>,
        /// Why.
        cause: Cause,
        /// Why the rails let it pass.
        permit: String,
        /// Why the present tenant is condemned once a newcomer takes its place; without it, it is condemned at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keeps: Option<DoomReason>,
        /// The group whose spare the node is, if it is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spare_of: Option<String>,
    },
    /// A spare's tenant is put on probation at a node that failed; the spare is empty.
    Promoted {
        /// The node that it is to fill.
        node: NodeName,
        /// The spare.
        from: NodeName,
        /// The tenant.
        instance: InstanceId,
    },
    /// The tenant to be replaced came back before a newcomer had proven itself, and keeps its node.
    ReplacementCancelled {
        /// Whose.
        node: NodeName,
        /// The tenant.
        instance: InstanceId,
    },
    /// An instance is condemned. Monotone: never adopted again.
    Doomed {
        /// Which.
        instance: InstanceId,
        /// The node it filled or was to fill, if known.
        node: Option<NodeName>,
        /// Why.
        reason: DoomReason,
        /// What it cost an hour.
        price: Money,
    },
    /// The provider accepted the destroy.
    DestroyAcknowledged {
        /// Which.
        instance: InstanceId,
    },
    /// Complete lists prove it gone.
    Gone {
        /// Which.
        instance: InstanceId,
    },
    /// About to send one create.
    Intent {
        /// Whose.
        node: NodeName,
        /// The attempt's id.
        op: OpId,
        /// The offer.
        offer: OfferId,
        /// Its machine.
        machine: MachineId,
        /// Its host.
        host: HostId,
        /// Its price an hour.
        price: Money,
        /// GPU, region, reliability in words.
        offer_text: String,
        /// What is bid for it, in dollars per hour without storage; `None` on demand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bid: Option<Money>,
        /// Why the rails let it pass.
        permit: String,
    },
    /// About to bid more for an interruptible instance; proven by the lists afterwards.
    BidRaised {
        /// Whose.
        node: NodeName,
        /// Which.
        instance: InstanceId,
        /// The bid, in dollars per hour without storage.
        bid: Money,
        /// What it costs an hour from now on.
        price: Money,
        /// Why the rails let it pass.
        permit: String,
    },
    /// The provider asks another price for an instance than it was rented at; it is counted with this one from now on.
    PriceChanged {
        /// Whose.
        node: NodeName,
        /// Which.
        instance: InstanceId,
        /// What it costs an hour now.
        price: Money,
    },
    /// The create's outcome is unknown: look by label.
    CreateUnresolved {
        /// Whose.
        node: NodeName,
        /// Which attempt.
        op: OpId,
        /// What happened.
        detail: String,
    },
    /// The create rented an instance.
    Created {
        /// Whose.
        node: NodeName,
        /// Which attempt.
        op: OpId,
        /// The instance.
        instance: InstanceId,
    },
    /// The create rented nothing.
    CreateFailed {
        /// Whose.
        node: NodeName,
        /// Which attempt.
        op: OpId,
        /// Why.
        detail: String,
        /// Not before this is the next create sent.
        retry_at: Timestamp,
    },
    /// The ambiguous create is given up; its label stays watched.
    CreateAbandoned {
        /// Whose.
        node: NodeName,
        /// Which attempt.
        op: OpId,
    },
    /// The instance runs and can be reached.
    InstanceUp {
        /// Whose.
        node: NodeName,
        /// Which.
        instance: InstanceId,
        /// Where its server will be published.
        address: SocketAddr,
    },
    /// The published address of an instance changed.
    AddressChanged {
        /// Whose.
        node: NodeName,
        /// Which.
        instance: InstanceId,
        /// Where it is now.
        address: SocketAddr,
    },
    /// A deploy finished and its gate passed.
    Deployed {
        /// Whose.
        node: NodeName,
        /// Which.
        instance: InstanceId,
        /// What was deployed.
        release: ReleaseRef,
    },
    /// A deploy or a rollback came to its end: what healing goes by from now on, and the history of deploys.
    DeployReported(Box<DeployReport>),
    /// A replacement brings another release, and keeps the tenant before as the way back.
    NextRelease {
        /// Whose.
        node: NodeName,
        /// What its newcomer is given.
        release: Placed,
        /// How long the tenant is kept, in milliseconds.
        keep_ms: u64,
    },
    /// The newcomer of a blue-green replacement has proven itself: the tenant before stands by.
    StoodBy {
        /// Whose.
        node: NodeName,
        /// The tenant before.
        instance: InstanceId,
        /// It is condemned then.
        until: Timestamp,
    },
    /// The tenant that stood by serves again.
    SwitchedBack {
        /// Whose.
        node: NodeName,
        /// That tenant.
        instance: InstanceId,
        /// Who wanted it, or why.
        by: String,
    },
    /// Where the nodes are reached is known outside.
    Published {
        /// Every node that has a box, with its server's address.
        addresses: BTreeMap<NodeName, SocketAddr>,
    },
    /// An instance that an unknown attempt rented is taken over, on probation.
    Imported {
        /// For which node.
        node: NodeName,
        /// The attempt its label names, which its server must echo.
        op: OpId,
        /// The instance.
        instance: InstanceId,
        /// Its machine.
        machine: MachineId,
        /// Its host.
        host: HostId,
        /// Its price an hour.
        price: Money,
        /// Its GPU in words.
        text: String,
        /// Where its server is published.
        address: SocketAddr,
    },
    /// It did not prove to be the node's, and is left alone.
    ImportRefused {
        /// For which node it was taken.
        node: NodeName,
        /// The instance.
        instance: InstanceId,
        /// What it did not prove.
        detail: String,
    },
    /// A list shows an instance with our label of whose attempt this journal knows nothing.
    UnknownSeen {
        /// The node that its label names.
        node: NodeName,
        /// The instance.
        instance: InstanceId,
    },
    /// Lists agreed for long enough that it is there no more, or bears our label no more.
    UnknownGone {
        /// The instance.
        instance: InstanceId,
    },
    /// An attempt failed; the recovery goes on with the next one after the backoff.
    AttemptFailed {
        /// Whose.
        node: NodeName,
        /// The stage and what happened.
        detail: String,
        /// Not before this.
        retry_at: Timestamp,
    },
    /// The newcomer is healthy and takes the node.
    Adopted {
        /// Whose.
        node: NodeName,
        /// Which.
        instance: InstanceId,
    },
    /// A node waits for a human.
    Held {
        /// Which.
        node: NodeName,
        /// Why.
        reason: HeldReason,
    },
    /// A held node goes on.
    Released {
        /// Which.
        node: NodeName,
        /// Who lets it.
        by: String,
        /// Nobody mended anything: what was tried on its box lately is not tried again for it.
        #[serde(default)]
        by_itself: bool,
    },
    /// A person paused healing of a node.
    Paused {
        /// Which.
        node: NodeName,
        /// Who.
        by: String,
        /// Until when at most, where it ends by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A person resumed healing of a node.
    Resumed {
        /// Which.
        node: NodeName,
        /// Who.
        by: String,
    },
    /// The node left the configuration.
    Retired {
        /// Which.
        node: NodeName,
    },
    /// A machine failed us and is not rented for a while.
    MachineBlamed {
        /// Which.
        machine: MachineId,
        /// Whose it is.
        host: HostId,
        /// Why.
        detail: String,
        /// Until when.
        until: Timestamp,
        /// The node its box filled or was to fill.
        #[serde(default)]
        node: Option<NodeName>,
        /// That box.
        #[serde(default)]
        instance: Option<InstanceId>,
        /// Who was at fault.
        #[serde(default)]
        culprit: Culprit,
    },
    /// What another ledger knows of a machine was taken over.
    MachineImported {
        /// Which.
        machine: MachineId,
        /// What it knows.
        blame: Blame,
        /// Who wanted it.
        by: String,
    },
    /// A machine was struck off the ledger.
    MachineForgiven {
        /// Which.
        machine: MachineId,
        /// Who wanted it.
        by: String,
    },
    /// Who is at fault for a box that failed, by comparison with others.
    Attributed {
        /// The node it filled or was to fill.
        node: NodeName,
        /// The incident, if one is open.
        incident: Option<IncidentId>,
        /// The box.
        instance: InstanceId,
        /// Who.
        culprit: Culprit,
        /// What was compared.
        evidence: String,
    },
    /// A box came up and took a release, and its server does not serve.
    ReleaseFailed {
        /// The node it was to fill.
        node: NodeName,
        /// The box.
        instance: InstanceId,
        /// The release.
        digest: Digest,
        /// The box's host.
        host: HostId,
        /// How it failed.
        detail: String,
    },
    /// A release is at fault: it is deployed nowhere any more.
    ReleaseCondemned {
        /// Which.
        digest: Digest,
        /// What that rests on.
        evidence: String,
    },
    /// A person lets a release be tried again.
    ReleaseCleared {
        /// Which.
        digest: Digest,
        /// Who.
        by: String,
    },
    /// The provider refuses the key (`false`), or takes it again (`true`).
    KeyAccepted {
        /// Which.
        accepted: bool,
    },
    /// The mass-failure breaker moved.
    BreakerMoved {
        /// To which position.
        to: super::breaker::Position,
    },
}

#[cfg(test)]
mod tests;
