//! The provider's API: reads a call, lets the faults have it, checks the key and the spacing, answers, records.
//!
//! Every handler is a plain function of the locked state, so one call is one atomic step. Only the reading of a
//! stored output touches files, and happens outside the lock.

mod admit;
mod asks;
mod bundles;
mod change;
mod charges;
mod keys;
mod list;
mod misc;
mod outputs;
mod reply;
mod route;
mod rows;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Query, Request, State as Shares};
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::clock::SimSeconds;
use crate::engine::Shared;
use crate::faults::{ApiBreak, FaultId, FaultKind};
use crate::record::{CallRecord, fingerprint};
use crate::world::State;
use admit::{admitted, invalid_key};
#[cfg(test)]
pub(crate) use asks::parse_launch;
use reply::Reply;
use route::{Endpoint, Routed, route};
#[cfg(test)]
pub(crate) use rows::instance_row;
pub(crate) use transport::{Peer, SimListener};

/// Longest request body read; the largest legitimate one (an `onstart` and an environment) is under 64 KiB.
const MOST_BODY: usize = 1024 * 1024;

/// The short names of all endpoints.
pub(crate) fn endpoint_names() -> &'static [&'static str] {
    &route::NAMES
}

/// A call as the handlers see it.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its number in the record.
    pub(crate) seq: u64,
    pub(crate) now: SimSeconds,
    pub(crate) query: HashMap<String, String>,
    /// The JSON body; null when there is none.
    pub(crate) body: Value,
    /// The body was not JSON.
    pub(crate) bad_json: bool,
    /// Base URL of this simulator, for `result_url`.
    pub(crate) base_url: String,
}

impl Call {
    /// The body's members; none when it is no object.
    pub(crate) fn object(&self) -> Map<String, Value> {
        self.body.as_object().cloned().unwrap_or_default()
    }
}

/// A request, read to its end.
struct Incoming {
    method: String,
    path: String,
    query_text: Option<String>,
    query: HashMap<String, String>,
    key: Option<String>,
    body: Value,
    bad_json: bool,
    host: String,
    client: String,
}

/// Answers every path that is not the panel's.
pub(crate) async fn serve(
    Shares(shared): Shares<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    let incoming = match read(request, &peer).await {
        Ok(incoming) => incoming,
        Err(reply) => return reply.into_response(),
    };
    let routed = route(&incoming.method, &incoming.path);
    let seq = open_record(&shared, &incoming, &routed);
    let (reply, faults) = match &routed {
        Routed::Endpoint(endpoint) => answer(&shared, &incoming, endpoint, seq).await,
        other => (misrouted(other, &incoming), Vec::new()),
    };
    shared.with(|state, _| {
        let wall_ms = state.wall_ms;
        if let Some(record) = state.call_mut(seq) {
            record.faults.extend(faults);
            if reply != Reply::Hang {
                record.answer(wall_ms, reply.status(), &reply.text());
            }
        }
    });
    match reply {
        // Ends when the client leaves and this future is dropped, or when the simulator stops.
        Reply::Hang => shared.stop.cancelled().await,
        Reply::Reset => {
            peer.cut.cancel();
            std::future::pending::<()>().await;
        }
        answered => return answered.into_response(),
    }
    Reply::error(503, "stopping", "the simulator stops").into_response()
}

async fn read(request: Request, peer: &Peer) -> Result<Incoming, Reply> {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, MOST_BODY)
        .await
        .map_err(|_| Reply::error(413, "invalid_request", "Request body too large or incomplete"))?;
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let query: HashMap<String, String> =
        Query::try_from_uri(&parts.uri).map(|Query(query)| query).unwrap_or_default();
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    let key = bearer.map(str::to_owned).or_else(|| query.get("api_key").cloned());
    let parsed = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
    let bad_json = parsed.is_err();
    let body = parsed.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Ok(Incoming {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query_text: parts.uri.query().map(str::to_owned),
        query,
        key,
        body,
        bad_json,
        host: header("host").unwrap_or("127.0.0.1").to_owned(),
        client: peer.address.ip().to_string(),
    })
}

