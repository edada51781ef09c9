//! One HTTP exchange: paced, bounded in time and size, never repeated, never redirected.
//!
//! Calls that change something get a fresh connection each. A kept-alive one may turn out dead after the request was
//! written to it, which would make every such create ambiguous; and a connect that is over before the call's expiry is
//! what lets "not sent" be said with certainty.

use std::{error::Error as _, fmt::Write as _, time::Duration};

use reqwest::{
    Client, ClientBuilder,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    redirect,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::{
    VastConfig, VastError,
    endpoint::Endpoint,
    error::{is_throttled, wait_in_text},
    pacer::{Pacer, TOLD_MAX},
};
use crate::{
    clock::Clock,
    crash::{self, Point},
    fleet::units::{Timestamp, millis},
};

/// Longest wait for a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait of a read for its turn; after that the caller's next tick asks again.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// How long an idle connection is kept for the next read.
const IDLE: Duration = Duration::from_secs(30);
/// Seconds in a day; the search quota ends at midnight UTC.
const DAY_S: u64 = 86_400;

/// One call before it is sent.
pub(super) struct Call {
    endpoint: Endpoint,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    not_after: Option<Timestamp>,
}

impl Call {
    /// A call that may wait its turn for a while and may use a kept connection.
    pub(super) fn read(endpoint: Endpoint, path: impl Into<String>) -> Self {
        Self { endpoint, path: path.into(), query: Vec::new(), body: None, not_after: None }
    }

    /// A call that must not be sent after `not_after`.
    pub(super) fn write(endpoint: Endpoint, path: String, not_after: Timestamp) -> Self {
        Self { not_after: Some(not_after), ..Self::read(endpoint, path) }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    /// The HTTP status.
    pub(super) status: u16,
    /// The body, with our key masked should it be echoed.
    pub(super) text: String,
    /// The body as JSON, if it is.
    pub(super) json: Option<Value>,
    /// The wait the provider asks for, in a header or in the body.
    pub(super) retry_after: Option<Duration>,
}

/// Why there is no whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Silence {
    /// No turn in time; the next would be after this. Not sent.
    NoTurn(Duration),
    /// Its time had passed. Not sent.
    Expired,
    /// No connection. Not sent.
    NotSent(String),
    /// Sent, or perhaps sent, and then no whole answer.
    Lost(String),
    /// Sent; the answer is longer than we read.
    TooLong(usize),
}

/// The connection to one account's API.
pub(super) struct Transport {
    base: Url,
    key: SecretString,
    authorization: HeaderValue,
    tls: rustls::ClientConfig,
    reader: Client,
    clock: Clock,
    timeout: Duration,
    pacer: Pacer,
}

impl Transport {
    pub(super) fn new(config: VastConfig) -> Result<Self, VastError> {
        check_base(&config.base_url)?;
        if config.api_key.expose_secret().trim().is_empty() {
            return Err(VastError::Key);
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", config.api_key.expose_secret()))
            .map_err(|_| VastError::Key)?;
        authorization.set_sensitive(true);
        let tls = tls()?;
        let reader = plain(&tls)
            .connect_timeout(connect_limit(config.timeout))
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .timeout(config.timeout)
            .build()
            .map_err(|source| VastError::Client { source: source.without_url() })?;
        Ok(Self {
            base: config.base_url,
            key: config.api_key,
            authorization,
            tls,
            reader,
            clock: config.clock,
            timeout: config.timeout,
            pacer: Pacer::new(config.clock, config.pacing),
        })
    }

    /// Sends a call when its turn has come, and reads the answer.
    pub(super) async fn exchange(&self, call: Call) -> Result<Reply, Silence> {
        let started = self.clock.now();
        if call.not_after.is_some_and(|not_after| started > not_after) {
            return Err(Silence::Expired);
        }
        let until = call.not_after.unwrap_or_else(|| started.after(READ_PATIENCE));
        self.pacer.turn(call.endpoint, until).await.map_err(|none| Silence::NoTurn(none.wait))?;
        let endpoint = call.endpoint;
        let sent = self.clock.now();
        let reply = self.send(call).await;
        let elapsed_ms = millis(sent.until(self.clock.now()));
        match &reply {
            Ok(reply) => {
                tracing::debug!(
                    act = endpoint.act(),
                    status = reply.status,
                    elapsed_ms,
                    "the provider answered"
                );
                self.pacer.answered(endpoint, is_throttled(reply).then_some(reply.retry_after));
            }
            Err(silence) => {
                tracing::debug!(
                    act = endpoint.act(),
                    ?silence,
                    elapsed_ms,
                    "no whole answer from the provider"
                );
            }
        }
        reply
    }

    async fn send(&self, call: Call) -> Result<Reply, Silence> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path().trim_end_matches('/'), call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let client = match call.not_after {
            Some(not_after) => self.writer(not_after)?,
            None => self.reader.clone(),
        };
        let mut request =
            client.request(call.endpoint.method(), url).header(AUTHORIZATION, self.authorization.clone());
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let request = request.build().map_err(|error| Silence::NotSent(chain(error)))?;
        if call.not_after.is_some_and(|not_after| self.clock.now() > not_after) {
            return Err(Silence::Expired);
        }
        crash::at(Point::Sending(call.endpoint.name()));
        let mut response = client.execute(request).await.map_err(|error| {
            if error.is_connect() { Silence::NotSent(chain(error)) } else { Silence::Lost(self.lost(error)) }
        })?;

        let (status, told) = (response.status().as_u16(), self.told(response.headers()));
        let limit = call.endpoint.answer_limit();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Silence::Lost(self.lost(error)))? {
            if bytes.len() + chunk.len() > limit {
                return Err(Silence::TooLong(limit));
            }
            bytes.extend_from_slice(&chunk);
        }
        crash::at(Point::Answered(call.endpoint.name()));
        Ok(self.reply(status, &bytes, told))
    }

    /// A client for one call, whose connection stands before `not_after` or not at all.
    fn writer(&self, not_after: Timestamp) -> Result<Client, Silence> {
        let left = self.clock.now().until(not_after);
        if left.is_zero() {
            return Err(Silence::Expired);
        }
        let builder =
            plain(&self.tls).connect_timeout(connect_limit(self.timeout).min(left)).timeout(self.timeout);
        builder.pool_max_idle_per_host(0).build().map_err(|error| Silence::NotSent(chain(error)))
    }

    fn reply(&self, status: u16, bytes: &[u8], told: Option<Duration>) -> Reply {
        let text = mask(&String::from_utf8_lossy(bytes), &self.key);
        let json: Option<Value> = serde_json::from_str(&text).ok();
        let in_body = || {
            let seconds = json.as_ref().and_then(|json| json.get("retry_after")).and_then(Value::as_f64);
            seconds.or_else(|| wait_in_text(&text)).and_then(wait)
        };
        let quota = || {
            let now_s = self.clock.civil().0 / 1000;
            text.contains("search_quota_exceeded").then(|| Duration::from_secs(DAY_S - now_s % DAY_S))
        };
        let retry_after = told.or_else(in_body).or_else(quota).map(|wait| wait.min(TOLD_MAX));
        Reply { status, text, json, retry_after }
    }

    /// The wait that headers ask for: `Retry-After` in seconds, or `X-RateLimit-Reset` as a Unix time.
    fn told(&self, headers: &HeaderMap) -> Option<Duration> {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
        let reset = || {
            let now_s = self.clock.civil().0 as f64 / 1000.0;
            number("x-ratelimit-reset").map(|at| (at - now_s).max(0.0))
        };
        number("retry-after").or_else(reset).and_then(wait)
    }

    fn lost(&self, error: reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("no whole answer within {} ms", self.timeout.as_millis());
        }
        chain(error)
    }
}

