//! Stories over the whole program and checks over its sources.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[cfg(debug_assertions)]
mod ambiguous;
mod bad_days;
mod boxes;
mod cli;
mod config;
#[cfg(debug_assertions)]
mod crash_points;
mod crashes;
mod demo;
mod deploying;
mod environments;
mod examples;
mod gallery;
mod harness;
mod healing;
mod install;
mod layers;
mod licences;
mod market;
#[cfg(debug_assertions)]
mod pauses;
mod protected;
mod publishing;
mod replacing;
#[cfg(debug_assertions)]
mod rollout_deaths;
mod rollouts;
mod secrets;
#[cfg(debug_assertions)]
mod store_disasters;
mod systemd;
mod truth;
