//! `drill`: something is broken on purpose on a live fleet that nobody depends on, and the time until it serves again is kept.
//!
//! `<state>/drills.jsonl` has a line for each, so that "when was this last tested" always has an answer.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    args::{Common, DrillAction, DrillArgs},
    boxes::{Filled, Fleet, failure},
    client::Client,
    exit::{self, Failure},
    print::{self, data, talk},
    release::{maintenance, tell_fleet},
    setup, show,
    verbs::{ask, person},
    work::Work,
};
use crate::{
    clock::Clock,
    config::{Config, Need},
    deploy::{self, RollbackRequest},
    fleet::{
        deployed::Placed,
        event::{Reply, Wish},
        name::{InstanceId, NodeName},
        notice::{Notice, Severity, Topic},
        tell::span,
        units::{Timestamp, millis},
        view::{FleetView, NodeView},
    },
};

/// How often the node is looked at while it heals.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a box may take to do as it is told.
const BOX_LIMIT: Duration = Duration::from_secs(45);
/// How much longer than its target a drill is watched: a recovery that comes too late is a figure, too.
const WATCHED: u32 = 2;

/// What is rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    KillServer,
    Rollback,
    Replace,
}

impl Kind {
    const ALL: [Self; 3] = [Self::KillServer, Self::Rollback, Self::Replace];

    fn word(self) -> &'static str {
        match self {
            Self::KillServer => "kill-server",
            Self::Rollback => "rollback",
            Self::Replace => "replace",
        }
    }
}

/// One rehearsal, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Drill {
    at: Timestamp,
    kind: Kind,
    node: NodeName,
    by: String,
    /// From the break until it served again; none if it did not while it was watched.
    rto_ms: Option<u64>,
    target_ms: u64,
    detail: String,
    /// Why it was not watched to its end, where it was not: such a drill has tested nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut: Option<String>,
}

impl Drill {
    fn met(&self) -> bool {
        self.rto_ms.is_some_and(|rto| rto <= self.target_ms)
    }
}

pub(super) async fn drill(common: &Common, action: DrillAction) -> Result<u8, Failure> {
    match action {
        DrillAction::History { json } => history(common, json),
        DrillAction::KillServer(args) => rehearse(common, Kind::KillServer, args).await,
        DrillAction::Rollback(args) => rehearse(common, Kind::Rollback, args).await,
        DrillAction::Replace(args) => rehearse(common, Kind::Replace, args).await,
    }
}

async fn rehearse(common: &Common, kind: Kind, args: DrillArgs) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Run)?;
    if config.environment.protected {
        let message =
            format!("fleet `{}` is protected: nothing is broken there on purpose", config.policy.fleet);
        return Err(
            Failure::new(exit::REFUSED, message).hint("drill on another profile: `--profile staging`")
        );
    }
    let (fleet, at) = Fleet::one(common, &args.node).await?;
    let filled = &fleet.nodes[at];
    let keeper = Client::connect(&config.control_socket).await?;
    if !well_within(&keeper, &fleet, &args.node).await? {
        let message = format!("`{}` is not well: a drill begins with a node that serves", args.node);
        return Err(Failure::new(exit::REFUSED, message).hint(format!("`vast-keeper why {}`", args.node)));
    }
    let act = match kind {
        Kind::KillServer => "end the server of",
        Kind::Rollback => "take back, and forward again,",
        Kind::Replace => "replace the box of",
    };
    let agreed = args.yes || (print::can_ask() && print::confirmed(&format!("{act} `{}`?", args.node)));
    if !agreed {
        return Err(Failure::new(exit::REFUSED, format!("not confirmed: would {act} `{}`", args.node))
            .hint("add `--yes`"));
    }
    let clock = Clock::new();
    let began = clock.now();
    let rehearsal = Rehearsal { fleet: &fleet, filled, keeper: &keeper, args: &args, began };
    let outcome = match kind {
        Kind::KillServer => rehearsal.kill_server().await,
        Kind::Rollback => rehearsal.rollback().await,
        Kind::Replace => rehearsal.replace().await,
    };
    let (rto, detail) = match &outcome {
        Ok((rto, detail)) => (*rto, detail.clone()),
        // Nothing was broken.
        Err(fault) if [exit::USAGE, exit::REFUSED].contains(&fault.code()) => {
            return outcome.map(|_| exit::DONE);
        }
        Err(_) => (None, String::new()),
    };
    let drill = Drill {
        at: began,
        kind,
        node: args.node.clone(),
        by: person(),
        rto_ms: rto.map(millis),
        target_ms: millis(args.target),
        detail,
        cut: outcome.as_ref().err().map(|fault| fault.message().to_owned()),
    };
    keep(&config, &drill).map_err(|fault| {
        Failure::new(exit::UNKNOWN, format!("the drill is over, and cannot be kept: {fault}"))
    })?;
    tell_fleet(&config, told(&drill, clock.now())).await;
    outcome?;
    if args.json {
        print::json(&drill)?;
    } else {
        data(&words(&drill))?;
    }
    Ok(if drill.met() { exit::DONE } else { exit::UNKNOWN })
}

