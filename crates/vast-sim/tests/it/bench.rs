//! The test bench: a simulator with short stages, an HTTP client, an SSH client, and waiting on conditions.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use vast_sim::{BoxInfo, LifecycleConfig, Sim, SimConfig};

/// Longest wait for any condition; long, because the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a passing state lasts that a test must see and whose end it awaits, in seconds: longer than a busy machine
/// lets a process stand still.
pub const PASSING_S: f64 = 12.0;

/// The key that every bench's account has.
pub const KEY: &str = "bench-key";

/// A simulator and the clients to it.
pub struct Bench {
    /// The simulator.
    pub sim: Sim,
    /// Scratch folder with the SSH key and its helpers.
    pub folder: tempfile::TempDir,
    http: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    pub retry_after: Option<String>,
    pub text: String,
}

impl Answer {
    /// The body as JSON; a panic shows the body that was none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// The default bench: every stage takes 20 ms.
pub fn config() -> SimConfig {
    SimConfig { api_key: KEY.to_owned(), lifecycle: LifecycleConfig::all(0.02), ..SimConfig::default() }
}

impl Bench {
    pub async fn start() -> Bench {
        Bench::with(config()).await
    }

    pub async fn with(config: SimConfig) -> Bench {
        // A second installation is refused; any one will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let folder = tempfile::tempdir().expect("a scratch folder");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(folder.path().join("id"))
            .status()
            .expect("ssh-keygen runs");
        assert!(made.success());
        let sim = Sim::start(config).await.expect("the simulator starts");
        Bench { sim, folder, http: http.build().expect("an HTTP client") }
    }

    pub fn public_key(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("id.pub")).expect("the public key").trim().to_owned()
    }

    /// Sends a call with the account's key; an error is a connection that gave no answer.
    pub async fn try_call(&self, method: Method, path: &str, body: Value) -> Result<Answer, reqwest::Error> {
        self.call_as(Some(KEY), method, path, body).await
    }

