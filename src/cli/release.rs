//! `deploy`, `rollback`, `releases`: releases on the boxes of nodes that serve.
//!
//! While a box is worked on, a running keeper is asked to keep its healing away from that node; the box's own lease keeps
//! everybody else away.

use std::time::Duration;

use serde_json::json;

use super::{
    alone,
    args::{Common, DeployArgs, MannerWord, OnTimeoutWord, RollbackArgs, Working},
    boxes::{Filled, Fleet, failure},
    client::Client,
    consent,
    exit::{self, Failure},
    print::{self, data, talk},
    rollout, show, switch,
    wanted::Release,
    work::{Unfinished, Work},
};
use crate::{
    config::{Config, RestTimeout},
    deploy::{self, DeployFault, DeployRequest, Deployed, Maintenance, OnTimeout, Role, RollbackRequest},
    fleet::{
        deployed::Placed,
        event::Reply,
        name::NodeName,
        notice::Notice,
        rollout::{Manner, Plan, Terms, Unrest},
    },
};

/// How long a box may take to tell what stands on it.
const LOOK_LIMIT: Duration = Duration::from_secs(45);

pub(super) async fn deploy(common: &Common, mut args: DeployArgs) -> Result<u8, Failure> {
    args.nodes.append(&mut args.named);
    named(&args.nodes, args.fleet)?;
    let fleet = Fleet::find(common, &args.nodes).await?;
    let release = match &args.release {
        Some(name) => Release::named(&fleet, name).await?,
        None => Release::configured(&fleet).await?,
    };
    if !args.dry_run {
        let act = format!("deploy {} to {}", release.placed.name, fleet.names());
        consent::if_protected(&fleet.config, &args.working.consent, &act)?;
    }
    put(&fleet, release, args).await
}

/// Some nodes, or all by name: none is a slip.
fn named(nodes: &[NodeName], all: bool) -> Result<(), Failure> {
    if nodes.is_empty() && !all {
        return Err(Failure::new(exit::USAGE, "no node is named").hint("name nodes, or `--fleet` for all"));
    }
    Ok(())
}

/// Puts a release on the fleet's nodes: on one as it is, on several as a rollout. Whether it is wanted there was asked before.
pub(super) async fn put(fleet: &Fleet, release: Release, args: DeployArgs) -> Result<u8, Failure> {
    let artifact = &release.artifact;
    talk(&format!("release {} (commit {}, {} bytes)", release.placed.name, artifact.commit, artifact.size));
    if !args.force {
        release.unless_shunned(fleet)?;
    }
    let plan = plan(fleet, &args);
    if !args.dry_run && (fleet.nodes.len() > 1 || plan.manner == Manner::BlueGreen || asks_for_canary(&args))
    {
        let terms = terms(fleet, &args);
        return rollout::begin(fleet, release, plan, terms, args.working.json).await;
    }
    let (json, terms) = (args.working.json, terms(fleet, &args));
    let mut changed = false;
    for filled in &fleet.nodes {
        let Some(request) = release.request(fleet, filled, &terms) else { continue };
        if args.dry_run {
            changed |= would(fleet, filled, &request, json).await?;
            continue;
        }
        let work = Work { fleet, filled, rollout: None, quiet: json, leaves: None };
        let deployed = match work.deploy(&request, &release.placed).await {
            Err(Unfinished::Fault(DeployFault::Refused(why)))
                if asks(fleet, args.working.on_timeout) && agreed(&why) =>
            {
                let terms = Terms { unrest: Some(Unrest::Proceed), ..terms.clone() };
                let Some(request) = release.request(fleet, filled, &terms) else { continue };
                work.deploy(&request, &release.placed).await
            }
            other => other,
        };
        let deployed = match deployed {
            Err(Unfinished::Interrupted) => wind_up(&work, &release.placed, &terms).await?,
            deployed => deployed.map_err(|end| end.failure(&filled.node))?,
        };
        changed |= !deployed.unchanged;
        told(&filled.node, &deployed, json)?;
    }
    Ok(if changed { exit::DONE } else { exit::NOTHING })
}

/// Whoever interrupts a deploy leaves no box half-way: what nobody confirmed is gone back from, and maintenance is ended. What
/// serves then, if it is the release; a second signal leaves it to the box.
async fn wind_up(work: &Work<'_>, wanted: &Placed, terms: &Terms) -> Result<Deployed, Failure> {
    let (fleet, node) = (work.fleet, &work.filled.node);
    let Some(site) = fleet.site(work.filled, Duration::ZERO) else {
        return Err(Unfinished::Interrupted.failure(node));
    };
    fleet.stop().follow();
    talk(&format!("{node}: interrupted; seeing to what was begun, until the next signal"));
    let env = fleet.edges.access.server_env.clone();
    let request = RollbackRequest { site, to: None, env, maintenance: maintenance(fleet, terms.unrest) };
    let settled = work.settle(&request, wanted).await.map_err(|end| end.failure(node))?;
    if settled.name == wanted.name {
        return Ok(settled);
    }
    let words = format!("{node}: interrupted; `{}` (commit {}) serves", settled.name, settled.release.commit);
    Err(Failure::new(exit::ROLLED_BACK, words))
}

