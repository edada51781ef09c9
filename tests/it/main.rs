//! Stories over the whole program and checks over its sources.

mod bad_days;
mod boxes;
mod cli;
mod config;
mod crashes;
mod demo;
mod harness;
mod healing;
mod layers;
mod secrets;
mod systemd;
