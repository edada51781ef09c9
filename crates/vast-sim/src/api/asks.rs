//! Renting: create, create in bulk, search-and-rent.

use serde_json::{Map, Value, json};

use super::Call;
use super::bundles::find;
use super::reply::Reply;
use crate::faults::{FaultId, FaultKind, GoneStatus, Target};
use crate::market::{Lookup, Offer};
use crate::query::number;
use crate::world::State;
use crate::world::instance::Launch;

/// Limits of the create body (Vast.ai OpenAPI).
const MOST_IMAGE: usize = 1024;
const MOST_LABEL: usize = 256;
const MOST_ONSTART: usize = 4048;
const MOST_ENV_ENTRY: usize = 256;
const MOST_ENV: usize = 32_768;
const LEAST_DISK_GB: f64 = 8.0;
const DEFAULT_DISK_GB: f64 = 10.0;
const BID_RANGE: std::ops::RangeInclusive<f64> = 0.001..=128.0;

/// Offers tried by a launch when the query has no limit.
const LAUNCH_TRIES: usize = 3;

enum CreateFault {
    Gone(GoneStatus),
    ErrorWithContract,
    NoCredit,
    SpendCap,
    Twice,
}

/// `PUT /asks/{id}/`.
pub(crate) fn create(state: &mut State, call: &Call, ask: u64) -> Reply {
    if !call.body.is_object() {
        return Reply::error(400, "invalid_request", "Invalid json body");
    }
    match rent(state, call, ask, &call.object()) {
        Ok(rented) => rented,
        Err(reply) => reply,
    }
}

/// `POST /asks/bulk/`: one result per id, in order.
pub(crate) fn create_bulk(state: &mut State, call: &Call) -> Reply {
    let mut body = call.object();
    let ids: Option<Vec<u64>> = body
        .remove("ids")
        .and_then(|ids| ids.as_array().map(|ids| ids.iter().filter_map(Value::as_u64).collect()));
    let Some(ids) = ids.filter(|ids| !ids.is_empty()) else {
        return Reply::error(
            400,
            "invalid_args",
            "error 400/3467: Invalid args: ids must be a list of offer ids",
        );
    };
    let results: Vec<Value> = ids
        .iter()
        .map(|ask| {
            let (Ok(reply) | Err(reply)) = rent(state, call, *ask, &body);
            let mut result = match reply {
                Reply::Json(_, body) => body,
                _ => json!({"success": false}),
            };
            result["ask_id"] = json!(ask);
            result
        })
        .collect();
    let contracts: Vec<&Value> = results.iter().filter_map(|result| result.get("new_contract")).collect();
    let success = contracts.len() == ids.len();
    Reply::ok(json!({"success": success, "new_contracts": contracts, "results": results}))
}

/// `PUT /launch_instance/`: searches with `q` and rents the first offer that can be had.
pub(crate) fn launch(state: &mut State, call: &Call) -> Reply {
    let mut body = call.object();
    let mut query = body.remove("q").and_then(|query| query.as_object().cloned()).unwrap_or_default();
    query.entry("limit").or_insert_with(|| json!(LAUNCH_TRIES));
    let offers = match find(state, &query, call.now) {
        Ok(offers) => offers,
        Err(error) => return Reply::error(400, "invalid_request", error.to_string()),
    };
    let mut last = Reply::error(404, "no_such_ask", "No offers match the search.");
    for ask in offers.iter().filter_map(|offer| offer.get("id")?.as_u64()) {
        match rent(state, call, ask, &body) {
            Ok(rented) => return rented,
            Err(refused) => last = refused,
        }
    }
    last
}

/// Rents one offer; `Err` is an answer that rented nothing the caller wanted.
fn rent(state: &mut State, call: &Call, ask: u64, body: &Map<String, Value>) -> Result<Reply, Reply> {
    let fault = draw(state, call, ask, body);
    if let Some((id, _)) = &fault {
        note_fault(state, call, *id);
    }
    match fault.map(|(_, fault)| fault) {
        Some(CreateFault::Gone(status)) => Err(gone(ask, status)),
        Some(CreateFault::NoCredit) => Err(no_credit()),
        Some(CreateFault::SpendCap) => Err(Reply::error(
            400,
            "spend_rate_limit",
            "New accounts are limited in spending; try again later.",
        )),
        Some(CreateFault::Twice) => {
            let (offer, launch) = checked(state, call, ask, body)?;
            let id = state.rent(&offer, launch.clone(), call.seq, call.now);
            rent_again(state, call, &offer, launch);
            Ok(rented(state, id))
        }
        Some(CreateFault::ErrorWithContract) => {
            let (offer, mut launch) = checked(state, call, ask, body)?;
            launch.start_stopped = true;
            Err(error_with_contract(state.rent(&offer, launch, call.seq, call.now)))
        }
        None => {
            let (offer, mut launch) = checked(state, call, ask, body)?;
            let outbid = launch.bid.is_some_and(|bid| bid < offer.min_bid(state.market.machine(&offer)));
            if outbid && launch.cancel_unavail {
                return Err(gone(ask, GoneStatus::Gone));
            }
            launch.start_stopped |= outbid;
            let id = state.rent(&offer, launch, call.seq, call.now);
            if outbid {
                return Err(error_with_contract(id));
            }
            Ok(rented(state, id))
        }
    }
}

