//! A real server process, its data folder, and a client for it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

pub const ADMIN_CODE: &str = "the-admin-code";

/// Nothing in these tests waits longer for something that must happen. A process on a slow, shared machine may stand still
/// for seconds, and more than once.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How a server is started.
pub struct Setup {
    pub folder: Arc<TempDir>,
    variables: Vec<(String, String)>,
}

impl Setup {
    /// A fast cycle in a fresh folder, without rate limits.
    pub fn new() -> Self {
        let folder = Arc::new(TempDir::new().expect("a temporary folder"));
        let setup = Self { folder, variables: Vec::new() };
        setup
            .with("HOST", "127.0.0.1")
            .with("PORT", "0")
            .with("LOG_FORMAT", "json")
            .with("ADMIN_CODE", ADMIN_CODE)
            .with("DISABLE_RATE_LIMIT", "true")
            .with("DUEL_SEED", "42")
            .cycle(50, 1_000, 200, 100)
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn cycle(self, idle: u32, countdown: u32, fight: u32, announcement: u32) -> Self {
        self.with("DUEL_IDLE_MS", &idle.to_string())
            .with("DUEL_COUNTDOWN_MS", &countdown.to_string())
            .with("DUEL_FIGHT_MS", &fight.to_string())
            .with("DUEL_ANNOUNCEMENT_MS", &announcement.to_string())
            .with("DUEL_SETTLEMENT_MS", &(announcement / 2).max(1).to_string())
    }

    /// The program with this setup's environment and nothing else.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_duel-server"));
        command.env_clear().env("DATA_DIR", self.folder.path()).envs(self.variables.iter().cloned());
        command
    }

    /// Starts the server and waits until it listens.
    pub fn start(&self) -> Server {
        self.try_start(&[]).unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    /// Starts the server with arguments; gives its output back if it ends before listening.
    pub fn try_start(&self, arguments: &[&str]) -> Result<Server, String> {
        let mut child =
            self.command().args(arguments).stderr(Stdio::piped()).spawn().expect("the program runs");
        let stderr = child.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(String::new()));
        let (found, address) = std::sync::mpsc::channel();
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let entry: Value = serde_json::from_str(&line).unwrap_or_default();
                if entry["message"] == "listening" {
                    let text = entry["address"].as_str().unwrap_or_default().to_owned();
                    let _ = found.send(text);
                }
                let mut log = lines.lock().expect("not poisoned");
                log.push_str(&line);
                log.push('\n');
            }
        });
        match address.recv_timeout(PATIENCE) {
            Ok(text) => {
                let address = text.parse().expect("an address");
                let (reader, folder) = (Some(reader), Arc::clone(&self.folder));
                Ok(Server { child, address, log, reader, client: client(), folder })
            }
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(log.lock().expect("not poisoned").clone())
            }
        }
    }
}

pub fn client() -> reqwest::Client {
    // An error only says that another test has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only(std::iter::empty())
        .timeout(PATIENCE)
        .build()
        .expect("a client")
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
    pub client: reqwest::Client,
    folder: Arc<TempDir>,
}

/// A player with the token to act.
#[derive(Clone)]
pub struct Player {
    pub token: String,
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("not poisoned").clone()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path)).await
    }

    pub async fn admin(&self, verb: &str, body: Option<Value>) -> (StatusCode, Value) {
        let method = if verb == "status" { Method::GET } else { Method::POST };
        let request = self.request(method, &format!("/admin/maintenance/{verb}"));
        let request = request.header("x-admin-code", ADMIN_CODE);
        answer(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    pub async fn join(&self) -> Player {
        let request = self.request(Method::POST, "/api/v1/players").json(&serde_json::json!({ "name": "p" }));
        let (status, body) = answer(request).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        Player { token: body["token"].as_str().expect("a token").to_owned() }
    }

    pub async fn bet(
        &self,
        player: &Player,
        duel: i64,
        side: &str,
        cents: i64,
        key: &str,
    ) -> (StatusCode, Value) {
        let body = serde_json::json!({ "duelId": duel, "side": side, "amountCents": cents });
        let request = self.request(Method::POST, "/api/v1/bets").bearer_auth(&player.token).json(&body);
        answer(request.header("idempotency-key", key)).await
    }

    pub async fn balance(&self, player: &Player) -> i64 {
        let (status, body) =
            answer(self.request(Method::GET, "/api/v1/account").bearer_auth(&player.token)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["balanceCents"].as_i64().expect("a balance")
    }

    /// The running duel, as soon as its market is open.
    pub async fn open_duel(&self) -> i64 {
        self.open_duel_for(0).await
    }

    /// The running duel, as soon as there is one whose market stays open for so many milliseconds more.
    pub async fn open_duel_for(&self, ms: i64) -> i64 {
        let open = |body: &Value| {
            // Looked at once the answer is here: however long it took, this much is left.
            let end = jiff::Timestamp::now().as_millisecond() + ms;
            body["market"]["status"] == "OPEN" && body["betCloseTime"].as_i64().is_some_and(|at| at >= end)
        };
        let market = self.until("an open market", "/api/v1/market", open).await;
        market["duelId"].as_i64().expect("a duel")
    }

    /// Asks again and again until the answer satisfies.
    pub async fn until(&self, what: &str, path: &str, satisfied: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let (_, body) = self.get(path).await;
            if satisfied(&body) {
                return body;
            }
            assert!(started.elapsed() < PATIENCE, "no {what}: {body}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn until_phase(&self, phase: &str) -> Value {
        self.until(phase, "/api/streaming/state", |body| body["cycle"]["phase"] == phase).await
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for the exit and the end of the log.
    pub async fn exited(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("waited for") {
                // The end of its output: from here on the log is complete.
                self.reader.take().map(|reader| reader.join());
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the server does not exit:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills without mercy, as a crash would.
    pub fn crash(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = &self.folder;
    }
}

pub async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response: Response = request.send().await.expect("answered");
    let status = response.status();
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, body)
}

/// What `duel-server audit` says about a setup's database.
pub fn audit(setup: &Setup) -> Value {
    let output = setup.command().arg("audit").output().expect("audited");
    let books: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(books["balanced"], true, "the books do not balance: {books} {errors}");
    books
}
