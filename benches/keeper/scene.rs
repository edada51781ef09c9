//! One row's scene: world, journal, daemon; and what the daemon's metrics say of a stretch of time.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::{
    daemon::{Daemon, Pace},
    provider,
    seed::seed,
    world::{self, World, monotonic_ns},
};

/// Longest wait for anything that should come in a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything a row has running; the daemon ends first.
pub struct Scene {
    /// The daemon.
    pub daemon: Daemon,
    /// What it watches.
    pub world: Arc<World>,
    runtime: Runtime,
    _folder: TempDir,
}

impl Scene {
    /// Seeds a journal of at least `rows` records about `nodes` nodes that serve, and starts the daemon over it.
    pub fn set(nodes: usize, rows: usize, pace: Pace) -> Result<Self> {
        // On a disk, since a commit is only as quick as its fsync; not in a folder that may be memory.
        Self::set_in(Path::new(env!("CARGO_TARGET_TMPDIR")), nodes, rows, pace)
    }

    /// The same with the state under `place`.
    pub fn set_in(place: &Path, nodes: usize, rows: usize, pace: Pace) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let folder = TempDir::with_prefix_in("keeper-", place)?;
        let world = Arc::new(World::default());
        let listeners = runtime.block_on(world::listen(nodes))?;
        let addresses: Vec<_> = listeners.iter().map(|(_, address)| *address).collect();
        let tenants = seed(&runtime, folder.path(), &addresses, rows)?;
        let provider = runtime.block_on(async {
            world::open(&world, listeners, tenants);
            provider::serve(Arc::clone(&world)).await
        })?;
        let daemon = Daemon::start(folder.path(), provider, nodes, pace)?;
        Ok(Self { daemon, world, runtime, _folder: folder })
    }

    /// Lets time pass.
    pub fn wait(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// Waits until `come` has come, and fails with the daemon's last words when it does not.
    pub fn until(&self, what: &str, come: impl Fn(&World) -> bool) -> Result<()> {
        let opening = monotonic_ns();
        while !come(&self.world) {
            if Duration::from_nanos(monotonic_ns() - opening) > PATIENCE {
                bail!("{what} did not come; the daemon's last words:\n{}", self.daemon.last_words());
            }
            self.wait(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits until every node was asked and the provider listed twice, and a moment more for what a start stirs up.
    pub fn settle(&self) -> Result<()> {
        let nodes = self.world.nodes().len();
        self.until("the first probe of each node", |world| world.asked.load(Relaxed) >= nodes)?;
        self.until("two lists", |world| world.lists.load(Relaxed) >= 2)?;
        self.wait(Duration::from_secs(2));
        Ok(())
    }

    /// What happens in `time`.
    pub fn stretch(&self, time: Duration) -> Result<Stretch> {
        let before = Sample::take(&self.daemon)?;
        let (cpu, asked, opening) = (self.daemon.cpu()?, self.world.asked.load(Relaxed), monotonic_ns());
        self.wait(time);
        let (cpu, asked) = (self.daemon.cpu_since(&cpu)?, self.world.asked.load(Relaxed) - asked);
        let took = Duration::from_nanos(monotonic_ns() - opening);
        let (rss_mb, peak_mb) = self.daemon.rss_mb()?;
        let after = Sample::take(&self.daemon)?;
        let counted = |name: &str| after.value(name) - before.value(name);
        Ok(Stretch {
            asked,
            cpu,
            took,
            rss_mb,
            peak_mb,
            checks: counted("vast_keeper_probe_lateness_seconds_count"),
            failing: counted(r#"vast_keeper_probes_total{kind="failing"}"#),
            late: before.lateness.iter().zip(&after.lateness).map(|(a, b)| (b.0, b.1 - a.1)).collect(),
        })
    }
}

/// A stretch of a daemon's life.
#[derive(Debug)]
pub struct Stretch {
    /// Requests that came to the servers.
    pub asked: usize,
    /// CPU of the daemon, all threads, user and system.
    pub cpu: Duration,
    /// How long it was.
    pub took: Duration,
    /// Resident at its end.
    pub rss_mb: f64,
    /// Highest resident since the daemon's start.
    pub peak_mb: f64,
    /// Observations the daemon counted.
    pub checks: f64,
    /// Those that failed.
    pub failing: f64,
    /// Starts at most so late, in seconds, cumulative.
    late: Vec<(f64, f64)>,
}

impl Stretch {
    /// CPU per check in milliseconds.
    pub fn cpu_ms(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / self.asked as f64
    }

    /// CPU as a share of one core in percent.
    pub fn cpu_percent(&self) -> f64 {
        self.cpu.as_secs_f64() / self.took.as_secs_f64() * 100.0
    }

    /// The lateness in milliseconds that `share` of the starts did not exceed, linear within a bucket.
    pub fn late_ms(&self, share: f64) -> f64 {
        let wanted = share * self.late.last().map_or(0.0, |(_, all)| *all);
        let mut low = (0.0, 0.0);
        for (edge, count) in &self.late {
            if *count >= wanted {
                let within = (wanted - low.1) / (count - low.1).max(1.0);
                let edge = if edge.is_finite() { *edge } else { low.0 * 2.0 };
                return (low.0 + (edge - low.0) * within) * 1e3;
            }
            low = (*edge, *count);
        }
        f64::NAN
    }
}

/// The metrics of one moment.
struct Sample {
    values: BTreeMap<String, f64>,
    lateness: Vec<(f64, f64)>,
}

impl Sample {
    fn take(daemon: &Daemon) -> Result<Self> {
        let text = daemon.metrics()?;
        let mut sample = Self { values: BTreeMap::new(), lateness: Vec::new() };
        for line in text.lines().filter(|line| line.starts_with("vast_keeper_prob")) {
            let (name, value) = line.rsplit_once(' ').context("a metric without a value")?;
            let value: f64 = value.parse()?;
            if let Some(edge) = name.strip_prefix(r#"vast_keeper_probe_lateness_seconds_bucket{le=""#) {
                let edge = edge.trim_end_matches("\"}");
                sample.lateness.push((edge.replace("+Inf", "inf").parse()?, value));
            }
            sample.values.insert(name.to_owned(), value);
        }
        Ok(sample)
    }

    fn value(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or(0.0)
    }
}
