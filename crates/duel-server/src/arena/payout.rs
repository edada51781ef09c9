//! Pari-mutuel settlement: the losers' stakes are shared among the winners in proportion to their stakes.
//!
//! Rounding: every share is rounded down, then the left-over cents go one by one to the largest remainders, the
//! earlier bet first on a tie. So the payouts add up to the pool exactly, whatever the stakes. There is no house cut.

use super::words::{Cents, Side};

/// A stake in a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stake {
    /// The bet's number; smaller is earlier.
    pub bet: i64,
    /// What was bet on.
    pub side: Side,
    /// How much, in cents, always positive.
    pub cents: Cents,
}

/// What a bet gets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Payout {
    /// The bet's number.
    pub bet: i64,
    /// Cents returned to the player, stake included; 0 for a lost bet.
    pub cents: Cents,
}

/// Settles a market: one payout per stake, in the order of the stakes, adding up to the stakes exactly.
///
/// `winner` is `None` for a duel that was called off. Then, and when nobody backed the winner, everybody gets the
/// stake back.
pub fn settle(stakes: &[Stake], winner: Option<Side>) -> Vec<Payout> {
    let pool: i128 = stakes.iter().map(|stake| i128::from(stake.cents)).sum();
    let winning = |stake: &&Stake| Some(stake.side) == winner;
    let backed: i128 = stakes.iter().filter(winning).map(|stake| i128::from(stake.cents)).sum();
    if backed == 0 {
        return stakes.iter().map(|stake| Payout { bet: stake.bet, cents: stake.cents }).collect();
    }
    let exact = |stake: &Stake| i128::from(stake.cents) * pool;
    let mut payouts: Vec<Payout> = stakes
        .iter()
        .map(|stake| {
            let share = if winning(&stake) { exact(stake) / backed } else { 0 };
            Payout { bet: stake.bet, cents: Cents::try_from(share).unwrap_or(Cents::MAX) }
        })
        .collect();
    let paid: i128 = payouts.iter().map(|payout| i128::from(payout.cents)).sum();
    let mut by_remainder: Vec<usize> = (0..stakes.len()).filter(|index| winning(&&stakes[*index])).collect();
    by_remainder.sort_by_key(|index| (-(exact(&stakes[*index]) % backed), stakes[*index].bet));
    let left_over = usize::try_from(pool - paid).unwrap_or(0);
    for index in by_remainder.into_iter().take(left_over) {
        payouts[index].cents += 1;
    }
    payouts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stake(bet: i64, side: Side, cents: Cents) -> Stake {
        Stake { bet, side, cents }
    }

    #[test]
    fn the_pool_is_shared_in_proportion() {
        let stakes = [stake(1, Side::A, 100), stake(2, Side::A, 300), stake(3, Side::B, 400)];
        let paid: Vec<Cents> = settle(&stakes, Some(Side::A)).iter().map(|payout| payout.cents).collect();
        assert_eq!(paid, [200, 600, 0]);
    }

    #[test]
    fn a_left_over_cent_goes_to_the_earliest_of_equals() {
        let stakes = [stake(1, Side::A, 1), stake(2, Side::A, 1), stake(3, Side::A, 1), stake(4, Side::B, 1)];
        let paid: Vec<Cents> = settle(&stakes, Some(Side::A)).iter().map(|payout| payout.cents).collect();
        assert_eq!(paid, [2, 1, 1, 0]);
    }

    #[test]
    fn a_winner_nobody_backed_and_a_called_off_duel_return_every_stake() {
        let stakes = [stake(1, Side::B, 5), stake(2, Side::B, 7)];
        for outcome in [Some(Side::A), None] {
            let paid: Vec<Cents> = settle(&stakes, outcome).iter().map(|payout| payout.cents).collect();
            assert_eq!(paid, [5, 7], "{outcome:?}");
        }
    }

    proptest! {
        #[test]
        fn cents_in_are_cents_out_and_no_winner_gets_less_than_the_stake(
            bets in prop::collection::vec((any::<bool>(), 1..=1_000_000_000_i64), 0..200),
            winner in prop::option::of(any::<bool>()),
        ) {
            let side = |is_a: bool| if is_a { Side::A } else { Side::B };
            let stakes: Vec<Stake> =
                bets.iter().enumerate().map(|(i, (a, cents))| stake(i as i64, side(*a), *cents)).collect();
            let payouts = settle(&stakes, winner.map(side));
            let total = |cents: &mut dyn Iterator<Item = Cents>| cents.map(i128::from).sum::<i128>();
            prop_assert_eq!(
                total(&mut payouts.iter().map(|payout| payout.cents)),
                total(&mut stakes.iter().map(|stake| stake.cents))
            );
            for (stake, payout) in stakes.iter().zip(&payouts) {
                prop_assert_eq!(stake.bet, payout.bet);
                prop_assert!(payout.cents >= 0);
                if Some(stake.side) == winner.map(side) {
                    prop_assert!(payout.cents >= stake.cents);
                }
            }
        }
    }
}
