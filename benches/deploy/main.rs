//! What deploys cost, as ratios within one run.
//!
//! ```text
//! cargo bench -p vast-keeper --bench deploy                    every row
//! cargo bench -p vast-keeper --bench deploy -- upload          upload | unchanged | switch | rollback | fleet
//! ```
//!
//! Each box is an OpenSSH server of its own on loopback with a home of its own (`/usr/sbin/sshd` must be installed); the server that
//! is deployed is the fixture of the tests, whose own start takes a few milliseconds. A harness of its own instead of criterion,
//! because a row is a story over seconds. A goal that is missed ends the run with a failure.
//!
//! On loopback there is no way to the box that could hide anything: `scp` is bounded by the same ciphers and the same processors.
//! `fleet` is taken twice: on loopback, where all boxes and the keeper share this machine's processors, and behind relays that
//! keep each byte for half a round trip to another continent, where a deploy mostly waits, as it does in earnest. By eight at
//! once, twenty equal deploys take three times the time of one: the goal can only be reached where what they share is slow.

#![expect(clippy::print_stdout, reason = "the rows of a benchmark are its output")]

mod machine;

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Semaphore, mpsc},
    time::{Instant, sleep},
};
use vast_keeper::{
    deploy::{
        self, Artifact, ArtifactSource, DeployRequest, Restart, RollbackRequest, Step, StepPhase, StepReport,
    },
    remote::Upload,
};

use self::machine::{Machine, free_port, made_well, user};

const LIMIT: Duration = Duration::from_secs(300);
const UPLOAD_BYTES: usize = 50 << 20;
const BOXES: usize = 20;
const AT_ONCE: usize = 8;

/// The two releases of the fixture.
async fn artifacts(folder: &Path) -> Result<[Arc<Artifact>; 2]> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/deployed_server.rs");
    let mut made = Vec::new();
    for commit in ["aaaa111", "bbbb222"] {
        let path = folder.join(commit);
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "-O", "-C", "strip=symbols", "-o"]).arg(&path).arg(source);
        ensure!(made_well(rustc.env("FIXTURE_COMMIT", commit))?, "the fixture does not compile");
        made.push(Arc::new(Artifact::prepare(&ArtifactSource::File(path)).await?));
    }
    made.try_into().map_err(|_| anyhow::anyhow!("two releases"))
}

