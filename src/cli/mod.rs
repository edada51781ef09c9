//! The command line. The only room that prints: data to stdout, talk to stderr.

mod alone;
mod args;
mod boxes;
mod claim;
mod client;
mod consent;
#[cfg(feature = "demo")]
mod demo;
mod drill;
pub mod exit;
mod follow;
mod kept_away;
mod known;
mod ledger;
mod offers;
mod print;
mod promote;
mod read;
mod release;
mod restore;
mod rollout;
mod setup;
mod show;
mod simulate;
mod since;
mod spec;
mod stop;
mod switch;
mod upkeep;
mod verbs;
mod wanted;
mod why;
mod work;

use clap::Parser;

use self::{
    args::{Args, Verb},
    exit::Failure,
};
use crate::fleet::event::Wish;

/// Runs the command line of this process and returns its exit code.
pub async fn run() -> u8 {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(fault) => {
            // Help and version are answers, not errors; clap knows which stream each belongs to.
            let _ = fault.print();
            return if fault.use_stderr() { exit::USAGE } else { exit::DONE };
        }
    };
    match dispatch(args).await {
        Ok(code) => code,
        Err(failure) => {
            if !failure.message().is_empty() {
                print::talk(&failure.to_string());
            }
            failure.code()
        }
    }
}

async fn dispatch(args: Args) -> Result<u8, Failure> {
    let Args { verb, common } = args;
    match verb {
        Verb::Run { observe_only, import } => setup::daemon(&common, observe_only, import).await,
        #[cfg(feature = "demo")]
        Verb::Demo(options) => demo::run(options).await,
        Verb::Check { json } => setup::check(&common, json),
        Verb::Config { action: args::ConfigAction::Show { json } } => setup::show_config(&common, json),
        Verb::Status { json } => read::status(&common, json).await,
        Verb::Why(calm) => why::why(&common, calm).await,
        Verb::Offers { node, json } => offers::offers(&common, node, json).await,
        Verb::Simulate(options) => simulate::simulate(&common, options).await,
        Verb::Reprovision(options) => verbs::reprovision(&common, options).await,
        Verb::Destroy(options) => verbs::destroy(&common, options).await,
        Verb::Pause(calm) => verbs::simple(&common, calm, Wish::Pause).await,
        Verb::Resume(calm) => verbs::simple(&common, calm, Wish::Resume).await,
        Verb::Deploy(options) => release::deploy(&common, options).await,
        Verb::Rollout { action } => rollout::rollout(&common, action).await,
        Verb::Rollback(options) => release::rollback(&common, options).await,
        Verb::Promote(options) => promote::promote(&common, options).await,
        Verb::Follow { once, now, i_mean } => {
            follow::follow(&common, follow::Asked { once, now, i_mean }).await
        }
        Verb::Spec { node, json } => spec::spec(&common, &node, json).await,
        Verb::Drill { action } => drill::drill(&common, action).await,
        Verb::Deploys { node, limit, json } => read::deploys(&common, node, limit, json).await,
        Verb::Releases { nodes, json } => release::releases(&common, &nodes, json).await,
        Verb::Backups { node, json } => restore::backups(&common, &node, json).await,
        Verb::Restore(options) => restore::restore(&common, options).await,
        Verb::Maintenance { action } => upkeep::maintenance(&common, action).await,
        Verb::Lock { action } => upkeep::lock(&common, action).await,
        Verb::Logs(options) => upkeep::logs(&common, options).await,
        Verb::Ssh { node, command } => upkeep::ssh(&common, &node, &command).await,
        Verb::Diagnose { node, json } => upkeep::diagnose(&common, &node, json).await,
        Verb::Ledger { json, action } => ledger::ledger(&common, json, action).await,
        Verb::Incidents { id, limit, node, evidence, json } => {
            let wanted = read::Wanted { id, limit, node, evidence };
            read::incidents(&common, wanted, json).await
        }
        Verb::Events { follow, after, node, json } => read::events(&common, follow, after, node, json).await,
    }
}
