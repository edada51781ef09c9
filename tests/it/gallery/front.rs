//! What stands between the keeper and the provider: it passes calls on, or answers them itself as the weather says.
//!
//! The simulator knows the faults of single calls; this one forges whole answers and whole lists, and is the only one who
//! sees what a keeper tried in a storm. It keeps nothing of a body: method and target are enough to judge.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::harness::exchange;

/// Rows on a page, as the provider gives them.
pub const PAGE: usize = 25;

/// An answer that no provider gave.
#[derive(Debug, Clone)]
pub struct Canned {
    pub status: u16,
    pub kind: &'static str,
    pub body: String,
}

/// A complete list that is not the account's, as the rows that it shows and the number that it claims.
pub type Forgery = fn(&Snapshots, Vec<Value>) -> (Vec<Value>, usize);

/// True lists of before, for forgeries that show the past.
#[derive(Debug, Default, Clone)]
pub struct Snapshots {
    /// Before the fleet was rented.
    pub unrented: Vec<Value>,
}

/// What becomes of a call.
#[derive(Debug, Clone)]
pub enum Weather {
    /// It is passed on.
    Clear,
    /// It is taken and never answered, as when packets are lost.
    Silent,
    /// Each is answered with the next of these.
    Storm(Vec<Canned>),
    /// Lists are answered with the next of these, all else is passed on.
    Lists(Vec<Canned>),
    /// Lists are forged, all else is passed on.
    Forged(Forgery),
}

/// A call as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// Whether it was answered here.
    pub weathered: bool,
}

impl Seen {
    /// Whether it would change anything at the provider: everything but reads, searches, and our key given to a box of ours
    /// once more because it does not let us in.
    pub fn changes(&self) -> bool {
        self.method != "GET"
            && !self.target.starts_with("/api/v0/bundles/")
            && !self.target.ends_with("/ssh/")
    }
}

struct Inner {
    provider: SocketAddr,
    weather: Mutex<(Weather, usize)>,
    seen: Mutex<Vec<Seen>>,
    snapshots: Mutex<Snapshots>,
}

/// A listener in front of the provider.
pub struct Front {
    at: SocketAddr,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Front {
    pub async fn before(provider: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            provider,
            weather: Mutex::new((Weather::Clear, 0)),
            seen: Mutex::default(),
            snapshots: Mutex::default(),
        });
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { at, inner, task }
    }

    /// Its URL, by a name, so that looking names up is part of every call.
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.at.port())
    }

    pub fn set(&self, weather: Weather) {
        *self.inner.weather.lock().unwrap() = (weather, 0);
    }

    /// Calls so far.
    pub fn count(&self) -> usize {
        self.inner.seen.lock().unwrap().len()
    }

    /// Calls after the first so many.
    pub fn seen_after(&self, after: usize) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().get(after..).unwrap_or_default().to_vec()
    }

    /// How many calls after the first so many were answered here; the pages of a list count as one.
    pub fn weathered_after(&self, after: usize) -> usize {
        let begins = |seen: &&Seen| seen.weathered && !seen.target.contains("after_token=");
        self.seen_after(after).iter().filter(begins).count()
    }

    /// The account's true list now.
    pub async fn rows(&self) -> Vec<Value> {
        self.inner.rows().await
    }

    pub fn keep(&self, snapshots: Snapshots) {
        *self.inner.snapshots.lock().unwrap() = snapshots;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(front): State<Arc<Inner>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let lists = method == Method::GET && uri.path() == "/api/v1/instances/";
    let (weather, turn) = {
        let mut weather = front.weather.lock().unwrap();
        let hit = match weather.0 {
            Weather::Clear => false,
            Weather::Silent | Weather::Storm(_) => true,
            Weather::Lists(_) | Weather::Forged(_) => lists,
        };
        let turn = weather.1;
        weather.1 += usize::from(hit);
        (if hit { weather.0.clone() } else { Weather::Clear }, turn)
    };
    let weathered = !matches!(weather, Weather::Clear);
    let seen = Seen { method: method.to_string(), target: target.clone(), weathered };
    front.seen.lock().unwrap().push(seen);
    match weather {
        Weather::Clear => front.pass(&method, &target, &body).await,
        Weather::Silent => std::future::pending().await,
        Weather::Storm(answers) | Weather::Lists(answers) => {
            let Canned { status, kind, body } = answers[turn % answers.len()].clone();
            respond(status, kind, body.into_bytes())
        }
        Weather::Forged(forgery) => front.forge(forgery, &uri).await,
    }
}

fn respond(status: u16, kind: &str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
    // No connection is kept, so that each call has to find the way anew.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

impl Inner {
    async fn pass(&self, method: &Method, target: &str, body: &[u8]) -> Response {
        match exchange(self.provider, method.as_str(), target, body).await {
            Ok(answer) => respond(answer.status, &answer.kind, answer.body),
            Err(fault) => respond(502, "text/plain", fault.to_string().into_bytes()),
        }
    }

    async fn rows(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut after = String::new();
        loop {
            let target = format!(
                "/api/v1/instances/?limit={PAGE}&order_by=%5B%7B%22col%22%3A%22id%22%2C%22dir%22%3A%22asc%22%7D%5D{after}"
            );
            let answer = exchange(self.provider, "GET", &target, b"").await.unwrap();
            let page: Value = serde_json::from_slice(&answer.body).unwrap();
            rows.extend(page["instances"].as_array().unwrap().iter().cloned());
            match page["next_token"].as_str() {
                Some(token) => after = format!("&after_token={token}"),
                None => return rows,
            }
        }
    }

    /// The page that is asked for of a forged list; its cursor is the number of rows already shown.
    async fn forge(&self, forgery: Forgery, uri: &Uri) -> Response {
        let snapshots = self.snapshots.lock().unwrap().clone();
        let (rows, claimed) = forgery(&snapshots, self.rows().await);
        let cursor = uri.query().and_then(|query| query.split_once("after_token="));
        let shown = cursor.map_or(Ok(0), |(_, rest)| rest.split('&').next().unwrap_or_default().parse());
        let Ok(shown) = shown else {
            // A cursor of the provider's own: the weather changed between two pages.
            let body = r#"{"success":false,"error":"invalid_token","msg":"Invalid after_token"}"#;
            return respond(400, "application/json", body.as_bytes().to_vec());
        };
        let page: Vec<&Value> = rows.iter().skip(shown).take(PAGE).collect();
        let next = shown + page.len();
        let next = (next < rows.len()).then(|| next.to_string());
        let body = json!({
            "success": true, "instances_found": rows.len(), "total_instances": claimed, "label_counts": {},
            "next_token": next, "instances": page,
        });
        respond(200, "application/json", body.to_string().into_bytes())
    }
}
