//! What the whole keeper costs, how punctual it is, and how quick.
//!
//! ```text
//! cargo bench -p vast-keeper --bench keeper                       every row, under three minutes
//! cargo bench -p vast-keeper --bench keeper -- cpu kill           cpu | lateness | daemon | kill | start
//! cargo bench -p vast-keeper --bench keeper -- cpu --seconds 20   longer rows
//! ```
//!
//! A harness of its own instead of criterion: what matters is not the time of one call, it is the CPU and the memory of a
//! daemon under a schedule, and the time between two events in two processes.
//!
//! Each row starts the real `vast-keeper run` in a process of its own, over a state folder that the real store wrote:
//! whole lives of its nodes, which now serve at loopback addresses of their own. Their servers and a provider (complete
//! lists in pages of 25, 5,000 rows are 200 pages; spacing of calls off) run in the harness' process and cost the daemon
//! nothing but the kernel's share of loopback. The conditions are the default preset, the answer must echo the node's
//! identity, the timeout is nine tenths of the interval, notices have no sinks, the log is at `info` into a file.
//!
//! - **cpu**: CPU of all the daemon's threads, user and system (`/proc/PID/task/*/schedstat`), divided by the requests
//!   that reached the servers: timer, connection, answer, conditions, channel, engine step, history and metrics are all
//!   in; lists are not due. The yardstick is a `reqwest` loop, 64 tasks back to back that judge nothing, in the same run.
//! - **lateness**: of probes' starts against their schedule, by the daemon's own histogram (linear within a bucket). What
//!   hangs begins to hang as the row begins, so the incidents of the whole fleet fall into it. The yardstick is 5,000 bare
//!   timers.
//! - **daemon**: CPU and resident memory with lists at their default interval of 20 s; the row is long enough for one.
//! - **kill**: from the server writing the answer that crosses the threshold to the DELETE arriving at the provider, which
//!   has said `exited` in two lists before; evidence, rails, the durable commit and a fresh connection are in. 100 kills,
//!   one after the other. The yardstick is a bare write of 4 KiB with its fsync on the same disk; with the journal in
//!   memory the disk is left out.
//! - **start**: from the process' start to the first request that reaches a server: 1,000 nodes, 100,000 journal records.
//!
//! Wall-clock rows suffer from whatever else the machine does; the load average is printed with them.

mod bare;
mod daemon;
mod provider;
mod scene;
mod seed;
mod world;

use std::{
    env, fs, io::Write, net::SocketAddr, path::Path, process::Command, sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use self::{
    daemon::Pace,
    scene::{Scene, Stretch},
    world::{Mood, Node, World},
};

const MODES: [&str; 5] = ["cpu", "lateness", "daemon", "kill", "start"];
/// As often as the goals ask for.
const SECONDLY: Pace = Pace { interval_ms: 1000, keep_alive: false, list_ms: 20_000 };
/// Lists that are due only at the start.
const SELDOM_MS: u64 = 1_800_000;
/// Addresses of the bare loop.
const BARE_TARGETS: usize = 250;
const KILLS: usize = 100;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["bare", what, time, targets @ ..] = words.as_slice() {
        return say(&bare(what, time.parse()?, targets)?);
    }
    let mut seconds = 5;
    if let Some(at) = words.iter().position(|word| *word == "--seconds") {
        seconds = words.get(at + 1).context("`--seconds` takes a number")?.parse()?;
        words.drain(at..at + 2);
    }
    if let Some(unknown) = words.iter().find(|word| !MODES.contains(word)) {
        bail!("unknown mode `{unknown}`; the modes are {}", MODES.join(", "));
    }
    raise_limit()?;
    let time = Duration::from_secs(seconds);
    let wanted = |mode: &str| words.is_empty() || words.contains(&mode);
    for mode in MODES.into_iter().filter(|mode| wanted(mode)) {
        match mode {
            "cpu" => cpu(time)?,
            "lateness" => lateness(time)?,
            "daemon" => daemon(time)?,
            "kill" => kill()?,
            _ => start()?,
        }
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load {}", load.split(' ').next().unwrap_or("unknown"))
}

/// A listener for each node and a connection for each hung probe.
fn raise_limit() -> Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    Ok(rustix::process::setrlimit(rustix::process::Resource::Nofile, raised)?)
}

