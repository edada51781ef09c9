//! `deploy`, `rollback`, `releases`: releases on the boxes of nodes that serve, one box after the other.
//!
//! While a box is worked on, a running keeper is asked to keep its healing away from that node; the box's own lease keeps
//! everybody else away.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use super::{
    args::{Common, DeployArgs, OnTimeoutWord, RollbackArgs},
    boxes::{Filled, Fleet, failure},
    client::Client,
    exit::{self, Failure},
    print::{self, data, talk},
    show,
    verbs::ask,
};
use crate::{
    config::RestTimeout,
    deploy::{
        self, DeployFault, DeployRequest, Deployed, Maintenance, OnTimeout, Restart, Role, RollbackRequest,
        StepPhase, StepReport,
    },
    fleet::{
        event::{Reply, Wish},
        name::NodeName,
    },
};

/// Reports that may wait to be printed.
const REPORTS: usize = 64;
/// How long a box may take to tell what stands on it.
const LOOK_LIMIT: Duration = Duration::from_secs(45);

pub(super) async fn deploy(common: &Common, args: DeployArgs) -> Result<u8, Failure> {
    if args.nodes.is_empty() && !args.fleet {
        return Err(Failure::new(exit::USAGE, "no node is named").hint("name nodes, or `--fleet` for all"));
    }
    let fleet = Fleet::find(common, &args.nodes).await?;
    let artifact = fleet.edges.releases.wanted().await;
    let artifact = artifact.map_err(|fault| Failure::new(exit::REFUSED, fault.to_string()))?;
    talk(&format!("release {} (commit {}, {} bytes)", artifact.name(), artifact.commit, artifact.size));
    let mut changed = false;
    for filled in &fleet.nodes {
        let Some(mut site) = fleet.site(filled, args.wait_lock) else { continue };
        site.gate.expect_commit = (artifact.commit != "unknown").then(|| artifact.commit.clone());
        let request = DeployRequest {
            site,
            method: fleet.edges.access.method.clone(),
            artifact: artifact.clone(),
            env: fleet.edges.access.server_env.clone(),
            restart: if args.restart { Restart::Always } else { Restart::IfChanged },
            force: args.force,
            maintenance: maintenance(&fleet, args.on_timeout),
            smoke: fleet.edges.access.smoke.clone(),
        };
        if args.dry_run {
            changed |= would(&fleet, filled, &request, args.json).await?;
            continue;
        }
        // The first box is the gate for all others: a fault ends the whole command.
        let deployed = on_one(&fleet, filled, args.json, async |progress| {
            deploy::deploy(&fleet.edges.remote, &request, &progress).await
        })
        .await;
        let deployed = match deployed {
            Err(DeployFault::Refused(why)) if asks(&fleet, args.on_timeout) && agreed(&why) => {
                let maintenance = request.maintenance.clone();
                let maintenance =
                    maintenance.map(|with| Maintenance { on_timeout: OnTimeout::Proceed, ..with });
                let request = DeployRequest { maintenance, ..request };
                on_one(&fleet, filled, args.json, async |progress| {
                    deploy::deploy(&fleet.edges.remote, &request, &progress).await
                })
                .await
            }
            other => other,
        };
        let deployed = deployed.map_err(|fault| failure(&filled.node, &fault))?;
        changed |= !deployed.unchanged;
        told(&filled.node, &deployed, args.json)?;
    }
    Ok(if changed { exit::DONE } else { exit::NOTHING })
}