/// One rehearsal under way.
struct Rehearsal<'a> {
    fleet: &'a Fleet,
    filled: &'a Filled,
    keeper: &'a Client,
    args: &'a DrillArgs,
    began: Timestamp,
}

type Outcome = Result<(Option<Duration>, String), Failure>;

impl Rehearsal<'_> {
    /// Ends the server and whatever would start it again on the box, and tells nobody.
    async fn kill_server(&self) -> Outcome {
        let remote = &self.fleet.edges.remote;
        let stopped = deploy::stop_server(remote, &self.filled.address, &self.args.node, BOX_LIMIT).await;
        stopped.map_err(|fault| failure(&self.args.node, &fault))?;
        talk(&format!("{}: the server was ended; the keeper must notice by itself", self.args.node));
        // Until a probe has failed the view still shows it as well.
        let noticed = self.until(|node| !is_well(node)).await?;
        let Some(noticed) = noticed else { return Ok((None, "the keeper did not notice".into())) };
        let healed = self.until(is_well).await?;
        let how = self.instance().await?;
        let how = if how == Some(self.filled.tenant.instance) { "healed in place" } else { "replaced" };
        Ok((healed, format!("noticed after {}, {how}", span(noticed))))
    }

    async fn replace(&self) -> Outcome {
        match ask(self.keeper, &self.args.node, Wish::Reprovision).await? {
            Reply::Accepted(_) => {}
            Reply::NothingToDo(why) | Reply::Refused(why) => return Err(Failure::new(exit::REFUSED, why)),
        }
        let old = self.filled.tenant.instance;
        let another = |node: &NodeView| is_well(node) && node.instance.is_some_and(|id| id != old);
        let healed = self.until(another).await?;
        let new = self.instance().await?.map_or_else(|| "none".into(), |id| id.to_string());
        Ok((healed, format!("instance {old} gave way to {new}")))
    }

    /// Back and forward again: the node ends as it began, and the way back is what is timed.
    async fn rollback(&self) -> Outcome {
        let site = || self.fleet.site(self.filled, Duration::ZERO);
        let gone = || Failure::new(exit::USAGE, format!("node `{}` is not configured", self.args.node));
        let stock = deploy::stock(&self.fleet.edges.remote, &site().ok_or_else(gone)?, BOX_LIMIT).await;
        let stock = stock.map_err(|fault| failure(&self.args.node, &fault))?;
        let way = stock.way_back(None).map_err(|why| Failure::new(exit::REFUSED, why))?.clone();
        let present = stock.current().cloned();
        let present = present.ok_or_else(|| Failure::new(exit::REFUSED, "the box runs no release"))?;
        let work = Work {
            fleet: self.fleet,
            filled: self.filled,
            rollout: None,
            quiet: self.args.json,
            leaves: None,
        };
        let go = async |target: &deploy::Standing| {
            let request = RollbackRequest {
                site: site().ok_or_else(gone)?,
                to: Some(target.name.clone()),
                env: self.fleet.edges.access.server_env.clone(),
                maintenance: maintenance(self.fleet, None),
            };
            let (name, digest) = (target.name.clone(), target.digest.clone());
            let placed = Placed { name, digest, commit: target.commit.clone() };
            let gone_to = work.rollback(&request, Some(placed)).await;
            gone_to.map(drop).map_err(|end| end.failure(&self.args.node))
        };
        let clock = Clock::new();
        let began = clock.now();
        go(&way).await?;
        let rto = clock.now().since(began);
        talk(&format!("{}: back at {} after {}; forward again", self.args.node, way.name, span(rto)));
        go(&present).await?;
        Ok((Some(rto), format!("to {} and forward to {} again", way.name, present.name)))
    }

    /// Waits until the node is so; how long that was after the drill began, or none when it was watched long enough.
    async fn until(&self, holds: impl Fn(&NodeView) -> bool) -> Result<Option<Duration>, Failure> {
        let clock = Clock::new();
        let end = self.began.after(self.args.target.saturating_mul(WATCHED));
        loop {
            let now = clock.now();
            if holds(&look(self.keeper, &self.args.node).await?) {
                return Ok(Some(now.since(self.began)));
            }
            if now >= end {
                return Ok(None);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = tokio::signal::ctrl_c() => {
                    return Err(Failure::new(exit::UNKNOWN, "interrupted: what was broken is healed without you"));
                }
            }
        }
    }

    async fn instance(&self) -> Result<Option<InstanceId>, Failure> {
        Ok(look(self.keeper, &self.args.node).await?.instance)
    }
}

