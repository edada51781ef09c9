//! An exchange's result in the words of `fleet::provider`: who may believe what.
//!
//! The rule for what costs money: "created" needs the provider's explicit success with an id, "refused" needs its own
//! error envelope (or its known 429 text) and no trace of a contract, "not sent" needs proof. All else is ambiguous.

use serde_json::{Map, Value};

use super::{
    error::{Meaning, Refusal, fault, is_own_throttle_text, throttled},
    transport::{Reply, Silence},
    wire::id_of,
};
use crate::fleet::{
    name::InstanceId,
    provider::{CreateAnswer, DestroyAnswer, ProviderFault, StartAnswer},
    units::millis,
};

/// Client errors that the provider's own application gives; others (408, 409, 499, …) may come from an
/// intermediary that passed the request on, or mean that it was done before.
const REFUSING: [u16; 10] = [400, 401, 402, 403, 404, 405, 410, 411, 422, 429];

/// What became of a create.
pub(super) fn create(result: Result<Reply, Silence>) -> CreateAnswer {
    let reply = match result {
        Ok(reply) => reply,
        Err(silence) => {
            return match unsent(&silence) {
                Some(why) => CreateAnswer::NotSent(why),
                None => CreateAnswer::Ambiguous(spoken(&silence)),
            };
        }
    };
    let Some(object) = reply.json.as_ref().and_then(Value::as_object) else {
        let may_have_rented = reply.text.contains("new_contract") || says_queued(&reply.text);
        if reply.status == 429 && is_own_throttle_text(&reply.text) && !may_have_rented {
            return CreateAnswer::Refused(throttled(&reply));
        }
        return CreateAnswer::Ambiguous(unreadable(&reply));
    };
    let refusal = Refusal::read(object);
    if let Some(id) = object.get("new_contract").and_then(id_of).map(InstanceId) {
        let succeeded =
            (200..300).contains(&reply.status) && object.get("success") == Some(&Value::Bool(true));
        return match refusal {
            None if succeeded => CreateAnswer::Created(id),
            Some(refusal) => CreateAnswer::CreatedBroken(id, refusal.detail()),
            None => CreateAnswer::CreatedBroken(id, format!("status {} without success", reply.status)),
        };
    }
    if mentions_contract(object) {
        return CreateAnswer::Ambiguous(format!("status {} with a contract we cannot read", reply.status));
    }
    match refusal {
        Some(refusal) => refused(&reply, &refusal),
        None => CreateAnswer::Ambiguous(format!("status {} without a contract or an error", reply.status)),
    }
}

/// A create's error envelope without a contract.
fn refused(reply: &Reply, refusal: &Refusal) -> CreateAnswer {
    let meaning = refusal.meaning();
    let reliable = match reply.status {
        // A 200 that says `success: false` is an answer of the same application, but only a reason we know rules out
        // that something was rented.
        200 => meaning != Meaning::Other,
        status => REFUSING.contains(&status),
    };
    if meaning == Meaning::Queued
        || says_queued(&reply.text)
        || speaks_of_a_contract(reply)
        || !reliable
        || claims_success(reply)
    {
        return CreateAnswer::Ambiguous(format!("status {}: {}", reply.status, refusal.detail()));
    }
    match meaning {
        Meaning::OfferGone => CreateAnswer::OfferGone(refusal.detail()),
        Meaning::Auth
        | Meaning::Credit
        | Meaning::Throttled
        | Meaning::NoInstance
        | Meaning::Queued
        | Meaning::Already
        | Meaning::Other => CreateAnswer::Refused(fault(reply, refusal)),
    }
}

/// Whether the text has more of a contract than the one that is `null`: of a key that is given twice a JSON reader keeps
/// one value, and it need not be the contract's; and who speaks of one in other words may have rented one.
fn speaks_of_a_contract(reply: &Reply) -> bool {
    let none = reply.json.as_ref().and_then(|json| json.get("new_contract")).is_some_and(Value::is_null);
    reply.text.matches("new_contract").count() > usize::from(none)
}

/// A queued change may still happen, and bill, wherever in the answer it is said.
fn says_queued(text: &str) -> bool {
    text.to_lowercase().contains("state change queued")
}

fn claims_success(reply: &Reply) -> bool {
    reply.json.as_ref().and_then(|json| json.get("success")) == Some(&Value::Bool(true))
}