fn rented(state: &State, id: u64) -> Reply {
    let key = state.instances.get(&id).map(|instance| instance.api_key.clone());
    Reply::ok(json!({"success": true, "new_contract": id, "instance_api_key": key}))
}

/// Rents the cheapest other offer of as many GPUs for the same create.
fn rent_again(state: &mut State, call: &Call, taken: &Offer, launch: Launch) {
    let alike = |(offer, machine): &(&Offer, &crate::market::Machine)| {
        offer.gpus == taken.gpus && launch.disk_gb <= offer.disk_space(machine)
    };
    let price = |offer: &Offer, machine: &crate::market::Machine| offer.dph_base(machine);
    let open = state.market.open(call.now).filter(alike);
    let cheapest =
        open.min_by(|(one, of), (other, of_other)| price(one, of).total_cmp(&price(other, of_other)));
    if let Some(offer) = cheapest.map(|(offer, _)| offer.clone()) {
        state.rent(&offer, launch, call.seq, call.now);
    }
}

fn draw(
    state: &mut State,
    call: &Call,
    ask: u64,
    body: &Map<String, Value>,
) -> Option<(FaultId, CreateFault)> {
    let machine = match state.market.look_up(ask, call.now) {
        Lookup::Open(offer) => Some(state.market.machine(&offer).id),
        Lookup::Gone | Lookup::Unknown => None,
    };
    let label = body.get("label").and_then(Value::as_str);
    let target = Target { instance: None, label, machine, endpoint: Some("create"), port: None };
    state.faults.draw(&mut state.fault_rng, &target, |kind| match kind {
        FaultKind::OfferGone { status } => Some(CreateFault::Gone(*status)),
        FaultKind::CreateErrorWithContract => Some(CreateFault::ErrorWithContract),
        FaultKind::CreateTwice => Some(CreateFault::Twice),
        FaultKind::InsufficientCredit => Some(CreateFault::NoCredit),
        FaultKind::SpendRateLimit => Some(CreateFault::SpendCap),
        _ => None,
    })
}

fn note_fault(state: &mut State, call: &Call, fault: FaultId) {
    if let Some(record) = state.call_mut(call.seq) {
        record.faults.push(fault);
    }
}

fn gone(ask: u64, status: GoneStatus) -> Reply {
    let no_longer = format!("error 410/3907: no_such_ask Instance type {ask} is no longer available.");
    let (status, error, message) = match status {
        GoneStatus::NotFound => (
            404,
            "invalid_args",
            format!("error 404/3603: no_such_ask Instance type by id {ask} is not available."),
        ),
        GoneStatus::Gone => (410, "no_such_ask", no_longer),
        GoneStatus::BadRequest => (400, "no_such_ask", no_longer),
    };
    Reply::Json(status, json!({"success": false, "error": error, "msg": message, "ask_id": ask}))
}

fn no_credit() -> Reply {
    Reply::error(400, "insufficient_credit", "Your account lacks credit; see the billing page.")
}

/// Seen live when a bid is too low: the instance exists, stopped, and the answer is an error.
fn error_with_contract(id: u64) -> Reply {
    let body = json!({"success": false, "error": "bid_too_low", "new_contract": id,
        "msg": "Your bid is below the current price; the instance was created but is not running."});
    Reply::Json(400, body)
}

