//! The typed handle before the engine: a bounded channel, one method per question.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::fleet::{
    deployed::{DeployReport, SwitchRequest},
    event::{Hint, Reply, Wish},
    ledger::{Export, LedgerRequest, LedgerView},
    name::NodeName,
    notice::{Notice, Severity, Topic},
    policy::Policy,
    units::Timestamp,
    view::FleetView,
    why::Why,
};

/// A question to the engine.
#[derive(Debug)]
pub(super) enum Request {
    /// The view.
    View(oneshot::Sender<FleetView>),
    /// Why a node is as it is.
    Why { node: NodeName, reply: oneshot::Sender<Option<Box<Why>>> },
    /// The ledger.
    Ledger(oneshot::Sender<(LedgerView, Export)>),
    /// What a person wants of the ledger.
    AskLedger { request: Box<LedgerRequest>, reply: oneshot::Sender<Reply> },
    /// A person's wish.
    Ask { node: NodeName, wish: Wish, by: String, reply: oneshot::Sender<Reply> },
    /// A deploy that somebody did by hand.
    Report { report: Box<DeployReport>, reply: oneshot::Sender<Reply> },
    /// A blue-green replacement.
    Switch { request: Box<SwitchRequest>, reply: oneshot::Sender<Reply> },
    /// Something that people should be told.
    Tell { notice: Box<Notice>, reply: oneshot::Sender<Reply> },
    /// A new policy.
    Reload { policy: Arc<Policy>, reply: oneshot::Sender<()> },
    /// A kick of the scheduler.
    Kick(Kick),
    /// The provider notified of something.
    Hint(Hint),
}

/// Scheduled work. A kick only wakes level-triggered work; a lost one is made good by the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kick {
    /// Read the provider's list now.
    InventorySweep,
    /// Read the list and tell again every instance with our label that the journal does not know.
    OrphanCheck,
    /// Deploy the wanted release again, node after node.
    NightlyRedeploy,
    /// Tell how the fleet is.
    Digest,
}

/// The engine has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the keeper's engine has ended")]
pub struct Gone;

/// Asks the engine; copies are cheap.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    beats: watch::Receiver<Timestamp>,
}

impl Handle {
    pub(super) fn new(requests: mpsc::Sender<Request>, beats: watch::Receiver<Timestamp>) -> Self {
        Self { requests, beats }
    }

    /// The fleet as it is now.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn view(&self) -> Result<FleetView, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::View(reply)).await?;
        answer.await.map_err(|_| Gone)
    }

    /// Why a node is as it is; `None` for one that is not known.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn why(&self, node: NodeName) -> Result<Option<Box<Why>>, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Why { node, reply }).await?;
        answer.await.map_err(|_| Gone)
    }

    /// The ledger of machines that failed us, for people and for another keeper.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn ledger(&self) -> Result<(LedgerView, Export), Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Ledger(reply)).await?;
        answer.await.map_err(|_| Gone)
    }

    /// What a person wants of the ledger, answered when it is journaled.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn ask_ledger(&self, request: LedgerRequest) -> Result<Reply, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::AskLedger { request: Box::new(request), reply }).await?;
        answer.await.map_err(|_| Gone)
    }

    /// A person's wish, answered when it is journaled.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn ask(&self, node: NodeName, wish: Wish, by: String) -> Result<Reply, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Ask { node, wish, by, reply }).await?;
        answer.await.map_err(|_| Gone)
    }

    /// Puts a deploy that somebody did by hand on record.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn report(&self, report: DeployReport) -> Result<Reply, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Report { report: Box::new(report), reply }).await?;
        answer.await.map_err(|_| Gone)
    }

    /// Asks for a blue-green replacement, answered when it is journaled.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn switch(&self, request: SwitchRequest) -> Result<Reply, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Switch { request: Box::new(request), reply }).await?;
        answer.await.map_err(|_| Gone)
    }

    /// Tells the sinks something that is no decision of the core.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn tell(&self, notice: Notice) -> Result<Reply, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Tell { notice: Box::new(notice), reply }).await?;
        answer.await.map_err(|_| Gone)
    }

    /// Replaces the policy.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn reload(&self, policy: Policy) -> Result<(), Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Reload { policy: Arc::new(policy), reply }).await?;
        answer.await.map_err(|_| Gone)
    }

    /// Wakes scheduled work.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn kick(&self, kick: Kick) -> Result<(), Gone> {
        self.send(Request::Kick(kick)).await
    }

    /// Looks, since the provider notified of something.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn hint(&self, hint: Hint) -> Result<(), Gone> {
        self.send(Request::Hint(hint)).await
    }

    /// The engine's beat, for the service manager's watchdog: it stands still when the loop does.
    #[must_use]
    pub fn beats(&self) -> watch::Receiver<Timestamp> {
        self.beats.clone()
    }

    async fn send(&self, request: Request) -> Result<(), Gone> {
        self.requests.send(request).await.map_err(|_| Gone)
    }
}

/// The daily word on the fleet.
pub(super) fn digest(view: &FleetView, at: Timestamp) -> Notice {
    let checks: u64 = view.nodes.iter().map(|node| node.health.checks).sum();
    let failed: u64 = view.nodes.iter().map(|node| node.health.failed_checks).sum();
    let unwell: Vec<String> = view
        .nodes
        .iter()
        .filter(|node| node.state != "serving" || node.health.verdict == "failing")
        .map(|node| format!("{} {}", node.node, node.state))
        .collect();
    let facts = [
        ("healthy", format!("{} of {}", view.healthy, view.wanted)),
        ("not serving", if unwell.is_empty() { "none".into() } else { unwell.join(", ") }),
        ("cost", format!("{}/h", view.dollars_per_hour)),
        ("credit", view.credit.map_or_else(|| "unknown".into(), |credit| credit.to_string())),
        ("probes since the keeper's start", format!("{checks}, {failed} failed")),
        ("condemned, not yet gone", view.doomed.len().to_string()),
    ];
    Notice {
        at,
        severity: Severity::Info,
        topic: Topic::Digest,
        node: None,
        incident: None,
        title: format!("fleet {}: {} of {} nodes healthy", view.fleet, view.healthy, view.wanted),
        facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        next: "the incidents of the day: `vast-keeper incidents`".into(),
    }
}
