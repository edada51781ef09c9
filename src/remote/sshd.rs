//! A private OpenSSH server for tests: on loopback, as the current user, with its own host key and a home of its own.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tempfile::TempDir;

use super::{BoxAddress, Remote, RemoteConfig};
use crate::fleet::{name::InstanceId, provider::SshEndpoint};

const SSHD: &str = "/usr/sbin/sshd";

/// A running server and a client that may use it. Dropping it kills the server and what its folder holds.
pub(crate) struct Sshd {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    child: Child,
}

impl Sshd {
    /// Starts one, or says loudly that the test is skipped for want of `sshd`.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with_shell(Path::new("/bin/sh"))
    }

    /// The same on a box whose `sh` is that program.
    pub(crate) fn start_with_shell(shell: &Path) -> Option<Self> {
        if !Path::new(SSHD).exists() {
            eprintln!(
                "SKIPPED: {SSHD} is not installed (apt-get install openssh-server); nothing was tested"
            );
            return None;
        }
        // As root, sshd wants this empty directory; elsewhere the package makes it.
        let _ = fs::create_dir_all("/run/sshd");
        let folder = tempfile::Builder::new().prefix("vk-sshd").tempdir_in("/tmp").unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["host", "key", "other"] {
            keygen(&path(name));
        }
        fs::create_dir(path("home")).unwrap();
        fs::create_dir(path("bin")).unwrap();
        std::os::unix::fs::symlink(shell, path("bin/sh")).unwrap();
        fs::copy(path("key.pub"), path("authorized_keys")).unwrap();
        let port = free_port();
        let child = spawn(folder.path(), port, "host");
        let sshd = Self { folder, port, child };
        sshd.wait_until_listening();
        Some(sshd)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A client with the key that the server accepts.
    pub(crate) fn remote(&self) -> Remote {
        self.remote_with("key")
    }

    /// A client with one of the generated keys.
    pub(crate) fn remote_with(&self, key: &str) -> Remote {
        let mut config = RemoteConfig::new(self.folder.path().join(key), self.folder.path().join("state"));
        config.connect_timeout = Duration::from_secs(5);
        Remote::new(config).unwrap()
    }

    pub(crate) fn endpoint(&self) -> SshEndpoint {
        SshEndpoint { host: "127.0.0.1".into(), port: self.port }
    }

    pub(crate) fn address(&self) -> BoxAddress {
        BoxAddress { instance: InstanceId(7), endpoints: vec![self.endpoint()], user: user() }
    }

    /// Starts anew on the same port, by default with the same host key.
    pub(crate) fn restart(&mut self, host_key: &str) {
        self.stop();
        self.child = spawn(self.folder.path(), self.port, host_key);
        self.wait_until_listening();
    }

    /// Kills the server and every connection it serves.
    pub(crate) fn stop(&mut self) {
        for pid in descendants(self.child.id()) {
            kill(pid);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills the connections and leaves the listener.
    pub(crate) fn cut_connections(&self) {
        for pid in descendants(self.child.id()) {
            kill(pid);
        }
    }

    fn wait_until_listening(&self) {
        for _ in 0..2000 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!(
            "sshd did not start: {}",
            fs::read_to_string(self.folder.path().join("sshd.log")).unwrap_or_default()
        );
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
        for pid in processes_within(&self.folder.path().to_string_lossy()) {
            kill(pid);
        }
    }
}

/// A port on loopback that nobody has, and that no other call of this process was given: between the choice and the listening there
/// is time enough for another box to be given the same one. It lies below those that the kernel gives to whoever asks for any, and
/// each process begins elsewhere.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let at = (std::process::id().wrapping_mul(997) % COUNT + given) % COUNT;
        let port = u16::try_from(FIRST + at).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn keygen(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    assert!(command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap().success());
}

fn spawn(folder: &Path, port: u16, host_key: &str) -> Child {
    let text = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {at}/{host_key}\nAuthorizedKeysFile {at}/authorized_keys\n\
         UsePAM no\nStrictModes no\nPidFile none\nPasswordAuthentication no\nPrintMotd no\nLogLevel ERROR\n\
         Subsystem sftp internal-sftp\nSetEnv HOME={at}/home HOST=127.0.0.1 PATH={at}/bin:/usr/bin:/bin\n",
        at = folder.display()
    );
    let config = folder.join("sshd_config");
    fs::write(&config, text).unwrap();
    fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
    Command::new(SSHD)
        .arg("-D")
        .arg("-f")
        .arg(&config)
        .arg("-E")
        .arg(folder.join("sshd.log"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

pub(crate) fn kill(pid: u32) {
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Every process below `pid`: the server's connections, but not what left its session's tree.
fn descendants(pid: u32) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let mut found = vec![];
    let mut wave = vec![pid];
    while !wave.is_empty() {
        wave =
            pids().filter(|child| parent_of(*child).is_some_and(|parent| wave.contains(&parent))).collect();
        found.extend(&wave);
    }
    found
}

/// Processes whose environment names the folder, or whose program lies in it: everything that a session there has started, however
/// detached, and what it started with an environment of its own.
fn processes_within(folder: &str) -> Vec<u32> {
    let names = |pid: &u32| {
        let told = fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|env| String::from_utf8_lossy(&env).contains(&format!("HOME={folder}/home")));
        told || fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.starts_with(folder))
    };
    pids().filter(names).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}