pub(super) async fn rollback(common: &Common, args: RollbackArgs) -> Result<u8, Failure> {
    if args.nodes.is_empty() && !args.fleet {
        return Err(Failure::new(exit::USAGE, "no node is named").hint("name nodes, or `--fleet` for all"));
    }
    let fleet = Fleet::find(common, &args.nodes).await?;
    // Whether every box can go back is known before the first one does.
    for filled in &fleet.nodes {
        let Some(site) = fleet.site(filled, args.wait_lock) else { continue };
        let stock = deploy::stock(&fleet.edges.remote, &site, LOOK_LIMIT).await;
        let stock = stock.map_err(|fault| failure(&filled.node, &fault))?;
        let way = stock.way_back(args.to.as_deref());
        let way = way.map_err(|why| Failure::new(exit::REFUSED, format!("{}: {why}", filled.node)))?;
        talk(&format!("{}: back to {} (commit {})", filled.node, way.name, way.commit));
    }
    if args.dry_run {
        return Ok(exit::DONE);
    }
    let agreed = args.yes || (print::can_ask() && print::confirmed("go back?"));
    if !agreed {
        return Err(Failure::new(exit::REFUSED, "not confirmed").hint("add `--yes`"));
    }
    for filled in &fleet.nodes {
        let Some(site) = fleet.site(filled, args.wait_lock) else { continue };
        let request = RollbackRequest {
            site,
            to: args.to.clone(),
            env: fleet.edges.access.server_env.clone(),
            maintenance: maintenance(&fleet, args.on_timeout),
        };
        let deployed = on_one(&fleet, filled, args.json, async |progress| {
            deploy::rollback(&fleet.edges.remote, &request, &progress).await
        });
        let deployed = deployed.await.map_err(|fault| failure(&filled.node, &fault))?;
        told(&filled.node, &deployed, args.json)?;
    }
    Ok(exit::DONE)
}

pub(super) async fn releases(common: &Common, nodes: &[NodeName], json: bool) -> Result<u8, Failure> {
    let fleet = Fleet::find(common, nodes).await?;
    let mut found = Vec::new();
    for filled in &fleet.nodes {
        let Some(site) = fleet.site(filled, Duration::ZERO) else { continue };
        let stock = deploy::stock(&fleet.edges.remote, &site, LOOK_LIMIT).await;
        found.push((filled.node.clone(), stock.map_err(|fault| failure(&filled.node, &fault))?));
    }
    if json {
        let rows = found.iter().map(|(node, stock)| {
            let back = stock.way_back(None).map(|release| release.name.clone());
            json!({ "node": node, "releases": stock.releases, "way_back": back.ok() })
        });
        print::json(&rows.collect::<Vec<_>>())?;
        return Ok(exit::DONE);
    }
    let mut rows: Vec<[String; 5]> = Vec::new();
    for (node, stock) in &found {
        for release in &stock.releases {
            let role = match release.role {
                Role::Current => "serves",
                Role::Trial => "on trial",
                Role::Previous => "before",
                Role::Kept => "kept",
            };
            let proof = match (&release.bad, release.verified_at) {
                (Some(why), _) => format!("went back: {why}"),
                (None, Some(_)) => "verified".into(),
                (None, None) => "never verified".into(),
            };
            let (name, commit) = (release.name.clone(), release.commit.clone());
            rows.push([node.to_string(), name, commit, role.into(), proof]);
        }
    }
    show::table(&["node", "release", "commit", "part", "proof"], &rows)?;
    Ok(exit::DONE)
}

fn asks(fleet: &Fleet, word: Option<OnTimeoutWord>) -> bool {
    let asks = word.map_or(fleet.config.deploy.maintenance_timeout == RestTimeout::Ask, |word| {
        word == OnTimeoutWord::Ask
    });
    asks && print::can_ask()
}

fn agreed(why: &str) -> bool {
    print::confirmed(&format!("{why}; deploy all the same?"))
}

pub(super) fn maintenance(fleet: &Fleet, word: Option<OnTimeoutWord>) -> Option<Maintenance> {
    let configured = fleet.edges.access.maintenance.clone()?;
    let on_timeout = match word {
        None => configured.on_timeout,
        Some(OnTimeoutWord::Proceed) => OnTimeout::Proceed,
        Some(OnTimeoutWord::Abort | OnTimeoutWord::Ask) => OnTimeout::Abort,
    };
    Some(Maintenance { on_timeout, ..configured })
}

