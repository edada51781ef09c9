//! Bad input and bad clients: a clear refusal or a closed socket, never a panic, never a lost cent.

use std::io::ErrorKind;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Server, Setup, answer, audit};

fn is_problem(status: StatusCode, body: &Value) -> bool {
    body["status"] == status.as_u16()
        && body["type"].as_str().is_some_and(|it| it.starts_with("urn:duel:problem:"))
}

#[tokio::test]
async fn bets_that_cannot_be_are_problems_and_cost_nothing() {
    let setup = Setup::new().cycle(50, 600_000, 100, 50);
    let server = setup.start();
    let player = server.join().await;
    let duel = server.open_duel().await;
    let bodies = [
        (json!({ "duelId": duel, "side": "a", "amountCents": 0 }), 422),
        (json!({ "duelId": duel, "side": "a", "amountCents": -5 }), 422),
        (json!({ "duelId": duel, "side": "a", "amountCents": i64::MAX }), 422),
        (json!({ "duelId": duel, "side": "a", "amountCents": i64::MIN }), 422),
        (json!({ "duelId": duel, "side": "a", "amountCents": 100_001 }), 422),
        (json!({ "duelId": duel, "side": "a", "amountCents": 1.5 }), 400),
        (json!({ "duelId": duel, "side": "a", "amountCents": 1e300 }), 400),
        (json!({ "duelId": duel, "side": "a", "amountCents": "5" }), 400),
        (json!({ "duelId": duel, "side": "c", "amountCents": 5 }), 400),
        (json!({ "duelId": duel, "side": "a" }), 400),
        (json!({ "duelId": duel, "side": "a", "amountCents": 5, "payout": 5 }), 400),
        (json!({ "duelId": duel + 1, "side": "a", "amountCents": 5 }), 409),
        (json!({ "duelId": i64::MIN, "side": "a", "amountCents": 5 }), 409),
        (json!([]), 400),
        (json!([duel, "a", 5]), 400),
        (json!(null), 400),
    ];
    for (body, expected) in bodies {
        let request = server.request(Method::POST, "/api/v1/bets").bearer_auth(&player.token).json(&body);
        let (status, problem) = answer(request).await;
        assert!(status == expected && is_problem(status, &problem), "{body}: {status} {problem}");
    }
    for raw in ["", "{", "{\"duelId\":NaN}", "\u{0}", "{\"duelId\":1,\"duelId\":1}", &"[".repeat(10_000)] {
        let request = server.request(Method::POST, "/api/v1/bets").bearer_auth(&player.token);
        let request = request.header("content-type", "application/json").body(raw.to_owned());
        let (status, problem) = answer(request).await;
        assert!(status == 400 && is_problem(status, &problem), "{status} {problem}");
    }
    for key in ["", "with space", &"x".repeat(65)] {
        let body = json!({ "duelId": duel, "side": "a", "amountCents": 5 });
        let request = server.request(Method::POST, "/api/v1/bets").bearer_auth(&player.token).json(&body);
        let (status, problem) = answer(request.header("idempotency-key", key)).await;
        assert!(status == 400 && is_problem(status, &problem), "{key:?}: {status} {problem}");
    }
    assert_eq!(server.balance(&player).await, 100_000);
    audit(&setup);
}

#[tokio::test]
async fn overdrafts_by_many_bets_at_once_are_impossible() {
    let setup = Setup::new().cycle(50, 600_000, 100, 50);
    let server = setup.start();
    let player = server.join().await;
    let duel = server.open_duel().await;
    let keys: Vec<String> = (0..100).map(|number| format!("key-{number}")).collect();
    let bets = keys.iter().map(|key| server.bet(&player, duel, "a", 3_000, key));
    let accepted = futures_util::future::join_all(bets).await;
    let accepted = accepted.iter().filter(|(status, _)| *status == StatusCode::CREATED).count();
    assert_eq!(accepted, 33, "100,000 cents are 33 bets of 3,000");
    assert_eq!(server.balance(&player).await, 1_000);
    let again =
        futures_util::future::join_all((0..20).map(|_| server.bet(&player, duel, "b", 500, "same"))).await;
    let created = again.iter().filter(|(status, _)| *status == StatusCode::CREATED).count();
    assert_eq!(created, 1, "one key is one bet, however often it is sent");
    assert_eq!(server.balance(&player).await, 500);
    audit(&setup);
}

