//! Blue-green: the running keeper rents, deploys and proves the second box; here it is asked and watched.

use std::time::Duration;

use serde_json::json;

use super::{
    boxes::{Filled, Fleet},
    client::Client,
    exit::{self, Failure},
    print::{self, data, talk},
    verbs::{ask, person},
};
use crate::{
    clock::Clock,
    fleet::{
        deployed::{DeployReport, Placed, SwitchRequest},
        event::{Reply, Wish},
        name::NodeName,
        rollout::{Left, NodeResult},
        tell::span,
        units::Timestamp,
        view::{FleetView, NodeView},
    },
};

/// How often the node is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long a box that stood by may take until it was probed well again.
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// A node that is to be served from a second box.
pub(super) struct Second<'a> {
    pub fleet: &'a Fleet,
    pub filled: &'a Filled,
    pub keeper: &'a Client,
    pub release: &'a Placed,
    /// When the rollout began that it is part of: what failed before says nothing of it.
    pub since: Timestamp,
    pub quiet: bool,
}

impl Second<'_> {
    /// Has the keeper bring the release there, or goes on watching it where it is at that already; none when interrupted.
    ///
    /// # Errors
    /// The keeper cannot be asked: what it does, it goes on with.
    pub(super) async fn bring(&self) -> Result<Option<NodeResult>, Failure> {
        let node = &self.filled.node;
        let placed = self.fleet.known.nodes.get(node).and_then(|node| node.placed.as_ref());
        let seen = look(self.keeper, node).await?;
        // The second box of a command that was killed.
        let under_way = seen.state == "recovering" && seen.kept.is_some();
        if !under_way && placed.is_some_and(|placed| placed.name == self.release.name) {
            talk(&format!("{node}: serves it already"));
            return Ok(Some(NodeResult::Done { changed: false }));
        }
        if !under_way && let Some(refused) = self.ask().await? {
            return Ok(Some(refused));
        }
        self.watch().await
    }

    /// Sees to one that another command left: the keeper finishes what it has begun, and nothing more is asked of it.
    ///
    /// # Errors
    /// As [`bring`](Self::bring).
    pub(super) async fn settle(&self) -> Result<Option<NodeResult>, Failure> {
        let seen = look(self.keeper, &self.filled.node).await?;
        if seen.state == "recovering" && seen.kept.is_some() {
            return self.watch().await;
        }
        Ok(Some(if self.has_it(&seen) {
            NodeResult::Done { changed: true }
        } else {
            failed("its switch was cut short".into(), false, Left::AsItWas)
        }))
    }

    async fn ask(&self) -> Result<Option<NodeResult>, Failure> {
        let keep_s = u32::try_from(self.fleet.config.rollout.keep_old.as_secs()).unwrap_or(u32::MAX);
        let (node, release) = (self.filled.node.clone(), self.release.clone());
        let request = SwitchRequest { node, release, keep_s, by: person() };
        let reply: Option<Reply> = self.keeper.post("/api/v1/switch", &request).await?;
        match reply {
            Some(Reply::Accepted(text)) => {
                talk(&text);
                Ok(None)
            }
            Some(Reply::NothingToDo(why) | Reply::Refused(why)) => {
                talk(&format!("{}: {why}", self.filled.node));
                Ok(Some(failed(why, false, Left::AsItWas)))
            }
            None => Err(Failure::new(exit::BUG, "the keeper does not know the request")),
        }
    }

    async fn watch(&self) -> Result<Option<NodeResult>, Failure> {
        let (node, clock) = (&self.filled.node, Clock::new());
        let patience = self.patience();
        let end = clock.now().after(patience);
        let mut said = String::new();
        loop {
            let seen = look(self.keeper, node).await?;
            let stage = seen.stage.clone().unwrap_or_else(|| seen.state.clone());
            if stage != said {
                talk(&format!("{node}: {stage}"));
                said = stage;
            }
            match (seen.state.as_str(), seen.instance) {
                ("serving", Some(instance))
                    if instance != self.filled.tenant.instance && self.has_it(&seen) =>
                {
                    self.tell(&seen)?;
                    return Ok(Some(NodeResult::Done { changed: true }));
                }
                ("serving", _) => return self.kept("the box before keeps the node".into()).await.map(Some),
                ("held", _) => {
                    let why = seen.held.unwrap_or_default();
                    return self.kept(format!("the second box does not take it: {why}")).await.map(Some);
                }
                _ if clock.now() >= end => {
                    let why = format!("not done after {}; the keeper goes on", span(patience));
                    return Ok(Some(failed(why, false, Left::Unknown)));
                }
                _ => {}
            }
            if self.interrupted().await {
                return Ok(None);
            }
        }
    }

    fn has_it(&self, seen: &NodeView) -> bool {
        seen.release.as_ref().is_some_and(|serves| serves.digest == self.release.digest)
    }

    /// The first box serves on; whose fault that is, the keeper's own report of its deploys tells.
    async fn kept(&self, why: String) -> Result<NodeResult, Failure> {
        let node = &self.filled.node;
        let path = format!("/api/v1/deploys?limit=10&node={node}");
        let reports: Vec<DeployReport> = self.keeper.get(&path).await?.unwrap_or_default();
        let blamed = reports.into_iter().find(|report| {
            let of_it = report.wanted.as_ref().is_some_and(|wanted| wanted.name == self.release.name);
            of_it && report.started_at >= self.since && report.at_fault
        });
        let (why, at_fault) = blamed.map_or((why, false), |report| (report.detail, true));
        talk(&format!("{node}: {why}"));
        Ok(failed(why, at_fault, Left::WentBack))
    }

    /// Has the first box serve again. Why that cannot be, if it cannot; none when interrupted.
    ///
    /// # Errors
    /// As [`bring`](Self::bring).
    pub(super) async fn take_back(&self) -> Result<Option<Result<(), String>>, Failure> {
        let seen = look(self.keeper, &self.filled.node).await?;
        let has_it = seen.release.as_ref().is_some_and(|serves| serves.digest == self.release.digest);
        if !has_it {
            return Ok(Some(Ok(())));
        }
        match ask(self.keeper, &self.filled.node, Wish::SwitchBack).await? {
            Reply::Accepted(_) => {}
            Reply::NothingToDo(why) | Reply::Refused(why) => return Ok(Some(Err(why))),
        }
        let end = Clock::new().now().after(BACK_WITHIN);
        while !is_well(&look(self.keeper, &self.filled.node).await?) {
            if Clock::new().now() >= end {
                let why = format!("switched back, and not healthy after {}", span(BACK_WITHIN));
                return Ok(Some(Err(why)));
            }
            if self.interrupted().await {
                return Ok(None);
            }
        }
        Ok(Some(Ok(())))
    }

    fn tell(&self, seen: &NodeView) -> print::Printed {
        if self.quiet {
            return Ok(());
        }
        let word = |id: Option<crate::fleet::name::InstanceId>| {
            id.map_or_else(|| "none".into(), |id| id.to_string())
        };
        let (instance, standby) = (word(seen.instance), word(seen.standby));
        let name = &self.release.name;
        data(&format!("{}: instance {instance} serves {name}; way back: instance {standby}", seen.node))
    }

    /// Twice what each part may take, since a box that fails is followed by another.
    fn patience(&self) -> Duration {
        self.fleet.config.policy.nodes.get(&self.filled.node).map_or(BACK_WITHIN, |spec| {
            let limits = &spec.deadlines;
            (limits.rent + limits.boot + limits.deploy + limits.probation) * 2
        })
    }

    async fn interrupted(&self) -> bool {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            () = self.fleet.stop().asked() => true,
        }
    }
}