/// Shows what would be done; whether that is anything.
async fn would(fleet: &Fleet, filled: &Filled, request: &DeployRequest, json: bool) -> Result<bool, Failure> {
    let asked = deploy::dry_run(&fleet.edges.remote, request).await;
    let (name, plan) = asked.map_err(|fault| failure(&filled.node, &fault))?;
    let node = &filled.node;
    if json {
        let steps = plan.steps.iter().map(|step| {
            let target = step.part().target().as_secs();
            json!({ "step": step.word(), "target_s": target, "script": step.script() })
        });
        let steps: Vec<_> = steps.collect();
        print::json(
            &json!({ "node": node, "release": name, "steps": steps, "note": plan.note, "found": plan.found }),
        )?;
    } else {
        data(&format!(
            "{node}: release {name}{}",
            plan.note.map(|note| format!(": {note}")).unwrap_or_default()
        ))?;
        for fact in &plan.found {
            data(&format!("# {fact}"))?;
        }
        for step in &plan.steps {
            data(&format!("# {step} (target {} min)", step.part().target().as_secs() / 60))?;
            if let Some(script) = step.script() {
                data(script.trim_end())?;
            }
        }
    }
    Ok(plan.steps.len() > 1)
}

/// Works on one box while the keeper's healing is kept away from it, and shows how it goes.
pub(super) async fn on_one(
    fleet: &Fleet,
    filled: &Filled,
    json: bool,
    work: impl AsyncFnOnce(mpsc::Sender<StepReport>) -> Result<Deployed, DeployFault>,
) -> Result<Deployed, DeployFault> {
    let node = &filled.node;
    let refused = |failure: Failure| DeployFault::Refused(failure.message().to_owned());
    let keeper = Client::find(&fleet.config.control_socket).await.map_err(refused)?;
    let mut paused = false;
    if let Some(keeper) = &keeper {
        paused = matches!(ask(keeper, node, Wish::Pause).await.map_err(refused)?, Reply::Accepted(_));
    }
    let (sender, mut reports) = mpsc::channel::<StepReport>(REPORTS);
    let shown = async {
        while let Some(report) = reports.recv().await {
            line(node, &report, json);
        }
    };
    let result = tokio::select! {
        (result, ()) = async { tokio::join!(work(sender), shown) } => result,
        _ = tokio::signal::ctrl_c() => Err(DeployFault::Unknown(
            "interrupted: the same command takes it up again".into(),
        )),
    };
    if paused
        && let Some(keeper) = &keeper
        && let Err(failure) = ask(keeper, node, Wish::Resume).await
    {
        talk(&format!("warning: `{node}` is still paused: {}", failure.message()));
    }
    result
}

fn line(node: &NodeName, report: &StepReport, json: bool) {
    let seconds = report.took.as_secs_f64();
    let over = if report.took > report.step.part().target() { ", over its target" } else { "" };
    match report.phase {
        StepPhase::Started if json => {}
        StepPhase::Started => talk(&format!("{node}: {} …", report.step)),
        StepPhase::Going => talk(&format!("{node}: {}: {}", report.step, report.detail)),
        StepPhase::Finished if report.detail.is_empty() => {
            talk(&format!("{node}: {} done in {seconds:.1} s{over}", report.step));
        }
        StepPhase::Finished => {
            talk(&format!("{node}: {} done in {seconds:.1} s{over}: {}", report.step, report.detail));
        }
    }
}

pub(super) fn told(node: &NodeName, deployed: &Deployed, json: bool) -> Result<(), Failure> {
    if json {
        let steps: Vec<_> = deployed
            .steps
            .iter()
            .map(|taken| {
                let target = taken.step.part().target().as_secs();
                json!({ "step": taken.step.word(), "took_ms": taken.took.as_millis() as u64, "target_s": target })
            })
            .collect();
        return print::json(
            &json!({ "node": node, "release": deployed.name, "commit": deployed.release.commit,
            "digest": deployed.release.digest, "unchanged": deployed.unchanged, "closed": deployed.closed, "steps": steps }),
        );
    }
    if let Some(why) = &deployed.closed {
        talk(&format!("warning: {node}: {why}; `vast-keeper maintenance exit {node}`"));
    }
    let what = if deployed.unchanged { "serves already" } else { "serves" };
    data(&format!("{node}: {} (commit {}) {what}", deployed.name, deployed.release.commit))
}
