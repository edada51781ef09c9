//! Asking one server.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::answer::{Status, short};

/// Longest wait for an answer that the server gives at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// On top of the wait that `enter` asks for: the server answers at its end.
const ENTER_MARGIN: Duration = Duration::from_secs(10);
/// Pause between two looks while rest is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Most of an answer that is read.
const BODY_MAX: usize = 64 * 1024;
/// How long a lock-out is waited for where the server names no time.
const LOCKED_OUT: Duration = Duration::from_secs(60);

/// Why a server cannot be brought to rest or let go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It knows no maintenance API.
    #[error("the server is too old: it knows no maintenance API")]
    TooOld,
    /// Our admin code is wrong, or the server has none.
    #[error("the server refuses our admin code")]
    Refused,
    /// Too many wrong codes were given from here.
    #[error("the server locks us out for {} s", .0.as_secs())]
    LockedOut(Duration),
    /// Somebody else has it in maintenance.
    #[error("somebody else has the server in maintenance: {reason}")]
    Held {
        /// Since when, in milliseconds of the server's clock.
        entered_at: Option<u64>,
        /// Their reason.
        reason: String,
    },
    /// It did not come to rest in time; maintenance is still on.
    #[error("no rest within {} s: {last}", waited.as_secs())]
    NoRest {
        /// How long it was waited for.
        waited: Duration,
        /// What it said last.
        last: String,
    },
    /// It was let go on, or restarted, while we held it.
    #[error("the maintenance that we entered has ended: {0}")]
    Lost(String),
    /// It does not answer.
    #[error("the server does not answer: {0}")]
    Unreachable(String),
    /// It answers what nobody understands.
    #[error("the server answers {0}")]
    Strange(String),
}

/// One server's maintenance API.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// Those that the server may know, and the place of the one that it took last: wrong ones are counted there.
    codes: Vec<SecretString>,
    taken: Arc<AtomicUsize>,
}

