//! How everybody else talks to the director: typed questions into a bounded queue.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::arena::{BetRequest, Cents, DuelId, Player, PlayerId, Refusal, Side};
use crate::clock::Millis;
use crate::view::View;

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The arena refuses; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store is lost; whether the command happened is unknown until it is back.
    #[error("the store is not available")]
    StoreLost,
    /// Too many commands are waiting; nothing has changed.
    #[error("too many commands are waiting")]
    Busy,
    /// The server is stopping; nothing has changed.
    #[error("the server is stopping")]
    Stopping,
}

/// An accepted bet, as the bettor gets it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedBet {
    /// The bet's number.
    pub bet: i64,
    /// The duel.
    pub duel: DuelId,
    /// On whom.
    pub side: Side,
    /// The stake.
    pub cents: Cents,
    /// What is left to spend.
    pub balance: Cents,
    /// When it was accepted.
    pub at: Millis,
    /// Whether this repeats a bet accepted before under the same key.
    pub repeated: bool,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, CommandError>>;

/// A command with the place for its answer.
pub(super) enum Command {
    Join { player: PlayerId, name: String, reply: Reply<Player> },
    Account { player: PlayerId, reply: Reply<Player> },
    Bet { request: BetRequest, reply: Reply<AcceptedBet> },
    EnterMaintenance { reason: String, timeout: Millis, reply: Reply<Millis> },
    ExitMaintenance { reply: Reply<Millis> },
}

impl Command {
    /// Answers without having done anything.
    pub(super) fn refuse(self, error: CommandError) {
        // The asker may have gone already.
        match self {
            Self::Join { reply, .. } => drop(reply.send(Err(error))),
            Self::Account { reply, .. } => drop(reply.send(Err(error))),
            Self::Bet { reply, .. } => drop(reply.send(Err(error))),
            Self::EnterMaintenance { reply, .. } => drop(reply.send(Err(error))),
            Self::ExitMaintenance { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// How everybody else talks to the director.
#[derive(Clone)]
pub struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) view: watch::Receiver<Arc<View>>,
}

impl Handle {
    /// The newest view.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// A receiver of every newer view.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Adds a player with the starting balance.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn join(&self, player: PlayerId, name: String) -> Result<Player, CommandError> {
        self.ask(|reply| Command::Join { player, name, reply }).await
    }

    /// Looks a player up.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn account(&self, player: PlayerId) -> Result<Player, CommandError> {
        self.ask(|reply| Command::Account { player, reply }).await
    }

    /// Places a bet; it is durable when this returns.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn bet(&self, request: BetRequest) -> Result<AcceptedBet, CommandError> {
        self.ask(|reply| Command::Bet { request, reply }).await
    }

    /// Enters maintenance and returns when it was entered; the wait for safety is the caller's.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn enter_maintenance(&self, reason: String, timeout: Millis) -> Result<Millis, CommandError> {
        self.ask(|reply| Command::EnterMaintenance { reason, timeout, reply }).await
    }

    /// Leaves maintenance and returns how many milliseconds it lasted.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn exit_maintenance(&self) -> Result<Millis, CommandError> {
        self.ask(|reply| Command::ExitMaintenance { reply }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, CommandError> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(command(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CommandError::Busy,
            mpsc::error::TrySendError::Closed(_) => CommandError::Stopping,
        })?;
        answer.await.unwrap_or(Err(CommandError::Stopping))
    }
}