fn failed(detail: String, at_fault: bool, left: Left) -> NodeResult {
    NodeResult::Failed { detail, at_fault, left }
}

/// Whether every one of these nodes has a box that stands by.
pub(super) async fn stands_by(fleet: &Fleet) -> Result<bool, Failure> {
    let Some(keeper) = Client::find(&fleet.config.control_socket).await? else { return Ok(false) };
    for filled in &fleet.nodes {
        if look(&keeper, &filled.node).await?.standby.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Switches back to the boxes that stand by, which takes a moment.
pub(super) async fn back(fleet: &Fleet, as_json: bool) -> Result<u8, Failure> {
    let keeper = Client::connect(&fleet.config.control_socket).await?;
    let clock = Clock::new();
    for filled in &fleet.nodes {
        let (node, began) = (&filled.node, clock.now());
        match ask(&keeper, node, Wish::SwitchBack).await? {
            Reply::Accepted(_) => {}
            Reply::NothingToDo(why) | Reply::Refused(why) => return Err(Failure::new(exit::REFUSED, why)),
        }
        let end = began.after(BACK_WITHIN);
        let seen = loop {
            let seen = look(&keeper, node).await?;
            if is_well(&seen) {
                break seen;
            }
            if clock.now() >= end {
                let message = format!("{node}: switched back, and not healthy after {}", span(BACK_WITHIN));
                return Err(
                    Failure::new(exit::ROLLBACK_FAILED, message).hint(format!("`vast-keeper why {node}`"))
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let took = clock.now().since(began);
        if as_json {
            print::json(
                &json!({ "node": node, "instance": seen.instance, "took_ms": took.as_millis() as u64 }),
            )?;
        } else {
            let instance = seen.instance.map_or_else(|| "none".into(), |id| id.to_string());
            data(&format!("{node}: instance {instance} serves again after {}", span(took)))?;
        }
    }
    Ok(exit::DONE)
}

fn is_well(node: &NodeView) -> bool {
    node.state == "serving" && node.health.verdict == "healthy"
}

/// Which nodes the keeper finds healthy.
pub(super) async fn health(keeper: &Client) -> Result<crate::fleet::rollout::Health, Failure> {
    let view: Option<FleetView> = keeper.get("/api/v1/fleet").await?;
    let nodes = view.map(|view| view.nodes).unwrap_or_default();
    Ok(nodes.into_iter().map(|node| (node.node.clone(), is_well(&node))).collect())
}

async fn look(keeper: &Client, node: &NodeName) -> Result<NodeView, Failure> {
    let view: Option<FleetView> = keeper.get("/api/v1/fleet").await?;
    let found = view.and_then(|view| view.nodes.into_iter().find(|known| known.node == *node));
    found.ok_or_else(|| Failure::new(exit::USAGE, format!("the keeper does not know `{node}`")))
}
