//! Under which name a command holds the lease on a node's box.
//!
//! A box grants its lease again to the same holder, and keeps everybody else away until it runs out (`deploy::lease`). A command
//! that was killed leaves its lease behind, and the next one is another process. So the name stands in `<state>/leases/<node>`
//! while the lease is held, and the file is locked by whoever works on the node: who finds it unlocked, and a name in it, follows
//! a dead command and goes by its name. Who finds it locked has a name of its own, and the box decides.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use super::verbs::person;
use crate::{file_lock::FileLock, fleet::name::NodeName};

/// Longest name that is believed; ours are far shorter.
const NAME_LENGTH: u64 = 100;

/// A name to hold a lease by.
#[derive(Debug)]
pub(super) struct Claim {
    name: String,
    /// Locked; none where another command works on the node, or nothing can be written down.
    file: Option<FileLock>,
}

impl Claim {
    /// For work on a node's box.
    pub(super) fn to(state_dir: &Path, node: &NodeName) -> Self {
        let own = format!("{} (process {})", person(), std::process::id());
        match left_behind(state_dir, node, &own) {
            Ok((name, file)) => Self { name, file: Some(file) },
            Err(_) => Self { name: own, file: None },
        }
    }

    /// The name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The box has the lease back. Without this, whoever comes next goes by this name.
    pub(super) fn given_back(self) {
        if let Some(file) = self.file {
            // A name that stays costs nothing: it is found unlocked.
            let _ = file.set_len(0);
        }
    }
}

/// The name that a dead command left, or our own, written down.
fn left_behind(state_dir: &Path, node: &NodeName, own: &str) -> io::Result<(String, FileLock)> {
    let folder = state_dir.join("leases");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let path = folder.join(node.as_str());
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let lock = FileLock::try_new(file)?.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
    let mut file = &*lock;
    let mut name = String::new();
    file.take(NAME_LENGTH).read_to_string(&mut name)?;
    if name.is_empty() || name.chars().any(char::is_control) {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(own.as_bytes())?;
        name = own.to_owned();
    }
    Ok((name, lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_follows_a_dead_command_goes_by_its_name_and_nobody_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let node = |number: u32| format!("duel-{number}").parse::<NodeName>().unwrap();
        let path = folder.path().join("leases/duel-0");
        std::fs::create_dir(folder.path().join("leases")).unwrap();
        std::fs::write(&path, "anna (process 1)").unwrap();
        let first = Claim::to(folder.path(), &node(0));
        assert_eq!(first.name(), "anna (process 1)");
        let beside = Claim::to(folder.path(), &node(0));
        assert_ne!(beside.name(), first.name(), "the first one lives");
        assert_ne!(Claim::to(folder.path(), &node(1)).name(), first.name(), "another box");
        beside.given_back();
        drop(first);
        let second = Claim::to(folder.path(), &node(0));
        assert_eq!(second.name(), "anna (process 1)", "it died as well");
        second.given_back();
        let third = Claim::to(folder.path(), &node(0));
        assert_ne!(third.name(), "anna (process 1)");
        drop(third);
        std::fs::write(&path, "strange\nwords").unwrap();
        assert!(!Claim::to(folder.path(), &node(0)).name().contains('\n'));
    }
}
