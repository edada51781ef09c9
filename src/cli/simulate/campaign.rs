//! Many runs on all cores. Which thread takes which run changes nothing: results are kept in the order of their seeds.

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    cli::exit::{self, Failure},
    clock::Clock,
    world::{self, Outcome, Setting, Tally, Violation},
};

/// Runs between two looks at whether it is enough, where their number is not known beforehand.
const ROUND: u64 = 8;

/// When a campaign ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Enough {
    /// After so many runs.
    Runs(u64),
    /// After the round of runs that completes so many recoveries.
    Recoveries(u64),
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Campaign {
    /// By seed.
    pub outcomes: BTreeMap<u64, Outcome>,
    pub tally: Tally,
    pub recoveries: u64,
    pub crashes: u64,
    /// Over the hashes of all runs in the order of their seeds.
    pub hash: u64,
    /// Node-hours simulated, the quiet time after the faults not counted.
    pub node_hours: f64,
    pub wall: Duration,
    pub cpu: Duration,
}

impl Campaign {
    pub fn violations(&self) -> impl Iterator<Item = (u64, Violation)> {
        self.outcomes.iter().filter_map(|(seed, outcome)| Some((*seed, outcome.violation.clone()?)))
    }

    pub fn recoveries_per_cpu_second(&self) -> f64 {
        self.recoveries as f64 / self.cpu.as_secs_f64().max(1e-3)
    }

    fn take(&mut self, round: BTreeMap<u64, Outcome>) {
        for (seed, outcome) in round {
            self.tally.join(&outcome.tally);
            self.recoveries += outcome.figures.recoveries;
            self.crashes += outcome.figures.crashes;
            self.node_hours += outcome.figures.node_hours;
            self.hash = self.hash.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ outcome.hash;
            self.outcomes.insert(seed, outcome);
        }
    }
}

/// Runs a campaign; `setting` says what the run of a seed is.
pub(super) async fn run<E: ToString + Send + 'static>(
    seed: u64,
    enough: Enough,
    setting: impl Fn(u64) -> Result<Setting, E> + Send + Sync + 'static,
) -> Result<Campaign, Failure> {
    let finished = tokio::task::spawn_blocking(move || all(seed, enough, &setting)).await;
    let finished =
        finished.map_err(|fault| Failure::new(exit::BUG, format!("a run did not end: {fault}")))?;
    finished.map_err(|message| Failure::new(exit::BUG, message))
}

fn all<E: ToString>(
    seed: u64,
    enough: Enough,
    setting: &(impl Fn(u64) -> Result<Setting, E> + Sync),
) -> Result<Campaign, String> {
    let (clock, cpu) = (Clock::new(), cpu_time());
    let began = clock.now();
    let (length, unit) = match enough {
        Enough::Runs(runs) => (runs, "runs"),
        Enough::Recoveries(recoveries) => (recoveries, "recoveries"),
    };
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{elapsed} {bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.set_message(unit);
    let mut campaign = Campaign {
        outcomes: BTreeMap::new(),
        tally: Tally::default(),
        recoveries: 0,
        crashes: 0,
        hash: 0,
        node_hours: 0.0,
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
    };
    let mut next = seed;
    loop {
        let runs = match enough {
            Enough::Runs(runs) => runs.saturating_sub(next.wrapping_sub(seed)).min(ROUND),
            Enough::Recoveries(wanted) if campaign.recoveries >= wanted => 0,
            Enough::Recoveries(_) => ROUND,
        };
        if runs == 0 || campaign.violations().count() > 0 {
            break;
        }
        campaign.take(round(next, runs, setting, &|outcome| {
            bar.inc(if unit == "runs" { 1 } else { outcome.figures.recoveries });
        })?);
        next = next.wrapping_add(runs);
    }
    bar.finish_and_clear();
    campaign.wall = clock.now().since(began);
    campaign.cpu = cpu_time().saturating_sub(cpu);
    Ok(campaign)
}

/// Some runs, one at a time on each core.
fn round<E: ToString>(
    first: u64,
    runs: u64,
    setting: &(impl Fn(u64) -> Result<Setting, E> + Sync),
    ended: &dyn Fn(&Outcome),
) -> Result<BTreeMap<u64, Outcome>, String> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let taken = Arc::new(AtomicU64::new(0));
    let (out, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            let (taken, out) = (Arc::clone(&taken), out.clone());
            scope.spawn(move || {
                loop {
                    let run = taken.fetch_add(1, Ordering::Relaxed);
                    if run >= runs {
                        return;
                    }
                    let seed = first.wrapping_add(run);
                    let outcome =
                        setting(seed).map(|setting| world::run(&setting)).map_err(|fault| fault.to_string());
                    if out.send((seed, outcome)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(out);
        let mut outcomes = BTreeMap::new();
        for (seed, outcome) in results {
            let outcome = outcome?;
            ended(&outcome);
            outcomes.insert(seed, outcome);
        }
        Ok(outcomes)
    })
}

/// What this process has had of the processors so far, all threads together.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
