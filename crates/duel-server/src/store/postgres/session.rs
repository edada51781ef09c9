//! One connection: opening, locking, migrating, committing, loading.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::try_join_all;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::super::StoreError;
use super::super::migrations::{self, MigrationStatus, POSTGRES};
use super::super::rows::{self, BetRow, DuelRow, Rows};
use super::super::statements::{self, Value};
use crate::arena::Record;
use crate::clock::Clock;

/// The advisory lock's key: "duel" in ASCII. One server per database.
const LOCK_KEY: i64 = 0x6475_656c;

/// A database that cannot be reached by then is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on which nothing is acknowledged for this long is dead.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// Statements in flight at once within a commit; bounds memory when a large market settles.
const PIPELINE: usize = 512;

/// A connection with the statements prepared on it.
pub struct Session {
    pub client: Client,
    prepared: HashMap<&'static str, Statement>,
}

pub fn failed(step: &'static str) -> impl FnOnce(tokio_postgres::Error) -> StoreError {
    move |source| StoreError::Postgres { step, source }
}

impl Session {
    /// Prepares a statement once per connection.
    pub async fn prepare(&mut self, sql: &'static str, step: &'static str) -> Result<Statement, StoreError> {
        if let Some(known) = self.prepared.get(sql) {
            return Ok(known.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(failed(step))?;
        self.prepared.insert(sql, statement.clone());
        Ok(statement)
    }
}

/// Which migrations the database has.
pub async fn migration_status(config: &Config) -> Result<Vec<MigrationStatus>, StoreError> {
    let session = connect(config).await?;
    Ok(migrations::compare(POSTGRES, &applied(&session.client).await?))
}

/// Gives every silence of the network an end, unless the address sets its own.
pub fn with_deadlines(config: &Config) -> Config {
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

/// Opens a connection.
pub async fn connect(config: &Config) -> Result<Session, StoreError> {
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

/// Takes the advisory lock, or says that another session has it.
pub async fn take_lock(client: &Client) -> Result<(), StoreError> {
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

/// Runs what is pending.
pub async fn migrate(client: &mut Client) -> Result<(), StoreError> {
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

/// Writes all records in one transaction.
pub async fn commit(session: &mut Session, records: &[Record]) -> Result<(), StoreError> {
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

/// Reads everything that makes up the state.
pub async fn read_rows(client: &Client) -> Result<Rows, StoreError> {
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
