//! Smoke checks: what else must hold before a release may stay, as the configuration declares it.
//!
//! A check names a path and the conditions that its answer must meet, in the same syntax as the health conditions; a path
//! behind `ws:` is asked to become a WebSocket. The server's own log since its start is read on the box.

use std::{fmt, str::FromStr, time::Duration};

use reqwest::header;
use tokio::time::{Instant, sleep};

use super::{
    fault::DeployFault,
    gate::{ask_with, client},
    run::{Run, script},
    step::Step,
};
use crate::fleet::condition::{Answer, Condition};

/// How often a check is tried: what starts behind the health check may need a moment.
const TRIES: u32 = 5;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Joins the conditions of one check.
const AND: &str = " and ";
/// The sample key of RFC 6455, section 1.3: any 16 bytes will do, for the answer is only looked at and dropped.
const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// One smoke check.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    path: String,
    websocket: bool,
    conditions: Vec<Condition>,
    text: String,
}

/// Everything that must hold besides the gate.
#[derive(Debug, Clone, Default)]
pub struct Smoke {
    /// Asked from outside, one after the other.
    pub checks: Vec<Check>,
    /// Plain texts that the server's log must hold after the start.
    pub expected: Vec<String>,
    /// Plain texts that it must not hold.
    pub errors: Vec<String>,
    /// Lines with one of these are no errors.
    pub ignored: Vec<String>,
}

impl Smoke {
    /// Whether there is anything to check.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty() && self.expected.is_empty() && self.errors.is_empty()
    }
}

impl FromStr for Check {
    type Err = String;

    /// Reads `/path [STATUS] == 200 and [BODY].ready == true`, or `ws:/ws [STATUS] == 101`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (place, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let (path, websocket) = place.strip_prefix("ws:").map_or((place, false), |path| (path, true));
        let plain = |c: char| c.is_ascii_graphic() && c != '#';
        if !path.starts_with('/') || !path.chars().all(plain) {
            return Err(format!("`{}` is no path: it begins with `/`, or with `ws:/`", place.escape_debug()));
        }
        let wanted = if websocket { "[STATUS] == 101" } else { "[STATUS] == 200" };
        let rest = if rest.trim().is_empty() { wanted } else { rest };
        let conditions = rest.split(AND).map(|part| {
            part.trim().parse::<Condition>().map_err(|error| format!("`{}`: {}", part.trim(), error.problem))
        });
        let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { path: path.to_owned(), websocket, conditions, text: text.to_owned() })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Run<'_> {
    /// Asks every check, then reads the log. The first that fails is the release's fault: the gate has proven the box.
    pub(super) async fn smoke(&mut self, smoke: &Smoke) -> Result<String, DeployFault> {
        let client = client().map_err(|error| DeployFault::Release(format!("no HTTP client: {error}")))?;
        for check in &smoke.checks {
            let mut last = String::new();
            for attempt in 0..TRIES {
                if attempt > 0 {
                    sleep(PAUSE).await;
                }
                match self.passes(&client, check).await {
                    Ok(()) => {
                        last.clear();
                        break;
                    }
                    Err(why) => last = why,
                }
            }
            if !last.is_empty() {
                return Err(DeployFault::Release(format!("the smoke check `{check}` fails: {last}")));
            }
        }
        if !smoke.expected.is_empty() || !smoke.errors.is_empty() {
            self.read_log(smoke).await?;
        }
        Ok(format!("{} checks hold", smoke.checks.len()))
    }

    async fn passes(&self, client: &reqwest::Client, check: &Check) -> Result<(), String> {
        let mut request = client.get(format!("http://{}{}", self.site.public, check.path));
        if check.websocket {
            request = request
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "websocket")
                .header(header::SEC_WEBSOCKET_VERSION, "13")
                .header(header::SEC_WEBSOCKET_KEY, WEBSOCKET_KEY);
        }
        let asked = Instant::now();
        let (status, body) = ask_with(request, check.websocket).await?;
        let answer = Answer::new(status, asked.elapsed(), &body);
        check.conditions.iter().try_for_each(|condition| condition.evaluate(&answer))
    }

    async fn read_log(&mut self, smoke: &Smoke) -> Result<(), DeployFault> {
        let script = script!("proof.sh")
            .value("expected", smoke.expected.join("\n"))
            .value("errors", smoke.errors.join("\n"))
            .value("ignored", smoke.ignored.join("\n"));
        match self.script(Step::Smoke, script, b"").await {
            Ok(_) => Ok(()),
            // The script only fails for what the server wrote.
            Err(DeployFault::Box(words)) => Err(DeployFault::Release(words)),
            Err(fault) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_read_or_refused_with_a_reason() {
        let check: Check = "/ready [STATUS] == 200 and [BODY].ready == true".parse().unwrap();
        assert_eq!((check.path.as_str(), check.websocket, check.conditions.len()), ("/ready", false, 2));
        let check: Check = "ws:/ws".parse().unwrap();
        assert!(check.websocket);
        assert!(check.conditions[0].evaluate(&Answer::new(101, Duration::ZERO, b"")).is_ok());
        assert!(check.conditions[0].evaluate(&Answer::new(200, Duration::ZERO, b"")).is_err());
        for wrong in ["", "ready", "http://x/", "/a [STATUS] === 1", "/a [NOTHING] == 1", "/a and"] {
            assert!(wrong.parse::<Check>().is_err(), "{wrong:?}");
        }
    }
}
