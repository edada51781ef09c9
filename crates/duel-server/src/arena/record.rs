//! What happened: the only thing that changes a state, and what the store makes durable.

use super::payout::Payout;
use super::words::{BetKey, Cents, DuelId, PlayerId, Side};
use crate::clock::Millis;

/// One durable fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A player joined and was granted a starting balance.
    PlayerJoined {
        /// The new player.
        player: PlayerId,
        /// Display name.
        name: String,
        /// Starting balance.
        grant: Cents,
        /// When.
        at: Millis,
    },
    /// A bet was accepted; its stake left the player's balance.
    BetPlaced {
        /// The bet's number, counted from 1.
        bet: i64,
        /// The duel bet on.
        duel: DuelId,
        /// Who bet.
        player: PlayerId,
        /// The client's idempotency key.
        key: BetKey,
        /// What was bet on.
        side: Side,
        /// The stake.
        cents: Cents,
        /// When.
        at: Millis,
    },
    /// A duel was announced and its market opened.
    DuelOpened {
        /// The duel's number.
        duel: DuelId,
        /// The seed that fixes the fight; published only when the winner is.
        seed: u64,
        /// Id of agent A.
        a: String,
        /// Id of agent B.
        b: String,
        /// When.
        at: Millis,
        /// End of the countdown.
        ends_at: Millis,
    },
    /// The market of the running countdown was closed early (maintenance).
    MarketLocked {
        /// The duel.
        duel: DuelId,
        /// When.
        at: Millis,
    },
    /// The market closed early was opened again.
    MarketReopened {
        /// The duel.
        duel: DuelId,
        /// When.
        at: Millis,
    },
    /// The fight began; the market is locked from here on.
    FightStarted {
        /// The duel.
        duel: DuelId,
        /// When.
        at: Millis,
        /// End of the fight.
        ends_at: Millis,
    },
    /// The fight ended.
    WinnerAnnounced {
        /// The duel.
        duel: DuelId,
        /// Who won.
        winner: Side,
        /// When.
        at: Millis,
        /// End of the announcement.
        ends_at: Millis,
    },
    /// Every bet of the duel was paid out.
    MarketSettled {
        /// The duel.
        duel: DuelId,
        /// One payout per bet, adding up to the pool.
        payouts: Vec<Payout>,
        /// When.
        at: Millis,
    },
    /// The duel is over.
    DuelEnded {
        /// The duel.
        duel: DuelId,
        /// When it was announced.
        opened_at: Millis,
        /// When.
        at: Millis,
        /// Before this, no next duel starts.
        next_at: Millis,
    },
    /// An interrupted duel was called off and every stake returned.
    DuelCalledOff {
        /// The duel.
        duel: DuelId,
        /// One refund per bet.
        refunds: Vec<Payout>,
        /// When.
        at: Millis,
        /// Before this, no next duel starts.
        next_at: Millis,
    },
    /// Maintenance began: no new duel starts until it ends.
    MaintenanceEntered {
        /// Why, in the operator's words.
        reason: String,
        /// When.
        at: Millis,
        /// Until when the wait for open markets may last.
        deadline: Millis,
    },
    /// No duel and no market is left: safe to deploy.
    MaintenanceSafe {
        /// When.
        at: Millis,
    },
    /// The deadline passed with a market unresolved.
    MaintenanceTimedOut {
        /// When.
        at: Millis,
    },
    /// Maintenance ended.
    MaintenanceExited {
        /// When.
        at: Millis,
        /// Before this, no next duel starts.
        next_at: Millis,
    },
    /// The server process took over the store.
    ServerStarted {
        /// When.
        at: Millis,
    },
    /// The server process left in good order; a start without this before it follows a crash.
    ServerStopped {
        /// When.
        at: Millis,
    },
}