#[tokio::test]
async fn tokens_that_are_not_ours_are_refused() {
    let server = Setup::new().start();
    let mine = server.join().await.token;
    let stranger = Setup::new().start().join().await.token;
    for token in ["", "x", "a.b.c", &stranger, &mine[..mine.len() - 2], &"x".repeat(5_000)] {
        let request = server.request(Method::GET, "/api/v1/account").bearer_auth(token);
        let response = request.send().await.expect("answered");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{token}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
}

#[tokio::test]
async fn unknown_paths_methods_types_and_sizes_are_problems() {
    let server = Setup::new().start();
    let (status, problem) = server.get("/nope").await;
    assert!(status == 404 && is_problem(status, &problem), "{problem}");
    let response = server.request(Method::DELETE, "/health").send().await.expect("answered");
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(response.headers()["allow"].to_str().expect("text").contains("GET"));
    let join = || server.request(Method::POST, "/api/v1/players");
    let (status, problem) = answer(join().header("content-type", "text/plain").body("{}")).await;
    assert!(status == 415 && is_problem(status, &problem), "{problem}");
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(100_000));
    let (status, problem) = answer(join().header("content-type", "application/json").body(large)).await;
    assert!(status == 413 && is_problem(status, &problem), "{problem}");
    for name in ["", "   ", "a\u{7}b", &"é".repeat(33)] {
        let (status, problem) = answer(join().json(&json!({ "name": name }))).await;
        assert!(status == 400 && is_problem(status, &problem), "{name:?}: {problem}");
    }
    for query in ["limit=0", "limit=101", "limit=-1", "limit=x", "before=0", "before=99999999999999999999"] {
        let (status, problem) = server.get(&format!("/api/v1/duels?{query}")).await;
        assert!(status == 400 && is_problem(status, &problem), "{query}: {problem}");
    }
}

#[tokio::test]
async fn rate_limits_answer_429_with_the_time_to_wait_and_spare_health() {
    let server = Setup::new().with("DISABLE_RATE_LIMIT", "false").start();
    let joins = (0..20)
        .map(|_| answer(server.request(Method::POST, "/api/v1/players").json(&json!({ "name": "p" }))));
    let refused = futures_util::future::join_all(joins).await;
    assert!(refused.iter().any(|(status, body)| *status == 429 && is_problem(*status, body)));
    for _ in 0..400 {
        assert_eq!(server.get("/health").await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_allowed_by_list_only() {
    let server = Setup::new().with("CORS_ORIGINS", "https://duel.example").start();
    let from =
        |origin: &'static str| server.request(Method::GET, "/api/v1/market").header("origin", origin).send();
    let allowed = from("https://duel.example").await.expect("answered");
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://duel.example");
    for origin in ["https://evil.example", "null", "https://duel.example.evil.example"] {
        let refused = from(origin).await.expect("answered");
        assert!(!refused.headers().contains_key("access-control-allow-origin"), "{origin}");
    }
    let preflight = server
        .request(Method::OPTIONS, "/api/v1/bets")
        .header("origin", "https://duel.example")
        .header("access-control-request-method", "POST")
        .send()
        .await
        .expect("answered");
    assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
    let headers = preflight.headers()["access-control-allow-headers"].to_str().expect("text").to_owned();
    assert!(headers.contains("authorization") && !headers.contains("x-admin-code"), "{headers}");
}

/// Writes `head` and reads until the server closes; gives what it said.
async fn raw(server: &Server, head: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    // The server may refuse before everything is written.
    let _ = stream.write_all(head).await;
    let mut said = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("closed in time");
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn requests_that_are_not_http_are_answered_400_or_cut() {
    let server = Setup::new().start();
    let long = [b"GET /".as_slice(), &vec![b'a'; 64 * 1024], b" HTTP/1.1\r\n\r\n"].concat();
    let many = [b"GET / HTTP/1.1\r\n".as_slice(), &b"a: b\r\n".repeat(20_000), b"\r\n"].concat();
    for head in [
        b"\r\n\r\n\x00\xff\xfe".as_slice(),
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST /api/v1/players HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        &long,
        &many,
    ] {
        let said = raw(&server, head).await;
        let refused = said.is_empty() || said.starts_with("HTTP/1.1 4");
        assert!(refused, "{:?} answered with {said}", String::from_utf8_lossy(&head[..head.len().min(60)]));
    }
    assert_eq!(server.get("/health").await.0, StatusCode::OK);
}

fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

#[tokio::test]
async fn half_open_connections_and_slow_bodies_neither_block_others_nor_stay() {
    let server = Setup::new().start();
    raise_file_limit();
    let mut half_open = Vec::new();
    for _ in 0..10_000 {
        match TcpStream::connect(server.address).await {
            Ok(stream) => half_open.push(stream),
            // This process has run out of files: enough of them, and the tests beside this one need some.
            Err(_) => {
                half_open.truncate(half_open.len().saturating_sub(200));
                break;
            }
        }
    }
    assert!(half_open.len() > 500, "only {} connections could be opened", half_open.len());
    println!("{} half-open connections", half_open.len());
    let mut slow = half_open.pop().expect("open");
    let head = b"POST /api/v1/players HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n{";
    slow.write_all(head).await.expect("written");
    assert_eq!(server.get("/health").await.0, StatusCode::OK);
    // Those that are slow are sent away after ten seconds; whoever had waited for them would find them gone.
    for waiting in [Some(&slow), half_open.last()] {
        let read = waiting.expect("open").try_read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::WouldBlock), "others wait");
    }
    let mut said = Vec::new();
    timeout(PATIENCE, slow.read_to_end(&mut said)).await.expect("ended in time").expect("read");
    assert!(String::from_utf8_lossy(&said).starts_with("HTTP/1.1 408"), "{}", String::from_utf8_lossy(&said));
    for mut stream in half_open {
        let mut byte = [0];
        let ended = timeout(PATIENCE, stream.read(&mut byte)).await.expect("cut in time");
        assert!(matches!(ended, Ok(0) | Err(_)));
    }
}
