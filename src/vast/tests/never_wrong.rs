//! Whatever a provider, a proxy or chance answers, a create is never called created or refused wrongly.

use proptest::prelude::*;
use serde_json::Value;

use crate::{
    fleet::provider::{CreateAnswer, DestroyAnswer},
    vast::{
        answers,
        list::Pages,
        offers,
        transport::{Reply, Silence},
    },
};

const WORDS: [&str; 16] = [
    "no_such_ask",
    "auth_error",
    "insufficient_credit",
    "invalid_args",
    "no_such_instance",
    "not_found",
    "rate_limit_exceeded",
    "resources_unavailable",
    "error 404/3603: no_such_ask",
    "API requests too frequent endpoint threshold=4.5",
    "Required resources are currently unavailable, state change queued.",
    "is no longer available",
    "Invalid user key",
    "",
    "<html>",
    "7",
];
const KEYS: [&str; 10] = [
    "success",
    "error",
    "msg",
    "message",
    "detail",
    "new_contract",
    "new_contracts",
    "results",
    "ask_id",
    "x",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![prop::sample::select(&WORDS[..]).prop_map(str::to_owned), any::<String>()]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..10).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let key = prop::sample::select(&KEYS[..]).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(&KEYS[..]).prop_map(str::to_owned);
    prop::collection::btree_map(key, value(), 0..6).prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn body() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => object().prop_map(|value| value.to_string()),
        1 => value().prop_map(|value| value.to_string()),
        1 => (object(), any::<prop::sample::Index>()).prop_map(|(value, at)| {
            let text = value.to_string();
            text.chars().take(at.index(text.chars().count())).collect()
        }),
        1 => word(),
    ]
}

/// An instance's or offer's row of which one field is whatever.
fn row() -> impl Strategy<Value = Value> {
    const FIELDS: [&str; 16] = [
        "id",
        "machine_id",
        "host_id",
        "label",
        "actual_status",
        "dph_total",
        "cur_state",
        "status_msg",
        "gpu_name",
        "num_gpus",
        "public_ipaddr",
        "ports",
        "ssh_host",
        "ssh_port",
        "end_date",
        "verified",
    ];
    (1u64..9, prop::sample::select(&FIELDS[..]), value(), prop::option::of(value())).prop_map(|(id, field, odd, port)| {
        let mut row = serde_json::json!({
            "id": id, "machine_id": 5, "host_id": 9, "label": "x", "actual_status": "running", "dph_total": 0.35,
            "gpu_name": "L4", "num_gpus": 1, "ports": {"22/tcp": [{"HostPort": port}], "80/tcp": port},
        });
        row[field] = odd;
        row
    })
}

fn status() -> impl Strategy<Value = u16> {
    prop_oneof![
        prop::sample::select(&[200u16, 204, 301, 400, 401, 403, 404, 408, 409, 410, 429, 500, 502, 503][..]),
        100u16..600
    ]
}

fn reply(status: u16, text: &str) -> Reply {
    Reply { status, text: text.to_owned(), json: serde_json::from_str(text).ok(), retry_after: None }
}

/// A contract anywhere in the text: the oracle looks at the letters, not at the structure.
fn names_a_contract(text: &str) -> bool {
    text.match_indices("\"new_contract").any(|(at, _)| {
        let after = text[at + 1..].split_once(':').map_or("", |(_, after)| after.trim_start());
        !after.starts_with("null")
    })
}

