//! Bids for interruptible rentals: what is offered at first, when one was outbid, and how far it is raised.
//!
//! An interruptible box belongs to whoever bids most for it; the others are stopped without a word, disk kept. That is no death
//! of the box: a higher bid and a start bring it back (measured by users of Vast.ai, August 2026: a raise alone does not).
//! While a box runs, the provider names as floor a fifth more than its present bid; only while it is stopped that is what
//! others pay. So nothing here is ever chased upwards on a running box.

use super::{
    offer::{Offer, OfferPolicy},
    planted::{Bug, planted},
    policy::Rung,
    provider::Rental,
    units::Money,
};

/// Beyond the floor a bid goes by this many percent, or the next breath of the market takes the box away again.
const MARGIN_PERCENT: i64 = 20;

/// How boxes are rented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RentalKind {
    /// At the offer's price, for as long as its contract lasts.
    #[default]
    OnDemand,
    /// For a bid, until somebody bids more.
    Interruptible,
}

/// How interruptible boxes are bid for. In dollars an hour of the GPUs alone; storage comes on top of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BidPolicy {
    /// Bid at first where that is at least the offer's floor; without it a margin over the floor.
    pub start: Option<Money>,
    /// Never is more bid.
    pub most: Money,
}

/// How an interruptible rental stands, as the provider's list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bidding {
    /// Our bid.
    pub bid: Money,
    /// The lowest bid that wins; of a running box a fifth more than its own.
    pub floor: Option<Money>,
}

/// What the market asks for a box that the provider stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Market {
    /// Others bid more; this bid beats them.
    Raise {
        /// The bid before.
        from: Money,
        /// What others pay at least.
        floor: Money,
        /// The bid to make.
        to: Money,
    },
    /// Others bid more than may be bid.
    TooDear {
        /// What others pay at least.
        floor: Money,
    },
    /// Our bid wins: it only has to be started.
    Start,
}

impl Market {
    /// In words, in front of what else let it pass.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Raise { from, floor, to } => {
                format!("outbid: our bid is {from}/h, others pay {floor}/h, {to}/h is bid; ")
            }
            Self::TooDear { floor } => format!("outbid: others pay {floor}/h; "),
            Self::Start => "nobody bids more; ".into(),
        }
    }
}

impl BidPolicy {
    /// The first bid for an offer with this floor; `None` where the floor is beyond what may be bid.
    #[must_use]
    pub fn opening(&self, floor: Money) -> Option<Money> {
        if floor > self.most {
            return None;
        }
        let start = self.start.filter(|start| *start >= floor);
        Some(start.unwrap_or_else(|| above(floor)).min(self.most))
    }
}

impl Bidding {
    /// In words, for people.
    #[must_use]
    pub fn words(&self) -> String {
        match self.floor {
            Some(floor) => format!("our bid is {}/h, others pay {floor}/h", self.bid),
            None => format!("our bid is {}/h", self.bid),
        }
    }

    /// Whether others bid more. Asked of stopped boxes only.
    #[must_use]
    pub fn is_outbid(&self) -> bool {
        self.floor.is_some_and(|floor| floor > self.bid)
    }
}

impl Rental {
    /// The bidding of a box that the provider stopped because others bid more.
    #[must_use]
    pub fn outbid(&self) -> Option<Bidding> {
        self.bidding.filter(|bidding| self.stopped && bidding.is_outbid())
    }

    /// What the market asks for this box, if the provider stopped it and it is interruptible. `price_cap` bounds bid and
    /// storage together.
    #[must_use]
    pub fn market(&self, policy: &BidPolicy, price_cap: Money) -> Option<Market> {
        let bidding = self.bidding.filter(|_| self.stopped)?;
        let Some(floor) = bidding.floor.filter(|_| bidding.is_outbid()) else { return Some(Market::Start) };
        let storage = self.price.minus(bidding.bid).max(Money(0));
        let most = policy.most.min(price_cap.minus(storage));
        let to = if planted(Bug::BidBeyondMost) { above(floor) } else { above(floor).min(most) };
        Some(if to >= floor {
            Market::Raise { from: bidding.bid, floor, to }
        } else {
            Market::TooDear { floor }
        })
    }
}

impl Rung {
    /// Whether it only asks the provider to let a stopped box run: it may be repeated, so doubt costs another call and
    /// never a box.
    #[must_use]
    pub fn asks_the_provider(self) -> bool {
        matches!(self, Self::RaiseBid | Self::Start)
    }
}

fn above(floor: Money) -> Money {
    Money(floor.0.saturating_add(floor.0 / 100 * MARGIN_PERCENT))
}

/// Prices an offer for an interruptible rental: the bid, with the storage that the search reckoned on top of the floor.
pub(super) fn priced(offer: &Offer, policy: &OfferPolicy) -> Offer {
    let (Some(bids), Some(floor)) = (&policy.bid, offer.floor) else { return offer.clone() };
    let Some(bid) = bids.opening(floor) else { return offer.clone() };
    Offer { price: offer.price.minus(floor).plus(bid), bid: Some(bid), ..offer.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CENT: i64 = 10_000;

    fn policy(start: Option<i64>, most: i64) -> BidPolicy {
        BidPolicy { start: start.map(|cents| Money(cents * CENT)), most: Money(most * CENT) }
    }

    #[test]
    fn the_first_bid_is_the_configured_one_or_a_margin_over_the_floor_and_never_beyond_the_most() {
        let bid = |start, most, floor| {
            policy(start, most).opening(Money(floor * CENT)).map(|Money(micros)| micros / CENT)
        };
        assert_eq!(bid(Some(25), 40, 20), Some(25));
        assert_eq!(bid(Some(10), 40, 20), Some(24), "a start below the floor wins nothing");
        assert_eq!(bid(None, 40, 20), Some(24));
        assert_eq!(bid(None, 22, 20), Some(22));
        assert_eq!(bid(Some(25), 19, 20), None);
    }

    #[test]
    fn no_number_of_the_market_makes_it_bid_beyond_the_caps_or_panic() {
        let mut row = crate::fleet::offer::tests::interruptible_row(20 * CENT, 24 * CENT);
        let most = policy(None, 40);
        for floor in [i64::MIN, -1, 0, 1, 25, 33, 34, 40, 41, 1_000_000, i64::MAX / CENT] {
            row.bidding =
                Some(Bidding { bid: Money(20 * CENT), floor: Some(Money(floor.saturating_mul(CENT))) });
            let cap = Money(44 * CENT);
            match row.market(&most, cap) {
                Some(Market::Raise { floor, to, .. }) => {
                    assert!(to <= most.most && to >= floor && to.0 + 4 * CENT <= cap.0, "{to}");
                }
                Some(Market::TooDear { floor }) => assert!(floor.0 > 40 * CENT, "{floor}"),
                Some(Market::Start) => assert!(floor <= 20),
                None => panic!("it is stopped and interruptible"),
            }
        }
        row.stopped = false;
        assert_eq!(row.market(&most, Money(1)), None, "a running box is left alone, whatever its floor");
    }
}
