//! What the account was charged: `GET /api/v0/charges/`, one row for an instance and a day.
//!
//! Shape and paging are those of the Vast.ai API reference (`show charges`) and of recorded answers in public clients; amounts
//! are in dollars with three decimals.

use serde_json::{Value, json};

use super::Call;
use super::reply::Reply;
use crate::query::number;
use crate::world::State;
use crate::world::billing::Charge;

/// Rows of a page: without a limit, and at most (the official CLI takes no more than 100).
const ROWS: usize = 20;
const MOST_ROWS: usize = 100;

fn invalid(message: &str) -> Reply {
    Reply::error(400, "invalid_request", message)
}

/// `GET /charges/`, with the days in `select_filters`, which the live service requires.
pub(crate) fn charges(state: &State, call: &Call) -> Reply {
    let filters: Option<Value> =
        call.query.get("select_filters").and_then(|text| serde_json::from_str(text).ok());
    let Some(filters) = filters else { return invalid("select_filters: required") };
    let bound = |op: &str| filters["day"].get(op).and_then(number);
    let (Some(first), Some(last)) = (bound("gte"), bound("lte")) else {
        return invalid("select_filters: day: gte and lte are required");
    };
    let wanted = |kind: &str| match filters["type"]["in"].as_array() {
        None => true,
        Some(kinds) => kinds.iter().any(|wanted| wanted == kind),
    };
    let rows: Vec<Value> = state
        .charges
        .iter()
        .filter(|((_, day), _)| (first..=last).contains(&(*day as f64)) && wanted("instance"))
        .map(|((instance, day), charge)| row(state, *instance, *day, charge))
        .collect();
    let start = call.query.get("after_token").map_or(Ok(0), |token| token.parse::<usize>());
    let Ok(start) = start else { return Reply::error(400, "invalid_token", "Invalid after_token") };
    let limit = call.query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(ROWS);
    let page: Vec<&Value> = rows.iter().skip(start).take(limit.clamp(1, MOST_ROWS)).collect();
    let end = start + page.len();
    Reply::ok(json!({
        "success": true,
        "count": page.len(),
        "total": rows.len(),
        "next_token": (end < rows.len()).then(|| end.to_string()),
        "results": page,
    }))
}

fn row(state: &State, instance: u64, day: u64, charge: &Charge) -> Value {
    let item = |kind: &str, dollars: f64| {
        let rate = if charge.hours > 0.0 { dollars / charge.hours } else { 0.0 };
        json!({
            "start": day, "end": day, "type": kind, "source": null,
            "description": format!("{:.3} hours at ${rate:.3}/hour", charge.hours),
            "amount": cents(dollars), "metadata": {}, "items": [],
        })
    };
    json!({
        "start": day,
        "end": day,
        "type": "instance",
        "source": format!("instance-{instance}"),
        "description": format!("Instance {instance} Charges - 1 day"),
        "amount": cents(charge.gpu + charge.disk),
        "metadata": {"label": state.rentals.get(&instance).and_then(|rental| rental.label.clone())},
        "items": [item("gpu", charge.gpu), item("disk", charge.disk)],
    })
}

fn cents(dollars: f64) -> f64 {
    (dollars * 1000.0).round() / 1000.0
}