/// Prints a row, and whether its goal was reached.
fn row(what: &str, seen: f64, unit: &str, most: f64) -> bool {
    let good = seen <= most;
    println!("{what:<58} {seen:>9.2} {unit:<4} goal ≤ {most:<7} {}", if good { "ok" } else { "MISSED" });
    good
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn upload() -> Result<bool> {
    let machine = Machine::start().await?;
    let file = machine.folder.path().join("large");
    let mut random = fastrand::Rng::with_seed(7);
    let bytes: Vec<u8> = (0..UPLOAD_BYTES).map(|_| random.u8(..)).collect();
    fs::write(&file, &bytes)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    let digest = String::from_utf8(Command::new("sha256sum").arg(&file).output()?.stdout)?;
    let digest = digest.split(' ').next().unwrap_or_default().to_owned();
    let remote = machine.remote()?;
    let (mut ours, mut proven, mut theirs) = (vec![], vec![], vec![]);
    for round in 0..5 {
        let began = Instant::now();
        let session = remote.connect(&machine.address()?, LIMIT).await?;
        let upload = Upload::new(format!("ours-{round}"), UPLOAD_BYTES as u64, digest.clone());
        let mut source = tokio::fs::File::open(&file).await?;
        let sent = session.send(&mut source, &upload, &mut |_| {}, LIMIT).await?;
        ensure!(sent.rc == 0, "{}", sent.reason());
        ours.push(began.elapsed().as_secs_f64());
        let settled = session.settle(&upload, LIMIT).await?;
        ensure!(settled.rc == 0, "{}", settled.reason());
        proven.push(began.elapsed().as_secs_f64());
        session.close().await;
        let began = Instant::now();
        let mut scp = Command::new("scp");
        scp.args(["-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i"]);
        scp.arg(machine.folder.path().join("key")).arg("-P").arg(machine.ssh_port.to_string()).arg(&file);
        scp.arg(format!("{}@127.0.0.1:{}/home/theirs-{round}", user()?, machine.folder.path().display()));
        let ended = tokio::task::spawn_blocking(move || scp.stderr(Stdio::null()).status()).await??;
        ensure!(ended.success(), "scp failed");
        theirs.push(began.elapsed().as_secs_f64());
    }
    let theirs = median(theirs);
    println!("scp of 50 MiB, connecting included: {theirs:.2} s");
    println!(
        "ours with its checksum read back from the box's disk: {:.2} of scp's time",
        median(proven) / theirs
    );
    Ok(row("upload of 50 MiB, time by that of scp (0.9 of its speed)", median(ours) / theirs, "", 1.0 / 0.9))
}

async fn unchanged(artifacts: &[Arc<Artifact>; 2]) -> Result<bool> {
    let machine = Machine::start().await?;
    let remote = machine.remote()?;
    let (progress, _untaken) = mpsc::channel(1);
    let request = machine.request(&artifacts[0])?;
    deploy::deploy(&remote, &request, &progress).await?;
    let again = deploy::deploy(&remote, &request, &progress).await?;
    ensure!(again.steps.iter().all(|taken| taken.step != Step::Upload), "it was uploaded again");
    let gentle = DeployRequest { restart: Restart::IfChanged, ..request };
    let alone = deploy::deploy(&remote, &gentle, &progress).await?;
    println!("of a release that serves and is left alone: {} round trips", alone.round_trips);
    Ok(row("round trips of an unchanged redeploy with a restart", f64::from(again.round_trips), "", 10.0))
}

/// From the begin of the switch to the first good answer, without the server's own start.
async fn switch(artifacts: &[Arc<Artifact>; 2], own: f64) -> Result<bool> {
    let machine = Machine::start().await?;
    let remote = machine.remote()?;
    let (untaken, _progress) = mpsc::channel(1);
    deploy::deploy(&remote, &machine.request(&artifacts[0])?, &untaken).await?;
    let mut times = vec![];
    for round in 0..5 {
        let artifact = &artifacts[(round + 1) % 2];
        let request = machine.request(artifact)?;
        let (progress, mut reports) = mpsc::channel::<StepReport>(256);
        let watched = async {
            let mut began = None;
            while let Some(report) = reports.recv().await {
                if report.step == Step::Switch && report.phase == StepPhase::Started {
                    began = Some(Instant::now());
                    break;
                }
            }
            let began = began?;
            while !names(machine.server_port, &artifact.commit).await {
                sleep(Duration::from_millis(2)).await;
            }
            let took = began.elapsed().as_secs_f64();
            while reports.recv().await.is_some() {}
            Some(took)
        };
        let work = async {
            let done = deploy::deploy(&remote, &request, &progress).await;
            drop(progress);
            done
        };
        let (done, took) = tokio::join!(work, watched);
        done?;
        times.push(took.context("there was no switch")?);
    }
    Ok(row("switch to healthy, less the server's own start", (median(times) - own) * 1000.0, "ms", 250.0))
}

async fn names(port: u16, commit: &str) -> bool {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text.contains(commit))
    };
    asked.await.unwrap_or(false)
}

/// The server's own start: from its process to its first answer.
async fn own_start(artifact: &Artifact) -> Result<f64> {
    let mut times = vec![];
    for _ in 0..5 {
        let port = free_port()?;
        let folder = tempfile::tempdir()?;
        let began = Instant::now();
        let mut command = Command::new(&artifact.path);
        command.env("HOST", "127.0.0.1").env("PORT", port.to_string()).current_dir(folder.path());
        let mut child = command.stdout(Stdio::null()).spawn()?;
        while !names(port, &artifact.commit).await {
            sleep(Duration::from_millis(2)).await;
        }
        times.push(began.elapsed().as_secs_f64());
        child.kill()?;
        child.wait()?;
    }
    Ok(median(times))
}

