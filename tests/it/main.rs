//! The one integration test binary.

mod config;
mod layers;
mod systemd;
