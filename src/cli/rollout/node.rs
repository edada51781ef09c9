//! One node's share of a rollout: the release is brought there, gone back from, or, where a dead runner left it half-way, seen
//! to; in place, or in blue-green by the keeper on a second box.

use std::time::Duration;

use crate::{
    cli::{
        boxes::{Filled, Fleet},
        client::Client,
        exit::Failure,
        print::talk,
        release::maintenance,
        switch::Second,
        wanted::Release,
        work::{Unfinished, Work},
    },
    deploy::{self, DeployFault, Role, RollbackRequest, Standing, Stock},
    engine::is_the_releases,
    fleet::{
        name::NodeName,
        rollout::{Brief, Happened, Left, NodeResult},
        units::Timestamp,
    },
};

/// How long a box may take to tell what stands on it.
const LOOK_LIMIT: Duration = Duration::from_secs(45);
const NOBODY_THERE: &str = "nothing fills it now";

/// A node of a rollout, and what is to be done there.
pub(super) struct Share<'a> {
    pub fleet: &'a Fleet,
    pub brief: &'a Brief,
    pub began_at: Timestamp,
    pub node: NodeName,
    /// What is brought; none where the rollout only ends.
    pub release: Option<&'a Release>,
    /// Who rents second boxes, in blue-green.
    pub keeper: Option<&'a Client>,
    pub quiet: bool,
}

/// What is done there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Doing {
    /// The release is brought.
    Bring,
    /// What a dead runner left is seen to.
    Settle,
    /// The release before is gone back to.
    TakeBack {
        /// Whether that is because the release is at fault.
        blamed: bool,
    },
}

/// What came of a share; none when it was interrupted.
type Came<T> = Result<Option<T>, Failure>;

