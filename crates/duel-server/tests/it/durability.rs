//! Crashes at any instant: no accepted bet is lost, none is paid twice, no cent appears or disappears.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;

use crate::harness::{Player, Server, Setup, audit};

/// Crashes per run; `DUEL_KILLS` asks for more.
fn kills() -> u64 {
    std::env::var("DUEL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(25)
}

/// Bets until the server is gone; says how many bets were acknowledged.
pub async fn bet_until_the_end(server: Arc<Server>, player: Player, seed: u64) -> i64 {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut acknowledged = 0;
    loop {
        let market = server.client.get(server.url("/api/v1/market")).send().await;
        let Ok(market) = market else { return acknowledged };
        let Ok(market) = market.json::<serde_json::Value>().await else { return acknowledged };
        let Some(duel) = market["duelId"].as_i64() else { continue };
        for _ in 0..10 {
            let side = if dice.bool() { "a" } else { "b" };
            let body = serde_json::json!({ "duelId": duel, "side": side, "amountCents": dice.i64(1..50) });
            let request =
                server.client.post(server.url("/api/v1/bets")).bearer_auth(&player.token).json(&body);
            match request.send().await {
                Ok(response) => acknowledged += i64::from(response.status() == StatusCode::CREATED),
                Err(_) => return acknowledged,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_instants_under_betting_load_the_books_always_balance() {
    let setup = Setup::new().cycle(1, 60, 20, 20).with("JWT_SECRET", "0123456789abcdef0123456789abcdef");
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut acknowledged = 0;
    for round in 0..kills() {
        let server = Arc::new(setup.start());
        let bettors: Vec<_> = futures_util::future::join_all((0..4).map(|_| server.join())).await;
        let load: Vec<_> = bettors
            .into_iter()
            .map(|player| tokio::spawn(bet_until_the_end(Arc::clone(&server), player, dice.u64(..))))
            .collect();
        // The instant of the crash is the point of the test, so here time is the input and not a synchronisation.
        tokio::time::sleep(Duration::from_micros(dice.u64(0..250_000))).await;
        server.signal("KILL");
        for bettor in load {
            acknowledged += bettor.await.expect("the bettor ends");
        }
        drop(server);
        let books = audit(&setup);
        let recorded = books["books"]["bets"].as_i64().expect("a count");
        assert!(
            recorded >= acknowledged,
            "round {round}, seed {seed}: {recorded} of {acknowledged} bets are there"
        );
    }
    assert!(acknowledged > 0, "there was load");
    let server = setup.start();
    assert_eq!(server.admin("enter", None).await.0, StatusCode::OK);
    let books = audit(&setup);
    assert_eq!(books["books"]["staked"], 0, "every interrupted market was resolved or refunded");
    server.crash();
}

/// Lets the countdown end in which a server was killed: how long nobody was there is an input, not a wait of the test.
fn end_countdown(setup: &Setup) {
    let database = rusqlite::Connection::open(setup.folder.path().join("duel.db")).expect("opened");
    let ended = database.execute("UPDATE duels SET phase_ends_at = opened_at WHERE ended_at IS NULL", ());
    assert_eq!(ended.expect("written"), 1);
}

#[tokio::test]
async fn an_interrupted_duel_goes_on_with_its_bets() {
    let setup =
        Setup::new().cycle(50, 600_000, 100, 100).with("JWT_SECRET", "0123456789abcdef0123456789abcdef");
    let server = setup.start();
    let (ann, bob) = (server.join().await, server.join().await);
    let duel = server.open_duel().await;
    assert_eq!(server.bet(&ann, duel, "a", 700, "k").await.0, StatusCode::CREATED);
    assert_eq!(server.bet(&bob, duel, "b", 300, "k").await.0, StatusCode::CREATED);
    server.crash();

    let server = setup.start();
    assert!(server.log().contains("after it crashed or was killed"), "{}", server.log());
    let (status, body) = server.bet(&ann, duel, "a", 700, "k").await;
    assert_eq!(status, StatusCode::OK, "the same key is the same bet, also after a crash: {body}");
    server.crash();

    end_countdown(&setup);
    let server = setup.start();
    server.until("the end of the duel", "/api/v1/market", |body| body["duelId"].as_i64() != Some(duel)).await;
    let balances = [server.balance(&ann).await, server.balance(&bob).await];
    assert!(balances == [100_300, 99_700] || balances == [99_300, 100_700], "{balances:?}");
    audit(&setup);
}

#[tokio::test]
async fn a_duel_interrupted_for_too_long_is_refunded() {
    let setup = Setup::new()
        .cycle(50, 600_000, 100, 100)
        .with("DUEL_RESUME_LIMIT_MS", "1")
        .with("JWT_SECRET", "0123456789abcdef0123456789abcdef");
    let server = setup.start();
    let player = server.join().await;
    let duel = server.open_duel().await;
    assert_eq!(server.bet(&player, duel, "a", 700, "k").await.0, StatusCode::CREATED);
    server.crash();
    end_countdown(&setup);
    let server = setup.start();
    assert!(server.log().contains("it crashed"), "{}", server.log());
    assert_eq!(server.balance(&player).await, 100_000);
    let (_, history) = server.get("/api/v1/duels").await;
    let line =
        history["duels"].as_array().expect("lines").iter().find(|line| line["duelId"] == duel).cloned();
    assert!(line.is_some_and(|line| line["winner"].is_null() && !line["endedAt"].is_null()));
    audit(&setup);
}

#[tokio::test]
async fn a_second_server_on_the_same_database_is_refused() {
    let setup = Setup::new();
    let _first = setup.start();
    let Err(log) = setup.try_start(&[]) else { panic!("two servers on one database") };
    assert!(log.contains("another server holds the lock"), "{log}");
}

#[tokio::test]
async fn migrations_are_shown_run_and_validated() {
    let setup = Setup::new();
    let migrate = |step: &str| {
        let output = setup.command().args(["migrate", step]).output().expect("run");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert!(migrate("status").1.contains("pending"));
    assert_eq!(migrate("validate").0, Some(1), "a database without its schema is not valid");
    assert_eq!(migrate("run").0, Some(0));
    let (code, text) = migrate("validate");
    assert!(code == Some(0) && text.contains("applied"), "{text}");
}
