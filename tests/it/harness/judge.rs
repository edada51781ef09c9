//! The verdict on money and lives, from the simulator's own record.

use std::collections::BTreeSet;

use vast_sim::{Ledger, Rental, RentalEnd};

use super::Fleet;

/// What must hold at the end of every story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Living instances of ours beyond one per wanted node.
    pub leaked: Vec<u64>,
    /// Pairs of rentals of one node that lived at once.
    pub doubled: Vec<(u64, u64)>,
    /// Instances of ours destroyed although nothing had been wrong with them, and nobody had asked for it.
    pub wrongly_destroyed: Vec<u64>,
    /// Instances that were never ours and were destroyed by a call.
    pub foreign_destroyed: Vec<u64>,
    /// What the journal says of these.
    pub journal: Vec<String>,
}

impl Verdict {
    pub fn of(ledger: &Ledger, nodes: &BTreeSet<String>, asked_for: &BTreeSet<u64>) -> Self {
        let node = |rental: &Rental| -> Option<String> {
            let rest = rental.label.as_deref()?.strip_prefix("vk:e2e:")?;
            rest.split(':').next().map(str::to_owned)
        };
        let ours = |rental: &&Rental| node(rental).is_some();
        let by_call = |rental: &&Rental| matches!(rental.ended_by, Some(RentalEnd::Call(_)));
        let undisturbed = |rental: &&Rental| {
            let disturbed = ledger.disturbed_ms(rental.instance);
            disturbed.is_none_or(|at| rental.ended_ms.is_some_and(|ended| at > ended))
        };
        let mut filled = BTreeSet::new();
        let leaked = ledger
            .live()
            .filter(ours)
            .filter(|rental| node(rental).is_none_or(|name| !nodes.contains(&name) || !filled.insert(name)));
        let mut doubled = Vec::new();
        for (index, earlier) in ledger.rentals.iter().enumerate().filter(|(_, rental)| ours(rental)) {
            let later = ledger.rentals.iter().skip(index + 1);
            let overlapping = later.filter(|later| {
                node(later) == node(earlier) && earlier.ended_ms.is_none_or(|ended| ended > later.created_ms)
            });
            doubled.extend(overlapping.map(|later| (earlier.instance, later.instance)));
        }
        let ids = |rentals: Vec<&Rental>| rentals.iter().map(|rental| rental.instance).collect();
        let destroyed: Vec<&Rental> = ledger.rentals.iter().filter(by_call).collect();
        let (mine, foreign): (Vec<&Rental>, Vec<&Rental>) =
            destroyed.into_iter().partition(|rental| ours(rental));
        let wrongly =
            mine.into_iter().filter(undisturbed).filter(|rental| !asked_for.contains(&rental.instance));
        Self {
            leaked: ids(leaked.collect()),
            doubled,
            wrongly_destroyed: ids(wrongly.collect()),
            foreign_destroyed: ids(foreign),
            journal: Vec::new(),
        }
    }

    #[track_caller]
    pub fn is_clean(&self) {
        assert!(self.accused().is_empty(), "{self:#?}");
    }

    /// The instances that something is wrong with.
    fn accused(&self) -> BTreeSet<u64> {
        let doubled = self.doubled.iter().flat_map(|(earlier, later)| [earlier, later]);
        let others = [&self.leaked, &self.wrongly_destroyed, &self.foreign_destroyed];
        others.into_iter().flatten().chain(doubled).copied().collect()
    }
}

impl Fleet {
    /// The verdict on this fleet; `asked_for` are instances that a person wanted destroyed.
    pub async fn verdict(&self, asked_for: &[u64]) -> Verdict {
        let view = self.until("the keeper answers", |_| true).await;
        let nodes = view.nodes.iter().map(|node| node.node.to_string()).collect();
        let excused = self.excused.lock().unwrap().iter().chain(asked_for).copied().collect();
        let mut verdict = Verdict::of(&self.sim.ledger(), &nodes, &excused);
        let accused = verdict.accused();
        if !accused.is_empty() {
            let names = |text: &str| accused.iter().any(|instance| text.contains(&instance.to_string()));
            let events = self.events_after(0).await.into_iter();
            verdict.journal = events.map(|event| event.text).filter(|text| names(text)).collect();
        }
        verdict
    }

    /// These may be destroyed: they were unfit from the first moment.
    pub fn excuse(&self, instances: Vec<u64>) {
        self.excused.lock().unwrap().extend(instances);
    }

    /// Calls of these endpoints after a call, as the provider saw them.
    pub fn calls_of(&self, endpoints: &[&str], after: u64) -> usize {
        self.sim.calls_after(after).iter().filter(|call| endpoints.contains(&call.endpoint)).count()
    }

    /// The number of the provider's newest call.
    pub fn newest_call(&self) -> u64 {
        self.sim.calls().last().map_or(0, |call| call.seq)
    }
}
