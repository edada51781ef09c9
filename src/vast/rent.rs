//! What a create asks for.

use serde_json::{Map, Value, json};

use crate::fleet::{
    name::{Label, OfferId},
    policy::RentalSpec,
    units::{Money, Timestamp},
};

/// One create. An on-demand rental names no price, so it cannot be bound in the request; it is seen in the list afterwards.
#[derive(Debug, Clone)]
pub struct CreateRequest<'a> {
    /// What is rented.
    pub offer: OfferId,
    /// The only mark by which it is found again: travels in the create itself, so that nothing is ever unlabelled.
    pub label: &'a Label,
    /// What it must be.
    pub rental: &'a RentalSpec,
    /// What is bid for it, in dollars per hour without storage; `None` rents it on demand.
    pub bid: Option<Money>,
    /// Not sent after this instant of the client's clock.
    pub not_after: Timestamp,
}

impl CreateRequest<'_> {
    /// The request's body (Vast.ai API, create). `env` is an object, in which a port is a key too; a string there is
    /// silently ignored. `cancel_unavail` makes an offer that cannot start fail instead of leaving a stopped rental.
    pub(super) fn body(&self) -> Value {
        let spec = self.rental;
        let mut env: Map<String, Value> =
            spec.env.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
        env.insert(format!("-p {0}:{0}", spec.port), "1".into());
        env.insert("INSTANCE_ID".into(), self.label.op.as_str().into());
        env.insert("VK_NODE".into(), self.label.node.as_str().into());
        let mut body = json!({
            "image": spec.image,
            "disk": spec.disk_gb,
            "label": self.label.to_string(),
            "env": env,
            "runtype": "ssh_direct",
            "target_state": "running",
            "cancel_unavail": true,
        });
        if let (Some(onstart), Some(body)) = (&spec.onstart, body.as_object_mut()) {
            body.insert("onstart".into(), onstart.as_str().into());
        }
        if let (Some(bid), Some(body)) = (self.bid, body.as_object_mut()) {
            body.insert("price".into(), bid.dollars().into());
        }
        body
    }
}
