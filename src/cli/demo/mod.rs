//! `demo`: the real daemon over a simulated provider with real SSH boxes; something breaks, and it heals before your eyes.
//!
//! Nothing is faked on the keeper's side: the same engine, journal, probes, deploys and alerts as in earnest. Only the
//! provider is the simulator, and the verdict at the end is counted from the simulator's own record, not from the keeper's
//! view.

mod audit;
mod faults;
mod narrate;
mod receiver;
mod stage;

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use self::{audit::Audit, narrate::Narrator, stage::Stage};
use super::exit::{self, Failure};
use super::print::{self, talk};

/// How long the first filling of all nodes may take.
const FILL_PATIENCE: Duration = Duration::from_secs(180);
/// How long one healing may take; a box that gets stuck while loading costs a boot deadline and a second rental.
const HEAL_PATIENCE: Duration = Duration::from_secs(120);

/// What to show.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// End after the healing with a timeline, and clean everything up
    #[arg(long)]
    once: bool,
    /// Print one JSON object on stdout; needs --once
    #[arg(long, requires = "once")]
    json: bool,
    /// What breaks
    #[arg(long, value_enum, default_value_t = FaultChoice::KillServer)]
    fault: FaultChoice,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=20))]
    nodes: u32,
    /// Seeds the market and every choice
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// What can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultChoice {
    /// The server process and its supervisor die
    KillServer,
    /// Every process of the box stands still; connections hang
    Freeze,
    /// The container dies
    KillInstance,
    /// A server dies, and the replacement never finishes loading
    StuckLoading,
    /// A server dies, and the first offer is gone when it is rented
    OfferGone,
    /// A server dies, and the answer to the create is lost although it rented
    LostCreateReply,
    /// A server dies while the provider's API answers with errors
    ApiOutage,
    /// One after the other
    All,
}

impl FaultChoice {
    fn kinds(self) -> Vec<Self> {
        match self {
            Self::All => Self::value_variants().iter().copied().filter(|kind| *kind != Self::All).collect(),
            kind => vec![kind],
        }
    }

    fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What became of one fault.
#[derive(Debug, Clone, Serialize)]
pub struct Healed {
    kind: FaultChoice,
    node: String,
    incident: Option<u64>,
    /// From the fault to the incident, in milliseconds.
    detected_ms: Option<u64>,
    /// From the fault to healthy again, in milliseconds.
    healed_ms: Option<u64>,
}

/// The one object of `--json`.
#[derive(Debug, Serialize)]
struct Verdict {
    result: &'static str,
    nodes: u32,
    faults: Vec<Healed>,
    #[serde(flatten)]
    audit: Audit,
    alerts: receiver::Counts,
}

pub(super) async fn run(args: DemoArgs) -> Result<u8, Failure> {
    let mut narrator = Narrator::new(!args.json);
    // Dropped half-way, the stage takes everything with it that was set so far.
    let stage = tokio::select! {
        stage = Stage::set(&args, &mut narrator) => stage?,
        () = interrupted() => return Err(Failure::new(exit::UNKNOWN, "interrupted before the demo began")),
    };
    let ended = tokio::select! {
        ended = play(&args, &stage, &mut narrator) => ended,
        () = interrupted() => Ok(None),
    };
    let verdict = match &ended {
        Ok(Some(faults)) => Some(verdict(&args, &stage, faults.clone()).await),
        Ok(None) | Err(_) => None,
    };
    stage.strike().await;
    let healed = ended?;
    let Some(verdict) = verdict else {
        talk("the demo ended; everything it started is gone");
        return Ok(if healed.is_none() { exit::DONE } else { exit::BUG });
    };
    conclude(&args, &verdict)
}

/// Waits for Ctrl-C, or for whoever ends the demo in its place.
async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// Fills the fleet, breaks it, watches it heal. Without `--once` it goes on until it is interrupted.
async fn play(
    args: &DemoArgs,
    stage: &Stage,
    narrator: &mut Narrator,
) -> Result<Option<Vec<Healed>>, Failure> {
    narrator.say(&format!("renting {} boxes and deploying the bundled server to each over ssh", args.nodes));
    narrator.until_all_serve(stage, FILL_PATIENCE).await?;
    if let Some(page) = stage.page() {
        narrator.say(&format!("all nodes serve; the keeper's page is at http://{page}/"));
    }
    let mut healed = Vec::new();
    for (round, kind) in args.fault.kinds().into_iter().enumerate() {
        healed.push(faults::break_and_heal(kind, round, stage, narrator, HEAL_PATIENCE).await?);
    }
    if args.once {
        narrator.until_nothing_is_doomed(stage, HEAL_PATIENCE).await?;
        return Ok(Some(healed));
    }
    narrator.say("healed; the fleet runs on until ctrl-c");
    narrator.follow(stage).await?;
    Ok(Some(healed))
}

async fn verdict(args: &DemoArgs, stage: &Stage, faults: Vec<Healed>) -> Verdict {
    let audit = audit::audit(&stage.sim().ledger(), &stage.node_names());
    // The closing messages leave the outbox a moment after the journal has them.
    let alerts = stage.receiver().settle(faults.len() as u64).await;
    let all_healed = faults.iter().all(|fault| fault.healed_ms.is_some());
    let result = if all_healed && audit.is_clean() { "healed" } else { "failed" };
    Verdict { result, nodes: args.nodes, faults, audit, alerts }
}

fn conclude(args: &DemoArgs, verdict: &Verdict) -> Result<u8, Failure> {
    if args.json {
        print::json(verdict);
    } else {
        narrate::verdict(verdict.result, &verdict.audit, &verdict.alerts);
    }
    if verdict.result == "healed" {
        return Ok(exit::DONE);
    }
    Err(Failure::new(exit::BUG, "the demo did not heal cleanly")
        .hint("run it again with the same `--seed` and `RUST_LOG=debug`, and report the output"))
}
