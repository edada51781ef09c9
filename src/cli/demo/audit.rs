//! The verdict, from the provider's own record of every rental: nothing of the keeper is asked.

use std::collections::BTreeSet;

use serde::Serialize;
use vast_sim::{Ledger, Rental, RentalEnd};

/// What the provider's record says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Audit {
    /// Instances ever rented.
    pub rentals_created: usize,
    /// Instances destroyed by a call.
    pub rentals_destroyed: usize,
    /// Instances alive now.
    pub live_rentals: usize,
    /// Living instances that no wanted node accounts for.
    pub leaked: usize,
    /// Pairs of rentals of one node that were alive at once.
    pub double_rented: usize,
    /// Instances destroyed although nothing had ever been wrong with them.
    pub wrongly_destroyed: usize,
}

impl Audit {
    pub fn is_clean(&self) -> bool {
        self.leaked == 0 && self.double_rented == 0 && self.wrongly_destroyed == 0
    }
}

/// Audits the record of an account in which only this fleet rents.
pub(super) fn audit(ledger: &Ledger, nodes: &[String]) -> Audit {
    let node = |rental: &Rental| {
        rental.label.as_deref().and_then(|label| label.split(':').nth(2)).map(str::to_owned)
    };
    let mut accounted = BTreeSet::new();
    let leaked = ledger.live().filter(|rental| match node(rental) {
        // The first living instance of a wanted node is its own; every other is a leak.
        Some(name) => !nodes.contains(&name) || !accounted.insert(name),
        None => true,
    });
    let leaked = leaked.count();
    let by_call = |rental: &&Rental| matches!(rental.ended_by, Some(RentalEnd::Call(_)));
    let wrongly = ledger.rentals.iter().filter(by_call).filter(|rental| {
        let disturbed = ledger.disturbed_ms(rental.instance);
        disturbed.is_none_or(|at| rental.ended_ms.is_some_and(|ended| at > ended))
    });
    Audit {
        rentals_created: ledger.rentals.len(),
        rentals_destroyed: ledger.rentals.iter().filter(by_call).count(),
        live_rentals: ledger.live().count(),
        leaked,
        double_rented: overlaps(&ledger.rentals, node),
        wrongly_destroyed: wrongly.count(),
    }
}

/// Pairs of rentals of one node whose lives overlap.
fn overlaps(rentals: &[Rental], node: impl Fn(&Rental) -> Option<String>) -> usize {
    let mut pairs = 0;
    for (index, earlier) in rentals.iter().enumerate() {
        for later in rentals.iter().skip(index + 1) {
            let same = node(earlier).is_some() && node(earlier) == node(later);
            let alive = earlier.ended_ms.is_none_or(|ended| ended > later.created_ms);
            pairs += usize::from(same && alive);
        }
    }
    pairs
}
