//! The stories, by chapter. Each snapshot was read line by line: it is the requirement, not a recording.

mod ahead;
mod caps;
mod crashes;
mod evidence;
mod gallery;
mod keeper;
mod newcomers;
mod provider;
mod renting;
mod replacing;
mod spares;
mod wishes;

use super::{node, policy, story::Story, with_spec};
