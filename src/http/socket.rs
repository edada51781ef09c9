//! The control socket's file: made so that only its owner can ever connect, and taken away only while it is ours.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// A listening socket under its final name.
#[derive(Debug)]
pub(super) struct Socket {
    pub listener: UnixListener,
    pub place: Place,
}

/// Where the socket lies, and which file it is.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    file: (u64, u64),
}

impl Socket {
    /// Binds in a fresh folder of mode 0700 and moves the socket to its name once its own mode is set, so that there is no
    /// moment in which anybody else could connect. (A umask would do too, but holds for the whole process.)
    pub fn bind(path: &Path) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder)?;
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => return Err(taken(path)),
            Ok(_) => {}
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
            Err(fault) => return Err(fault),
        }
        // A short name: the address of a socket has at most 107 bytes (unix(7)).
        let hidden = tempfile::Builder::new().prefix(".").rand_bytes(6).tempdir_in(folder)?;
        let fresh = hidden.path().join("s");
        let listener = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
        let file = identity(&fresh)?;
        fs::rename(&fresh, path)?;
        Ok(Self { listener, place: Place { path: path.to_owned(), file } })
    }
}

impl Place {
    /// Removes the file, unless another one has taken its name meanwhile.
    pub fn leave(self) {
        if identity(&self.path).is_ok_and(|file| file == self.file)
            && let Err(fault) = fs::remove_file(&self.path)
        {
            tracing::debug!(%fault, "the control socket's file stays");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn taken(path: &Path) -> io::Error {
    let what = format!("`{}` exists and is no socket, so it is left alone", path.display());
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("precious");
        fs::write(&precious, "years of work").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        for path in [&precious, &link] {
            let fault = Socket::bind(path).unwrap_err();
            assert!(fault.to_string().contains("no socket"), "{fault}");
        }
        assert_eq!(fs::read_to_string(&precious).unwrap(), "years of work");
        assert!(link.is_symlink());
    }

    #[tokio::test]
    async fn a_left_over_socket_is_replaced_and_only_ones_own_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/control.sock");
        let first = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let second = Socket::bind(&path).unwrap();
        first.place.leave();
        std::os::unix::net::UnixStream::connect(&path).expect("the second one listens still");
        second.place.leave();
        let left: Vec<_> = fs::read_dir(folder.path().join("run")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
