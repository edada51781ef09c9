//! The folder that holds the boxes: a temporary one, or a given one kept for this simulator alone.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::SimError;

/// A folder in use.
#[derive(Debug)]
pub(crate) struct StateFolder {
    root: PathBuf,
    /// Removed when dropped.
    temporary: Option<tempfile::TempDir>,
    /// Locked while open.
    _lock: Option<File>,
}

impl StateFolder {
    /// Makes the folder, takes it for this simulator, and clears what an earlier one may have left.
    pub(crate) fn open(wanted: Option<PathBuf>) -> Result<Self, SimError> {
        let Some(folder) = wanted else { return StateFolder::temporary() };
        let fault = |error| SimError::State(folder.clone(), error);
        std::fs::create_dir_all(&folder).map_err(fault)?;
        let root = folder.canonicalize().map_err(fault)?;
        let lock = File::create(root.join("lock")).map_err(fault)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(SimError::StateInUse(folder));
        }
        let opened = StateFolder { root, temporary: None, _lock: Some(lock) };
        opened.remove_boxes().map_err(fault)?;
        Ok(opened)
    }

    fn temporary() -> Result<Self, SimError> {
        let fault = |error| SimError::State(std::env::temp_dir(), error);
        let temporary = tempfile::Builder::new().prefix("vast-sim-").tempdir().map_err(fault)?;
        let root = temporary.path().canonicalize().map_err(fault)?;
        Ok(StateFolder { root, temporary: Some(temporary), _lock: None })
    }

    /// Where the boxes' folders are.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the whole folder goes at the end, not just the boxes' folders in it.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Removes the boxes' folders; none there is fine.
    pub(crate) fn remove_boxes(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(self.root.join("boxes")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
