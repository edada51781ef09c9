//! A server on 127.0.0.1 that answers as badly as told, and counts.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a server does with a connection.
#[derive(Clone)]
pub(super) enum Act {
    /// Reads a request, writes this, goes on reading requests.
    Answer(Vec<u8>),
    /// Reads a request, writes this, closes.
    AnswerThenClose(Vec<u8>),
    /// Reads a request, writes this and a moment later that, goes on reading requests.
    AnswerThenMore(Vec<u8>, Vec<u8>),
    /// Reads a request, then writes this over and over until the reader goes away.
    Flood(Vec<u8>, Vec<u8>),
    /// Reads a request, then writes a byte of it now and then.
    Dribble(Vec<u8>),
    /// Closes without reading.
    Close,
    /// Never answers.
    Hang,
}

/// A server that counts its connections and acts as told.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) accepted: Arc<AtomicUsize>,
    pub(super) requests: Arc<AtomicUsize>,
    /// How often it has written more than the answer.
    pub(super) more: Arc<AtomicUsize>,
    pub(super) hung: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

pub(super) async fn serve(act: Act) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let hung = Arc::new(AtomicBool::new(false));
    let more = Arc::new(AtomicUsize::new(0));
    let counters = (Arc::clone(&accepted), Arc::clone(&requests), Arc::clone(&more), Arc::clone(&hung));
    let task = tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counters.0.fetch_add(1, SeqCst);
            let (_, requests, more, hung) = counters.clone();
            open.spawn(play(stream, act.clone(), requests, more, hung));
        }
    });
    Server { address, accepted, requests, more, hung, task }
}

async fn play(
    mut stream: TcpStream,
    act: Act,
    requests: Arc<AtomicUsize>,
    added: Arc<AtomicUsize>,
    hung: Arc<AtomicBool>,
) {
    if matches!(act, Act::Close) {
        return;
    }
    let mut buffer = vec![0; 4096];
    let mut head = Vec::new();
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(n) => head.extend_from_slice(&buffer[..n]),
            }
        }
        let request = String::from_utf8(std::mem::take(&mut head)).unwrap();
        assert!(
            request.starts_with("GET /health HTTP/1.1\r\n") && request.contains("host: 127.0.0.1:"),
            "{request}"
        );
        requests.fetch_add(1, SeqCst);
        if hung.load(SeqCst) || matches!(act, Act::Hang) {
            return std::future::pending().await;
        }
        match &act {
            Act::Answer(bytes) => stream.write_all(bytes).await.unwrap(),
            Act::AnswerThenMore(bytes, more) => {
                stream.write_all(bytes).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
                if stream.write_all(more).await.is_err() {
                    return;
                }
                added.fetch_add(1, SeqCst);
            }
            Act::AnswerThenClose(bytes) => return drop(stream.write_all(bytes).await),
            Act::Flood(first, again) => {
                let mut written = stream.write_all(first).await;
                while written.is_ok() {
                    written = stream.write_all(again).await;
                }
                return;
            }
            Act::Dribble(bytes) => {
                for byte in bytes {
                    if stream.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Act::Close | Act::Hang => {}
        }
    }
}
