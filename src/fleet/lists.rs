//! What the provider's lists taught: the last one, how far they agree, and since when what is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    name::{FleetName, InstanceId, NodeName, Ownership, ownership},
    provider::{ProviderFault, Rental},
    units::Timestamp,
};

/// Lists that lack a box are believed after this time where they are the only witness: a list may be empty or another account's,
/// and our own way to the boxes cut at the same time.
pub(super) const ABSENT_ALONE: Duration = Duration::from_secs(1800);

/// What the lists taught.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    /// Complete and plausible lists since the start.
    pub good: u32,
    /// When the first good one since the start was begun.
    pub first_started_at: Option<Timestamp>,
    /// When the last good one was begun.
    pub last_started_at: Option<Timestamp>,
    /// How many of the last ones in a row gave no reason for doubt: they lack one box of ours at most, and none that answers.
    pub steady: u32,
    /// When the first of those was begun.
    pub steady_from: Option<Timestamp>,
    /// Lists begun before this are not taken: the keeper stood still meanwhile.
    pub valid_from: Timestamp,
    /// The last good list, by id.
    pub rows: BTreeMap<InstanceId, Rental>,
    /// Whose each row of the last good list is, by its label.
    pub owners: BTreeMap<InstanceId, Ownership>,
    /// The rows of the last good list that bear a node's label.
    pub labelled: BTreeMap<NodeName, Vec<InstanceId>>,
    /// Instances of which the journal knows nothing and that are missing now.
    pub unknown_absent: BTreeMap<InstanceId, Absence>,
    /// The set that implausibly vanished, and how many lists in a row agreed on it.
    pub implausible: Option<(BTreeSet<InstanceId>, u32)>,
    /// Why the last try failed, if it did.
    pub fault: Option<ProviderFault>,
    /// Faults in a row.
    pub faults: u32,
}

/// How long an instance has been missing from complete lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// How many in a row lacked it.
    pub lists: u32,
    /// When the first of them began.
    pub since: Timestamp,
    /// When the first of those began that gave no reason for doubt, without such a reason since.
    pub steady_from: Option<Timestamp>,
}

impl Lists {
    /// A keeper that stood still does not know what lists would have shown meanwhile: their agreement begins anew, and that time
    /// counts for no absence.
    pub fn start_over(&mut self, now: Timestamp, gap: Duration) {
        self.good = 0;
        self.first_started_at = None;
        self.unsteady();
        if gap > Duration::ZERO {
            self.valid_from = now;
        }
        for absence in self.unknown_absent.values_mut() {
            absence.since = absence.since.after(gap);
        }
    }

    /// The last list gave a reason to doubt it.
    fn unsteady(&mut self) {
        (self.steady, self.steady_from) = (0, None);
        self.unknown_absent.values_mut().for_each(|absence| absence.steady_from = None);
    }

    /// Counts the list that was just taken, begun at `began`.
    pub fn count(&mut self, began: Timestamp, is_doubtful: bool) {
        if is_doubtful {
            return self.unsteady();
        }
        self.steady = self.steady.saturating_add(1);
        self.steady_from.get_or_insert(began);
    }

    /// How long lists must still agree until what they lack is believed; `None` once they agreed for long enough. Where they give
    /// a reason for doubt all the time, that is as long as for any box of whose end they are the only witness.
    #[must_use]
    pub fn unsettled_for(&self, settle_lists: u32, settle: Duration) -> Option<Duration> {
        let spanned =
            |from: Option<Timestamp>| from.zip(self.last_started_at).map(|(from, last)| last.since(from));
        let left = |lists: u32, from, span: Duration| match spanned(from) {
            Some(spanned) if spanned >= span && lists >= settle_lists => None,
            spanned => Some(span.saturating_sub(spanned.unwrap_or_default())),
        };
        let alone = left(self.good, self.first_started_at, settle.max(ABSENT_ALONE))?;
        match self.steady_from {
            None if self.good > 0 => Some(alone),
            from => Some(left(self.steady, from, settle)?.min(alone)),
        }
    }

    pub(super) fn take_labels(&mut self, rentals: &[Rental], fleet: &FleetName) {
        self.labelled.clear();
        self.owners.clear();
        for rental in rentals {
            let owner = ownership(rental.label.as_deref(), fleet);
            if let Ownership::Ours(node, _) = &owner {
                self.labelled.entry(node.clone()).or_default().push(rental.id);
            }
            self.owners.insert(rental.id, owner);
        }
    }
}
