//! Hostile bodies and queries against every handler.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::route::{Routed, route};
use super::{Call, dispatch, endpoint_names};
use crate::config::{MarketConfig, SimConfig};
use crate::world::State;

/// JSON with the API's own member names, so that handlers look at what they get.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(Value::from("running")),
        Just(Value::from("rm -rf /")),
    ];
    let name = prop::sample::select(vec![
        "image",
        "disk",
        "env",
        "label",
        "price",
        "onstart",
        "args",
        "state",
        "ids",
        "instance_ids",
        "q",
        "limit",
        "order",
        "type",
        "eq",
        "in",
        "gte",
        "num_gpus",
        "ssh_key",
        "amount",
        "tail",
        "command",
        "runtype",
    ]);
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(name.clone(), inner, 0..6).prop_map(|members| {
                members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<Map<_, _>>()
                    .into()
            }),
        ]
    })
}

fn paths() -> Vec<(&'static str, &'static str)> {
    vec![
        ("POST", "/api/v0/bundles/"),
        ("PUT", "/api/v0/search/asks/"),
        ("PUT", "/api/v0/asks/26000000/"),
        ("POST", "/api/v0/asks/bulk/"),
        ("PUT", "/api/v0/launch_instance/"),
        ("GET", "/api/v1/instances/"),
        ("PUT", "/api/v0/instances/20000001/"),
        ("PUT", "/api/v0/instances/"),
        ("DELETE", "/api/v0/instances/"),
        ("PUT", "/api/v0/instances/bid_price/20000001/"),
        ("PUT", "/api/v0/instances/prepay/20000001/"),
        ("PUT", "/api/v0/instances/update_template/20000001/"),
        ("PUT", "/api/v0/instances/request_logs/20000001/"),
        ("PUT", "/api/v0/instances/command/20000001/"),
        ("POST", "/api/v0/instances/20000001/ssh/"),
        ("POST", "/api/v0/ssh/"),
        ("PUT", "/api/v0/machines/31000/report"),
    ]
}

proptest! {
    #[test]
    fn no_body_and_no_query_makes_a_handler_panic(
        bodies in prop::collection::vec((prop::sample::select(paths()), any_json()), 1..12),
        query in prop::collection::hash_map(
            prop::sample::select(vec!["limit", "after_token", "select_filters", "order_by", "select_cols", "q"]),
            prop_oneof!["\\PC{0,20}", any_json().prop_map(|json| json.to_string())],
            0..3,
        ),
    ) {
        let market = MarketConfig { min_offers: 40, ..MarketConfig::default() };
        let mut state = State::new(SimConfig { market, ..SimConfig::default() }, 1_000_000.0);
        for (seq, ((method, path), body)) in bodies.into_iter().enumerate() {
            let Routed::Endpoint(endpoint) = route(method, path) else { panic!("{method} {path} is an endpoint") };
            prop_assert!(endpoint_names().contains(&endpoint.name()));
            let call = Call {
                seq: seq as u64,
                now: 1_000_000.0 + seq as f64,
                query: query.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<HashMap<_, _>>(),
                body,
                bad_json: false,
                base_url: "http://127.0.0.1:1".to_owned(),
            };
            state.advance(call.now);
            let reply = dispatch(&mut state, &endpoint, &call);
            prop_assert!(reply.status().is_some_and(|status| (200..500).contains(&status)), "{:?}", reply);
        }
    }
}
