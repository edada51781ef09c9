//! A server in maintenance: left alone, but not for ever, and not in silence.
//!
//! Whoever brings a server to rest before working on it notes that on the box. Where that one died, nobody else would let the
//! server go on: the box is asked whose maintenance it is, under its lease, and only such a one is ended.

use super::{
    super::{
        command::Command,
        event::{IllegalEvent, Seen},
        name::{InstanceId, NodeName},
        policy::NodeSpec,
        tell,
    },
    Turn,
};

/// The box is asked this often before the time at which a person is told, and as often after it.
const ASKED_BEFORE_TOLD: u32 = 5;

impl Turn<'_> {
    /// The server says that it is in maintenance.
    pub(super) fn maintained(&mut self, name: &NodeName, spec: &NodeSpec) {
        let (now, told_after) = (self.now(), spec.health.maintenance_alarm);
        let kept_away = self.is_working(name) || self.is_left_alone(name) || self.is_paused_for_good(name);
        let Some(node) = self.fleet.nodes.get(name) else { return };
        let tenant = node.state.probed().cloned();
        let Some(maintenance) = self.memory.watch(name).maintenance.as_mut() else { return };
        let lasted = now.since(maintenance.since);
        let tell = lasted >= told_after && !std::mem::replace(&mut maintenance.told, true);
        let asked = now.since(maintenance.asked_at.unwrap_or(maintenance.since));
        let ask = !kept_away && maintenance.stays.is_none() && asked >= told_after / ASKED_BEFORE_TOLD;
        let stays = maintenance.stays.clone();
        if let Some(tenant) = tenant.filter(|_| ask) {
            maintenance.asked_at = Some(now);
            self.order(Command::EndMaintenance { node: name.clone(), tenant });
        }
        if tell {
            let notice = tell::maintenance(now, name, lasted, stays.as_deref());
            self.tell(notice);
        }
    }

    /// The box knew, or not, whose maintenance it is.
    pub(super) fn maintenance_seen(
        &mut self,
        name: &NodeName,
        instance: InstanceId,
        seen: Seen,
    ) -> Result<(), IllegalEvent> {
        let tenant = self.node(name).and_then(|node| node.state.probed());
        if tenant.is_none_or(|tenant| tenant.instance != instance) {
            return Ok(());
        }
        match seen {
            Seen::Ended(reason) => {
                let notice = tell::maintenance_ended(self.now(), name, &reason);
                self.tell(notice);
            }
            Seen::Stays(why) => {
                if let Some(maintenance) = &mut self.memory.watch(name).maintenance {
                    maintenance.stays = Some(why);
                }
            }
            // Its next words ask again.
            Seen::Unclear(_) => {}
        }
        Ok(())
    }

    /// Whether a person keeps the keeper away; whoever works on the box is known there by a lease.
    fn is_paused_for_good(&self, name: &NodeName) -> bool {
        let pause = self.node(name).and_then(|node| node.paused.as_ref());
        pause.is_some_and(|pause| pause.until.is_none())
    }
}