/// Everything that can be wrong with a create, in the order the service finds it.
fn checked(
    state: &State,
    call: &Call,
    ask: u64,
    body: &Map<String, Value>,
) -> Result<(Offer, Launch), Reply> {
    let offer = match state.market.look_up(ask, call.now) {
        Lookup::Open(offer) => offer,
        Lookup::Gone => return Err(gone(ask, GoneStatus::Gone)),
        Lookup::Unknown => return Err(gone(ask, GoneStatus::NotFound)),
    };
    let launch = parse_launch(body)?;
    let disk_space = offer.disk_space(state.market.machine(&offer));
    if launch.disk_gb > disk_space {
        let message = format!("disk: {} GB requested, {disk_space:.1} GB available", launch.disk_gb);
        return Err(invalid(&message));
    }
    if state.account.credit <= 0.0 {
        return Err(no_credit());
    }
    Ok((offer, launch))
}

fn invalid(what: &str) -> Reply {
    Reply::error(400, "invalid_args", format!("error 400/3467: Invalid args: {what}"))
}

/// A text member; null counts as absent.
fn text(body: &Map<String, Value>, name: &str, most: usize) -> Result<Option<String>, Reply> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= most => Ok(Some(text.clone())),
        Some(Value::String(_)) => Err(invalid(&format!("{name}: longer than {most} characters"))),
        Some(_) => Err(invalid(&format!("{name}: expected a string"))),
    }
}

/// Checks a create body.
pub(crate) fn parse_launch(body: &Map<String, Value>) -> Result<Launch, Reply> {
    let template_hash_id = text(body, "template_hash_id", MOST_IMAGE)?;
    let image = text(body, "image", MOST_IMAGE)?.filter(|image| !image.is_empty());
    let image = match (image, &template_hash_id) {
        (Some(image), _) => image,
        (None, Some(_)) => "vastai/base-image:@vastai-automatic-tag".to_owned(),
        (None, None) => return Err(invalid("image: required")),
    };
    let disk_gb = match body.get("disk") {
        None | Some(Value::Null) => DEFAULT_DISK_GB,
        Some(value) => number(value).ok_or_else(|| invalid("disk: expected a number"))?,
    };
    if disk_gb < LEAST_DISK_GB {
        return Err(invalid(&format!("disk: at least {LEAST_DISK_GB} GB")));
    }
    let args = parse_args(body);
    let bid = match body.get("price") {
        None | Some(Value::Null) => None,
        Some(value) => match number(value).filter(|price| BID_RANGE.contains(price)) {
            Some(price) => Some(price),
            None => return Err(Reply::error(400, "invalid_price", "error 400/3468: price out of range")),
        },
    };
    let default_runtype = if args.is_empty() { "ssh" } else { "args" };
    let flag = |name: &str| body.get(name).and_then(Value::as_bool);
    Ok(Launch {
        image,
        disk_gb,
        label: text(body, "label", MOST_LABEL)?,
        env: parse_env(body.get("env"))?,
        onstart: text(body, "onstart", MOST_ONSTART)?,
        runtype: text(body, "runtype", MOST_LABEL)?.unwrap_or_else(|| default_runtype.to_owned()),
        args,
        cancel_unavail: flag("cancel_unavail").unwrap_or(bid.is_none()),
        bid,
        start_stopped: body.get("target_state").and_then(Value::as_str) == Some("stopped"),
        template_hash_id,
    })
}

fn parse_args(body: &Map<String, Value>) -> Vec<String> {
    match (body.get("args"), body.get("args_str").and_then(Value::as_str)) {
        (Some(Value::Array(args)), _) => {
            args.iter().filter_map(|arg| arg.as_str().map(str::to_owned)).collect()
        }
        (_, Some(text)) => text.split_whitespace().map(str::to_owned).collect(),
        (Some(Value::String(text)), _) => text.split_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// An object of text. A docker-flag string is accepted and silently not applied, as observed live.
pub(crate) fn parse_env(env: Option<&Value>) -> Result<Vec<(String, String)>, Reply> {
    let entries = match env {
        None | Some(Value::Null | Value::String(_)) => return Ok(Vec::new()),
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err(invalid("env: expected an object")),
    };
    let mut parsed = Vec::new();
    for (name, value) in entries {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Null => String::new(),
            Value::Array(_) | Value::Object(_) => {
                return Err(invalid(&format!("env: {name}: expected text")));
            }
        };
        let is_name = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
        if !is_name || name.len() + value.len() > MOST_ENV_ENTRY {
            return Err(invalid(&format!(
                "env: {name}: bad name or longer than {MOST_ENV_ENTRY} characters"
            )));
        }
        parsed.push((name.clone(), value));
    }
    if parsed.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MOST_ENV {
        return Err(invalid("env: too long"));
    }
    Ok(parsed)
}
