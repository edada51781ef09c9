//! Verbs that change things. They talk to the running daemon; where none runs, `reprovision` takes the store's lock and does
//! the work itself.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    args::{Calming, Common, Drastic},
    client::Client,
    consent,
    exit::{self, Failure},
    known::known as known_fleet,
    print::{self, data, talk},
    setup,
};
use crate::{
    clock::Clock,
    config::{Config, Need},
    daemon::{Daemon, Options},
    engine::Handle,
    fleet::{
        self,
        event::{Reply, Wish},
        guard::Rail,
        memory::Memory,
        name::NodeName,
        view::{FleetView, NodeView, Request},
    },
};

/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long a one-off waits for lists and credit before it believes a rail's refusal.
const READY_PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn simple(common: &Common, calming: Calming, wish: Wish) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let client = Client::connect(&config.control_socket).await?;
    if let Some(node) = &calming.node {
        return answered(ask(&client, node, wish).await?, calming.json);
    }
    of_all(&client, wish, calming.json).await
}

/// The same wish for every node: one that is refused, or cannot be asked, keeps nobody else from being asked.
async fn of_all(client: &Client, wish: Wish, as_json: bool) -> Result<u8, Failure> {
    let mut outcomes = Vec::new();
    for node in view(client).await?.nodes {
        let name = &node.node;
        // What waits for a person, or was emptied by one, is a matter of its own: `--all` ends pauses alone.
        let reply = if wish == Wish::Resume && node.paused_by.is_none() {
            Reply::NothingToDo(format!("`{name}` is not paused"))
        } else if wish == Wish::Resume
            && node.blocked.as_ref().is_some_and(|rail| rail.rail == Rail::Release.word())
        {
            Reply::Refused(format!(
                "`{name}` waits for a release as well: `vast-keeper resume {name}` has the condemned one tried again"
            ))
        } else if wish == Wish::Resume && node.held.is_some() {
            Reply::Refused(format!("`{name}` is held as well: `vast-keeper resume {name}` lets it go on"))
        } else {
            ask(client, name, wish).await.unwrap_or_else(|fault| Reply::Refused(fault.to_string()))
        };
        outcomes.push((reply, node.node));
    }
    // Refused anywhere is not done; done anywhere is more than nothing to do.
    let codes = outcomes.iter().map(|(reply, _)| described(reply).0);
    let code =
        codes.max_by_key(|code| (*code == exit::REFUSED, *code == exit::DONE)).unwrap_or(exit::NOTHING);
    if as_json {
        let all: Vec<_> = outcomes
            .iter()
            .map(|(reply, node)| {
                let (_, word, text) = described(reply);
                json!({ "node": node, "reply": word, "text": text })
            })
            .collect();
        print::json(&all)?;
        return Ok(code);
    }
    for (reply, _) in outcomes {
        answered(reply, false)?;
    }
    Ok(code)
}

pub(super) async fn destroy(common: &Common, options: Drastic) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let client = Client::connect(&config.control_socket).await?;
    let view = view(&client).await?;
    let node = known(&view, &options.node)?;
    agreed(&config, &options, &format!("destroy {}", what(node)))?;
    if options.dry_run {
        return Ok(exit::DONE);
    }
    answered(ask(&client, &options.node, Wish::Destroy).await?, options.json)
}

pub(super) async fn reprovision(common: &Common, options: Drastic) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    match Client::find(&config.control_socket).await? {
        Some(client) => {
            let view = view(&client).await?;
            let node = known(&view, &options.node)?;
            agreed(&config, &options, &format!("destroy {} and rent anew", what(node)))?;
            if options.dry_run {
                return Ok(exit::DONE);
            }
            answered(ask(&client, &options.node, Wish::Reprovision).await?, options.json)
        }
        None => by_ourselves(common, options).await,
    }
}

/// Without a daemon: the same engine, for this one node, until it serves or waits for a human.
async fn by_ourselves(common: &Common, options: Drastic) -> Result<u8, Failure> {
    let (mut config, _) = setup::load(common, Need::Run)?;
    let name = options.node.clone();
    if !config.policy.nodes.contains_key(&name) {
        return Err(Failure::new(exit::USAGE, format!("node `{name}` is not configured")));
    }
    config.policy.only = Some(name.clone());
    let clock = Clock::new();
    talk("no keeper runs: doing it here, alone on the state");
    // The journal's last word; the provider is only asked once the state is locked.
    let journaled =
        fleet::view::view(&known_fleet(&config).await?, &Memory::default(), &config.policy, clock.now());
    agreed(&config, &options, &format!("destroy {} and rent anew", what(known(&journaled, &name)?)))?;
    if options.dry_run {
        return Ok(exit::DONE);
    }
    let patience = patience(&config, &name);
    let start = Options { clock, seed: fastrand::u64(..), bare: true };
    let daemon = Daemon::start(&config, start).await.map_err(setup::start_failure)?;
    let result = tokio::select! {
        result = carry_out(&daemon.handle, &name, patience, config.policy.inventory.settle) => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(exit::UNKNOWN, format!("interrupted: `{name}` is half-way"))
            .hint("the journal has everything; `vast-keeper run` or the same command goes on")),
    };
    daemon.stop().await;
    let node = result?;
    if options.json {
        print::json(&node)?;
    } else {
        data(&format!("`{name}` is filled by {}", what(&node)))?;
    }
    Ok(exit::DONE)
}