/// One node can be held and looked at, too, where that is asked for.
fn asks_for_canary(args: &DeployArgs) -> bool {
    args.strategy == Some(MannerWord::Canary)
}

/// The configured way of rollouts, with what the command line says otherwise.
fn plan(fleet: &Fleet, args: &DeployArgs) -> Plan {
    let configured = fleet.config.rollout.plan.clone();
    let manner = match args.strategy {
        None => configured.manner,
        Some(MannerWord::Rolling) => Manner::Rolling,
        Some(MannerWord::Canary) => Manner::Canary,
        Some(MannerWord::BlueGreen) => Manner::BlueGreen,
    };
    let (batch, max_failures) =
        (args.batch.unwrap_or(configured.batch), args.max_failures.unwrap_or(configured.max_failures));
    Plan { manner, batch, max_failures, ..configured }
}

/// The terms of the command line, and of the configuration of now where it says nothing.
fn terms(fleet: &Fleet, args: &DeployArgs) -> Terms {
    let asked = args.working.on_timeout.map(unrest);
    let configured = fleet.edges.access.maintenance.as_ref().map(|with| match with.on_timeout {
        OnTimeout::Abort => Unrest::Abort,
        OnTimeout::Proceed => Unrest::Proceed,
    });
    let (force, restart, wait_lock) = (args.force, args.restart, args.working.wait_lock);
    Terms { force, restart, unrest: asked.or(configured), wait_lock }
}

/// Tells the fleet's sinks something, through the keeper or, where none runs, through its outbox.
pub(super) async fn tell_fleet(config: &Config, notice: Notice) {
    let told = match Client::find(&config.control_socket).await {
        Ok(Some(keeper)) => keeper.post::<_, Reply>("/api/v1/notices", &notice).await.map(drop),
        Ok(None) => alone::tell(config, notice).await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = told {
        talk(&format!("warning: nobody was told: {}", failure.message()));
    }
}

pub(super) async fn rollback(common: &Common, args: RollbackArgs) -> Result<u8, Failure> {
    named(&args.nodes, args.fleet)?;
    let fleet = Fleet::find(common, &args.nodes).await?;
    let Working { consent, on_timeout, wait_lock, json } = &args.working;
    if args.to.is_none() && !args.dry_run && switch::stands_by(&fleet).await? {
        let act = format!("switch {} back to the boxes that stand by", fleet.names());
        consent::given(&fleet.config, consent, &act)?;
        return switch::back(&fleet, *json).await;
    }
    // Whether every box can go back is known before the first one does.
    let (mut targets, mut moves) = (Vec::new(), false);
    for filled in &fleet.nodes {
        let Some(site) = fleet.site(filled, *wait_lock) else { continue };
        let stock = deploy::stock(&fleet.edges.remote, &site, LOOK_LIMIT).await;
        let stock = stock.map_err(|fault| failure(&filled.node, &fault))?;
        let way = stock.way_back(args.to.as_deref());
        let way = way.map_err(|why| {
            Failure::new(exit::REFUSED, format!("{}: {why}", filled.node))
                .hint(format!("`vast-keeper releases {}` lists what stands there", filled.node))
        })?;
        moves |= way.role != Role::Current;
        let there = if way.role == Role::Current { "stays at" } else { "back to" };
        talk(&format!("{}: {there} {} (commit {})", filled.node, way.name, way.commit));
        let (name, digest) = (way.name.clone(), way.digest.clone());
        targets.push((filled, site, Placed { name, digest, commit: way.commit.clone() }));
    }
    if args.dry_run {
        return Ok(if moves { exit::DONE } else { exit::NOTHING });
    }
    if moves {
        consent::given(&fleet.config, consent, &format!("take {} back", fleet.names()))?;
    }
    let mut changed = false;
    for (filled, site, target) in targets {
        let request = RollbackRequest {
            site,
            // What was shown and agreed to, and nothing that has come since.
            to: Some(target.name.clone()),
            env: fleet.edges.access.server_env.clone(),
            maintenance: maintenance(&fleet, on_timeout.map(unrest)),
        };
        let work = Work { fleet: &fleet, filled, rollout: None, quiet: *json, leaves: None };
        let deployed = work.rollback(&request, Some(target)).await;
        let deployed = deployed.map_err(|end| end.failure(&filled.node))?;
        changed |= !deployed.unchanged;
        told(&filled.node, &deployed, *json)?;
    }
    Ok(if changed { exit::DONE } else { exit::NOTHING })
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

/// What a word means as long as nobody is asked.
pub(super) fn unrest(word: OnTimeoutWord) -> Unrest {
    match word {
        OnTimeoutWord::Proceed => Unrest::Proceed,
        OnTimeoutWord::Abort | OnTimeoutWord::Ask => Unrest::Abort,
    }
}

/// How servers are brought to rest.
pub(super) fn maintenance(fleet: &Fleet, unrest: Option<Unrest>) -> Option<Maintenance> {
    let configured = fleet.edges.access.maintenance.clone()?;
    let on_timeout = match unrest {
        Some(Unrest::Abort) => OnTimeout::Abort,
        Some(Unrest::Proceed) => OnTimeout::Proceed,
        None => configured.on_timeout,
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