fn bare(what: &str, seconds: u64, targets: &[&str]) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let time = Duration::from_secs(seconds);
    let targets: Vec<SocketAddr> = targets.iter().map(|target| target.parse()).collect::<Result<_, _>>()?;
    match what {
        "timers" => {
            let (p50, p99) = runtime.block_on(bare::timers(5000, time))?;
            Ok(format!("{p50} {p99}"))
        }
        "writes" => {
            let (p50, p99) = bare::writes(KILLS)?;
            Ok(format!("{p50} {p99}"))
        }
        _ => Ok(runtime.block_on(bare::requests(&targets, what == "kept", time))?.to_string()),
    }
}

/// A yardstick in a process of its own; the numbers it prints.
fn yardstick(what: &str, time: Duration, targets: &[SocketAddr]) -> Result<Vec<f64>> {
    let output = Command::new(env::current_exe()?)
        .args(["bare", what, &time.as_secs().to_string()])
        .args(targets.iter().map(ToString::to_string))
        .output()?;
    if !output.status.success() {
        bail!("the yardstick failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

fn cpu(time: Duration) -> Result<()> {
    say("CPU per check, all in                    keeper ms   bare reqwest ms   ratio")?;
    for (name, what, keep_alive) in [("fresh connection", "fresh", false), ("keep-alive", "kept", true)] {
        let scene = Scene::set(5000, 0, Pace { keep_alive, list_ms: SELDOM_MS, ..SECONDLY })?;
        scene.settle()?;
        let stretch = scene.stretch(time)?;
        doubt(&stretch, 0.0)?;
        let targets: Vec<SocketAddr> =
            scene.world.nodes().iter().take(BARE_TARGETS).map(|node| node.address).collect();
        let keeper = stretch.cpu_ms();
        // The yardstick must not share the processors with the daemon.
        scene.daemon.pause()?;
        let bare = *yardstick(what, time, &targets)?.first().context("no figure")?;
        let load = load();
        say(&format!(
            "  5,000 nodes on 1 s, {name:<18} {keeper:>9.4} {bare:>17.4} {:>7.2}   {load}",
            keeper / bare
        ))?;
    }
    Ok(())
}

fn lateness(time: Duration) -> Result<()> {
    say("start lateness on a 1 s interval       p50 ms   p99 ms   checks  failing   CPU %   RSS MB")?;
    for nodes in [200, 5000] {
        for (name, hung_percent) in [("healthy", 0), ("10 % hung", 10), ("all hung", 100)] {
            let scene = Scene::set(nodes, 0, SECONDLY)?;
            scene.settle()?;
            for (i, node) in scene.world.nodes().iter().enumerate() {
                node.be(if i % 100 < hung_percent { Mood::Hung } else { Mood::Well });
            }
            // Three intervals until the threshold, and as much again for what follows from it.
            let stretch =
                scene.stretch(if hung_percent == 0 { time } else { time.max(Duration::from_secs(7)) })?;
            let (p50, p99, load) = (stretch.late_ms(0.5), stretch.late_ms(0.99), load());
            let Stretch { checks, failing, rss_mb, .. } = stretch;
            say(&format!(
                "  {nodes:>5} nodes, {name:<20} {p50:>10.2} {p99:>8.2} {checks:>8} {failing:>8} {:>7.1} {rss_mb:>8.1}   {load}",
                stretch.cpu_percent()
            ))?;
        }
    }
    if let [p50, p99] = yardstick("timers", time, &[])?.as_slice() {
        say(&format!("  5,000 bare timers               {p50:>12.2} {p99:>8.2}   {}", load()))?;
    }
    Ok(())
}

fn daemon(time: Duration) -> Result<()> {
    say("the daemon, lists every 20 s             CPU %   RSS MB   peak MB")?;
    for nodes in [3, 200, 5000] {
        let scene = Scene::set(nodes, 0, SECONDLY)?;
        scene.settle()?;
        // A list of 5,000 rows is a load of its own: one of them belongs into the row.
        let stretch = scene.stretch(if nodes > 200 { Duration::from_secs(20) } else { time })?;
        doubt(&stretch, 0.0)?;
        let Stretch { rss_mb, peak_mb, .. } = stretch;
        say(&format!(
            "  {nodes:>5} nodes on 1 s                    {:>7.2} {rss_mb:>8.1} {peak_mb:>9.1}   {}",
            stretch.cpu_percent(),
            load()
        ))?;
    }
    Ok(())
}

/// Says so when checks had another outcome than the servers gave: the machine is too busy to trust the row.
fn doubt(stretch: &Stretch, failing: f64) -> Result<()> {
    if stretch.failing > failing {
        let Stretch { checks, failing, .. } = stretch;
        say(&format!(
            "  next row: {failing} of {checks} checks failed, the machine is too busy to trust it"
        ))?;
    }
    Ok(())
}

fn kill() -> Result<()> {
    say("threshold crossed → DELETE on the wire   p50 ms   p99 ms   max ms    kills")?;
    let (disk, memory) = (Path::new(env!("CARGO_TARGET_TMPDIR")), Path::new("/dev/shm"));
    for (nodes, name, place) in [
        (200, "on disk", disk),
        (5000, "on disk", disk),
        (200, "in memory", memory),
        (5000, "in memory", memory),
    ] {
        let list_ms = if nodes > 200 { 5000 } else { 500 };
        let scene = Scene::set_in(place, nodes, 0, Pace { list_ms, ..SECONDLY })?;
        scene.settle()?;
        for node in scene.world.nodes().iter().take(KILLS) {
            node.exited.store(true, Relaxed);
        }
        let heard = scene.world.lists.load(Relaxed) + 3;
        scene.until("the lists that say `exited`", |world| world.lists.load(Relaxed) >= heard)?;
        for node in scene.world.nodes().iter().take(KILLS) {
            node.be(Mood::Ill);
            scene.wait(Duration::from_millis(50));
        }
        let killed = |world: &World| -> Option<Vec<f64>> {
            let took = |node: &Node| {
                let (crossed, destroyed) = (node.crossed_ns.load(Relaxed), node.destroyed_ns.load(Relaxed));
                (destroyed > 0).then(|| destroyed.saturating_sub(crossed) as f64 / 1e6)
            };
            world.nodes().iter().take(KILLS).map(took).collect()
        };
        scene.until("the last DELETE", |world| killed(world).is_some())?;
        let mut took = killed(&scene.world).context("a kill was taken back")?;
        took.sort_by(f64::total_cmp);
        let at =
            |share: usize| took.get(took.len() * share / 100).or(took.last()).copied().unwrap_or(f64::NAN);
        say(&format!(
            "  {nodes:>5} nodes, journal {name:<9}       {:>8.2} {:>8.2} {:>8.2} {:>8}   {}",
            at(50),
            at(99),
            at(100),
            took.len(),
            load()
        ))?;
    }
    if let [p50, p99] = yardstick("writes", Duration::ZERO, &[])?.as_slice() {
        say(&format!("  a bare durable write of 4 KiB      {p50:>10.2} {p99:>8.2}   {}", load()))?;
    }
    Ok(())
}

fn start() -> Result<()> {
    say("start → first probe                              ms")?;
    for (nodes, rows) in [(3, 0), (1000, 100_000)] {
        let scene = Scene::set(nodes, rows, SECONDLY)?;
        scene.until("the first probe", |world| world.first_asked_ns.load(Relaxed) > 0)?;
        let took = scene.world.first_asked_ns.load(Relaxed) - scene.daemon.started_ns;
        say(&format!(
            "  {nodes:>5} nodes, {rows:>6} journal records    {:>10.1}   {}",
            took as f64 / 1e6,
            load()
        ))?;
    }
    Ok(())
}
