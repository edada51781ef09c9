//! The load benchmark: what one server on this machine carries, measured over loopback against its goals.
//!
//! `cargo bench -p duel-server` starts the real program (release build) again and again in a throwaway folder, loads it
//! from this process, prints one line per measurement and fails when a goal is missed. Server and load share the
//! machine, so the numbers are a lower bound. `cargo bench -p duel-server -- bets` runs only measurements whose name
//! contains the word.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, measures real time, and fails loudly"
)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Connections that load one server.
const CONNECTIONS: usize = 64;

/// How long each load lasts.
const LOAD: Duration = Duration::from_secs(4);

/// Turns between two loads that are compared.
const ROUNDS: u32 = 4;

/// WebSocket clients at once.
const VIEWERS: usize = 2_000;

/// A server process in its own folder.
struct Server {
    child: Child,
    address: SocketAddr,
    ready_after: Duration,
    _folder: TempDir,
}

impl Server {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let asked = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_duel-server"))
            .env_clear()
            .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("LOG_FORMAT", "json"), ("LOAD_TEST_MODE", "true")])
            .env("DATA_DIR", folder.path())
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| {
                let entry: Value = serde_json::from_str(&line).ok()?;
                (entry["message"] == "listening").then(|| entry["address"].as_str()?.parse().ok())?
            })
            .expect("it listens");
        std::thread::spawn(move || lines.for_each(drop));
        Connection::open(address).await.get("/health").await;
        Self { child, address, ready_after: asked.elapsed(), _folder: folder }
    }

    fn resident_megabytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("running");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number") / 1024.0
    }

    /// Asks for the stop and waits for the exit.
    fn stop(&mut self) -> (Duration, Option<i32>) {
        let asked = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        let status = self.child.wait().expect("waited for");
        (asked.elapsed(), status.code())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A keep-alive connection that asks one thing after the other.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        Self { stream, buffer: Vec::new() }
    }

    async fn get(&mut self, path: &str) -> (u16, Vec<u8>) {
        self.ask(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await
    }

    async fn post(&mut self, path: &str, token: &str, body: &str) -> (u16, Vec<u8>) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.ask(head.as_bytes()).await
    }

    async fn ask(&mut self, request: &[u8]) -> (u16, Vec<u8>) {
        self.stream.write_all(request).await.expect("written");
        self.buffer.clear();
        loop {
            assert!(self.stream.read_buf(&mut self.buffer).await.expect("read") > 0, "the server hung up");
            let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.expect("a length").trim().parse().expect("a number");
            if self.buffer.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
                return (status, self.buffer[end + 4..].to_vec());
            }
        }
    }
}

/// Requests a second of a path.
async fn requests_per_second(address: SocketAddr, path: &'static str) -> f64 {
    let count = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let load = (0..CONNECTIONS).map(|_| {
        let count = Arc::clone(&count);
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await;
            while started.elapsed() < LOAD / ROUNDS {
                assert_eq!(connection.get(path).await.0, 200);
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    join_all(load).await.into_iter().for_each(|task| task.expect("the load ran"));
    count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// An empty axum handler, served by a process of its own kind: this program, started again.
fn serve_empty() -> ! {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let app = axum::Router::new().route("/", axum::routing::get(|| async {}));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        println!("{}", socket.local_addr().expect("an address"));
        axum::serve(socket, app).await.expect("served");
    });
    unreachable!("the server serves until it is killed")
}

struct Measured {
    name: &'static str,
    value: f64,
    unit: &'static str,
    goal: f64,
    at_most: bool,
}

impl Measured {
    fn print(&self) -> bool {
        let reached = if self.at_most { self.value <= self.goal } else { self.value >= self.goal };
        let (sign, verdict) = (if self.at_most { "≤" } else { "≥" }, if reached { "ok" } else { "MISSED" });
        println!(
            "{:<28} {:>10.1} {:<10} goal {sign} {:<8} {verdict}",
            self.name, self.value, self.unit, self.goal
        );
        reached
    }
}

fn at_most(name: &'static str, value: f64, unit: &'static str, goal: f64) -> Measured {
    Measured { name, value, unit, goal, at_most: true }
}

fn at_least(name: &'static str, value: f64, unit: &'static str, goal: f64) -> Measured {
    Measured { name, value, unit, goal, at_most: false }
}

fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1;
    values[index]
}

async fn idle() -> Vec<Measured> {
    let mut starts = Vec::new();
    for _ in 0..10 {
        starts.push(Server::start(&[]).await.ready_after.as_secs_f64() * 1000.0);
    }
    let server = Server::start(&[]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    vec![
        at_most("start to /health 200, p90", percentile(&mut starts, 0.9), "ms", 150.0),
        at_most("idle memory", server.resident_megabytes(), "MB", 20.0),
    ]
}

async fn health() -> Vec<Measured> {
    let program = std::env::current_exe().expect("a path");
    let mut empty =
        Command::new(program).arg("--serve-empty").stdout(Stdio::piped()).spawn().expect("started");
    let mut line = String::new();
    BufReader::new(empty.stdout.take().expect("piped")).read_line(&mut line).expect("an address");
    let empty_address = line.trim().parse().expect("an address");
    let server = Server::start(&[]).await;
    // In turns, so that whatever else the machine does falls on both alike.
    let (mut baseline, mut ours) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        baseline += requests_per_second(empty_address, "/").await / f64::from(ROUNDS);
        ours += requests_per_second(server.address, "/health").await / f64::from(ROUNDS);
    }
    let _ = empty.kill();
    let _ = empty.wait();
    println!("{:<28} {baseline:>10.0} requests/s (empty axum handler)", "baseline");
    println!("{:<28} {ours:>10.0} requests/s", "/health");
    vec![at_least("/health of an empty handler", ours / baseline * 100.0, "%", 60.0)]
}

/// The times of all bets of a load, in milliseconds; each connection bets once per `pace`, or as fast as it can.
async fn bet_times(pace: Duration) -> Vec<f64> {
    let long = ("DUEL_COUNTDOWN_MS", "3600000");
    let server = Server::start(&[long, ("STARTING_BALANCE_CENTS", "1000000000")]).await;
    let address = server.address;
    let mut asking = Connection::open(address).await;
    let market = loop {
        let market: Value = serde_json::from_slice(&asking.get("/api/v1/market").await.1).expect("JSON");
        if market["market"]["status"] == "OPEN" {
            break market;
        }
    };
    let body = format!(r#"{{"duelId":{},"side":"a","amountCents":1}}"#, market["duelId"]);
    let load = (0..CONNECTIONS).map(|_| {
        let body = body.clone();
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await;
            let player = connection.post("/api/v1/players", "", r#"{"name":"load"}"#).await.1;
            let player: Value = serde_json::from_slice(&player).expect("JSON");
            let token = player["token"].as_str().expect("a token").to_owned();
            let (mut times, started) = (Vec::new(), Instant::now());
            let mut ticks = tokio::time::interval(pace.max(Duration::from_nanos(1)));
            while started.elapsed() < LOAD {
                if !pace.is_zero() {
                    ticks.tick().await;
                }
                let asked = Instant::now();
                assert_eq!(connection.post("/api/v1/bets", &token, &body).await.0, 201);
                times.push(asked.elapsed().as_secs_f64() * 1000.0);
            }
            times
        })
    });
    join_all(load).await.into_iter().flat_map(|task| task.expect("the load ran")).collect()
}

async fn bets() -> Vec<Measured> {
    let full = bet_times(Duration::ZERO).await;
    // Slightly more than the goal's 2,000 a second, spread over the connections.
    let mut paced = bet_times(Duration::from_secs(1) * CONNECTIONS as u32 / 2_100).await;
    let rate = |times: &[f64]| times.len() as f64 / LOAD.as_secs_f64();
    println!("{:<28} {:>10.0} bets/s", "paced load", rate(&paced));
    vec![
        at_least("durable bets on SQLite", rate(&full), "bets/s", 2_000.0),
        at_most("bet at 2,000 a second, p99", percentile(&mut paced, 0.99), "ms", 50.0),
    ]
}

fn unix_milliseconds() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_secs_f64() * 1000.0
}

