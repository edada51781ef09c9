//! The provider's bill against our own: prices that change under a running box, and charges that no rental explains.

use std::time::Duration;

use super::{
    super::{
        charge::{Charges, from_day, unexplained},
        command::Command,
        event::IllegalEvent,
        journal::Record,
        name::{InstanceId, NodeName},
        provider::{ProviderFault, Status},
        tell,
        units::Money,
    },
    Turn,
};

/// How soon the charges are asked for again after a reading that failed.
const ASK_AGAIN: Duration = Duration::from_secs(600);
/// Failed readings in a row after which a human is told.
const FAULTS_TOLD: u32 = 3;
/// A price is another one when it differs by more than this: the provider computes in floats.
const ROUNDING: Money = Money(100);

impl Turn<'_> {
    /// Asks for the charges when it is time.
    pub(super) fn ask_for_charges(&mut self) {
        let (now, every) = (self.now(), self.context.policy.rails.billing_check);
        // Without a list the account's key or way is in doubt, and so would be what the charges say.
        if every.is_zero() || now < self.memory.charges.next_at || self.memory.lists.good == 0 {
            return;
        }
        self.memory.charges.next_at = now.after(every);
        self.order(Command::ReadCharges { from: from_day(now) });
    }

    pub(super) fn charges_read(&mut self, answer: Result<Charges, ProviderFault>) {
        let now = self.now();
        match answer {
            Ok(charges) => {
                self.memory.charges.faults = 0;
                self.reconcile(&charges);
            }
            Err(fault) => {
                let told = &mut self.memory.charges;
                told.faults = told.faults.saturating_add(1);
                let every = self.context.policy.rails.billing_check;
                told.next_at = now.after(every.min(ASK_AGAIN));
                if told.faults == FAULTS_TOLD {
                    let notice = tell::charges_unread(now, &fault);
                    self.tell(notice);
                }
                self.provider_refused(&fault);
            }
        }
    }

    /// Tells what the ledger does not explain: once, and again whenever it has doubled.
    fn reconcile(&mut self, charges: &Charges) {
        let now = self.now();
        let found = unexplained(charges, self.fleet, self.context.policy, now);
        let still: Vec<InstanceId> = found.iter().map(|row| row.instance).collect();
        self.memory.charges.excess.retain(|instance, _| still.contains(instance));
        for row in found {
            let excess = row.excess();
            let told = self.memory.charges.excess.get(&row.instance);
            if told.is_some_and(|told| excess < told.plus(*told)) {
                continue;
            }
            self.memory.charges.excess.insert(row.instance, excess);
            let listed = self.memory.row(row.instance).cloned();
            let notice = tell::overcharged(now, &row, charges.from, listed.as_ref(), self.fleet);
            self.tell(notice);
            // Whether it lives, a list shows; whatever follows from that is decided there.
            self.order(Command::List);
        }
    }

    /// A serving box's price as the lists show it is what is counted; one list may err.
    pub(super) fn price_listed(&mut self, name: &NodeName, instance: InstanceId) -> Result<(), IllegalEvent> {
        let tenant = self.node(name).and_then(|node| node.state.tenant());
        let Some(before) =
            tenant.filter(|tenant| tenant.instance == instance).map(|tenant| tenant.rental.price)
        else {
            return Ok(());
        };
        let listed =
            self.memory.row(instance).filter(|row| row.status == Status::Running).map(|row| row.price);
        let changed = listed.filter(|price| price.minus(before).0.saturating_abs() > ROUNDING.0);
        let enough = self.context.policy.inventory.gone_lists.max(1);
        let watch = self.memory.watch(name);
        watch.price_lists = changed.map(|price| match watch.price_lists {
            Some((earlier, lists)) if earlier == price => (price, lists.saturating_add(1)),
            _ => (price, 1),
        });
        let Some((price, lists)) = watch.price_lists else { return Ok(()) };
        if lists < enough {
            return Ok(());
        }
        watch.price_lists = None;
        self.record(Record::PriceChanged { node: name.clone(), instance, price })?;
        let cap = self.spec(name).map(|spec| spec.offers.price_cap);
        let notice = tell::price_changed(self.now(), name, instance, before, price, cap);
        self.tell(notice);
        Ok(())
    }
}
