//! The HTTP surface: one table of operations, from which the router is built and against which the OpenAPI document
//! is checked.

mod admin;
mod body;
mod cors;
mod health;
mod limits;
mod maintenance;
mod message;
mod openapi;
mod page;
mod players;
mod problem;
mod streaming;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::director::Handle;
use crate::live::Live;
use crate::metrics::{Metrics, RequestLabels, RouteLabel};
use crate::settings::Settings;
use crate::store::{Store, StoreError};
use crate::stream::Stream;
use crate::tokens::Tokens;
use crate::vitals::Vitals;

pub use admin::{AdminGate, Verdict};
use cors::Origin;
pub use health::{Findings, LastAnswer, Overall, SILENCE_LIMIT_MS};
pub use limits::{Limits, Price};
pub use maintenance::EnterRequest;
pub use message::{StateMessage, shown_health};
use problem::Problem;

/// What the handlers share.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// See [`App`].
pub struct Shared {
    /// The settings.
    pub settings: Settings,
    /// The clock.
    pub clock: Clock,
    /// The way to the director.
    pub arena: Handle,
    /// For reading pages of history.
    pub store: Arc<dyn Store>,
    /// Signs of life.
    pub vitals: Arc<Vitals>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The admin gate.
    pub gate: AdminGate,
    /// Rate limits.
    pub limits: Limits,
    /// Players' tokens.
    pub tokens: Tokens,
    /// Live state.
    pub live: Live,
    /// The RTMP output.
    pub stream: Stream,
    /// When the binary was built.
    pub build_time: String,
    /// The last answer of `/health`.
    pub last_health: LastAnswer,
    /// Counts open WebSockets, to wait for them.
    pub sockets: TaskTracker,
    /// Cancelled when the server begins to stop.
    pub stopping: CancellationToken,
    /// Cancelled when WebSockets are to be closed.
    pub closing_sockets: CancellationToken,
}

impl App {
    /// Wraps the shared parts.
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// How the stream is doing, in one word.
    fn stream_word(&self) -> &'static str {
        self.stream.state().as_str()
    }

    /// Waits for a read from the store, but not for ever.
    async fn read<T>(&self, query: impl Future<Output = Result<T, StoreError>>) -> Result<T, Problem> {
        match tokio::time::timeout(self.settings.database_timeout, query).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                tracing::error!(error = crate::error_chain(&error), "a read from the store failed");
                Err(Problem::unavailable("the store is not available"))
            }
            Err(_) => Err(Problem::unavailable("the store is too slow")),
        }
    }
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The address a request comes from; put into the request by the listener.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    fn of(app: &App, headers: &HeaderMap, extensions: &Extensions) -> Self {
        let peer = extensions.get::<Self>().map_or(IpAddr::from([0, 0, 0, 0]), |address| address.0);
        let forwarded = || {
            // The last entry is the one the trusted proxy itself added; the others are the client's word.
            let value = headers.get_all("x-forwarded-for").iter().next_back()?;
            value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
        };
        let forwarded = if app.settings.trust_proxy { forwarded() } else { None };
        Self(forwarded.unwrap_or(peer))
    }
}

impl FromRequestParts<App> for ClientAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        Ok(Self::of(app, &parts.headers, &parts.extensions))
    }
}

/// One operation of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path; no path has parameters.
    pub path: &'static str,
    /// What it costs a client.
    pub price: Price,
}

const fn operation(method: &'static str, path: &'static str, price: Price) -> Operation {
    Operation { method, path, price }
}

/// Every operation, one per path.
pub const OPERATIONS: &[Operation] = &[
    operation("GET", "/", Price::Read),
    operation("GET", "/watch.css", Price::Read),
    operation("GET", "/watch.js", Price::Read),
    operation("GET", "/openapi.json", Price::Read),
    operation("GET", "/health", Price::Free),
    operation("GET", "/healthz", Price::Free),
    operation("GET", "/ready", Price::Free),
    operation("GET", "/status", Price::Read),
    operation("GET", "/metrics", Price::Free),
    operation("GET", "/ws", Price::Read),
    operation("GET", "/api/v1/version", Price::Free),
    operation("GET", "/api/streaming/state", Price::Read),
    operation("GET", "/api/streaming/rtmp/status", Price::Read),
    operation("GET", "/api/v1/market", Price::Read),
    operation("GET", "/api/v1/leaderboard", Price::Read),
    operation("GET", "/api/v1/duels", Price::Read),
    operation("POST", "/api/v1/players", Price::Join),
    operation("GET", "/api/v1/account", Price::Read),
    operation("GET", "/api/v1/account/ledger", Price::Read),
    operation("POST", "/api/v1/bets", Price::Write),
    operation("POST", "/admin/maintenance/enter", Price::Free),
    operation("GET", "/admin/maintenance/status", Price::Free),
    operation("POST", "/admin/maintenance/exit", Price::Free),
];

