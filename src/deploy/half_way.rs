//! Work that was cut short, seen to: whoever did it died, and nobody will take it up again.
//!
//! The box leaves by itself what nobody confirmed. This is quicker, knows what serves afterwards, and ends the maintenance that
//! the dead one owes, which a box without the server's admin code cannot.
//!
//! What changes data says so on the box before it begins and when it is done, so that whoever comes after a dead one knows.

use tokio::sync::mpsc;

use super::{
    fault::DeployFault,
    request::{Deployed, Maintenance, RollbackRequest, StepReport},
    run::{Run, in_time, script},
    step::Step,
    stock::{Role, Standing, Stock},
};
use crate::{
    fleet::{event::Seen, name::NodeName},
    maintenance::Fault,
    remote::Remote,
};

/// How the note of a migration begins; the release's name follows. Another migration may mend what it left.
pub(super) const MIGRATION: &str = "the migration to ";

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
    run.inherits(stock.owed.clone(), stock.data_half_way.clone());
    run.unless_half_way()?;
    let none = || DeployFault::Refused("the work was cut short, and no release stands there".into());
    let current = stock.current().ok_or_else(none)?.clone();
    run.finish(format!("{} stands there", current.name));
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

/// Lets a server go on that work which died has left in maintenance: one whose box notes that it was entered and never left,
/// which nobody works on now, whose data is whole, and which runs a verified release that answers as such.
///
/// # Errors
/// The box or the server cannot be asked, somebody works on it, or it does not answer as it should.
pub async fn end_forgotten(remote: &Remote, request: &RollbackRequest) -> Result<Seen, DeployFault> {
    let (progress, _untaken) = mpsc::channel(1);
    let mut run = Run::new(remote, &request.site, &request.env, &progress).leasing();
    let outcome = in_time(request.site.deadline, forgotten(&mut run, request.maintenance.as_ref())).await;
    let result = outcome.unwrap_or_else(|| Err(run.too_late()));
    run.close().await;
    result
}

async fn forgotten(run: &mut Run<'_>, with: Option<&Maintenance>) -> Result<Seen, DeployFault> {
    let Some(with) = with else { return Ok(Seen::Stays("no admin code is set".into())) };
    run.connect().await?;
    run.begin(Step::Assess);
    let stock = run.stock().await?;
    let stays = |why: &str| Ok(Seen::Stays(why.to_owned()));
    if let Some(what) = stock.data_half_way {
        return Ok(Seen::Halfway(what));
    }
    let Some(reason) = stock.owed.clone() else {
        return stays("no deploy entered it: whoever did ends it");
    };
    let current = match stock.current() {
        // The box itself leaves it, or keeps it, before long.
        Some(current) if current.role == Role::Trial => {
            return Ok(Seen::Unclear(format!("`{}` is on trial", current.name)));
        }
        Some(current) if current.schema < stock.floor => {
            return stays("the release that stands there cannot read the schema of now");
        }
        Some(current) if current.verified_at.is_some() && current.bad.is_none() => current.clone(),
        _ => return stays("the release that stands there was never verified"),
    };
    run.serves_already(current).await?;
    run.settings_there().await;
    match run.client(with)?.status().await {
        Ok(status) => match status.reason {
            Some(theirs) if theirs != reason => return stays(&format!("somebody holds it for `{theirs}`")),
            _ => {}
        },
        Err(fault @ (Fault::Refused | Fault::TooOld)) => return stays(&fault.to_string()),
        Err(fault) => return Ok(Seen::Unclear(fault.to_string())),
    }
    run.owed = Some(reason.clone());
    let left = Box::pin(run.leave(Some(with))).await;
    Ok(left.map_or(Seen::Ended(reason), Seen::Unclear))
}

/// The fault of data that something was changing when it was cut, on that node.
pub(super) fn half_way(changing: &str, node: &NodeName) -> DeployFault {
    let again = if changing.starts_with(MIGRATION) {
        format!("`vast-keeper deploy {node}` migrates again, ")
    } else {
        String::new()
    };
    DeployFault::Halfway {
        what: format!("{changing} was cut short or failed"),
        forward: format!(
            "{again}`vast-keeper restore {node}` brings back the data of a backup, and `vast-keeper maintenance exit {node}` says \
             that the data is whole"
        ),
    }
}

impl Run<'_> {
    /// Notes on the box what is about to change its data: should it be cut, no server is let go on by itself.
    pub(super) async fn data_changes(&mut self, step: Step, what: &str) -> Result<(), DeployFault> {
        self.half_way = Some(what.to_owned());
        self.script(step, script!("data.sh").value("what", what), b"").await.map(drop)
    }

    /// The change of the data undid itself, or changed nothing.
    pub(super) async fn data_is_whole(&mut self, step: Step) -> Result<(), DeployFault> {
        self.script(step, script!("data.sh").value("what", ""), b"").await?;
        self.half_way = None;
        Ok(())
    }

    /// Takes in what work of before has left on the box: maintenance that it owes the end of, and data that it was changing.
    pub(super) fn inherits(&mut self, owed: Option<String>, half_way: Option<String>) {
        (self.owed, self.half_way) = (owed, half_way);
    }

    /// Lets no server meet data that something was changing when it was cut.
    pub(super) fn unless_half_way(&self) -> Result<(), DeployFault> {
        self.half_way.as_deref().map_or(Ok(()), |what| Err(half_way(what, &self.site.node)))
    }
}
