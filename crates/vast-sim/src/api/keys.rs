//! SSH keys: of the account (for new instances) and of single instances.

use serde_json::{Value, json};

use super::Call;
use super::reply::Reply;
use crate::boxes::{BoxCommand, Deed};
use crate::world::State;
use crate::world::account::AccountKey;
use crate::world::instance::AttachedKey;

/// The one user of the simulator.
pub(crate) const USER_ID: u64 = 424_242;

fn key_of(call: &Call) -> Option<String> {
    let key = call.body.get("ssh_key").and_then(Value::as_str)?.trim();
    let is_key = ["ssh-", "ecdsa-", "sk-"].iter().any(|kind| key.starts_with(kind)) && !key.contains('\n');
    is_key.then(|| key.to_owned())
}

fn bad_key() -> Reply {
    Reply::error(400, "invalid_args", "ssh_key: expected a public key in OpenSSH format")
}

fn act(state: &mut State, id: u64, deed: Deed) {
    state.command(id, BoxCommand::Do { deed, fault: None, reply: None });
}

/// `GET /instances/{id}/ssh/`: the keys as JSON *text*.
pub(crate) fn of_instance(state: &State, id: u64) -> Reply {
    let Some(instance) = state.alive(id) else { return Reply::no_such_instance(id) };
    let keys = instance.keys.iter().map(|key| json!({"id": key.id, "public_key": key.public_key}));
    let keys = Value::Array(keys.collect());
    Reply::ok(json!({"success": true, "ssh_keys": keys.to_string()}))
}

/// `POST /instances/{id}/ssh/`; repeating is harmless, and writes the key to the box again.
pub(crate) fn attach(state: &mut State, call: &Call, id: u64) -> Reply {
    let Some(key) = key_of(call) else { return bad_key() };
    let new_id = state.small_id();
    let Some(instance) = state.alive_mut(id) else { return Reply::no_such_instance(id) };
    let known = instance.keys.iter().any(|attached| attached.public_key == key);
    if !known {
        instance.keys.push(AttachedKey { id: new_id, public_key: key.clone() });
    }
    act(state, id, Deed::AddKey(key));
    let message =
        if known { "SSH key already attached to instance." } else { "SSH key attached to instance." };
    Reply::ok(json!({"success": true, "msg": message}))
}

/// `DELETE /instances/{id}/ssh/{key}/`.
pub(crate) fn detach(state: &mut State, id: u64, key: u64) -> Reply {
    let Some(instance) = state.alive_mut(id) else { return Reply::no_such_instance(id) };
    let Some(at) = instance.keys.iter().position(|attached| attached.id == key) else {
        return Reply::error(400, "no_ssh_key", "SSH key not found");
    };
    let gone = instance.keys.remove(at);
    act(state, id, Deed::RemoveKey(gone.public_key));
    Reply::ok(json!({"success": true, "msg": "SSH key detached from instance."}))
}

fn account_row(key: &AccountKey) -> Value {
    json!({"id": key.id, "user_id": USER_ID, "key": key.public_key, "public_key": key.public_key,
        "created_at": key.created_at, "deleted_at": null})
}

/// `GET /ssh/`: a bare array, 404 when there is none.
pub(crate) fn of_account(state: &State) -> Reply {
    if state.account.keys.is_empty() {
        return Reply::Json(404, json!({"success": false, "msg": "No SSH keys found for the user."}));
    }
    Reply::ok(state.account.keys.iter().map(account_row).collect())
}

/// `POST /ssh/`: only instances rented from now on get the key.
pub(crate) fn add(state: &mut State, call: &Call) -> Reply {
    let Some(public_key) = key_of(call) else { return bad_key() };
    if let Some(known) = state.account.keys.iter().find(|key| key.public_key == public_key) {
        return Reply::ok(json!({"success": true, "key": account_row(known)}));
    }
    let key = AccountKey { id: state.small_id(), public_key, created_at: call.now };
    let row = account_row(&key);
    state.account.keys.push(key);
    Reply::ok(json!({"success": true, "key": row}))
}

/// `PUT /ssh/{id}/`.
pub(crate) fn change(state: &mut State, call: &Call, id: u64) -> Reply {
    let Some(public_key) = key_of(call) else { return bad_key() };
    let Some(key) = state.account.keys.iter_mut().find(|key| key.id == id) else {
        return Reply::error(400, "no_ssh_key", "SSH key not found");
    };
    key.public_key = public_key;
    let row = account_row(key);
    Reply::ok(json!({"success": true, "key": row}))
}

/// `DELETE /ssh/{id}/`.
pub(crate) fn delete(state: &mut State, id: u64) -> Reply {
    let before = state.account.keys.len();
    state.account.keys.retain(|key| key.id != id);
    if state.account.keys.len() == before {
        return Reply::error(400, "no_ssh_key", "SSH key not found");
    }
    Reply::ok(json!({"success": true}))
}
