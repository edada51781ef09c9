//! Durable duels, markets and money: one interface, two databases.
//!
//! A commit takes a batch of [`Record`]s and makes all of them durable in one transaction, or none; that is the group
//! commit which lets thousands of bets a second share one flush to disk. [`Store::load`] reads back the state those
//! records left. The SQL of the records is shared (`statements`); only connections, types and migrations differ.
//!
//! One server owns one database: SQLite by a lock file, PostgreSQL by an advisory lock.

mod address;
mod migrations;
mod postgres;
mod rows;
mod sqlite;
mod statements;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::arena::{Cents, DuelId, PlayerId, Record, State};
use crate::clock::Millis;

pub use address::{Address, AddressFault};
pub use migrations::{MigrationState, MigrationStatus};

/// What went wrong with the store, at which step.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("cannot {step} in the SQLite store")]
    Sqlite {
        /// What was attempted.
        step: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// PostgreSQL refused or went away.
    #[error("cannot {step} in the PostgreSQL store")]
    Postgres {
        /// What was attempted.
        step: &'static str,
        /// What PostgreSQL said.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The directory or lock file of the SQLite store cannot be used.
    #[error("cannot {step} `{}`", .path.display())]
    File {
        /// What was attempted.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another server works on the same database.
    #[error("another server holds the lock of {what}")]
    Locked {
        /// The lock file or the database.
        what: String,
    },
    /// A statement changed another number of rows than the record says: the store and the state disagree.
    #[error("a `{record}` record changed {rows} rows instead of one")]
    Inconsistent {
        /// The kind of record.
        record: &'static str,
        /// Rows changed.
        rows: u64,
    },
    /// A stored value is not one this server writes.
    #[error("the stored {what} `{value}` is unknown")]
    Unreadable {
        /// The column.
        what: &'static str,
        /// Its content.
        value: String,
    },
    /// The database was migrated by a newer server.
    #[error("the database is at schema {found}, this server knows only {known}")]
    NewerSchema {
        /// What the database says.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// An applied migration is not the one this server carries.
    #[error("migration {version} was applied with another content")]
    MigrationChanged {
        /// Its number.
        version: i64,
    },
    /// No connection at the moment.
    #[error("not connected to the database")]
    Disconnected,
    /// A worker of the store died.
    #[error("the store's worker is gone")]
    WorkerGone,
}

/// What a store gives back at start.
#[derive(Debug)]
pub struct Loaded {
    /// The state all committed records left.
    pub state: State,
    /// Whether the process before ended without its good-bye.
    pub crashed: bool,
}

/// One line of a player's account, newest first when listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerLine {
    /// Its number; page with the smallest one seen.
    pub id: i64,
    /// When, in Unix milliseconds.
    pub at: Millis,
    /// `grant`, `stake`, `payout` or `refund`.
    pub kind: String,
    /// Cents added to (or, negative, taken from) the balance.
    pub cents: Cents,
    /// The bet it belongs to.
    pub bet_id: Option<i64>,
}

/// One finished or running duel of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DuelLine {
    /// Its number.
    pub duel_id: DuelId,
    /// Id of agent A.
    pub agent1: String,
    /// Id of agent B.
    pub agent2: String,
    /// When it was announced, in Unix milliseconds.
    pub opened_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// `a` or `b`; none while running and when called off.
    pub winner: Option<String>,
    /// All stakes, in cents.
    pub pool_cents: Cents,
}

/// The books, added up by the database itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Cents ever granted.
    pub granted: Cents,
    /// Cents in players' balances.
    pub balances: Cents,
    /// Cents staked in bets not paid out yet.
    pub staked: Cents,
    /// Players whose balance is not the sum of their ledger.
    pub players_off: i64,
    /// Ended duels whose payouts are not exactly their stakes, or that left a bet unpaid.
    pub duels_off: i64,
    /// Bets ever accepted.
    pub bets: i64,
    /// The newest lines of the audit trail, newest first.
    pub trail: Vec<TrailLine>,
}

/// One line of the audit trail: a server that came or went, or a step of maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrailLine {
    /// When, in Unix milliseconds.
    pub at: Millis,
    /// `server_started`, `maintenance_entered`, …
    pub kind: String,
    /// The commit that ran, or the reason given.
    pub detail: String,
}

impl Audit {
    /// Whether every cent is accounted for.
    pub fn balanced(&self) -> bool {
        self.granted == self.balances + self.staked && self.players_off == 0 && self.duels_off == 0
    }
}

/// A durable home of the arena.
pub trait Store: Send + Sync {
    /// Reads the state back. Also the way to learn what a failed commit really did.
    fn load(&self, now: Millis) -> BoxFuture<'_, Result<Loaded, StoreError>>;

    /// Makes all records durable, or none. After an error the outcome is unknown: load before going on.
    fn commit(&self, records: Arc<[Record]>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// A real round trip, independent of a commit that may be under way.
    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// A page of a player's ledger, newest first, below line `before`.
    fn ledger(
        &self,
        player: PlayerId,
        before: i64,
        limit: i64,
    ) -> BoxFuture<'_, Result<Vec<LedgerLine>, StoreError>>;

    /// A page of the duels, newest first, below duel `before`.
    fn duels(&self, before: DuelId, limit: i64) -> BoxFuture<'_, Result<Vec<DuelLine>, StoreError>>;

    /// Adds up the books and reads the audit trail.
    fn audit(&self) -> BoxFuture<'_, Result<Audit, StoreError>>;
}

/// Opens the store, taking its lock and running every pending migration.
///
/// # Errors
/// When the database cannot be reached, is locked by another server, or has a schema from the future.
pub async fn open(address: &Address) -> Result<Arc<dyn Store>, StoreError> {
    match address {
        Address::Sqlite(path) => Ok(Arc::new(sqlite::SqliteStore::open(path).await?)),
        Address::Postgres(config) => Ok(Arc::new(postgres::PostgresStore::open(config).await?)),
    }
}

/// Opens the store for reading and adding up only: no lock, no migration.
///
/// # Errors
/// When the database cannot be reached or does not exist.
pub async fn open_read_only(address: &Address) -> Result<Arc<dyn Store>, StoreError> {
    match address {
        Address::Sqlite(path) => Ok(Arc::new(sqlite::SqliteStore::open_read_only(path).await?)),
        Address::Postgres(config) => Ok(Arc::new(postgres::PostgresStore::open_read_only(config).await?)),
    }
}

/// Which migrations the database has; nothing is changed.
///
/// # Errors
/// When the database cannot be reached.
pub async fn migration_status(address: &Address) -> Result<Vec<MigrationStatus>, StoreError> {
    match address {
        Address::Sqlite(path) => sqlite::migration_status(path).await,
        Address::Postgres(config) => postgres::migration_status(config).await,
    }
}

/// Brings the database to the newest schema, under its lock.
///
/// # Errors
/// As [`open`].
pub async fn migrate(address: &Address) -> Result<Vec<MigrationStatus>, StoreError> {
    drop(open(address).await?);
    migration_status(address).await
}
