//! Verbs for one box at a time: maintenance, the lock, logs, a shell, a diagnosis.

use std::time::Duration;

use serde_json::json;

use super::{
    args::{Common, LockAction, LogsArgs, MaintenanceAction, WhichLog},
    boxes::{Filled, Fleet, failure},
    exit::{self, Failure},
    print::{self, data, talk},
    since,
};
use crate::{
    clock::Clock,
    deploy::{self, Log},
    fleet::name::NodeName,
    maintenance::{Client, Fault},
};

/// How long a box may take to answer.
const LOOK_LIMIT: Duration = Duration::from_secs(45);
/// Lines asked for where times decide; the box sends at most 256 KiB.
const MOST_LINES: u32 = 10_000;
/// How long leaving maintenance is tried.
const EXIT_PATIENCE: Duration = Duration::from_secs(60);
/// The reason where none is given, as the API's reference has it.
const REASON: &str = "manual";

pub(super) async fn maintenance(common: &Common, action: MaintenanceAction) -> Result<u8, Failure> {
    let nodes = action.nodes().to_vec();
    let fleet = Fleet::find(common, &nodes).await?;
    let Some(code) = fleet.config.deploy.admin_code.clone() else {
        return Err(Failure::new(exit::USAGE, "no admin code is set").hint("set ADMIN_CODE in `.env`"));
    };
    let mut worst = exit::DONE;
    for filled in &fleet.nodes {
        let client = Client::new(filled.public, code.clone());
        let client = client.map_err(|fault| Failure::new(exit::BUG, fault.to_string()))?;
        let (code, words) = match &action {
            MaintenanceAction::Status { .. } => told(client.status().await.map(|status| status.words())),
            MaintenanceAction::Enter { reason, timeout, emergency, .. } => {
                let reason = reason.as_deref().unwrap_or(REASON);
                let wait = timeout.unwrap_or(fleet.config.deploy.maintenance_wait);
                let wait = if *emergency { Duration::ZERO } else { wait };
                match client.enter(reason, wait).await {
                    // No new duel begins; what runs is left to its fate.
                    Err(fault @ Fault::NoRest { .. }) if *emergency => {
                        (exit::DONE, format!("in maintenance, not at rest: {fault}"))
                    }
                    Err(fault @ Fault::NoRest { .. }) => {
                        let next = format!(
                            "it stays in maintenance; `vast-keeper maintenance exit {}` ends it",
                            filled.node
                        );
                        (exit::REFUSED, format!("{fault}; {next}"))
                    }
                    entered => told(entered.map(|status| status.words())),
                }
            }
            MaintenanceAction::Exit { .. } => {
                let left = told(client.exit(EXIT_PATIENCE).await.map(|()| "goes on".to_owned()));
                if left.0 == exit::DONE {
                    clear(&fleet, filled).await;
                }
                left
            }
        };
        worst = worst.max(code);
        let node = &filled.node;
        if action.json() {
            print::json(&json!({ "node": node, "ok": code == exit::DONE, "text": words }))?;
        } else {
            data(&format!("{node}: {words}"))?;
        }
    }
    Ok(worst)
}

/// What a deploy that died noted on the box is settled by now.
async fn clear(fleet: &Fleet, filled: &Filled) {
    if let Err(fault) = deploy::forget_maintenance(&fleet.edges.remote, &filled.address, LOOK_LIMIT).await {
        talk(&format!("{}: the note on the box stays: {fault}", filled.node));
    }
}

fn told(result: Result<String, Fault>) -> (u8, String) {
    match result {
        Ok(words) => (exit::DONE, words),
        Err(fault) => {
            let code = match &fault {
                Fault::Held { .. } | Fault::NoRest { .. } | Fault::Lost(_) => exit::REFUSED,
                Fault::Refused | Fault::LockedOut(_) | Fault::TooOld => exit::REFUSED,
                Fault::Unreachable(_) | Fault::Strange(_) => exit::UNREACHABLE,
            };
            (code, fault.to_string())
        }
    }
}

