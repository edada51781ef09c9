//! Searches: `POST /bundles/` (flat), `GET /bundles/?q=`, `PUT /search/asks/` (wrapped only).

use serde_json::{Map, Value, json};

use super::Call;
use super::reply::Reply;
use crate::clock::SimSeconds;
use crate::market::offer_row;
use crate::query::{Query, QueryError};
use crate::world::State;

/// The flat form. A query that cannot be understood is refused; a filter on an unknown field is ignored.
pub(crate) fn search_bundles(state: &State, call: &Call) -> Reply {
    let body = match call.query.get("q") {
        Some(text) => serde_json::from_str(text).ok(),
        None if call.body.is_null() && !call.bad_json => Some(json!({})),
        None => Some(call.body.clone()).filter(|_| !call.bad_json),
    };
    match body {
        Some(Value::Object(query)) => search(state, &query, call.now),
        _ => Reply::error(400, "invalid_request", "Invalid json body"),
    }
}

/// The wrapped form; stray keys beside `select_cols` and `q` are refused.
pub(crate) fn search_asks(state: &State, call: &Call) -> Reply {
    let Value::Object(body) = &call.body else {
        return Reply::error(400, "invalid_request", "Invalid json body");
    };
    if let Some(stray) = body.keys().find(|key| !matches!(key.as_str(), "select_cols" | "q")) {
        return Reply::Json(
            400,
            json!({"success": false, "msg": format!("{stray}: Extra inputs are not permitted")}),
        );
    }
    match body.get("q") {
        Some(Value::Object(query)) => search(state, query, call.now),
        None => search(state, &Map::new(), call.now),
        Some(_) => Reply::error(400, "invalid_request", "q: expected an object"),
    }
}

fn search(state: &State, query: &Map<String, Value>, now: SimSeconds) -> Reply {
    match find(state, query, now) {
        Ok(offers) => Reply::ok(json!({"offers": offers})),
        Err(error) => Reply::error(400, "invalid_request", error.to_string()),
    }
}

/// The rows a query finds, best first.
pub(crate) fn find(
    state: &State,
    query: &Map<String, Value>,
    now: SimSeconds,
) -> Result<Vec<Map<String, Value>>, QueryError> {
    let query = Query::parse(query)?;
    let open = state.market.open(now).map(|pair| (pair, false));
    let hidden = state.market.hidden().filter(|_| query.wants_rented()).map(|pair| (pair, true));
    let rows = open.chain(hidden).map(|((offer, machine), rented)| {
        offer_row(offer, machine, query.kind, query.storage_gb, rented, now)
    });
    Ok(query.apply(rows))
}