/// The base URL is a root to which `/api/v0/…` can be added, and does not send the key in the clear.
fn check_base(base: &Url) -> Result<(), VastError> {
    let fault = |why| Err(VastError::BaseUrl { why });
    let local = match base.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => return fault("it names no host"),
    };
    match base.scheme() {
        "https" => {}
        "http" if local => {}
        "http" => return fault("plain http would send the API key in the clear; use https"),
        _ => return fault("it must start with https://"),
    }
    if !base.username().is_empty() || base.password().is_some() {
        return fault("it holds a user name or password");
    }
    if base.query().is_some() || base.fragment().is_some() || base.path().contains("/api") {
        return fault("give the root alone, such as https://console.vast.ai");
    }
    Ok(())
}

/// TLS with Mozilla's roots as built in: the same on every machine, an empty container included.
fn tls() -> Result<rustls::ClientConfig, VastError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| VastError::Tls { source })?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn plain(tls: &rustls::ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .user_agent(concat!("vast-keeper/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
}

/// Shorter than the whole timeout, so that a slow connect is known as such and not taken for a lost answer.
fn connect_limit(timeout: Duration) -> Duration {
    CONNECT.min(timeout / 2)
}

fn wait(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(TOLD_MAX.as_secs_f64())))
}

/// Masks our key wherever the provider echoes it. A short one, as simulators take, is no secret and could be part of a
/// label, which must arrive unharmed.
fn mask(text: &str, key: &SecretString) -> String {
    const SECRET_LEN: usize = 16;
    match key.expose_secret() {
        key if key.len() >= SECRET_LEN => text.replace(key, "***"),
        _ => text.to_owned(),
    }
}

/// An error with its causes, without its URL.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let shown = error.to_string();
        if !text.ends_with(&shown) {
            let _ = write!(text, ": {shown}");
        }
        cause = error.source();
    }
    text
}
