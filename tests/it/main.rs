//! Stories over the whole program and checks over its sources.

mod bad_days;
mod config;
mod harness;
mod healing;
mod layers;
mod systemd;