/// The handler of a path of the table; a path without one answers 404, which a test turns into a failure.
fn handler(path: &str) -> Option<MethodRouter<App>> {
    Some(match path {
        "/" => get(page::html),
        "/watch.css" => get(page::css),
        "/watch.js" => get(page::js),
        "/openapi.json" => get(openapi::document),
        "/health" => get(health::health),
        "/healthz" => get(health::liveness),
        "/ready" => get(health::ready),
        "/status" => get(health::status),
        "/metrics" => get(metrics),
        "/ws" => get(streaming::socket),
        "/api/v1/version" => get(health::version),
        "/api/streaming/state" => get(streaming::state),
        "/api/streaming/rtmp/status" => get(streaming::rtmp),
        "/api/v1/market" => get(players::market),
        "/api/v1/leaderboard" => get(players::leaderboard),
        "/api/v1/duels" => get(players::duels),
        "/api/v1/players" => post(players::join),
        "/api/v1/account" => get(players::account),
        "/api/v1/account/ledger" => get(players::ledger),
        "/api/v1/bets" => post(players::bet),
        "/admin/maintenance/enter" => post(maintenance::enter),
        "/admin/maintenance/status" => get(maintenance::status),
        "/admin/maintenance/exit" => post(maintenance::exit),
        _ => return None,
    })
}

/// The whole API.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for operation in OPERATIONS {
        let Some(methods) = handler(operation.path) else { continue };
        let around = from_fn_with_state(Route::new(&app, *operation), around);
        router = router.route(operation.path, methods.fallback(wrong_method).layer(around));
    }
    let unmatched = Route::new(&app, operation("", "unmatched", Price::Read));
    let fallback = get(unknown_path).fallback(unknown_path).layer(from_fn_with_state(unmatched, around));
    router.fallback_service(fallback.with_state(app.clone())).with_state(app)
}

/// An operation with its metrics at hand: health is asked often, and looking them up would cost as much as answering.
struct Route {
    app: App,
    operation: Operation,
    seconds: Histogram,
    ok: Counter,
}

impl Route {
    fn new(app: &App, operation: Operation) -> Arc<Self> {
        let route = operation.path;
        Arc::new(Self {
            app: app.clone(),
            operation,
            seconds: app.metrics.request_seconds.get_or_create_owned(&RouteLabel { route }),
            ok: app.metrics.requests.get_or_create_owned(&RequestLabels { route, status: 200 }),
        })
    }

    fn count(&self, status: StatusCode) {
        if status == StatusCode::OK {
            self.ok.inc();
            return;
        }
        let labels = RequestLabels { route: self.operation.path, status: status.as_u16() };
        self.app.metrics.requests.get_or_create(&labels).inc();
    }
}

/// Limits, counts and times every request of an operation, and settles what its origin may do.
async fn around(State(route): State<Arc<Route>>, request: Request, next: Next) -> Response {
    let app = &route.app;
    let started = app.clock.monotonic();
    let ClientAddress(client) = ClientAddress::of(app, request.headers(), request.extensions());
    let origin = Origin::of(app, &request);
    let mut response =
        match (origin.preflight(), app.limits.pay(client, route.operation.price, app.clock.now())) {
            (Some(preflight), _) => preflight,
            (None, Ok(())) => next.run(request).await,
            (None, Err(seconds)) => {
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", "too many requests")
                    .retry_after(seconds)
                    .into_response()
            }
        };
    origin.mark(app, response.headers_mut());
    route.count(response.status());
    route.seconds.observe(started.elapsed().as_secs_f64());
    response
}

async fn unknown_path() -> Problem {
    Problem::unknown_path()
}

async fn wrong_method() -> Problem {
    let detail = "this path has another method; see the Allow header";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

async fn metrics(State(app): State<App>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], app.metrics.render()).into_response()
}