/// Whether anything below `object` is a contract, even one we cannot read.
fn mentions_contract(object: &Map<String, Value>) -> bool {
    object.iter().any(|(key, value)| {
        let nested = match value {
            Value::Object(inner) => mentions_contract(inner),
            Value::Array(items) => items.iter().filter_map(Value::as_object).any(mentions_contract),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        nested || (key.starts_with("new_contract") && !value.is_null())
    })
}

/// What became of a destroy.
pub(super) fn destroy(result: Result<Reply, Silence>) -> DestroyAnswer {
    let (fault, status, refusal) = match done_or_refused(result) {
        Ok(()) => return DestroyAnswer::Acknowledged,
        Err((fault, None)) => return DestroyAnswer::Failed(fault),
        Err((fault, Some((status, refusal)))) => (fault, status, refusal),
    };
    let unknown = match refusal.code.as_deref() {
        Some("no_such_instance") => status == 200 || (400..500).contains(&status),
        Some("not_found") => status == 404,
        _ => false,
    };
    if unknown { DestroyAnswer::Acknowledged } else { DestroyAnswer::Failed(fault) }
}

/// The outcome of a call that only has to succeed.
pub(super) fn done(result: Result<Reply, Silence>) -> Result<(), ProviderFault> {
    done_or_refused(result).map_err(|(fault, _)| fault)
}

/// The outcome of attaching a key, which may be there already.
pub(super) fn attached(result: Result<Reply, Silence>) -> Result<(), ProviderFault> {
    match done_or_refused(result) {
        Err((_, Some((_, refusal)))) if refusal.meaning() == Meaning::Already => Ok(()),
        other => other.map_err(|(fault, _)| fault),
    }
}

/// Success is 204, or 200 with `success: true`; a page of HTML with status 200 is none.
fn done_or_refused(result: Result<Reply, Silence>) -> Result<(), (ProviderFault, Option<(u16, Refusal)>)> {
    let reply = result.map_err(|silence| (silent(&silence), None))?;
    let refusal = reply.json.as_ref().and_then(Value::as_object).and_then(Refusal::read);
    match (reply.status, refusal) {
        (204, _) => Ok(()),
        (200, None) if claims_success(&reply) => Ok(()),
        (status @ (200 | 400..500), Some(refusal)) => Err((fault(&reply, &refusal), Some((status, refusal)))),
        _ => Err((unusable(&reply), None)),
    }
}

/// What became of a start. The provider answers a start that must wait for its GPU with 200 and `success: false`.
pub(super) fn started(result: Result<Reply, Silence>) -> StartAnswer {
    match done_or_refused(result) {
        Ok(()) => StartAnswer::Starting,
        Err((_, Some((_, refusal)))) if refusal.meaning() == Meaning::Queued => {
            StartAnswer::Queued(refusal.detail())
        }
        Err((fault, _)) => StartAnswer::Failed(fault),
    }
}

/// The object of a successful read.
pub(super) fn object(result: Result<Reply, Silence>) -> Result<Map<String, Value>, ProviderFault> {
    let reply = result.map_err(|silence| silent(&silence))?;
    let refusal = reply.json.as_ref().and_then(Value::as_object).and_then(Refusal::read);
    match (reply.status, refusal) {
        (200 | 400..500, Some(refusal)) => Err(fault(&reply, &refusal)),
        (200, None) => match reply.json {
            Some(Value::Object(object)) => Ok(object),
            _ => Err(ProviderFault::Malformed { detail: unreadable(&reply) }),
        },
        _ => Err(unusable(&reply)),
    }
}

/// The fault of an answer that does not carry the provider's envelope, or is a server's error.
fn unusable(reply: &Reply) -> ProviderFault {
    match reply.status {
        429 => throttled(reply),
        500.. => ProviderFault::Unreachable { detail: format!("status {}", reply.status) },
        300..400 => ProviderFault::Malformed {
            detail: format!("a redirect (status {}), which is not followed", reply.status),
        },
        _ => ProviderFault::Malformed { detail: unreadable(reply) },
    }
}

/// Describes an answer without quoting it: a success may hold keys.
fn unreadable(reply: &Reply) -> String {
    let form = match &reply.json {
        Some(Value::Object(_)) => "an unexpected JSON object",
        Some(_) => "JSON that is no object",
        None if reply.text.trim().is_empty() => "nothing",
        None if reply.text.trim_start().starts_with('<') => "HTML",
        None => "no JSON",
    };
    format!("status {} with {form} ({} bytes)", reply.status, reply.text.len())
}

/// Why a call was provably not sent, if it was not.
fn unsent(silence: &Silence) -> Option<String> {
    match silence {
        Silence::NoTurn(_) | Silence::Expired | Silence::NotSent(_) => Some(spoken(silence)),
        Silence::Lost(_) | Silence::TooLong(_) => None,
    }
}

fn spoken(silence: &Silence) -> String {
    match silence {
        Silence::NoTurn(wait) => {
            format!("not sent: the provider's spacing leaves no turn for {} ms", millis(*wait))
        }
        Silence::Expired => "not sent: it had expired".to_owned(),
        Silence::NotSent(why) => format!("not sent: {why}"),
        Silence::Lost(why) => why.clone(),
        Silence::TooLong(limit) => format!("an answer of more than {limit} bytes"),
    }
}

fn silent(silence: &Silence) -> ProviderFault {
    match silence {
        Silence::NoTurn(wait) => ProviderFault::RateLimited { retry_after_ms: Some(millis(*wait)) },
        Silence::Expired | Silence::NotSent(_) | Silence::Lost(_) => {
            ProviderFault::Unreachable { detail: spoken(silence) }
        }
        Silence::TooLong(_) => ProviderFault::Malformed { detail: spoken(silence) },
    }
}
