//! The gate: proof from outside that the new release serves, and from inside why it does not.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{env_file::mask, fault::DeployFault, recipe::is_full_hash, request::Gate, run::Run, step::Step};
use crate::crash::{self, Point};

/// Limit for one answer; the same as the original keeper's health check.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Most of an answer that is read.
const BODY_MAX: usize = 256 * 1024;
/// Pause between two looks at the supervisor while the server does not answer well.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Ends of the server after which waiting is pointless. The first may be a port that is not free yet.
const EXITS_ENOUGH: u32 = 2;
/// Lines of the server's log in a fault.
const LOG_LINES: usize = 12;

/// What a server writes when its box, and not its release, is at fault; lower case, as Linux words its errors.
pub(super) const BOX_WORDS: &[&str] = &[
    "address already in use",
    "no space left on device",
    "cannot allocate memory",
    "read-only file system",
    "too many open files",
    "input/output error",
    "out of memory",
];

/// The part of `/health` that proves who answers.
#[derive(Debug, Default, Deserialize)]
struct Health {
    instance: Option<String>,
    commit: Option<String>,
    started_at: Option<u64>,
}

/// Why an answer does not count yet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NotYet {
    /// Another commit serves under our identity.
    Commit(String),
    /// Anything else.
    Other(String),
}

impl NotYet {
    fn detail(&self) -> &str {
        let (Self::Commit(detail) | Self::Other(detail)) = self;
        detail
    }
}

impl Run<'_> {
    /// Asks until the gate is passed. `began` is when the server was started, in seconds of the box's clock.
    pub(super) async fn gate(&mut self, gate: &Gate, began: u64) -> Result<String, DeployFault> {
        let client = client().map_err(|error| DeployFault::Release(format!("no HTTP client: {error}")))?;
        let url = format!("http://{}{}", self.site.public, gate.path);
        let end = Instant::now() + gate.within;
        let mut next_look = Instant::now() + LOOK_EVERY / 2;
        let mut streak: Option<(u64, u32, Instant)> = None;
        loop {
            let answer = ask(&client, &url).await;
            crash::at(Point::InStep(Step::Gate.word()));
            let not_yet = match answer.and_then(|answer| judge(&answer, gate, began)) {
                Ok(started_at) => {
                    let going = streak.filter(|(of, ..)| *of == started_at);
                    let (count, since) =
                        going.map_or((1, Instant::now()), |(_, count, since)| (count + 1, since));
                    streak = Some((started_at, count, since));
                    if count >= gate.healthy_in_a_row && since.elapsed() >= gate.steady {
                        return Ok(format!("healthy {count} times in a row"));
                    }
                    None
                }
                Err(not_yet) => {
                    streak = None;
                    Some(not_yet)
                }
            };
            if not_yet.is_some() && Instant::now() >= next_look {
                next_look = Instant::now() + LOOK_EVERY;
                if let Some(fault) = self.status().await.and_then(|status| status.hopeless(self.secrets)) {
                    return Err(fault);
                }
            }
            if Instant::now() >= end {
                let last = not_yet.unwrap_or_else(|| NotYet::Other("healthy too few times in a row".into()));
                return Err(self.not_healthy(last, gate.within).await);
            }
            sleep(gate.interval).await;
        }
    }

    async fn not_healthy(&mut self, last: NotYet, within: Duration) -> DeployFault {
        let within = within.as_secs();
        if let NotYet::Commit(detail) = last {
            return DeployFault::Release(detail);
        }
        let inside = match self.status().await {
            Some(status) => status.words(self.secrets),
            None => "the box does not tell what its server does".into(),
        };
        DeployFault::Unhealthy(format!("not healthy within {within} s: {}; {inside}", last.detail()))
    }
}

pub(super) fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_LIMIT)
        .pool_max_idle_per_host(0)
        // Only http is asked; without an explicit set the client would want a certificate store.
        .tls_certs_only([])
        .build()
}

async fn ask(client: &reqwest::Client, url: &str) -> Result<(u16, Vec<u8>), NotYet> {
    ask_with(client.get(url), false).await.map_err(NotYet::Other)
}

/// Status and body of an answer; `upgraded` ones have no end, so that only their status is taken.
pub(super) async fn ask_with(
    request: reqwest::RequestBuilder,
    upgraded: bool,
) -> Result<(u16, Vec<u8>), String> {
    let failed = |error: reqwest::Error| words(&error.without_url());
    let mut response = request.send().await.map_err(failed)?;
    let mut body = Vec::new();
    if upgraded {
        return Ok((response.status().as_u16(), body));
    }
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(format!("the answer exceeds {} KiB", BODY_MAX / 1024));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status().as_u16(), body))
}

/// An error's innermost cause, which is what a reader wants: `connection refused`, not `error sending request`.
fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", ANSWER_LIMIT.as_secs());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

/// The start time in a good answer.
fn judge(answer: &(u16, Vec<u8>), gate: &Gate, began: u64) -> Result<u64, NotYet> {
    let other = |detail: String| Err(NotYet::Other(detail));
    let (code, body) = answer;
    if *code != 200 {
        return other(format!("it answers {code}"));
    }
    if gate.any_server {
        return Ok(0);
    }
    let Ok(health) = serde_json::from_slice::<Health>(body) else {
        return other("its answer is not the JSON that is documented".into());
    };
    match health.instance {
        Some(instance) if instance == gate.identity.as_str() => {}
        Some(_) => return other("another box answers at the published address".into()),
        None => return other("the answer names no `instance`".into()),
    }
    // Before the commit: the old process may still be there, and its commit is no fault of the new one.
    let started_at = match health.started_at {
        Some(started_at) if started_at / 1000 >= began => started_at,
        Some(_) => return other("the server that answers was started before this deploy".into()),
        None => return other("the answer has no `started_at`".into()),
    };
    match (&gate.expect_commit, health.commit) {
        (Some(wanted), got) if !got.as_deref().is_some_and(|got| same_commit(got, wanted)) => {
            let got: String = got.unwrap_or_else(|| "no commit".into()).chars().take(64).collect();
            Err(NotYet::Commit(format!("the server names `{}` instead of `{wanted}`", got.escape_debug())))
        }
        _ => Ok(started_at),
    }
}

