//! The only owner of mutable fleet state, and the only place that awaits effects.
//!
//! On every event: [`step`](crate::fleet::step::step), journal its entries in one durable transaction, perform its commands,
//! follow with the probes; events that wait are taken together (see `decide`). Each command's outcome comes back as an event. A
//! step that changes nothing is not journaled.
//!
//! A failed commit poisons the store handle: from then on nothing is decided, only probed and told, until the store opens
//! anew and the state is read back from it (see `storage`).

mod decide;
mod degraded;
mod edges;
mod ending;
mod evidence;
mod execute;
mod handle;
pub mod outbox;
mod publish;
mod releases;
mod report;
mod requests;
mod shelf;
mod storage;
mod targets;
mod timers;
mod work;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

pub use edges::{BoxAccess, Edges, endpoints};
pub use evidence::{EvidenceRoom, Scrub, of_incident};
pub use handle::{Gone, Handle, Kick};
pub use publish::Publisher;
pub use releases::Releases;
pub use report::{Journey, is_the_releases, placed};
pub use shelf::{KeptRelease, ServerEnv, Shelf};
pub use storage::{Storage, StorageFault, chain, fold};

use self::{decide::TOGETHER, execute::Executor, handle::Request, timers::Timers};
use crate::{
    clock::Clock,
    fleet::{
        command::Command,
        event::Event,
        memory::Memory,
        name::NodeName,
        policy::Policy,
        probe::{Target, Verdict},
        state::{Fleet, NodeState, Stage},
        units::Timestamp,
    },
    metrics::Metrics,
    probe::ProbeReport,
};

/// Events that may wait: a burst of answers must not block the tasks that bring them for long.
const EVENTS_WAITING: usize = 1024;
/// Requests of people and pages that may wait.
const REQUESTS_WAITING: usize = 64;
/// After reports were taken the next ones gather for so long: in a large fleet each would wake the engine's thread by
/// itself, which costs more than deciding on it. No verdict is in such a hurry.
const REPORTS_GATHER: Duration = Duration::from_millis(5);
/// The beat of the loop; its lateness shows a stall.
const BEAT: Duration = Duration::from_secs(1);
/// How often the account's credit is read.
const CREDIT_EVERY: Duration = Duration::from_secs(300);
/// How often the canaries are asked while a node fails.
const CANARIES_EVERY: Duration = Duration::from_secs(15);
/// How often a release that could not be prepared is tried again.
const PREPARE_EVERY: Duration = Duration::from_secs(300);

/// The engine and everything it drives.
pub struct Engine {
    clock: Clock,
    policy: Arc<Policy>,
    fleet: Fleet,
    memory: Memory,
    storage: Storage,
    executor: Executor,
    timers: Timers,
    watched: BTreeMap<NodeName, Target>,
    metrics: Arc<Metrics>,
    random: fastrand::Rng,
    events: mpsc::Receiver<Event>,
    probes: mpsc::Receiver<ProbeReport>,
    /// When reports are taken again.
    reports_from: Instant,
    requests: mpsc::Receiver<Request>,
    heartbeat: watch::Sender<Timestamp>,
    next_list: Timestamp,
    next_credit: Timestamp,
    next_canaries: Timestamp,
    next_release: Timestamp,
    list_wanted: bool,
    redeploys: requests::Redeploys,
    stop_patience: Duration,
    version: String,
}

/// What the engine is started with.
pub struct Parts {
    /// The keeper's clock.
    pub clock: Clock,
    /// What is wanted.
    pub policy: Policy,
    /// The state read back from the journal.
    pub fleet: Fleet,
    /// Where decisions are made durable.
    pub storage: Storage,
    /// The provider, the boxes, the probes.
    pub edges: Edges,
    /// Where the prober's reports arrive.
    pub probes: mpsc::Receiver<ProbeReport>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How long a stop waits for answers to what was sent: longer than a call to the provider may take.
    pub stop_patience: Duration,
    /// Seeds op ids and jitter.
    pub seed: u64,
    /// The keeper's version, for the journal.
    pub version: String,
}

enum Wake {
    Stop,
    Beat,
    Due,
    Event(Event),
    Probe(ProbeReport),
    Request(Request),
}

impl Engine {
    /// Puts the engine together; [`run`](Self::run) starts it.
    #[must_use]
    pub fn new(parts: Parts) -> (Self, Handle) {
        let (events_out, events) = mpsc::channel(EVENTS_WAITING);
        let (requests_out, requests) = mpsc::channel(REQUESTS_WAITING);
        let now = parts.clock.now();
        let (heartbeat, beats) = watch::channel(now);
        let policy = Arc::new(parts.policy);
        let handle = Handle::new(requests_out, beats);
        let engine = Self {
            clock: parts.clock,
            memory: Memory::starting(now, policy.rails.warm_up),
            fleet: parts.fleet,
            storage: parts.storage,
            executor: Executor::new(parts.edges, events_out, parts.clock, Arc::clone(&parts.metrics)),
            timers: Timers::default(),
            watched: BTreeMap::new(),
            metrics: parts.metrics,
            random: fastrand::Rng::with_seed(parts.seed),
            events,
            probes: parts.probes,
            reports_from: Instant::now(),
            requests,
            heartbeat,
            next_list: now,
            next_credit: now,
            next_canaries: now,
            next_release: now,
            list_wanted: false,
            redeploys: requests::Redeploys::default(),
            stop_patience: parts.stop_patience,
            version: parts.version,
            policy,
        };
        (engine, handle)
    }

