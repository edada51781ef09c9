//! The examples work, and speak of what exists.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::harness::{Fleet, KILL_SERVER, PATIENCE, Run, eventually, example};

const SIGNING_KEY: &str = "whsec_ZXhhbXBsZXMgYXJlIHRlc3RlZCwgdG9vLCBhcyBldmVyeW9uZSBzaG91bGQ=";

/// Kills a child that a test has started.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then neither is needed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_consumer_believes_what_the_keeper_signs_and_nobody_else() {
    let mut child = Command::new(example("alert_consumer"))
        .arg("127.0.0.1:0")
        .env("WEBHOOK_SECRET", SIGNING_KEY)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let _running = Running(child);
    let url = lines.next().unwrap().unwrap().trim_start_matches("listening on ").to_owned();

    let mut fleet = Fleet::provider("examples", 2).await;
    fleet.settings.file.push_str(
        "\n[[alerts.sink]]\nname = \"pager\"\nkind = \"webhook\"\nurl = \"PAGER_URL\"\nsigning_key = \"PAGER_KEY\"\n",
    );
    fleet.settings.environment.insert("PAGER_URL".into(), url.clone());
    fleet.settings.environment.insert("PAGER_KEY".into(), SIGNING_KEY.into());
    fleet.start().await;
    fleet.all_serve().await;
    let before = fleet.instances().await;
    // Kept back for a while, so that every family of metrics has a sample.
    fleet.cli(&["pause", "duel-0"]).await.exits(0);
    fleet.hit("duel-0", KILL_SERVER).await;
    let mut told = BTreeSet::new();
    eventually("the metrics show a node that is kept back", PATIENCE, async || {
        told = names(&fleet.text("/metrics").await);
        told.contains("vast_keeper_node_blocked")
    })
    .await;
    fleet.cli(&["resume", "duel-0"]).await.exits(0);
    fleet.replaced(&["duel-0".into()], &before).await;

    // An unsigned message is refused, and never shown.
    let forged = r#"{"data":{"title":"forged"}}"#;
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    let length = forged.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{forged}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let shown = tokio::task::spawn_blocking(move || {
        let mut shown = Vec::new();
        for line in lines.map_while(Result::ok) {
            shown.push(line);
            if shown.last().is_some_and(|line| line.contains("replaced and healthy")) {
                break;
            }
        }
        shown
    });
    let shown =
        tokio::time::timeout(Duration::from_secs(60), shown).await.expect("the closing line").unwrap();
    assert!(shown.iter().any(|line| line.starts_with("critical duel-0: duel-0 is failing")), "{shown:?}");
    assert!(shown.iter().all(|line| !line.contains("forged")), "{shown:?}");

    // Dashboard and rules ask for nothing that the keeper does not tell.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/monitoring");
    for file in ["grafana-dashboard.json", "alerts.yml"] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let asked = names(&text);
        assert!(asked.len() > 5, "{file} asks for {asked:?}");
        let unknown: Vec<_> = asked.difference(&told).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}; there are {told:?}");
    }
    let dashboard = fs::read_to_string(folder.join("grafana-dashboard.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
}

/// The names of the keeper's metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let starts = text.match_indices("vast_keeper_").map(|(at, _)| &text[at..]);
    starts.map(|rest| rest.split(ends).next().unwrap().to_owned()).collect()
}
