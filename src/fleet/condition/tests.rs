use std::time::Duration;

mod fuzz;

use proptest::prelude::*;

use super::*;

const BODY: &str = r#"{"database":"connected","n":5,"hash":"1e2","big":9007199254740993,"none":null,"ok":true,
    "peers":[{"name":"a, b"},{"name":"c"}],"queue":{"deep":{"er":[1,[2,3]]}}}"#;

fn verdict(condition: &str, status: u16, took_ms: u64, body: &str) -> Result<(), String> {
    let condition: Condition = condition.parse().unwrap_or_else(|e| panic!("{condition}: {e}"));
    condition.evaluate(&Answer::new(status, Duration::from_millis(took_ms), body.as_bytes()))
}

#[test]
fn conditions_of_every_kind_hold() {
    for condition in [
        "[STATUS] == 200",
        "200==[STATUS]",
        "[STATUS] == any(200, 204)",
        "[STATUS] == pat(2*)",
        "[STATUS] != 503",
        "[RESPONSE_TIME] < 5000",
        "5000 > [RESPONSE_TIME]",
        "[RESPONSE_TIME] <= 42",
        "[RESPONSE_TIME] >= 42",
        "[CONNECTED] == true",
        "[BODY].database == connected",
        "[BODY].database != disconnected",
        "[BODY].database == pat(conn*ed)",
        "[BODY].n == 5.0",
        "[BODY].n > 4.5",
        "[BODY].big > 9007199254740992",
        "[BODY].ok == true",
        "[BODY].peers[0].name == \"a, b\"",
        "[BODY].peers[0].name == a, b",
        "[BODY].peers[0].name != [BODY].peers[1].name",
        "[BODY].queue.deep.er[1][0] == 2",
        "[BODY].queue == pat({*)",
        "[BODY] == pat(*connected*)",
        "len([BODY].peers) == 2",
        "len([BODY].database) >= 9",
        "len([BODY]) == 8",
        "has([BODY].n) == true",
        "has([BODY].none) == false",
        "has([BODY].n.deeper) == false",
        "opt([BODY].missing) == connected",
        "opt([BODY].database) == connected",
        "[BODY].database == any(active, pat(*nect*), \"x)\")",
        "[BODY].database != any(active, pat(dis*))",
    ] {
        assert_eq!(verdict(condition, 200, 42, BODY), Ok(()), "{condition}");
    }
}

#[test]
fn what_does_not_hold_says_what_was_seen() {
    for (condition, explanation) in [
        ("[STATUS] == 200", "[STATUS] (503) == 200"),
        ("[RESPONSE_TIME] < 40", "[RESPONSE_TIME] (42) < 40"),
        ("[BODY].database == lost", "[BODY].database (connected) == lost"),
        ("opt([BODY].database) == lost", "opt([BODY].database) (connected) == lost"),
        ("[BODY].hash == 100", "[BODY].hash (1e2) == 100"),
        ("[BODY].n == pat(6*)", "[BODY].n (5) == pat(6*)"),
        ("len([BODY].peers) == any(0, 1)", "len([BODY].peers) (2) == any(0, 1)"),
        ("len([BODY].ok) > 0", "len([BODY].ok) (missing) > 0"),
        ("has([BODY].n) == false", "has([BODY].n) (true) == false"),
        ("[BODY].n == [BODY].database", "[BODY].n (5) == [BODY].database (connected)"),
        ("[BODY].n == [BODY].gone", "[BODY].n (5) == [BODY].gone (missing)"),
        ("[BODY].database < 5", "[BODY].database (connected) < 5"),
    ] {
        assert_eq!(verdict(condition, 503, 42, BODY), Err(explanation.into()));
    }
}

#[test]
fn an_absent_field_fails_every_comparison() {
    for op in ["==", "!=", "<", "<=", ">", ">="] {
        for body in [BODY, "", "<html>", "[1", "null", "7"] {
            let condition = format!("[BODY].absent {op} 10");
            assert_eq!(verdict(&condition, 200, 1, body), Err(format!("[BODY].absent (missing) {op} 10")));
        }
    }
}