fn open_record(shared: &Shared, incoming: &Incoming, routed: &Routed) -> u64 {
    let query = incoming.query_text.as_deref().map(|query| {
        let parts =
            query.split('&').map(|part| if part.starts_with("api_key=") { "api_key=***" } else { part });
        format!("?{}", parts.collect::<Vec<_>>().join("&"))
    });
    let (endpoint, instance) = match routed {
        Routed::Endpoint(endpoint) => (endpoint.name(), endpoint.instance()),
        Routed::Redirect | Routed::WrongMethod | Routed::Unknown => ("unknown", None),
    };
    shared.with(|state, _| {
        state.open_call(CallRecord {
            seq: 0,
            at_ms: state.wall_ms,
            answered_ms: None,
            key: incoming.key.as_deref().map(fingerprint),
            method: incoming.method.clone(),
            path: format!("{}{}", incoming.path, query.unwrap_or_default()),
            endpoint,
            body: incoming.body.clone(),
            status: None,
            reply: String::new(),
            instances: instance.into_iter().collect(),
            faults: Vec::new(),
        })
    })
}

fn misrouted(routed: &Routed, incoming: &Incoming) -> Reply {
    match routed {
        Routed::Redirect => {
            let query = incoming.query_text.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
            Reply::Raw {
                status: 301,
                content_type: "text/html",
                body: Vec::new(),
                headers: vec![("location", format!("{}/{query}", incoming.path))],
            }
        }
        Routed::WrongMethod => Reply::error(405, "method_not_allowed", "Method not allowed"),
        Routed::Unknown | Routed::Endpoint(_) => Reply::html_not_found(),
    }
}

async fn answer(
    shared: &Arc<Shared>,
    incoming: &Incoming,
    endpoint: &Endpoint,
    seq: u64,
) -> (Reply, Vec<FaultId>) {
    let (reply, faults) = shared.with(|state, now| {
        if let Some((fault, reply)) = struck(state, incoming, endpoint) {
            return (reply, vec![fault]);
        }
        if let Err(reply) = admitted(state, incoming, endpoint, now) {
            return (reply, Vec::new());
        }
        let call = Call {
            seq,
            now,
            query: incoming.query.clone(),
            body: incoming.body.clone(),
            bad_json: incoming.bad_json,
            base_url: format!("http://{}", incoming.host),
        };
        let (labels, instance) = concerned(state, incoming, endpoint);
        let reply = dispatch(state, endpoint, &call);
        let lost = draw_api(state, endpoint, &labels, instance, |kind| match kind {
            FaultKind::LostReply { how } => Some(*how),
            _ => None,
        });
        match lost {
            Some((fault, how)) => (lose(reply, how), vec![fault]),
            None => (reply, Vec::new()),
        }
    });
    match endpoint {
        Endpoint::Output(token) if faults.is_empty() => (outputs::read(shared, token).await, faults),
        _ => (reply, faults),
    }
}

fn lose(reply: Reply, how: ApiBreak) -> Reply {
    let intended = match reply {
        Reply::Json(_, body) => Some(body),
        _ => None,
    };
    Reply::broken(how, intended)
}

/// The label and instance a fault's filters are compared with.
fn concerned(state: &State, incoming: &Incoming, endpoint: &Endpoint) -> (Option<String>, Option<u64>) {
    let instance = endpoint.instance();
    let known = instance.and_then(|id| state.instances.get(&id)).and_then(|it| it.launch.label.clone());
    let asked = incoming.body.get("label").and_then(Value::as_str).map(str::to_owned);
    (known.or(asked), instance)
}

fn draw_api<T>(
    state: &mut State,
    endpoint: &Endpoint,
    label: &Option<String>,
    instance: Option<u64>,
    pick: impl Fn(&FaultKind) -> Option<T>,
) -> Option<(FaultId, T)> {
    let machine = instance.and_then(|id| state.instances.get(&id)).map(|it| it.machine.id);
    let target = crate::faults::Target {
        instance,
        label: label.as_deref(),
        machine,
        endpoint: Some(endpoint.name()),
        port: None,
    };
    state.faults.draw(&mut state.fault_rng, &target, pick)
}

