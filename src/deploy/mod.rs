//! Putting a release on a box: build, upload, verify, seal, configure, switch, start, prove, confirm; and going back.
//!
//! ```text
//! ~/keeper/releases/<program12>-<settings12>/{server,server.env,.complete,.verified}   a release appears whole, by one rename
//!          current -> releases/…   previous -> releases/…     switched by one rename
//!          backups/<time>-<release>/{about,server.env,dump,sums}   what was before a deploy changed anything
//!          env/identity.env (0600)  data/ (the server's working directory)  log/  run/  incoming/  bad/
//!          supervise               keeps the server running after we are gone, and ends trials that nobody confirms
//! ```
//!
//! A release is a program and its settings, so that going back restores both. A deploy is a list of [`Step`]s, decided by
//! the pure [`plan()`] from what was found on the box. Each step is idempotent and re-checks its own ground, so a deploy
//! killed anywhere and run again converges; a connection lost in the middle of a step is answered by connecting again and
//! repeating the step.
//!
//! *Done* is proven from outside: `/health` at the published address names this box, this commit and a start after the
//! restart, several times in a row. A 200 alone may come from the old process or from another box.
//!
//! *Confirm or revert* is decided on the box: the switch notes a trial, and unless a new connection confirms it in time the
//! box itself goes back to the last verified release. A keeper that dies, or a release that cuts the network, leaves a
//! working server. What was gone back from is marked, and not deployed there again without `force`.
//!
//! Deliberately absent: rollouts over several boxes; they are a loop of whoever calls.

mod artifact;
mod assessment;
mod back;
mod backup;
mod build;
mod carry;
mod control;
mod dead_man;
mod drift;
mod env_file;
mod facts;
mod fault;
mod fetch;
mod forward;
mod gate;
mod half_way;
mod job;
mod lease;
mod look;
mod manager;
mod method;
mod migrate;
mod pending;
mod plan;
mod recipe;
mod request;
mod required;
mod rest;
mod restore;
mod risky;
mod run;
mod smoke;
mod step;
mod stock;
#[cfg(test)]
mod tests;

pub use artifact::{Artifact, ArtifactSource};
pub use assessment::{Assessment, Bad};
pub use back::{rollback, stock};
pub use backup::{Backup, Kept, backups};
pub use build::{ImagePull, TreeBuild};
pub use control::{ONSTART, restart_server, start_server, stop_server};
pub use dead_man::dead_mans_switch;
pub use fault::DeployFault;
pub use fetch::Download;
pub use forward::{bring, deploy, dry_run, release_name};
pub use half_way::{end_forgotten, settle_half_way};
pub use lease::{Holder, lock_break, lock_show};
pub use look::{Log, diagnose, logs};
pub use manager::Manager;
pub use method::{Method, Schema};
pub use migrate::Migrate;
pub use plan::{Plan, Wanted, plan};
pub use recipe::{Recipe, Source, is_full_hash};
pub use request::{
    DeployRequest, Deployed, Gate, Maintenance, OnTimeout, Restart, RollbackRequest, Site, StepPhase,
    StepReport, StepTime, Strategy,
};
pub use required::Required;
pub use rest::forget_maintenance;
pub use restore::{RestoreRequest, restore};
pub use risky::{Risk, risky_statements};
pub use smoke::{Check, Smoke};
pub use step::{Part, Step};
pub use stock::{Role, Standing, Stock};