async fn rollback(artifacts: &[Arc<Artifact>; 2], own: f64) -> Result<bool> {
    let machine = Machine::start().await?;
    let remote = machine.remote()?;
    let (progress, _untaken) = mpsc::channel(1);
    for artifact in artifacts {
        deploy::deploy(&remote, &machine.request(artifact)?, &progress).await?;
    }
    let mut times = vec![];
    for _ in 0..3 {
        let site = machine.request(&artifacts[0])?.site;
        let request = RollbackRequest { site, to: None, env: BTreeMap::new(), maintenance: None };
        let began = Instant::now();
        deploy::rollback(&remote, &request, &progress).await?;
        times.push(began.elapsed().as_secs_f64());
    }
    Ok(row("rollback of a verified release, less the server's start", median(times) - own, "s", 3.0))
}

async fn fleet(artifacts: &[Arc<Artifact>; 2]) -> Result<bool> {
    let mut near = vec![];
    let mut far = vec![];
    for _ in 0..=BOXES {
        near.push(Machine::start().await?);
    }
    let on_loopback = all_by_one(&near, artifacts, "on this machine's processors").await?;
    drop(near);
    for _ in 0..=BOXES {
        far.push(Machine::far_away().await?);
    }
    let far_away = all_by_one(&far, artifacts, "on another continent").await?;
    let near = row("20 boxes, 8 at once, by the time of one", on_loopback, "×", 2.5);
    let far = row("20 boxes, 8 at once, by the time of one, far away", far_away, "×", 2.5);
    Ok(near && far)
}

/// How much longer it takes for all but the first than for the first.
async fn all_by_one(machines: &[Machine], artifacts: &[Arc<Artifact>; 2], place: &str) -> Result<f64> {
    let (one, others) = machines.split_first().context("no machine")?;
    let (progress, _untaken) = mpsc::channel(1);
    let began = Instant::now();
    deploy::deploy(&one.remote()?, &one.request(&artifacts[0])?, &progress).await?;
    let alone = began.elapsed().as_secs_f64();
    let permits = Semaphore::new(AT_ONCE);
    let began = Instant::now();
    let all = others.iter().map(async |machine| {
        let _permit = permits.acquire().await?;
        let (progress, _untaken) = mpsc::channel(1);
        deploy::deploy(&machine.remote()?, &machine.request(&artifacts[0])?, &progress).await?;
        anyhow::Ok(())
    });
    for done in join_all(all).await {
        done?;
    }
    let all = began.elapsed().as_secs_f64();
    println!("one box: {alone:.2} s; {BOXES} boxes, {AT_ONCE} at once: {all:.2} s, {place}");
    Ok(all / alone)
}

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let wanted: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let asked = |word: &str| wanted.is_empty() || wanted.iter().any(|one| one == word);
    let folder: PathBuf = tempfile::tempdir()?.keep();
    let artifacts = artifacts(&folder).await?;
    let own = own_start(&artifacts[0]).await?;
    println!("the server's own start: {:.1} ms", own * 1000.0);
    let mut good = true;
    if asked("upload") {
        good &= upload().await?;
    }
    if asked("unchanged") {
        good &= unchanged(&artifacts).await?;
    }
    if asked("switch") {
        good &= switch(&artifacts, own).await?;
    }
    if asked("rollback") {
        good &= rollback(&artifacts, own).await?;
    }
    if asked("fleet") {
        good &= fleet(&artifacts).await?;
    }
    fs::remove_dir_all(folder)?;
    ensure!(good, "a goal was missed");
    Ok(())
}