    pub async fn call_as(
        &self,
        key: Option<&str>,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.sim.url()));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.timeout(PATIENCE).send().await?;
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        Ok(Answer {
            status: response.status(),
            content_type: header("content-type").unwrap_or_default(),
            retry_after: header("retry-after"),
            text: response.text().await?,
        })
    }

    pub async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        self.try_call(method, path, body).await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.call(Method::GET, path, Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    pub async fn put(&self, path: &str, body: Value) -> Value {
        self.call(Method::PUT, path, body).await.json()
    }

    /// The ids of the cheapest offers that suit a box with one mapped port.
    pub async fn offers(&self, count: usize) -> Vec<u64> {
        let query = json!({"num_gpus": {"eq": 1}, "disk_space": {"gte": 20}, "limit": count,
            "order": [["dph_total", "asc"]]});
        let found = self.call(Method::POST, "/api/v0/bundles/", query).await.json();
        let ids: Vec<u64> =
            found["offers"].as_array().expect("offers").iter().filter_map(|o| o["id"].as_u64()).collect();
        assert_eq!(ids.len(), count);
        ids
    }

    /// The usual create body.
    pub fn launch(&self, label: &str, onstart: &str) -> Value {
        json!({"client_id": "me", "image": "vastai/base", "disk": 10, "label": label, "runtype": "ssh_direct",
            "env": {"APP": "duel", "-p 5555:5555": "1"}, "onstart": onstart, "price": null, "cancel_unavail": true})
    }

    /// Registers the key, rents the cheapest offer, and waits until the box is up.
    pub async fn rent(&self, label: &str, onstart: &str) -> u64 {
        let answer = self.call(Method::POST, "/api/v0/ssh/", json!({"ssh_key": self.public_key()})).await;
        assert_eq!(answer.status, 200);
        let offer = self.offers(1).await[0];
        let created = self.put(&format!("/api/v0/asks/{offer}/"), self.launch(label, onstart)).await;
        assert_eq!(created["success"], true, "{created}");
        let id = created["new_contract"].as_u64().expect("an id");
        self.up(id).await;
        id
    }

    /// Waits until an instance runs and its ports show.
    pub async fn up(&self, id: u64) -> Value {
        eventually("the instance runs", || async {
            let row = self.row(id).await;
            (row["actual_status"] == "running" && row["ports"]["22/tcp"].is_array()).then_some(row)
        })
        .await
    }

    /// The single read's row, null when there is none.
    pub async fn row(&self, id: u64) -> Value {
        self.get(&format!("/api/v0/instances/{id}/")).await["instances"].clone()
    }

    /// Rows of the complete list.
    pub async fn rows(&self) -> Vec<Value> {
        self.get("/api/v1/instances/").await["instances"].as_array().expect("rows").clone()
    }

    pub fn info(&self, id: u64) -> BoxInfo {
        self.sim.boxes().into_iter().find(|it| it.instance == id).expect("a living instance")
    }

    /// Where the box's app port is reached.
    pub fn app(&self, id: u64) -> SocketAddr {
        self.info(id).ports["5555/tcp"]
    }

    /// GETs the box's app; an error is a connection that gave no whole answer.
    pub async fn visit(&self, id: u64) -> Result<Answer, reqwest::Error> {
        self.visit_for(id, PATIENCE).await
    }

    /// As [`Bench::visit`], where silence is expected and therefore not waited out.
    pub async fn visit_briefly(&self, id: u64) -> Result<Answer, reqwest::Error> {
        self.visit_for(id, Duration::from_secs(2)).await
    }

    async fn visit_for(&self, id: u64, patience: Duration) -> Result<Answer, reqwest::Error> {
        let url = format!("http://{}/index.html", self.app(id));
        let response = self.http.get(url).timeout(patience).send().await?;
        Ok(Answer {
            status: response.status(),
            content_type: String::new(),
            retry_after: None,
            text: response.text().await?,
        })
    }

    /// Waits until the box's app answers.
    pub async fn app_up(&self, id: u64) {
        eventually("the app answers", || async { self.visit(id).await.ok().filter(|it| it.status == 200) })
            .await;
    }

    /// An `ssh` command to a box, host key accepted and stored per instance.
    pub fn ssh(&self, id: u64) -> Command {
        self.ssh_to(id, self.info(id).ssh.expect("ssh is up"))
    }

    pub fn ssh_to(&self, id: u64, address: SocketAddr) -> Command {
        let mut command = Command::new("ssh");
        command
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"])
            .args(["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=30", "-o", "IdentitiesOnly=yes"])
            .args(["-o", "GlobalKnownHostsFile=none", "-o", &format!("HostKeyAlias=inst-{id}")])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", self.known_hosts(id).display()))
            .arg("-i")
            .arg(self.folder.path().join("id"))
            .args(["-p", &address.port().to_string(), &format!("root@{}", address.ip())])
            .stdin(Stdio::null());
        command
    }

    pub fn known_hosts(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("hosts-{id}"))
    }

    /// Runs a command on a box.
    pub async fn run(&self, id: u64, line: &str) -> Output {
        let mut command = self.ssh(id);
        command.arg(line);
        output(command).await
    }
}

/// A box's start script that serves its home over HTTP on the app port.
pub fn web_server() -> &'static str {
    "echo it works > index.html; echo started; exec python3 -m http.server --bind \"$HOST\" 5555 2>/dev/null"
}

/// Runs a blocking command without blocking the simulator.
pub async fn output(mut command: Command) -> Output {
    let run = tokio::task::spawn_blocking(move || command.output());
    tokio::time::timeout(PATIENCE, run).await.expect("ends in time").expect("not cancelled").expect("starts")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks until there is an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let waiting = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Whether a process lives (and is no zombie).
pub fn lives(pid: i32) -> bool {
    let stat =
        std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
