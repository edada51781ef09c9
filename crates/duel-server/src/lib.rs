//! A streaming duel server, small but whole: duels between agents, betting markets with play money, live state over
//! WebSockets, and the maintenance API that deploys it without harm.
//!
//! ```text
//! cli ─► server ─┬► listener ─► http ──► director ──► store (SQLite, PostgreSQL)
//!                ├► live, stream ◄── view ◄┤
//!                └► watch, alerts          └► arena (pure: decide → records → apply)
//! settings, tokens, metrics, vitals, telemetry, clock: leaves
//! ```
//!
//! It knows nothing of whoever deploys it; everything a deployer needs is in `/health`, `/ready`, the maintenance API
//! and the exit code.

pub mod alerts;
pub mod arena;
pub mod build_info;
pub mod cli;
pub mod clock;
pub mod director;
pub mod http;
pub mod listener;
pub mod live;
pub mod metrics;
pub mod randomness;
pub mod sentinel;
pub mod server;
pub mod settings;
pub mod store;
pub mod stream;
pub mod telemetry;
pub mod tokens;
pub mod view;
pub mod vitals;
pub mod watch;

/// An error with all its causes, in one line: for logs, where it is handled.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
