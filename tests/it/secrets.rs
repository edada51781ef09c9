//! Secrets that must reach only whom they are for: canaries are looked for everywhere else.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::JoinHandle,
    time::Duration,
};

use vast_sim::{ApiBreak, Fault, FaultKind};

use crate::harness::{ADMIN_CODE, API_KEY, Fleet, KILL_SERVER, Run, URL_SECRET};

const JWT_SECRET: &str = "canary-jwt-secret-88d0 with 'quotes', $HOME and \"more\"";
const SECRETS: [&str; 4] = [API_KEY, ADMIN_CODE, URL_SECRET, "canary-jwt-secret-88d0"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_appears_anywhere_but_where_it_is_used() {
    let mut fleet = Fleet::provider("secrets", 2).await;
    fleet.settings.set("log.level", "trace");
    fleet.settings.set("deploy.secrets", "[\"JWT_SECRET\"]");
    fleet.settings.environment.insert("JWT_SECRET".into(), JWT_SECRET.into());
    // A sink that cannot be reached, so that its failures are told too.
    let dead = format!("http://127.0.0.1:9/discord/{URL_SECRET}");
    fleet.settings.environment.insert("DISCORD_WEBHOOK_URL".into(), dead);
    let spy = Spy::start();
    fleet.start().await;
    fleet.all_serve().await;
    // Errors of every kind on the way: broken calls, a refused key, a replacement, a refused wish.
    for how in [ApiBreak::Reset, ApiBreak::Garbage, ApiBreak::Html502, ApiBreak::Json500] {
        fleet.inject(Fault::once(FaultKind::ApiOutage { how }).times(2));
    }
    fleet.inject(Fault::once(FaultKind::AuthError));
    let before = fleet.instances().await;
    fleet.hit("duel-0", KILL_SERVER).await;
    fleet.replaced(&["duel-0".into()], &before).await;
    let seen = spy.stop();
    assert!(seen.iter().any(|line| line.contains("ssh")), "the spy saw the deploys");

    let mut places: Vec<(String, Vec<u8>)> = vec![("command lines".into(), seen.join("\n").into_bytes())];
    places.push(("the log".into(), fleet.said().into_bytes()));
    assert!(fleet.said().contains("TRACE"), "the log is at its most talkative");
    for path in [
        "/",
        "/metrics",
        "/healthz",
        "/api/v1/fleet",
        "/api/v1/incidents",
        "/api/v1/events",
        "/api/v1/incidents/1",
    ] {
        places.push((path.into(), fleet.text(path).await.into_bytes()));
    }
    for words in
        [&["config", "show"] as &[_], &["status"], &["check"], &["offers"], &["events"], &["incidents", "1"]]
    {
        places.push((format!("{words:?}"), fleet.cli(words).await.said().into_bytes()));
    }
    for message in fleet.receiver.messages() {
        places.push((format!("an alert to {}", message.sink), message.body.into_bytes()));
    }
    let mut files = Vec::new();
    files_of(&fleet.settings.state(), &mut files);
    assert!(files.iter().any(|file| file.ends_with("keeper.db")));
    // The keeper's own copy of a release is its program and its settings, for its user alone: healing brings them again.
    let (copies, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| {
        file.ends_with("settings.json") && file.starts_with(fleet.settings.state().join("releases"))
    });
    for copy in copies {
        let mode = fs::metadata(&copy).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", copy.display());
    }
    for file in files {
        places.push((file.display().to_string(), fs::read(&file).unwrap_or_default()));
    }
    for (place, bytes) in places {
        for secret in SECRETS {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {place}");
        }
    }
    reaches_its_server(&fleet);
}

/// The canaries are in use: the server's environment file has them, whole, for its owner alone.
fn reaches_its_server(fleet: &Fleet) {
    for boxed in fleet.sim.boxes() {
        let mut files = Vec::new();
        files_of(&boxed.home.unwrap(), &mut files);
        let holding: Vec<PathBuf> = files
            .into_iter()
            .filter(|file| {
                let small = fs::metadata(file).is_ok_and(|data| data.len() < 100_000);
                small
                    && fs::read(file)
                        .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains("canary-jwt-secret-88d0"))
            })
            .collect();
        assert!(!holding.is_empty(), "the secret never reached instance {}", boxed.instance);
        for file in holding {
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", file.display());
        }
    }
}

fn files_of(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_of(&path, into),
            Ok(kind) if kind.is_file() => into.push(path),
            _ => {}
        }
    }
}

/// Between two looks: short enough to meet most processes, long enough to leave the cores free.
const SPY_EVERY: Duration = Duration::from_millis(15);

/// Reads every command line of this machine, over and over, while boxes are deployed to.
struct Spy {
    over: Sender<()>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Spy {
    fn start() -> Self {
        let (over, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while told.recv_timeout(SPY_EVERY) == Err(RecvTimeoutError::Timeout) {
                for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
                    if let Ok(words) = fs::read(entry.path().join("cmdline")) {
                        seen.insert(String::from_utf8_lossy(&words).replace('\0', " "));
                    }
                }
            }
            seen
        });
        Self { over, thread }
    }

    fn stop(self) -> Vec<String> {
        drop(self.over);
        self.thread.join().unwrap().into_iter().collect()
    }
}
