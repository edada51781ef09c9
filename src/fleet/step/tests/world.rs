//! A small world: a provider with real boxes behind it, probes that see the truth, and a keeper that can be killed at any
//! point. Every fault leaves the truth known, so that what the keeper believes can be judged by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    super::super::{
        apply::Misfit,
        event::{Command, Context, Event, IllegalEvent, Step, WorkFault},
        journal::{DoomReason, Entry, Record, ReleaseRef},
        memory::{Memory, SelfCheck},
        name::{HostId, InstanceId, MachineId, NodeName, OpId, Ownership, ownership},
        notice::Notice,
        offer::{Offer, tests::offer},
        policy::Policy,
        probe::{Failure, Observation, Verdict},
        provider::{
            CreateAnswer, Credit, DestroyAnswer, Inventory, OffersFound, ProviderFault, Rental, Status,
        },
        state::{Fleet, Tenant},
        step::step,
        units::{Money, Timestamp},
        watch::Word,
    },
    policy,
};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
/// A box that was well for this long is not to be replaced for failing.
const WELL_FOR: u64 = 5 * MINUTE;

/// What a rented box truly is.
#[derive(Debug, Clone)]
pub struct Rented {
    pub label: Option<String>,
    machine: MachineId,
    host: HostId,
    price: Money,
    rented_at: u64,
    /// When it reaches `running`; `None` if it never does.
    ready_at: Option<u64>,
    /// Whose server runs on it.
    pub serves: Option<OpId>,
    pub state: State,
    /// Since when it has been well and reachable, if it is.
    well_since: Option<u64>,
}

/// How a box fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Up,
    /// The server hangs, the box answers over SSH.
    Hung,
    /// Cut off from the keeper, yet alive.
    Cut,
    /// Exited, and the provider says so.
    Dead,
}

enum Due {
    Tell(u32, Event),
    Look(u32, NodeName),
    Probe(NodeName),
    Beat,
    /// A create that the provider executes late.
    LateCreate {
        label: String,
        offer: Offer,
    },
    Deploy {
        epoch: u32,
        node: NodeName,
        tenant: Tenant,
    },
}

/// The whole of it.
pub struct World {
    pub seed: u64,
    pub now: u64,
    pub rng: fastrand::Rng,
    pub policy: Policy,
    pub fleet: Fleet,
    pub memory: Memory,
    pub journal: Vec<Entry>,
    pub notices: Vec<Notice>,
    pub boxes: BTreeMap<InstanceId, Rented>,
    /// Which kinds of faults exist now, as a mask over their names; none when zero.
    pub faults: u64,
    pub counts: BTreeMap<&'static str, u32>,
    foreign: BTreeSet<InstanceId>,
    /// Boxes whose destroy was accepted without effect: the provider itself said they were on their way out.
    undead: BTreeSet<InstanceId>,
    queue: BTreeMap<(u64, u64), Due>,
    next: u64,
    next_id: u64,
    epoch: u32,
    sent: BTreeSet<OpId>,
    /// When a list last lied about who exists.
    lied_at: u64,
    /// Nodes whose probes run.
    probing: BTreeSet<NodeName>,
}

