//! The same promises on PostgreSQL: a throwaway cluster of Debian's PostgreSQL on loopback.
//!
//! Without PostgreSQL on the machine these tests say so and end; `DUEL_REQUIRE_POSTGRES=1` turns that into a failure.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::durability::bet_until_the_end;
use crate::harness::{PATIENCE, Player, Server, Setup, audit};

/// A running cluster; stopped when dropped.
struct Cluster {
    server: Child,
    port: u16,
    programs: PathBuf,
    folder: TempDir,
}

fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = debian.chain(std::env::split_paths(&path)).find(|folder| folder.join("initdb").is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("DUEL_REQUIRE_POSTGRES").is_none(),
            "PostgreSQL is required but not installed"
        );
        eprintln!("SKIPPED: PostgreSQL is not installed (Debian: postgresql)");
    }
    found
}

/// PostgreSQL refuses to run as root; then it runs as `nobody`, who gets the folder.
fn as_ordinary_user(program: &Path, folder: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755));
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
    command
}

impl Cluster {
    fn start() -> Option<Self> {
        let programs = programs()?;
        let folder = TempDir::new().expect("a temporary folder");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("created");
        if rustix::process::geteuid().is_root() {
            let owned = Command::new("chown").arg("nobody:nogroup").arg(&data).status();
            assert!(owned.expect("chown runs").success());
        }
        let made = as_ordinary_user(&programs.join("initdb"), folder.path())
            .args(["-U", "duel", "--auth=trust", "--no-sync", "-D"])
            .arg(&data)
            .current_dir("/")
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs").success());
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
        let server = Self::launch(&programs, folder.path(), port);
        Some(Self { server, port, programs, folder })
    }

