//! Work that was cut short, seen to: whoever did it died, and nobody will take it up again.
//!
//! The box leaves by itself what nobody confirmed. This is quicker, knows what serves afterwards, and ends the maintenance that
//! the dead one owes, which a box without the server's admin code cannot.

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
