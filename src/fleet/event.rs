//! What happens to the core (events), and what one step gives back.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::{
    charge::Charges,
    command::Command,
    deployed::{DeployReport, SwitchRequest},
    journal::{Entry, Record, ReleaseRef},
    ledger::LedgerWish,
    memory::SelfCheck,
    name::{InstanceId, NodeName, OpId},
    notice::Notice,
    policy::{Policy, Rung},
    probe::Observation,
    provider::{CreateAnswer, Credit, DestroyAnswer, Inventory, OffersFound, ProviderFault, StartAnswer},
    units::Timestamp,
    watch::Word,
};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The keeper started; the journal is folded.
    Booted {
        /// Its version.
        version: String,
    },
    /// The keeper's loop stood still: what it believes may be stale.
    Stalled {
        /// For how long.
        gap: Duration,
    },
    /// The loop turns: once a second, whatever else happens. What shows only by its absence is noticed here.
    Beat,
    /// The configuration was read anew.
    PolicyChanged,
    /// A timer asked to look again; the core decides from its state alone.
    Look {
        /// At which node.
        node: NodeName,
    },
    /// A probe ended.
    Probed {
        /// Whose.
        node: NodeName,
        /// What it saw.
        observation: Observation,
    },
    /// The provider's list was asked for.
    Listed(Result<Inventory, ProviderFault>),
    /// Offers were asked for.
    Searched {
        /// For which node.
        node: NodeName,
        /// The answer.
        answer: Result<OffersFound, ProviderFault>,
    },
    /// A create was answered, or expired unsent.
    CreateAnswered {
        /// For which node.
        node: NodeName,
        /// Which attempt.
        op: OpId,
        /// The answer.
        answer: CreateAnswer,
    },
    /// A destroy was answered, or expired unsent.
    DestroyAnswered {
        /// Which instance.
        instance: InstanceId,
        /// The answer.
        answer: DestroyAnswer,
    },
    /// The name of the wanted release as it would stand on a box, told before it is prepared.
    ReleaseNamed(String),
    /// A deploy or a rollback came to its end, whoever did it.
    DeployReported(Box<DeployReport>),
    /// Addresses were published, or could not be.
    Published {
        /// Which.
        addresses: BTreeMap<NodeName, SocketAddr>,
        /// Why not.
        result: Result<(), String>,
    },
    /// A start was answered, with the raised bid before it where there was one, or expired unsent.
    StartAnswered {
        /// Whose.
        node: NodeName,
        /// Which instance.
        instance: InstanceId,
        /// The answer.
        answer: StartAnswer,
    },
    /// The wanted release was built or read, or could not be.
    ReleasePrepared(Result<ReleaseRef, String>),
    /// A deploy ended.
    DeployEnded {
        /// Whose.
        node: NodeName,
        /// On which instance.
        instance: InstanceId,
        /// How.
        result: Result<ReleaseRef, WorkFault>,
    },
    /// A soft remedy's work ended; whether it helped, probes tell.
    RemedyWorked {
        /// Whose.
        node: NodeName,
        /// On which instance.
        instance: InstanceId,
        /// Which.
        rung: Rung,
        /// How.
        result: Result<Option<ReleaseRef>, WorkFault>,
    },
    /// A witness answered.
    Witnessed {
        /// Of which node.
        node: NodeName,
        /// Of which instance.
        instance: InstanceId,
        /// When it was asked.
        asked_at: Timestamp,
        /// What it says.
        word: Word,
    },
    /// A box told what work there that is over has left behind.
    LeftBehind {
        /// Of which node.
        node: NodeName,
        /// Of which instance.
        instance: InstanceId,
        /// What came of it.
        seen: Seen,
    },
    /// A condemned box showed what it could.
    EvidenceTaken {
        /// The node it filled or was to fill.
        node: NodeName,
        /// The box.
        instance: InstanceId,
        /// Where that is kept, or why it is not.
        result: Result<String, String>,
    },
    /// The canaries were asked.
    SelfChecked(SelfCheck),
    /// The account's credit was asked for.
    CreditRead(Result<Credit, ProviderFault>),
    /// What the provider charged was asked for.
    ChargesRead(Result<Charges, ProviderFault>),
    /// The provider notified of something: a reason to look, and nothing else.
    Hinted(Hint),
    /// A person wants something of the ledger of machines.
    LedgerAsked {
        /// What.
        wish: LedgerWish,
        /// Who.
        by: String,
    },
    /// A person wants another box with another release beside the one that serves, and then in its place.
    SwitchAsked(SwitchRequest),
    /// A person wants something.
    Asked {
        /// About which node.
        node: NodeName,
        /// What.
        wish: Wish,
        /// Who.
        by: String,
    },
}

