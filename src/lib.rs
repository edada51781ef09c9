//! The keeper as a library; `main.rs` is the binary.
//!
//! ```text
//! main → cli → daemon → engine ─┬→ store, vast, remote, probe, deploy (→ remote), alerts ─→ fleet
//!                               ├→ http, metrics → fleet::view
//!                               └→ config → fleet          clock, telemetry, systemd: leaves
//! ```
//!
//! `fleet` is the pure core and knows nobody; an edge knows `fleet` and third parties only; `engine` alone owns mutable
//! fleet state and awaits effects; `clock` alone reads time; `cli` alone prints; `main` alone exits.

pub mod clock;
pub mod fleet;
pub mod vast;
