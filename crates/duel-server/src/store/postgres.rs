//! The store in PostgreSQL.
//!
//! Two connections: one writer, which holds the advisory lock and runs every commit, and one reader. A lost
//! connection is opened again on the next use; the writer's lock is taken again with it, so a server that was cut off
//! while another took over is refused. Within a commit the statements are pipelined: one round trip per batch, not
//! per statement. TLS is used when the address asks for it (`sslmode`), verified against the bundled root
//! certificates.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use tokio::sync::Mutex;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::migrations::{self, MigrationStatus, POSTGRES};
use super::rows::{self, BetRow, DuelRow, Rows};
use super::statements::{self, Value};
use super::{Audit, DuelLine, LedgerLine, Loaded, Store, StoreError, TrailLine};
use crate::arena::{DuelId, PlayerId, Record};
use crate::clock::{Clock, Millis};

/// The advisory lock's key: "duel" in ASCII. One server per database.
const LOCK_KEY: i64 = 0x6475_656c;

/// A server that was killed may leave its session, and so the lock, behind for a moment: how long a start waits.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// A database that cannot be reached by then is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on which nothing is acknowledged for this long is dead.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause between two attempts at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Statements in flight at once within a commit; bounds memory when a large market settles.
const PIPELINE: usize = 512;

/// See the module.
pub struct PostgresStore {
    config: Config,
    writer: Mutex<Option<Session>>,
    reader: Mutex<Option<Session>>,
}

/// A connection with the statements prepared on it.
struct Session {
    client: Client,
    prepared: HashMap<&'static str, Statement>,
}

fn failed(step: &'static str) -> impl FnOnce(tokio_postgres::Error) -> StoreError {
    move |source| StoreError::Postgres { step, source }
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

impl Session {
    async fn prepare(&mut self, sql: &'static str, step: &'static str) -> Result<Statement, StoreError> {
        if let Some(known) = self.prepared.get(sql) {
            return Ok(known.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(failed(step))?;
        self.prepared.insert(sql, statement.clone());
        Ok(statement)
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

/// Which migrations the database has.
pub async fn migration_status(config: &Config) -> Result<Vec<MigrationStatus>, StoreError> {
    let session = connect(config).await?;
    Ok(migrations::compare(POSTGRES, &applied(&session.client).await?))
}

/// Gives every silence of the network an end, unless the address sets its own.
fn with_deadlines(config: &Config) -> Config {
    let mut config = config.clone();
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SILENCE_TIMEOUT);
    }
    config.keepalives_idle(SILENCE_TIMEOUT);
    config
}

async fn connect(config: &Config) -> Result<Session, StoreError> {
    const STEP: &str = "connect";
    let client = if config.get_ssl_mode() == tokio_postgres::config::SslMode::Require {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
        let (client, connection) = config.connect(tls).await.map_err(failed(STEP))?;
        tokio::spawn(connection.map(drop));
        client
    } else {
        let (client, connection) = config.connect(NoTls).await.map_err(failed(STEP))?;
        tokio::spawn(connection.map(drop));
        client
    };
    Ok(Session { client, prepared: HashMap::new() })
}

async fn take_lock(client: &Client) -> Result<(), StoreError> {
    const STEP: &str = "take the lock";
    let row =
        client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK_KEY]).await.map_err(failed(STEP))?;
    match row.try_get(0) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::Locked { what: String::from("the PostgreSQL database") }),
        Err(source) => Err(StoreError::Postgres { step: STEP, source }),
    }
}

async fn applied(client: &Client) -> Result<BTreeMap<i64, String>, StoreError> {
    const STEP: &str = "read the migrations";
    let exists = client
        .query_one("SELECT to_regclass('schema_migrations') IS NOT NULL", &[])
        .await
        .and_then(|row| row.try_get::<_, bool>(0))
        .map_err(failed(STEP))?;
    if !exists {
        return Ok(BTreeMap::new());
    }
    let rows = client.query(migrations::APPLIED, &[]).await.map_err(failed(STEP))?;
    let pair = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
    rows.iter().map(pair).collect::<Result<_, _>>().map_err(failed(STEP))
}

