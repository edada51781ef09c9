//! The store in one SQLite file.
//!
//! WAL with `synchronous=FULL`: a commit returns after its flush to disk. One writer connection and one reader, each
//! behind a lock and only touched on blocking threads. `<file>.lock` is held for as long as the store is open.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, ToSql, params};
use rustix::fs::{FlockOperation, flock};

use super::migrations::{self, MigrationStatus, SQLITE};
use super::rows::{self, BetRow, DuelRow, Rows};
use super::statements::{self, Value};
use super::{Audit, DuelLine, LedgerLine, Loaded, Store, StoreError, TrailLine};
use crate::arena::{DuelId, PlayerId, Record};
use crate::clock::{Clock, Millis};

/// How long a statement waits for a lock that another process (a backup, say) holds on the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// A page cache of 2 MiB per connection: the working set is the running duel, and the server is to stay small.
const CACHE_KIB: i64 = 2048;

type Shared = Arc<Mutex<Connection>>;

/// See the module.
pub struct SqliteStore {
    writer: Shared,
    reader: Shared,
    _lock: Option<File>,
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Int(number) => ToSqlOutput::from(*number),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

fn failed(step: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sqlite { step, source }
}

impl SqliteStore {
    /// Opens or creates the file, takes its lock, migrates.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        blocking(move || {
            let lock = take_lock(&path)?;
            let mut writer = connect(&path, OpenFlags::default()).map_err(failed("open the database"))?;
            migrate(&mut writer)?;
            let reader = connect(&path, OpenFlags::default()).map_err(failed("open the reader"))?;
            reader.pragma_update(None, "query_only", true).map_err(failed("open the reader"))?;
            Ok(Self { writer: share(writer), reader: share(reader), _lock: Some(lock) })
        })
        .await
    }

    /// Opens an existing file for reading.
    pub async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        blocking(move || {
            let open = || {
                let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
                connection.pragma_update(None, "query_only", true)?;
                Ok(share(connection))
            };
            let reader = open().map_err(failed("open the database"))?;
            Ok(Self { writer: Arc::clone(&reader), reader, _lock: None })
        })
        .await
    }

    fn read<T: Send + 'static>(
        &self,
        step: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let reader = Arc::clone(&self.reader);
        blocking(move || with(&reader, |connection| query(connection)).map_err(failed(step))).boxed()
    }
}

impl Store for SqliteStore {
    fn load(&self, now: Millis) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        // Through the writer: a commit whose outcome is unknown has finished once its lock is free.
        let writer = Arc::clone(&self.writer);
        blocking(move || {
            let rows = with(&writer, |connection| read_rows(connection)).map_err(failed("load the state"))?;
            rows.into_loaded(now)
        })
        .boxed()
    }

    fn commit(&self, records: Arc<[Record]>) -> BoxFuture<'_, Result<(), StoreError>> {
        let writer = Arc::clone(&self.writer);
        blocking(move || with(&writer, |connection| commit(connection, &records))).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        // Reads a page of the file, which `SELECT 1` would not.
        self.read("ping", |connection| {
            connection.query_row("SELECT COUNT(*) FROM schema_migrations", [], |_| Ok(()))
        })
    }

    fn ledger(
        &self,
        player: PlayerId,
        before: i64,
        limit: i64,
    ) -> BoxFuture<'_, Result<Vec<LedgerLine>, StoreError>> {
        self.read("read a ledger", move |connection| {
            let line = |row: &Row<'_>| {
                let (id, at, kind) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(LedgerLine { id, at, kind, cents: row.get(3)?, bet_id: row.get(4)? })
            };
            let mut statement = connection.prepare_cached(rows::LEDGER)?;
            statement.query_map(params![player.as_str(), before, limit], line)?.collect()
        })
    }

    fn duels(&self, before: DuelId, limit: i64) -> BoxFuture<'_, Result<Vec<DuelLine>, StoreError>> {
        self.read("read the duels", move |connection| {
            let line = |row: &Row<'_>| {
                Ok(DuelLine {
                    duel_id: row.get(0)?,
                    agent1: row.get(1)?,
                    agent2: row.get(2)?,
                    opened_at: row.get(3)?,
                    ended_at: row.get(4)?,
                    winner: row.get(5)?,
                    pool_cents: row.get(6)?,
                })
            };
            let mut statement = connection.prepare_cached(rows::DUELS)?;
            statement.query_map(params![before, limit], line)?.collect()
        })
    }

    fn audit(&self) -> BoxFuture<'_, Result<Audit, StoreError>> {
        self.read("add up the books", |connection| {
            let line =
                |row: &Row<'_>| Ok(TrailLine { at: row.get(0)?, kind: row.get(1)?, detail: row.get(2)? });
            let trail = connection.prepare(rows::TRAIL)?.query_map([], line)?.collect::<Result<_, _>>()?;
            connection.query_row(rows::AUDIT, [], |row| {
                Ok(Audit {
                    granted: row.get(0)?,
                    balances: row.get(1)?,
                    staked: row.get(2)?,
                    players_off: row.get(3)?,
                    duels_off: row.get(4)?,
                    bets: row.get(5)?,
                    trail,
                })
            })
        })
    }
}

