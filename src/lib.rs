//! The keeper as a library; `main.rs` is the binary.
//!
//! ```text
//! main → cli → daemon → engine ─┬→ store, vast, remote, probe, deploy (→ remote), alerts ─→ fleet
//!                               ├→ http, metrics → fleet::view
//!                               └→ config → fleet          clock, file_lock, telemetry, systemd: leaves
//!        cli → world → fleet
//! ```
//!
//! `fleet` is the pure core and knows nobody; an edge knows `fleet` and third parties only; `engine` alone owns mutable
//! fleet state and awaits effects; `clock` alone reads time; `cli` alone prints; `main` alone exits.

pub mod alerts;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crash;
pub mod daemon;
pub mod deploy;
pub mod engine;
pub mod file_lock;
pub mod fleet;
#[cfg(test)]
mod fuzz_tests;
pub mod http;
pub mod maintenance;
pub mod metrics;
pub mod probe;
pub mod remote;
pub mod retry;
pub mod store;
pub mod systemd;
pub mod telemetry;
pub mod vast;
pub mod world;