async fn migrate(client: &mut Client) -> Result<(), StoreError> {
    const STEP: &str = "run a migration";
    client.batch_execute(migrations::TABLE).await.map_err(failed("prepare the migrations"))?;
    let applied = applied(client).await?;
    for migration in migrations::pending(POSTGRES, &applied)? {
        let transaction = client.transaction().await.map_err(failed(STEP))?;
        transaction.batch_execute(migration.sql).await.map_err(failed(STEP))?;
        let now = Clock::start().now();
        transaction
            .execute(
                migrations::REMEMBER,
                &[&migration.version, &migration.name, &migration.checksum(), &now],
            )
            .await
            .map_err(failed(STEP))?;
        transaction.commit().await.map_err(failed(STEP))?;
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut tokio_postgres::types::private::BytesMut,
    ) -> Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Int(number) => number.to_sql(kind, out),
            Self::Text(text) => text.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        <i64 as ToSql>::accepts(kind) || <String as ToSql>::accepts(kind)
    }

    tokio_postgres::types::to_sql_checked!();
}

async fn commit(session: &mut Session, records: &[Record]) -> Result<(), StoreError> {
    let statements: Vec<statements::Statement> = records.iter().flat_map(statements::of).collect();
    let mut prepared = Vec::with_capacity(statements.len());
    for statement in &statements {
        prepared.push(session.prepare(statement.sql, "prepare a record").await?);
    }
    let transaction = session.client.transaction().await.map_err(failed("begin"))?;
    for (chunk, prepared) in statements.chunks(PIPELINE).zip(prepared.chunks(PIPELINE)) {
        let writes = chunk.iter().zip(prepared).map(|(statement, prepared)| {
            let transaction = &transaction;
            async move {
                let values = statement.values.iter().map(|value| value as &(dyn ToSql + Sync));
                let values: Vec<_> = values.collect();
                transaction.execute(prepared, &values).await
            }
        });
        let changed = try_join_all(writes).await.map_err(failed("write a record"))?;
        for (statement, rows) in chunk.iter().zip(changed) {
            if statement.exactly_one && rows != 1 {
                return Err(StoreError::Inconsistent { record: statement.record, rows });
            }
        }
    }
    transaction.commit().await.map_err(failed("commit"))
}

async fn read_rows(client: &Client) -> Result<Rows, StoreError> {
    const STEP: &str = "load the state";
    let numbers = client.query_one(rows::NUMBERS, &[]).await.map_err(failed(STEP))?;
    let duel = client.query_opt(rows::DUEL, &[]).await.map_err(failed(STEP))?;
    let duel = duel.as_ref().map(duel_row).transpose().map_err(failed(STEP))?;
    let bets = match &duel {
        Some(duel) => client.query(rows::BETS, &[&duel.id]).await.map_err(failed(STEP))?,
        None => Vec::new(),
    };
    let players = client.query(rows::PLAYERS, &[]).await.map_err(failed(STEP))?;
    let scores = client.query(rows::SCORES, &[]).await.map_err(failed(STEP))?;
    let maintenance = client.query_opt(rows::MAINTENANCE, &[]).await.map_err(failed(STEP))?;
    let life_sign = client.query_opt(rows::LAST_LIFE_SIGN, &[]).await.map_err(failed(STEP))?;
    let collect = || {
        Ok(Rows {
            players: players
                .iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
                .collect::<Result<_, _>>()?,
            bets: bets.iter().map(bet_row).collect::<Result<_, _>>()?,
            scores: scores.iter().map(four).collect::<Result<_, _>>()?,
            last_duel: numbers.try_get(0)?,
            last_bet: numbers.try_get(1)?,
            maintenance: maintenance
                .as_ref()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)))
                .transpose()?,
            last_life_sign: life_sign.as_ref().map(|row| row.try_get(0)).transpose()?,
            duel,
        })
    };
    collect().map_err(failed(STEP))
}

fn four(row: &Row) -> Result<(String, String, String, i64), tokio_postgres::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
}

fn duel_row(row: &Row) -> Result<DuelRow, tokio_postgres::Error> {
    Ok(DuelRow {
        id: row.try_get(0)?,
        seed: row.try_get(1)?,
        agents: [row.try_get(2)?, row.try_get(3)?],
        phase: row.try_get(4)?,
        market: row.try_get(5)?,
        opened_at: row.try_get(6)?,
        phase_started_at: row.try_get(7)?,
        phase_ends_at: row.try_get(8)?,
        fight_started_at: row.try_get(9)?,
        fight_ended_at: row.try_get(10)?,
        winner: row.try_get(11)?,
    })
}

fn bet_row(row: &Row) -> Result<BetRow, tokio_postgres::Error> {
    Ok(BetRow {
        id: row.try_get(0)?,
        player: row.try_get(1)?,
        key: row.try_get(2)?,
        side: row.try_get(3)?,
        cents: row.try_get(4)?,
        at: row.try_get(5)?,
    })
}
