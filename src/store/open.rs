//! Opening: one keeper per folder, a SQLite that keeps what it promises, an intact file, the newest schema.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::{Loaded, OpenError, Snapshot, error::Trouble, schema};
use crate::{
    file_lock::FileLock,
    fleet::{journal::Entry, units::Timestamp},
};

/// The journal's file in the state folder.
pub const DATABASE_FILE: &str = "keeper.db";
/// The lock's file; it stays behind, because removing it would let two keepers hold two different files.
pub const LOCK_FILE: &str = "keeper.lock";
/// SQLite 3.51.3 fixed the reset of the write-ahead log, which could damage files since 3.7.0 (<https://sqlite.org/wal.html>).
const OLDEST_SQLITE: i32 = 3_051_003;
/// How long to wait for a reader in another process, such as the command line.
const BUSY: Duration = Duration::from_secs(5);

/// The lock and the writing connection; the lock goes when this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Opened {
    pub lock: FileLock,
    pub connection: Connection,
    pub loaded: Loaded,
}

pub(super) fn open(folder: &Path) -> Result<Opened, OpenError> {
    check_sqlite()?;
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Folder { path, source }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
    let lock = lock(&folder.join(LOCK_FILE))?;
    let file = folder.join(DATABASE_FILE);
    // Made here for its mode: SQLite gives the write-ahead log the same one.
    private_file(&file).map_err(at(&file))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&file, flags)?;
    connection.busy_timeout(BUSY)?;
    schema::check(&connection)?;
    // WAL with FULL makes every commit durable before it returns; NORMAL could lose the last ones with the power.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    check_integrity(&connection)?;
    schema::migrate(&mut connection)?;
    let loaded = load(&connection)?;
    Ok(Opened { lock, connection, loaded })
}

pub(super) fn open_read_only(folder: &Path) -> Result<Connection, OpenError> {
    check_sqlite()?;
    let path = folder.join(DATABASE_FILE);
    if !path.try_exists().map_err(|source| OpenError::Folder { path: path.clone(), source })? {
        return Err(OpenError::Absent { path });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags)?;
    connection.busy_timeout(BUSY)?;
    let (connection, found) = match schema::check(&connection) {
        Ok(found) => (connection, found),
        // On a read-only disk the write-ahead log's index cannot be made. Nobody can write there either, so the file may be
        // read as one that does not change; what only the log holds is missed. Where a keeper writes, that would be an old state.
        Err(fault) => {
            let cannot_be_written = matches!(
                fault,
                OpenError::Database { trouble: Trouble::ReadOnly | Trouble::CannotOpen | Trouble::Disk, .. }
            );
            if !cannot_be_written || is_held(folder) {
                return Err(fault);
            }
            let unchanging = format!("file:{}?immutable=1", escaped(&path));
            let connection = Connection::open_with_flags(unchanging, flags | OpenFlags::SQLITE_OPEN_URI)?;
            match schema::check(&connection)? {
                0 => return Err(fault),
                found => (connection, found),
            }
        }
    };
    match found {
        0 => Err(OpenError::Absent { path }),
        schema::VERSION => Ok(connection),
        found => Err(OpenError::Older { found, known: schema::VERSION }),
    }
}

/// Whether a keeper has the state in this folder.
fn is_held(folder: &Path) -> bool {
    File::open(folder.join(LOCK_FILE))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// A path as SQLite's URIs want it.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

fn check_sqlite() -> Result<(), OpenError> {
    if rusqlite::version_number() >= OLDEST_SQLITE {
        Ok(())
    } else {
        Err(OpenError::OldSqlite { found: rusqlite::version() })
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Takes the lock and writes our pid into it; the lock itself is `flock(2)`, so a stale pid means nothing.
fn lock(path: &Path) -> Result<FileLock, OpenError> {
    let failed = |source| OpenError::Folder { path: path.to_owned(), source };
    let lock = match private_file(path).and_then(FileLock::try_new).map_err(failed)? {
        Ok(lock) => lock,
        Err(held) => {
            let mut text = String::new();
            let pid = held.take(32).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(OpenError::Locked { pid });
        }
    };
    let mut file = &*lock;
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(lock)
}

fn check_integrity(connection: &Connection) -> Result<(), OpenError> {
    let detail: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if detail == "ok" { Ok(()) } else { Err(OpenError::Damaged { detail }) }
}

pub(super) fn load(connection: &Connection) -> Result<Loaded, OpenError> {
    let snapshot = connection
        .query_row("SELECT seq, body FROM snapshot", [], |row| {
            Ok(Snapshot { seq: row.get(0)?, body: row.get(1)? })
        })
        .optional()?;
    let mut last = snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
    let mut rows = connection.prepare("SELECT seq, at, body FROM journal WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = rows.query([last])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        if seq != last + 1 {
            return Err(OpenError::Gap { after: last, found: seq });
        }
        last = seq;
        let record = serde_json::from_str(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?)
            .map_err(|source| OpenError::Record { seq, source })?;
        entries.push(Entry { at: Timestamp(row.get(1)?), record });
    }
    Ok(Loaded { snapshot, entries, next_seq: last + 1 })
}
