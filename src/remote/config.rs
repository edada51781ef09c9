//! What the keeper's SSH needs to know, and what can be found wrong with it before any box is contacted.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::zeroize::Zeroizing;
use sha2::Sha256;
use tempfile::TempDir;

use super::client_config;
use crate::fleet::name::InstanceId;

/// Longest control directory in bytes. `ssh` first binds its socket under a name with a 17-byte random suffix, and a
/// Unix socket's path holds 107 bytes; the rest is our own `/sXXXXXX/master`.
const CONTROL_DIR_MAX: usize = 61;

/// How the keeper connects to its boxes.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// The private key; its public half is attached to every instance.
    pub key_file: PathBuf,
    /// Where the pinned host keys are kept, one file per instance.
    pub state_dir: PathBuf,
    /// Where the private directory for control sockets is made; `None` means `$XDG_RUNTIME_DIR`, or else `/tmp`.
    pub control_dir: Option<PathBuf>,
    /// Longest wait for TCP, banner and key exchange of one attempt.
    pub connect_timeout: Duration,
    /// Silence after which the connection is tested; four unanswered tests end it.
    pub alive_interval: Duration,
}

impl RemoteConfig {
    /// The defaults: 10 s to connect, a test every 15 s, so that a dead peer is noticed within a minute.
    #[must_use]
    pub fn new(key_file: PathBuf, state_dir: PathBuf) -> Self {
        Self {
            key_file,
            state_dir,
            control_dir: None,
            connect_timeout: Duration::from_secs(10),
            alive_interval: Duration::from_secs(15),
        }
    }
}

/// Why SSH cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No `ssh` in the `PATH`.
    #[error(
        "the `{program}` program is missing\nhint: install the OpenSSH client, e.g. `apt-get install openssh-client`"
    )]
    ClientMissing {
        /// Which program.
        program: &'static str,
    },
    /// The key cannot be read.
    #[error("cannot read the SSH key `{path}`\nhint: make one with `ssh-keygen -t ed25519 -N '' -f {path}`")]
    KeyUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read the key; `ssh` would ignore it.
    #[error("the SSH key `{path}` can be read by others (mode {mode:04o})\nhint: `chmod 600 {path}`")]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is no private key, or one with a passphrase, which nobody is there to type.
    #[error(
        "the SSH key `{path}` cannot be used: {detail}\nhint: the key must be a private key without a passphrase"
    )]
    KeyUnusable {
        /// The file.
        path: PathBuf,
        /// What `ssh-keygen` said.
        detail: String,
    },
    /// A directory cannot be made.
    #[error("cannot make the directory `{path}`")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control directory's path is too long for a Unix socket.
    #[error(
        "the directory for control sockets `{path}` is longer than {CONTROL_DIR_MAX} bytes\nhint: choose a shorter one"
    )]
    ControlDirTooLong {
        /// Which.
        path: PathBuf,
    },
    /// A path holds a character that has a meaning in an `ssh` configuration file.
    #[error(
        "the path `{path}` cannot be written into an `ssh` configuration: it holds a quote, a backslash, `$` or a control character"
    )]
    PathUnusable {
        /// Which.
        path: PathBuf,
    },
}

/// The way to the boxes. Cheap to clone; its sockets vanish with the last clone.
#[derive(Debug, Clone)]
pub struct Remote {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) ssh: PathBuf,
    pub(super) key_file: PathBuf,
    pub(super) pins: PathBuf,
    pub(super) sockets: TempDir,
    pub(super) connect_timeout: Duration,
    pub(super) alive_interval: Duration,
    public_key: String,
}

