//! The simulator from outside: its API over HTTP, its boxes over the system's `ssh`, its faults.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking")]

mod api;
mod api_faults;
mod bench;
mod binary;
mod box_faults;
mod lives;
mod openssh_crate;
mod panel;
mod real_cli;
mod ssh;
