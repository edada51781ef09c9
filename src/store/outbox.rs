//! The outbox: which notice still has to reach which sink.
//!
//! A notice waits from the transaction that caused it until it is settled: sent, or dead with a reason. Its id is the
//! same for every try and after every restart, so a receiver can drop what it gets twice. Many waiting notices can be
//! folded into one message; which ones is stored first, so that a fold too is the same after a restart.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{History, Store, StoreError, read::parse, thread::Writer};
use crate::fleet::{notice::Notice, units::Timestamp};

/// The next message of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Stable id of the message; letters, digits and dashes only.
    pub id: String,
    /// Where it goes.
    pub sink: String,
    /// The notices in it in order, at least one; more than one in a fold.
    pub notices: Vec<Waiting>,
    /// How often it was tried without success.
    pub attempts: u32,
    /// Not to be tried before this.
    pub not_before: Timestamp,
    /// How many notices wait for this sink, these included.
    pub depth: u64,
}

/// When notices become one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fold {
    /// Only when more than this many wait.
    pub above: u32,
    /// The oldest of them, at most this many.
    pub most: u32,
}

/// A notice that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number in this store.
    pub nr: u64,
    /// Its own stable id, also when it travels in a fold.
    pub id: String,
    /// What it says.
    pub notice: Notice,
}

/// How a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The sink took it.
    Sent,
    /// It is given up.
    Dead {
        /// Why; free of secrets.
        detail: String,
    },
}

/// How one sink stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkStats {
    /// Its name.
    pub sink: String,
    /// Notices that wait.
    pub pending: u64,
    /// Notices sent, of the last 30 days at least.
    pub sent: u64,
    /// Notices given up, of the last 30 days at least.
    pub dead: u64,
    /// When the oldest waiting notice became true.
    pub oldest_pending_at: Option<Timestamp>,
}

impl Store {
    /// The next message for `sink`, or `None` if nothing waits. Notices are newly tied together only with `fold`; what
    /// was folded before stays so.
    ///
    /// # Errors
    /// The store is closed, poisoned, or cannot be read or written.
    pub async fn due(&self, sink: &str, fold: Option<Fold>) -> Result<Option<Due>, StoreError> {
        let sink = sink.to_owned();
        self.handle.call(move |writer| writer.due(&sink, fold)).await
    }

