//! Billing by the second of simulated time, and what happens when the credit is gone.

use super::State;
use super::instance::Phase;
use crate::clock::SimSeconds;

const SECONDS_PER_HOUR: f64 = 3600.0;

/// What one instance was charged on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Charge {
    pub(crate) gpu: f64,
    pub(crate) disk: f64,
    pub(crate) hours: f64,
}

/// The start of a day in UTC.
pub(crate) fn day_of(now: SimSeconds) -> u64 {
    const DAY: f64 = 86_400.0;
    ((now / DAY).floor() * DAY).max(0.0) as u64
}

impl State {
    /// Charges an instance more than it cost, which nothing but the billing shows.
    pub(crate) fn overcharge(&mut self, id: u64, dollars: f64, now: SimSeconds) {
        self.account.charge(dollars);
        self.charges.entry((id, day_of(now))).or_default().gpu += dollars;
    }

    /// Charges every instance up to `now`, then stops all of them when the credit is used up.
    pub(crate) fn bill(&mut self, now: SimSeconds) {
        let ids: Vec<u64> = self.instances.keys().copied().collect();
        for id in ids {
            self.bill_one(id, now);
        }
        if self.account.credit <= 0.0 {
            self.stop_everything();
        }
    }

    /// Charges one instance at the rate of its present phase; call it before the phase changes.
    pub(crate) fn bill_one(&mut self, id: u64, now: SimSeconds) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let seconds = (now - instance.billed_until).max(0.0);
        instance.billed_until = instance.billed_until.max(now);
        let rate = instance.rate();
        let disk = instance.storage_dph().min(rate) * seconds / SECONDS_PER_HOUR;
        let dollars = rate * seconds / SECONDS_PER_HOUR;
        if dollars > 0.0 {
            self.account.charge(dollars);
            let charge = self.charges.entry((id, day_of(now))).or_default();
            charge.gpu += dollars - disk;
            charge.disk += disk;
            charge.hours += seconds / SECONDS_PER_HOUR;
            if let Some(rental) = self.rentals.get_mut(&id) {
                rental.cost += dollars;
            }
        }
    }

    /// At a balance of zero Vast.ai stops, not destroys, every instance.
    fn stop_everything(&mut self) {
        let running: Vec<u64> = self
            .instances
            .values()
            .filter(|instance| !matches!(instance.phase, Phase::Stopped | Phase::Destroyed | Phase::Broken))
            .map(|instance| instance.id)
            .collect();
        for id in running {
            self.halt(id, "stopped: account credit used up", None);
        }
    }
}
