//! Performs commands, each in a task of its own, and brings the outcome back as an event.
//!
//! Every drastic command is checked against its expiry right before the send; nothing here decides anything.

mod rental;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
};

use super::{Edges, endpoints, evidence, releases::release_events, work::Job};
use crate::{
    clock::Clock,
    fleet::{
        command::{Chosen, Command},
        event::{Event, Seen},
        memory::{Memory, SelfCheck},
        name::{IncidentId, InstanceId, NodeName},
        policy::{Policy, Rung},
        state::Tenant,
        units::Timestamp,
        watch::Word,
    },
    metrics::Metrics,
    remote::{BoxAddress, Witnessed},
};

/// Boxes asked as witnesses at once; more wait, and their word may come too late to matter, never wrongly.
const WITNESSES_AT_ONCE: usize = 16;
/// Boxes asked at once whose maintenance their server is in; who waits too long for a turn is asked again.
const RESTS_AT_ONCE: usize = 8;
/// Deploys at once: uploads share one line.
const DEPLOYS_AT_ONCE: usize = 8;
/// How long a witness may take.
const WITNESS_LIMIT: Duration = Duration::from_secs(8);
/// How long ending a forgotten maintenance may take.
const MAINTENANCE_LIMIT: Duration = Duration::from_secs(90);
/// How long a canary may take.
const CANARY_LIMIT: Duration = Duration::from_secs(5);

/// Tasks under way.
pub(super) struct Executor {
    edges: Arc<Edges>,
    events: mpsc::Sender<Event>,
    clock: Clock,
    metrics: Arc<Metrics>,
    tasks: JoinSet<()>,
    work: BTreeMap<NodeName, AbortHandle>,
    /// Creates and destroys; each stays in here until its outcome was handed over.
    drastic: JoinSet<()>,
    witnesses: Arc<Semaphore>,
    deploys: Arc<Semaphore>,
    listing: Option<AbortHandle>,
    witnessing: BTreeMap<InstanceId, AbortHandle>,
    rests: Arc<Semaphore>,
    resting: BTreeMap<InstanceId, AbortHandle>,
}

impl Executor {
    pub fn new(edges: Edges, events: mpsc::Sender<Event>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self {
            edges: Arc::new(edges),
            events,
            clock,
            metrics,
            tasks: JoinSet::new(),
            work: BTreeMap::new(),
            drastic: JoinSet::new(),
            witnesses: Arc::new(Semaphore::new(WITNESSES_AT_ONCE)),
            deploys: Arc::new(Semaphore::new(DEPLOYS_AT_ONCE)),
            listing: None,
            witnessing: BTreeMap::new(),
            rests: Arc::new(Semaphore::new(RESTS_AT_ONCE)),
            resting: BTreeMap::new(),
        }
    }

    pub fn edges(&self) -> &Edges {
        &self.edges
    }

    /// Starts a command's task.
    pub fn perform(&mut self, command: Command, not_after: Timestamp, memory: &Memory, policy: &Policy) {
        while self.tasks.try_join_next().is_some() || self.drastic.try_join_next().is_some() {}
        if policy.observe_only && command.changes_something() {
            // The core orders none; should it ever, this is the last door.
            tracing::error!(command = command.word(), "not performed: the keeper only observes");
            return;
        }
        self.metrics.ordered(&command);
        match command {
            Command::List => self.list(),
            Command::ReadCredit => {
                let edges = Arc::clone(&self.edges);
                self.spawn(async move { Some(Event::CreditRead(edges.vast.credit().await)) });
            }
            Command::ReadCharges { from } => {
                let edges = Arc::clone(&self.edges);
                self.spawn(async move { Some(Event::ChargesRead(edges.vast.charges(from).await)) });
            }
            Command::CheckSelf => self.check_self(policy),
            Command::Search { node } => self.search(node, policy),
            Command::Create { node, offer, label } => self.create(node, *offer, label, not_after, policy),
            Command::Destroy { instance } => self.destroy(instance, not_after),
            Command::Start { node, instance, bid } => self.start(node, instance, bid, not_after),
            Command::Relabel { instance, label } => self.relabel(instance, label, not_after),
            Command::AttachKey { instance } => self.attach_key(instance),
            Command::AskWitness { node, tenant } => self.ask_witness(node, tenant, memory, policy),
            Command::EndMaintenance { node, tenant } => self.end_maintenance(node, tenant, memory, policy),
            Command::TakeEvidence { node, instance, incident, known, limit } => {
                self.take_evidence(node, instance, incident, known, limit, memory);
            }
            Command::Publish { addresses } => {
                let (edges, fleet) = (Arc::clone(&self.edges), policy.fleet.clone());
                self.spawn(async move {
                    let result = edges.publisher.publish(&edges.http, &fleet, &addresses).await;
                    Some(Event::Published { addresses, result })
                });
            }
            Command::StopWork { node } => {
                if let Some(work) = self.work.remove(&node) {
                    work.abort();
                }
            }
            Command::Deploy { node, tenant, release, deadline } => {
                if let Some(job) = Job::new(node, tenant, release, deadline, policy) {
                    self.deploy(job, memory);
                }
            }
            Command::Remedy { node, tenant, rung, release, deadline } => {
                if let Some(job) = Job::new(node, tenant, release, deadline, policy) {
                    self.remedy(job, rung, not_after, memory);
                }
            }
        }
    }

