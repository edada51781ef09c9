//! Deploys of a real server to real boxes: Debian's OpenSSH server, our supervisor, a home of its own.

use super::*;

mod adoption;
mod artifacts;
mod backups;
mod bad_days;
mod cut_off;
mod killed;
mod managers;
mod order;
mod podman;
mod resting;
mod scene;
mod simulated;
pub(super) mod stage;
mod stand_ins;
mod strategies;
mod trials;
mod way;