fn patience(config: &Config, name: &NodeName) -> Duration {
    let attempts = config.policy.rails.attempts.max(1);
    config.policy.nodes.get(name).map_or(READY_PATIENCE, |spec| {
        let d = &spec.deadlines;
        (d.rent + d.boot + d.deploy + d.probation + config.policy.rails.backoff_max) * attempts
    })
}

/// Asks for the reprovisioning and follows it to its end. A journal that never rented waits for lists over `settle` first.
async fn carry_out(
    engine: &Handle,
    name: &NodeName,
    patience: Duration,
    settle: Duration,
) -> Result<NodeView, Failure> {
    let gone = |_| Failure::new(exit::BUG, "the engine ended");
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar.set_message("reading the provider's list");
    let ready = tokio::time::Instant::now() + READY_PATIENCE;
    let view = engine.view().await.map_err(gone)?;
    // Neither of these passes by waiting; lists and credit, which the other refusals are about, are still being read.
    let lasting = view.observe_only || known(&view, name)?.paused_by.is_some();
    loop {
        match engine.ask(name.clone(), Wish::Reprovision, person()).await.map_err(gone)? {
            Reply::Accepted(_) | Reply::NothingToDo(_) => break,
            Reply::Refused(why) => {
                let lists = why.starts_with(Rail::Inventory.word());
                let until = if lists { ready + settle } else { ready };
                if lasting || tokio::time::Instant::now() > until {
                    return Err(Failure::new(exit::REFUSED, why).hint("nothing was changed"));
                }
                bar.set_message(why);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
    let end = tokio::time::Instant::now() + patience;
    let mut told = String::new();
    loop {
        let view = engine.view().await.map_err(gone)?;
        let node = known(&view, name)?;
        let blocked = node.blocked.as_ref().map_or_else(String::new, |blocked| format!(" ({})", blocked.why));
        let stage = node.stage.as_ref().map_or_else(|| node.state.clone(), Clone::clone);
        let progress = format!("{stage}{blocked}");
        if progress != told {
            bar.set_message(progress.clone());
            if bar.is_hidden() {
                talk(&progress);
            }
            told = progress;
        }
        match node.state.as_str() {
            "serving" => {
                bar.finish_and_clear();
                return Ok(node.clone());
            }
            "held" => {
                let why = node.held.clone().unwrap_or_default();
                return Err(Failure::new(exit::REFUSED, format!("`{name}` waits for you: {why}")));
            }
            _ if tokio::time::Instant::now() > end => {
                return Err(Failure::new(exit::UNKNOWN, format!("`{name}` is still {stage}"))
                    .hint("the journal has everything; `vast-keeper run` goes on"));
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

async fn view(client: &Client) -> Result<FleetView, Failure> {
    let view = client.get("/api/v1/fleet").await?;
    view.ok_or_else(|| Failure::new(exit::UNREACHABLE, "the keeper shows no fleet"))
}

fn known<'a>(view: &'a FleetView, name: &NodeName) -> Result<&'a NodeView, Failure> {
    view.nodes.iter().find(|node| node.node == *name).ok_or_else(|| {
        let names: Vec<String> = view.nodes.iter().map(|node| node.node.to_string()).collect();
        Failure::new(exit::USAGE, format!("node `{name}` is not known"))
            .hint(format!("the nodes are {}", names.join(", ")))
    })
}

fn what(node: &NodeView) -> String {
    match (node.instance, &node.offer, node.dollars_per_hour) {
        (Some(id), Some(offer), Some(price)) => {
            format!(
                "instance {id} of `{}` ({offer}, {price}/h, {}, {})",
                node.node, node.state, node.health.verdict
            )
        }
        _ => format!("nothing (`{}` is {})", node.node, node.state),
    }
}

/// Asks, or with `--dry-run` only tells.
fn agreed(config: &Config, options: &Drastic, act: &str) -> Result<(), Failure> {
    if options.dry_run && options.json {
        return print::json(&json!({ "dry_run": true, "node": options.node, "would": act }));
    }
    if options.dry_run {
        talk(&format!("would {act}"));
        return Ok(());
    }
    consent::given(config, &options.consent, act)
}

/// Who gave the command, for those who read of it later.
pub(super) fn person() -> String {
    let said = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    said.filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
}

pub(super) async fn ask(client: &Client, node: &NodeName, wish: Wish) -> Result<Reply, Failure> {
    ask_as(client, node, wish, &person()).await
}

/// Asks in the name of one command.
pub(super) async fn ask_as(client: &Client, node: &NodeName, wish: Wish, by: &str) -> Result<Reply, Failure> {
    let request = Request { node: node.clone(), wish, by: by.to_owned() };
    let reply = client.post("/api/v1/control", &request).await?;
    reply.ok_or_else(|| Failure::new(exit::BUG, "the keeper does not know the request"))
}

/// Its exit code, its word, and what the keeper said.
fn described(reply: &Reply) -> (u8, &'static str, &str) {
    match reply {
        Reply::Accepted(text) => (exit::DONE, "accepted", text),
        Reply::NothingToDo(text) => (exit::NOTHING, "nothing-to-do", text),
        Reply::Refused(text) => (exit::REFUSED, "refused", text),
    }
}

pub(super) fn answered(reply: Reply, as_json: bool) -> Result<u8, Failure> {
    let (code, word, text) = described(&reply);
    if as_json {
        print::json(&json!({ "reply": word, "text": text }))?;
    } else if code == exit::DONE {
        data(text)?;
    } else {
        talk(text);
    }
    Ok(code)
}