/// Which migrations the file has; a file that does not exist has none.
pub async fn migration_status(path: &Path) -> Result<Vec<MigrationStatus>, StoreError> {
    let path = path.to_owned();
    blocking(move || {
        if !path.exists() {
            return Ok(migrations::compare(SQLITE, &BTreeMap::new()));
        }
        let connection =
            connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed("open the database"))?;
        let applied = applied(&connection).map_err(failed("read the migrations"))?;
        Ok(migrations::compare(SQLITE, &applied))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::WorkerGone))
}

fn share(connection: Connection) -> Shared {
    Arc::new(Mutex::new(connection))
}

fn with<T>(shared: &Shared, work: impl FnOnce(&mut Connection) -> T) -> T {
    // A panic inside a transaction rolls it back on drop, so the connection behind a poisoned lock is sound.
    work(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

fn take_lock(database: &Path) -> Result<File, StoreError> {
    let file_error = |step, path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::File { step, path, source }
    };
    if let Some(folder) = database.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(file_error("create the folder", folder))?;
    }
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(file_error("open the lock file", &path))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| StoreError::Locked { what: path.display().to_string() })?;
    Ok(file)
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(connection)
}

fn applied(connection: &Connection) -> rusqlite::Result<BTreeMap<i64, String>> {
    let found = "SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations'";
    if connection.query_row(found, [], |_| Ok(())).optional()?.is_none() {
        return Ok(BTreeMap::new());
    }
    let mut statement = connection.prepare(migrations::APPLIED)?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    connection.execute_batch(migrations::TABLE).map_err(failed("prepare the migrations"))?;
    let applied = applied(connection).map_err(failed("read the migrations"))?;
    for migration in migrations::pending(SQLITE, &applied)? {
        let run = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            transaction.execute_batch(migration.sql)?;
            let now = Clock::start().now();
            let row = params![migration.version, migration.name, migration.checksum(), now];
            transaction.execute(migrations::REMEMBER, row)?;
            transaction.commit()
        };
        run(connection).map_err(failed("run a migration"))?;
    }
    Ok(())
}

fn commit(connection: &mut Connection, records: &[Record]) -> Result<(), StoreError> {
    let sqlite = failed;
    let transaction = connection.transaction().map_err(sqlite("begin"))?;
    for statement in records.iter().flat_map(statements::of) {
        let mut prepared = transaction.prepare_cached(statement.sql).map_err(sqlite("prepare a record"))?;
        let rows = prepared
            .execute(rusqlite::params_from_iter(&statement.values))
            .map_err(sqlite("write a record"))?;
        if statement.exactly_one && rows != 1 {
            return Err(StoreError::Inconsistent { record: statement.record, rows: rows as u64 });
        }
    }
    transaction.commit().map_err(sqlite("commit"))
}

fn read_rows(connection: &Connection) -> rusqlite::Result<Rows> {
    let (last_duel, last_bet) =
        connection.query_row(rows::NUMBERS, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let duel = connection.query_row(rows::DUEL, [], duel_row).optional()?;
    let bets = match &duel {
        Some(duel) => {
            connection.prepare(rows::BETS)?.query_map([duel.id], bet_row)?.collect::<Result<_, _>>()?
        }
        None => Vec::new(),
    };
    let four = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    Ok(Rows {
        players: connection
            .prepare(rows::PLAYERS)?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?,
        duel,
        bets,
        scores: connection.prepare(rows::SCORES)?.query_map([], four)?.collect::<Result<_, _>>()?,
        last_duel,
        last_bet,
        maintenance: connection
            .query_row(rows::MAINTENANCE, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?,
        last_life_sign: connection.query_row(rows::LAST_LIFE_SIGN, [], |row| row.get(0)).optional()?,
    })
}

fn duel_row(row: &Row<'_>) -> rusqlite::Result<DuelRow> {
    Ok(DuelRow {
        id: row.get(0)?,
        seed: row.get(1)?,
        agents: [row.get(2)?, row.get(3)?],
        phase: row.get(4)?,
        market: row.get(5)?,
        opened_at: row.get(6)?,
        phase_started_at: row.get(7)?,
        phase_ends_at: row.get(8)?,
        fight_started_at: row.get(9)?,
        fight_ended_at: row.get(10)?,
        winner: row.get(11)?,
    })
}

fn bet_row(row: &Row<'_>) -> rusqlite::Result<BetRow> {
    Ok(BetRow {
        id: row.get(0)?,
        player: row.get(1)?,
        key: row.get(2)?,
        side: row.get(3)?,
        cents: row.get(4)?,
        at: row.get(5)?,
    })
}
