//! Changing instances: state, label, restart, bid, update, destroy.

use serde_json::{Value, json};

use super::Call;
use super::asks::parse_env;
use super::reply::Reply;
use crate::faults::{FaultId, FaultKind};
use crate::query::number;
use crate::record::RentalEnd;
use crate::world::State;
use crate::world::instance::Phase;

/// Longest label that `PUT /instances/{id}/` takes (Vast.ai OpenAPI; a create takes 256).
const MOST_LABEL: usize = 1024;

enum DestroyFault {
    Refused,
    Ignored,
}

fn note_fault(state: &mut State, call: &Call, fault: Option<FaultId>) {
    if let (Some(fault), Some(record)) = (fault, state.call_mut(call.seq)) {
        record.faults.push(fault);
    }
}

fn note_instance(state: &mut State, call: &Call, id: u64) {
    if let Some(record) = state.call_mut(call.seq)
        && !record.instances.contains(&id)
    {
        record.instances.push(id);
    }
}

/// `DELETE /instances/{id}/`.
pub(crate) fn destroy(state: &mut State, call: &Call, id: u64) -> Reply {
    if state.alive(id).is_none() {
        return Reply::no_such_instance(id);
    }
    note_instance(state, call, id);
    let drawn = state.draw_for(id, Some("destroy"), None, |kind| match kind {
        FaultKind::DestroyRefused => Some(DestroyFault::Refused),
        FaultKind::DestroyIgnored => Some(DestroyFault::Ignored),
        _ => None,
    });
    note_fault(state, call, drawn.as_ref().map(|(fault, _)| *fault));
    match drawn.map(|(_, fault)| fault) {
        Some(DestroyFault::Refused) => {
            Reply::ok(json!({"success": false, "error": "busy", "msg": format!("Instance {id} is busy.")}))
        }
        Some(DestroyFault::Ignored) => destroying(id),
        None => {
            state.end_rental(id, &RentalEnd::Call(call.seq), call.now);
            destroying(id)
        }
    }
}

fn destroying(id: u64) -> Reply {
    Reply::ok(json!({"success": true, "msg": format!("Destroying instance {id}.")}))
}

/// `DELETE /instances/` with `instance_ids`.
pub(crate) fn destroy_bulk(state: &mut State, call: &Call) -> Reply {
    each(state, call, "instance_ids", destroy)
}

/// `PUT /instances/` with `ids` and `state`.
pub(crate) fn change_bulk(state: &mut State, call: &Call) -> Reply {
    each(state, call, "ids", change)
}

/// Does the same to every named instance; one failure makes the whole answer a failure and is named.
fn each(state: &mut State, call: &Call, ids: &str, deed: impl Fn(&mut State, &Call, u64) -> Reply) -> Reply {
    let listed = call.body.get(ids).and_then(Value::as_array).cloned().unwrap_or_default();
    let listed: Vec<u64> = listed.iter().filter_map(Value::as_u64).collect();
    if listed.is_empty() {
        return Reply::error(400, "invalid_args", format!("{ids}: expected a list of instance ids"));
    }
    let mut failed = Vec::new();
    for id in listed {
        match deed(state, call, id) {
            Reply::Json(200, body) if body["success"] == true => {}
            _ => failed.push(id),
        }
    }
    if failed.is_empty() {
        return Reply::ok(json!({"success": true}));
    }
    Reply::ok(
        json!({"success": false, "error": "partial_failure", "failed": failed, "msg": "Some instances failed."}),
    )
}

/// `PUT /instances/{id}/` with `state` or `label`.
pub(crate) fn change(state: &mut State, call: &Call, id: u64) -> Reply {
    if state.alive(id).is_none() {
        return Reply::no_such_instance(id);
    }
    note_instance(state, call, id);
    if let Some(label) = call.body.get("label") {
        return relabel(state, id, label);
    }
    match call.body.get("state").and_then(Value::as_str) {
        Some("running") => start(state, call, id),
        Some("stopped") => {
            state.bill_one(id, call.now);
            state.halt(id, "stopped by user", None);
            Reply::ok(json!({"success": true}))
        }
        _ => Reply::error(400, "invalid_args", "state: expected running or stopped"),
    }
}

fn relabel(state: &mut State, id: u64, label: &Value) -> Reply {
    let label = match label {
        Value::String(label) if label.chars().count() > MOST_LABEL => {
            return Reply::error(
                400,
                "label_too_long",
                format!("label: longer than {MOST_LABEL} characters"),
            );
        }
        Value::String(label) => Some(label.clone()),
        _ => None,
    };
    if let Some(instance) = state.alive_mut(id) {
        instance.launch.label.clone_from(&label);
    }
    if let Some(rental) = state.rentals.get_mut(&id) {
        rental.label = label;
    }
    Reply::ok(json!({"success": true, "msg": "Instance label updated."}))
}

