//! The RTMP output against a real RTMP server: Debian's nginx with its RTMP module, and Debian's ffmpeg.
//!
//! Where either is missing these tests say so and end; `DUEL_REQUIRE_STREAMING=1` turns that into a failure.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{PATIENCE, Server, Setup};

const KEY: &str = "live_canary_key";
const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// An RTMP server; stopped when dropped.
struct Ingest {
    nginx: Child,
    rtmp: u16,
    http: u16,
    _folder: TempDir,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port()
}

impl Ingest {
    fn start() -> Option<Self> {
        let has_ffmpeg = Command::new("ffmpeg").arg("-version").output().is_ok();
        if !has_ffmpeg || !Path::new(MODULE).exists() {
            assert!(
                std::env::var_os("DUEL_REQUIRE_STREAMING").is_none(),
                "ffmpeg and nginx's RTMP module are required"
            );
            eprintln!(
                "SKIPPED: needs ffmpeg and nginx's RTMP module (Debian: ffmpeg nginx libnginx-mod-rtmp)"
            );
            return None;
        }
        let folder = TempDir::new().expect("a temporary folder");
        let (rtmp, http, here) = (free_port(), free_port(), folder.path().display().to_string());
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {here}/{kind};"))
            .collect();
        let config = format!(
            "load_module {MODULE}; daemon off; master_process off; pid {here}/pid; error_log stderr error;
            events {{ worker_connections 64; }}
            rtmp {{ server {{ listen 127.0.0.1:{rtmp}; application live {{ live on; }} }} }}
            http {{ access_log off; {temporary}
                server {{ listen 127.0.0.1:{http}; location /stat {{ rtmp_stat all; }} }} }}"
        );
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, config).expect("written");
        let nginx =
            Command::new("nginx").arg("-c").arg(&path).arg("-p").arg(&here).stderr(Stdio::null()).spawn();
        Some(Self { nginx: nginx.expect("nginx starts"), rtmp, http, _folder: folder })
    }

    fn setup(&self) -> Setup {
        Setup::new()
            .cycle(100, 2_000, 2_000, 1_000)
            .with("PATH", &std::env::var("PATH").unwrap_or_default())
            .with("TWITCH_RTMP_URL", &format!("rtmp://127.0.0.1:{}/live", self.rtmp))
            .with("TWITCH_STREAM_KEY", KEY)
    }

    /// What nginx says it receives.
    async fn statistics(&self, server: &Server) -> String {
        let answer = server.client.get(format!("http://127.0.0.1:{}/stat", self.http)).send().await;
        match answer {
            Ok(response) => response.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let _ = self.nginx.kill();
        let _ = self.nginx.wait();
    }
}

/// The encoders that a server has started.
fn encoders(server: &Server) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// Sends a signal to the running encoder; says which one that was and what the counter said before.
async fn signal_encoder(server: &Server, signal: &str, counter: &str) -> (u32, i64) {
    let started = Instant::now();
    loop {
        // First the encoder, then the count: where it was replaced in between, it is gone and both are read again.
        let encoder = encoders(server).first().copied();
        let before = live(server).await["destinations"][0][counter].as_i64().expect("a count");
        let kill = |pid: u32| Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status();
        if let Some(encoder) = encoder.filter(|pid| kill(*pid).expect("kill runs").success()) {
            return (encoder, before);
        }
        assert!(started.elapsed() < PATIENCE, "no encoder stays");
    }
}

async fn live(server: &Server) -> Value {
    let path = "/api/streaming/rtmp/status";
    server.until("a live stream", path, |body| body["destinations"][0]["connected"] == true).await
}

#[tokio::test]
async fn the_duel_reaches_an_rtmp_server_and_the_key_stays_secret() {
    let Some(ingest) = Ingest::start() else { return };
    let mut server = ingest.setup().start();
    live(&server).await;
    let path = "/api/streaming/rtmp/status";
    let good = |body: &Value| {
        let of = |field: &str| body["destinations"][0][field].as_f64().unwrap_or(0.0);
        // The machine of a test may be slow and shared: a third of the 30 frames and 2,500 kbps shows that both flow.
        of("framesPerSecond") >= 10.0 && of("bitrateKbps") >= 800.0
    };
    server.until("frames and bits", path, good).await;
    let started = Instant::now();
    loop {
        let statistics = ingest.statistics(&server).await;
        if statistics.contains(&format!("<name>{KEY}</name>")) && statistics.contains("H264") {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "nginx sees no stream: {statistics}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for encoder in encoders(&server) {
        let arguments = std::fs::read(format!("/proc/{encoder}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&arguments).contains(KEY), "the key is in the process list");
    }
    assert_eq!(server.get("/health").await.1["streaming"]["rtmp"], "live");
    let running = encoders(&server);
    server.signal("TERM");
    assert_eq!(server.exited().await.code(), Some(0));
    for encoder in running {
        assert!(!Path::new(&format!("/proc/{encoder}/stat")).exists(), "the encoder outlived the server");
    }
    assert!(!server.log().contains(KEY));
}

#[tokio::test]
async fn an_encoder_that_dies_or_freezes_is_started_again() {
    let Some(ingest) = Ingest::start() else { return };
    // Ten seconds without progress are a stall, also at the start of an encoder, which may be slow.
    let setup = ingest.setup().with("STREAMING_STALL_INTERVAL_MS", "2000").with("CDP_STALL_THRESHOLD", "5");
    let server = setup.start();
    for (signal, counter) in [("KILL", "restarts"), ("STOP", "stalls")] {
        let (encoder, before) = signal_encoder(&server, signal, counter).await;
        let path = "/api/streaming/rtmp/status";
        server
            .until(signal, path, |body| {
                body["destinations"][0][counter].as_i64().is_some_and(|it| it > before)
            })
            .await;
        live(&server).await;
        assert_ne!(encoders(&server).first(), Some(&encoder), "a new one runs");
    }
}

#[tokio::test]
async fn a_destination_that_is_never_there_is_given_up_and_the_server_goes_on() {
    let nobody = format!("rtmp://127.0.0.1:{}/live", free_port());
    let Some(ingest) = Ingest::start() else { return };
    let setup = ingest.setup().with("TWITCH_RTMP_URL", &nobody).with("FFMPEG_MAX_RESTART_ATTEMPTS", "1");
    let server = setup.start();
    let path = "/api/streaming/rtmp/status";
    let status = server.until("giving up", path, |body| body["state"] == "failed").await;
    assert!(status["destinations"][0]["error"].as_str().is_some_and(|why| !why.contains(KEY)), "{status}");
    let (code, health) = server.get("/health").await;
    assert_eq!((code.as_u16(), &health["status"]), (200, &json!("degraded")));
}

#[tokio::test]
async fn without_ffmpeg_the_server_runs_and_says_that_streaming_is_off() {
    let setup = Setup::new()
        .with("TWITCH_RTMP_URL", "rtmp://127.0.0.1:1/live")
        .with("TWITCH_STREAM_KEY", KEY)
        .with("FFMPEG_PATH", "/nonexistent/ffmpeg");
    let server = setup.start();
    let path = "/api/streaming/rtmp/status";
    let status = server.until("off", path, |body| body["state"] == "off").await;
    assert_eq!(status["destinations"][0]["error"], "ffmpeg is not installed");
    assert_eq!(server.get("/health").await.1["status"], "healthy");
}
