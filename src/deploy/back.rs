//! Going back: by itself when a release fails after the switch, and when a person asks for it.
//!
//! The decision does not need us: a release is switched to *on trial*, and the supervisor's guard on the box goes back when
//! nobody confirms it in time. What is here only is quicker, knows why, and sees whether what serves afterwards serves.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{
    env_file::mask,
    fault::DeployFault,
    request::{Deployed, RollbackRequest, StepReport},
    run::{Run, in_time, script},
    step::Step,
    stock::{Role, Standing, Stock},
};
use crate::{fleet::journal::ReleaseRef, remote::Remote};

/// Longest text of a reason that is left on the box.
const REASON_LENGTH: usize = 200;

/// Goes back on one box to a release that was verified there, with its settings, and proves it like a deploy.
///
/// # Errors
/// [`DeployFault::Release`] if there is nothing to go back to, before anything is changed; else as
/// [`deploy`](super::deploy()).
pub async fn rollback(
    remote: &Remote,
    request: &RollbackRequest,
    progress: &mpsc::Sender<StepReport>,
) -> Result<Deployed, DeployFault> {
    let mut run = Run::new(remote, &request.site, &request.env, progress).leasing();
    let outcome = in_time(request.site.deadline, backward(&mut run, request)).await;
    run.ended(request.maintenance.as_ref(), outcome).await
}

async fn backward(run: &mut Run<'_>, request: &RollbackRequest) -> Result<Deployed, DeployFault> {
    run.connect().await?;
    run.begin(Step::Assess);
    let stock = run.patiently(Step::Assess, script!("releases.sh")).await?.stdout;
    let stock = Stock::read(&stock);
    run.inherits(stock.owed.clone(), stock.data_half_way.clone());
    run.unless_half_way()?;
    let target = stock.way_back(request.to.as_deref()).map_err(DeployFault::Release)?.clone();
    if target.role == Role::Current {
        // A rollback that was cut right before its end, or one of many boxes: all that is left is what is owed there.
        run.finish(format!("{} ({}) stands there", target.name, target.commit));
        return run.serves_already(target).await;
    }
    run.finish(format!("back to {} ({})", target.name, target.commit));
    let name = target.name.as_str();
    run.come_to_rest(request.maintenance.as_ref(), name).await?;
    let ended = run.bring_up(name, &target.commit, true).await;
    if let Err(fault) = ended {
        return Err(Box::pin(run.go_back(name, fault)).await);
    }
    Ok(run.serves(target))
}

impl Run<'_> {
    /// The release that stands there needs no switch: it is looked at like any other.
    pub(super) async fn serves_already(&mut self, target: Standing) -> Result<Deployed, DeployFault> {
        self.begin(Step::Gate);
        let detail = Box::pin(self.pass_gate(Some(&target.commit), 0, false)).await?;
        self.finish(detail);
        Ok(Deployed { unchanged: true, ..self.serves(target) })
    }

    /// What was achieved: this release of the box serves.
    pub(super) fn serves(&self, target: Standing) -> Deployed {
        Deployed {
            release: ReleaseRef { digest: target.digest, commit: target.commit },
            name: target.name,
            unchanged: false,
            closed: None,
            steps: self.taken.clone(),
            round_trips: self.round_trips,
        }
    }

    /// Switches to a sealed release, starts and proves it, and lets it stay.
    pub(super) async fn bring_up(
        &mut self,
        name: &str,
        commit: &str,
        returning: bool,
    ) -> Result<(), DeployFault> {
        self.begin(Step::Switch);
        self.still_at_rest().await?;
        self.switch(name, None, returning).await?;
        self.finish(String::new());
        self.begin(Step::Start);
        let began = self.start(name).await?;
        self.finish(String::new());
        self.begin(Step::Gate);
        let detail = Box::pin(self.pass_gate(Some(commit), began, true)).await?;
        self.finish(detail);
        self.begin(Step::Confirm);
        let told = self.confirm(name).await?;
        self.finish(told.trim().to_owned());
        Ok(())
    }

    /// After a fault: if the release is on trial, has the box leave it now and proves what serves then. Returns the fault
    /// with what became of it.
    pub(super) async fn go_back(&mut self, name: &str, fault: DeployFault) -> DeployFault {
        let why = match &fault {
            // Before the switch nothing has changed.
            _ if !self.switched => return fault,
            // The box cannot be reached, or is not the one it was; its own guard goes back.
            DeployFault::Unknown(_) | DeployFault::HostKeyChanged(_) => return fault,
            DeployFault::Refused(_) | DeployFault::Locked(_) | DeployFault::Halfway { .. } => return fault,
            DeployFault::Release(_) => "release",
            _ => "box",
        };
        // What the server wrote stays out: these words stand in a command line on the box.
        let told = fault.to_string();
        let told = told.split("its log ends").next().unwrap_or_default();
        // Masked before its lines are joined: a value of many lines would not be found any more.
        let told = mask(told.trim_end_matches([' ', ';']), self.secrets);
        let words: String =
            told.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_LENGTH).collect();
        let script = script!("revert.sh").value("name", name).value("why", why).value("words", words);
        let output = match self.script(Step::Switch, script, b"").await {
            Ok(output) => output.stdout,
            Err(detail) => {
                return DeployFault::RollbackFailed { why: Box::new(fault), detail: detail.to_string() };
            }
        };
        let field = |key: &str| output.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let to = match field("back") {
            // Nothing was verified here before, or the schema forbids it: there is no way back.
            None | Some("-") => return self.explained(fault),
            Some(to) => to.to_owned(),
        };
        let began = field("began").and_then(|text| text.parse().ok()).unwrap_or(0);
        tracing::warn!(node = %self.site.node, instance = %self.site.instance, %to, "went back");
        let gate = self.pass_gate(Some(field("commit").unwrap_or("unknown")), began, false);
        match Box::pin(gate).await {
            Ok(_) => DeployFault::RolledBack { why: Box::new(fault), to },
            Err(detail) => {
                let detail = format!("`{to}` does not serve: {detail}");
                DeployFault::RollbackFailed { why: Box::new(fault), detail }
            }
        }
    }

    /// The fault, with why the box could not go back and what can be done instead, where there is more to say.
    fn explained(&self, fault: DeployFault) -> DeployFault {
        let Some(blocked) = &self.blocked else { return fault };
        let forward = match &self.backup {
            Some(backup) => format!(
                "deploy a mended release, or `vast-keeper restore {} --backup {backup}`",
                self.site.node
            ),
            None => "deploy a mended release".to_owned(),
        };
        let what =
            format!("{fault}; the box cannot go back to `{blocked}`, which cannot read the schema of now");
        DeployFault::Halfway { what, forward }
    }

    /// The releases on the box.
    pub(super) async fn stock(&mut self) -> Result<Stock, DeployFault> {
        let output = self.script(Step::Assess, script!("releases.sh"), b"").await?;
        Ok(Stock::read(&output.stdout))
    }
}

/// The releases on a box.
///
/// # Errors
/// The box cannot be asked within `limit`.
pub async fn stock(
    remote: &Remote,
    site: &super::request::Site,
    limit: Duration,
) -> Result<Stock, DeployFault> {
    let (progress, _untaken) = mpsc::channel(1);
    let nothing = std::collections::BTreeMap::new();
    let mut run = Run::new(remote, site, &nothing, &progress);
    let result = in_time(limit, run.stock()).await.unwrap_or_else(|| Err(run.too_late()));
    run.close().await;
    result
}