fn start(state: &mut State, call: &Call, id: u64) -> Reply {
    let Some(instance) = state.alive(id) else { return Reply::no_such_instance(id) };
    let expired = instance.ends_at <= call.now;
    let waits = matches!(instance.phase, Phase::Stopped | Phase::Queued | Phase::Exited | Phase::Broken);
    let unaffordable = instance.launch.bid.is_some_and(|bid| bid < instance.offer.min_bid(&instance.machine));
    if !waits {
        return Reply::ok(json!({"success": true}));
    }
    if expired {
        return Reply::error(400, "invalid_args", "The contract of this instance has expired.");
    }
    if state.account.credit <= 0.0 {
        return Reply::error(400, "insufficient_credit", "Your account lacks credit; see the billing page.");
    }
    let queued = state.draw_for(id, Some("change"), None, |kind| match kind {
        FaultKind::QueuedStart { after_s } => Some(*after_s),
        _ => None,
    });
    note_fault(state, call, queued.map(|(fault, _)| fault));
    if queued.is_some() || unaffordable {
        state.queue_start(id, queued.and_then(|(_, after)| after), call.now);
        let message = "Required resources are currently unavailable, state change queued.";
        return Reply::ok(json!({"success": false, "error": "resources_unavailable", "msg": message}));
    }
    state.restart(id, false, call.now);
    Reply::ok(json!({"success": true}))
}

/// `PUT /instances/reboot/{id}/` keeps the disk, `…/recycle/{id}/` loses it.
pub(crate) fn restart(state: &mut State, call: &Call, id: u64, wipe: bool) -> Reply {
    let Some(phase) = state.alive(id).map(|instance| instance.phase) else {
        let error = if wipe { "invalid_id" } else { "invalid_args" };
        return Reply::error(400, error, "invalid instance_id");
    };
    note_instance(state, call, id);
    if matches!(phase, Phase::Stopped | Phase::Queued) {
        return Reply::error(400, "invalid_args", "Instance is not running.");
    }
    state.restart(id, wipe, call.now);
    Reply::ok(json!({"success": true}))
}

/// `PUT /instances/bid_price/{id}/`; a null price takes the winning bid.
pub(crate) fn bid(state: &mut State, call: &Call, id: u64) -> Reply {
    let Some(instance) = state.alive(id) else { return Reply::no_such_instance(id) };
    let floor = instance.offer.min_bid(&instance.machine);
    let most = 32.0 * f64::from(instance.offer.gpus);
    let price = match call.body.get("price") {
        None | Some(Value::Null) => floor,
        Some(value) => match number(value).filter(|price| *price > 0.0 && *price <= most) {
            Some(price) => price,
            None => {
                return Reply::error(
                    400,
                    "invalid_price",
                    format!("price: expected more than 0 and at most {most}"),
                );
            }
        },
    };
    note_instance(state, call, id);
    state.bill_one(id, call.now);
    let mut waits = false;
    if let Some(instance) = state.alive_mut(id) {
        instance.launch.bid = Some(price);
        waits = instance.phase == Phase::Queued && price >= floor;
    }
    // A bid alone does not bring back what was outbid, seen live; a start that waits for it does.
    if waits {
        state.restart(id, false, call.now);
    }
    Reply::ok(json!({"success": true}))
}

/// `PUT /instances/update_template/{id}/`: re-creates the container with what was given.
pub(crate) fn update(state: &mut State, call: &Call, id: u64) -> Reply {
    if state.alive(id).is_none() {
        return Reply::no_such_instance(id);
    }
    let env = match call.body.get("env") {
        None => None,
        given => match parse_env(given) {
            Ok(env) => Some(env),
            Err(reply) => return reply,
        },
    };
    note_instance(state, call, id);
    let text = |name: &str| call.body.get(name).and_then(Value::as_str).map(str::to_owned);
    if let Some(instance) = state.alive_mut(id) {
        let launch = &mut instance.launch;
        launch.env = env.unwrap_or_else(|| std::mem::take(&mut launch.env));
        launch.image = text("image").unwrap_or_else(|| std::mem::take(&mut launch.image));
        launch.onstart = text("onstart").or_else(|| launch.onstart.take());
        launch.template_hash_id = text("template_hash_id").or_else(|| launch.template_hash_id.take());
        if let Some(args) = text("args") {
            launch.args = args.split_whitespace().map(str::to_owned).collect();
        }
    }
    let stopped = state.alive(id).is_some_and(|it| it.phase == Phase::Stopped);
    if !stopped {
        state.restart(id, true, call.now);
    }
    let updated = state.alive(id).map(|it| {
        json!({"id": id, "image": it.launch.image, "env": it.launch.env, "onstart": it.launch.onstart,
            "args": it.launch.args, "template_hash_id": it.launch.template_hash_id})
    });
    Reply::ok(json!({"success": true, "updated_instance": updated}))
}
