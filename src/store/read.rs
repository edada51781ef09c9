//! Looking back: incidents, timelines and events, in bounded pieces.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Loaded, OpenError, StoreError, thread::Handle};
use crate::fleet::{
    deployed::DeployReport,
    journal::{Cause, Entry, Outcome},
    name::{IncidentId, NodeName},
    units::Timestamp,
};

/// Most rows one read returns, so that a reader never keeps the writer waiting for long.
const MOST_ROWS: u32 = 10_000;

/// The reading end of a store.
#[derive(Debug, Clone)]
pub struct History {
    pub(super) handle: Handle,
}

/// Entries with their numbers, in order.
pub type Timeline = Vec<(u64, Entry)>;

/// One incident in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentRow {
    /// Its number.
    pub id: IncidentId,
    /// Whose it is.
    pub node: NodeName,
    /// Why it began.
    pub cause: Cause,
    /// The first failed probe.
    pub first_failure_at: Timestamp,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// How it ended, if it did.
    pub closure: Option<Closure>,
}

/// The end of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closure {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
}

impl History {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// The newest incidents first, of one node or of all; at most 10,000.
    ///
    /// # Errors
    /// The store is closed or cannot be read.
    pub async fn incidents(
        &self,
        limit: u32,
        node: Option<&NodeName>,
    ) -> Result<Vec<IncidentRow>, StoreError> {
        let node = node.map(|node| node.as_str().to_owned());
        self.handle.call(move |writer| incidents(&writer.connection, limit, node.as_deref())).await
    }

    /// One incident with its timeline, if there is one of that number: the numbered entries that name it, those of its
    /// node while it was open, and the end of the instances condemned meanwhile, which may come later; the first 10,000.
    ///
    /// # Errors
    /// The store is closed or cannot be read.
    pub async fn incident(&self, id: IncidentId) -> Result<Option<(IncidentRow, Timeline)>, StoreError> {
        self.handle.call(move |writer| incident(&writer.connection, id)).await
    }

    /// Entries with numbers above `seq` in order, of one node or of all; at most 10,000.
    ///
    /// # Errors
    /// The store is closed or cannot be read.
    pub async fn events_after(
        &self,
        seq: u64,
        limit: u32,
        node: Option<&NodeName>,
    ) -> Result<Timeline, StoreError> {
        let node = node.map(|node| node.as_str().to_owned());
        self.handle.call(move |writer| events_after(&writer.connection, seq, limit, node.as_deref())).await
    }

    /// The newest deploys first, of one node or of all; at most 10,000.
    ///
    /// # Errors
    /// The store is closed or cannot be read.
    pub async fn deploys(
        &self,
        limit: u32,
        node: Option<&NodeName>,
    ) -> Result<Vec<(u64, DeployReport)>, StoreError> {
        let node = node.map(|node| node.as_str().to_owned());
        self.handle.call(move |writer| deploys(&writer.connection, limit, node.as_deref())).await
    }

    /// Everything a start needs, for a keeper that may only watch.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn load(&self) -> Result<Result<Loaded, OpenError>, StoreError> {
        self.handle.call(|writer| Ok(super::open::load(&writer.connection))).await
    }

    /// The number of the newest entry; 0 before the first.
    ///
    /// # Errors
    /// The store is closed or cannot be read.
    pub async fn last_seq(&self) -> Result<u64, StoreError> {
        self.handle
            .call(|writer| {
                let newest = "SELECT coalesce(max(seq), 0) FROM journal";
                Ok(writer.connection.query_row(newest, [], |row| row.get(0))?)
            })
            .await
    }
}

fn deploys(
    connection: &Connection,
    limit: u32,
    node: Option<&str>,
) -> Result<Vec<(u64, DeployReport)>, StoreError> {
    let (limit, order) = (limit.min(MOST_ROWS), "ORDER BY seq DESC LIMIT ?1");
    match node {
        Some(node) => {
            let text = format!("SELECT seq, body FROM deploys WHERE node = ?2 {order}");
            let mut query = connection.prepare_cached(&text)?;
            collect(query.query(params![limit, node])?, numbered_deploy)
        }
        None => {
            let mut query = connection.prepare_cached(&format!("SELECT seq, body FROM deploys {order}"))?;
            collect(query.query([limit])?, numbered_deploy)
        }
    }
}

fn numbered_deploy(row: &Row<'_>) -> Result<(u64, DeployReport), StoreError> {
    let seq = row.get(0)?;
    Ok((seq, parse(|| format!("deploy {seq}"), &row.get::<_, String>(1)?)?))
}

