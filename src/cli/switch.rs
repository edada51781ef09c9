//! Blue-green deploys by hand: the running keeper rents, deploys and proves the second box; here it is asked and watched.

use std::time::Duration;

use serde_json::json;

use super::{
    boxes::{Filled, Fleet},
    client::Client,
    exit::{self, Failure},
    print::{self, data, talk},
    verbs::{ask, person},
    work::Release,
};
use crate::{
    clock::Clock,
    fleet::{
        deployed::SwitchRequest,
        event::{Reply, Wish},
        name::NodeName,
        tell::span,
        view::{FleetView, NodeView},
    },
};

/// How often the node is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long a box that stood by may take until it was probed well again.
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// One node after the other gets a second box with the release; the first that fails ends it.
pub(super) async fn forward(fleet: &Fleet, release: Release, as_json: bool) -> Result<u8, Failure> {
    let keeper = Client::connect(&fleet.config.control_socket).await?;
    // The keeper deploys it from its own shelf.
    let kept = fleet.edges.shelf.put(&release.placed, &release.artifact, &release.env).await;
    kept.map_err(|fault| Failure::new(exit::UNKNOWN, format!("the release cannot be kept: {fault}")))?;
    let mut changed = false;
    for filled in &fleet.nodes {
        let present = fleet.known.nodes.get(&filled.node).and_then(|node| node.placed.as_ref());
        if present.is_some_and(|present| present.name == release.placed.name) {
            talk(&format!("{}: serves it already", filled.node));
            continue;
        }
        let node = one(fleet, filled, &keeper, &release).await?;
        changed = true;
        if as_json {
            print::json(
                &json!({ "node": node.node, "instance": node.instance, "standby": node.standby, "release": release.placed }),
            )?;
        } else {
            let standby = node.standby.map_or_else(|| "none".into(), |id| id.to_string());
            let instance = node.instance.map_or_else(|| "none".into(), |id| id.to_string());
            data(&format!(
                "{}: instance {instance} serves {}; way back: instance {standby}",
                node.node, release.placed.name
            ))?;
        }
    }
    Ok(if changed { exit::DONE } else { exit::NOTHING })
}

async fn one(
    fleet: &Fleet,
    filled: &Filled,
    keeper: &Client,
    release: &Release,
) -> Result<NodeView, Failure> {
    let (node, clock) = (&filled.node, Clock::new());
    let keep_s = u32::try_from(fleet.config.rollout.keep_old.as_secs()).unwrap_or(u32::MAX);
    let request = SwitchRequest { node: node.clone(), release: release.placed.clone(), keep_s, by: person() };
    let reply: Option<Reply> = keeper.post("/api/v1/switch", &request).await?;
    match reply {
        Some(Reply::Accepted(text)) => talk(&text),
        Some(Reply::NothingToDo(why) | Reply::Refused(why)) => {
            return Err(Failure::new(exit::REFUSED, format!("{node}: {why}")));
        }
        None => return Err(Failure::new(exit::BUG, "the keeper does not know the request")),
    }
    let patience = fleet.config.policy.nodes.get(node).map_or(BACK_WITHIN, |spec| {
        let limits = &spec.deadlines;
        (limits.rent + limits.boot + limits.deploy + limits.probation) * 2
    });
    let end = clock.now().after(patience);
    let mut said = String::new();
    loop {
        let seen = look(keeper, node).await?;
        let stage = seen.stage.clone().unwrap_or_else(|| seen.state.clone());
        if stage != said {
            talk(&format!("{node}: {stage}"));
            said = stage;
        }
        let failed = |why: String| {
            Failure::new(exit::ROLLED_BACK, format!("{node}: {why}"))
                .hint(format!("`vast-keeper events --node {node}`"))
        };
        match (seen.state.as_str(), seen.instance) {
            ("serving", Some(instance)) if instance != filled.tenant.instance => return Ok(seen),
            ("serving", _) => return Err(failed("the box before keeps the node".into())),
            ("held", _) => {
                let why = seen.held.unwrap_or_default();
                return Err(failed(format!("the second box does not take it, the first serves on: {why}")));
            }
            _ if clock.now() >= end => {
                return Err(Failure::new(
                    exit::UNKNOWN,
                    format!("{node}: not done after {}", span(patience)),
                )
                .hint("the keeper goes on; `vast-keeper status` shows how far it is"));
            }
            _ => {}
        }
        wait().await?;
    }
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
pub(super) async fn back(fleet: &Fleet, yes: bool, as_json: bool) -> Result<u8, Failure> {
    let keeper = Client::connect(&fleet.config.control_socket).await?;
    let agreed = yes || (print::can_ask() && print::confirmed("switch back to the boxes that stand by?"));
    if !agreed {
        return Err(Failure::new(exit::REFUSED, "not confirmed").hint("add `--yes`"));
    }
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
            if seen.state == "serving" && seen.health.verdict == "healthy" {
                break seen;
            }
            if clock.now() >= end {
                let message = format!("{node}: switched back, and not healthy after {}", span(BACK_WITHIN));
                return Err(
                    Failure::new(exit::ROLLBACK_FAILED, message).hint(format!("`vast-keeper why {node}`"))
                );
            }
            wait().await?;
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

async fn wait() -> Result<(), Failure> {
    tokio::select! {
        () = tokio::time::sleep(LOOK_EVERY) => Ok(()),
        _ = tokio::signal::ctrl_c() => {
            Err(Failure::new(exit::UNKNOWN, "interrupted: the keeper goes on").hint("`vast-keeper status` shows how far it is"))
        }
    }
}

async fn look(keeper: &Client, node: &NodeName) -> Result<NodeView, Failure> {
    let view: Option<FleetView> = keeper.get("/api/v1/fleet").await?;
    let found = view.and_then(|view| view.nodes.into_iter().find(|known| known.node == *node));
    found.ok_or_else(|| Failure::new(exit::USAGE, format!("the keeper does not know `{node}`")))
}
