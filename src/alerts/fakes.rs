//! Strict stand-ins for Slack, Discord and a signed webhook, on real sockets.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Channel, Sink, TIMEOUT, check_url};
use crate::{
    clock::Clock,
    fleet::{notice::Severity, units::Timestamp},
};

/// What the fake speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Slack,
    Discord,
    Webhook,
}

/// What it answers instead of judging the message.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Status(u16, Vec<(&'static str, String)>, String),
    /// Takes the request and never answers.
    Silence,
    /// Takes the message as usual, then never answers: the sender cannot know.
    TakenInSilence,
}

/// One request as it came.
#[derive(Clone)]
pub(crate) struct Request {
    pub at: Timestamp,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub taken: bool,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(300).collect();
        write!(f, "{:?} taken={} {body}", self.at, self.taken)
    }
}

#[derive(Debug)]
struct Shared {
    kind: Kind,
    requests: Mutex<Vec<Request>>,
    script: Mutex<VecDeque<Answer>>,
    /// Least time between messages that are taken; sooner ones get a 429.
    spacing: Option<Duration>,
    seen: tokio::sync::Notify,
    clock: Clock,
}

/// A running fake; it ends with the value.
#[derive(Debug)]
pub(crate) struct Fake {
    shared: Arc<Shared>,
    port: u16,
    server: tokio::task::JoinHandle<()>,
}

