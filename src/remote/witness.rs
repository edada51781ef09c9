//! The second witness: the box itself, over a connection of its own, about its server. Asked before a destroy.
//!
//! It says *up* and *down* only for what it has seen; everything between is *silent*, and silence proves nothing.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{config::Remote, connect::BoxAddress, script::Script};
use crate::fleet::{health::IDENTITY_FIELD, name::OpId};

/// What the box says of its server.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witnessed {
    /// The health path answered 200 on the box's own port and, where that is asked for, named this box.
    ServerUp,
    /// It does not answer well, and work that is over has left data half-way that it was changing; which work.
    Halfway(String),
    /// No listener on the port, or the process is dead or stopped.
    ServerDown(String),
    /// Anything else: unreachable, a server that answers badly, an answer that cannot be read.
    Silent(String),
}

/// What the script told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    process: String,
    port: String,
    http: String,
    body: String,
    data: String,
}

impl Remote {
    /// Asks the box whether its server on `port` (inside the container) lives: `path` is what the probes ask for, and
    /// `identity` what the answer must echo, where the probes demand that. Always a fresh connection: an old one can outlive
    /// both the key and the route to the box.
    pub async fn witness(
        &self,
        address: &BoxAddress,
        port: u16,
        path: &str,
        identity: Option<&OpId>,
        limit: Duration,
    ) -> Witnessed {
        let end = Instant::now() + limit;
        let look = async {
            let session = match self.connect(address, limit).await {
                Ok(session) => session,
                Err(fault) => return Witnessed::Silent(fault.to_string()),
            };
            let script =
                Script::new(include_str!("witness.sh")).value("port", port.to_string()).value("path", path);
            let left = end.saturating_duration_since(Instant::now());
            let told = match session.run(&script, b"", left).await {
                Ok(output) if output.rc == 0 => judge(&Report::read(&output.stdout), identity),
                Ok(output) => Witnessed::Silent(format!("the box could not look: {}", output.reason())),
                Err(fault) => Witnessed::Silent(fault.to_string()),
            };
            session.close().await;
            told
        };
        let late = || Witnessed::Silent(format!("no word within {} s", limit.as_secs()));
        timeout(limit, look).await.unwrap_or_else(|_| late())
    }
}

impl Report {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\nbody\n").unwrap_or((text, ""));
        let field = |name: &str| {
            let mut values = head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            values.next().unwrap_or_default().to_owned()
        };
        Self {
            process: field("process"),
            port: field("port"),
            http: field("http"),
            data: field("data"),
            body: body.to_owned(),
        }
    }
}

fn judge(report: &Report, identity: Option<&OpId>) -> Witnessed {
    let named = || {
        let body: serde_json::Value = serde_json::from_str(report.body.trim()).ok()?;
        Some(body.get(IDENTITY_FIELD)?.as_str()?.to_owned())
    };
    if report.http != "200" && !report.data.is_empty() {
        return Witnessed::Halfway(report.data.chars().filter(|c| !c.is_control()).take(200).collect());
    }
    match (report.http.as_str(), report.process.as_str(), report.port.as_str()) {
        ("200", _, _) => match (identity, named()) {
            (None, _) => Witnessed::ServerUp,
            (Some(wanted), Some(named)) if named == wanted.as_str() => Witnessed::ServerUp,
            (Some(_), Some(_)) => {
                Witnessed::Silent("a server answers on the box, under another identity".into())
            }
            (Some(_), None) => Witnessed::Silent("a server answers on the box and names no identity".into()),
        },
        (code, _, _) if code.parse::<u16>().is_ok() => {
            Witnessed::Silent(format!("the server answers {code} on the box itself"))
        }
        (_, "dead", _) => Witnessed::ServerDown("the server's process is dead".into()),
        (_, "stopped", _) => Witnessed::ServerDown("the server's process is stopped".into()),
        (_, _, "closed") => Witnessed::ServerDown("nothing listens on the server's port".into()),
        ("refused", _, _) => {
            Witnessed::ServerDown("the server's port refuses connections on the box itself".into())
        }
        ("silent", _, _) => Witnessed::Silent("the server accepts connections and does not answer".into()),
        _ => Witnessed::Silent("the box has no means to ask its server".into()),
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_and_down_are_said_only_of_what_was_seen() {
        let op = OpId::from_bits(9);
        let told = |identity: bool, process: &str, port: &str, http: &str, body: &str| {
            let text = format!("process={process}\nport={port}\nhttp={http}\nbody\n{body}\n");
            match judge(&Report::read(&text), identity.then_some(&op)) {
                Witnessed::ServerUp => "up",
                Witnessed::ServerDown(_) => "down",
                Witnessed::Silent(_) => "silent",
                Witnessed::Halfway(_) => "half-way",
            }
        };
        let ours = format!(r#"{{"status":"healthy","instance":"{op}"}}"#);
        let cases = [
            ("alive", "open", "200", ours.as_str(), "up"),
            // Adopted from a keeper that left no process notes, or those were lost: the answer alone is enough.
            ("none", "unknown", "200", ours.as_str(), "up"),
            ("alive", "open", "200", r#"{"instance":"somebody"}"#, "silent"),
            ("alive", "open", "200", r#"{"instance":null}"#, "silent"),
            ("alive", "open", "200", "<html>", "silent"),
            ("alive", "open", "503", ours.as_str(), "silent"),
            ("alive", "open", "silent", "", "silent"),
            ("alive", "open", "unasked", "", "silent"),
            ("alive", "closed", "refused", "", "down"),
            ("dead", "closed", "refused", "", "down"),
            // A stranger took the port of our dead server.
            ("dead", "open", "silent", "", "down"),
            ("stopped", "open", "silent", "", "down"),
            ("none", "closed", "unasked", "", "down"),
            ("none", "unknown", "refused", "", "down"),
            ("none", "unknown", "silent", "", "silent"),
        ];
        for (process, port, http, body, word) in cases {
            assert_eq!(told(true, process, port, http, body), word, "{process} {port} {http} {body}");
            // Where the probes demand no identity, any answer that they would take is one.
            let word = if http == "200" { "up" } else { word };
            assert_eq!(told(false, process, port, http, body), word, "{process} {port} {http} {body}");
        }
    }

    #[test]
    fn a_hostile_report_is_silence() {
        let op = OpId::from_bits(9);
        for text in [
            "",
            "http=",
            "body\n",
            "http=200\n",
            "http=200\nbody\n\u{0}\u{fffd}",
            "process=\nport=\nhttp=99999",
        ] {
            assert!(matches!(judge(&Report::read(text), Some(&op)), Witnessed::Silent(_)), "{text:?}");
        }
    }
}