    fn spawn(&mut self, task: impl Future<Output = Option<Event>> + Send + 'static) -> AbortHandle {
        self.tasks.spawn(hand_over(task, self.events.clone()))
    }

    /// Like [`spawn`](Self::spawn), for what a stop must wait for.
    fn spawn_drastic(&mut self, task: impl Future<Output = Option<Event>> + Send + 'static) {
        self.drastic.spawn(hand_over(task, self.events.clone()));
    }

    /// Whether a list is under way; there is one at a time.
    pub fn is_listing(&self) -> bool {
        self.listing.as_ref().is_some_and(|listing| !listing.is_finished())
    }

    fn list(&mut self) {
        let edges = Arc::clone(&self.edges);
        self.listing = Some(self.spawn(async move { Some(Event::Listed(edges.vast.inventory().await)) }));
    }

    /// Builds or reads the wanted release before anything is rented for it.
    pub fn prepare_release(&mut self) {
        let edges = Arc::clone(&self.edges);
        let events = self.events.clone();
        self.spawn(async move {
            let mut told = release_events(&edges).await;
            let last = told.pop();
            for event in told {
                // The engine outlives its work except at the very end.
                let _ = events.send(event).await;
            }
            last
        });
    }

    fn check_self(&mut self, policy: &Policy) {
        let (edges, clock, canaries) = (Arc::clone(&self.edges), self.clock, policy.rails.canaries.clone());
        self.spawn(async move {
            let mut asked = JoinSet::new();
            for url in canaries {
                let http = edges.http.clone();
                asked.spawn(async move { http.get(url).timeout(CANARY_LIMIT).send().await.is_ok() });
            }
            let answers = asked.join_all().await;
            let count = |answers: usize| u32::try_from(answers).unwrap_or(u32::MAX);
            let answered = count(answers.iter().filter(|answered| **answered).count());
            Some(Event::SelfChecked(SelfCheck { at: clock.now(), answered, asked: count(answers.len()) }))
        });
    }

    fn search(&mut self, node: NodeName, policy: &Policy) {
        let Some(spec) = policy.nodes.get(&node).cloned() else { return };
        let edges = Arc::clone(&self.edges);
        self.spawn(async move {
            let answer = edges.vast.search(&spec.offers, spec.rental.disk_gb).await;
            Some(Event::Searched { node, answer })
        });
    }

    /// Aside: the destroy waits for the answer, but never beyond the core's deadline.
    fn take_evidence(
        &mut self,
        node: NodeName,
        instance: InstanceId,
        incident: Option<IncidentId>,
        known: String,
        limit: Duration,
        memory: &Memory,
    ) {
        let endpoints = memory.row(instance).map(endpoints).unwrap_or_default();
        let address = BoxAddress { instance, endpoints, user: self.edges.access.user.clone() };
        let edges = Arc::clone(&self.edges);
        self.spawn(async move {
            let shown = edges.remote.evidence(&address, limit).await;
            let shown = shown.unwrap_or_else(|fault| format!("\nthe box shows nothing: {fault}\n"));
            let name = evidence::file_name(incident, &node, instance);
            let kept = edges.evidence.keep(name, format!("{known}\n{shown}")).await;
            let result = kept
                .map(|(path, bytes)| format!("{bytes} bytes in `{}`", path.display()))
                .map_err(|fault| fault.to_string());
            Some(Event::EvidenceTaken { node, instance, result })
        });
    }

