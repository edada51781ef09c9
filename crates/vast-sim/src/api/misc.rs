//! The rest: the user, prepayment, machine reports, names, templates.

use serde_json::{Value, json};

use super::Call;
use super::keys::USER_ID;
use super::reply::Reply;
use crate::query::number;
use crate::world::State;

/// The most a prepayment takes off the GPU price, and the months of rent that earn it.
const MOST_DISCOUNT: f64 = 0.4;
const MONTHS_FOR_MOST: f64 = 6.0;
const HOURS_PER_MONTH: f64 = 720.0;

/// `GET /users/current/`.
pub(crate) fn user(state: &State) -> Reply {
    let credit = state.account.credit;
    Reply::ok(json!({
        "id": USER_ID,
        "username": "sim",
        "email": "sim@example.com",
        "email_verified": true,
        "fullname": "Simulated User",
        // Old versions of the official CLI crash without this member.
        "api_key": "***",
        "credit": credit.max(0.0),
        "balance": credit.min(0.0),
        "balance_threshold": 1.0,
        "balance_threshold_enabled": false,
        "autobill_amount": 0.0,
        "autobill_threshold": 0.0,
        "billed_expected": state.account.spent,
        "billed_verified": 0.0,
        "billing_creditonly": 1,
        "billaddress_city": null,
        "billaddress_country": "US",
        "billaddress_line1": null,
        "billaddress_line2": null,
        "billaddress_taxinfo": null,
        "billaddress_zip": null,
        "billaddress_state": null,
        "can_pay": false,
        "has_billing": true,
        "has_payout": false,
        "host_agreement_accepted": false,
        "paypal_email": null,
        "phone_number": null,
        "sid": null,
        "ssh_key": state.account.keys.first().map(|key| &key.public_key),
        "total_spent": state.account.spent,
    }))
}

/// `GET /gpu_names/unique/`.
pub(crate) fn gpu_names(state: &State) -> Reply {
    Reply::ok(json!({"gpu_names": state.market.gpu_names()}))
}

/// `PUT /instances/prepay/{id}/`: moves credit into the contract for a lower price.
pub(crate) fn prepay(state: &mut State, call: &Call, id: u64) -> Reply {
    let Some(amount) = call.body.get("amount").and_then(number).filter(|amount| *amount > 0.0) else {
        return Reply::error(400, "invalid_args", "amount: expected a number above zero");
    };
    if state.account.credit < amount {
        return Reply::Json(411, json!({"success": false, "msg": "Insufficient credit"}));
    }
    state.bill_one(id, call.now);
    let Some(instance) = state.alive_mut(id) else { return Reply::no_such_instance(id) };
    instance.deposit += amount;
    let list_price = instance.offer.dph_base(&instance.machine);
    let months = instance.deposit / (list_price * HOURS_PER_MONTH);
    instance.discount = MOST_DISCOUNT * (months / MONTHS_FOR_MOST).min(1.0);
    let reply = json!({"success": true, "timescale": months, "discount_rate": instance.discount});
    state.account.credit -= amount;
    Reply::ok(reply)
}

/// `GET /instances/balance/{id}/`.
pub(crate) fn deposit(state: &State, id: u64) -> Reply {
    let Some(instance) = state.alive(id) else { return Reply::no_such_instance(id) };
    Reply::ok(json!({
        "success": true,
        "refundable_deposit": instance.deposit,
        "total_discount": instance.discount,
        "discount_months": instance.discount / MOST_DISCOUNT * MONTHS_FOR_MOST,
    }))
}

/// `GET /machines/{id}/reports`.
pub(crate) fn reports(state: &State, machine: u64) -> Reply {
    if !state.market.has_machine(machine) {
        return Reply::error(404, "not_found", format!("Machine {machine} not found."));
    }
    Reply::ok(Value::Array(state.reports.get(&machine).cloned().unwrap_or_default()))
}

/// `PUT /machines/{id}/report`.
pub(crate) fn report(state: &mut State, call: &Call, machine: u64) -> Reply {
    if !state.market.has_machine(machine) {
        return Reply::error(404, "not_found", format!("Machine {machine} not found."));
    }
    let text = |name: &str| call.body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let row = json!({"problem": text("problem"), "message": text("message"), "created_at": call.now});
    state.reports.entry(machine).or_default().push(row);
    Reply::ok(json!({"success": true}))
}

/// `GET /template/`: this market has none.
pub(crate) fn templates() -> Reply {
    Reply::ok(json!({"success": true, "templates_found": 0, "templates": []}))
}
