//! The server as a process: started, asked, killed, and audited.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and measures real time against real processes"
)]

mod abuse;
mod alerts;
mod durability;
mod harness;
mod lifecycle;
mod live;
mod maintenance;
mod page;
mod postgres;
mod streaming;
