//! Somebody between the keeper and the provider, as a proxy or a broken load balancer is: a call may be carried out twice, late or
//! not at all, and answered with other words.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// Whether and when a call reaches the provider.
#[derive(Debug, Clone, Copy)]
pub enum Acts {
    Once,
    Twice,
    After(Duration),
    Never,
}

/// What the keeper is told.
#[derive(Debug, Clone)]
pub enum Says {
    /// The provider's own last answer.
    Truth,
    /// A status and a body.
    Words(u16, String),
    /// The provider's list, changed.
    List(fn(&mut Value)),
}

/// What happens to calls of one kind: `create`, `destroy` or `list`.
#[derive(Debug, Clone)]
pub struct Lie {
    pub about: &'static str,
    pub acts: Acts,
    pub says: Says,
    /// How many calls it is told to; then the truth again.
    pub times: u32,
}

/// A call as the keeper sent it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub about: &'static str,
    /// The label of a create.
    pub label: Option<String>,
}

#[derive(Debug)]
struct Shared {
    provider: String,
    http: reqwest::Client,
    lie: Mutex<Option<Lie>>,
    sent: Mutex<Vec<Sent>>,
}

#[derive(Debug)]
pub struct Liar {
    at: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Liar {
    pub async fn before(provider: &str) -> Self {
        // A second install is the same one again.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let (lie, sent) = Default::default();
        let shared = Arc::new(Shared { provider: provider.to_owned(), http, lie, sent });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let app = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { at, shared, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    pub fn tell(&self, lie: Lie) {
        *self.shared.lie.lock().unwrap() = Some(lie);
    }

    pub fn be_honest(&self) {
        *self.shared.lie.lock().unwrap() = None;
    }

    /// How often the present lie will still be told.
    pub fn left(&self) -> u32 {
        self.shared.lie.lock().unwrap().as_ref().map_or(0, |lie| lie.times)
    }

    /// What was sent after the first so many calls.
    pub fn sent(&self, after: usize) -> Vec<Sent> {
        self.shared.sent.lock().unwrap().iter().skip(after).cloned().collect()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A call to be carried out.
#[derive(Clone)]
struct Call {
    request: Arc<(axum::http::request::Parts, Bytes)>,
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let about = match (parts.method.as_str(), parts.uri.path()) {
        ("PUT", path) if path.starts_with("/api/v0/asks/") => "create",
        ("DELETE", _) => "destroy",
        ("GET", "/api/v1/instances/") => "list",
        _ => "other",
    };
    let label = serde_json::from_slice::<Value>(&body).ok();
    let label = label.and_then(|body| body.get("label")?.as_str().map(str::to_owned));
    shared.sent.lock().unwrap().push(Sent { about, label });
    let call = Call { request: Arc::new((parts, body)) };
    let Some(lie) = shared.due(about) else { return answer(shared.carry_out(&call).await) };
    let truth = match lie.acts {
        Acts::Once => Some(shared.carry_out(&call).await),
        Acts::Twice => {
            shared.carry_out(&call).await;
            Some(shared.carry_out(&call).await)
        }
        Acts::After(late) => {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                shared.carry_out(&call).await;
            });
            None
        }
        Acts::Never => None,
    };
    match (lie.says, truth) {
        (Says::Words(status, body), _) => answer((status, body)),
        (Says::Truth, truth) => answer(truth.expect("there is no truth about what was not done")),
        (Says::List(change), truth) => {
            let (status, body) = truth.expect("a list is read");
            let mut list: Value = serde_json::from_str(&body).unwrap();
            change(&mut list);
            answer((status, list.to_string()))
        }
    }
}

fn answer((status, body): (u16, String)) -> Response {
    let kind = if body.starts_with('<') { "text/html" } else { "application/json" };
    (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, kind)], body).into_response()
}

impl Shared {
    /// The lie for this call, if one is due.
    fn due(&self, about: &str) -> Option<Lie> {
        let mut lie = self.lie.lock().unwrap();
        let due = lie.as_mut().filter(|lie| lie.about == about && lie.times > 0)?;
        due.times -= 1;
        Some(due.clone())
    }

    async fn carry_out(&self, call: &Call) -> (u16, String) {
        let (parts, body) = &*call.request;
        let url = format!("{}{}", self.provider, parts.uri.path_and_query().unwrap());
        let mut request = self.http.request(parts.method.clone(), url).body(body.clone());
        for name in [header::AUTHORIZATION, header::CONTENT_TYPE] {
            if let Some(value) = parts.headers.get(&name) {
                request = request.header(name, value.clone());
            }
        }
        let reply = request.send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    }
}
