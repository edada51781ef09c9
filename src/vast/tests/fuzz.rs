//! Fuzzing of what the provider answers. The oracle of a create and a destroy: never called done or refused wrongly.
//!
//! An input is a line with the status and then the body.

use serde_json::Value;

use super::never_wrong::{create_is_not_misjudged, destroy_is_not_misjudged};
use crate::{
    fleet::{
        provider::{CreateAnswer, DestroyAnswer, ProviderFault},
        units::Timestamp,
    },
    fuzz_tests::{Target, fuzz},
    vast::{answers, charges::ChargePages, list::Pages, offers, transport::Reply, wire},
};

const WORDS: &[&str] = &[
    "\"success\":true",
    "\"success\":false",
    "\"new_contract\":7",
    "\"new_contract\":\"8\"",
    "\"new_contract\":null",
    "\"new_contracts\":[]",
    "\"error\":\"no_such_ask\"",
    "\"error\":\"auth_error\"",
    "\"error\":\"no_such_instance\"",
    "\"error\":\"\"",
    "\"msg\":",
    "state change queued",
    "is no longer available",
    "API requests too frequent",
    "insufficient_credit",
    "429\n",
    "400\n",
    "404\n",
    "200\n",
    "500\n",
    "204\n",
    "null",
    "[{",
    "}]",
    "<html>",
    ",",
];

fn reply(input: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(input);
    let (status, text) = text.split_once('\n').unwrap_or(("200", &text));
    let status = status.trim().parse().ok().filter(|status| (100..600).contains(status)).unwrap_or(200);
    Reply { status, text: text.to_owned(), json: serde_json::from_str(text).ok(), retry_after: None }
}

fn kind(fault: &ProviderFault) -> &'static str {
    match fault {
        ProviderFault::Auth { .. } => "auth",
        ProviderFault::RateLimited { .. } => "rate limited",
        ProviderFault::Credit { .. } => "credit",
        ProviderFault::Refused { .. } => "refused",
        ProviderFault::Unreachable { .. } => "unreachable",
        ProviderFault::Malformed { .. } => "malformed",
    }
}

/// An answer's outcome and the shape of what gave it, so that a new shape joins the pool.
fn shape(reply: &Reply, outcome: &str) -> String {
    let keys = match &reply.json {
        Some(Value::Object(object)) => object.len().min(9).to_string(),
        Some(_) => "no object".into(),
        None => "no json".into(),
    };
    format!("{outcome} of {} with {keys}", reply.status / 100)
}

#[test]
fn fuzz_create() {
    let must = &["created", "broken", "gone", "refused auth", "refused credit", "refused rate", "ambiguous"];
    fuzz(&Target { name: "create", words: WORDS, must, weight: 1 }, |input| {
        let reply = reply(input);
        let outcome = match answers::create(Ok(reply.clone())) {
            CreateAnswer::Created(_) => "created".to_owned(),
            CreateAnswer::CreatedBroken(..) => "broken".into(),
            CreateAnswer::OfferGone(_) => "gone".into(),
            CreateAnswer::Refused(fault) => format!("refused {}", kind(&fault)),
            CreateAnswer::NotSent(_) => "not sent".into(),
            CreateAnswer::Ambiguous(_) => "ambiguous".into(),
        };
        create_is_not_misjudged(reply.status, &reply.text);
        shape(&reply, &outcome)
    });
}

#[test]
fn fuzz_destroy() {
    let must = &["done", "auth", "refused", "unreachable", "malformed"];
    fuzz(&Target { name: "destroy", words: WORDS, must, weight: 1 }, |input| {
        let reply = reply(input);
        let outcome = match answers::destroy(Ok(reply.clone())) {
            DestroyAnswer::Acknowledged => "done",
            DestroyAnswer::Failed(fault) => kind(&fault),
        };
        destroy_is_not_misjudged(reply.status, &reply.text);
        shape(&reply, outcome)
    });
}

const ROW_WORDS: &[&str] = &[
    "\"results\":[{\"source\":\"instance-7\",\"amount\":0.3,\"items\":[]}]",
    "\"total\":1",
    "\"type\":\"bwd\"",
    "\"id\":7",
    "\"label\":null",
    "\"label\":\"vk:prod:duel-0:aaaaaaaaaaa\"",
    "\"actual_status\":\"exited\"",
    "\"ports\":{\"22/tcp\":[{\"HostPort\":\"41022\"}]}",
    "\"total_instances\":1",
    "\"total_instances\":2",
    "\"next_token\":\"abc\"",
    "\"instances\":[]",
    "\"offers\":[]",
    "\"credit\":-1e9",
    "\"dph_total\":\"0.1\"",
    "\"gpu_ram\":",
    "null",
    "true",
    "{}",
    "[]",
    "\"",
    "\\u0000",
    ",",
];

#[test]
fn fuzz_reads() {
    let must = &["list", "list of 2", "page", "no list", "no whole list", "no object"];
    fuzz(&Target { name: "reads", words: ROW_WORDS, must, weight: 2 }, |input| {
        let Ok(Value::Object(page)) = serde_json::from_slice::<Value>(input) else {
            return "no object".into();
        };
        let found = offers::decode(&page, offers::Kind::Interruptible).map(|found| found.offers.len()).ok();
        let mut bill = ChargePages::default();
        if bill.add(&page).is_ok()
            && let Ok(charges) = bill.finish(Timestamp(0))
        {
            let rows = page["results"].as_array().map_or(0, Vec::len);
            assert!(charges.rows.len() <= rows, "{} charges of {rows} rows", charges.rows.len());
        }
        if let Ok(credit) = wire::credit(&page) {
            assert!(page.contains_key("credit"), "{credit:?}");
        }
        let mut pages = Pages::default();
        let listed = match pages.add(&page) {
            Err(fault) => return format!("no list, {found:?} offers: {}", first_words(&fault.to_string())),
            Ok(Some(cursor)) => {
                assert!(!cursor.is_empty());
                "page".into()
            }
            Ok(None) => match pages.finish() {
                Err(_) => "no whole list".into(),
                Ok(rentals) => {
                    assert_eq!(page["total_instances"], rentals.len(), "the provider counts otherwise");
                    assert_eq!(page["instances"].as_array().map(Vec::len), Some(rentals.len()));
                    assert!(rentals.windows(2).all(|pair| pair[0].id < pair[1].id));
                    for rental in &rentals {
                        assert!(rental.id.0 > 0 && rental.price.0 >= 0, "{rental:?}");
                        assert!(rental.ports.iter().all(|(inside, outside)| *inside > 0 && *outside > 0));
                        let proxy = rental.ssh_proxy.as_ref();
                        assert!(proxy.is_none_or(|(host, port)| *port > 0 && !host.starts_with('-')));
                        let shown = rental.message.iter().chain([&rental.gpu]);
                        assert!(shown.flat_map(|text| text.chars()).all(|c| !c.is_control()));
                    }
                    let status = rentals.first().map(|rental| rental.status.clone());
                    format!("list of {}, first {status:?}", rentals.len())
                }
            },
        };
        listed.chars().take(60).collect()
    });
}

fn first_words(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).take(24).collect()
}