/// Thousands of clients in one process have no time to parse whole messages.
fn number_after(text: &str, name: &str) -> f64 {
    let rest = text.split_once(name).map_or("", |(_, rest)| rest);
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0.0)
}

async fn viewers() -> Vec<Measured> {
    let fast = [
        ("DUEL_IDLE_MS", "500"),
        ("DUEL_COUNTDOWN_MS", "500"),
        ("DUEL_FIGHT_MS", "500"),
        ("DUEL_ANNOUNCEMENT_MS", "500"),
        ("DUEL_SETTLEMENT_MS", "250"),
    ];
    let mut server = Server::start(&fast).await;
    let url = format!("ws://{}/ws", server.address);
    let mut sockets = Vec::new();
    for _ in 0..VIEWERS {
        sockets.push(tokio_tungstenite::connect_async(&url).await.expect("a WebSocket").0);
    }
    let until = Instant::now() + LOAD;
    // What was sent while the others were still connecting has been waiting in a buffer and says nothing.
    let watched_since = unix_milliseconds();
    let watch = sockets.into_iter().map(|mut socket| {
        tokio::spawn(async move {
            let (mut delays, mut version) = (Vec::new(), 0.0);
            while let Ok(Some(Ok(message))) = tokio::time::timeout_at(until.into(), socket.next()).await {
                let now = unix_milliseconds();
                let Ok(text) = message.into_text() else { continue };
                let seen = number_after(&text, "\"phaseVersion\":");
                let changed_at = number_after(&text, "\"phaseStartTime\":");
                if seen > version && changed_at > watched_since {
                    delays.push(now - changed_at);
                }
                version = seen;
            }
            (socket, delays)
        })
    });
    let (sockets, delays): (Vec<_>, Vec<_>) =
        join_all(watch).await.into_iter().map(|task| task.expect("watched")).unzip();
    let mut delays = delays.concat();
    let memory = server.resident_megabytes();
    // Somebody must read the farewell; the sockets are read to their end while the server drains.
    let farewell = tokio::spawn(join_all(
        sockets.into_iter().map(|mut socket| async move { while let Some(Ok(_)) = socket.next().await {} }),
    ));
    let (drained, code) = tokio::task::spawn_blocking(move || server.stop()).await.expect("stopped");
    farewell.await.expect("read");
    assert_eq!(code, Some(0), "the drain ends in order");
    println!("{:<28} {:>10} changes delivered to {VIEWERS} clients", "deliveries", delays.len());
    vec![
        at_most("memory with 2,000 viewers", memory, "MB", 150.0),
        at_most("change to client, p99", percentile(&mut delays, 0.99), "ms", 250.0),
        at_most("drain of 2,000 viewers", drained.as_secs_f64() * 1000.0, "ms", 30_000.0),
    ]
}

fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--serve-empty") {
        serve_empty();
    }
    raise_file_limit();
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut measured = Vec::new();
    if wanted("idle") {
        measured.extend(runtime.block_on(idle()));
    }
    if wanted("health") {
        measured.extend(runtime.block_on(health()));
    }
    if wanted("bets") {
        measured.extend(runtime.block_on(bets()));
    }
    if wanted("viewers") {
        measured.extend(runtime.block_on(viewers()));
    }
    let missed = measured.iter().filter(|it| !it.print()).count();
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
