//! The tables, as numbered steps that only go forward.
//!
//! A step is never edited once released: what it did is on disks. Times are milliseconds since the Unix epoch,
//! JSON is text. Nothing here but the two pragmas is SQLite's own, so that a second backend can take the same tables.

use rusqlite::{Connection, TransactionBehavior};

use super::OpenError;

/// Marks the file as ours (`file` and `sqlite3` show it): the letters `VKPR`.
const APPLICATION_ID: i64 = 0x564b_5052;

/// Each step brings the schema from its index to its index plus one.
const STEPS: &[&str] = &[
    "
    CREATE TABLE identity (
        id    INTEGER PRIMARY KEY CHECK (id = 1),
        store TEXT NOT NULL
    ) STRICT;
    CREATE TABLE journal (
        seq      INTEGER PRIMARY KEY,
        at       INTEGER NOT NULL,
        node     TEXT,
        incident INTEGER,
        instance INTEGER,
        kind     TEXT NOT NULL,
        body     TEXT NOT NULL
    ) STRICT;
    CREATE INDEX journal_by_node ON journal (node, seq) WHERE node IS NOT NULL;
    CREATE INDEX journal_by_incident ON journal (incident, seq) WHERE incident IS NOT NULL;
    CREATE INDEX journal_by_instance ON journal (instance, seq) WHERE instance IS NOT NULL;
    CREATE TABLE snapshot (
        id   INTEGER PRIMARY KEY CHECK (id = 1),
        seq  INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE incidents (
        id               INTEGER PRIMARY KEY,
        node             TEXT NOT NULL,
        cause            TEXT NOT NULL,
        first_failure_at INTEGER NOT NULL,
        opened_at        INTEGER NOT NULL,
        opened_seq       INTEGER NOT NULL,
        closed_at        INTEGER,
        closed_seq       INTEGER,
        outcome          TEXT
    ) STRICT;
    CREATE INDEX incidents_by_node ON incidents (node, id);
    CREATE TABLE notices (
        nr   INTEGER PRIMARY KEY AUTOINCREMENT,
        at   INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE deliveries (
        notice     INTEGER NOT NULL REFERENCES notices (nr) ON DELETE CASCADE,
        sink       TEXT NOT NULL,
        state      TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'dead')),
        fold       INTEGER,
        attempts   INTEGER NOT NULL DEFAULT 0,
        not_before INTEGER NOT NULL DEFAULT 0,
        settled_at INTEGER,
        detail     TEXT,
        PRIMARY KEY (sink, notice)
    ) STRICT;
    CREATE INDEX deliveries_pending ON deliveries (sink, notice) WHERE state = 'pending';
    CREATE INDEX deliveries_by_notice ON deliveries (notice);
",
    "
    CREATE TABLE deploys (
        seq        INTEGER PRIMARY KEY REFERENCES journal (seq),
        node       TEXT NOT NULL,
        rollout    TEXT,
        started_at INTEGER NOT NULL,
        took       INTEGER NOT NULL,
        outcome    TEXT NOT NULL,
        body       TEXT NOT NULL
    ) STRICT;
    CREATE INDEX deploys_by_node ON deploys (node, seq);
    CREATE INDEX deploys_by_rollout ON deploys (rollout, seq) WHERE rollout IS NOT NULL;
",
];

/// The schema this program writes.
pub(super) const VERSION: usize = STEPS.len();

/// Refuses files that are not ours or come from a newer program.
pub(super) fn check(connection: &Connection) -> Result<usize, OpenError> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let found = number("user_version")?;
    let application = number("application_id")?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application != 0 || found != 0 || tables != 0) {
        return Err(OpenError::Foreign);
    }
    match usize::try_from(found) {
        Ok(version) if version <= VERSION => Ok(version),
        Ok(_) | Err(_) => Err(OpenError::Newer { found, known: VERSION }),
    }
}

/// Brings the file to [`VERSION`], each step in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let from = check(connection)?;
    for (done, step) in STEPS.iter().enumerate().skip(from) {
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute_batch(step)?;
        if done == 0 {
            change.pragma_update(None, "application_id", APPLICATION_ID)?;
            // Notice ids must not repeat after somebody began with an empty state, so they carry a random part.
            change.execute("INSERT INTO identity (id, store) VALUES (1, lower(hex(randomblob(6))))", [])?;
        }
        change.pragma_update(None, "user_version", done as i64 + 1)?;
        change.commit()?;
        tracing::info!(schema = done + 1, "store schema brought forward");
    }
    Ok(())
}
