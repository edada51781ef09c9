//! The watch page in a real browser (Debian's chromium, driven over its DevTools protocol).
//!
//! Without chromium this test says so and ends; `DUEL_REQUIRE_BROWSER=1` turns that into a failure.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::harness::{PATIENCE, Setup, audit, client};

/// A browser with one open page; ended when dropped.
struct Browser {
    chromium: Child,
    page: WebSocketStream<MaybeTlsStream<TcpStream>>,
    _folder: TempDir,
}

impl Browser {
    async fn open(url: &str) -> Option<Self> {
        let found = ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find(|name| Command::new(name).arg("--version").output().is_ok());
        let Some(program) = found else {
            assert!(
                std::env::var_os("DUEL_REQUIRE_BROWSER").is_none(),
                "chromium is required but not installed"
            );
            eprintln!("SKIPPED: chromium is not installed (Debian: chromium)");
            return None;
        };
        let folder = TempDir::new().expect("a temporary folder");
        let chromium = Command::new(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-port=0", "--no-proxy-server", "about:blank"])
            .arg(format!("--user-data-dir={}", folder.path().display()))
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium starts");
        let port = folder.path().join("DevToolsActivePort");
        let started = Instant::now();
        let port = loop {
            let text = std::fs::read_to_string(&port).unwrap_or_default();
            if let Some(port) = text.lines().next().filter(|_| text.lines().count() > 1) {
                break port.to_owned();
            }
            assert!(started.elapsed() < PATIENCE, "chromium opens no port");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let asked = client().put(format!("http://127.0.0.1:{port}/json/new?{url}")).send().await;
        let target: Value = asked.expect("answered").json().await.expect("JSON");
        let address = target["webSocketDebuggerUrl"].as_str().expect("an address");
        let page = connect_async(address).await.expect("a connection").0;
        Some(Self { chromium, page, _folder: folder })
    }

    /// The value of an expression in the page.
    async fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let call = json!({ "id": 1, "method": "Runtime.evaluate", "params": parameters });
        self.page.send(Message::text(call.to_string())).await.expect("sent");
        loop {
            let message =
                timeout(PATIENCE, self.page.next()).await.expect("in time").expect("open").expect("read");
            let Ok(text) = message.into_text() else { continue };
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            if answer["id"] == 1 {
                assert!(answer["result"]["exceptionDetails"].is_null(), "{expression}: {answer}");
                return answer["result"]["result"]["value"].clone();
            }
        }
    }

    async fn until(&mut self, what: &str, expression: &str) {
        let started = Instant::now();
        while self.evaluate(expression).await != true {
            let page = self.evaluate("document.body?.innerText ?? ''").await;
            assert!(started.elapsed() < PATIENCE, "no {what}:\n{page}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.chromium.kill();
        let _ = self.chromium.wait();
    }
}

#[tokio::test]
async fn a_viewer_watches_joins_and_bets_in_a_browser() {
    let setup = Setup::new().cycle(50, 600_000, 100, 50);
    let server = setup.start();
    let Some(mut browser) = Browser::open(&server.url("/")).await else { return };
    browser.until("live link", "document.getElementById('link')?.textContent === 'live'").await;
    browser.until("fighters", "document.querySelector('#fighter-a h3')?.textContent.length > 1").await;
    let join =
        "(() => { const form = document.getElementById('join'); form.elements.name.value = '<b>Ann</b>';
        form.requestSubmit(); return true; })()";
    browser.evaluate(join).await;
    browser.until("balance", "document.getElementById('balance').textContent === '1000.00'").await;
    browser.until("name as text", "document.getElementById('player').textContent === '<b>Ann</b>'").await;
    let button = "document.querySelector('#bet button[value=b]')";
    browser.until("open market", &format!("!{button}.disabled")).await;
    browser.evaluate(&format!("{button}.click(), true")).await;
    browser.until("accepted bet", "document.getElementById('said').textContent.includes('accepted')").await;
    browser.until("smaller balance", "document.getElementById('balance').textContent === '995.00'").await;
    browser
        .until("bet in the pool", "document.querySelector('#fighter-b [data-pool]').textContent === '5.00'")
        .await;
    assert_eq!(audit(&setup)["books"]["staked"], 500);
}
