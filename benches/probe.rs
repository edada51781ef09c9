//! What a probe costs and how punctual it is.
//!
//! ```text
//! cargo bench -p vast-keeper --bench probe                    every row, under two minutes
//! cargo bench -p vast-keeper --bench probe -- cpu             cpu | lateness | memory
//! cargo bench -p vast-keeper --bench probe -- --seconds 10    longer rows
//! ```
//!
//! A harness of its own instead of criterion, because what matters is not the time of one call: it is the CPU of a whole
//! process under a schedule, the lateness of timers while targets hang, and resident memory.
//!
//! Each row runs in a process of its own (this program, started again), so that no row inherits another's heap. The
//! target servers run in a second one and cost the row nothing. A row starts the real prober over N nodes on a 1 s
//! interval, lets it settle, then counts for some seconds what comes out of its channel: probe, conditions of the preset,
//! verdict, cadence and channel are all in. CPU is the process clock (`CLOCK_PROCESS_CPUTIME_ID`: every thread, user and
//! system) divided by the reports. On loopback the kernel does part of the server's work in the name of the client; the
//! bare `reqwest` loop, 64 tasks back to back with nothing judged, has the same share and is the yardstick in the same
//! run. A hung target accepts and never answers; the timeout is 900 ms.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use vast_keeper::{
    clock::Clock,
    fleet::{
        policy::{HealthPolicy, NodeSpec, RentalSpec},
        probe::{Failure, Target, Verdict, Watched},
    },
    probe::Prober,
};

const BODY: &str = r#"{"status":"healthy","instance":"op","database":"connected","websocket":"running","maintenance":false,"uptime":86400000,"version":"1.4.2","commit":"0123456789abcdef0123456789abcdef01234567","streaming":{"active":true,"phase":"IDLE"}}"#;
/// Addresses that the targets are spread over. A closed connection blocks its port pair for a minute; with few addresses
/// the kernel would spend the row searching for a free local port, which nobody with a box per address ever sees.
const ADDRESSES: u8 = 250;
const SETTLE: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(900);

/// What one process measures.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    /// The bare loop instead of the prober.
    reqwest: bool,
    nodes: usize,
    hung_percent: usize,
    keep_alive: bool,
    seconds: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    checks: usize,
    /// Checks with another outcome than the target's, and what the first of them was.
    wrong: usize,
    first_wrong: Option<String>,
    cpu_ms: f64,
    late_p50_ms: f64,
    late_p99_ms: f64,
    late_max_ms: f64,
    rss_mb: f64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => runtime()?.block_on(serve()),
        ["row", row, targets @ ..] => {
            let targets: Vec<SocketAddr> =
                targets.iter().map(|target| target.parse()).collect::<Result<_, _>>()?;
            let row: Row = serde_json::from_str(row)?;
            let figures = if row.reqwest {
                runtime()?.block_on(bare_loop(&row, &targets))?
            } else {
                probe(&row, &targets)?
            };
            say(&serde_json::to_string(&figures)?)
        }
        ["--seconds", seconds] => bench(&["cpu", "lateness", "memory"], seconds.parse()?),
        [mode, "--seconds", seconds] => bench(&[mode], seconds.parse()?),
        [] => bench(&["cpu", "lateness", "memory"], 5),
        modes => bench(modes, 5),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// A process that ends with its owner.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // A process that has ended already needs neither.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[String]) -> Result<(Owned, BufReader<std::process::ChildStdout>)> {
    let mut child = Command::new(env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("the child has no output")?;
    Ok((Owned(child), BufReader::new(stdout)))
}

