//! What the keeper remembers: the journal, the newest snapshot, the incidents, and the notices still to be delivered.
//!
//! One file, one keeper (a lock says who), one thread with the one writing connection. A commit is one durable
//! transaction, so a decision, the incident it belongs to and the notices it causes are all there after a crash, or none
//! is. Whoever only wants to look takes a [`History`], which also opens beside a running keeper.
//!
//! Deliberately absent: retries of a commit. After a failed write nobody knows what is on disk, so the handle refuses
//! everything that follows and the process starts again from what can be read (the lesson of PostgreSQL's
//! <https://wiki.postgresql.org/wiki/Fsync_Errors>). Also absent: removing journal records; a recovery writes about ten
//! of them, so a year of a troubled fleet is a few megabytes.

mod commit;
mod error;
mod open;
mod outbox;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod thread;

use std::path::Path;

use tokio::sync::watch;

use self::{commit::Encoded, thread::Handle};
pub use self::{
    commit::{Addressed, Batch},
    error::{OpenError, StoreError, Trouble},
    open::{DATABASE_FILE, LOCK_FILE},
    outbox::{Due, Fold, Settled, SinkStats, Waiting},
    read::{Closure, History, IncidentRow, Timeline},
};
use crate::fleet::journal::Entry;

/// What was found at the start.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// Every entry after it, in order.
    pub entries: Vec<Entry>,
    /// The number the next entry will get; the first ever is 1.
    pub next_seq: u64,
}

/// The state at one point of the journal, in the caller's own JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry it includes.
    pub seq: u64,
    /// The JSON given to [`Batch::snapshot`].
    pub body: String,
}

/// How far the store has come; wakes whoever waits for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Number of the newest journal entry.
    pub seq: u64,
    /// Number of the newest notice.
    pub notice: u64,
}

/// The writing end. Copies share one thread; the lock is held until the last copy is dropped or one is closed.
#[derive(Debug, Clone)]
pub struct Store {
    handle: Handle,
    head: watch::Receiver<Head>,
}

impl Store {
    /// Opens the store in `folder`, which is made if absent, and reads what it holds. Blocks for a moment.
    ///
    /// # Errors
    /// Another keeper holds it, or it cannot be read or written; see [`OpenError`].
    pub fn open(folder: &Path) -> Result<(Self, Loaded), OpenError> {
        let opened = open::open(folder)?;
        let notice = commit::last_notice(&opened.connection)?;
        let (head_out, head) = watch::channel(Head { seq: opened.loaded.next_seq - 1, notice });
        let handle = Handle::spawn(opened.connection, Some(opened.lock), head_out)
            .map_err(|source| OpenError::Folder { path: folder.to_owned(), source })?;
        Ok((Self { handle, head }, opened.loaded))
    }

    /// Opens the store in `folder` for reading only, beside a running keeper or without one.
    ///
    /// # Errors
    /// There is none yet, or it cannot be read; see [`OpenError`].
    pub fn open_read_only(folder: &Path) -> Result<History, OpenError> {
        let connection = open::open_read_only(folder)?;
        let (unused, _) = watch::channel(Head::default());
        let handle = Handle::spawn(connection, None, unused)
            .map_err(|source| OpenError::Folder { path: folder.to_owned(), source })?;
        Ok(History::new(handle))
    }

    /// Stores a batch in one durable transaction and returns the number of the newest entry. When this returns `Ok`, the
    /// batch survives a crash and a power cut; an empty batch stores nothing, but proves that the store can be written.
    /// Dropping the future does not stop a commit that was begun.
    ///
    /// # Errors
    /// [`StoreError::Encode`] stored nothing and may be followed by other commits. After [`StoreError::Write`] it is
    /// unknown whether the batch is stored, and every later commit is [`StoreError::Poisoned`].
    pub async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        let batch = Encoded::new(batch)?;
        self.handle.call(move |writer| writer.commit(&batch)).await
    }

    /// The reading end of the same store.
    #[must_use]
    pub fn history(&self) -> History {
        History::new(self.handle.clone())
    }

    /// How far the store has come, for waiting on changes.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }

    /// Finishes what is queued, moves the write-ahead log into the file, and lets the lock go. Other copies of this
    /// handle answer [`StoreError::Closed`] from then on.
    pub async fn close(self) {
        self.handle.close().await;
    }
}