#[test]
fn an_explanation_is_short_and_printable() {
    let body = format!("\u{1b}[31m{}", "x".repeat(500));
    let explanation = verdict("[BODY] == ok", 200, 1, &body).unwrap_err();
    assert!(explanation.chars().count() < 120 && !explanation.contains('\u{1b}'), "{explanation}");
}

#[test]
fn a_bad_condition_names_the_column() {
    for (text, column, part) in [
        ("", 1, "value is missing"),
        ("[STATUSS] < 300", 1, "unknown placeholder `[STATUSS]`"),
        ("[STATUS] = 200", 10, "no operator"),
        ("[STATUS]", 9, "no operator"),
        ("[STATUS] ==", 12, "value is missing"),
        ("[STATUS] == ok", 12, "value does not fit"),
        ("[RESPONSE_TIME] < 5s", 18, "value does not fit"),
        ("[STATUS] == 200 == 300", 17, "unexpected `== 300`"),
        ("200 == 200", 1, "no placeholder"),
        ("lenn([BODY].a) == 1", 1, "unknown function `lenn`"),
        ("len([STATUS]) == 1", 5, "len() of something other"),
        ("len([BODY].a == 1", 14, "`)` is missing"),
        ("[BODY].é[x] == 1", 10, "index"),
        ("[BODY]. == 1", 8, "name is missing"),
        ("[BODY].a == \"b", 14, "quote is not closed"),
        ("[BODY].a == \"\\n\"", 15, "unknown escape"),
        ("[BODY].a < any(1, 2)", 9, "operator does not fit"),
        ("[BODY].a > pat(1*)", 9, "operator does not fit"),
        ("has([BODY].a) == yes", 17, "value does not fit"),
        ("[CONNECTED] > false", 12, "operator does not fit"),
        ("[BODY].a == b(c)", 13, "unknown function `b`"),
        ("[BODY].a == any(b, c", 21, "`)` is missing"),
        ("[IP] == 127.0.0.1", 1, "unknown placeholder"),
    ] {
        let error = text.parse::<Condition>().unwrap_err();
        assert!(error.column == column && error.problem.contains(part), "{text}: {error}");
        assert!(!error.hint.is_empty());
    }
}

