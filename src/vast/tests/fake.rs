//! A provider on a loopback socket that answers by script: whole answers, cut ones, none at all.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use url::Url;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    /// The head in lower case.
    pub(super) head: String,
    pub(super) body: Value,
}

/// What the fake does with a request.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// A whole answer with a body of this content type.
    Http(u16, &'static str, String),
    /// A JSON answer with further header lines.
    With(u16, &'static str, Value),
    /// These bytes, then the end of the stream.
    Cut(String),
    /// The end of the stream at once.
    Close,
    /// Nothing, for ever.
    Hang,
}

/// A JSON answer.
pub(super) fn json(status: u16, body: Value) -> Answer {
    Answer::Http(status, "application/json", body.to_string())
}

/// A provider's error envelope.
pub(super) fn refusal(status: u16, error: &str, msg: &str) -> Answer {
    json(status, serde_json::json!({"success": false, "error": error, "msg": msg}))
}

/// The fake; ends with its value.
pub(super) struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fake {
    /// Starts a fake whose answer depends on the request and on how many came before it.
    pub(super) async fn start(script: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log) = (Arc::new(script), seen.clone());
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, script.clone(), log.clone()));
            }
        });
        Self { address, seen, server }
    }

    /// A fake that always answers the same.
    pub(super) async fn always(answer: Answer) -> Self {
        Self::start(move |_, _| answer.clone()).await
    }

    pub(super) fn url(&self) -> Url {
        format!("http://{}", self.address).parse().unwrap()
    }

    /// The requests that arrived whole.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve<S: Fn(usize, &Seen) -> Answer>(
    mut stream: TcpStream,
    script: Arc<S>,
    log: Arc<Mutex<Vec<Seen>>>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await {
        let before = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        let (status, lines, kind, body) = match script(before, &request) {
            Answer::Http(status, kind, body) => (status, "", kind, body),
            Answer::With(status, lines, body) => (status, lines, "application/json", body.to_string()),
            Answer::Cut(bytes) => {
                let _ = stream.write_all(bytes.as_bytes()).await;
                return;
            }
            Answer::Close => return,
            Answer::Hang => std::future::pending().await,
        };
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{lines}content-length: {length}\r\n\r\n");
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    loop {
        let text = String::from_utf8_lossy(buffer).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let length = length.unwrap_or(0);
            if rest.len() >= length {
                let mut words = text.split_whitespace();
                let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
                let body = serde_json::from_str(&rest[..length]).unwrap_or(Value::Null);
                buffer.clear();
                return Some(Seen { method, target, head, body });
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