/// Whether a server names the wanted commit; a full hash may be told by its first digits, as `git` abbreviates it.
fn same_commit(got: &str, wanted: &str) -> bool {
    got == wanted || (is_full_hash(wanted) && got.len() >= 7 && wanted.starts_with(got))
}

/// What the supervisor tells of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    server: String,
    exits: u32,
    /// The last exit code; `None` where only another manager knows it.
    rc: Option<u32>,
    log: String,
}

impl Status {
    pub(super) fn read(report: &str) -> Self {
        let (head, log) = report.split_once("\nlog\n").unwrap_or((report, ""));
        let field = |name: &str| {
            let mut values = head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            values.next().unwrap_or_default().to_owned()
        };
        let number = |name: &str| field(name).parse().unwrap_or(0);
        let rc = field("rc").parse().ok();
        Self { server: field("server"), exits: number("exits"), rc, log: log.to_owned() }
    }

    /// The fault, if the server ends again and again.
    fn hopeless(&self, settings: &BTreeMap<String, SecretString>) -> Option<DeployFault> {
        if self.exits < EXITS_ENOUGH {
            return None;
        }
        let words = self.words(settings);
        let lower = self.log.to_lowercase();
        // From 128 on a signal ended it (out of memory, illegal instruction): the box. Below, it ended itself.
        let blames_box =
            self.rc.is_some_and(|rc| rc >= 128) || BOX_WORDS.iter().any(|text| lower.contains(text));
        Some(if blames_box { DeployFault::Box(words) } else { DeployFault::Release(words) })
    }

    fn words(&self, settings: &BTreeMap<String, SecretString>) -> String {
        let log = mask(&self.log, settings);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n");
        let tail: String = tail.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
        let code = self.rc.map(|rc| format!(" with code {rc}")).unwrap_or_default();
        match self.exits {
            0 => format!("its process is {}; its log ends: {tail}", self.server),
            1 => format!("the server ended{code}; its log ends: {tail}"),
            exits => format!("the server ended {exits} times, last{code}; its log ends: {tail}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::name::OpId;

    #[test]
    fn only_the_new_process_of_the_right_release_on_this_box_counts() {
        let op = OpId::from_bits(5);
        let gate = Gate::new(op.clone(), Some("abc1234".into()));
        let health = |instance: &str, commit: &str, started_at: u64| {
            let body =
                serde_json::json!({ "instance": instance, "commit": commit, "started_at": started_at });
            judge(&(200, body.to_string().into_bytes()), &gate, 1000)
        };
        assert_eq!(health(op.as_str(), "abc1234", 1_000_001), Ok(1_000_001));
        assert!(matches!(health("other", "abc1234", 1_000_001), Err(NotYet::Other(_))));
        assert!(matches!(health(op.as_str(), "abc1234", 999_999), Err(NotYet::Other(_))));
        assert!(matches!(health(op.as_str(), "0000000", 1_000_001), Err(NotYet::Commit(_))));
        let full = Gate::new(op.clone(), Some("ab12cd34".repeat(5)));
        for (got, good) in [("ab12cd3", true), ("ab12cd", false), ("ab12cd4", false), ("", false)] {
            let body = serde_json::json!({ "instance": op.as_str(), "commit": got, "started_at": 1_000_001 });
            assert_eq!(judge(&(200, body.to_string().into_bytes()), &full, 1000).is_ok(), good, "{got}");
        }
        // The old process with the old commit is waited for, not blamed.
        assert!(matches!(health(op.as_str(), "0000000", 999_999), Err(NotYet::Other(_))));
        for (code, body) in [(503, "{}"), (302, ""), (200, ""), (200, "<html>"), (200, "{}"), (200, "[1]")] {
            assert!(judge(&(code, body.into()), &gate, 1000).is_err(), "{code} {body}");
        }
    }

    #[test]
    fn who_is_at_fault_is_read_from_how_the_server_ended() {
        let settings = BTreeMap::from([("TOKEN".to_owned(), SecretString::from("canary-71"))]);
        let fault = |exits: u32, rc: u32, log: &str| {
            let report =
                format!("supervisor=alive\nserver=dead\nexits={exits}\nrc={rc}\nlasted=0\nlog\n{log}");
            Status::read(&report).hopeless(&settings)
        };
        assert_eq!(fault(1, 78, "missing settings"), None, "the first end may be an accident");
        let release = fault(2, 78, "starting with canary-71\nmissing settings: JWT_SECRET").unwrap();
        let DeployFault::Release(words) = release else { panic!("{release:?}") };
        assert!(words.contains("JWT_SECRET") && !words.contains("canary-71"), "{words}");
        assert!(matches!(fault(2, 127, "not found"), Some(DeployFault::Release(_))));
        assert!(matches!(fault(2, 137, ""), Some(DeployFault::Box(_))));
        assert!(matches!(
            fault(3, 1, "bind: Address already in use (os error 98)"),
            Some(DeployFault::Box(_))
        ));
    }
}
