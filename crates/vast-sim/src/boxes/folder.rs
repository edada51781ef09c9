//! A box's folder: its home, its private `/etc/environment`, its container log.
//!
//! ```text
//! <state>/boxes/<instance>/root/              HOME
//! <state>/boxes/<instance>/etc/environment    stands for /etc/environment
//! <state>/boxes/<instance>/container.log      output of onstart or of the main program
//! ```

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use russh::keys::PublicKey;

/// Paths of one box.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    base: PathBuf,
}

impl Folder {
    pub(crate) fn of(root: &Path, instance: u64) -> Self {
        Folder { base: root.join("boxes").join(instance.to_string()) }
    }

    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.base.join("root")
    }

    pub(crate) fn environment_file(&self) -> PathBuf {
        self.base.join("etc/environment")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.base.join("container.log")
    }

    fn keys_file(&self) -> PathBuf {
        self.home().join(".ssh/authorized_keys")
    }

    /// Makes what is missing; what a restart kept stays.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        for folder in [self.home().join(".ssh"), self.base.join("etc"), self.base.join("tmp")] {
            fs::create_dir_all(folder)?;
        }
        for private in [self.home(), self.home().join(".ssh")] {
            fs::set_permissions(private, fs::Permissions::from_mode(0o700))?;
        }
        OpenOptions::new().create(true).append(true).open(self.environment_file())?;
        Ok(())
    }

    /// Removes everything; nothing there is fine.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.base) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.log_file())
    }

    /// The last `tail` lines of the log that contain `filter`.
    pub(crate) fn read_log(&self, tail: usize, filter: Option<&str>) -> String {
        let Ok(file) = File::open(self.log_file()) else { return String::new() };
        let mut kept = VecDeque::new();
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            if filter.is_none_or(|wanted| text.contains(wanted)) {
                kept.push_back(text);
            }
            if kept.len() > tail {
                kept.pop_front();
            }
            line.clear();
        }
        kept.into_iter().collect()
    }

    /// Adds keys that are not there yet.
    pub(crate) fn add_keys(&self, keys: &[String]) -> io::Result<()> {
        let present = fs::read_to_string(self.keys_file()).unwrap_or_default();
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(self.keys_file())?;
        if !present.is_empty() && !present.ends_with('\n') {
            writeln!(file)?;
        }
        for key in
            keys.iter().map(|key| key.trim()).filter(|key| !present.lines().any(|line| line.trim() == *key))
        {
            writeln!(file, "{key}")?;
        }
        Ok(())
    }

    /// Replaces all keys, whoever wrote them.
    pub(crate) fn reset_keys(&self, keys: &[String]) -> io::Result<()> {
        let text: String = keys.iter().map(|key| format!("{}\n", key.trim())).collect();
        fs::write(self.keys_file(), text)
    }

    pub(crate) fn remove_key(&self, key: &str) -> io::Result<()> {
        let present = fs::read_to_string(self.keys_file())?;
        let kept: Vec<String> =
            present.lines().filter(|line| line.trim() != key.trim()).map(str::to_owned).collect();
        self.reset_keys(&kept)
    }

    /// Whether `key` may log in. Options before a key are accepted and ignored.
    pub(crate) fn admits(&self, key: &PublicKey) -> bool {
        let present = fs::read_to_string(self.keys_file()).unwrap_or_default();
        present.lines().filter_map(parse_key).any(|known| known.key_data() == key.key_data())
    }

    /// `NAME=value` lines of the private `/etc/environment`, as pam_env reads them for SSH sessions.
    pub(crate) fn session_environment(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.environment_file()).unwrap_or_default();
        let parse = |line: &str| {
            let line = line.trim().trim_start_matches("export ");
            let (name, value) = line.split_once('=')?;
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
            plain.then(|| (name.to_owned(), value.trim_matches('"').to_owned()))
        };
        text.lines().filter_map(parse).collect()
    }
}

fn parse_key(line: &str) -> Option<PublicKey> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| {
        word.starts_with("ssh-") || word.starts_with("ecdsa-sha2-") || word.starts_with("sk-")
    })?;
    PublicKey::from_openssh(&words.get(at..=at + 1)?.join(" ")).ok()
}
