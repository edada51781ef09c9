//! A server in maintenance: left alone, but not for ever, and not in silence. And what work that died has left on its box.
//!
//! Whoever brings a server to rest before working on it notes that on the box. Where that one died, nobody else would let the
//! server go on: the box is asked whose maintenance it is, under its lease, and only such a one is ended.

use super::{
    super::{
        command::Command,
        event::{IllegalEvent, Seen},
        journal::{HeldReason, Record},
        name::{InstanceId, NodeName},
        planted::{Bug, planted},
        policy::NodeSpec,
        state::NodeState,
        tell,
    },
    Turn,
};

/// The box is asked so often before the time at which a person is told.
const ASKED_BEFORE_TOLD: u32 = 5;

impl Turn<'_> {
    /// The server says that it is in maintenance.
    pub(super) fn maintained(&mut self, name: &NodeName, spec: &NodeSpec) {
        let (now, told_after) = (self.now(), spec.health.maintenance_alarm);
        let kept_away = self.is_working(name)
            || self.is_left_alone(name)
            || self.is_paused_for_good(name)
            || planted(Bug::LeaveForgotten);
        let Some(node) = self.fleet.nodes.get(name) else { return };
        let tenant = node.state.probed().cloned();
        let Some(maintenance) = self.memory.watch(name).maintenance.as_mut() else { return };
        let lasted = now.since(maintenance.since);
        let tell = lasted >= told_after && !std::mem::replace(&mut maintenance.told, true);
        // One that ended between two probes may be followed by another: what the box has told is not believed for ever.
        let pause = if maintenance.stays.is_some() { told_after } else { told_after / ASKED_BEFORE_TOLD };
        let asked = now.since(maintenance.asked_at.unwrap_or(maintenance.since));
        let stays = maintenance.stays.clone();
        if let Some(tenant) = tenant.filter(|_| !kept_away && asked >= pause) {
            maintenance.asked_at = Some(now);
            self.order(Command::EndMaintenance { node: name.clone(), tenant });
        }
        if tell {
            let notice = tell::maintenance(now, name, lasted, stays.as_deref());
            self.tell(notice);
        }
    }

    /// The box told what was left behind there.
    pub(super) fn left_behind(
        &mut self,
        name: &NodeName,
        instance: InstanceId,
        seen: Seen,
    ) -> Result<(), IllegalEvent> {
        let Some(node) = self.node(name) else { return Ok(()) };
        if node.state.probed().is_none_or(|tenant| tenant.instance != instance) {
            return Ok(());
        }
        let serves = matches!(
            node.state,
            NodeState::Serving(_) | NodeState::Suspect { .. } | NodeState::Remedying { .. }
        );
        match seen {
            Seen::Ended(reason) => {
                let (node, incident) = (name.clone(), self.incident(name));
                let text = format!("maintenance that died with its work is ended: {reason}");
                self.record(Record::Noted { node, incident, text })?;
                let notice = tell::maintenance_ended(self.now(), name, &reason);
                self.tell(notice);
            }
            Seen::Halfway(what) => {
                let detail = format!(
                    "{what} was cut short or failed; deploy what migrates again, restore a backup, or say by `maintenance exit` \
                     that it is whole"
                );
                self.maintenance_stays(name, &detail);
                if serves && !self.is_left_alone(name) {
                    self.hold(name, HeldReason::DataHalfway { detail })?;
                }
            }
            Seen::Stays(why) => self.maintenance_stays(name, &why),
            // Its next words ask again.
            Seen::Unclear(_) => {}
        }
        Ok(())
    }

    fn maintenance_stays(&mut self, name: &NodeName, why: &str) {
        // An answer about one that is over says nothing of the next.
        let asked = self.memory.watch(name).maintenance.as_mut().filter(|found| found.asked_at.is_some());
        if let Some(maintenance) = asked {
            maintenance.stays = Some(why.to_owned());
        }
    }

    /// Whether a person keeps the keeper away; whoever works on the box is known there by a lease.
    fn is_paused_for_good(&self, name: &NodeName) -> bool {
        let pause = self.node(name).and_then(|node| node.paused.as_ref());
        pause.is_some_and(|pause| pause.until.is_none())
    }
}