fn bench(modes: &[&str], seconds: u64) -> Result<()> {
    let (_server, mut output) = start(&["serve".into()])?;
    let mut line = String::new();
    output.read_line(&mut line)?;
    let targets: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let run = |row: Row| -> Result<Figures> {
        let mut arguments = vec!["row".to_owned(), serde_json::to_string(&row)?];
        arguments.extend(targets.iter().cloned());
        let (_child, mut output) = start(&arguments)?;
        let mut line = String::new();
        output.read_line(&mut line)?;
        let figures: Figures =
            serde_json::from_str(&line).with_context(|| format!("no figures for {row:?}"))?;
        if let Some(first) = &figures.first_wrong {
            let Figures { checks, wrong, .. } = figures;
            say(&format!(
                "  next row: {wrong} of {checks} checks went wrong, the machine is too busy to trust it (`{first}`)"
            ))?;
        }
        Ok(figures)
    };
    let row = |nodes, hung_percent| Row { reqwest: false, nodes, hung_percent, keep_alive: false, seconds };
    for mode in modes {
        match *mode {
            "cpu" => cpu(&run, seconds)?,
            "lateness" => {
                say("start lateness on a 1 s interval     p50 ms   p99 ms   max ms    checks   RSS MB")?;
                for nodes in [200, 5000] {
                    for (name, hung) in [("healthy", 0), ("10 % hung", 10), ("all hung", 100)] {
                        let Figures { checks, late_p50_ms, late_p99_ms, late_max_ms, rss_mb, .. } =
                            run(row(nodes, hung))?;
                        say(&format!(
                            "  {nodes:>5} nodes, {name:<20} {late_p50_ms:>9.2} {late_p99_ms:>8.2} {late_max_ms:>8.2} {checks:>9} {rss_mb:>8.1}"
                        ))?;
                    }
                }
            }
            "memory" => {
                say("RSS with every target hung at once       MB")?;
                for (name, reqwest, nodes) in
                    [("prober", false, 200), ("prober", false, 5000), ("bare reqwest", true, 5000)]
                {
                    let figures = run(Row { reqwest, ..row(nodes, 100) })?;
                    say(&format!("  {name:<14} {nodes:>5} nodes          {:>8.1}", figures.rss_mb))?;
                }
            }
            other => bail!("unknown mode `{other}`; the modes are cpu, lateness and memory"),
        }
    }
    Ok(())
}

fn cpu(run: &impl Fn(Row) -> Result<Figures>, seconds: u64) -> Result<()> {
    say("CPU per check                         prober ms   bare reqwest ms   ratio")?;
    for (name, keep_alive) in [("fresh connection", false), ("keep-alive", true)] {
        let bare = run(Row { reqwest: true, nodes: 64, hung_percent: 0, keep_alive, seconds })?;
        let prober = run(Row { reqwest: false, nodes: 5000, hung_percent: 0, keep_alive, seconds })?;
        say(&format!(
            "  5,000 nodes, {name:<20} {:>11.4} {:>17.4} {:>7.2}",
            prober.cpu_ms,
            bare.cpu_ms,
            prober.cpu_ms / bare.cpu_ms
        ))?;
    }
    Ok(())
}

/// The real prober over `row.nodes` nodes.
fn probe(row: &Row, targets: &[SocketAddr]) -> Result<Figures> {
    let (well, hung) = targets.split_at(targets.len() / 2);
    let policy = HealthPolicy {
        interval: INTERVAL,
        retry_interval: INTERVAL,
        timeout: TIMEOUT,
        keep_alive: row.keep_alive,
        ..HealthPolicy::default()
    };
    let rental = RentalSpec { allow_private_addresses: true, ..RentalSpec::default() };
    let spec = Arc::new(NodeSpec { health: policy, rental, ..NodeSpec::default() });
    let (out, mut reports) = mpsc::channel(1024);
    let prober = Prober::start(Clock::new(), 1, out)?;
    let hangs = |i: usize| i % 100 < row.hung_percent;
    for i in 0..row.nodes {
        let addresses = if hangs(i) { hung } else { well };
        let address = *addresses.get(i % addresses.len()).context("no targets")?;
        let target = Target { node: format!("n-{i}").parse()?, address, identity: "op".parse()? };
        prober.watch(Watched { target, health: Arc::clone(&spec) })?;
    }
    let mut late = Vec::with_capacity(row.nodes * usize::try_from(row.seconds)?);
    let mut wrong = Vec::new();
    let mut began = None;
    let start = Clock::new();
    let opening = start.now();
    while let Some(report) = reports.blocking_recv() {
        let elapsed = start.now().since(opening);
        if elapsed < SETTLE {
            continue;
        }
        let began = *began.get_or_insert_with(process_time);
        let hung = hangs(report.node.as_str().trim_start_matches("n-").parse()?);
        let right = |seen: &Verdict| match seen {
            Verdict::Healthy => !hung,
            Verdict::Failing(Failure::Timeout { .. }) => hung,
            Verdict::Maintenance | Verdict::Failing(_) => false,
        };
        let seen = report.observation.verdict;
        if !right(&seen) {
            wrong.push(seen.to_string());
        }
        late.push(report.observation.lateness);
        if elapsed >= SETTLE + Duration::from_secs(row.seconds) {
            return figures(late, &wrong, process_time() - began);
        }
    }
    bail!("the prober ended")
}

