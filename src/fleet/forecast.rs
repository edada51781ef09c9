//! What the fleet will cost, and how long the credit lasts: known before the wall is hit.
//!
//! Prices are those of the rentals on record; a wanted node that nothing fills is reckoned at what its last tenant cost, or
//! at the price cap. Storage of stopped boxes and bandwidth are not reckoned.

use std::time::Duration;

use super::{
    guard::Guard,
    state::NodeState,
    units::{Money, millis},
};

const DAY: Duration = Duration::from_secs(86_400);

/// What is to come, if everything stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Dollars per hour of what may be billed now.
    pub hourly: Money,
    /// Dollars per hour once every wanted node and spare is filled, and nothing else is alive.
    pub wanted_hourly: Money,
    /// The same for a day.
    pub wanted_daily: Money,
    /// How long the credit lasts at the dearer of the two; `None` if it is not known, or nothing costs anything.
    pub runway: Option<Duration>,
}

impl Guard<'_> {
    /// What the fleet is going to cost.
    #[must_use]
    pub fn forecast(&self) -> Forecast {
        let wanted_hourly: Money = self
            .policy
            .nodes
            .iter()
            .map(|(name, spec)| {
                let state = self.fleet.nodes.get(name).map(|node| &node.state);
                let claimed = state.and_then(NodeState::claim).map(|(attempt, _)| attempt.price);
                let before = match state {
                    Some(NodeState::Recovering(recovery)) => recovery.previous_price,
                    _ => None,
                };
                claimed.or(before).unwrap_or(spec.offers.price_cap)
            })
            .sum();
        let hourly = self.hourly_cost();
        let credit = self.memory.credit.map(|(_, credit)| credit.dollars);
        Forecast {
            hourly,
            wanted_hourly,
            wanted_daily: wanted_hourly.over(DAY),
            runway: credit.and_then(|credit| runway(credit, hourly.max(wanted_hourly))),
        }
    }
}

fn runway(credit: Money, hourly: Money) -> Option<Duration> {
    if hourly.0 <= 0 {
        return None;
    }
    let hour = i128::from(millis(Duration::from_secs(3600)));
    let ms = i128::from(credit.0.max(0)) * hour / i128::from(hourly.0);
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credit_lasts_as_long_as_it_pays() {
        let hours = |credit, hourly| runway(Money(credit), Money(hourly)).map(|lasts| lasts.as_secs() / 3600);
        assert_eq!(hours(7_000_000, 700_000), Some(10));
        assert_eq!(hours(-1, 700_000), Some(0), "a debt pays for nothing");
        assert_eq!(hours(7_000_000, 0), None, "what costs nothing lasts for ever");
        assert!(hours(i64::MAX, 1).is_some(), "no sum makes it panic");
    }
}