#[test]
fn the_preset_passes_both_server_generations_while_well() {
    let failing = |status, body: &str| -> Vec<String> {
        let answer = Answer::new(status, Duration::from_millis(10), body.as_bytes());
        Condition::preset().iter().filter_map(|condition| condition.evaluate(&answer).err()).collect()
    };
    for well in [
        r#"{"status":"healthy","database":"connected","websocket":"active","maintenance":false}"#,
        r#"{"status":"healthy","database":"connected","websocket":"running","instance":"abc"}"#,
        r#"{"status":"ok","uptime":1.5,"maintenanceMode":false,"database":{"healthy":null,"status":"skipped"}}"#,
        r#"{"status":"degraded","database":{"healthy":true,"latencyMs":3}}"#,
        r#"{"status":"ok","database":null}"#,
        r#"{"status":"degraded","database":"slow","websocket":"active","instance":null}"#,
        r#"{"ok":true}"#,
        "{}",
        "ok",
    ] {
        assert_eq!(failing(200, well), Vec::<String>::new(), "{well}");
    }
    for (sick, reason) in [
        (
            r#"{"database":"disconnected"}"#,
            "opt([BODY].database) (disconnected) == any(connected, slow, true, pat({*))",
        ),
        (r#"{"database":false}"#, "opt([BODY].database) (false) == any(connected, slow, true, pat({*))"),
        (r#"{"database":{"healthy":false}}"#, "opt([BODY].database.healthy) (false) != false"),
        (
            r#"{"websocket":"stopped"}"#,
            "opt([BODY].websocket) (stopped) == any(running, active, true, pat({*))",
        ),
        (r#"{"status":"unhealthy"}"#, "opt([BODY].status) (unhealthy) != unhealthy"),
    ] {
        assert_eq!(failing(200, sick), vec![reason.to_owned()]);
    }
    assert_eq!(failing(503, "{}"), vec!["[STATUS] (503) == 200".to_owned()]);
}

#[test]
fn the_preset_and_serde_speak_the_same_text() {
    for condition in Condition::preset() {
        let text = serde_json::to_string(&condition).unwrap();
        assert_eq!(serde_json::from_str::<Condition>(&text).unwrap(), condition);
        assert_eq!(condition.to_string().parse::<Condition>().unwrap(), condition);
    }
    assert!(serde_json::from_str::<Condition>("\"[STATUS] ~ 200\"").is_err());
}

fn subject() -> impl Strategy<Value = Subject> {
    let hop = prop_oneof![
        "[a-zA-Z_é-]{1,6}".prop_map(Hop::Key),
        any::<u16>().prop_map(|index| Hop::Index(index.into())),
    ];
    let body = prop::collection::vec(hop, 0..4).prop_map(Place::Body);
    let function = prop_oneof![
        Just(None),
        Just(Some(Function::Len)),
        Just(Some(Function::Has)),
        Just(Some(Function::Opt))
    ];
    prop_oneof![
        (function, body).prop_map(|(function, place)| Subject { function, place }),
        prop_oneof![Just(Place::Status), Just(Place::ResponseTime), Just(Place::Connected)]
            .prop_map(|place| Subject { function: None, place }),
    ]
}

fn sensible() -> impl Strategy<Value = Condition> {
    let text =
        || prop_oneof![any::<String>(), "[a-z ,()\"\\\\*<=]{0,8}", "-?[0-9]{1,4}", Just("true".to_owned())];
    let choice = || prop_oneof![text().prop_map(Choice::Literal), text().prop_map(Choice::Pattern)];
    let op = prop_oneof![Just(Op::Eq), Just(Op::Ne), Just(Op::Lt), Just(Op::Le), Just(Op::Gt), Just(Op::Ge)];
    let expected = prop_oneof![
        choice().prop_map(Expected::One),
        prop::collection::vec(choice(), 1..4).prop_map(Expected::Any),
        subject().prop_map(Expected::Subject),
    ];
    (subject(), op, expected)
        .prop_map(|(subject, op, expected)| Condition { subject, op, expected })
        .prop_filter("senseless", |condition| {
            condition.to_string().len() < 1000 && parse::is_sensible(condition)
        })
}

proptest! {
    #[test]
    fn every_condition_reads_back(condition in sensible()) {
        prop_assert_eq!(condition.to_string().parse::<Condition>(), Ok(condition));
    }

    #[test]
    fn no_text_and_no_body_make_it_panic(text in any::<String>(), body in any::<Vec<u8>>(), condition in sensible()) {
        let _ = text.parse::<Condition>();
        let answer = Answer::new(200, Duration::ZERO, &body);
        let _ = condition.evaluate(&answer);
    }

    #[test]
    fn near_misses_fail_without_panic(text in "(\\[(STATUS|BODY|X)\\]|len\\(|any\\(|pat\\(|[.\\[\\])(\",a1*]| == | < ){0,12}") {
        if let Ok(condition) = text.parse::<Condition>() {
            prop_assert_eq!(condition.to_string().parse::<Condition>(), Ok(condition));
        }
    }

    #[test]
    fn a_pattern_matches_what_it_was_made_from(parts in prop::collection::vec("[ab]{0,3}", 1..5), gaps in prop::collection::vec("[abc]{0,3}", 5)) {
        let text: String = parts.iter().zip(&gaps).map(|(part, gap)| format!("{part}{gap}")).collect();
        let pattern = format!("{}*", parts.join("*"));
        prop_assert!(matches(&pattern, &text), "{} {}", pattern, text);
    }
}
