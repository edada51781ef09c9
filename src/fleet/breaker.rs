//! The mass-failure breaker. It has three positions because one that can only freeze deadlocks on a real mass failure.
//!
//! Kubernetes slows evictions down when a large share of a zone is not ready and stops them when all of it is; the same
//! reading here: many suspects at once are more likely one common cause (our network, a bad release, the provider) than
//! many dead boxes, and a fleet without a single healthy node is most likely our own blindness.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    beside::Beside,
    memory::Memory,
    planted::{Bug, planted},
    policy::Rails,
    state::{Fleet, NodeState},
    units::Timestamp,
};

/// Where the breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// Healing at the normal pace.
    #[default]
    Normal,
    /// One recovery per spacing.
    Slow,
    /// No recovery starts: everything is down, so the fault may be ours.
    Hold,
}

impl Position {
    /// The word shown to people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Slow => "slow",
            Self::Hold => "hold",
        }
    }
}

/// What the breaker is set by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Nodes with a tenant that was probed since the keeper's start or its last stall.
    pub filled: u32,
    /// Tenants whose last probe was healthy or in maintenance.
    pub healthy: u32,
    /// Tenants failing at half the threshold or more whose end no independent witness has confirmed.
    pub unconfirmed: u32,
    /// Tenants whose end a witness has confirmed.
    pub confirmed: u32,
}

/// Fleets up to this size are counted anew for each decision; larger ones once a second, so that a list or a mass failure
/// does not cost the square of the fleet's size.
const CENSUS_ALWAYS: usize = 100;
/// How long a count of a larger fleet is good for.
const CENSUS_FRESH: Duration = Duration::from_secs(1);

/// The last count, where it still stands.
#[must_use]
pub fn recent(fleet: &Fleet, memory: &Memory, now: Timestamp) -> Option<Census> {
    let large = fleet.nodes.len() > CENSUS_ALWAYS;
    memory.census.filter(|(at, _)| large && now.since(*at) < CENSUS_FRESH).map(|(_, census)| census)
}

/// Counts the fleet.
#[must_use]
pub fn census(fleet: &Fleet, memory: &Memory, policy: &super::policy::Policy, now: Timestamp) -> Census {
    let mut census = Census::default();
    let (mut specs, mut watches) = (Beside::new(&policy.nodes), Beside::new(&memory.watches));
    for (name, node) in &fleet.nodes {
        let (Some(_), Some(spec)) = (tenant_in_play(&node.state), specs.get(name)) else { continue };
        // A tenant not probed since the keeper's start or a stall says nothing either way, and one that was healthy too long
        // ago is no proof of anything now. One that failed then still counts: doubt slows down, it never speeds up.
        let Some(watch) = watches.get(name).filter(|watch| watch.last.is_some()) else { continue };
        if watch.failures == 0 && watch.current(&spec.health, now).is_none() {
            continue;
        }
        census.filled += 1;
        if watch.failures == 0 {
            census.healthy += 1;
            continue;
        }
        if watch.is_confirmed(now, policy.rails.witness_fresh) {
            census.confirmed += 1;
        } else if watch.failures * 2 >= spec.health.failure_threshold {
            census.unconfirmed += 1;
        }
    }
    census
}

fn tenant_in_play(state: &NodeState) -> Option<&super::state::Tenant> {
    match state {
        NodeState::Held { .. } => None,
        _ => state.tenant(),
    }
}

/// Where the breaker should stand.
#[must_use]
pub fn position(census: Census, rails: &Rails) -> Position {
    let suspects = census.unconfirmed;
    if census.filled >= 2 && census.healthy == 0 && suspects > 0 && !planted(Bug::NeverHold) {
        return Position::Hold;
    }
    let share = u64::from(suspects) * 100 >= u64::from(rails.breaker_percent) * u64::from(census.filled);
    if suspects >= rails.breaker_count && share && !planted(Bug::NeverSlow) {
        Position::Slow
    } else {
        Position::Normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_slows_on_many_and_holds_on_all_but_not_on_confirmed_deaths() {
        let rails = Rails::default();
        let at = |filled, healthy, unconfirmed, confirmed| {
            position(Census { filled, healthy, unconfirmed, confirmed }, &rails)
        };
        assert_eq!(at(10, 9, 1, 0), Position::Normal);
        assert_eq!(at(10, 7, 3, 0), Position::Slow);
        assert_eq!(at(20, 17, 3, 0), Position::Normal, "three of twenty are no mass failure");
        assert_eq!(at(3, 0, 3, 0), Position::Hold);
        assert_eq!(at(3, 0, 0, 3), Position::Normal, "all confirmed dead: heal, or nothing ever comes back");
        assert_eq!(
            at(1, 0, 1, 0),
            Position::Normal,
            "a fleet of one cannot be told from a dead box by its peers"
        );
    }
}
