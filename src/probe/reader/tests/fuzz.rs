//! Fuzzing of a server's answer, from the bytes on the wire to the verdict.
//!
//! The oracle: bytes in any pieces read the same; no page is larger than allowed; *healthy* and *maintenance* are said only
//! of a 200-like whole answer that names this box.

use std::time::Duration;

use serde_json::Value;

use super::super::*;
use crate::{
    fleet::{
        condition::Condition,
        health::{IDENTITY_FIELD, Response as Answered, judge},
        name::OpId,
        policy::HealthPolicy,
        probe::Verdict,
    },
    fuzz_tests::{Target, fuzz},
};

const WORDS: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.0 503 Busy\r\n",
    "content-length: 2\r\n",
    "content-length: 262145\r\n",
    "transfer-encoding: chunked\r\n",
    "connection: close\r\n",
    "\r\n\r\n",
    "\n\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "ffffffffffffffff\r\n",
    "{\"instance\":\"aaaaaaaaaaa\"}",
    "\"instance\":\"aaaaaaaaaaa\"",
    "\"maintenance\":true",
    "\"status\":\"unhealthy\"",
    "\"database\":{\"healthy\":false}",
    "[[[[[[[[",
    "204",
    "304",
    "101",
];

#[test]
fn fuzz_health() {
    let must = &["healthy", "maintenance", "failing", "malformed: cut short", "malformed: body larger"];
    let identity: OpId = "aaaaaaaaaaa".parse().unwrap();
    let policy = HealthPolicy { conditions: Condition::preset(), ..HealthPolicy::default() };
    assert!(policy.require_identity);
    fuzz(&Target { name: "health", words: WORDS, must, weight: 3 }, |input| {
        let whole = read(input, &[]);
        let cuts: Vec<usize> = input.iter().take(6).map(|byte| usize::from(*byte)).collect();
        assert_eq!(read(input, &cuts), whole, "in pieces {cuts:?}");
        let page = match whole {
            Err(why) => return format!("malformed: {}", why.chars().take(30).collect::<String>()),
            Ok(page) => page,
        };
        assert!(page.body.len() <= BODY_MAX);
        let response = Answered { status: page.status, body: &page.body, took: Duration::from_millis(3) };
        let verdict = judge(&policy, &identity, response);
        let named = serde_json::from_slice::<Value>(&page.body).ok();
        let named = named.and_then(|body| Some(body.get(IDENTITY_FIELD)?.as_str()?.to_owned()));
        match verdict {
            Verdict::Healthy => {
                assert_eq!(page.status, 200);
                assert_eq!(named.as_deref(), Some("aaaaaaaaaaa"));
                format!("healthy, kept {}", page.keep)
            }
            Verdict::Maintenance => {
                assert_eq!(named.as_deref(), Some("aaaaaaaaaaa"));
                "maintenance".into()
            }
            Verdict::Failing(failure) => {
                let words = failure.to_string();
                assert!(words.chars().all(|c| !c.is_control()), "{words:?}");
                format!("failing: {}", words.chars().take(30).collect::<String>())
            }
        }
    });
}

/// Feeds the bytes in pieces of these lengths, then the rest at once. Bytes behind a whole answer only decide whether the
/// connection is kept, and those of a later piece may not have come yet when it is: that one difference is no difference.
fn read(input: &[u8], cuts: &[usize]) -> Result<Page, String> {
    let mut reader = Reader::default();
    let mut rest = input;
    for cut in cuts {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        reader.feed(piece)?;
        rest = after;
    }
    // The prober reads no further once it is whole; here all still comes, as it does when it comes at once.
    reader.feed(rest)?;
    reader.finish()
}
