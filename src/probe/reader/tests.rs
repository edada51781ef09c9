mod fuzz;

use proptest::prelude::*;

use super::*;

fn read(bytes: &[u8]) -> Result<Page, Malformed> {
    let mut reader = Reader::default();
    reader.feed(bytes)?;
    reader.finish()
}

fn page(status: u16, body: &str, keep: bool) -> Result<Page, Malformed> {
    Ok(Page { status, body: body.into(), keep })
}

#[test]
fn every_framing_is_read() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", page(200, "hi", true)),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", page(200, "hi", false)),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: Close\r\n\r\nhi", page(200, "hi", false)),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi more", page(200, "hi", false)),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nhi", page(200, "hi", true)),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", page(200, "until the end", false)),
        ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", page(200, "", true)),
        ("HTTP/1.1 204 No Content\r\n\r\n", page(204, "", true)),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\nHTTP/1.1 503 Busy\r\ncontent-length: 1\r\n\r\n!",
            page(503, "!", true),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n",
            page(200, "hi!", true),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\ntrailer: x\r\n\r\n",
            page(200, "hi", true),
        ),
    ] {
        assert_eq!(read(answer.as_bytes()), expected, "{answer}");
    }
}

#[test]
fn what_breaks_the_rules_is_malformed() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (answer, why) in [
        ("SSH-2.0".into(), "not HTTP/1.x"),
        ("HTTP/2.0 200 OK\r\n\r\n".into(), "not HTTP/1.x"),
        ("HTTP/1.1 abc\r\n\r\n".into(), "not HTTP: invalid response status"),
        ("".into(), "cut short"),
        ("HTTP/1.1 200 OK\r\ncontent-".into(), "cut short"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi".into(), "cut short"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 2\r\n\r\nhi".into(),
            "contradicting lengths",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nhi".into(), "invalid length"),
        ("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nhi".into(), "invalid length"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n".into(),
            "body larger than 256 KiB",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n".into(),
            "both a length and a transfer coding",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n".into(),
            "a transfer coding that nobody offered",
        ),
        ("HTTP/1.1 101 Switching\r\n\r\n".into(), "switches protocols, which nobody asked for"),
        (format!("{chunked}2;{}\r\nhi\r\n0\r\n\r\n", "x".repeat(300)), "invalid chunk size"),
        (format!("{chunked}zz\r\n"), "invalid chunk size"),
        (format!("{chunked}1;{}", "x".repeat(300)), "invalid chunk size"),
        (format!("{chunked}1\r\nhi\r\n0\r\n\r\n"), "a chunk is longer than announced"),
        (format!("{chunked}ffffffffffffffff\r\n{}", "x".repeat(300_000)), "body larger than 256 KiB"),
        (format!("{chunked}2\r\nhi\r\n0\r\n"), "cut short"),
        (format!("{chunked}0\r\n{}", "a: b\r\n".repeat(4000)), "head larger than 16 KiB"),
        (format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(BODY_MAX + 1)), "body larger than 256 KiB"),
        (format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(4000)), "head larger than 16 KiB"),
        (format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101)), "more than 100 header lines"),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), "head larger than 16 KiB"),
    ] {
        assert_eq!(
            read(answer.as_bytes()),
            Err(why.into()),
            "{}",
            answer.chars().take(99).collect::<String>()
        );
    }
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        cuts in prop::collection::vec(0_usize..200, 0..8),
        sized: bool,
    ) {
        let body = chunks.concat();
        let mut answer = Vec::new();
        if sized {
            answer.extend(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes());
            answer.extend(&body);
        } else {
            answer.extend(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            for chunk in &chunks {
                answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                answer.extend(chunk);
                answer.extend(b"\r\n");
            }
            answer.extend(b"0\r\n\r\n");
        }
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(answer.len())).collect();
        cuts.extend([0, answer.len()]);
        cuts.sort_unstable();
        let mut reader = Reader::default();
        let mut done = false;
        for cut in cuts.windows(2) {
            prop_assert!(!done || cut[0] == answer.len());
            done = reader.feed(&answer[cut[0]..cut[1]]).unwrap();
        }
        prop_assert!(done);
        prop_assert_eq!(reader.finish().unwrap(), Page { status: 200, body, keep: true });
    }

    #[test]
    fn no_bytes_make_it_panic_or_grow(
        line in prop_oneof![Just("HTTP/1.1 200 OK\r\n"), Just("HTTP/1.1 100 C\r\n\r\n"), Just("")],
        headers in "(transfer-encoding: chunked\r\n|content-length: [0-9]{1,9}\r\n|x: y\r\n|\r\n){0,4}",
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
    ) {
        let mut reader = Reader::default();
        let mut alive = reader.feed(format!("{line}{headers}").as_bytes()).is_ok();
        for piece in &pieces {
            alive = alive && reader.feed(piece).is_ok();
            prop_assert!(reader.page.body.len() <= BODY_MAX && reader.pending.len() <= HEAD_MAX + 4000);
        }
    }
}
