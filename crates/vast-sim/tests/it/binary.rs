//! The program `vast-sim`: its line on stdout, its end, and what is left when it is killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::bench::{PATIENCE, eventually, lives, output, text};

struct Program {
    child: Child,
    url: String,
    http: reqwest::Client,
    _state: tempfile::TempDir,
    state: std::path::PathBuf,
}

impl Program {
    async fn start() -> Program {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let mut child = Command::new(env!("CARGO_BIN_EXE_vast-sim"))
            .args(["serve", "--listen", "127.0.0.1:0", "--time-scale", "200", "--log", "warn", "--state"])
            .arg(&state)
            .env("VAST_SIM_API_KEY", "k")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("a pipe");
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(PATIENCE, read)
            .await
            .expect("in time")
            .expect("not cancelled")
            .expect("a line");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Program { child, url: line.trim().to_owned(), http, _state: folder, state }
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth("k").json(&body);
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    /// Rents a box whose onstart leaves a process in a session of its own; gives that process.
    async fn rent(&self) -> i32 {
        let found = self.call(Method::POST, "/api/v0/bundles/", json!({"limit": 1})).await;
        let body = json!({"image": "x", "runtype": "ssh_direct", "onstart": "setsid sleep 305 & echo $! > pid.tmp; mv pid.tmp pid"});
        let created =
            self.call(Method::PUT, &format!("/api/v0/asks/{}/", found["offers"][0]["id"]), body).await;
        let pid = self.state.join("boxes").join(created["new_contract"].to_string()).join("root/pid");
        eventually("onstart ran", || async { std::fs::read_to_string(&pid).ok()?.trim().parse().ok() }).await
    }

    async fn end(mut self, signal: &str) -> (Option<i32>, tempfile::TempDir) {
        let kill = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
        let waited = tokio::task::spawn_blocking(move || self.child.wait());
        let status = tokio::time::timeout(PATIENCE, waited).await.expect("it ends").expect("not cancelled");
        (status.expect("waited").code(), self._state)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_in_good_order() {
    let program = Program::start().await;
    let (pid, boxes) = (program.rent().await, program.state.join("boxes"));
    let (code, _folder) = program.end("TERM").await;
    assert_eq!(code, Some(0));
    assert!(!lives(pid));
    assert_eq!(std::fs::read_dir(boxes).map(Iterator::count).unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn even_sigkill_leaves_no_box_behind() {
    let program = Program::start().await;
    let (pid, boxes) = (program.rent().await, program.state.join("boxes"));
    let (_, _folder) = program.end("KILL").await;
    eventually("the guardian has killed the box", || async {
        (!lives(pid) && !boxes.exists()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_makes_no_sense_is_refused_by_name() {
    for (args, complaint) in [
        (vec!["--api-key", "k", "--time-scale", "0"], "time_scale"),
        (vec!["--api-key", " "], "api_key"),
        (vec!["--api-key", "k", "--auth-error-status", "500"], "auth_error_status"),
        (vec![], "--api-key"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vast-sim"));
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(&args).env_remove("VAST_SIM_API_KEY");
        let done = output(command).await;
        assert!(!done.status.success());
        assert!(text(&done.stderr).contains(complaint), "{args:?}: {}", text(&done.stderr));
    }
}
