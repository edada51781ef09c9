//! Commands: what people ask of the arena, and why it may refuse.

use super::duel::{Bet, Stage};
use super::record::Record;
use super::state::State;
use super::words::{BetKey, Cents, DuelId, MarketStatus, PlayerId, Side};
use crate::clock::Millis;

/// Largest stake of one bet: 10,000.00.
pub const MAX_STAKE: Cents = 1_000_000;

/// Most players one server keeps; beyond it joining is refused, so that memory stays bounded.
pub const MAX_PLAYERS: usize = 200_000;

/// Most bets one market takes; beyond it betting is refused, so that settlement stays bounded.
pub const MAX_BETS: usize = 500_000;

/// Longest display name, in characters.
pub const MAX_NAME_CHARS: usize = 32;

/// Longest maintenance reason, in characters.
pub const MAX_REASON_CHARS: usize = 500;

/// A bet somebody wants to place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BetRequest {
    /// Who.
    pub player: PlayerId,
    /// The duel the player means; guards against a bet that arrives one duel late.
    pub duel: DuelId,
    /// On whom.
    pub side: Side,
    /// How much.
    pub cents: Cents,
    /// The idempotency key: the same key again is the same bet.
    pub key: BetKey,
}

/// Why a command was refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token names a player this server does not know.
    #[error("no such player")]
    UnknownPlayer,
    /// The server is full.
    #[error("no more players are taken")]
    TooManyPlayers,
    /// The market is full.
    #[error("the market takes no more bets")]
    MarketFull,
    /// The stake is not in 1..=[`MAX_STAKE`].
    #[error("a stake is 1 to {MAX_STAKE} cents")]
    StakeOutOfRange,
    /// The stake exceeds the balance.
    #[error("the balance is {balance} cents")]
    InsufficientFunds {
        /// What the player has.
        balance: Cents,
    },
    /// The bet names another duel than the running one.
    #[error("duel {asked} is not the running one")]
    WrongDuel {
        /// The duel asked for.
        asked: DuelId,
        /// The running one.
        current: Option<DuelId>,
    },
    /// The market takes no bets now.
    #[error("the market of duel {duel} is {}", .status.as_str())]
    MarketNotOpen {
        /// The duel.
        duel: DuelId,
        /// The market's status.
        status: MarketStatus,
    },
    /// The key was used for a different bet on the same duel.
    #[error("the idempotency key was used for a different bet")]
    KeyReused,
    /// Maintenance is active already.
    #[error("maintenance mode already active")]
    MaintenanceActive {
        /// Since when.
        entered_at: Millis,
        /// Why.
        reason: String,
    },
    /// Maintenance is not active.
    #[error("maintenance mode not active")]
    MaintenanceInactive,
}

impl State {
    /// A new player joins with a starting balance.
    ///
    /// # Errors
    /// [`Refusal::TooManyPlayers`].
    pub fn join(&self, player: PlayerId, name: String, grant: Cents, now: Millis) -> Result<Record, Refusal> {
        if self.players.len() >= MAX_PLAYERS || self.players.contains_key(&player) {
            return Err(Refusal::TooManyPlayers);
        }
        Ok(Record::PlayerJoined { player, name, grant, at: now })
    }

    /// The bet this request repeats, if the same player used the same key for the same duel before.
    ///
    /// # Errors
    /// [`Refusal::KeyReused`] when the earlier bet was a different one.
    pub fn repeated_bet(&self, request: &BetRequest) -> Result<Option<&Bet>, Refusal> {
        let running = self.duel.as_ref().filter(|duel| duel.id == request.duel);
        match running.and_then(|duel| duel.bet_under(&request.player, &request.key)) {
            Some(bet) if bet.side == request.side && bet.cents == request.cents => Ok(Some(bet)),
            Some(_) => Err(Refusal::KeyReused),
            None => Ok(None),
        }
    }

    /// Takes a bet.
    ///
    /// # Errors
    /// Whatever makes the bet impossible; see [`Refusal`].
    pub fn bet(&self, request: &BetRequest, now: Millis) -> Result<Record, Refusal> {
        let player = self.players.get(&request.player).ok_or(Refusal::UnknownPlayer)?;
        if !(1..=MAX_STAKE).contains(&request.cents) {
            return Err(Refusal::StakeOutOfRange);
        }
        let wrong = |current| Refusal::WrongDuel { asked: request.duel, current };
        let duel = self.duel.as_ref().ok_or(wrong(None))?;
        if duel.id != request.duel {
            return Err(wrong(Some(duel.id)));
        }
        // The countdown may be over although the step to the fight has not been taken yet.
        if duel.market() != MarketStatus::Open || now >= duel.phase_ends_at {
            let status =
                if duel.market() == MarketStatus::Open { MarketStatus::Locked } else { duel.market() };
            return Err(Refusal::MarketNotOpen { duel: duel.id, status });
        }
        if duel.bets.len() >= MAX_BETS {
            return Err(Refusal::MarketFull);
        }
        if player.balance < request.cents {
            return Err(Refusal::InsufficientFunds { balance: player.balance });
        }
        Ok(Record::BetPlaced {
            bet: self.next_bet,
            duel: duel.id,
            player: request.player.clone(),
            key: request.key.clone(),
            side: request.side,
            cents: request.cents,
            at: now,
        })
    }

    /// Enters maintenance: no new duel, and an open market locks at once.
    ///
    /// # Errors
    /// [`Refusal::MaintenanceActive`].
    pub fn enter_maintenance(
        &self,
        reason: String,
        timeout: Millis,
        now: Millis,
    ) -> Result<Vec<Record>, Refusal> {
        if let Some(active) = &self.maintenance {
            let reason = active.reason.clone();
            return Err(Refusal::MaintenanceActive { entered_at: active.entered_at, reason });
        }
        let entered = Record::MaintenanceEntered { reason, at: now, deadline: now.saturating_add(timeout) };
        let lock = self
            .duel
            .as_ref()
            .filter(|duel| duel.market() == MarketStatus::Open)
            .map(|duel| Record::MarketLocked { duel: duel.id, at: now });
        Ok([Some(entered), lock].into_iter().flatten().collect())
    }

    /// Leaves maintenance; a market that maintenance closed before the fight opens again.
    ///
    /// # Errors
    /// [`Refusal::MaintenanceInactive`].
    pub fn exit_maintenance(&self, now: Millis) -> Result<Vec<Record>, Refusal> {
        if self.maintenance.is_none() {
            return Err(Refusal::MaintenanceInactive);
        }
        let reopen = self
            .duel
            .as_ref()
            .filter(|duel| duel.stage == Stage::Countdown { betting: false })
            .map(|duel| Record::MarketReopened { duel: duel.id, at: now });
        let exited = Record::MaintenanceExited { at: now, next_at: now };
        Ok([Some(exited), reopen].into_iter().flatten().collect())
    }
}
