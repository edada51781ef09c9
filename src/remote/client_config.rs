//! The generated `ssh` configuration. It is the only one read (`-F`), so nothing of the user's or the system's applies.

use std::{fmt::Write as _, path::Path, time::Duration};

use crate::fleet::name::InstanceId;

/// Seconds an idle master stays when the keeper dies without closing it; long enough for any silent step, and a bound on
/// what a crash leaves behind.
const PERSIST_SECONDS: u32 = 600;
/// Unanswered tests after which the connection is given up.
const ALIVE_COUNT: u32 = 4;

/// The name a box's host key is pinned under. Addresses of rented boxes are reused by others, instance ids are not.
pub(super) fn alias(instance: InstanceId) -> String {
    format!("vast-{instance}")
}

/// What one connection needs.
pub(super) struct ClientConfig<'a> {
    pub(super) instance: InstanceId,
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) user: &'a str,
    pub(super) key_file: &'a Path,
    pub(super) known_hosts: &'a Path,
    /// Whether the host key is known already; if not, the first one offered is written to `known_hosts`.
    pub(super) pinned: bool,
    pub(super) connect_timeout: Duration,
    pub(super) alive_interval: Duration,
}

impl ClientConfig<'_> {
    /// The file's text.
    pub(super) fn text(&self) -> String {
        let mut text =
            format!("Host *\n  HostName {}\n  Port {}\n  User {}\n", self.host, self.port, self.user);
        let mut line = |key: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {key} {value}");
        };
        line("HostKeyAlias", &alias(self.instance));
        line("StrictHostKeyChecking", if self.pinned { "yes" } else { "accept-new" });
        line("UserKnownHostsFile", &quoted(self.known_hosts));
        line("GlobalKnownHostsFile", "none");
        line("UpdateHostKeys", "no");
        line("CheckHostIP", "no");
        line("HashKnownHosts", "no");
        line("IdentityFile", &quoted(self.key_file));
        line("IdentitiesOnly", "yes");
        line("IdentityAgent", "none");
        line("PreferredAuthentications", "publickey");
        line("BatchMode", "yes");
        line("ForwardAgent", "no");
        line("ClearAllForwardings", "yes");
        line("PermitLocalCommand", "no");
        line("RequestTTY", "no");
        line("LogLevel", "ERROR");
        line("ControlPersist", &PERSIST_SECONDS.to_string());
        line("ConnectTimeout", &seconds(self.connect_timeout));
        line("ServerAliveInterval", &seconds(self.alive_interval));
        line("ServerAliveCountMax", &ALIVE_COUNT.to_string());
        text
    }
}

/// Whole seconds, rounded up: `ssh` knows no fractions, and zero would mean *no limit*.
fn seconds(duration: Duration) -> String {
    duration.as_millis().div_ceil(1000).max(1).to_string()
}

/// Whether a path can stand in the file: quotes, backslashes and `${…}` would change its meaning.
pub(super) fn can_be_written(path: &Path) -> bool {
    path.to_str().is_some_and(|text| !text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\' | '$')))
}

/// A path between quotes; `%` starts a token in these options and is doubled.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy().replace('%', "%%"))
}

/// Whether a text is a host name or an address and nothing else. The provider's list names the hosts, and an option or a
/// line break in a name would reach `ssh`.
pub(super) fn is_host(host: &str) -> bool {
    host.len() <= 253
        && host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':')
        && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'))
}

/// Whether a text is a plain login name.
pub(super) fn is_user(user: &str) -> bool {
    user.len() <= 32
        && user.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && user.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn host_names_cannot_smuggle_options() {
        for good in ["ssh4.vast.ai", "127.0.0.1", "2001:db8::1", "::1", "box_1", "a"] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "-oProxyCommand=x",
            "a b",
            "a\nProxyCommand x",
            "a%h",
            "$(x)",
            "a\"b",
            "a/b",
            &"a".repeat(254),
        ] {
            assert!(!is_host(bad), "{bad:?}");
        }
        assert!(is_user("root") && is_user("_apt") && !is_user("-l") && !is_user("a b") && !is_user(""));
    }

    #[test]
    fn ssh_itself_reads_the_file_as_meant() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("100 %h of it");
        let config = ClientConfig {
            instance: InstanceId(42),
            host: "192.0.2.7",
            port: 40022,
            user: "root",
            key_file: &odd,
            known_hosts: &odd,
            pinned: true,
            connect_timeout: Duration::from_millis(200),
            alive_interval: Duration::from_millis(2500),
        };
        let file = folder.path().join("config");
        std::fs::write(&file, config.text()).unwrap();
        let output = Command::new("ssh").arg("-G").arg("-F").arg(&file).arg("box").output().unwrap();
        let seen = String::from_utf8(output.stdout).unwrap();
        for expected in [
            "hostname 192.0.2.7",
            "port 40022",
            "user root",
            "hostkeyalias vast-42",
            "stricthostkeychecking true",
            "identitiesonly yes",
            "forwardagent no",
            "clearallforwardings yes",
            "permitlocalcommand no",
            "connecttimeout 1",
            "serveraliveinterval 3",
            "serveralivecountmax 4",
            "updatehostkeys false",
            "globalknownhostsfile none",
            "batchmode yes",
        ] {
            assert!(seen.lines().any(|line| line == expected), "no `{expected}` in:\n{seen}");
        }
    }
}