const INCIDENT: &str = "SELECT id, node, cause, first_failure_at, opened_at, closed_at, outcome, opened_seq, closed_seq FROM incidents";

fn incidents(
    connection: &Connection,
    limit: u32,
    node: Option<&str>,
) -> Result<Vec<IncidentRow>, StoreError> {
    let order = "ORDER BY id DESC LIMIT ?1";
    let limit = limit.min(MOST_ROWS);
    match node {
        Some(node) => {
            let mut query = connection.prepare_cached(&format!("{INCIDENT} WHERE node = ?2 {order}"))?;
            collect(query.query(params![limit, node])?, incident_row)
        }
        None => {
            let mut query = connection.prepare_cached(&format!("{INCIDENT} {order}"))?;
            collect(query.query([limit])?, incident_row)
        }
    }
}

fn incident(connection: &Connection, id: IncidentId) -> Result<Option<(IncidentRow, Timeline)>, StoreError> {
    let mut query = connection.prepare_cached(&format!("{INCIDENT} WHERE id = ?1"))?;
    let read = |row: &Row<'_>| Ok((incident_row(row), row.get(7)?, row.get(8)?));
    let Some((incident, opened, closed)) = query.query_row([id.0], read).optional()? else {
        return Ok(None);
    };
    let incident = incident?;
    let (opened, closed): (u64, Option<u64>) = (opened, closed);
    // A union of indexed parts; one condition with OR would walk the whole journal.
    let mut query = connection.prepare_cached(
        "WITH mine AS (SELECT seq, at, body, kind, instance FROM journal
                       WHERE node = ?2 AND seq BETWEEN ?3 AND ?4)
         SELECT seq, at, body FROM mine
         UNION SELECT seq, at, body FROM journal WHERE incident = ?1
         UNION SELECT seq, at, body FROM journal
               WHERE node IS NULL AND seq >= ?3 AND instance IN (SELECT instance FROM mine WHERE kind = 'doomed')
         ORDER BY seq LIMIT ?5",
    )?;
    let last = closed.unwrap_or(i64::MAX as u64);
    let rows = query.query(params![id.0, incident.node.as_str(), opened, last, MOST_ROWS])?;
    Ok(Some((incident, collect(rows, numbered_entry)?)))
}

fn events_after(
    connection: &Connection,
    seq: u64,
    limit: u32,
    node: Option<&str>,
) -> Result<Timeline, StoreError> {
    // SQLite's integers are signed; no entry has a higher number.
    let seq = seq.min(i64::MAX as u64);
    let limit = limit.min(MOST_ROWS);
    let order = "ORDER BY seq LIMIT ?2";
    match node {
        Some(node) => {
            let text = format!("SELECT seq, at, body FROM journal WHERE seq > ?1 AND node = ?3 {order}");
            let mut query = connection.prepare_cached(&text)?;
            collect(query.query(params![seq, limit, node])?, numbered_entry)
        }
        None => {
            let text = format!("SELECT seq, at, body FROM journal WHERE seq > ?1 {order}");
            let mut query = connection.prepare_cached(&text)?;
            collect(query.query(params![seq, limit])?, numbered_entry)
        }
    }
}

fn collect<T>(
    mut rows: rusqlite::Rows<'_>,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

fn numbered_entry(row: &Row<'_>) -> Result<(u64, Entry), StoreError> {
    let seq = row.get(0)?;
    let record = parse(|| format!("journal record {seq}"), &row.get::<_, String>(2)?)?;
    Ok((seq, Entry { at: Timestamp(row.get(1)?), record }))
}

fn incident_row(row: &Row<'_>) -> Result<IncidentRow, StoreError> {
    let id = IncidentId(row.get(0)?);
    let what = || format!("incident {id}");
    let closed_at: Option<u64> = row.get(5)?;
    let outcome: Option<String> = row.get(6)?;
    let closure = match closed_at.zip(outcome) {
        Some((at, outcome)) => Some(Closure { at: Timestamp(at), outcome: parse(what, &outcome)? }),
        None => None,
    };
    let node: String = row.get(1)?;
    Ok(IncidentRow {
        id,
        node: parse_value(what, node.into())?,
        cause: parse(what, &row.get::<_, String>(2)?)?,
        first_failure_at: Timestamp(row.get(3)?),
        opened_at: Timestamp(row.get(4)?),
        closure,
    })
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(
    what: impl FnOnce() -> String,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Content { what: what(), source })
}

fn parse_value<T: serde::de::DeserializeOwned>(
    what: impl FnOnce() -> String,
    value: serde_json::Value,
) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|source| StoreError::Content { what: what(), source })
}
