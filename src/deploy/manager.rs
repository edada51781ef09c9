//! What keeps the server running on a box.
//!
//! It belongs to the release, as its settings do: going back restores it too. Whoever it is, the same is proven of it: the port is
//! free before a start, the process that the manager names is the one that became the server, and a stop ends the group of exactly
//! that process.

use std::{collections::BTreeMap, fmt::Write as _};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::remote::quote;

/// What keeps the server running.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manager {
    /// A supervisor of ours: what a container without an init needs. It survives the connection, restarts with a growing delay
    /// and rotates the log.
    #[default]
    Supervised,
    /// A unit of systemd's, which the keeper writes.
    Systemd {
        /// Its name, without `.service`.
        service: String,
    },
    /// A process of pm2's.
    Pm2 {
        /// Its name.
        service: String,
    },
    /// A container of the release's image; the engine restarts it.
    Docker {
        /// The engine's command, such as `docker` or `podman`.
        engine: String,
        /// The container's name.
        service: String,
        /// The image, pinned by its digest.
        image: String,
        /// Options of `run`, such as `--network host`.
        options: Vec<String>,
    },
    /// Commands for `sh`.
    Command {
        /// Starts the server and returns. `$KEEPER_SERVE` is the command that becomes the server.
        start: String,
        /// Stops it, and returns when it has ended.
        stop: String,
        /// Prints its state; without it the process is looked at.
        status: Option<String>,
        /// Prints the id of its main process, or nothing.
        pid: String,
    },
}

impl Manager {
    /// What the box is told: assignments for its shell; nothing for our own supervisor.
    pub(super) fn text(&self, settings: &BTreeMap<String, SecretString>) -> String {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        match self {
            Self::Supervised => return String::new(),
            Self::Systemd { service } => {
                pairs.extend([("manager", "systemd".into()), ("service", service.clone())])
            }
            Self::Pm2 { service } => pairs.extend([("manager", "pm2".into()), ("service", service.clone())]),
            Self::Docker { engine, service, image, options } => {
                let own = ["INSTANCE_ID", "PORT"];
                let names: Vec<&str> = settings.keys().map(String::as_str).chain(own).collect();
                let options: Vec<String> = options.iter().map(|option| quote(option)).collect();
                pairs.extend([
                    ("manager", "docker".to_owned()),
                    ("engine", engine.clone()),
                    ("service", service.clone()),
                    ("image", image.clone()),
                    ("options", options.join(" ")),
                    ("names", names.join(" ")),
                ]);
            }
            Self::Command { start, stop, status, pid } => pairs.extend([
                ("manager", "command".to_owned()),
                ("start_command", start.clone()),
                ("stop_command", stop.clone()),
                ("status_command", status.clone().unwrap_or_default()),
                ("pid_command", pid.clone()),
            ]),
        }
        pairs.iter().fold(String::new(), |mut text, (name, value)| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}={}", quote(value));
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        let manager = Manager::Docker {
            engine: "podman".into(),
            service: "duel".into(),
            image: "registry.example.org/duel@sha256:aa".into(),
            options: vec!["--label".into(), "who=it's us".into()],
        };
        let settings = BTreeMap::from([("ODD".to_owned(), SecretString::from("secret"))]);
        let text = manager.text(&settings);
        assert!(!text.contains("secret"), "{text}");
        let script = format!("{text}\neval \"set -- $options\"; printf '%s|' \"$engine\" \"$names\" \"$@\"");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "podman|ODD INSTANCE_ID PORT|--label|who=it's us|"
        );
        assert_eq!(Manager::Supervised.text(&settings), "");
    }
}