    fn launch(programs: &Path, folder: &Path, port: u16) -> Child {
        let server = as_ordinary_user(&programs.join("postgres"), folder)
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-p"])
            .arg(port.to_string())
            .current_dir("/")
            .stderr(Stdio::null())
            .spawn()
            .expect("PostgreSQL starts");
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "PostgreSQL does not listen");
            std::thread::yield_now();
        }
        server
    }

    /// Cuts every connection and refuses new ones.
    fn stop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown.
        let pid = self.server.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let _ = self.server.wait();
    }

    fn start_again(&mut self) {
        self.server = Self::launch(&self.programs, self.folder.path(), self.port);
    }

    fn setup(&self) -> Setup {
        let address = format!("postgresql://duel@127.0.0.1:{}/postgres?sslmode=disable", self.port);
        Setup::new().with("DATABASE_URL", &address).with("JWT_SECRET", "0123456789abcdef0123456789abcdef")
    }

    /// Waits until PostgreSQL really answers: it listens a little before that.
    async fn answers(&self) {
        let setup = self.setup();
        let started = Instant::now();
        loop {
            let output = setup.command().args(["migrate", "status"]).output().expect("run");
            if output.status.success() {
                return;
            }
            let why = String::from_utf8_lossy(&output.stderr);
            assert!(started.elapsed() < PATIENCE, "PostgreSQL does not answer: {why}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts a server after another was killed, whose session may hold the lock for longer than one start waits for it.
fn start_after_a_kill(setup: &Setup) -> Server {
    let started = Instant::now();
    loop {
        match setup.try_start(&[]) {
            Ok(server) => return server,
            Err(log) => {
                let held = log.contains("another server holds the lock");
                assert!(held && started.elapsed() < PATIENCE, "the server did not start:\n{log}");
            }
        }
    }
}

/// Bets on the running duel, again and again while the answer only says that it takes no bets now.
async fn bet_when_taken(server: &Server, player: &Player, key: &str) -> (StatusCode, Value) {
    let started = Instant::now();
    loop {
        let (_, market) = server.get("/api/v1/market").await;
        let duel = market["duelId"].as_i64().unwrap_or(1);
        let (status, body) = server.bet(player, duel, "a", 100, key).await;
        if status != StatusCode::CONFLICT {
            return (status, body);
        }
        assert!(started.elapsed() < PATIENCE, "no bet is taken: {body}\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duels_and_maintenance_work_on_postgresql_and_survive_kills() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.answers().await;
    let setup = cluster.setup().cycle(50, 10_000, 100, 50);
    let migrate = |step: &str| setup.command().args(["migrate", step]).output().expect("run").status.code();
    assert_eq!(migrate("validate"), Some(1));
    assert_eq!(migrate("run"), Some(0));
    assert_eq!(migrate("validate"), Some(0));

    let server = setup.start();
    let (ann, bob) = (server.join().await, server.join().await);
    let duel = server.open_duel_for(7_000).await;
    assert_eq!(server.bet(&ann, duel, "a", 700, "k").await.0, StatusCode::CREATED);
    assert_eq!(server.bet(&bob, duel, "b", 300, "k").await.0, StatusCode::CREATED);
    // Many at once share commits, whose statements are pipelined: their order must hold.
    let crowd = futures_util::future::join_all((0..40).map(|_| server.join())).await;
    let keys: Vec<String> = (0..3).map(|number| format!("key-{number}")).collect();
    let duel_of_the_crowd = server.open_duel_for(7_000).await;
    let bets = crowd.iter().flat_map(|player| keys.iter().map(move |key| (player, key)));
    let bets = bets.map(|(player, key)| server.bet(player, duel_of_the_crowd, "b", 10, key));
    let placed = futures_util::future::join_all(bets).await;
    let placed = placed.iter().filter(|(status, _)| *status == StatusCode::CREATED).count() as i64;
    assert!(placed > 0, "the market was open");
    // Here, where a duel has to end anyway: the second server waits some seconds for the lock.
    let Err(log) = setup.try_start(&[]) else { panic!("two servers on one database") };
    assert!(log.contains("another server holds the lock"), "{log}");
    let (status, body) = server.admin("enter", None).await;
    assert_eq!((status, &body["safeToDeploy"]), (StatusCode::OK, &json!(true)), "{body}");
    let balances = [server.balance(&ann).await, server.balance(&bob).await];
    let shared = duel_of_the_crowd == duel;
    assert!(shared || balances == [100_300, 99_700] || balances == [99_300, 100_700], "{balances:?}");
    server.crash();
    audit(&setup);

    let setup = setup.cycle(1, 60, 20, 20);
    let mut acknowledged = 2 + placed;
    for round in 0..8_u64 {
        let server = Arc::new(start_after_a_kill(&setup));
        let player = server.join().await;
        let load = tokio::spawn(bet_until_the_end(Arc::clone(&server), player, round));
        tokio::time::sleep(Duration::from_millis(20 * round)).await;
        server.signal("KILL");
        acknowledged += load.await.expect("the bettor ends");
        drop(server);
        let books = audit(&setup);
        assert!(books["books"]["bets"].as_i64() >= Some(acknowledged), "round {round}: {books}");
    }
}

#[tokio::test]
async fn a_postgresql_that_goes_away_degrades_the_server_and_its_return_heals_it() {
    let Some(mut cluster) = Cluster::start() else { return };
    cluster.answers().await;
    let setup = cluster.setup().cycle(50, 3_000, 200, 100);
    let server = setup.start();
    let player = server.join().await;
    cluster.stop();
    let lost = |body: &Value| body["database"] == "disconnected";
    let health = server.until("a lost database", "/health", lost).await;
    assert_eq!(health["status"], "degraded", "a new box would not bring the database back");
    server.until("readiness withdrawn", "/ready", |body| body["ready"] == false).await;
    // The health check may have noticed first; until the arena does, it refuses bets between two markets by itself.
    let (status, body) = bet_when_taken(&server, &player, "k").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    cluster.start_again();
    server.until("a healed server", "/health", |body| body["status"] == "healthy").await;
    let (status, body) = bet_when_taken(&server, &player, "again").await;
    assert_eq!(status, StatusCode::CREATED, "{body}\n{}", server.log());
    audit(&setup);
}
