//! The people around a keeper: wishes out of the blue, and somebody who answers its pages.

use super::{Invariant, MINUTE, World, boxes::Fate, keeper::Due};
use crate::fleet::{
    event::{Event, Wish},
    guard::Rail,
    name::{InstanceId, NodeName},
    state::NodeState,
};

/// How long boxes are given to prove themselves before a person destroys them.
const PROVING: u64 = 30 * MINUTE;

impl World {
    /// Somebody looks at the keeper's pages now and then.
    pub(super) fn schedule_wakes(&mut self) {
        let wait = self.rng.u64(20 * MINUTE..90 * MINUTE);
        self.queue.push(self.now + wait, Due::Person);
    }

    pub(super) fn person(&mut self) {
        self.schedule_wakes();
        if self.rng.bool() {
            self.answer_pages();
        }
    }

    /// Who was told of boxes that the journal does not know has them taken over, and destroys by hand what proves to be nothing.
    fn answer_for_the_unknown(&mut self) {
        if !self.keeper.up || self.now < self.keeper.frozen_until {
            return;
        }
        let unknown: Vec<InstanceId> =
            self.unclaimed().into_iter().filter(|id| self.boxes.get(id).is_some_and(|b| b.orphan)).collect();
        match self.importing_since {
            None if self.is_told_of(&unknown) => {
                (self.policy.import, self.importing_since) = (true, Some(self.now));
                self.restart();
            }
            Some(since) if unknown.is_empty() && self.now >= since + PROVING => {
                (self.policy.import, self.importing_since) = (false, None);
                self.restart();
            }
            Some(since) if self.now >= since + PROVING => {
                for id in unknown {
                    self.tally.add("box that nobody knew destroyed by a person");
                    self.end_box(id);
                }
            }
            _ => {}
        }
    }

    /// Whether a box was told, or bears a label no more and can be known to nobody but whoever looks.
    fn is_told_of(&self, unknown: &[InstanceId]) -> bool {
        let told = &self.keeper.memory.strays_told;
        let silent = |id: &InstanceId| self.boxes.get(id).is_some_and(|rented| rented.label.is_none());
        !unknown.is_empty() && unknown.iter().all(|id| told.contains(id) || silent(id))
    }

    /// A person lets go on what waits for one.
    pub(super) fn answer_pages(&mut self) {
        self.answer_for_the_unknown();
        let waits = |node: &crate::fleet::state::Node| {
            matches!(node.state, NodeState::Held { .. }) || node.paused.is_some()
        };
        let barred = |name: &NodeName| {
            let desk = self.keeper.memory.desks.get(name);
            desk.and_then(|desk| desk.blocked.as_ref()).is_some_and(|blocked| blocked.rail == Rail::Release)
        };
        let waiting: Vec<NodeName> = self
            .keeper
            .fleet
            .nodes
            .iter()
            .filter(|(name, node)| waits(node) || barred(name))
            .map(|(name, _)| name.clone())
            .collect();
        for node in waiting {
            if self.keeper.up && self.now >= self.keeper.frozen_until {
                self.tally.add("held, then released by a person");
                self.handle(Event::Asked { node, wish: Wish::Resume, by: "somebody".into() });
            }
        }
    }

    /// A person wants something of some node.
    pub(super) fn wish(&mut self) {
        if !self.keeper.up || self.now < self.keeper.frozen_until {
            return;
        }
        let Some(node) = self.names.get(self.rng.usize(0..self.names.len().max(1))).cloned() else { return };
        let wish = match self.rng.u32(0..6) {
            0 => Wish::Destroy,
            1 => Wish::Pause,
            2 => Wish::Redeploy,
            3 => Wish::Resume,
            _ => Wish::Reprovision,
        };
        self.handle(Event::Asked { node, wish, by: "somebody".into() });
    }

    /// What is not well yet, after the faults, if anything.
    pub(super) fn unsettled(&self) -> Option<String> {
        for name in self.names.iter().filter(|name| self.is_wanted(name)) {
            let Some(node) = self.keeper.fleet.nodes.get(name) else {
                return Some(format!("`{name}` was never begun"));
            };
            let NodeState::Serving(tenant) = &node.state else { return Some(self.waiting()) };
            let well = self.boxes.get(&tenant.instance).is_some_and(|rented| {
                rented.fate == Fate::Up && rented.alive() && rented.serves.as_ref() == Some(&tenant.rental.op)
            });
            if !well || node.incident.is_some() {
                return Some(format!("`{name}` is said to serve, and does not"));
            }
        }
        if let Some((instance, doomed)) = self.keeper.fleet.doomed.first_key_value() {
            return Some(format!("instance {instance} is still doomed: {doomed:?}"));
        }
        if self.keeper.fleet.breaker != crate::fleet::breaker::Position::Normal {
            return Some("the breaker is out".into());
        }
        self.unclaimed().first().map(|id| format!("instance {id} leaked"))
    }

    /// Every node that does not serve, and the rail in its way.
    fn waiting(&self) -> String {
        let nodes = self.keeper.fleet.nodes.iter();
        let idle = nodes.filter(|(_, node)| !matches!(node.state, NodeState::Serving(_)));
        let told = idle.map(|(name, node)| {
            let rail = self.keeper.memory.desks.get(name).and_then(|desk| desk.blocked.as_ref());
            let why = rail.map_or_else(String::new, |blocked| format!(", {}: {}", blocked.rail, blocked.why));
            format!("`{name}` is {}{why}", node.state.word())
        });
        told.collect::<Vec<_>>().join("; ")
    }

    /// Boxes of ours that live and that no node claims.
    pub(super) fn unclaimed(&self) -> Vec<InstanceId> {
        let claims = self.keeper.fleet.claims().filter_map(|(_, _, instance)| instance);
        let claimed: std::collections::BTreeSet<InstanceId> = claims.collect();
        let living = self.boxes.iter().filter(|(_, rented)| rented.alive() && rented.node.is_some());
        living.filter(|(id, _)| !claimed.contains(id)).map(|(id, _)| *id).collect()
    }

    /// Whether a node waits for a rail that counts in hours.
    pub(super) fn is_railed(&self) -> bool {
        let slow =
            [Rail::NodeCreates, Rail::FleetHourly, Rail::FleetDaily, Rail::DollarsPerDay, Rail::Cooldown];
        let desks = self.keeper.memory.desks.values();
        desks
            .into_iter()
            .any(|desk| desk.blocked.as_ref().is_some_and(|blocked| slow.contains(&blocked.rail)))
    }

    /// The journal, from its first word: it must fold to what the keeper believes.
    pub(super) fn judge_journal(&mut self) {
        if self.judge.violation.is_some() || !self.keeper.up {
            return;
        }
        let states = self.journal.fold_anew().and_then(|anew| Ok((anew, self.journal.fold()?)));
        match states {
            Ok((anew, beside)) if anew == self.keeper.fleet && anew == *beside => {}
            Ok(_) => self.broken(Invariant::Fold, "the fold of the journal is not the state".into()),
            Err(fault) => self.broken(Invariant::Fold, fault.to_string()),
        }
    }

    /// The rails that are in some node's way now.
    pub(super) fn tally_rails(&mut self) {
        let blocked: Vec<Rail> =
            self.keeper.memory.desks.values().filter_map(|desk| Some(desk.blocked.as_ref()?.rail)).collect();
        for rail in blocked {
            if matches!(rail, Rail::DollarsPerDay | Rail::DollarsPerHour | Rail::Credit) {
                self.tally.add("budget stop");
            }
            self.tally.add(rail.word());
        }
    }
}
