//! One batch, one transaction: journal rows, incident rows, notices with their deliveries, and perhaps a snapshot.

use rusqlite::{Connection, Transaction, params};

use super::{Head, StoreError, thread::Writer};
use crate::{
    crash::{self, Point},
    fleet::{
        deployed::DeployReport,
        journal::{Entry, Record},
        name::NodeName,
        notice::Notice,
    },
};

/// Settled notices older than this, in milliseconds, are removed when a snapshot is stored: 30 days.
const KEEP_SETTLED_MS: u64 = 30 * 86_400_000;

/// What one decision leaves behind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// New journal entries, in order; may be empty.
    pub entries: Vec<Entry>,
    /// What humans should know, with the sinks that get it.
    pub notices: Vec<Addressed>,
    /// The state after these entries as JSON, now and then.
    pub snapshot: Option<String>,
}

/// A notice and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// What to say.
    pub notice: Notice,
    /// Names of sinks; with none the notice is only kept.
    pub sinks: Vec<String>,
}

/// A batch turned into rows, outside the store's thread.
#[derive(Debug)]
pub(super) struct Encoded {
    entries: Vec<(Entry, String, Option<IncidentChange>)>,
    notices: Vec<(Addressed, String)>,
    snapshot: Option<String>,
}

/// What an entry means to the table of incidents.
#[derive(Debug)]
enum IncidentChange {
    Opened { id: u64, node: NodeName, cause: String, first_failure_at: u64 },
    Closed { id: u64, outcome: String },
}

impl Encoded {
    pub fn new(batch: Batch) -> Result<Self, StoreError> {
        let entries = batch.entries.into_iter().map(|entry| {
            let body = json("a record", &entry.record)?;
            let change = incident_change(&entry.record)?;
            Ok((entry, body, change))
        });
        let notices = batch.notices.into_iter().map(|addressed| {
            let body = json("a notice", &addressed.notice)?;
            Ok((addressed, body))
        });
        Ok(Self {
            entries: entries.collect::<Result<_, StoreError>>()?,
            notices: notices.collect::<Result<_, StoreError>>()?,
            snapshot: batch.snapshot,
        })
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.notices.is_empty() && self.snapshot.is_none()
    }
}

fn json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Encode { what, source })
}

fn incident_change(record: &Record) -> Result<Option<IncidentChange>, StoreError> {
    Ok(match record {
        Record::IncidentOpened { incident, node, cause, first_failure_at } => Some(IncidentChange::Opened {
            id: incident.0,
            node: node.clone(),
            cause: json("a cause", cause)?,
            first_failure_at: first_failure_at.0,
        }),
        Record::IncidentClosed { incident, outcome, node: _ } => {
            Some(IncidentChange::Closed { id: incident.0, outcome: json("an outcome", outcome)? })
        }
        // Every other record leaves the table of incidents alone, also those still to be invented.
        _ => None,
    })
}

impl Writer {
    pub fn commit(&mut self, batch: &Encoded) -> Result<u64, StoreError> {
        let before = *self.head.borrow();
        let after = self.change(|change| {
            let mut head = before;
            if batch.is_empty() {
                // A transaction that changes nothing would also succeed on a full disk.
                change.execute("UPDATE identity SET store = store", [])?;
            }
            for (entry, body, incident) in &batch.entries {
                head.seq += 1;
                insert_entry(change, head.seq, entry, body)?;
                if let Record::DeployReported(report) = &entry.record {
                    insert_deploy(change, head.seq, report, body)?;
                }
                if let Some(incident) = incident {
                    change_incident(change, head.seq, entry, incident)?;
                }
            }
            for (addressed, body) in &batch.notices {
                head.notice = insert_notice(change, addressed, body)?;
            }
            if let Some(snapshot) = &batch.snapshot {
                insert_snapshot(change, head, snapshot)?;
            }
            crash::at(Point::InCommit);
            Ok(head)
        })?;
        // Only the thread sends, so nothing can have changed in between.
        self.head.send_replace(after);
        Ok(after.seq)
    }
}

fn insert_entry(change: &Transaction<'_>, seq: u64, entry: &Entry, body: &str) -> rusqlite::Result<()> {
    let record = &entry.record;
    change
        .prepare_cached(
            "INSERT INTO journal (seq, at, node, incident, instance, kind, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            seq,
            entry.at.0,
            record.node().map(NodeName::as_str),
            record.incident().map(|id| id.0),
            record.instance().map(|id| id.0),
            record.kind(),
            body
        ])?;
    Ok(())
}

/// The history of deploys is asked for by node and by rollout; in the journal it would have to be searched for.
fn insert_deploy(
    change: &Transaction<'_>,
    seq: u64,
    report: &DeployReport,
    body: &str,
) -> rusqlite::Result<()> {
    change
        .prepare_cached(
            "INSERT INTO deploys (seq, node, rollout, started_at, took, outcome, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            seq,
            report.node.as_str(),
            report.rollout,
            report.started_at.0,
            report.took_ms,
            report.outcome.word(),
            body
        ])?;
    Ok(())
}

fn change_incident(
    change: &Transaction<'_>,
    seq: u64,
    entry: &Entry,
    incident: &IncidentChange,
) -> rusqlite::Result<()> {
    match incident {
        IncidentChange::Opened { id, node, cause, first_failure_at } => change
            .prepare_cached(
                "INSERT INTO incidents (id, node, cause, first_failure_at, opened_at, opened_seq)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
            )?
            .execute(params![id, node.as_str(), cause, first_failure_at, entry.at.0, seq])?,
        IncidentChange::Closed { id, outcome } => change
            .prepare_cached(
                "UPDATE incidents SET closed_at = ?2, closed_seq = ?3, outcome = ?4
                 WHERE id = ?1 AND closed_seq IS NULL",
            )?
            .execute(params![id, entry.at.0, seq, outcome])?,
    };
    Ok(())
}

fn insert_notice(change: &Transaction<'_>, addressed: &Addressed, body: &str) -> rusqlite::Result<u64> {
    let nr: u64 = change
        .prepare_cached("INSERT INTO notices (at, body) VALUES (?1, ?2) RETURNING nr")?
        .query_row(params![addressed.notice.at.0, body], |row| row.get(0))?;
    for sink in &addressed.sinks {
        // The same sink named twice gets the notice once.
        change
            .prepare_cached(
                "INSERT INTO deliveries (notice, sink, state) VALUES (?1, ?2, 'pending')
                 ON CONFLICT (sink, notice) DO NOTHING",
            )?
            .execute(params![nr, sink])?;
    }
    Ok(nr)
}

fn insert_snapshot(change: &Transaction<'_>, head: Head, body: &str) -> rusqlite::Result<()> {
    change.execute(
        "INSERT INTO snapshot (id, seq, body) VALUES (1, ?1, ?2)
         ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, body = excluded.body",
        params![head.seq, body],
    )?;
    // The newest entry stands for the present here, since the store reads no clock.
    change.execute(
        "DELETE FROM notices
         WHERE at < (SELECT coalesce(max(at), 0) FROM (SELECT at FROM journal ORDER BY seq DESC LIMIT 1)) - ?1
           AND NOT EXISTS (SELECT 1 FROM deliveries WHERE notice = nr AND state = 'pending')",
        [KEEP_SETTLED_MS],
    )?;
    Ok(())
}

/// The number of the newest notice ever stored.
pub(super) fn last_notice(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT coalesce(max(nr), 0) FROM notices", [], |row| row.get(0))
}
