//! The control panel: the truth, and the faults, as JSON under `/panel/`. No key: it is for the test's own hands.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shares};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api;
use crate::engine::Shared;
use crate::faults::{Fault, FaultId, FaultKind, catalogue};
use crate::info;
use crate::sim::{Action, ActionError, act, inject};

/// Most calls in one answer; `after` pages on.
const MOST_CALLS: usize = 1_000;

/// An answer that is not 2xx.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

/// The panel's routes.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/panel", get(index))
        .route("/panel/", get(index))
        .route("/panel/boxes", get(boxes))
        .route("/panel/boxes/{id}/{action}", post(do_to_box))
        .route("/panel/calls", get(calls))
        .route("/panel/ledger", get(ledger))
        .route("/panel/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/panel/faults/{id}", delete(remove_fault))
        .route("/panel/credit", post(set_credit))
}

async fn index() -> Json<Value> {
    let endpoint = |call: &str, what: &str| json!({"call": call, "what": what});
    Json(json!({
        "what": "control panel of the provider simulator",
        "endpoints": [
            endpoint("GET /panel/boxes", "every living instance with its box: addresses, ports, home, host key"),
            endpoint("POST /panel/boxes/{instance}/{deed}",
                "a deed at once; the body gives the kind's parameters; also `thaw` and `host-back`"),
            endpoint("GET /panel/calls?after=N", "API calls with a greater `seq` than N, oldest first, at most 1000"),
            endpoint("GET /panel/ledger", "every rental with its cost, everything that happened to the boxes, credit"),
            endpoint("GET /panel/faults", "the rules in force and spent, with how often each fired"),
            endpoint("POST /panel/faults", "adds a rule, see `faults`; answers {\"id\":N}"),
            endpoint("DELETE /panel/faults", "removes all rules"),
            endpoint("DELETE /panel/faults/{id}", "removes one rule"),
            endpoint("POST /panel/credit", "{\"dollars\":N} sets the account's credit"),
        ],
        "rule": {
            "kind": "one of `faults`, with its parameters beside it",
            "times": "how many firings; absent: 1; null: until cleared",
            "probability": "chance of each possible firing, drawn from the seed; absent: 1",
            "instance, label_prefix, machine, endpoint, port": "filters; absent: everything",
        },
        "endpoint_names": api::endpoint_names(),
        "faults": catalogue(),
    }))
}

async fn boxes(Shares(shared): Shares<Arc<Shared>>) -> impl IntoResponse {
    Json(shared.with(|state, _| info::boxes(state)))
}

async fn calls(
    Shares(shared): Shares<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<impl IntoResponse, Refusal> {
    let after: u64 = match query.get("after").map(|text| text.parse()) {
        None => 0,
        Some(Ok(after)) => after,
        Some(Err(_)) => return Err(Refusal(StatusCode::BAD_REQUEST, "after: expected a number".to_owned())),
    };
    let page: Vec<_> = shared.with(|state, _| state.calls_after(after).take(MOST_CALLS).cloned().collect());
    Ok(Json(page))
}

async fn ledger(Shares(shared): Shares<Arc<Shared>>) -> impl IntoResponse {
    Json(shared.with(|state, _| state.ledger()))
}

async fn faults(Shares(shared): Shares<Arc<Shared>>) -> impl IntoResponse {
    Json(shared.with(|state, _| state.faults.rules().to_vec()))
}

fn bad(error: impl ToString) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, error.to_string())
}

async fn add_fault(Shares(shared): Shares<Arc<Shared>>, body: Bytes) -> Result<impl IntoResponse, Refusal> {
    #[derive(Serialize)]
    struct Added {
        id: FaultId,
    }
    let rule: Value = serde_json::from_slice(&body).map_err(bad)?;
    let fault = Fault::from_json(&rule).map_err(bad)?;
    let id = inject(&shared, fault).map_err(bad)?;
    Ok((StatusCode::CREATED, Json(Added { id })))
}

async fn clear_faults(Shares(shared): Shares<Arc<Shared>>) -> impl IntoResponse {
    shared.with(|state, _| state.faults.clear());
    StatusCode::NO_CONTENT
}

async fn remove_fault(
    Shares(shared): Shares<Arc<Shared>>,
    Path(id): Path<u64>,
) -> Result<StatusCode, Refusal> {
    if shared.with(|state, _| state.faults.remove(FaultId(id))) {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refusal(StatusCode::NOT_FOUND, format!("no fault {id}")))
}

async fn set_credit(Shares(shared): Shares<Arc<Shared>>, body: Bytes) -> Result<StatusCode, Refusal> {
    let body: Value = serde_json::from_slice(&body).map_err(bad)?;
    let Some(dollars) = body.get("dollars").and_then(Value::as_f64) else {
        return Err(bad("dollars: expected a number"));
    };
    shared.with(|state, _| state.account.credit = dollars);
    Ok(StatusCode::NO_CONTENT)
}

async fn do_to_box(
    Shares(shared): Shares<Arc<Shared>>,
    Path((instance, name)): Path<(u64, String)>,
    body: Bytes,
) -> Result<impl IntoResponse, Refusal> {
    let action = match name.as_str() {
        "thaw" => Action::Thaw,
        "host-back" => Action::HostBack,
        kind => Action::Do(parse_kind(kind, &body)?),
    };
    match act(&shared, instance, action).await {
        Ok(pids) => Ok(Json(json!({"done": true, "pids": pids}))),
        Err(error @ ActionError::NoInstance(_)) => Err(Refusal(StatusCode::NOT_FOUND, error.to_string())),
        Err(error @ ActionError::NotADeed) => Err(bad(error)),
        Err(error @ ActionError::Stopping) => {
            Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
        }
    }
}

/// A deed's name as in the path (`kill-server`) with its parameters from the body.
fn parse_kind(name: &str, body: &[u8]) -> Result<FaultKind, Refusal> {
    let mut rule: Value =
        if body.is_empty() { json!({}) } else { serde_json::from_slice(body).map_err(bad)? };
    let Some(members) = rule.as_object_mut() else { return Err(bad("expected a JSON object")) };
    members.insert("kind".to_owned(), json!(name.replace('-', "_")));
    Fault::from_json(&rule).map(|fault| fault.kind).map_err(bad)
}
