//! A simulator of the Vast.ai provider for tests and demonstrations.
//!
//! It answers the Vast.ai REST API over plain HTTP closely enough for the official `vastai` command line (1.9.1) to
//! work against it, and turns every instance that reaches `running` into a real box: a loopback address of its own,
//! an SSH server with its own host key, a home folder, processes. A control panel under `/panel/` shows the truth
//! and injects faults; [`Sim`] offers the same in process.
//!
//! ```text
//! api ─┐                     ┌─ market, query     (what can be rented)
//! panel ┼─► engine::Shared ─► world ─ lifecycle, billing, chaos
//! lib ─┘        │            └─ faults, record    (what goes wrong, what truly happened)
//!               └─► boxes: one actor per box ─ gates, SSH server, processes
//! ```
//!
//! Deliberate differences to the live service, all for want of root: programs of a box must bind the address in
//! `HOST` instead of `0.0.0.0`; SSH listens on a high port; `ssh_host` is a loopback address instead of
//! `sshN.vast.ai`; `onstart` sees a private file in place of `/etc/environment`; images are names only, boxes run
//! what the machine has. State lives in memory: a restarted simulator starts with an empty account.
//!
//! The crate knows nothing of any client; its wire types are its own.

mod api;
mod boxes;
mod clock;
mod config;
mod engine;
mod error;
mod faults;
mod info;
mod market;
mod panel;
mod query;
mod record;
mod sim;
mod state_folder;
mod world;

pub use config::{LifecycleConfig, MarketConfig, SimConfig};
pub use error::SimError;
pub use faults::{
    ActiveFault, ApiBreak, Fault, FaultError, FaultId, FaultKind, GoneStatus, KindDoc, RateLimitBody,
    TrafficBreak, catalogue,
};
pub use info::BoxInfo;
pub use record::{CallRecord, Ledger, Rental, RentalEnd, Truth, TruthEvent};
pub use sim::{Action, ActionError, Sim};
