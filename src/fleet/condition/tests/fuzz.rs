//! Fuzzing of the two small languages of the configuration, conditions and searches. The oracle: what is accepted reads
//! back from its own text, and a refusal names a column inside the text.

use std::time::Duration;

use crate::{
    fleet::{
        condition::{Answer, Condition, parse},
        query::Query,
    },
    fuzz_tests::{Target, fuzz},
};

const WORDS: &[&str] = &[
    "[STATUS]",
    "[RESPONSE_TIME]",
    "[CONNECTED]",
    "[BODY]",
    "[BODY].database",
    "[BODY].peers[0].name",
    "len(",
    "has(",
    "opt(",
    "any(",
    "pat(",
    "pat(*)",
    " == ",
    " != ",
    " <= ",
    " >= ",
    " < ",
    " > ",
    "\"a \\\" b\"",
    "true",
    "200",
    ")",
    "]",
    "\u{e9}",
    "\u{2028}",
];

#[test]
fn fuzz_condition() {
    let bodies: [&[u8]; 4] = [
        br#"{"database":"connected","peers":[{"name":"a"}],"number":1e2,"truth":true,"nothing":null}"#,
        b"plain text",
        b"",
        &[0xff, 0xfe, 0x00],
    ];
    let answers = bodies.map(|body| Answer::new(200, Duration::from_millis(7), body));
    let must =
        &["accepted and holds", "accepted and fails", "refused: no operator", "refused: unknown placeholder"];
    fuzz(&Target { name: "condition", words: WORDS, must, weight: 1 }, |input| {
        let text = String::from_utf8_lossy(input);
        match Condition::try_from(text.to_string()) {
            Err(fault) => {
                assert!((1..=text.chars().count() + 1).contains(&fault.column), "{fault} in {text:?}");
                assert!(!fault.hint.is_empty());
                format!("refused: {}", fault.problem.chars().take(22).collect::<String>())
            }
            Ok(condition) => {
                assert!(parse::is_sensible(&condition));
                let shown = condition.to_string();
                // Its spaces may make the shown one longer than what may be written.
                if shown.chars().count() <= parse::LENGTH_MAX {
                    let again = Condition::try_from(shown.clone());
                    assert_eq!(again.as_ref(), Ok(&condition), "{text:?} is shown as {shown:?}");
                }
                let held = answers.iter().filter(|answer| condition.evaluate(answer).is_ok()).count();
                let word = if held > 0 { "holds" } else { "fails" };
                format!("accepted and {word} {held} times, {}", shown.len() / 8)
            }
        }
    });
}

const SEARCH_WORDS: &[&str] = &[
    "num_gpus=1",
    "rented=False",
    "gpu_name in [RTX_4090,L4]",
    "geolocation=US",
    "cpu_ram>=16",
    "disk_space",
    " not in ",
    " notin ",
    " neq ",
    "[",
    "]",
    "\"",
    "any",
    "?",
    "*",
    "=",
    "<=",
    "1e9",
    ",",
    "\u{e9}",
];

#[test]
fn fuzz_search() {
    let must = &["accepted 1", "accepted 2", "refused"];
    fuzz(&Target { name: "search", words: SEARCH_WORDS, must, weight: 1 }, |input| {
        let text = String::from_utf8_lossy(input);
        match text.parse::<Query>() {
            Err(fault) => format!("refused: {}", fault.to_string().chars().take(22).collect::<String>()),
            Ok(query) => {
                let again: Query = query.to_string().parse().unwrap();
                assert_eq!(again, query, "{text:?}");
                format!("accepted {}", query.filters().len().min(20))
            }
        }
    });
}