/// Whether the node is well, as soon as it was probed: after a deploy nothing is known of it until then.
async fn well_within(keeper: &Client, fleet: &Fleet, node: &NodeName) -> Result<bool, Failure> {
    let interval = fleet.config.policy.nodes.get(node).map_or(Duration::ZERO, |spec| spec.health.interval);
    let clock = Clock::new();
    let end = clock.now().after(interval).after(BOX_LIMIT);
    loop {
        let seen = look(keeper, node).await?;
        let unseen = seen.state == "serving" && seen.health.verdict == "unknown";
        if is_well(&seen) || !unseen || clock.now() >= end {
            return Ok(is_well(&seen));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(keeper: &Client, node: &NodeName) -> Result<NodeView, Failure> {
    let view: Option<FleetView> = keeper.get("/api/v1/fleet").await?;
    let nodes = view.map(|view| view.nodes).unwrap_or_default();
    let found = nodes.into_iter().find(|known| known.node == *node);
    found.ok_or_else(|| Failure::new(exit::USAGE, format!("the keeper does not know `{node}`")))
}

fn is_well(node: &NodeView) -> bool {
    node.state == "serving" && node.health.verdict == "healthy" && node.incident.is_none()
}

fn words(drill: &Drill) -> String {
    let (kind, node) = (drill.kind.word(), &drill.node);
    let target = span(Duration::from_millis(drill.target_ms));
    if let Some(why) = &drill.cut {
        return format!("drill {kind} on {node}: not watched to its end: {why}");
    }
    match drill.rto_ms.map(|rto| span(Duration::from_millis(rto))) {
        Some(rto) if drill.met() => {
            format!("drill {kind} on {node}: served again after {rto}, target {target}; {}", drill.detail)
        }
        Some(rto) => format!(
            "drill {kind} on {node}: served again only after {rto}, target {target}; {}",
            drill.detail
        ),
        None => format!(
            "drill {kind} on {node}: did not serve again within twice the target of {target}; {}",
            drill.detail
        ),
    }
}

fn told(drill: &Drill, at: Timestamp) -> Notice {
    Notice {
        at,
        severity: match &drill.cut {
            _ if drill.met() => Severity::Info,
            // Whoever left it knows; nothing was found out.
            Some(_) => Severity::Warning,
            None => Severity::Critical,
        },
        topic: Topic::Deploy,
        node: Some(drill.node.clone()),
        incident: None,
        title: words(drill),
        facts: vec![("by".into(), drill.by.clone())],
        next: "`vast-keeper drill history` compares it with those before".into(),
    }
}

fn place(config: &Config) -> PathBuf {
    config.state_dir.join("drills.jsonl")
}

fn keep(config: &Config, drill: &Drill) -> io::Result<()> {
    let mut text = serde_json::to_vec(drill)?;
    text.push(b'\n');
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(place(config))?;
    file.write_all(&text)?;
    file.sync_all()
}

/// Every drill that was kept, oldest first; a line that cannot be read is left out.
fn kept(config: &Config) -> io::Result<Vec<Drill>> {
    let text = match std::fs::read_to_string(place(config)) {
        Ok(text) => text,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => String::new(),
        Err(fault) => return Err(fault),
    };
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn history(common: &Common, as_json: bool) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let drills = kept(&config)
        .map_err(|fault| Failure::new(exit::BUG, format!("the drills cannot be read: {fault}")))?;
    let last = |kind: Kind| drills.iter().rev().find(|drill| drill.kind == kind && drill.cut.is_none());
    if as_json {
        let last: serde_json::Map<_, _> = Kind::ALL
            .into_iter()
            .map(|kind| (kind.word().to_owned(), json!(last(kind).map(|drill| drill.at))))
            .collect();
        print::json(&json!({ "last": last, "drills": drills }))?;
        return Ok(exit::DONE);
    }
    for kind in Kind::ALL {
        let when = last(kind).map_or_else(|| "never".into(), |drill| show::clock_time(drill.at));
        data(&format!("{:<12} last rehearsed: {when}", kind.word()))?;
    }
    let rows: Vec<[String; 6]> = drills
        .iter()
        .rev()
        .map(|drill| {
            let none = if drill.cut.is_some() { "not watched" } else { "not at all" };
            let rto = drill.rto_ms.map_or_else(|| none.into(), |rto| span(Duration::from_millis(rto)));
            let target = span(Duration::from_millis(drill.target_ms));
            [
                show::clock_time(drill.at),
                drill.kind.word().into(),
                drill.node.to_string(),
                rto,
                target,
                drill.by.clone(),
            ]
        })
        .collect();
    show::table(&["when", "what", "node", "served again after", "target", "by"], &rows)?;
    Ok(exit::DONE)
}
