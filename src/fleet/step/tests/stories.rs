//! The stories, by chapter. Each snapshot was read line by line: it is the requirement, not a recording.

mod ahead;
mod bids;
mod billing;
mod blame;
mod caps;
mod crashes;
mod deployed;
mod evidence;
mod gallery;
mod import;
mod keeper;
mod last_words;
mod newcomers;
mod old_copies;
mod old_spares;
mod provider;
mod publish;
mod renting;
mod replacing;
mod spares;
mod switch;
mod why;
mod wishes;

use super::{node, policy, story::Story, with_spec};