/// What the provider notified of, by its signed webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Its word for it, such as `outbid` or `low_credit`.
    pub kind: String,
    /// The instance it speaks of, where its words name one.
    pub instance: Option<InstanceId>,
}

/// Why work on a box failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkFault {
    /// The release or the configuration is at fault; another box would fail too.
    Release(String),
    /// This box is at fault.
    Box(String),
    /// The release was installed and started, and its server did not become healthy: the box's fault or the release's.
    Unhealthy(String),
    /// The host key of the same instance changed.
    HostKeyChanged(String),
    /// The outcome is unknown.
    Unknown(String),
    /// Nothing was begun, or not finished: what was changing the data on the box was cut or failed.
    Halfway(String),
    /// Nothing was begun: another release is configured by now than the one that was judged.
    Superseded(String),
}

/// What work that is over has left behind on a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Data that it was changing when it was cut or failed, and what changed it: no server is let go on with that.
    Halfway(String),
    /// Maintenance, entered for this reason; it is ended, and the server goes on.
    Ended(String),
    /// Nothing; that the server is in maintenance is not for a keeper to end, and why.
    Stays(String),
    /// That is not known, and why.
    Unclear(String),
}

/// What a person can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// Destroy what fills the node and rent anew.
    Reprovision,
    /// Destroy what fills the node and leave it empty.
    Destroy,
    /// Deploy the wanted release again, without an incident.
    Redeploy,
    /// Keep healing away from it.
    Pause,
    /// Let the tenant that stands by after a blue-green replacement serve again.
    SwitchBack,
    /// Keep healing away from it for so many seconds at most: somebody works on its box, and may die over it.
    PauseFor(u32),
    /// The work is done that healing was kept away for; what is held stays held.
    PauseOver,
    /// The same where the server was seen healthy after it: what is held goes on, but for a person's own pause.
    WorkDone,
    /// Let healing go on; also lets a held node go on.
    Resume,
}

impl Wish {
    /// The word used on the command line and in the journal.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reprovision => "reprovision",
            Self::Destroy => "destroy",
            Self::Redeploy => "redeploy",
            Self::Pause => "pause",
            Self::SwitchBack => "switch-back",
            Self::PauseFor(_) => "pause-for",
            Self::PauseOver => "pause-over",
            Self::WorkDone => "work-done",
            Self::Resume => "resume",
        }
    }
}

/// What a person's wish was answered.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply", content = "why")]
pub enum Reply {
    /// It is under way or done.
    Accepted(String),
    /// Nothing to do.
    NothingToDo(String),
    /// Refused, with the reason.
    Refused(String),
}

/// Everything a step may know beside the state.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The present.
    pub now: Timestamp,
    /// What is wanted.
    pub policy: &'a Policy,
    /// Fresh random bits, for op ids and jitter.
    pub random: u64,
}

/// What one step decided. The journal's entries are made durable first, then the commands are performed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// What to journal, in one transaction.
    pub entries: Vec<Entry>,
    /// What to do afterwards.
    pub commands: Vec<Command>,
    /// What to tell; stored in the same transaction.
    pub notices: Vec<Notice>,
    /// When to look at a node again.
    pub looks: Vec<(NodeName, Timestamp)>,
    /// The answer to a person's wish.
    pub reply: Option<Reply>,
}

/// An event that makes no sense in the state it meets: a defect or a lie, logged and otherwise ignored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IllegalEvent {
    /// The decided record does not fold: a defect of the core.
    #[error("the core decided something its own state refuses")]
    Misfit(#[from] super::apply::Misfit),
    /// An answer to something that was never asked.
    #[error("an answer to op `{op}`, which is not open")]
    UnknownOp {
        /// The op.
        op: OpId,
    },
}

/// Helper for readers of steps: the records alone.
impl Step {
    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.entries.iter().map(|entry| &entry.record)
    }
}
