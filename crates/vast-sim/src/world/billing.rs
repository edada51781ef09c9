//! Billing by the second of simulated time, and what happens when the credit is gone.

use super::State;
use super::instance::Phase;
use crate::clock::SimSeconds;

const SECONDS_PER_HOUR: f64 = 3600.0;

impl State {
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
        let dollars = instance.rate() * seconds / SECONDS_PER_HOUR;
        if dollars > 0.0 {
            self.account.charge(dollars);
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