pub(super) async fn lock(common: &Common, action: LockAction) -> Result<u8, Failure> {
    let (node, yes, json) = match &action {
        LockAction::Show { node, json } => (node, None, *json),
        LockAction::Break { node, yes, json } => (node, Some(*yes), *json),
    };
    let (fleet, at) = Fleet::one(common, node).await?;
    let filled = &fleet.nodes[at];
    let shown = deploy::lock_show(&fleet.edges.remote, &filled.address, LOOK_LIMIT).await;
    let holder = shown.map_err(|fault| failure(node, &fault))?;
    let words = holder.as_ref().map_or_else(
        || format!("{node}: nobody holds the box"),
        |holder| format!("{node}: held by {} for {} s more", holder.who, holder.seconds_left),
    );
    if let (Some(yes), Some(_)) = (yes, &holder) {
        talk(&words);
        let agreed = yes || (print::can_ask() && print::confirmed("take it from them?"));
        if !agreed {
            return Err(Failure::new(exit::REFUSED, "not confirmed").hint("add `--yes`"));
        }
        let broken = deploy::lock_break(&fleet.edges.remote, &filled.address, LOOK_LIMIT).await;
        broken.map_err(|fault| failure(node, &fault))?;
        if !json {
            data(&format!("{node}: the lock is free; every later command of theirs is refused"))?;
            return Ok(exit::DONE);
        }
    }
    if json {
        print::json(&json!({ "node": node, "holder": holder, "broken": yes.is_some() && holder.is_some() }))?;
    } else {
        data(&words)?;
    }
    Ok(if yes.is_some() && holder.is_none() { exit::NOTHING } else { exit::DONE })
}

pub(super) async fn logs(common: &Common, args: LogsArgs) -> Result<u8, Failure> {
    let (fleet, at) = Fleet::one(common, &args.node).await?;
    let filled = &fleet.nodes[at];
    let which = match args.of {
        WhichLog::Server => Log::Server,
        WhichLog::Supervisor => Log::Supervisor,
        WhichLog::Deploys => Log::Deploys,
    };
    // Times are looked at here, so the box sends all it may.
    let lines = if args.since.is_some() { MOST_LINES } else { args.lines };
    let what = (which, lines, args.grep.as_deref().unwrap_or_default());
    let secrets = &fleet.edges.access.server_env;
    let text = deploy::logs(&fleet.edges.remote, &filled.address, what, secrets, LOOK_LIMIT).await;
    let text = text.map_err(|fault| failure(&args.node, &fault))?;
    let Some(lasting) = args.since else {
        data(text.trim_end())?;
        return Ok(exit::DONE);
    };
    let cut = since::since(&text, Clock::new().civil().before(lasting)).ok_or_else(|| {
        Failure::new(exit::REFUSED, format!("{}: the log's lines tell no times", args.node))
            .hint("`--lines` cuts it by length")
    })?;
    let all: Vec<&str> = cut.lines().collect();
    let wanted = all.get(all.len().saturating_sub(args.lines as usize)..).unwrap_or_default();
    data(&wanted.join("\n"))?;
    Ok(exit::DONE)
}

pub(super) async fn diagnose(common: &Common, node: &NodeName, json: bool) -> Result<u8, Failure> {
    let (fleet, at) = Fleet::one(common, node).await?;
    let filled = &fleet.nodes[at];
    let secrets = &fleet.edges.access.server_env;
    let told = deploy::diagnose(&fleet.edges.remote, &filled.address, secrets, LOOK_LIMIT).await;
    let told = told.map_err(|fault| failure(node, &fault))?;
    let (head, log) = told.split_once("\nlog\n").unwrap_or((&told, ""));
    let rows = head.lines().filter_map(|line| line.split_once('\t'));
    if json {
        let facts: Vec<_> = rows.map(|(name, value)| json!({ "name": name, "value": value })).collect();
        let log: Vec<&str> = log.lines().collect();
        print::json(
            &json!({ "node": node, "instance": filled.tenant.instance, "facts": facts, "log": log }),
        )?;
        return Ok(exit::DONE);
    }
    data(&format!("{node}: instance {}, server at {}", filled.tenant.instance, filled.public))?;
    for (name, value) in rows {
        data(&format!("{name:<12} {value}"))?;
    }
    if !log.trim().is_empty() {
        data(&format!("the server's log ends:\n{}", log.trim_end()))?;
    }
    Ok(exit::DONE)
}

/// A person's own session; its exit code is the remote command's.
pub(super) async fn ssh(common: &Common, node: &NodeName, command: &[String]) -> Result<u8, Failure> {
    let (fleet, at) = Fleet::one(common, node).await?;
    let filled = &fleet.nodes[at];
    let remote = &fleet.edges.remote;
    let unreachable = |words: String| Failure::new(exit::UNREACHABLE, format!("{node}: {words}"));
    // Finds the way that works, and proves or pins the host key.
    let session = remote.connect(&filled.address, LOOK_LIMIT).await;
    let session = session.map_err(|fault| unreachable(fault.to_string()))?;
    let endpoint = session.endpoint().clone();
    session.close().await;
    let mut login =
        remote.login(&filled.address, &endpoint).map_err(|fault| unreachable(fault.to_string()))?;
    login.command.args(command);
    let ended = tokio::task::spawn_blocking(move || login.command.status()).await;
    match ended {
        Ok(Ok(status)) => Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::UNKNOWN)),
        Ok(Err(fault)) => Err(unreachable(fault.to_string())),
        Err(fault) => Err(Failure::new(exit::BUG, fault.to_string())),
    }
}