    /// Ends a message for good, durably.
    ///
    /// # Errors
    /// The store is closed, poisoned or cannot be written; the message may then be due again after a restart.
    pub async fn settle(&self, due: &Due, settled: Settled, at: Timestamp) -> Result<(), StoreError> {
        let (state, detail) = match settled {
            Settled::Sent => ("sent", None),
            Settled::Dead { detail } => ("dead", Some(detail)),
        };
        let (sink, numbers) = numbers(due);
        self.handle
            .call(move |writer| {
                writer.change(|change| {
                    let mut update = change.prepare_cached(
                        "UPDATE deliveries SET state = ?3, settled_at = ?4, detail = ?5, attempts = attempts + 1
                         WHERE sink = ?1 AND notice = ?2 AND state = 'pending'",
                    )?;
                    for nr in &numbers {
                        update.execute(params![sink, nr, state, at.0, detail])?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Records a failed try and when the next may be, durably.
    ///
    /// # Errors
    /// As [`Store::settle`].
    pub async fn postpone(&self, due: &Due, until: Timestamp, detail: String) -> Result<(), StoreError> {
        let (sink, numbers) = numbers(due);
        self.handle
            .call(move |writer| {
                writer.change(|change| {
                    let mut update = change.prepare_cached(
                        "UPDATE deliveries SET attempts = attempts + 1, not_before = ?3, detail = ?4
                         WHERE sink = ?1 AND notice = ?2 AND state = 'pending'",
                    )?;
                    for nr in &numbers {
                        update.execute(params![sink, nr, until.0, detail])?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Gives up what waits for sinks other than `known`, such as one that left the configuration; returns how many.
    ///
    /// # Errors
    /// As [`Store::settle`].
    pub async fn abandon_unknown_sinks(&self, known: &[String], at: Timestamp) -> Result<u64, StoreError> {
        let known = known.to_vec();
        self.handle
            .call(move |writer| {
                writer.change(|change| {
                    let mut sinks =
                        change.prepare("SELECT DISTINCT sink FROM deliveries WHERE state = 'pending'")?;
                    let sinks = sinks.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
                    let mut given_up = 0;
                    for sink in sinks.iter().filter(|sink| !known.contains(sink)) {
                        given_up += change.execute(
                            "UPDATE deliveries SET state = 'dead', settled_at = ?2,
                                    detail = 'the sink is no longer configured'
                             WHERE sink = ?1 AND state = 'pending'",
                            params![sink, at.0],
                        )?;
                    }
                    Ok(given_up as u64)
                })
            })
            .await
    }
}

impl History {
    /// How each sink stands that ever was sent something, by name.
    ///
    /// # Errors
    /// The store is closed or cannot be read.
    pub async fn outbox_stats(&self) -> Result<Vec<SinkStats>, StoreError> {
        self.handle.call(|writer| stats(&writer.connection)).await
    }
}

fn numbers(due: &Due) -> (String, Vec<u64>) {
    (due.sink.clone(), due.notices.iter().map(|waiting| waiting.nr).collect())
}

impl Writer {
    fn due(&mut self, sink: &str, fold: Option<Fold>) -> Result<Option<Due>, StoreError> {
        let Some(first) = head(&self.connection, sink)? else {
            return Ok(None);
        };
        let depth = pending(&self.connection, sink)?;
        let fold = match (first.fold, fold) {
            (Some(before), _) => Some(before),
            (None, Some(fold)) if depth > u64::from(fold.above) => Some(self.fold(sink, fold.most.max(1))?),
            (None, _) => None,
        };
        let store: String = self.connection.query_row("SELECT store FROM identity", [], |row| row.get(0))?;
        let waiting = match fold {
            Some(fold) => load(&self.connection, &store, sink, first.nr, fold)?,
            None => load(&self.connection, &store, sink, first.nr, first.nr)?,
        };
        let id = match fold {
            Some(fold) => format!("vk-{store}-fold-{fold}"),
            None => format!("vk-{store}-{}", first.nr),
        };
        let not_before = Timestamp(first.not_before);
        let (sink, attempts) = (sink.to_owned(), first.attempts);
        Ok(Some(Due { id, sink, notices: waiting, attempts, not_before, depth }))
    }

    /// Ties the oldest waiting notices together under the number of the last of them.
    fn fold(&mut self, sink: &str, most: u32) -> Result<u64, StoreError> {
        self.change(|change| {
            let last: u64 = change.query_row(
                "SELECT max(notice) FROM (SELECT notice FROM deliveries
                 WHERE sink = ?1 AND state = 'pending' ORDER BY notice LIMIT ?2)",
                params![sink, most],
                |row| row.get(0),
            )?;
            change.execute(
                "UPDATE deliveries SET fold = ?2 WHERE sink = ?1 AND state = 'pending' AND notice <= ?2",
                params![sink, last],
            )?;
            Ok(last)
        })
    }
}

struct First {
    nr: u64,
    fold: Option<u64>,
    attempts: u32,
    not_before: u64,
}

fn head(connection: &Connection, sink: &str) -> Result<Option<First>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT notice, fold, attempts, not_before FROM deliveries
         WHERE sink = ?1 AND state = 'pending' ORDER BY notice LIMIT 1",
    )?;
    let first = query.query_row([sink], |row| {
        Ok(First { nr: row.get(0)?, fold: row.get(1)?, attempts: row.get(2)?, not_before: row.get(3)? })
    });
    Ok(first.optional()?)
}

fn pending(connection: &Connection, sink: &str) -> Result<u64, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT count(*) FROM deliveries WHERE sink = ?1 AND state = 'pending'")?;
    Ok(query.query_row([sink], |row| row.get(0))?)
}

/// What waits for `sink` between two numbers: one notice, or a fold.
fn load(
    connection: &Connection,
    store: &str,
    sink: &str,
    first: u64,
    last: u64,
) -> Result<Vec<Waiting>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT nr, body FROM deliveries JOIN notices ON nr = notice
         WHERE sink = ?1 AND state = 'pending' AND notice BETWEEN ?2 AND ?3 ORDER BY notice",
    )?;
    let mut rows = query.query(params![sink, first, last])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let nr: u64 = row.get(0)?;
        let notice = parse(|| format!("notice {nr}"), &row.get::<_, String>(1)?)?;
        all.push(Waiting { nr, id: format!("vk-{store}-{nr}"), notice });
    }
    Ok(all)
}

fn stats(connection: &Connection) -> Result<Vec<SinkStats>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT sink, sum(state = 'pending'), sum(state = 'sent'), sum(state = 'dead'),
                min(CASE WHEN state = 'pending' THEN at END)
         FROM deliveries JOIN notices ON nr = notice GROUP BY sink ORDER BY sink",
    )?;
    let rows = query.query_map([], |row| {
        Ok(SinkStats {
            sink: row.get(0)?,
            pending: row.get(1)?,
            sent: row.get(2)?,
            dead: row.get(3)?,
            oldest_pending_at: row.get::<_, Option<u64>>(4)?.map(Timestamp),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