    /// Runs until `stop`, then waits for the answers to what was sent, and journals them. The fleet stays as it is.
    pub async fn run(mut self, stop: CancellationToken) {
        self.boot().await;
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_beat = self.clock.now();
        loop {
            match self.wait(&stop, &mut beat).await {
                Wake::Stop => break,
                Wake::Beat => {
                    let now = self.clock.now();
                    let gap = now.since(last_beat);
                    last_beat = now;
                    if gap > self.policy.rails.stall + BEAT {
                        self.handle(Event::Stalled { gap }).await;
                    }
                    self.beat(now).await;
                }
                Wake::Due => {
                    let now = self.clock.now();
                    let due = std::iter::from_fn(|| self.timers.pop(now)).take(TOGETHER);
                    let looks: Vec<Event> = due.map(|node| Event::Look { node }).collect();
                    self.handle_all(looks).await;
                }
                Wake::Event(event) => {
                    let waiting = std::iter::from_fn(|| self.events.try_recv().ok());
                    let events: Vec<Event> = std::iter::once(event).chain(waiting).take(TOGETHER).collect();
                    self.handle_all(events).await;
                }
                Wake::Probe(report) => {
                    let waiting = std::iter::from_fn(|| self.probes.try_recv().ok());
                    let reports = std::iter::once(report).chain(waiting).take(TOGETHER);
                    let probed: Vec<Event> = reports.map(|report| probed(&self.metrics, report)).collect();
                    self.handle_all(probed).await;
                    self.reports_from = Instant::now() + REPORTS_GATHER;
                }
                Wake::Request(request) => self.answer(request).await,
            }
        }
        self.finish().await;
    }

    /// Cancel-safe throughout: channels, a timer and a token lose nothing when another arm wins.
    async fn wait(&mut self, stop: &CancellationToken, beat: &mut Interval) -> Wake {
        let due = self.timers.next().map(|at| Instant::now() + self.clock.now().until(at));
        let due = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Wake::Stop,
            _ = beat.tick() => Wake::Beat,
            Some(event) = self.events.recv() => Wake::Event(event),
            Some(request) = self.requests.recv() => Wake::Request(request),
            () = due => Wake::Due,
            Some(report) = gathered(&mut self.probes, self.reports_from) => Wake::Probe(report),
        }
    }

    async fn boot(&mut self) {
        let version = self.version.clone();
        self.memory.release_missing = Some("it is being prepared".into());
        self.next_release = self.clock.now();
        self.retarget_all();
        self.handle(Event::Booted { version }).await;
    }

    /// What time alone brings: lists, credit, canaries, a store that may be mended.
    async fn beat(&mut self, now: Timestamp) {
        self.heartbeat.send_replace(now);
        if self.storage.is_failed() {
            self.try_storage_again(now).await;
            return;
        }
        self.handle(Event::Beat).await;
        if now >= self.next_list {
            self.list(now);
        }
        if now >= self.next_credit {
            self.next_credit = now.after(CREDIT_EVERY);
            self.executor.perform(Command::ReadCredit, self.expiry(), &self.memory, &self.policy);
        }
        let failing = self.memory.watches.values().any(|watch| watch.failures > 0);
        if failing && now >= self.next_canaries && !self.policy.rails.canaries.is_empty() {
            self.next_canaries = now.after(CANARIES_EVERY);
            self.executor.perform(Command::CheckSelf, self.expiry(), &self.memory, &self.policy);
        }
        if self.memory.release_missing.is_some() && now >= self.next_release {
            self.next_release = now.after(PREPARE_EVERY);
            self.executor.prepare_release();
        }
        self.storage.tend().await;
        self.redeploy_next(now).await;
    }

    /// Reads the list now, or again at once when the one under way ends: that one may have begun too early.
    fn list(&mut self, now: Timestamp) {
        if self.executor.is_listing() {
            self.list_wanted = true;
            return;
        }
        let inventory = &self.policy.inventory;
        let wait = if self.is_busy() { inventory.busy_interval } else { inventory.interval };
        self.next_list = now.after(wait);
        self.executor.perform(Command::List, self.expiry(), &self.memory, &self.policy);
    }

    /// Whether something waits for the provider's lists.
    fn is_busy(&self) -> bool {
        let awaited = |state: &NodeState| match state {
            NodeState::Recovering(recovery) => !matches!(recovery.stage, Stage::Probation { .. }),
            NodeState::Vacant | NodeState::Suspect { .. } => true,
            NodeState::Serving(_) | NodeState::Remedying { .. } | NodeState::Held { .. } => false,
        };
        !self.fleet.doomed.is_empty()
            || self.memory.lists.good < 2
            || self.fleet.doubted
            || self.fleet.nodes.values().any(|node| awaited(&node.state))
    }

    fn expiry(&self) -> Timestamp {
        self.clock.now().after(self.policy.rails.command_expiry)
    }
}

/// The next report, not before `from`. Until then nobody listens, so that its arrival wakes no thread.
async fn gathered(probes: &mut mpsc::Receiver<ProbeReport>, from: Instant) -> Option<ProbeReport> {
    if from > Instant::now() {
        tokio::time::sleep_until(from).await;
    }
    probes.recv().await
}

/// Counts a probe and makes it an event.
fn probed(metrics: &Metrics, report: ProbeReport) -> Event {
    let ProbeReport { node, observation } = report;
    metrics.probed(&observation);
    if let Verdict::Failing(failure) = &observation.verdict {
        tracing::debug!(%node, %failure, "probe failed");
    }
    Event::Probed { node, observation }
}