/// Part of every fake's path, to be found in no output.
pub(crate) const SECRET: &str = "sEcReT-tOkEn-0123456789";

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fake {
    pub async fn start(kind: Kind) -> Self {
        Self::paced(kind, None).await
    }

    pub async fn paced(kind: Kind, spacing: Option<Duration>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let shared = Arc::new(Shared {
            kind,
            requests: Mutex::default(),
            script: Mutex::default(),
            spacing,
            seen: tokio::sync::Notify::new(),
            clock: Clock::new(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(serve).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { shared, port, server }
    }

    pub fn sink(&self, name: &str) -> Sink {
        let url = check_url(&format!("http://127.0.0.1:{}/services/{SECRET}", self.port)).unwrap();
        let channel = match self.shared.kind {
            Kind::Slack => Channel::Slack { url },
            Kind::Discord => Channel::Discord { url },
            Kind::Webhook => Channel::Webhook { url, headers: HeaderMap::new(), keys: None },
        };
        Sink {
            name: name.into(),
            minimum: Severity::Info,
            topics: Default::default(),
            channel,
            timeout: TIMEOUT,
        }
    }

    pub fn will(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.script.lock().unwrap().extend(answers);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The messages it accepted.
    pub fn taken(&self) -> Vec<Value> {
        self.requests().iter().filter(|request| request.taken).map(Request::json).collect()
    }

    /// Waits until `enough` holds, at most 20 s.
    pub async fn until(&self, enough: impl Fn(&Self) -> bool) {
        let waiting = async {
            loop {
                let seen = self.shared.seen.notified();
                if enough(self) {
                    return;
                }
                seen.await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        assert!(done.is_ok(), "waited in vain; got {:#?}", self.requests());
    }
}

async fn serve(State(fake): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let scripted = fake.script.lock().unwrap().pop_front();
    let at = fake.clock.now();
    let last = fake.requests.lock().unwrap().iter().rev().find(|request| request.taken).map(|taken| taken.at);
    let early = fake.spacing.zip(last).is_some_and(|(spacing, last)| at.since(last) < spacing);
    let (taken, answer) = match scripted {
        Some(Answer::Status(status, headers, body)) => (false, Some(scripted_answer(status, headers, body))),
        Some(Answer::Silence) => (false, None),
        Some(Answer::TakenInSilence) => (true, None),
        None if early => {
            let limited = "{\"retry_after\":1,\"ok\":false,\"error\":\"rate_limited\"}".into();
            (false, Some(scripted_answer(429, vec![("retry-after", "1".into())], limited)))
        }
        None => {
            let answer = judge(fake.kind, &uri, &headers, &body);
            (answer.status().is_success(), Some(answer))
        }
    };
    let request = Request { at, path: uri.to_string(), headers, body: body.to_vec(), taken };
    fake.requests.lock().unwrap().push(request);
    fake.seen.notify_waiters();
    match answer {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

fn scripted_answer(status: u16, headers: Vec<(&'static str, String)>, body: String) -> Response {
    let mut answer = (StatusCode::from_u16(status).unwrap(), body).into_response();
    for (name, value) in headers {
        answer.headers_mut().insert(name, value.parse().unwrap());
    }
    answer
}

fn judge(kind: Kind, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response {
    let json =
        headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !json {
        return scripted_answer(400, vec![], "invalid_payload".into());
    }
    match kind {
        Kind::Slack => match slack(body) {
            Ok(()) => scripted_answer(200, vec![], "ok".into()),
            Err(why) => scripted_answer(400, vec![], format!("invalid_blocks: {why}")),
        },
        Kind::Discord => match discord(body) {
            Ok(()) if uri.query().is_some_and(|query| query.contains("wait=true")) => {
                scripted_answer(200, vec![], "{\"id\":\"1\"}".into())
            }
            Ok(()) => scripted_answer(204, vec![], String::new()),
            Err(why) => scripted_answer(400, vec![], format!("{{\"code\":50035,\"message\":\"{why}\"}}")),
        },
        Kind::Webhook if headers.contains_key("webhook-id") && headers.contains_key("webhook-timestamp") => {
            scripted_answer(202, vec![], String::new())
        }
        Kind::Webhook => scripted_answer(400, vec![], "no id".into()),
    }
}

fn within(what: &str, text: &str, most: usize) -> Result<usize, String> {
    let width = text.encode_utf16().count();
    if (1..=most).contains(&width) { Ok(width) } else { Err(format!("{what} has {width} of {most}")) }
}

/// The rules of Block Kit as far as the keeper uses them; any other block or key is refused.
fn slack(body: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Message {
        text: String,
        blocks: Vec<Block>,
    }
    #[derive(Deserialize)]
    #[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
    enum Block {
        Header { text: Text },
        Section { text: Option<Text>, fields: Option<Vec<Text>> },
        Context { elements: Vec<Text> },
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Text {
        r#type: String,
        text: String,
        #[serde(rename = "verbatim")]
        _verbatim: Option<bool>,
    }
    let check = |what: &str, text: &Text, kind: &str, most: usize| {
        if text.r#type != kind {
            return Err(format!("{what} must be {kind}"));
        }
        let bare = text.text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
        if bare.contains(['&', '<', '>']) {
            return Err(format!("{what} is not escaped"));
        }
        within(what, &text.text, most)
    };
    let message: Message = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut total = within("text", &message.text, 4000)?;
    if message.blocks.is_empty() || message.blocks.len() > 50 {
        return Err("1 to 50 blocks".into());
    }
    for block in &message.blocks {
        match block {
            Block::Header { text } => total += check("header", text, "plain_text", 150)?,
            Block::Section { text: None, fields: None } => return Err("an empty section".into()),
            Block::Section { text, fields } => {
                if let Some(text) = text {
                    total += check("section", text, "mrkdwn", 3000)?;
                }
                let fields = fields.as_deref().unwrap_or_default();
                if fields.len() > 10 {
                    return Err("over 10 fields".into());
                }
                for field in fields {
                    total += check("field", field, "mrkdwn", 2000)?;
                }
            }
            Block::Context { elements } => {
                if elements.is_empty() || elements.len() > 10 {
                    return Err("1 to 10 elements".into());
                }
                for element in elements {
                    total += check("context", element, "mrkdwn", 2000)?;
                }
            }
        }
    }
    if total > 11_000 { Err(format!("msg_blocks_too_long {total}")) } else { Ok(()) }
}

/// Discord's limits; unknown keys are refused, also those Discord would ignore.
fn discord(body: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Message {
        embeds: Vec<Embed>,
        allowed_mentions: Mentions,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Mentions {
        parse: Vec<String>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Embed {
        title: String,
        description: String,
        color: u32,
        fields: Vec<Field>,
        footer: Footer,
        timestamp: String,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Field {
        name: String,
        value: String,
        #[serde(rename = "inline")]
        _inline: bool,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Footer {
        text: String,
    }
    let message: Message = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if !message.allowed_mentions.parse.is_empty() || message.embeds.is_empty() || message.embeds.len() > 10 {
        return Err("mentions or embeds".into());
    }
    let mut total = 0;
    for embed in &message.embeds {
        total += within("title", &embed.title, 256)? + within("description", &embed.description, 4096)?;
        total += within("footer", &embed.footer.text, 2048)?;
        for field in &embed.fields {
            total += within("name", &field.name, 256)? + within("value", &field.value, 1024)?;
        }
        let dated = embed.timestamp.parse::<jiff::Timestamp>().is_ok();
        if embed.fields.len() > 25 || embed.color > 0xff_ff_ff || !dated {
            return Err("fields, color or timestamp".into());
        }
    }
    if total > 6000 { Err(format!("BASE_TYPE_MAX_LENGTH {total}")) } else { Ok(()) }
}
