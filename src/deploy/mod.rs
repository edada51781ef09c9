//! Putting a release on a box: build, upload, verify, seal, configure, switch, start, prove.
//!
//! ```text
//! ~/keeper/releases/<digest12>/{server,.complete,.verified}   a release appears whole, by one rename
//!          current -> releases/…   previous -> releases/…     switched by one rename
//!          env/server.env (0600)   data/ (the server's working directory)   log/   run/   incoming/
//!          supervise               keeps the server running after we are gone
//! ```
//!
//! A deploy is a list of [`Step`]s, decided by the pure [`plan()`] from what was found on the box. Each step is idempotent
//! and re-checks its own ground, so a deploy killed anywhere and run again converges; a connection lost in the middle of
//! a step is answered by connecting again and repeating the step.
//!
//! *Done* is proven from outside: `/health` at the published address names this box, this commit and a start after the
//! restart, several times in a row. A 200 alone may come from the old process or from another box.
//!
//! Deliberately absent: strategies other than [`Strategy::Artifact`], rollback, rollouts over several boxes, maintenance.
//! `previous` and the `.verified` marks are what a rollback will need.

mod artifact;
mod control;
mod env_file;
mod fault;
mod gate;
mod plan;
mod request;
mod run;
#[cfg(test)]
mod sim_tests;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod tests;

pub use artifact::{Artifact, ArtifactSource};
pub use control::{ONSTART, restart_server, start_server, stop_server};
pub use fault::DeployFault;
pub use plan::{Assessment, Step, plan};
pub use request::{DeployRequest, Gate, StepPhase, StepReport, Strategy};
pub use run::deploy;