impl Share<'_> {
    /// Does it.
    ///
    /// # Errors
    /// The keeper cannot be asked, in blue-green.
    pub(super) async fn carry_out(self, doing: Doing) -> Came<Happened> {
        let node = self.node.clone();
        let result = match doing {
            Doing::Bring => self.bring().await?,
            Doing::Settle => self.settle().await?,
            Doing::TakeBack { blamed } => {
                let back = self.take_back(blamed).await?;
                if let Some(Err(why)) = &back {
                    talk(&format!("{node} did not go back: {why}"));
                }
                return Ok(back.map(|back| Happened::WentBack { node, fault: back.err() }));
            }
        };
        Ok(result.map(|result| Happened::Ended { node, result }))
    }

    async fn bring(&self) -> Came<NodeResult> {
        let (Some(filled), Some(release)) = (self.filled(), self.release) else {
            return Ok(Some(nobody_there()));
        };
        if let Some(second) = self.second(filled) {
            return second.bring().await;
        }
        let Some(request) = release.request(self.fleet, filled, &self.brief.terms) else {
            return Ok(Some(nobody_there()));
        };
        Ok(match self.work(filled, false).deploy(&request, &release.placed).await {
            Ok(deployed) => Some(NodeResult::Done { changed: !deployed.unchanged }),
            Err(end) => self.failed(end),
        })
    }

    /// Sees to what a dead runner left: afterwards the node has the release or the one before, and nothing is owed.
    async fn settle(&self) -> Came<NodeResult> {
        let Some(filled) = self.filled() else { return Ok(Some(nobody_there())) };
        if let Some(second) = self.second(filled) {
            return second.settle().await;
        }
        let Some(request) = self.way_back(filled, None) else { return Ok(Some(nobody_there())) };
        let wanted = &self.brief.release;
        Ok(match self.work(filled, false).settle(&request, wanted).await {
            Ok(deployed) if deployed.name == wanted.name => Some(NodeResult::Done { changed: true }),
            Ok(deployed) => {
                let left = if deployed.unchanged { Left::AsItWas } else { Left::WentBack };
                let detail = "its deploy was cut short".into();
                Some(NodeResult::Failed { detail, at_fault: false, left })
            }
            Err(end) => self.failed(end),
        })
    }

    /// Takes it back to the release before. Why that could not be, if it could not. `blamed` says that the release is at fault.
    async fn take_back(&self, blamed: bool) -> Came<Result<(), String>> {
        let Some(filled) = self.filled() else {
            return Ok(Some(Err(NOBODY_THERE.into())));
        };
        if let Some(second) = self.second(filled) {
            return second.take_back().await;
        }
        let (work, release) = (self.work(filled, blamed), &self.brief.release);
        let to = match self.stock(filled).await {
            // What was gone back from before a runner died needs at most what is owed there.
            Ok(stock) if !stock.current().is_some_and(|current| stands(current, &release.name)) => None,
            Ok(stock) => match stock.way_back(None) {
                Ok(way) => Some(way.name.clone()),
                Err(why) => return Ok(Some(Err(why))),
            },
            Err(why) => return Ok(Some(Err(why))),
        };
        let settles = to.is_none();
        let Some(request) = self.way_back(filled, to) else { return Ok(Some(Err(NOBODY_THERE.into()))) };
        let ended =
            if settles { work.settle(&request, release).await } else { work.rollback(&request, None).await };
        Ok(match ended {
            Ok(deployed) if deployed.name == release.name => Some(Err("it serves the release still".into())),
            Ok(_) => Some(Ok(())),
            Err(Unfinished::Fault(fault)) => Some(Err(fault.to_string())),
            Err(Unfinished::Interrupted) => None,
        })
    }

    fn filled(&self) -> Option<&Filled> {
        self.fleet.nodes.iter().find(|filled| filled.node == self.node)
    }

    fn second<'b>(&'b self, filled: &'b Filled) -> Option<Second<'b>> {
        let (fleet, release, since) = (self.fleet, &self.brief.release, self.began_at);
        self.keeper.map(|keeper| Second { fleet, filled, keeper, release, since, quiet: self.quiet })
    }

    fn work<'b>(&'b self, filled: &'b Filled, blamed: bool) -> Work<'b> {
        let leaves = blamed.then(|| self.brief.release.clone());
        Work { fleet: self.fleet, filled, rollout: Some(&self.brief.id), quiet: self.quiet, leaves }
    }

    fn way_back(&self, filled: &Filled, to: Option<String>) -> Option<RollbackRequest> {
        let terms = &self.brief.terms;
        let site = self.fleet.site(filled, terms.wait_lock)?;
        let env = self.fleet.edges.access.server_env.clone();
        Some(RollbackRequest { site, to, env, maintenance: maintenance(self.fleet, terms.unrest) })
    }

    async fn stock(&self, filled: &Filled) -> Result<Stock, String> {
        let site = self.fleet.site(filled, Duration::ZERO).ok_or(NOBODY_THERE)?;
        let stock = deploy::stock(&self.fleet.edges.remote, &site, LOOK_LIMIT).await;
        stock.map_err(|fault| fault.to_string())
    }

    fn failed(&self, end: Unfinished) -> Option<NodeResult> {
        let Unfinished::Fault(fault) = end else { return None };
        talk(&format!("{}: {fault}", self.node));
        Some(failed(&fault))
    }
}

/// Whether that release is the one, and confirmed.
fn stands(current: &Standing, name: &str) -> bool {
    current.name == name && current.role == Role::Current
}

fn nobody_there() -> NodeResult {
    NodeResult::Failed { detail: NOBODY_THERE.into(), at_fault: false, left: Left::AsItWas }
}

/// What a fault leaves on its node.
pub(super) fn failed(fault: &DeployFault) -> NodeResult {
    let first = fault.first();
    let left = match fault {
        DeployFault::RolledBack { .. } => Left::WentBack,
        DeployFault::RollbackFailed { .. } | DeployFault::Halfway { .. } => Left::Broken,
        DeployFault::Unknown(_) => Left::Unknown,
        DeployFault::Release(_)
        | DeployFault::Box(_)
        | DeployFault::Refused(_)
        | DeployFault::Locked(_)
        | DeployFault::Unhealthy(_)
        | DeployFault::HostKeyChanged(_) => Left::AsItWas,
    };
    NodeResult::Failed { detail: first.to_string(), at_fault: is_the_releases(fault), left }
}
