//! A receiver in the place of Slack, Discord and a generic webhook, as strict as they are.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// A secret part of each URL, as real ones have.
pub const URL_SECRET: &str = "canary-webhook-path-c41b";

/// One message as it was taken.
#[derive(Debug, Clone)]
pub struct Message {
    pub sink: String,
    /// Its one line.
    pub title: String,
    /// The whole body.
    pub body: String,
}

#[derive(Debug)]
pub struct Receiver {
    at: SocketAddr,
    messages: Arc<Mutex<Vec<Message>>>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let messages: Arc<Mutex<Vec<Message>>> = Arc::default();
        let routes = Router::new().route("/{sink}/{secret}", post(take)).with_state(Arc::clone(&messages));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { at, messages, task }
    }

    pub fn url(&self, sink: &str) -> String {
        format!("http://{}/{sink}/{URL_SECRET}", self.at)
    }

    pub fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }

    /// How many messages of a sink have these words in their body.
    pub fn count(&self, sink: &str, words: &str) -> usize {
        self.messages().iter().filter(|message| message.sink == sink && message.body.contains(words)).count()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes what the real one would take, and answers like it.
async fn take(
    State(messages): State<Arc<Mutex<Vec<Message>>>>,
    Path((sink, secret)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let refuse = |why: &str| (StatusCode::BAD_REQUEST, why.to_owned());
    let json_type =
        headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let Ok(message) = serde_json::from_slice::<Value>(&body) else { return refuse("invalid_payload") };
    if secret != URL_SECRET || !json_type {
        return refuse("invalid_token");
    }
    let title = match sink.as_str() {
        "slack" => message.pointer("/text"),
        "discord" => message.pointer("/embeds/0/title"),
        _ => message.pointer("/text"),
    };
    let Some(title) = title.and_then(Value::as_str).filter(|title| !title.is_empty()) else {
        return refuse("no_text");
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    messages.lock().unwrap().push(Message { sink: sink.clone(), title: title.to_owned(), body });
    match sink.as_str() {
        "slack" => (StatusCode::OK, "ok".into()),
        "discord" => (StatusCode::OK, json!({ "id": "1" }).to_string()),
        _ => (StatusCode::NO_CONTENT, String::new()),
    }
}
