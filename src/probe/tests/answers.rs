//! What each kind of answer, or its absence, is taken for.

use super::*;

#[tokio::test]
async fn every_bad_answer_is_a_failure_with_its_reason() {
    let unreachable = |detail: &str| Verdict::Failing(Failure::Unreachable { detail: detail.into() });
    let malformed = |detail: &str| Verdict::Failing(Failure::Malformed { detail: detail.into() });
    let condition = |detail: &str| Verdict::Failing(Failure::Condition { detail: detail.into() });
    let head = |line: &str| format!("HTTP/1.1 {line}\r\n\r\n").into_bytes();
    let too_large = malformed("body larger than 256 KiB");
    let long_head = malformed("head larger than 16 KiB");
    for (story, act, expected) in [
        (
            "closes after the request",
            Act::AnswerThenClose(vec![]),
            unreachable("connection closed without an answer"),
        ),
        ("speaks SSH", Act::AnswerThenClose(b"SSH-2.0-OpenSSH\r\n".into()), malformed("not HTTP/1.x")),
        (
            "cut short",
            Act::AnswerThenClose(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"inst".into()),
            malformed("cut short"),
        ),
        ("announces too much", Act::Answer(head("200 OK\r\ncontent-length: 99999999999")), too_large.clone()),
        (
            "never stops",
            Act::Flood(
                head("200 OK\r\ntransfer-encoding: chunked"),
                format!("1000\r\n{}\r\n", "x".repeat(4096)).into(),
            ),
            too_large.clone(),
        ),
        (
            "never stops without a length",
            Act::Flood(head("200 OK\r\nconnection: close"), vec![b'x'; 8192]),
            too_large,
        ),
        (
            "endless head",
            Act::Flood(b"HTTP/1.1 200 OK\r\n".into(), b"x-y: zzzzzzzzzzzzzzzz\r\n".repeat(9)),
            long_head.clone(),
        ),
        ("endless header", Act::Flood(b"HTTP/1.1 200 OK\r\nx: ".into(), vec![b'x'; 4096]), long_head),
        (
            "redirects",
            Act::Answer(head("302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0")),
            condition("[STATUS] (302) == 200"),
        ),
        (
            "error page",
            Act::Answer(head("503 Busy\r\ncontent-length: 0")),
            condition("[STATUS] (503) == 200"),
        ),
        (
            "compressed, which nobody asked for",
            Act::Answer(
                head("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4")
                    .into_iter()
                    .chain(*b"\x1f\x8b\x08\0")
                    .collect(),
            ),
            Verdict::Failing(Failure::Impostor { got: None }),
        ),
        (
            "somebody else",
            Act::Answer(ok(r#"{"instance":"other"}"#)),
            Verdict::Failing(Failure::Impostor { got: Some("other".into()) }),
        ),
        ("maintenance", Act::Answer(ok(r#"{"instance":"op","maintenance":true}"#)), Verdict::Maintenance),
        ("large but allowed", Act::Answer(ok(&format!("{}{WELL}", " ".repeat(200_000)))), Verdict::Healthy),
        ("sends a continue first", Act::Answer([head("100 Continue"), ok(WELL)].concat()), Verdict::Healthy),
    ] {
        assert_eq!(verdict_of(act, policy()).await, expected, "{story}");
    }
}

#[tokio::test]
async fn a_connection_closed_at_once_is_unreachable() {
    // Whether it looks like an end or like a reset depends on which of the two packets is first.
    let verdict = verdict_of(Act::Close, policy()).await;
    assert!(matches!(verdict, Verdict::Failing(Failure::Unreachable { .. })), "{verdict:?}");
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_unreachable() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (prober, mut reports) = prober(8);
    prober.watch(watched("n", address, policy())).unwrap();
    let expected = Verdict::Failing(Failure::Unreachable { detail: "connection refused".into() });
    assert_eq!(next(&mut reports).await.observation.verdict, expected);
}

#[tokio::test]
async fn the_timeout_covers_the_whole_answer() {
    let policy = HealthPolicy { timeout: Duration::from_millis(150), ..policy() };
    let expected = Verdict::Failing(Failure::Timeout { limit_ms: 150 });
    for act in [Act::Hang, Act::Dribble(ok(WELL))] {
        assert_eq!(verdict_of(act, policy.clone()).await, expected);
    }
}