impl World {
    pub fn new(seed: u64, nodes: usize) -> Self {
        let mut policy = policy(nodes);
        // Wide enough that healing itself is tried and not only the caps; tight enough that those are met too.
        policy.rails.node_creates = 6;
        policy.rails.node_window = Duration::from_secs(2 * 3600);
        policy.rails.fleet_hourly = 20;
        policy.rails.fleet_daily = 400;
        policy.rails.cooldown = Duration::from_secs(300);
        policy.rails.breaker_spacing = Duration::from_secs(120);
        let now = 1_000_000_000;
        let mut world = Self {
            seed,
            now,
            rng: fastrand::Rng::with_seed(seed),
            memory: Memory::starting(Timestamp(now), policy.rails.warm_up),
            policy,
            fleet: Fleet::default(),
            journal: Vec::new(),
            notices: Vec::new(),
            boxes: BTreeMap::new(),
            faults: 0,
            counts: BTreeMap::new(),
            foreign: BTreeSet::new(),
            undead: BTreeSet::new(),
            queue: BTreeMap::new(),
            next: 0,
            next_id: 1000,
            epoch: 0,
            sent: BTreeSet::new(),
            lied_at: 0,
            probing: BTreeSet::new(),
        };
        // Somebody else's boxes in the same account are always there.
        for label in [None, Some("another's".to_owned()), Some("vk:other:duel-0:abcdefghijk".to_owned())] {
            let id = world.rent(label, &offer(1));
            world.foreign.insert(id);
        }
        world.at(0, Due::Beat);
        world.handle(Event::Booted { version: "1".into() });
        world
    }

