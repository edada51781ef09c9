//! `demo`: the real daemon over a simulated provider with real SSH boxes; something breaks, and it heals before your eyes.
//!
//! Nothing is faked on the keeper's side: the same engine, journal, probes, deploys and alerts as in earnest. Only the
//! provider is the simulator, and the verdict at the end is counted from the simulator's own record, not from the keeper's
//! view.

mod audit;
mod build;
mod faults;
mod interrupts;
mod narrate;
mod receiver;
mod stage;

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::{
    audit::Audit,
    interrupts::{Interrupts, interrupted},
    narrate::Narrator,
    stage::Stage,
};
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
    /// `null` in each of these: it did not come so far.
    node: Option<String>,
    incident: Option<u64>,
    /// From the fault to the incident, in milliseconds.
    detected_ms: Option<u64>,
    /// From the fault to healthy again, in milliseconds.
    healed_ms: Option<u64>,
}

impl Healed {
    fn not_yet(kind: FaultChoice) -> Self {
        Self { kind, node: None, incident: None, detected_ms: None, healed_ms: None }
    }
}

/// The one object of `--json`.
#[derive(Debug, Serialize)]
struct Verdict {
    result: &'static str,
    /// Why it failed, where something else than the audit says so.
    why: Option<String>,
    nodes: u32,
    faults: Vec<Healed>,
    #[serde(flatten)]
    audit: Audit,
    alerts: receiver::Counts,
}

impl Verdict {
    /// Before anything has happened.
    fn open(args: &DemoArgs) -> Self {
        Self {
            result: "failed",
            why: None,
            nodes: args.nodes,
            faults: args.fault.kinds().into_iter().map(Healed::not_yet).collect(),
            audit: Audit::default(),
            alerts: receiver::Counts::default(),
        }
    }
}

pub(super) async fn run(args: DemoArgs) -> Result<u8, Failure> {
    let mut verdict = Verdict::open(&args);
    let ended = perform(&args, &mut verdict).await;
    conclude(&args, verdict, ended)
}

/// Everything from the first to the last process; the verdict holds what is known of it, however it ends.
async fn perform(args: &DemoArgs, verdict: &mut Verdict) -> Result<(), Failure> {
    let mut interrupts = Interrupts::take()?;
    let mut narrator = Narrator::new(!args.json);
    let stage = Stage::set(args, &mut narrator, &mut interrupts).await?;
    let ended = tokio::select! {
        ended = play(args, &stage, &mut narrator, &mut verdict.faults) => ended,
        () = interrupts.next() => Err(interrupted()),
    };
    // The closing messages leave the outbox a moment after the journal has them.
    let expected = if ended.is_ok() { verdict.faults.len() as u64 } else { 0 };
    verdict.alerts = stage.receiver().settle(expected).await;
    verdict.audit = audit::audit(&stage.sim().ledger(), &stage.node_names());
    stage.strike().await;
    ended
}

/// Fills the fleet, breaks it, watches it heal. Without `--once` it goes on until it is interrupted.
async fn play(
    args: &DemoArgs,
    stage: &Stage,
    narrator: &mut Narrator,
    faults: &mut [Healed],
) -> Result<(), Failure> {
    narrator.say(&format!("renting {} boxes and deploying the bundled server to each over ssh", args.nodes));
    narrator.until_all_serve(stage, FILL_PATIENCE).await?;
    if let Some(page) = stage.page() {
        narrator.say(&format!("all nodes serve; the keeper's page is at http://{page}/"));
    }
    for (round, fault) in faults.iter_mut().enumerate() {
        *fault = faults::break_and_heal(fault.kind, round, stage, narrator, HEAL_PATIENCE).await?;
    }
    if args.once {
        return narrator.until_nothing_is_doomed(stage, HEAL_PATIENCE).await;
    }
    narrator.say("healed; the fleet runs on until ctrl-c");
    narrator.follow(stage).await
}

/// Tells the verdict. A demo without `--once` has none: to be interrupted is its only good end.
fn conclude(args: &DemoArgs, mut verdict: Verdict, ended: Result<(), Failure>) -> Result<u8, Failure> {
    if !args.once {
        return match ended {
            Err(failure) if failure.code() != exit::UNKNOWN => Err(failure),
            Ok(()) | Err(_) => {
                talk("the demo ended; everything it started is gone");
                Ok(exit::DONE)
            }
        };
    }
    let all_healed = verdict.faults.iter().all(|fault| fault.healed_ms.is_some());
    let clean = ended.is_ok() && all_healed && verdict.audit.is_clean();
    verdict.result = if clean { "healed" } else { "failed" };
    verdict.why = ended.as_ref().err().map(|failure| failure.message().to_owned());
    let told = match &ended {
        _ if args.json => print::json(&verdict),
        Ok(()) => narrate::verdict(verdict.result, &verdict.audit, &verdict.alerts),
        Err(_) => Ok(()),
    };
    ended?;
    if !clean {
        return Err(Failure::new(exit::BUG, "the demo did not heal cleanly")
            .hint("run it again with the same `--seed` and `RUST_LOG=debug`, and report the output"));
    }
    told.map(|()| exit::DONE)
}
