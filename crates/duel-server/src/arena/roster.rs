//! The agents that fight. A fixed cast: who they are never changes, only their scores do.

use serde::Serialize;

/// A fighter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// Stable id, used in the store and on the wire.
    pub id: &'static str,
    /// What viewers see.
    pub name: &'static str,
    /// Largest damage of one hit, in hit points.
    pub strength: u32,
    /// Chance of avoiding a hit, in percent.
    pub agility: u32,
}

/// The cast. Strength and agility trade off, so that no agent dominates and odds stay interesting.
pub const AGENTS: [Agent; 8] = [
    Agent { id: "aurora", name: "Aurora", strength: 14, agility: 22 },
    Agent { id: "basalt", name: "Basalt", strength: 20, agility: 6 },
    Agent { id: "cinder", name: "Cinder", strength: 17, agility: 14 },
    Agent { id: "drift", name: "Drift", strength: 13, agility: 26 },
    Agent { id: "ember", name: "Ember", strength: 16, agility: 17 },
    Agent { id: "flint", name: "Flint", strength: 18, agility: 11 },
    Agent { id: "gale", name: "Gale", strength: 15, agility: 20 },
    Agent { id: "hollow", name: "Hollow", strength: 19, agility: 9 },
];

impl Agent {
    /// Finds an agent by its id.
    pub fn by_id(id: &str) -> Option<&'static Self> {
        AGENTS.iter().find(|agent| agent.id == id)
    }
}
