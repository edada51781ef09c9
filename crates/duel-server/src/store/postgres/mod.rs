//! The store in PostgreSQL.
//!
//! Two connections: one writer, which holds the advisory lock and runs every commit, and one reader. A lost
//! connection is opened again on the next use; the writer's lock is taken again with it, so a server that was cut off
//! while another took over is refused. Within a commit the statements are pipelined: one round trip per batch, not
//! per statement. TLS is used when the address asks for it (`sslmode`), verified against the bundled root
//! certificates.

mod session;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};

use super::rows;
use super::{Audit, DuelLine, LedgerLine, Loaded, Store, StoreError, TrailLine};
use crate::arena::{DuelId, PlayerId, Record};
use crate::clock::Millis;

pub use session::migration_status;
use session::{Session, commit, connect, failed, migrate, read_rows, take_lock, with_deadlines};

/// A server that was killed may leave its session, and so the lock, behind for a moment: how long a start waits.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Pause between two attempts at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// See the module.
pub struct PostgresStore {
    config: Config,
    writer: Mutex<Option<Session>>,
    reader: Mutex<Option<Session>>,
}

impl PostgresStore {
    /// Connects, takes the lock, migrates.
    pub async fn open(config: &Config) -> Result<Self, StoreError> {
        let store = Self::open_read_only(config).await?;
        let mut session = connect(&store.config).await?;
        let patience = tokio::time::Instant::now() + LOCK_PATIENCE;
        loop {
            match take_lock(&session.client).await {
                Err(StoreError::Locked { .. }) if tokio::time::Instant::now() < patience => {
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                outcome => break outcome?,
            }
        }
        migrate(&mut session.client).await?;
        *store.writer.lock().await = Some(session);
        Ok(store)
    }

    /// Connects for reading.
    pub async fn open_read_only(config: &Config) -> Result<Self, StoreError> {
        let config = with_deadlines(config);
        let reader = Mutex::new(Some(connect(&config).await?));
        Ok(Self { config, writer: Mutex::new(None), reader })
    }

    /// Runs a query on the reader, reconnecting first where needed.
    async fn query(
        &self,
        step: &'static str,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let mut slot = self.reader.lock().await;
        if slot.as_ref().is_none_or(|session| session.client.is_closed()) {
            *slot = Some(connect(&self.config).await?);
        }
        let session = slot.as_mut().ok_or(StoreError::Disconnected)?;
        let statement = session.prepare(sql, step).await?;
        session.client.query(&statement, values).await.map_err(failed(step))
    }
}

impl Store for PostgresStore {
    fn load(&self, now: Millis) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        async move {
            let mut slot = self.writer.lock().await;
            if slot.as_ref().is_none_or(|session| session.client.is_closed()) {
                // The server's own old session may still hold the lock for a moment; the caller tries again.
                let session = connect(&self.config).await?;
                take_lock(&session.client).await?;
                *slot = Some(session);
            }
            let session = slot.as_ref().ok_or(StoreError::Disconnected)?;
            read_rows(&session.client).await?.into_loaded(now)
        }
        .boxed()
    }

    fn commit(&self, records: Arc<[Record]>) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let mut slot = self.writer.lock().await;
            // Taken out for the time of the commit: a commit that fails or is abandoned half-way leaves the slot
            // empty, which closes its connection and so rolls it back.
            let mut session =
                slot.take().filter(|it| !it.client.is_closed()).ok_or(StoreError::Disconnected)?;
            commit(&mut session, &records).await?;
            *slot = Some(session);
            Ok(())
        }
        .boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { self.query("ping", "SELECT 1", &[]).await.map(drop) }.boxed()
    }

    fn ledger(
        &self,
        player: PlayerId,
        before: i64,
        limit: i64,
    ) -> BoxFuture<'_, Result<Vec<LedgerLine>, StoreError>> {
        async move {
            const STEP: &str = "read a ledger";
            let found = self.query(STEP, rows::LEDGER, &[&player.as_str(), &before, &limit]).await?;
            let line = |row: &Row| {
                let (id, at, kind) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                Ok(LedgerLine { id, at, kind, cents: row.try_get(3)?, bet_id: row.try_get(4)? })
            };
            found.iter().map(line).collect::<Result<_, _>>().map_err(failed(STEP))
        }
        .boxed()
    }

    fn duels(&self, before: DuelId, limit: i64) -> BoxFuture<'_, Result<Vec<DuelLine>, StoreError>> {
        async move {
            const STEP: &str = "read the duels";
            let found = self.query(STEP, rows::DUELS, &[&before, &limit]).await?;
            let line = |row: &Row| {
                Ok(DuelLine {
                    duel_id: row.try_get(0)?,
                    agent1: row.try_get(1)?,
                    agent2: row.try_get(2)?,
                    opened_at: row.try_get(3)?,
                    ended_at: row.try_get(4)?,
                    winner: row.try_get(5)?,
                    pool_cents: row.try_get(6)?,
                })
            };
            found.iter().map(line).collect::<Result<_, _>>().map_err(failed(STEP))
        }
        .boxed()
    }

    fn audit(&self) -> BoxFuture<'_, Result<Audit, StoreError>> {
        async move {
            const STEP: &str = "add up the books";
            let found = self.query(STEP, rows::AUDIT, &[]).await?;
            let row = found.first().ok_or(StoreError::Disconnected)?;
            let lines = self.query(STEP, rows::TRAIL, &[]).await?;
            let line = |row: &Row| {
                Ok(TrailLine { at: row.try_get(0)?, kind: row.try_get(1)?, detail: row.try_get(2)? })
            };
            let read = || {
                Ok(Audit {
                    trail: lines.iter().map(line).collect::<Result<_, _>>()?,
                    granted: row.try_get(0)?,
                    balances: row.try_get(1)?,
                    staked: row.try_get(2)?,
                    players_off: row.try_get(3)?,
                    duels_off: row.try_get(4)?,
                    bets: row.try_get(5)?,
                })
            };
            read().map_err(failed(STEP))
        }
        .boxed()
    }
}
