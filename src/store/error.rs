//! What can go wrong with the store, in words that say what to do.

use std::{io, path::PathBuf};

use rusqlite::ErrorCode;

/// What a failure of the database means to the person who runs the keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No space left.
    #[error("the disk is full")]
    DiskFull,
    /// The file or its folder may not be written.
    #[error("the file or its folder is read-only")]
    ReadOnly,
    /// The file or its folder may not be opened.
    #[error("the file cannot be opened; check that it exists and its permissions")]
    CannotOpen,
    /// The device reported an error; what was written last may be lost.
    #[error("the disk reported an input or output error")]
    Disk,
    /// The content is not what was written.
    #[error("the file is damaged; restore a copy, or save what is left with `sqlite3 keeper.db .recover`")]
    Damaged,
    /// Another process holds the database lock.
    #[error("another process keeps the database locked")]
    Busy,
    /// None of the above.
    #[error("the database refused")]
    Refused,
}

impl Trouble {
    pub(super) fn of(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly,
            Some(ErrorCode::CannotOpen) => Self::CannotOpen,
            Some(ErrorCode::SystemIoFailure) => Self::Disk,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(_) | None => Self::Refused,
        }
    }
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder could not be made, or a file in it could not be made.
    #[error("the state folder cannot be used: `{}`", path.display())]
    Folder {
        /// The path that failed.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// Another keeper holds the state.
    #[error("another keeper holds this state{}", pid.map_or_else(String::new, |pid| format!(" (pid {pid})")))]
    Locked {
        /// Its process id, unless it was just starting.
        pid: Option<u32>,
    },
    /// There is nothing to read yet.
    #[error("there is no state at `{}`", path.display())]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The linked SQLite is too old: before 3.51.3 two connections could damage the write-ahead log.
    #[error("SQLite {found} is too old; 3.51.3 or newer is needed")]
    OldSqlite {
        /// The linked version.
        found: &'static str,
    },
    /// The file is a database of some other program.
    #[error("the file is not a keeper's journal")]
    Foreign,
    /// The file was written by a newer keeper.
    #[error("the journal has schema {found}, this keeper knows up to {known}; run the newer keeper again")]
    Newer {
        /// The file's schema.
        found: i64,
        /// The newest schema known here.
        known: usize,
    },
    /// The file was written by an older keeper and cannot be brought forward while reading only.
    #[error(
        "the journal has schema {found}, this keeper needs {known}; start the daemon once to bring it forward"
    )]
    Older {
        /// The file's schema.
        found: usize,
        /// The schema needed.
        known: usize,
    },
    /// The integrity check found faults.
    #[error(
        "the journal is damaged: {detail}; restore a copy, or save what is left with `sqlite3 keeper.db .recover`"
    )]
    Damaged {
        /// The first fault.
        detail: String,
    },
    /// A stored record cannot be understood.
    #[error("journal record {seq} cannot be read")]
    Record {
        /// Which.
        seq: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Records are missing in the middle.
    #[error("the journal jumps from record {after} to {found}")]
    Gap {
        /// The last record before the gap.
        after: u64,
        /// The next record found.
        found: u64,
    },
    /// The database failed.
    #[error("the journal cannot be opened: {trouble}")]
    Database {
        /// What it means.
        trouble: Trouble,
        /// The database's words.
        #[source]
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// Whether time, or somebody with a free disk, can mend it while the keeper goes on watching.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Folder { .. } => true,
            Self::Database { trouble, .. } => match trouble {
                Trouble::DiskFull
                | Trouble::ReadOnly
                | Trouble::CannotOpen
                | Trouble::Disk
                | Trouble::Busy => true,
                Trouble::Damaged | Trouble::Refused => false,
            },
            Self::Locked { .. }
            | Self::Absent { .. }
            | Self::OldSqlite { .. }
            | Self::Foreign
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Damaged { .. }
            | Self::Record { .. }
            | Self::Gap { .. } => false,
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Database { trouble: Trouble::of(&source), source }
    }
}

/// Why a read or a commit failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A commit failed: whether it is on disk is unknown, and no further one is tried on this handle.
    #[error("the journal cannot be written: {trouble}")]
    Write {
        /// What it means.
        trouble: Trouble,
        /// The database's words.
        #[source]
        source: rusqlite::Error,
    },
    /// An earlier commit failed. After a failed write the system may have dropped the data and still report success to
    /// a second try, so only a fresh start, which reads what is really there, goes on.
    #[error("the journal takes no more records after a failed write; start again")]
    Poisoned,
    /// A read failed.
    #[error("the journal cannot be read: {trouble}")]
    Read {
        /// What it means.
        trouble: Trouble,
        /// The database's words.
        #[source]
        source: rusqlite::Error,
    },
    /// A stored text cannot be understood.
    #[error("{what} cannot be read")]
    Content {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Something to be stored cannot be written as JSON; nothing was stored.
    #[error("{what} cannot be written as JSON")]
    Encode {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Read { trouble: Trouble::of(&source), source }
    }
}

impl StoreError {
    pub(super) fn write(source: rusqlite::Error) -> Self {
        Self::Write { trouble: Trouble::of(&source), source }
    }
}