/// A fault that answers instead of the handler.
fn struck(state: &mut State, incoming: &Incoming, endpoint: &Endpoint) -> Option<(FaultId, Reply)> {
    let (label, instance) = concerned(state, incoming, endpoint);
    let is_search = matches!(endpoint, Endpoint::SearchBundles | Endpoint::SearchAsks | Endpoint::Launch);
    let page = if incoming.query.contains_key("after_token") { list::page_of(&incoming.query) } else { 1 };
    let is_list = matches!(endpoint, Endpoint::List);
    let auth_status = state.config.auth_error_status;
    let wall_s = state.wall_ms / 1000;
    draw_api(state, endpoint, &label, instance, |kind| match kind {
        FaultKind::ApiOutage { how } => Some(Reply::broken(*how, None)),
        FaultKind::RateLimited { body, retry_after } => {
            Some(Reply::too_frequent(*body, endpoint.spacing(), *retry_after))
        }
        FaultKind::SearchQuota { resets_in_s } if is_search => {
            Some(search_quota(resets_in_s.map(|seconds| wall_s + u64::from(seconds))))
        }
        FaultKind::AuthError if !endpoint.is_public() => Some(invalid_key(auth_status)),
        FaultKind::ListPageFails { page: wanted, how } if is_list && *wanted == page => {
            Some(Reply::broken(*how, None))
        }
        _ => None,
    })
}

/// The daily quota is used up until `reset`, a unix time in seconds.
fn search_quota(reset: Option<u64>) -> Reply {
    let body =
        json!({"success": false, "error": "search_quota_exceeded", "msg": "Daily search quota exceeded"});
    Reply::Raw {
        status: 429,
        content_type: "application/json",
        body: body.to_string().into_bytes(),
        headers: reset.map(|at| ("x-ratelimit-reset", at.to_string())).into_iter().collect(),
    }
}

fn dispatch(state: &mut State, endpoint: &Endpoint, call: &Call) -> Reply {
    match endpoint {
        Endpoint::SearchBundles => bundles::search_bundles(state, call),
        Endpoint::SearchAsks => bundles::search_asks(state, call),
        Endpoint::Create(ask) => asks::create(state, call, *ask),
        Endpoint::CreateBulk => asks::create_bulk(state, call),
        Endpoint::Launch => asks::launch(state, call),
        Endpoint::List => list::list(state, call),
        Endpoint::ListRetired => list::retired(),
        Endpoint::Filters => list::filters(state, call),
        Endpoint::Show(id) => list::show(state, call, *id),
        Endpoint::Destroy(id) => change::destroy(state, call, *id),
        Endpoint::DestroyBulk => change::destroy_bulk(state, call),
        Endpoint::Change(id) => change::change(state, call, *id),
        Endpoint::ChangeBulk => change::change_bulk(state, call),
        Endpoint::Reboot(id) => change::restart(state, call, *id, false),
        Endpoint::Recycle(id) => change::restart(state, call, *id, true),
        Endpoint::ChangeBid(id) => change::bid(state, call, *id),
        Endpoint::Update(id) => change::update(state, call, *id),
        Endpoint::Prepay(id) => misc::prepay(state, call, *id),
        Endpoint::Deposit(id) => misc::deposit(state, *id),
        Endpoint::Logs(id) => outputs::logs(state, call, *id),
        Endpoint::Execute(id) => outputs::execute(state, call, *id),
        Endpoint::InstanceKeys(id) => keys::of_instance(state, *id),
        Endpoint::AttachKey(id) => keys::attach(state, call, *id),
        Endpoint::DetachKey(id, key) => keys::detach(state, *id, *key),
        Endpoint::AccountKeys => keys::of_account(state),
        Endpoint::AddAccountKey => keys::add(state, call),
        Endpoint::ChangeAccountKey(key) => keys::change(state, call, *key),
        Endpoint::DeleteAccountKey(key) => keys::delete(state, *key),
        Endpoint::User => misc::user(state),
        Endpoint::Charges => charges::charges(state, call),
        Endpoint::GpuNames => misc::gpu_names(state),
        Endpoint::Reports(machine) => misc::reports(state, *machine),
        Endpoint::ReportMachine(machine) => misc::report(state, call, *machine),
        Endpoint::Templates => misc::templates(),
        Endpoint::Maintenances => Reply::ok(json!([])),
        Endpoint::PriceIncreases => Reply::ok(json!({"success": true, "pending_price_increases": []})),
        Endpoint::AnswerPriceIncrease => {
            Reply::error(404, "no_pending_price_increase", "No pending price increase found.")
        }
        // Read outside the lock; see `answer`.
        Endpoint::Output(_) => Reply::Hang,
    }
}