    /// Each box is asked once at a time: when many fail they wait for their turn longer than the core waits to ask again.
    fn ask_witness(&mut self, node: NodeName, tenant: Tenant, memory: &Memory, policy: &Policy) {
        let instance = tenant.instance;
        if self.witnessing.get(&instance).is_some_and(|asked| !asked.is_finished()) {
            return;
        }
        let Some(spec) = policy.nodes.get(&node).cloned() else { return };
        let (edges, clock, permits) = (Arc::clone(&self.edges), self.clock, Arc::clone(&self.witnesses));
        let address = self.address(&tenant, memory);
        let asked = self.spawn(async move {
            let _turn = permits.acquire().await;
            let asked_at = clock.now();
            let word = if address.endpoints.is_empty() {
                Word::Silent("the provider names no way to reach it".into())
            } else {
                let (port, health) = (spec.rental.port, &spec.health);
                let identity = health.require_identity.then_some(&tenant.rental.op);
                match edges.remote.witness(&address, port, &health.path, identity, WITNESS_LIMIT).await {
                    Witnessed::ServerUp => Word::Up("its own health check answers".into()),
                    Witnessed::Halfway(what) => {
                        return Some(Event::LeftBehind { node, instance, seen: Seen::Halfway(what) });
                    }
                    Witnessed::ServerDown(detail) => Word::Down(detail),
                    Witnessed::Silent(detail) => Word::Silent(detail),
                }
            };
            Some(Event::Witnessed { node, instance, asked_at, word })
        });
        self.witnessing.insert(instance, asked);
    }

    /// Aside: its server serves nobody meanwhile, and the box's lease keeps it apart from other work there.
    fn end_maintenance(&mut self, node: NodeName, tenant: Tenant, memory: &Memory, policy: &Policy) {
        let instance = tenant.instance;
        if self.resting.get(&instance).is_some_and(|asked| !asked.is_finished()) {
            return;
        }
        let (edges, clock, permits) = (Arc::clone(&self.edges), self.clock, Arc::clone(&self.rests));
        let address = self.address(&tenant, memory);
        let deadline = clock.now().after(MAINTENANCE_LIMIT);
        let release = Chosen::Configured(None);
        let Some(job) = Job::new(node, tenant, release, deadline, policy) else { return };
        let asked = self.spawn(async move {
            let _turn = permits.acquire().await;
            let seen = job.end_maintenance(&edges, address, clock).await;
            Some(Event::LeftBehind { node: job.node, instance, seen })
        });
        self.resting.insert(instance, asked);
    }

    /// How a box is reached, as the last list says: direct first, then the provider's relay.
    fn address(&self, tenant: &Tenant, memory: &Memory) -> BoxAddress {
        let endpoints = memory.row(tenant.instance).map(endpoints).unwrap_or_default();
        BoxAddress { instance: tenant.instance, endpoints, user: self.edges.access.user.clone() }
    }

    fn deploy(&mut self, job: Job, memory: &Memory) {
        let (edges, clock, permits) = (Arc::clone(&self.edges), self.clock, Arc::clone(&self.deploys));
        let address = self.address(&job.tenant, memory);
        let (node, events) = (job.node.clone(), self.events.clone());
        let work = self.spawn(async move {
            let _turn = permits.acquire().await;
            let result = job.deploy(&edges, address, clock, &events).await;
            Some(Event::DeployEnded { node: job.node, instance: job.tenant.instance, result })
        });
        self.take_up(node, work);
    }

    fn remedy(&mut self, job: Job, rung: Rung, not_after: Timestamp, memory: &Memory) {
        let (edges, clock) = (Arc::clone(&self.edges), self.clock);
        let address = self.address(&job.tenant, memory);
        let (node, events) = (job.node.clone(), self.events.clone());
        let work = self.spawn(async move {
            let result = job.remedy(rung, &edges, address, (clock, not_after), &events).await;
            Some(Event::RemedyWorked { node: job.node, instance: job.tenant.instance, rung, result })
        });
        self.take_up(node, work);
    }

    /// Whether an answer to something drastic is still awaited or on its way to the engine.
    pub fn is_busy(&self) -> bool {
        !self.drastic.is_empty()
    }

    /// Waits for one drastic task to end; for ever when there is none.
    pub async fn reap(&mut self) {
        if self.drastic.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends deploys and remedies, which the next start takes up again. What was sent to the provider goes on: its outcome
    /// is wanted, or is found by looking.
    pub fn stop_interruptible(&mut self) {
        for work in std::mem::take(&mut self.work).into_values() {
            work.abort();
        }
    }

    /// Takes up work on a node; whatever ran there before is obsolete.
    fn take_up(&mut self, node: NodeName, work: AbortHandle) {
        if let Some(obsolete) = self.work.insert(node, work) {
            obsolete.abort();
        }
    }
}

/// Carries a task's outcome to the engine, which outlives its tasks except at the very end, when nobody needs it.
async fn hand_over(task: impl Future<Output = Option<Event>>, events: mpsc::Sender<Event>) {
    if let Some(event) = task.await {
        let _ = events.send(event).await;
    }
}
