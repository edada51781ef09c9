//! What keeps a node back, made visible and told: looks, rails in the way, overruns.
//!
//! Each thing is told once in an episode, from trouble to its end, however often it comes and goes in between.

use std::time::Duration;

use super::{
    super::{
        guard::{Deferral, Rail},
        memory::{Blocked, Sighting},
        name::{IncidentId, NodeName},
        tell,
        units::Timestamp,
    },
    LOOK_AGAIN, Turn,
};

/// A rail in the way for less than this is shown, not told: most lift within seconds.
const TELL_AFTER: Duration = Duration::from_secs(30);
/// A rail that concerns the whole fleet is told once in this time, not once per node.
const TELL_FLEET_EVERY: Duration = Duration::from_secs(3600);
/// A blocked node is looked at this often even where the rail names a later time: other things may have changed.
const LOOK_AT_LEAST: Duration = Duration::from_secs(60);

impl Turn<'_> {
    /// Asks to be woken for a node, unless an earlier wake is already ordered.
    pub(super) fn look(&mut self, node: &NodeName, at: Timestamp) {
        let now = self.now();
        let at = at.max(Timestamp(now.0.saturating_add(1)));
        let desk = self.memory.desk(node);
        if desk.look_at.is_none_or(|ordered| ordered > at || ordered <= now) {
            desk.look_at = Some(at);
            self.step.looks.push((node.clone(), at));
        }
    }

    /// Makes a rail in the way visible, tells it where a human should know, and orders another look.
    pub(super) fn block(&mut self, name: &NodeName, deferral: Deferral) {
        let Deferral { rail, why, until } = deferral;
        let now = self.now();
        let desk = self.memory.desk(name);
        // What lasts is looked at less often: probes, lists and answers lead to a look of their own.
        let lasts = desk.blocked.as_ref().map_or(Duration::ZERO, |blocked| now.since(blocked.since));
        let pause = (lasts / 4).clamp(LOOK_AGAIN, LOOK_AT_LEAST);
        let at = until.filter(|until| *until > now).unwrap_or(now.after(pause));
        self.look(name, at.min(now.after(LOOK_AT_LEAST)));
        let desk = self.memory.desk(name);
        let sighting = desk.episode.rails.entry(rail).or_insert(Sighting { since: now, told: false });
        let due = !sighting.told && rail.is_told() && now.since(sighting.since) >= TELL_AFTER;
        sighting.told |= due;
        let since = desk.blocked.as_ref().map_or(now, |blocked| blocked.since);
        let notice = due.then(|| why.clone());
        desk.blocked = Some(Blocked { rail, why, since, until });
        if let Some(why) = notice
            && !self.told_for_the_fleet(rail)
        {
            let notice = tell::blocked(now, name, self.incident(name), rail, &why);
            self.tell(notice);
        }
    }

    /// Whether a rail in the way of all nodes was told a while ago for another one.
    fn told_for_the_fleet(&mut self, rail: Rail) -> bool {
        let now = self.now();
        if !rail.concerns_fleet() {
            return false;
        }
        let told = self.memory.rails_told.get(&rail);
        if told.is_some_and(|told| now.since(*told) < TELL_FLEET_EVERY) {
            return true;
        }
        self.memory.rails_told.insert(rail, now);
        false
    }

    pub(super) fn block_for(
        &mut self,
        name: &NodeName,
        rail: Rail,
        why: impl Into<String>,
        until: Option<Timestamp>,
    ) {
        self.block(name, Deferral { rail, why: why.into(), until });
    }

    /// Nothing is in the way any more, for now.
    pub(super) fn unblock(&mut self, name: &NodeName) {
        if let Some(desk) = self.memory.desks.get_mut(name) {
            desk.blocked = None;
        }
    }

    /// The trouble is over, or another one begins: what was told may be told again.
    pub(super) fn end_episode(&mut self, name: &NodeName) {
        if let Some(desk) = self.memory.desks.get_mut(name) {
            desk.blocked = None;
            desk.episode = super::super::memory::Episode::default();
        }
    }

    /// Tells once that something which only waits has lasted beyond its deadline.
    pub(super) fn overrun(&mut self, name: &NodeName, since: Timestamp, limit: Duration, what: &str) {
        let now = self.now();
        if now < since.after(limit) {
            self.look(name, since.after(limit));
            return;
        }
        if !std::mem::replace(&mut self.memory.desk(name).episode.overrun_told, true) {
            let notice = tell::overrun(now, name, self.incident(name), what, now.since(since));
            self.tell(notice);
        }
    }

    /// The node's open incident.
    pub(super) fn incident(&self, name: &NodeName) -> Option<IncidentId> {
        self.node(name).and_then(|node| node.incident.as_ref()).map(|incident| incident.id)
    }

    /// When a stage that works on a box ends: after `limit`, but a keeper that was away leaves it half of that anew.
    pub(super) fn due(&self, since: Timestamp, limit: Duration) -> Timestamp {
        since.after(limit).max(self.memory.awake_from.after(limit / 2))
    }
}
