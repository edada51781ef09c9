//! The routes. Every error is problem JSON (RFC 9457), those that axum finds by itself included.

use axum::{
    Json, Router,
    body::to_bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::{Question, Site, hook, page};
use crate::fleet::{
    deployed::{DeployReport, SwitchRequest},
    event::Reply,
    ledger::LedgerRequest,
    name::{IncidentId, NodeName},
    notice::Notice,
    view::Request,
};
use crate::metrics::Format;

/// Rows given where the request names no limit, and at most.
const ROWS: u32 = 100;
const ROWS_MOST: u32 = 1000;

/// Characters of the name under which a wish is journaled.
const NAME_LENGTH: usize = 64;
/// Bytes of a ledger that is taken over: the most machines kept, with their failures.
const LEDGER_BYTES: usize = 32 << 20;
/// Bytes of an error's text that are passed on.
const DETAIL_LENGTH: usize = 4096;

/// Read-only, but for the provider's notifications where they are taken: what the TCP address serves.
pub(super) fn public(site: Site) -> Router {
    let hooks = post(hook::deliver).layer(DefaultBodyLimit::max(hook::MOST_BYTES));
    let routes = if site.hook.is_some() { reading().route(hook::PATH, hooks) } else { reading() };
    finish(routes, site)
}

/// The same and the verbs: what the unix socket serves.
pub(super) fn control(site: Site) -> Router {
    let imports = post(ask_ledger).layer(DefaultBodyLimit::max(LEDGER_BYTES));
    let verbs = Router::new()
        .route("/api/v1/control", post(ask))
        .route("/api/v1/deploys", post(report_deploy))
        .route("/api/v1/notices", post(tell))
        .route("/api/v1/switch", post(switch))
        .route("/api/v1/ledger", imports);
    finish(reading().merge(verbs), site)
}

fn finish(routes: Router<Site>, site: Site) -> Router {
    let nowhere = async || problem(StatusCode::NOT_FOUND, "there is nothing at this path");
    let not_so = async || problem(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method");
    routes
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so)
        .layer(map_response(as_problem))
        .with_state(site)
}

fn reading() -> Router<Site> {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/api/v1/fleet", get(fleet))
        .route("/api/v1/nodes/{node}/why", get(why))
        .route("/api/v1/ledger", get(ledger))
        .route("/api/v1/ledger/export", get(export))
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/incidents/{id}", get(incident))
        .route("/api/v1/events", get(events))
        .route("/api/v1/deploys", get(deploys))
}

pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("error");
    let body = serde_json::json!({ "title": title, "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

/// Turns what axum's extractors refuse, a bad query or body, into problem JSON; their plain text becomes the detail.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let fault = status.is_client_error() || status.is_server_error();
    if !fault || kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json")) {
        return response;
    }
    let text = to_bytes(response.into_body(), DETAIL_LENGTH).await.unwrap_or_default();
    problem(status, &String::from_utf8_lossy(&text))
}

/// Asks the daemon; no answer, or none in it, becomes a 503.
async fn put<T>(
    site: &Site,
    question: impl FnOnce(oneshot::Sender<Option<T>>) -> Question,
) -> Result<T, Response> {
    let unavailable = || problem(StatusCode::SERVICE_UNAVAILABLE, "the keeper cannot answer now");
    let (reply, answer) = oneshot::channel();
    site.questions.send(question(reply)).await.map_err(|_| unavailable())?;
    answer.await.ok().flatten().ok_or_else(unavailable)
}

async fn index(State(site): State<Site>) -> Result<Response, Response> {
    let view = put(&site, Question::View).await?;
    let incidents =
        put(&site, |reply| Question::Incidents { limit: 10, node: None, reply }).await.unwrap_or_default();
    Ok(axum::response::Html(page::render(&view, &incidents, site.players.as_deref()).into_string())
        .into_response())
}

/// 200 while the engine answers and can write its journal; a supervisor or an uptime monitor watches this.
async fn healthz(State(site): State<Site>) -> Response {
    match put(&site, Question::View).await {
        Ok(view) if view.summary == "storage-failed" => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "the keeper cannot write its journal")
        }
        Ok(view) => Json(serde_json::json!({ "status": "ok", "fleet": view.summary })).into_response(),
        Err(unavailable) => unavailable,
    }
}

/// A scraper that accepts OpenMetrics gets it; everybody else, a browser too, gets the older text format of Prometheus.
async fn metrics(State(site): State<Site>, headers: HeaderMap) -> Result<Response, Response> {
    let view = put(&site, Question::View).await?;
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let format = Format::of_accept(accepted);
    let text = site.metrics.render(&view, format);
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}