impl Client {
    /// The server published at that address.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(server: SocketAddr, code: SecretString) -> Result<Self, Fault> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            // Only http is asked; without an explicit set the client would want a certificate store.
            .tls_certs_only([])
            .build()
            .map_err(|error| Fault::Unreachable(error.to_string()))?;
        let (base, taken) = (format!("http://{server}/admin/maintenance"), Arc::default());
        Ok(Self { http, base, codes: vec![code], taken })
    }

    /// The same, for a server that may have been started with another code, as before that was changed.
    #[must_use]
    pub fn or(mut self, code: Option<SecretString>) -> Self {
        let known =
            |code: &SecretString| self.codes.iter().any(|ours| ours.expose_secret() == code.expose_secret());
        self.codes.extend(code.filter(|code| !known(code)));
        self
    }

    /// How it stands.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn status(&self) -> Result<Status, Fault> {
        let (code, body) = self.send(Method::GET, "status", None, ANSWER_LIMIT).await?;
        match code {
            StatusCode::OK => Status::read(&body, false).ok_or_else(|| strange(code, &body)),
            _ => Err(refusal(code, &body)),
        }
    }

    /// Enters maintenance for `reason` and waits until the server is at rest. Entering again for the same reason goes on
    /// waiting: that is how an answer that was lost, or a keeper that died, is made good.
    ///
    /// # Errors
    /// [`Fault`]; after [`Fault::NoRest`], and after faults that leave it open, maintenance may be on.
    pub async fn enter(&self, reason: &str, wait: Duration) -> Result<Status, Fault> {
        // A server that hangs is found out by a short question, not by one that may take as long as the wait.
        if let Err(fault @ Fault::Unreachable(_)) = self.status().await {
            return Err(fault);
        }
        let end = Instant::now() + wait;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let asked =
                json!({ "reason": reason, "timeoutMs": u64::try_from(left.as_millis()).unwrap_or(u64::MAX) });
            match self.send(Method::POST, "enter", Some(&asked), left + ENTER_MARGIN).await {
                // Whatever a 200 or a 504 says of safety, the state is read anew below.
                Ok((StatusCode::OK | StatusCode::GATEWAY_TIMEOUT, _)) => break,
                Ok((StatusCode::CONFLICT, body)) => match held(&body) {
                    Fault::Held { reason: theirs, .. } if theirs == reason => break,
                    // Let go on by somebody while we waited, or theirs.
                    fault => return Err(fault),
                },
                Ok((code, body)) => match refusal(code, &body) {
                    Fault::LockedOut(time) if Instant::now() + time < end => sleep(time).await,
                    fault => return Err(fault),
                },
                Err(fault) => {
                    // The request may have arrived: the state tells.
                    match self.status().await {
                        Ok(status) if status.active && status.reason.as_deref() == Some(reason) => break,
                        _ => return Err(fault),
                    }
                }
            }
        }
        self.rest(reason, wait, end).await
    }

    async fn rest(&self, reason: &str, waited: Duration, end: Instant) -> Result<Status, Fault> {
        loop {
            let status = self.status().await?;
            if !status.active {
                return Err(Fault::Lost(status.words()));
            }
            // The original implementation answers 200 to a second `enter` and keeps the first one's reason.
            if let Some(theirs) = status.reason.clone().filter(|theirs| theirs != reason) {
                return Err(Fault::Held { entered_at: status.entered_at, reason: theirs });
            }
            if status.is_at_rest() {
                return Ok(status);
            }
            if Instant::now() >= end {
                return Err(Fault::NoRest { waited, last: status.words() });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the server still is where [`enter`](Self::enter) left it; asked right before acting.
    ///
    /// # Errors
    /// [`Fault::Lost`] if it is not, else as [`status`](Self::status).
    pub async fn still(&self, entered: &Status) -> Result<(), Fault> {
        let now = self.status().await?;
        if now.is_at_rest() && now.entered_at == entered.entered_at {
            return Ok(());
        }
        Err(Fault::Lost(now.words()))
    }

    /// Lets the server go on. One that is not in maintenance goes on already: a restart ends it. Tried again for
    /// `patience` where nothing is answered.
    ///
    /// # Errors
    /// The last [`Fault`].
    pub async fn exit(&self, patience: Duration) -> Result<(), Fault> {
        let end = Instant::now() + patience;
        loop {
            let fault = match self.send(Method::POST, "exit", None, ANSWER_LIMIT).await {
                Ok((StatusCode::OK | StatusCode::CONFLICT, _)) => return Ok(()),
                Ok((code, body)) => refusal(code, &body),
                Err(fault) => fault,
            };
            let passing = matches!(fault, Fault::Unreachable(_) | Fault::LockedOut(_) | Fault::Strange(_));
            if !passing || Instant::now() >= end {
                return Err(fault);
            }
            let pause = if let Fault::LockedOut(time) = &fault { *time } else { LOOK_EVERY };
            sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
        }
    }

    async fn send(
        &self,
        method: Method,
        verb: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<(StatusCode, Value), Fault> {
        let taken = self.taken.load(Ordering::Relaxed);
        let mut refused = Err(Fault::Refused);
        for place in (taken..self.codes.len()).chain(0..taken.min(self.codes.len())) {
            let Some(code) = self.codes.get(place) else { break };
            refused = self.send_with(code, &method, verb, body, limit).await;
            let wrong = |code: &StatusCode| matches!(*code, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            if !matches!(&refused, Ok((code, _)) if wrong(code)) {
                self.taken.store(place, Ordering::Relaxed);
                break;
            }
        }
        refused
    }

    async fn send_with(
        &self,
        code: &SecretString,
        method: &Method,
        verb: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<(StatusCode, Value), Fault> {
        let mut code =
            reqwest::header::HeaderValue::from_str(code.expose_secret()).map_err(|_| Fault::Refused)?;
        code.set_sensitive(true);
        let request =
            self.http.request(method.clone(), format!("{}/{verb}", self.base)).header("x-admin-code", code);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let work = async {
            let mut response = request.send().await.map_err(|error| unreachable(&error.without_url()))?;
            let (code, after) = (response.status(), retry_after(&response));
            let mut text = Vec::new();
            while let Some(chunk) =
                response.chunk().await.map_err(|error| unreachable(&error.without_url()))?
            {
                if text.len() + chunk.len() > BODY_MAX {
                    return Err(Fault::Strange(format!("more than {} KiB", BODY_MAX / 1024)));
                }
                text.extend_from_slice(&chunk);
            }
            let mut body: Value = serde_json::from_slice(&text).unwrap_or(Value::Null);
            if let (Some(after), Some(body)) = (after, body.as_object_mut()) {
                body.entry("retryAfter").or_insert(after.into());
            }
            Ok((code, body))
        };
        let late = || Fault::Unreachable(format!("no answer within {} s", limit.as_secs()));
        timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
    }
}

fn retry_after(response: &reqwest::Response) -> Option<u64> {
    response.headers().get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

fn unreachable(error: &reqwest::Error) -> Fault {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    Fault::Unreachable(text)
}

fn held(body: &Value) -> Fault {
    let reason = body.get("reason").and_then(Value::as_str);
    match reason {
        Some(reason) => Fault::Held {
            entered_at: body.get("enteredAt").and_then(Value::as_u64),
            reason: short(reason.to_owned()),
        },
        // A 409 without a reason comes from `exit` of somebody else's during our wait.
        None => Fault::Lost(message(body)),
    }
}

fn refusal(code: StatusCode, body: &Value) -> Fault {
    match code {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Fault::Refused,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Fault::TooOld,
        StatusCode::TOO_MANY_REQUESTS => {
            let seconds = body.get("retryAfter").and_then(Value::as_u64);
            Fault::LockedOut(seconds.map_or(LOCKED_OUT, Duration::from_secs))
        }
        _ => strange(code, body),
    }
}

fn strange(code: StatusCode, body: &Value) -> Fault {
    Fault::Strange(format!("{}: {}", code.as_u16(), message(body)))
}

fn message(body: &Value) -> String {
    let text = ["message", "error", "title"].iter().find_map(|name| body.get(*name)?.as_str());
    text.map_or_else(|| "nothing that is documented".into(), |text| short(text.to_owned()))
}
