//! Whoever holds a file holds what it stands for: the state folder, a rollout, a download.

use std::{
    fs::{File, TryLockError},
    io,
    ops::Deref,
};

/// A file with `flock(2)` on it, which ends with its process, however that ends.
///
/// Let go of by name, not by closing: a child that is just being started shares the open file until it executes its program,
/// and would hold the lock for that long.
#[derive(Debug)]
pub struct FileLock(File);

impl FileLock {
    /// Locks the file for us alone, or gives it back with `Ok(Err(file))` where somebody else holds it.
    pub fn try_new(file: File) -> io::Result<Result<Self, File>> {
        match file.try_lock() {
            Ok(()) => Ok(Ok(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(Err(file)),
            Err(TryLockError::Error(fault)) => Err(fault),
        }
    }
}

impl Deref for FileLock {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing follows in any case.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_let_go_is_free_although_a_copy_of_the_file_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let open = || File::create(&path).unwrap();
        let lock = FileLock::try_new(open()).unwrap().unwrap();
        assert!(FileLock::try_new(open()).unwrap().is_err(), "held");
        // As a child has it between `fork` and `exec`.
        let copy = lock.try_clone().unwrap();
        drop(lock);
        assert!(FileLock::try_new(open()).unwrap().is_ok());
        drop(copy);
    }
}
