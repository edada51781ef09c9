//! Renting and giving back: the two deeds that begin and end a bill.

use super::State;
use super::instance::{AttachedKey, Instance, Launch, Phase};
use crate::boxes::BoxCommand;
use crate::clock::SimSeconds;
use crate::faults::FaultKind;
use crate::market::Offer;
use crate::record::{Rental, RentalEnd, Truth};

impl State {
    /// Rents an offer that was looked up in the same locked section. Gives the new instance's id.
    pub(crate) fn rent(&mut self, offer: &Offer, launch: Launch, call: u64, now: SimSeconds) -> u64 {
        let id = self.next_instance_id();
        let machine = self.market.machine(offer).clone();
        self.market.rent(offer);
        let instance_key = self.token(64);
        let keys = self.account.keys.iter();
        let keys = keys.map(|key| AttachedKey { id: key.id, public_key: key.public_key.clone() }).collect();
        let rental = Rental {
            instance: id,
            label: launch.label.clone(),
            offer: offer.id,
            machine: machine.id,
            created_ms: self.wall_ms,
            created_by: call,
            running_ms: None,
            ended_ms: None,
            ended_by: None,
            cost: 0.0,
        };
        let stopped = launch.start_stopped;
        self.rentals.insert(id, rental);
        self.instances.insert(
            id,
            Instance {
                id,
                offer: offer.clone(),
                ends_at: machine.ends_at,
                machine,
                launch,
                api_key: instance_key,
                phase: if stopped { Phase::Stopped } else { Phase::Provisioning },
                due: None,
                readable_at: now,
                forgotten_at: None,
                status_msg: None,
                started_at: now,
                endpoints: None,
                ports_at: now,
                lost: None,
                back_at: None,
                keys,
                boots: 0,
                new_address: false,
                billed_until: now,
                discount: 0.0,
                deposit: 0.0,
            },
        );
        self.after_rent(id, stopped, call, now);
        id
    }

    fn after_rent(&mut self, id: u64, stopped: bool, call: u64, now: SimSeconds) {
        let unreadable = self.draw_for(id, Some("create"), None, |kind| match kind {
            FaultKind::UnreadableRow { for_s } => Some(*for_s),
            _ => None,
        });
        let lag = unreadable.map_or(self.config.lifecycle.unreadable_s, |(_, seconds)| seconds);
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.readable_at = now + lag;
        }
        if !stopped {
            let seconds = self.config.lifecycle.provisioning_s;
            self.enter(id, Phase::Provisioning, now, seconds);
        }
        if let Some(record) = self.call_mut(call) {
            record.instances.push(id);
            record.faults.extend(unreadable.map(|(fault, _)| fault));
        }
        self.note(id, Truth::Created, None);
    }

    /// Ends a rental: billing stops, the box dies, the slice is on offer again.
    pub(crate) fn end_rental(&mut self, id: u64, by: &RentalEnd, now: SimSeconds) {
        self.bill_one(id, now);
        let lingers = self.draw_for(id, Some("destroy"), None, |kind| match kind {
            FaultKind::DestroyLingers { for_s } => Some(*for_s),
            _ => None,
        });
        let linger = lingers.map_or(self.config.lifecycle.linger_s, |(_, seconds)| seconds);
        let wall_ms = self.wall_ms;
        let Some(instance) = self.instances.get_mut(&id).filter(|it| !it.is_destroyed()) else { return };
        instance.phase = Phase::Destroyed;
        instance.due = None;
        instance.back_at = None;
        instance.endpoints = None;
        instance.forgotten_at = Some(now + linger);
        let offer = instance.offer.clone();
        self.market.give_back(&offer);
        self.command(id, BoxCommand::Destroy);
        if let Some(rental) = self.rentals.get_mut(&id) {
            rental.ended_ms = Some(wall_ms);
            rental.ended_by = Some(by.clone());
        }
        if let (RentalEnd::Call(seq), Some((fault, _))) = (by, lingers)
            && let Some(record) = self.call_mut(*seq)
        {
            record.faults.push(fault);
        }
    }
}
