//! The only owner of mutable fleet state, and the only place that awaits effects.
//!
//! On every event: [`step`](crate::fleet::step::step), journal its entries in one durable transaction, perform its commands,
//! follow with the probes; events that wait are taken together (see `decide`). Each command's outcome comes back as an event. A step that changes nothing is not journaled.
//!
//! A failed commit poisons the store handle: from then on nothing is decided, only probed and told, until the store opens
//! anew and the state is read back from it (see `storage`).

mod decide;
mod execute;
mod handle;
pub mod outbox;
mod releases;
mod storage;
mod timers;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

pub use execute::{BoxAccess, Edges};
pub use handle::{Gone, Handle, Kick};
pub use releases::Releases;
pub use storage::{Storage, StorageFault, fold};

use self::{decide::TOGETHER, execute::Executor, handle::Request, timers::Timers};
use crate::{
    clock::Clock,
    fleet::{
        event::{Command, Context, Event},
        memory::Memory,
        name::NodeName,
        notice::{Notice, Severity, Topic},
        policy::Policy,
        probe::{Target, Verdict, Watched},
        state::{Fleet, NodeState, Stage},
        step::step,
        units::Timestamp,
        view::{self, FleetView},
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
/// How long a stop waits for answers to what was sent: longer than a create takes, shorter than systemd's patience.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

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
    redeploys: std::collections::VecDeque<NodeName>,
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
            redeploys: std::collections::VecDeque::new(),
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
        self.redeploy_next().await;
    }

    fn list(&mut self, now: Timestamp) {
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
            || self.fleet.nodes.values().any(|node| awaited(&node.state))
    }

    fn expiry(&self) -> Timestamp {
        self.clock.now().after(self.policy.rails.command_expiry)
    }

    fn retarget_all(&mut self) {
        let names: Vec<NodeName> = self.fleet.nodes.keys().chain(self.watched.keys()).cloned().collect();
        for name in names {
            self.retarget(&name);
        }
    }

    /// Points the node's probe at whom the state says to probe, if anybody.
    fn retarget(&mut self, name: &NodeName) {
        let spec = self.policy.nodes.get(name);
        let probed = self.fleet.nodes.get(name).and_then(|node| node.state.probed());
        let prober = &self.executor.edges().prober;
        let (Some(spec), Some(tenant)) = (spec, probed) else {
            if self.watched.remove(name).is_some() {
                prober.unwatch(name);
            }
            return;
        };
        let target =
            Target { node: name.clone(), address: tenant.address, identity: tenant.rental.op.clone() };
        if self.watched.get(name) == Some(&target) {
            return;
        }
        let watched = Watched { target: target.clone(), health: Arc::clone(spec) };
        match prober.watch(watched) {
            Ok(()) => {
                self.watched.insert(name.clone(), target);
            }
            Err(fault) => {
                tracing::error!(node = %name, fault = &fault as &dyn std::error::Error, "cannot probe the node");
            }
        }
    }

    /// With the store broken nothing is decided; health is still measured, so that the page and the metrics stay true.
    fn only_watch(&mut self, event: Event) {
        if let Event::Probed { node, observation } = event {
            self.memory.watch(&node).observe(observation);
        }
    }

    async fn storage_failed(&mut self, fault: StorageFault) {
        tracing::error!(fault = %fault, "the store failed: nothing is changed until it works again");
        let notice = Notice {
            at: self.clock.now(),
            severity: Severity::Critical,
            topic: Topic::Keeper,
            node: None,
            incident: None,
            title: "the keeper cannot write its journal: it only watches and tells".into(),
            facts: vec![("why".into(), fault.to_string())],
            next: "free the disk or mend the state directory; the keeper tries again by itself".into(),
        };
        self.storage.fail(fault, notice).await;
        self.executor.abandon();
    }

    async fn try_storage_again(&mut self, now: Timestamp) {
        let Some(fleet) = self.storage.reopen(now).await else { return };
        tracing::info!("the store works again; the state was read back from it");
        self.fleet = fleet;
        let watches = std::mem::take(&mut self.memory.watches);
        self.memory = Memory { watches, ..Memory::starting(now, self.policy.rails.warm_up) };
        self.timers = Timers::default();
        self.boot().await;
    }

    fn view(&self) -> FleetView {
        let mut view = view::view(&self.fleet, &self.memory, &self.policy, self.clock.now());
        if self.storage.is_failed() {
            view.summary = "storage-failed".into();
        }
        view
    }

    async fn answer(&mut self, request: Request) {
        match request {
            Request::View(reply) => drop(reply.send(self.view())),
            Request::Ask { node, wish, by, reply } => {
                let answer = self.handle(Event::Asked { node, wish, by }).await;
                let answer = answer.unwrap_or_else(|| {
                    crate::fleet::event::Reply::Refused("the keeper cannot write its journal".into())
                });
                drop(reply.send(answer));
            }
            Request::Reload { policy, reply } => {
                self.policy = policy;
                self.watched.clear();
                self.retarget_all();
                self.handle(Event::PolicyChanged).await;
                let _ = reply.send(());
            }
            Request::Kick(kick) => self.kick(kick).await,
        }
    }

    async fn kick(&mut self, kick: Kick) {
        let now = self.clock.now();
        match kick {
            Kick::InventorySweep => self.list(now),
            Kick::OrphanCheck => {
                self.memory.strays_told.clear();
                self.list(now);
            }
            Kick::NightlyRedeploy => {
                self.executor.edges().releases.forget();
                self.redeploys = self.policy.nodes.keys().cloned().collect();
            }
            Kick::Digest => {
                let notice = handle::digest(&self.view(), now);
                if let Err(fault) = self.storage.commit(&self.fleet, Vec::new(), vec![notice]).await {
                    self.storage_failed(fault).await;
                }
            }
        }
    }

    /// Planned redeploys go one after the other through the same rails as everything that disrupts.
    async fn redeploy_next(&mut self) {
        let Some(node) = self.redeploys.front().cloned() else { return };
        let wish = crate::fleet::event::Wish::Redeploy;
        let reply = self.handle(Event::Asked { node, wish, by: "the schedule".into() }).await;
        match reply {
            // A rail is in the way: the same node is asked again at the next beat.
            None | Some(crate::fleet::event::Reply::Refused(_)) => {}
            Some(_) => {
                self.redeploys.pop_front();
            }
        }
    }

    /// Nothing new is begun; what was sent is awaited, so that its outcome is on record.
    async fn finish(mut self) {
        self.executor.stop_interruptible();
        let patience = tokio::time::sleep(STOP_PATIENCE);
        tokio::pin!(patience);
        while self.executor.is_busy() {
            tokio::select! {
                () = &mut patience => break,
                Some(event) = self.events.recv() => {
                    self.record_only(event).await;
                }
                () = self.executor.reap() => {}
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.record_only(event).await;
        }
        self.storage.close(&self.fleet).await;
    }

    /// Decides as ever and journals it, but performs nothing: the next start does what is due then.
    async fn record_only(&mut self, event: Event) {
        if self.storage.is_failed() {
            return;
        }
        if !matches!(event, Event::CreateAnswered { .. } | Event::DestroyAnswered { .. }) {
            return;
        }
        let policy = Policy { observe_only: true, ..(*self.policy).clone() };
        let context = Context { now: self.clock.now(), policy: &policy, random: self.random.u64(..) };
        let Ok(step) = step(&mut self.fleet, &mut self.memory, event, &context) else { return };
        if let Err(fault) = self.storage.commit(&self.fleet, step.entries, step.notices).await {
            tracing::error!(fault = %fault, "the last answers could not be journaled");
        }
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