/// The oracle of a create's answer.
pub(super) fn create_is_not_misjudged(status: u16, text: &str) {
    let answer = answers::create(Ok(reply(status, text)));
    let json: Option<Value> = serde_json::from_str(text).ok();
    let top = |key: &str| json.as_ref().and_then(|json| json.get(key)).cloned().unwrap_or_default();
    match answer {
        CreateAnswer::Created(id) => {
            assert!((200..300).contains(&status));
            assert_eq!(top("success"), Value::Bool(true));
            let said = top("new_contract");
            let said = said.as_str().map_or_else(|| said.to_string(), |text| text.trim().to_owned());
            let said = said.parse::<u64>().unwrap_or_else(|_| said.parse::<f64>().unwrap() as u64);
            assert_eq!(said, id.0);
            assert!(id.0 > 0);
        }
        CreateAnswer::CreatedBroken(id, _) => {
            assert!(id.0 > 0 && names_a_contract(text));
        }
        CreateAnswer::OfferGone(_) | CreateAnswer::Refused(_) => {
            assert!(!names_a_contract(text), "a contract was overlooked");
            assert!(status == 200 || (400..500).contains(&status), "status {status}");
            assert!(![408, 409, 499].contains(&status));
            assert!(!text.to_lowercase().contains("state change queued"));
            assert_ne!(top("success"), Value::Bool(true));
            let own_text =
                status == 429 && text.trim_start().to_lowercase().starts_with("api requests too frequent");
            assert!(json.as_ref().is_some_and(Value::is_object) || own_text);
        }
        CreateAnswer::NotSent(why) => panic!("an answer proves that it was sent: {why}"),
        CreateAnswer::Ambiguous(_) => {}
    }
}

/// The oracle of a destroy's answer.
pub(super) fn destroy_is_not_misjudged(status: u16, text: &str) {
    if answers::destroy(Ok(reply(status, text))) == DestroyAnswer::Acknowledged {
        let json: Option<Value> = serde_json::from_str(text).ok();
        let top = |key: &str| json.as_ref().and_then(|json| json.get(key)).cloned().unwrap_or_default();
        let error = top("error");
        let unsaid = error.as_str().is_none_or(|error| error.trim().is_empty());
        let succeeded = status == 200 && top("success") == Value::Bool(true) && unsaid;
        let named = error.as_str().map(str::trim);
        let unknown = (status == 200 || (400..500).contains(&status)) && named == Some("no_such_instance");
        assert!(status == 204 || succeeded || unknown || (status == 404 && named == Some("not_found")));
    }
}

proptest! {
    // A failure prints its smallest input; what was found so becomes a row of the other tests, not a file.
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_create_is_never_misjudged(status in status(), text in body()) {
        create_is_not_misjudged(status, &text);
    }

    #[test]
    fn a_destroy_is_never_acknowledged_by_a_stranger(status in status(), text in body()) {
        destroy_is_not_misjudged(status, &text);
    }

    #[test]
    fn silence_after_sending_is_ambiguous_and_only_that(why in any::<String>(), limit: usize) {
        for (silence, sent) in [
            (Silence::Lost(why.clone()), true),
            (Silence::TooLong(limit), true),
            (Silence::NotSent(why), false),
            (Silence::Expired, false),
            (Silence::NoTurn(std::time::Duration::from_secs(1)), false),
        ] {
            match answers::create(Err(silence.clone())) {
                CreateAnswer::Ambiguous(_) => prop_assert!(sent, "{:?}", silence),
                CreateAnswer::NotSent(_) => prop_assert!(!sent, "{:?}", silence),
                other => prop_assert!(false, "{:?} became {:?}", silence, other),
            }
        }
    }

    #[test]
    fn no_list_is_longer_or_shorter_than_it_says(
        rows in prop::collection::vec(row(), 0..4),
        total in prop_oneof![(0u64..5).prop_map(Value::from), value()],
        next in prop_oneof![Just(Value::Null), value()],
    ) {
        let page = serde_json::json!({"instances": rows, "offers": rows, "total_instances": total, "next_token": next});
        let page = page.as_object().unwrap();
        let _ = offers::decode(page, offers::Kind::OnDemand);
        let _ = offers::decode(page, offers::Kind::Interruptible);
        let mut pages = Pages::default();
        if pages.add(page).is_ok() && let Ok(rentals) = pages.finish() {
            prop_assert_eq!(Value::from(rentals.len()), total);
            prop_assert_eq!(rentals.len(), rows.len());
            prop_assert!(rentals.windows(2).all(|pair| pair[0].id < pair[1].id));
            for (rental, port) in rentals.iter().flat_map(|rental| rental.ports.iter().map(move |port| (rental, port))) {
                prop_assert!(*port.0 > 0 && *port.1 > 0, "{:?}", rental);
            }
        }
    }
}