async fn fleet(State(site): State<Site>) -> Result<Response, Response> {
    put(&site, Question::View).await.map(|view| Json(view).into_response())
}

async fn why(State(site): State<Site>, Path(node): Path<NodeName>) -> Result<Response, Response> {
    match put(&site, |reply| Question::Why { node: node.clone(), reply }).await? {
        Some(why) => Ok(Json(why).into_response()),
        None => Err(problem(StatusCode::NOT_FOUND, &format!("node `{node}` is not known"))),
    }
}

async fn ledger(State(site): State<Site>) -> Result<Response, Response> {
    let (view, _) = put(&site, |reply| Question::Ledger { reply }).await?;
    Ok(Json(view).into_response())
}

async fn export(State(site): State<Site>) -> Result<Response, Response> {
    let (_, export) = put(&site, |reply| Question::Ledger { reply }).await?;
    Ok(Json(export).into_response())
}

async fn ask_ledger(
    State(site): State<Site>,
    Json(request): Json<LedgerRequest>,
) -> Result<Json<Reply>, Response> {
    let request = Box::new(LedgerRequest { by: name_of(&request.by), ..request });
    put(&site, |reply| Question::AskLedger { request, reply }).await.map(Json)
}

/// What a list may be cut down by.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cut {
    limit: Option<u32>,
    node: Option<NodeName>,
    after: Option<u64>,
}

impl Cut {
    fn limit(&self) -> u32 {
        self.limit.unwrap_or(ROWS).min(ROWS_MOST)
    }
}

async fn incidents(State(site): State<Site>, Query(cut): Query<Cut>) -> Result<Response, Response> {
    let limit = cut.limit();
    let rows = put(&site, |reply| Question::Incidents { limit, node: cut.node, reply }).await?;
    Ok(Json(rows).into_response())
}

async fn incident(State(site): State<Site>, Path(id): Path<u64>) -> Result<Response, Response> {
    match put(&site, |reply| Question::Incident { id: IncidentId(id), reply }).await? {
        Some(incident) => Ok(Json(incident).into_response()),
        None => Err(problem(StatusCode::NOT_FOUND, &format!("there is no incident {id}"))),
    }
}

async fn deploys(State(site): State<Site>, Query(cut): Query<Cut>) -> Result<Response, Response> {
    let limit = cut.limit();
    let rows = put(&site, |reply| Question::Deploys { limit, node: cut.node, reply }).await?;
    Ok(Json(rows).into_response())
}

async fn report_deploy(
    State(site): State<Site>,
    Json(report): Json<DeployReport>,
) -> Result<Json<Reply>, Response> {
    // What comes over the socket was done by hand: the keeper reports its own work to itself.
    let report = Box::new(DeployReport { by: name_of(&report.by), healing: false, ..report });
    put(&site, |reply| Question::ReportDeploy { report, reply }).await.map(Json)
}

async fn switch(
    State(site): State<Site>,
    Json(request): Json<SwitchRequest>,
) -> Result<Json<Reply>, Response> {
    let request = Box::new(SwitchRequest { by: name_of(&request.by), ..request });
    put(&site, |reply| Question::Switch { request, reply }).await.map(Json)
}

async fn tell(State(site): State<Site>, Json(notice): Json<Notice>) -> Result<Json<Reply>, Response> {
    let notice = Box::new(notice);
    put(&site, |reply| Question::Tell { notice, reply }).await.map(Json)
}

async fn events(State(site): State<Site>, Query(cut): Query<Cut>) -> Result<Response, Response> {
    let (after, limit) = (cut.after.unwrap_or(0), cut.limit());
    let lines = put(&site, |reply| Question::Events { after, limit, node: cut.node, reply }).await?;
    Ok(Json(lines).into_response())
}

async fn ask(State(site): State<Site>, Json(request): Json<Request>) -> Result<Json<Reply>, Response> {
    let request = Request { by: name_of(&request.by), ..request };
    put(&site, |reply| Question::Ask { request, reply }).await.map(Json)
}

/// A name as it may stand in journal, alerts and on terminals: short, of letters, digits and plain punctuation. Anything
/// else, such as what moves a cursor or turns the reading direction, becomes a `?`.
fn name_of(by: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let name: String = by.trim().chars().take(NAME_LENGTH).map(plain).collect();
    if name.is_empty() { "somebody".into() } else { name }
}

#[cfg(test)]
mod tests;
