//! `simulate`: the keeper's own decisions, over weeks of a world in which everything fails, in seconds.
//!
//! With a configuration it tells what to expect of it, and which of two serves better. With `--gate` it proves the
//! promises of the README again, over settings drawn anew for each run. A run that breaks a promise is written down as a
//! file, and `--replay` tells the same story again.

mod bounds;
mod campaign;
mod failure;
mod menu;
mod report;

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use self::{
    campaign::{Campaign, Enough},
    failure::Failed,
};
use super::{
    args::Common,
    exit::{self, Failure},
    print::talk,
    setup,
};
use crate::{
    config::Need,
    fleet::policy::Policy,
    world::{Menu, Setting, gate},
};

/// Runs of the gate without a number of recoveries: with their weeks they come to well over 100,000 recoveries.
const GATE_RUNS: u64 = 200;

/// The longest run.
const MOST_DAYS: u64 = 3650;

/// What `simulate` takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct SimulateArgs {
    /// Simulated days of each run
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=MOST_DAYS))]
    days: u64,
    /// Runs; each is another month of luck
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// The seed of the first run; the next ones follow it
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// What goes wrong: `calm`, `typical`, `storm`, or a TOML file with rates of your own
    #[arg(long, default_value = "typical", value_name = "MENU|FILE")]
    faults: String,
    /// Another configuration file to compare with
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Prove the keeper's promises: settings drawn anew for each run, every fault there is
    #[arg(long, conflicts_with_all = ["policy", "faults", "days", "runs", "replay"])]
    gate: bool,
    /// Like `--gate`, until so many recoveries have been simulated
    #[arg(long, value_name = "RECOVERIES", conflicts_with_all = ["policy", "faults", "days", "runs", "replay"])]
    campaign: Option<u64>,
    /// Tell the story of a failure file again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "faults", "days", "runs", "seed"])]
    replay: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn simulate(common: &Common, args: SimulateArgs) -> Result<u8, Failure> {
    if let Some(file) = &args.replay {
        return replay(common, file, args.json).await;
    }
    if args.gate || args.campaign.is_some() {
        return prove(&args).await;
    }
    let menu = menu::named(&args.faults)?;
    let policy = policy(common)?;
    let other = match &args.policy {
        Some(file) => Some(self::policy(&Common { config: Some(file.clone()), ..common.clone() })?),
        None => None,
    };
    let first = expect(&args, policy, &menu, common.config.clone()).await?;
    let second = match other {
        Some(other) => Some(expect(&args, other, &menu, args.policy.clone()).await?),
        None => None,
    };
    report::expectations(&args, &first, second.as_ref())?;
    let broken = first.violations().chain(second.iter().flat_map(Campaign::violations)).count();
    Ok(if broken == 0 { exit::DONE } else { exit::BUG })
}

/// What a configuration comes to under a menu.
async fn expect(
    args: &SimulateArgs,
    policy: Policy,
    menu: &Menu,
    config: Option<PathBuf>,
) -> Result<Campaign, Failure> {
    let (menu, hours) = (menu.clone(), args.days * 24);
    let fingerprint = failure::fingerprint(&policy);
    let kept = menu.clone();
    let setting =
        move |seed| Ok::<_, String>(Setting { policy: policy.clone(), menu: menu.clone(), seed, hours });
    let campaign = campaign::run(args.seed, Enough::Runs(args.runs), setting).await?;
    for (seed, violation) in campaign.violations() {
        let config = config.clone();
        let failed = Failed::configured(seed, hours, kept.clone(), config, fingerprint.clone(), violation);
        failed.write()?;
    }
    Ok(campaign)
}

/// The gate, or a longer campaign of the same kind.
async fn prove(args: &SimulateArgs) -> Result<u8, Failure> {
    let enough = args.campaign.map_or(Enough::Runs(GATE_RUNS), Enough::Recoveries);
    let campaign = campaign::run(args.seed, enough, |seed| {
        gate::setting(seed, gate::HOURS).map_err(|fault| fault.to_string())
    })
    .await?;
    for (seed, violation) in campaign.violations() {
        Failed::of_gate(seed, gate::HOURS, violation).write()?;
    }
    let passed = report::proof(args, &campaign)?;
    Ok(if passed { exit::DONE } else { exit::BUG })
}

async fn replay(common: &Common, file: &Path, json: bool) -> Result<u8, Failure> {
    let failed = Failed::read(file)?;
    let setting = match &failed.menu {
        None => gate::setting(failed.seed, failed.hours)
            .map_err(|fault| Failure::new(exit::BUG, fault.to_string()))?,
        Some(menu) => {
            let config = common.config.clone().or_else(|| failed.config.clone());
            let policy = policy(&Common { config, ..common.clone() })?;
            if Some(failure::fingerprint(&policy)) != failed.policy {
                return Err(Failure::new(exit::USAGE, "the configuration is not the one that failed")
                    .hint("name it with `--config`, with the same profile and settings"));
            }
            Setting { policy, menu: menu.clone(), seed: failed.seed, hours: failed.hours }
        }
    };
    let campaign =
        campaign::run(failed.seed, Enough::Runs(1), move |_| Ok::<_, String>(setting.clone())).await?;
    for words in campaign.outcomes.values().flat_map(|outcome| &outcome.last_words) {
        talk(words);
    }
    report::replayed(&failed, &campaign, json)?;
    Ok(if campaign.violations().count() == 0 { exit::DONE } else { exit::BUG })
}

/// The rules of a configuration.
fn policy(common: &Common) -> Result<Policy, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let mut policy = config.policy;
    if policy.nodes.is_empty() {
        return Err(Failure::new(exit::USAGE, "no node is configured"));
    }
    if policy.observe_only {
        talk("warning: `fleet.observe_only` is left aside: a keeper that only observes heals nothing");
        policy.observe_only = false;
    }
    Ok(policy)
}