/// 64 tasks that ask back to back, or, where the targets hang, one task for each node.
async fn bare_loop(row: &Row, targets: &[SocketAddr]) -> Result<Figures> {
    rustls::crypto::ring::default_provider().install_default().ok().context("a second TLS provider")?;
    let (well, hung) = targets.split_at(targets.len() / 2);
    let all_hang = row.hung_percent == 100;
    let targets: Arc<[SocketAddr]> = if all_hang { hung.into() } else { well.into() };
    let mut client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    if !row.keep_alive {
        client = client.pool_max_idle_per_host(0);
    }
    let client = client.timeout(TIMEOUT).build()?;
    let (out, mut done) = mpsc::channel(1024);
    for i in 0..row.nodes {
        let (client, targets, out, keep_alive) =
            (client.clone(), Arc::clone(&targets), out.clone(), row.keep_alive);
        tokio::spawn(async move {
            loop {
                let Some(target) = targets.get(i % targets.len()) else { return };
                let mut request = client.get(format!("http://{target}/health"));
                if !keep_alive {
                    request = request.header("connection", "close");
                }
                let answered = match request.send().await {
                    Ok(answer) => answer.bytes().await.is_ok_and(|body| body.len() == BODY.len()),
                    Err(_) => false,
                };
                if out.send(answered != all_hang).await.is_err() {
                    return;
                }
            }
        });
    }
    let opening = Instant::now();
    let mut began = None;
    let (mut checks, mut wrong) = (Vec::new(), Vec::new());
    while let Some(right) = done.recv().await {
        if opening.elapsed() < SETTLE {
            continue;
        }
        let began = *began.get_or_insert_with(process_time);
        checks.push(Duration::ZERO);
        if !right {
            wrong.push("another outcome".to_owned());
        }
        if opening.elapsed() >= SETTLE + Duration::from_secs(row.seconds) {
            return figures(checks, &wrong, process_time() - began);
        }
    }
    bail!("the loop ended")
}

fn figures(mut late: Vec<Duration>, wrong: &[String], cpu: Duration) -> Result<Figures> {
    late.sort_unstable();
    let at = |share: usize| {
        late.get(late.len() * share / 1000).or(late.last()).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    let status = std::fs::read_to_string("/proc/self/status")?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let rss_kb: f64 = rss.trim().trim_end_matches("kB").trim().parse()?;
    Ok(Figures {
        checks: late.len(),
        wrong: wrong.len(),
        first_wrong: wrong.first().cloned(),
        cpu_ms: cpu.as_secs_f64() * 1e3 / late.len() as f64,
        late_p50_ms: at(500),
        late_p99_ms: at(990),
        late_max_ms: at(1000),
        rss_mb: rss_kb / 1024.0,
    })
}

fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Half of the listeners answer, half accept and hang. Their addresses are printed on one line.
async fn serve() -> Result<()> {
    let mut addresses = Vec::new();
    for i in 0..ADDRESSES {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 9, i + 1), 0)).await?;
        addresses.push(listener.local_addr()?.to_string());
        tokio::spawn(accept(listener, i >= ADDRESSES / 2));
    }
    // One accepted connection for each probe in flight.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised)?;
    say(&addresses.join(" "))?;
    std::future::pending().await
}

async fn accept(listener: TcpListener, hang: bool) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(answer(stream, hang))),
            // Out of descriptors for a moment: the rows see it as refused or hung and fail.
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn answer(mut stream: TcpStream, hang: bool) {
    let page = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let mut buffer = [0; 2048];
    let mut filled = 0;
    // Nobody asks later than this; an abandoned connection must not stay open for ever.
    while let Ok(Ok(read @ 1..)) = timeout(Duration::from_secs(60), stream.read(&mut buffer[filled..])).await
    {
        filled += read;
        let Some(head) = buffer.get(..filled) else { return };
        if hang || !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let close = head.windows(17).any(|part| part.eq_ignore_ascii_case(b"connection: close"));
        filled = 0;
        if stream.write_all(page.as_bytes()).await.is_err() || close {
            return;
        }
    }
}
