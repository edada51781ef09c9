//! Work that was cut short, seen to: whoever did it died, and nobody will take it up again.
//!
//! The box leaves by itself what nobody confirmed. This is quicker, knows what serves afterwards, and ends the maintenance that
//! the dead one owes, which a box without the server's admin code cannot.
//!
//! What changes data says so on the box before it begins and when it is done, so that whoever comes after a dead one knows.

use tokio::sync::mpsc;

use super::{
    fault::DeployFault,
    request::{Deployed, RollbackRequest, StepReport},
    run::{Run, in_time, script},
    step::Step,
    stock::{Role, Standing, Stock},
};
use crate::remote::Remote;

/// Sees to a box on which the work to put the release `wanted` there, or to go back from it, was cut short: what nobody
/// confirmed is gone back from. Idempotent. Returns what serves afterwards, confirmed: `wanted`, or the release of before.
///
/// # Errors
/// As [`rollback`](super::rollback).
pub async fn settle_half_way(
    remote: &Remote,
    request: &RollbackRequest,
    wanted: &str,
    progress: &mpsc::Sender<StepReport>,
) -> Result<Deployed, DeployFault> {
    let mut run = Run::new(remote, &request.site, &request.env, progress).leasing();
    let outcome = in_time(request.site.deadline, see_to(&mut run, request, wanted)).await;
    run.ended(request.maintenance.as_ref(), outcome).await
}

async fn see_to(run: &mut Run<'_>, request: &RollbackRequest, wanted: &str) -> Result<Deployed, DeployFault> {
    run.connect().await?;
    run.begin(Step::Assess);
    let stock = Stock::read(&run.patiently(Step::Assess, script!("releases.sh")).await?.stdout);
    run.owed.clone_from(&stock.owed);
    let none = || DeployFault::Refused("the work was cut short, and no release stands there".into());
    let current = stock.current().ok_or_else(none)?.clone();
    run.finish(format!("{} stands there", current.name));
    run.unless_half_way(&stock)?;
    let target = match current.role {
        Role::Trial if current.name == wanted => stock.way_back(None).map_err(DeployFault::Refused)?.clone(),
        // The way back itself was cut short.
        Role::Trial => current,
        Role::Current | Role::Previous | Role::Kept => {
            return run.serves_already(current).await;
        }
    };
    go_to(run, request, &target).await?;
    Ok(run.serves(target))
}

async fn go_to(run: &mut Run<'_>, request: &RollbackRequest, target: &Standing) -> Result<(), DeployFault> {
    run.come_to_rest(request.maintenance.as_ref(), &target.name).await?;
    match run.bring_up(&target.name, &target.commit, true).await {
        Ok(()) => Ok(()),
        Err(fault) => Err(Box::pin(run.go_back(&target.name, fault)).await),
    }
}

impl Run<'_> {
    /// Notes on the box what is about to change its data: should it be cut, no server is let go on by itself.
    pub(super) async fn data_changes(&mut self, step: Step, what: &str) -> Result<(), DeployFault> {
        self.script(step, script!("data.sh").value("what", what), b"").await.map(drop)
    }

    /// The change of the data came to its end, or undid itself.
    pub(super) async fn data_is_whole(&mut self, step: Step) -> Result<(), DeployFault> {
        self.script(step, script!("data.sh").value("what", ""), b"").await.map(drop)
    }

    /// Lets no server meet data that something was changing when it was cut.
    pub(super) fn unless_half_way(&self, stock: &Stock) -> Result<(), DeployFault> {
        let Some(what) = &stock.data_half_way else { return Ok(()) };
        let node = &self.site.node;
        Err(DeployFault::Halfway {
            what: format!("{what} was cut short or failed"),
            forward: format!(
                "`vast-keeper deploy {node}` migrates again, `vast-keeper restore {node}` brings back the data from before, and \
                 `vast-keeper maintenance exit {node}` says that the data is whole"
            ),
        })
    }
}
