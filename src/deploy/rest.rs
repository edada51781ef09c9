//! Bringing the server to rest before it is replaced, and letting it go on afterwards, whatever happens in between.
//!
//! What is owed is noted on the box before the server is asked. A keeper that dies leaves the note, and the next deploy or
//! `maintenance exit` pays it. Whether a failed deploy lifts maintenance depends on where it failed: what was not touched or
//! went back goes on; what is in an unknown state stays closed, and is told.

use std::time::Duration;

use super::{
    fault::DeployFault,
    request::{Deployed, Maintenance, OnTimeout},
    run::{Run, script},
    step::Step,
};
use crate::{
    crash::{self, Point},
    maintenance::{Client, Fault, Status},
    remote::{BoxAddress, Remote},
};

/// How long letting go is tried: the server may just be starting.
const EXIT_PATIENCE: Duration = Duration::from_secs(30);

/// A server that we hold.
pub(super) struct Held {
    client: Client,
    reason: String,
    /// How it stood when it came to rest; `None` if we go on although it did not, or if an earlier deploy entered.
    at_rest: Option<Status>,
}

impl Run<'_> {
    /// The end of work that changes a box, however it came: maintenance that was entered is ended, or told; then the lease goes
    /// back. No outcome is one that the deadline has cut off.
    pub(super) async fn ended(
        mut self,
        with: Option<&Maintenance>,
        outcome: Option<Result<Deployed, DeployFault>>,
    ) -> Result<Deployed, DeployFault> {
        let mut result = outcome.unwrap_or_else(|| Err(self.too_late()));
        match &mut result {
            Ok(deployed) => deployed.closed = Box::pin(self.leave(with)).await.or(deployed.closed.take()),
            Err(fault) => Box::pin(self.leave_after(with, fault)).await,
        }
        self.close().await;
        result
    }

    /// The step that enters maintenance, where there is to be one.
    pub(super) async fn come_to_rest(
        &mut self,
        with: Option<&Maintenance>,
        name: &str,
    ) -> Result<(), DeployFault> {
        let Some(with) = with else { return Ok(()) };
        self.begin(Step::Enter);
        let words = Box::pin(self.enter(with, name)).await?;
        self.finish(words);
        Ok(())
    }

    /// Enters maintenance and waits for rest. Returns what is to be said of it.
    pub(super) async fn enter(&mut self, with: &Maintenance, release: &str) -> Result<String, DeployFault> {
        let mut reason = format!("deploy {release}");
        let client = self.client(with)?;
        self.waits = with.wait;
        match self.owed.take() {
            // Not for a moment is its server let go on with that data: it is held on, for the reason of before.
            Some(owed) if self.half_way.is_some() => reason = owed,
            Some(owed) => self.let_go(&client, &owed).await,
            None => {}
        }
        self.note(Step::Enter, "note", &reason).await?;
        let entered = client.enter(&reason, with.wait).await;
        crash::at(Point::InStep(Step::Enter.word()));
        let proceed = with.on_timeout == OnTimeout::Proceed;
        let held = |at_rest| Some(Held { client: client.clone(), reason: reason.clone(), at_rest });
        match entered {
            Ok(status) => {
                let words = status.words();
                self.held = held(Some(status));
                Ok(words)
            }
            // A server that answers nobody has nobody to disturb.
            Err(fault @ (Fault::TooOld | Fault::Unreachable(_))) => {
                self.note(Step::Enter, "clear", "").await?;
                Ok(format!("without maintenance: {fault}"))
            }
            Err(fault @ Fault::NoRest { .. }) if proceed => {
                self.held = held(None);
                Ok(format!("going on all the same: {fault}"))
            }
            Err(fault) if self.half_way.is_some() => Err(DeployFault::Refused(fault.to_string())),
            Err(fault) => {
                if !matches!(fault, Fault::Held { .. } | Fault::Refused) {
                    self.let_go(&client, &reason).await;
                }
                self.note(Step::Enter, "clear", "").await?;
                Err(DeployFault::Refused(fault.to_string()))
            }
        }
    }

    /// Looks once more, right before the switch: a duel may have begun since.
    pub(super) async fn still_at_rest(&self) -> Result<(), DeployFault> {
        let Some(Held { client, at_rest: Some(entered), .. }) = &self.held else { return Ok(()) };
        match client.still(entered).await {
            // One that has died meanwhile disturbs nobody.
            Ok(()) | Err(Fault::Unreachable(_)) => Ok(()),
            Err(fault) => Err(DeployFault::Refused(fault.to_string())),
        }
    }

    /// Lets the server go on, and tells if it could not be done; that fails no deploy, for what is to serve serves.
    pub(super) async fn leave(&mut self, with: Option<&Maintenance>) -> Option<String> {
        if self.held.is_none() && self.owed.is_none() {
            return None;
        }
        let (earlier, owed) = (self.held.is_none(), self.owed.take().unwrap_or_default());
        let (client, reason) = match (self.held.take(), with) {
            (Some(held), _) => (held.client, held.reason),
            (None, Some(with)) => (self.client(with).ok()?, owed),
            (None, None) => {
                return Some("an earlier deploy entered maintenance, and no admin code is set".into());
            }
        };
        // The server of before may have been let go and be held by somebody else by now; the new one is ours.
        let found = if self.switched { Ok(None) } else { client.status().await.map(|status| status.reason) };
        let theirs = match found {
            Ok(found) => found.is_some_and(|found| found != reason),
            // Entered by somebody who is gone, it may be a person's by now.
            Err(fault) if earlier => {
                return Some(format!("whose maintenance it is cannot be asked: {fault}"));
            }
            Err(_) => false,
        };
        if !theirs && let Err(fault) = client.exit(EXIT_PATIENCE).await {
            let (node, instance) = (&self.site.node, self.site.instance);
            tracing::error!(%node, %instance, %fault, "the server's maintenance could not be ended");
            return Some(format!("maintenance could not be ended: {fault}"));
        }
        crash::at(Point::InStep(Step::Exit.word()));
        // The note alone does no harm: an exit too many is none.
        if let Err(fault) = self.note(Step::Exit, "clear", "").await {
            tracing::warn!(node = %self.site.node, %fault, "the note of maintenance stays on the box");
        }
        None
    }

    /// After a failed deploy: lifts maintenance where what serves is known, and leaves it where it is not.
    pub(super) async fn leave_after(&mut self, with: Option<&Maintenance>, fault: &DeployFault) {
        let unclear = match fault {
            DeployFault::Unknown(_) | DeployFault::RollbackFailed { .. } | DeployFault::HostKeyChanged(_) => {
                self.switched
            }
            // Half-migrated data must meet no player, even if the old server still runs.
            DeployFault::Halfway { .. } => true,
            DeployFault::Release(_)
            | DeployFault::Box(_)
            | DeployFault::Unhealthy(_)
            | DeployFault::Refused(_)
            | DeployFault::Locked(_)
            | DeployFault::RolledBack { .. } => false,
        };
        let unclear = unclear || self.half_way.is_some();
        if unclear && (self.held.is_some() || self.owed.is_some()) {
            let (node, instance) = (&self.site.node, self.site.instance);
            tracing::error!(%node, %instance, %fault, "maintenance stays on: what serves is not known");
            return;
        }
        self.leave(with).await;
    }

    /// Ends maintenance only if it is the one of that reason.
    async fn let_go(&self, client: &Client, reason: &str) {
        let ours = client.status().await.is_ok_and(|status| status.reason.as_deref() == Some(reason));
        if ours && let Err(fault) = client.exit(EXIT_PATIENCE).await {
            tracing::error!(node = %self.site.node, %fault, "the server's maintenance could not be ended");
        }
    }

    pub(super) fn client(&self, with: &Maintenance) -> Result<Client, DeployFault> {
        Client::new(self.site.public, with.code.clone())
            .map(|client| client.or(self.code_before.clone()))
            .map_err(|fault| DeployFault::Release(fault.to_string()))
    }

    async fn note(&mut self, step: Step, verb: &str, reason: &str) -> Result<(), DeployFault> {
        let script = script!("maintenance.sh").value("verb", verb).value("reason", reason);
        self.script(step, script, b"").await.map(drop)
    }
}

/// Forgets the notes on a box that we hold its server in maintenance, and that its data may be half-way: a person has let it
/// go on.
///
/// # Errors
/// The box cannot be asked within `limit`.
pub async fn forget_maintenance(
    remote: &Remote,
    address: &BoxAddress,
    limit: Duration,
) -> Result<(), DeployFault> {
    let session =
        remote.connect(address, limit).await.map_err(|fault| DeployFault::connect(&fault, false))?;
    let script = script!("maintenance.sh").value("verb", "forget").value("reason", "");
    let result = session.run(&script, b"", limit).await;
    session.close().await;
    match result {
        Ok(output) if output.rc == 0 => Ok(()),
        Ok(output) => Err(DeployFault::Box(output.reason())),
        Err(fault) => Err(DeployFault::Box(fault.to_string())),
    }
}
