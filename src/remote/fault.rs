//! Why a connection failed. `ssh` tells it in words only, so this is the one place that reads them: a table, tested
//! against what OpenSSH prints.

/// Why no session could be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFault {
    /// No connection, or the peer does not speak SSH (yet).
    #[error("unreachable over SSH: {detail}")]
    Unreachable {
        /// What happened, one clause per endpoint.
        detail: String,
    },
    /// The box refuses our key. Right after boot it may not have it yet; later it lost it.
    #[error("the box refuses our SSH key: {detail}")]
    AuthRefused {
        /// What happened.
        detail: String,
    },
    /// Another host key than the pinned one: another machine, or somebody in between. Never retried, never accepted.
    #[error("the host key changed: {detail}")]
    HostKeyChanged {
        /// What happened, with the fingerprint that was offered.
        detail: String,
    },
    /// Something on our own side; another box would fail too.
    #[error("cannot run `ssh`: {detail}")]
    Local {
        /// What happened.
        detail: String,
    },
}

impl ConnectFault {
    /// Whether a later attempt may succeed by itself.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::AuthRefused { .. })
    }

    /// The cause alone, without the kind.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Unreachable { detail }
            | Self::AuthRefused { detail }
            | Self::HostKeyChanged { detail }
            | Self::Local { detail } => detail,
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    AuthRefused,
    HostKeyChanged,
    Local,
}

/// What to look for, lower case, first match wins; anything else is a matter of reachability.
const TABLE: &[(&str, Kind)] = &[
    ("remote host identification has changed", Kind::HostKeyChanged),
    ("host key verification failed", Kind::HostKeyChanged),
    ("host key is known for", Kind::HostKeyChanged),
    ("unprotected private key file", Kind::Local),
    ("bad configuration option", Kind::Local),
    ("bad owner or permissions", Kind::Local),
    ("too long for unix domain socket", Kind::Local),
    ("error in libcrypto", Kind::Local),
    ("invalid format", Kind::Local),
    ("permission denied (", Kind::AuthRefused),
    ("too many authentication failures", Kind::AuthRefused),
];

/// What the log of a failed `ssh` means.
pub(super) fn read(log: &str) -> ConnectFault {
    let lower = log.to_lowercase();
    let kind = TABLE.iter().find(|(text, _)| lower.contains(text)).map(|(_, kind)| *kind);
    let detail = last_words(log);
    match kind {
        Some(Kind::HostKeyChanged) => {
            let detail = match fingerprint(log) {
                Some(offered) => format!("{detail} It offers {}", printable(offered)),
                None => detail,
            };
            ConnectFault::HostKeyChanged { detail }
        }
        Some(Kind::AuthRefused) => ConnectFault::AuthRefused { detail },
        Some(Kind::Local) => ConnectFault::Local { detail },
        None => ConnectFault::Unreachable { detail },
    }
}

/// The last line that says something, cut to a printable length.
fn last_words(log: &str) -> String {
    let line = log.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("ssh gave no reason");
    printable(line)
}

/// A text of strangers without control characters, cut to a printable length: it ends up in alerts.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

fn fingerprint(log: &str) -> Option<&str> {
    let start = log.find("SHA256:")?;
    let text = log.get(start..)?;
    let end = text.find(|c: char| c.is_whitespace()).unwrap_or(text.len());
    text.get(..end).map(|found| found.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As OpenSSH 9.2 prints them at log level ERROR.
    #[test]
    fn each_text_of_ssh_has_its_meaning() {
        let word = |log: &str| match read(log) {
            ConnectFault::Unreachable { .. } => "unreachable",
            ConnectFault::AuthRefused { .. } => "auth",
            ConnectFault::HostKeyChanged { .. } => "host key",
            ConnectFault::Local { .. } => "local",
        };
        let cases = [
            ("ssh: connect to host 192.0.2.1 port 22: Connection refused\r\n", "unreachable"),
            ("ssh: connect to host 192.0.2.1 port 22: Connection timed out\r\n", "unreachable"),
            ("Connection timed out during banner exchange\r\n", "unreachable"),
            ("Connection to 192.0.2.1 port 22 timed out\r\n", "unreachable"),
            ("kex_exchange_identification: Connection closed by remote host\r\n", "unreachable"),
            ("kex_exchange_identification: read: Connection reset by peer\r\n", "unreachable"),
            ("ssh: Could not resolve hostname ssh4.vast.ai: Name or service not known\r\n", "unreachable"),
            ("", "unreachable"),
            ("root@192.0.2.1: Permission denied (publickey).\r\n", "auth"),
            ("Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures\r\n", "auth"),
            (
                "No ED25519 host key is known for vast-1 and you have requested strict checking.\r\nHost key verification failed.\r\n",
                "host key",
            ),
            (
                "@ WARNING: UNPROTECTED PRIVATE KEY FILE! @\nroot@box: Permission denied (publickey).\n",
                "local",
            ),
            ("/x/config: line 2: Bad configuration option: hostnam\r\n", "local"),
            ("Load key \"/x\": error in libcrypto\r\nroot@b: Permission denied (publickey).\r\n", "local"),
        ];
        for (log, meaning) in cases {
            assert_eq!(word(log), meaning, "{log}");
        }
    }

    #[test]
    fn a_changed_host_key_is_told_with_the_one_offered() {
        let log = "@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@@\n\
            The fingerprint for the ED25519 key sent by the remote host is\nSHA256:abcDEF123.\n\
            Please contact your system administrator.\nHost key verification failed.\n";
        let fault = read(log);
        assert!(!fault.retryable());
        assert_eq!(fault.detail(), "Host key verification failed. It offers SHA256:abcDEF123");
        // A box can make `ssh` print what it likes.
        let hostile =
            read(&format!("SHA256:\u{7f}\u{1b}[31m{}\nHost key verification failed", "x".repeat(5000)));
        assert!(hostile.detail().len() < 400 && hostile.detail().chars().all(|c| !c.is_control()));
    }
}