    fn at(&mut self, delay: u64, due: Due) {
        self.next += 1;
        self.queue.insert((self.now + delay, self.next), due);
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Whether a fault strikes now, where its kind exists: so often in a thousand occasions.
    fn fault(&mut self, what: &'static str, permille: u32) -> bool {
        let kind = what.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 64;
        let hit = self.faults >> kind & 1 == 1 && self.rng.u32(0..1000) < permille;
        if hit {
            self.count(what);
        }
        hit
    }

    fn rent(&mut self, label: Option<String>, offer: &Offer) -> InstanceId {
        self.next_id += 1;
        let id = InstanceId(self.next_id);
        let stuck = self.fault("stuck boot", 150);
        let ready_at = (!stuck).then(|| self.now + self.rng.u64(20..180) * SECOND);
        let rented = Rented {
            label,
            machine: offer.machine,
            host: offer.host,
            price: offer.price,
            rented_at: self.now,
            ready_at,
            serves: None,
            state: State::Up,
            well_since: Some(self.now),
        };
        self.boxes.insert(id, rented);
        id
    }

    /// Lets time pass until `until`.
    pub fn run(&mut self, until: u64) {
        while let Some((&(at, nr), _)) = self.queue.first_key_value() {
            if at > until {
                break;
            }
            // A crash or a stall lets time pass while others wait their turn.
            self.now = self.now.max(at);
            let Some(due) = self.queue.remove(&(at, nr)) else { break };
            match due {
                Due::Tell(epoch, event) if epoch == self.epoch => self.handle(event),
                Due::Look(epoch, node) if epoch == self.epoch => self.handle(Event::Look { node }),
                Due::Tell(..) | Due::Look(..) => {}
                Due::Probe(node) => self.probe(&node),
                Due::Beat => self.beat(),
                Due::LateCreate { label, offer } => {
                    self.rent(Some(label), &offer);
                }
                Due::Deploy { epoch, node, tenant } => self.deployed(epoch, node, &tenant),
            }
        }
        self.now = self.now.max(until);
    }

    /// One beat: lists and credit as the engine asks for them, and what befalls boxes and keeper.
    fn beat(&mut self) {
        self.at(5 * SECOND, Due::Beat);
        self.list();
        if self.rng.u32(0..60) == 0 {
            let credit = Credit { dollars: Money(100_000_000) };
            self.tell(100, Event::CreditRead(Ok(credit)));
        }
        let ids: Vec<InstanceId> = self.boxes.keys().copied().collect();
        for id in ids {
            let Some(state) = self.boxes.get(&id).map(|rented| rented.state) else { continue };
            let next = match state {
                State::Up if self.fault("hang", 2) => State::Hung,
                State::Up if self.fault("death", 1) => State::Dead,
                State::Up if self.fault("cut", 2) => State::Cut,
                State::Hung | State::Cut if self.rng.u32(0..200) == 0 => State::Up,
                state => state,
            };
            self.turn(id, next);
        }
        if self.fault("crash", 4) {
            self.crash();
        } else if self.fault("stall", 2) {
            self.now += self.rng.u64(11..300) * SECOND;
            self.handle(Event::Stalled { gap: Duration::from_secs(11) });
        }
    }

    /// Makes a box fare otherwise.
    pub fn turn(&mut self, id: InstanceId, state: State) {
        let now = self.now;
        if let Some(rented) = self.boxes.get_mut(&id)
            && rented.state != state
        {
            rented.state = state;
            rented.well_since = (state == State::Up).then_some(now);
        }
    }

    /// The keeper dies and comes back with what its journal holds.
    pub fn crash(&mut self) {
        self.epoch += 1;
        self.count("crashes");
        self.now += self.rng.u64(1..40) * SECOND;
        self.fleet = replayed(&self.journal).unwrap();
        self.memory = Memory::starting(Timestamp(self.now), self.policy.rails.warm_up);
        self.handle(Event::Booted { version: "1".into() });
    }

    fn tell(&mut self, delay: u64, event: Event) {
        self.at(delay, Due::Tell(self.epoch, event));
    }

    pub fn handle(&mut self, event: Event) {
        let context = Context { now: Timestamp(self.now), policy: &self.policy, random: self.rng.u64(..) };
        let shown = if let Event::Listed(_) = event { "a list".to_owned() } else { format!("{event:?}") };
        let step = match step(&mut self.fleet, &mut self.memory, event, &context) {
            Ok(step) => step,
            Err(IllegalEvent::UnknownOp { .. }) => Step::default(),
            Err(fault) => panic!("seed {}: {fault} after {shown}", self.seed),
        };
        self.judge(&step);
        self.journal.extend(step.entries.iter().cloned());
        self.notices.extend(step.notices);
        for (node, at) in step.looks {
            self.at(at.0.saturating_sub(self.now), Due::Look(self.epoch, node));
        }
        for command in step.commands {
            if self.fault("killed before a command", 30) {
                return self.crash();
            }
            self.perform(command);
        }
        self.retarget();
    }

    /// Each node's probe runs on its own timer, as long as the state says whom to probe.
    fn retarget(&mut self) {
        let probed: Vec<NodeName> = self
            .fleet
            .nodes
            .iter()
            .filter(|(name, node)| node.state.probed().is_some() && !self.probing.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in probed {
            self.probing.insert(name.clone());
            let wait = self.rng.u64(0..5 * SECOND);
            self.at(wait, Due::Probe(name));
        }
    }

    fn probe(&mut self, name: &NodeName) {
        let Some(tenant) = self.fleet.nodes.get(name).and_then(|node| node.state.probed()).cloned() else {
            self.probing.remove(name);
            return;
        };
        let answers =
            |rented: &Rented| rented.state == State::Up && rented.serves.as_ref() == Some(&tenant.rental.op);
        let well = self.boxes.get(&tenant.instance).is_some_and(answers);
        let verdict =
            if well { Verdict::Healthy } else { Verdict::Failing(Failure::Timeout { limit_ms: 5000 }) };
        let observation = Observation {
            at: Timestamp(self.now),
            lateness: Duration::ZERO,
            took: Duration::from_millis(20),
            identity: tenant.rental.op,
            verdict,
        };
        self.at(if well { MINUTE } else { 10 * SECOND }, Due::Probe(name.clone()));
        self.handle(Event::Probed { node: name.clone(), observation });
    }

    fn list(&mut self) {
        let at = Timestamp(self.now);
        let delay = self.rng.u64(50..3 * SECOND);
        if self.fault("list failed", 200) {
            let fault = match self.rng.u32(0..4) {
                0 => ProviderFault::Auth { detail: "auth_error".into() },
                1 => ProviderFault::RateLimited { retry_after_ms: Some(u64::MAX) },
                2 => ProviderFault::Malformed { detail: "short".into() },
                _ => ProviderFault::Unreachable { detail: "reset".into() },
            };
            return self.tell(delay, Event::Listed(Err(fault)));
        }
        let mut rentals: Vec<Rental> =
            self.boxes.iter().map(|(id, rented)| row(*id, rented, self.now)).collect();
        if self.fault("empty list", 40) {
            rentals.clear();
            self.lied_at = self.now;
        }
        if self.fault("list lacks a row", 40) && !rentals.is_empty() {
            let gone = self.rng.usize(0..rentals.len());
            rentals.remove(gone);
            self.lied_at = self.now;
        }
        self.tell(delay, Event::Listed(Ok(Inventory { started_at: at, rentals })));
    }

    fn perform(&mut self, command: Command) {
        match command {
            Command::List => self.list(),
            Command::ReadCredit => {
                self.tell(300, Event::CreditRead(Ok(Credit { dollars: Money(100_000_000) })));
            }
            Command::CheckSelf => {
                let check = SelfCheck { at: Timestamp(self.now), answered: 2, asked: 2 };
                self.tell(300, Event::SelfChecked(check));
            }
            Command::Search { node } => {
                let first = self.rng.u64(1..5000);
                let answer = if self.fault("no offers", 200) {
                    Ok(OffersFound { offers: Vec::new() })
                } else {
                    Ok(OffersFound { offers: (first..first + 5).map(offer).collect() })
                };
                self.tell(500, Event::Searched { node, answer });
            }
            Command::Create { node, offer, label } => self.create(node, &offer, &label.op, label.to_string()),
            Command::Destroy { instance } => self.destroy(instance),
            Command::Deploy { node, tenant, .. } => {
                let wait = self.rng.u64(10..120) * SECOND;
                self.at(wait, Due::Deploy { epoch: self.epoch, node, tenant });
            }
            Command::Remedy { node, tenant, rung, .. } => {
                if self.boxes.get(&tenant.instance).is_some_and(|rented| rented.state == State::Hung)
                    && self.rng.bool()
                {
                    self.turn(tenant.instance, State::Up);
                }
                self.tell(10 * SECOND, Event::RemedyWorked { node, rung, result: Ok(None) });
            }
            Command::AskWitness { node, tenant } => {
                let state = self.boxes.get(&tenant.instance).map(|rented| rented.state);
                let word = match state {
                    Some(State::Up) => Word::Up("its own health check answers".into()),
                    Some(State::Hung) => Word::Down("no answer on its own port".into()),
                    Some(State::Cut | State::Dead) | None => Word::Silent("no connection".into()),
                };
                if !self.fault("witness never answers", 300) {
                    let (instance, asked_at) = (tenant.instance, Timestamp(self.now));
                    self.tell(2 * SECOND, Event::Witnessed { node, instance, asked_at, word });
                }
            }
            Command::AttachKey { .. } | Command::StopWork { .. } => {}
        }
    }

    fn create(&mut self, node: NodeName, offer: &Offer, op: &OpId, label: String) {
        assert!(self.sent.insert(op.clone()), "seed {}: op {op} was sent twice", self.seed);
        self.count("creates");
        let answer = if self.fault("create lost, executed late", 150) {
            let late = self.rng.u64(1..110) * SECOND;
            self.at(late, Due::LateCreate { label, offer: offer.clone() });
            CreateAnswer::Ambiguous("no answer".into())
        } else if self.fault("create lost", 150) {
            CreateAnswer::Ambiguous("no answer".into())
        } else if self.fault("create answer lost", 150) {
            self.rent(Some(label), offer);
            CreateAnswer::Ambiguous("reset".into())
        } else if self.fault("create executed twice", 150) {
            self.rent(Some(label.clone()), offer);
            CreateAnswer::Created(self.rent(Some(label), offer))
        } else if self.fault("create broken", 150) {
            CreateAnswer::CreatedBroken(self.rent(Some(label), offer), "bid too low".into())
        } else if self.fault("offer gone", 150) {
            CreateAnswer::OfferGone("no_such_ask".into())
        } else if self.fault("create throttled", 150) {
            CreateAnswer::Refused(ProviderFault::RateLimited { retry_after_ms: None })
        } else if self.fault("create not sent", 150) {
            CreateAnswer::NotSent("expired".into())
        } else {
            CreateAnswer::Created(self.rent(Some(label), offer))
        };
        let delay = self.rng.u64(100..20 * SECOND);
        self.tell(delay, Event::CreateAnswered { node, op: op.clone(), answer });
    }

    fn destroy(&mut self, instance: InstanceId) {
        assert!(!self.foreign.contains(&instance), "seed {}: a foreign box was destroyed", self.seed);
        self.count("destroys");
        let unreachable = || DestroyAnswer::Failed(ProviderFault::Unreachable { detail: "reset".into() });
        let answer = if self.fault("destroy lost", 150) {
            unreachable()
        } else if self.fault("destroy accepted without effect", 150) {
            self.undead.insert(instance);
            DestroyAnswer::Acknowledged
        } else {
            self.boxes.remove(&instance);
            if self.fault("destroy answer lost", 150) { unreachable() } else { DestroyAnswer::Acknowledged }
        };
        self.tell(700, Event::DestroyAnswered { instance, answer });
    }

    fn deployed(&mut self, epoch: u32, node: NodeName, tenant: &Tenant) {
        let broken = self.fault("deploy failed", 100);
        let unknown = self.fault("deploy outcome unknown", 150);
        let Some(rented) = self.boxes.get_mut(&tenant.instance) else { return };
        let result = if broken {
            Err(WorkFault::Box("disk full".into()))
        } else if matches!(rented.state, State::Cut | State::Dead) {
            Err(WorkFault::Box("no connection".into()))
        } else {
            rented.serves = Some(tenant.rental.op.clone());
            let release = ReleaseRef { digest: "d".into(), commit: "c".into() };
            if unknown { Err(WorkFault::Unknown("cut off".into())) } else { Ok(release) }
        };
        self.at(0, Due::Tell(epoch, Event::DeployEnded { node, instance: tenant.instance, result }));
    }

    /// What must hold of every step, judged by the truth.
    fn judge(&mut self, step: &Step) {
        let seed = self.seed;
        let (fleet, policy) = (&self.fleet, &self.policy);
        let mut claimed = BTreeSet::new();
        for (name, node) in &fleet.nodes {
            if let Some((_, Some(instance))) = node.state.claim() {
                assert!(claimed.insert(instance), "seed {seed}: {instance} fills two nodes");
                assert!(
                    !fleet.doomed.contains_key(&instance),
                    "seed {seed}: {name} claims doomed {instance}"
                );
            }
        }
        let mut lies = 0;
        for entry in &step.entries {
            match &entry.record {
                Record::Doomed { instance, reason: DoomReason::Replaced { evidence }, .. } => {
                    let well = self.boxes.get(instance).and_then(|rented| {
                        let serving = rented.serves.is_some() && rented.ready_at.is_some();
                        rented.well_since.filter(|_| serving)
                    });
                    assert!(
                        well.is_none_or(|since| self.now - since < WELL_FOR),
                        "seed {seed}: {instance} was well, yet replaced: {evidence}"
                    );
                }
                Record::Gone { instance } if self.boxes.contains_key(instance) => lies += 1,
                _ => {}
            }
        }
        assert!(
            lies == 0 || self.now - self.lied_at < 3 * MINUTE,
            "seed {seed}: gone is not true, and no list lied"
        );
        for command in &step.commands {
            assert!(
                !(policy.observe_only && command.is_drastic()),
                "seed {seed}: {command:?} while observing"
            );
            match command {
                Command::Destroy { instance } => {
                    assert!(fleet.doomed.contains_key(instance), "seed {seed}: {instance} is not doomed");
                }
                Command::Create { node, label, .. } => {
                    let open = fleet.nodes.get(node).and_then(|node| node.state.claim());
                    let intended =
                        open.is_some_and(|(attempt, claimed)| attempt.op == label.op && claimed.is_none());
                    assert!(intended, "seed {seed}: a create without its intent");
                    let rented =
                        step.records().any(|r| matches!(r, Record::Intent { op, .. } if *op == label.op));
                    assert!(rented, "seed {seed}: the intent is of another step");
                    self.judge_create(node);
                }
                _ => {}
            }
        }
    }

    /// No second create while another box of the node is alive and could have been known.
    fn judge_create(&self, node: &NodeName) {
        self.count_rails();
        if self.now - self.lied_at < 10 * MINUTE {
            return;
        }
        let twin = self.boxes.iter().find(|(id, rented)| {
            let owner = ownership(rented.label.as_deref(), &self.policy.fleet);
            matches!(owner, Ownership::Ours(of, _) if of == *node)
                && !self.fleet.doomed.contains_key(id)
                && self.now - rented.rented_at > 3 * MINUTE
                && !self.undead.contains(id)
        });
        assert!(twin.is_none(), "seed {}: {node} is rented for while {twin:?} lives", self.seed);
    }

    /// The caps, counted by another hand than the guard's: over intents that may have rented something.
    fn count_rails(&self) {
        let failed: BTreeSet<&OpId> = self
            .journal
            .iter()
            .filter_map(|entry| match &entry.record {
                Record::CreateFailed { op, .. } => Some(op),
                _ => None,
            })
            .collect();
        let window = u64::try_from(self.policy.rails.node_window.as_millis()).unwrap();
        let mut per_node: BTreeMap<&NodeName, u32> = BTreeMap::new();
        for entry in self.journal.iter().rev().take_while(|entry| entry.at.0 + window > self.now) {
            if let Record::Intent { node, op, .. } = &entry.record
                && !failed.contains(op)
            {
                *per_node.entry(node).or_default() += 1;
            }
        }
        let most = self.policy.rails.node_creates;
        assert!(per_node.values().all(|count| *count <= most), "seed {}: {per_node:?}", self.seed);
    }

    /// Boxes of ours that no node claims.
    pub fn unclaimed(&self) -> Vec<InstanceId> {
        let claims = self.fleet.nodes.values().filter_map(|node| node.state.claim()?.1);
        let claimed: BTreeSet<InstanceId> = claims.collect();
        let ours = |rented: &Rented| {
            matches!(ownership(rented.label.as_deref(), &self.policy.fleet), Ownership::Ours(..))
        };
        self.boxes
            .iter()
            .filter(|(id, rented)| ours(rented) && !claimed.contains(id))
            .map(|(id, _)| *id)
            .collect()
    }
}

/// The state that a journal holds, read back as the store would: through its text.
pub fn replayed(journal: &[Entry]) -> Result<Fleet, Misfit> {
    let mut fleet = Fleet::default();
    for entry in journal {
        let text = serde_json::to_string(entry).unwrap();
        fleet.apply(&serde_json::from_str(&text).unwrap())?;
    }
    Ok(fleet)
}

fn row(id: InstanceId, rented: &Rented, now: u64) -> Rental {
    let running = rented.ready_at.is_some_and(|at| at <= now);
    let status = match rented.state {
        State::Dead => Status::Exited,
        _ if running => Status::Running,
        _ => Status::Starting,
    };
    let ports = if running { BTreeMap::from([(22, 40022), (5555, 45555)]) } else { BTreeMap::new() };
    Rental {
        id,
        label: rented.label.clone(),
        machine: rented.machine,
        host: rented.host,
        status,
        message: None,
        price: rented.price,
        gpu: "RTX 4090".into(),
        public_ip: running.then(|| std::net::Ipv4Addr::from(0x7f00_0000 + (id.0 as u32 & 0xffff)).into()),
        ports,
        ssh_proxy: None,
        ends_at: None,
    }
}
