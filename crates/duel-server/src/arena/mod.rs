//! The pure core: duels, betting markets, money and maintenance as one state machine over records.
//!
//! ```text
//! phase    IDLE ──► COUNTDOWN ──► FIGHTING ──► ANNOUNCEMENT ──► IDLE
//! market            OPEN ───────► LOCKED ────────► RESOLVED            (refunded: RESOLVED with every stake returned)
//! upkeep   NOT_ACTIVE ──► WAITING ──► SAFE ──► NOT_ACTIVE              (WAITING ──► TIMED_OUT ──► SAFE)
//! ```
//!
//! A command or the passing of time is *decided* against a [`State`] into [`Record`]s; the records are made durable;
//! [`State::apply`] is the only way the state changes, live and on reload alike. Nothing here reads a clock, draws
//! randomness, logs or does IO: `now` and seeds are arguments.

mod cycle;
mod decide;
mod duel;
mod fight;
mod payout;
mod record;
mod roster;
mod state;
#[cfg(test)]
mod story;
mod words;

pub use cycle::Timing;
pub use decide::{BetRequest, MAX_BETS, MAX_NAME_CHARS, MAX_PLAYERS, MAX_REASON_CHARS, MAX_STAKE, Refusal};
pub use duel::{Bet, Duel, Stage};
pub use fight::{Fight, Hit};
pub use payout::{Payout, Stake, settle};
pub use record::Record;
pub use roster::{AGENTS, Agent};
pub use state::{AgentScore, LastDuel, Maintenance, MaintenanceStage, Player, State};
pub use words::{BetKey, Cents, DuelId, MarketStatus, Phase, PlayerId, Side};