impl Remote {
    /// Checks the key and the programs and makes the directories.
    ///
    /// # Errors
    /// [`RemoteError`] names what a human must mend, with a hint.
    pub fn new(config: RemoteConfig) -> Result<Self, RemoteError> {
        let ssh = find_program("ssh")?;
        let key_file = check_key(&config.key_file)?;
        let public_key = public_key(&key_file)?;
        let pins = config.state_dir.join("known_hosts");
        // A state directory that cannot be written now is no reason not to watch: it is made again when a key is pinned.
        let pins = make_pins(&pins).and_then(|()| pins.canonicalize()).or_else(|error| {
            tracing::warn!(path = %pins.display(), %error, "host keys cannot be pinned yet");
            std::path::absolute(&pins).map_err(|source| RemoteError::Directory { path: pins, source })
        })?;
        let sockets = make_control_dir(config.control_dir.as_deref())?;
        for path in [&key_file, &pins, &sockets.path().to_path_buf()] {
            if !client_config::can_be_written(path) {
                return Err(RemoteError::PathUnusable { path: path.clone() });
            }
        }
        let inner = Inner {
            ssh,
            key_file,
            pins,
            sockets,
            connect_timeout: config.connect_timeout.max(Duration::from_secs(1)),
            alive_interval: config.alive_interval.max(Duration::from_secs(1)),
            public_key,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The public half of the key, as one line for `authorized_keys` and for the provider's API.
    #[must_use]
    pub fn public_key(&self) -> &str {
        &self.inner.public_key
    }

    /// A digest of `text` in lower-case hex that only a holder of the private key can compute (HMAC-SHA256), so that it may
    /// stand in names and journals although the text holds secrets: nobody else can try guesses against it.
    ///
    /// # Errors
    /// The key file cannot be read any more.
    pub fn private_digest(&self, text: &[u8]) -> io::Result<String> {
        let key = Zeroizing::new(fs::read(&self.inner.key_file)?);
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(io::Error::other)?;
        mac.update(text);
        Ok(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Forgets the pinned host key of an instance that is gone; ids are never reused, so this only tidies up.
    pub fn forget(&self, instance: InstanceId) {
        let path = self.inner.pin_file(instance);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%instance, error = %error, "cannot remove the pinned host key");
            }
            _ => {}
        }
    }
}

impl Inner {
    /// Where the host key of an instance is pinned.
    pub(super) fn pin_file(&self, instance: InstanceId) -> PathBuf {
        self.pins.join(client_config::alias(instance))
    }
}

/// Makes the directory of pinned host keys, which only its owner may enter.
pub(super) fn make_pins(pins: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(pins)
}

fn find_program(program: &'static str) -> Result<PathBuf, RemoteError> {
    std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join(program))
        .find(|path| {
            fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
        .ok_or(RemoteError::ClientMissing { program })
}

fn check_key(path: &Path) -> Result<PathBuf, RemoteError> {
    let unreadable = |source| RemoteError::KeyUnreadable { path: path.into(), source };
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(RemoteError::KeyExposed { path: path.into(), mode });
    }
    fs::File::open(path).map_err(unreadable)?;
    path.canonicalize().map_err(unreadable)
}

/// Deriving the public key proves that the file is a private key and needs no passphrase.
fn public_key(path: &Path) -> Result<String, RemoteError> {
    let output = Command::new(find_program("ssh-keygen")?)
        .args(["-y", "-P", "", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| RemoteError::KeyUnreadable { path: path.into(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let detail = said.lines().last().unwrap_or("no reason given").trim().to_owned();
    Err(RemoteError::KeyUnusable { path: path.into(), detail })
}

fn make_control_dir(wanted: Option<&Path>) -> Result<TempDir, RemoteError> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
    let base = wanted.map(Path::to_path_buf).or(runtime).unwrap_or_else(|| "/tmp".into());
    let base = base.canonicalize().map_err(|source| RemoteError::Directory { path: base.clone(), source })?;
    let sockets = tempfile::Builder::new()
        .prefix("vk-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(&base)
        .map_err(|source| RemoteError::Directory { path: base, source })?;
    if sockets.path().as_os_str().len() > CONTROL_DIR_MAX {
        return Err(RemoteError::ControlDirTooLong { path: sockets.path().into() });
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keygen(path: &Path, passphrase: &str) {
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", passphrase, "-f"])
            .arg(path)
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[test]
    fn what_is_wrong_with_the_key_is_said_before_any_box_is_contacted() {
        let folder = tempfile::tempdir().unwrap();
        let new = |key: &str| {
            let config = RemoteConfig::new(folder.path().join(key), folder.path().join("state"));
            Remote::new(config).map_err(|error| error.to_string())
        };
        assert!(new("absent").unwrap_err().contains("ssh-keygen -t ed25519"));

        keygen(&folder.path().join("good"), "");
        let remote = new("good").unwrap();
        assert!(remote.public_key().starts_with("ssh-ed25519 "), "{}", remote.public_key());

        fs::set_permissions(folder.path().join("good"), PermissionsExt::from_mode(0o644)).unwrap();
        assert!(new("good").unwrap_err().contains("chmod 600"));

        keygen(&folder.path().join("locked"), "a passphrase");
        assert!(new("locked").unwrap_err().contains("without a passphrase"));

        fs::write(folder.path().join("text"), "not a key\n").unwrap();
        fs::set_permissions(folder.path().join("text"), PermissionsExt::from_mode(0o600)).unwrap();
        assert!(new("text").unwrap_err().contains("cannot be used"));
    }

    #[test]
    fn a_state_directory_that_is_in_the_way_stops_nobody_from_watching() {
        let folder = tempfile::tempdir().unwrap();
        keygen(&folder.path().join("key"), "");
        fs::write(folder.path().join("state"), "a file").unwrap();
        let config = RemoteConfig::new(folder.path().join("key"), folder.path().join("state"));
        let remote = Remote::new(config).unwrap();
        assert!(make_pins(&remote.inner.pins).is_err());
        fs::remove_file(folder.path().join("state")).unwrap();
        make_pins(&remote.inner.pins).unwrap();
    }

    #[test]
    fn a_control_directory_too_long_for_a_socket_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        keygen(&folder.path().join("key"), "");
        let long = folder.path().join("d".repeat(60));
        fs::create_dir(&long).unwrap();
        let mut config = RemoteConfig::new(folder.path().join("key"), folder.path().join("state"));
        config.control_dir = Some(long);
        assert!(matches!(Remote::new(config), Err(RemoteError::ControlDirTooLong { .. })));
    }

    #[test]
    fn the_private_directories_are_private_and_vanish() {
        let folder = tempfile::tempdir().unwrap();
        keygen(&folder.path().join("key"), "");
        let remote =
            Remote::new(RemoteConfig::new(folder.path().join("key"), folder.path().join("state"))).unwrap();
        let sockets = remote.inner.sockets.path().to_path_buf();
        for path in [&sockets, &remote.inner.pins] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
        }
        drop(remote);
        assert!(!sockets.exists());
    }
}
