//! The search for offers: how often, for how many nodes at once, and what must not be taken.

use std::time::Duration;

use super::{
    super::{
        command::Command,
        event::IllegalEvent,
        guard::Rail,
        ledger,
        name::NodeName,
        offer::{Exclusions, Offer, select},
        provider::{OffersFound, ProviderFault},
        state::NodeState,
        units::Timestamp,
    },
    LONGEST_WAIT, LOOK_AGAIN, Turn,
    rent::SHORT_WAIT,
};

/// A search that was not answered by now is asked again.
const SEARCH_PATIENCE: Duration = Duration::from_secs(60);
/// Searches that may be out at once for the whole fleet: a fresh large one must not flood the provider.
const SEARCHES_AT_ONCE: usize = 8;

impl Turn<'_> {
    /// Asks for offers, unless that is under way for this node or for enough others.
    pub(super) fn search(&mut self, name: &NodeName) {
        let now = self.now();
        self.memory.searches.retain(|_, since| now.since(*since) <= SEARCH_PATIENCE);
        if self.memory.searches.contains_key(name) {
            self.look(name, now.after(SEARCH_PATIENCE));
        } else if self.memory.searches.len() >= SEARCHES_AT_ONCE {
            self.look(name, now.after(LOOK_AGAIN));
        } else {
            self.memory.searches.insert(name.clone(), now);
            self.order(Command::Search { node: name.clone() });
            self.look(name, now.after(SEARCH_PATIENCE));
        }
    }

    pub(super) fn searched(
        &mut self,
        name: &NodeName,
        answer: Result<OffersFound, ProviderFault>,
    ) -> Result<(), IllegalEvent> {
        let now = self.now();
        self.memory.searches.remove(name);
        let Some(spec) = self.spec(name) else { return Ok(()) };
        let Some(NodeState::Recovering(recovery)) = self.node(name).map(|node| &node.state) else {
            return Ok(());
        };
        let previous = recovery.previous_price;
        let found = match answer {
            Ok(found) => found,
            Err(fault) => {
                self.provider_refused(&fault);
                let wait = fault.retry_after().unwrap_or(SHORT_WAIT).min(LONGEST_WAIT);
                self.search_again(name, now.after(wait), format!("the search failed: {fault}"));
                return Ok(());
            }
        };
        let selection = select(
            &found.offers,
            &spec.offers,
            &self.exclusions(&found.offers),
            previous,
            spec.rental.disk_gb,
        );
        if selection.ranked.is_empty() {
            self.search_again(name, now.after(SEARCH_PATIENCE), selection.why_none());
            return Ok(());
        }
        let desk = self.memory.desk(name);
        desk.offers = selection.ranked;
        desk.offers_at = now;
        self.pursue(name)
    }

    fn search_again(&mut self, name: &NodeName, at: Timestamp, why: String) {
        self.memory.desk(name).search_after = at;
        self.block_for(name, Rail::Offers, why, Some(at));
    }

    /// What must not be rented now: machines that are blamed or excluded, offers that were gone a moment ago, and those
    /// that fill another node or are being rented for one.
    #[must_use]
    pub(super) fn exclusions(&self, offers: &[Offer]) -> Exclusions {
        let now = self.now();
        let offered = offers.iter().map(|offer| (offer.machine, offer.host));
        let mut exclusions = ledger::exclusions(self.fleet, self.context.policy, now, offered);
        let gone = self.memory.gone_offers.iter().filter(|(_, until)| **until > now);
        exclusions.offers.extend(gone.map(|(offer, _)| (*offer, "gone when tried".to_owned())));
        let claims = self.fleet.claims();
        exclusions
            .offers
            .extend(claims.map(|(name, attempt, _)| (attempt.offer, format!("rented for {name}"))));
        exclusions
    }
}
