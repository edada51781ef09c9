//! A small world: a provider with real boxes behind it, probes that see the truth, and a keeper that can be killed at any
//! point. Every fault leaves the truth known, so that what the keeper believes can be judged by it.

mod judge;
mod provider;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    super::super::{
        apply::Misfit,
        event::{Context, Event, IllegalEvent, Step},
        journal::Entry,
        memory::Memory,
        name::{HostId, InstanceId, MachineId, NodeName, OpId},
        notice::Notice,
        offer::{Offer, tests::offer},
        policy::{Policy, ReplaceOrder},
        probe::{Failure, Observation, Verdict},
        provider::Credit,
        state::{Fleet, Tenant},
        step::step,
        units::{Money, Timestamp},
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
        if seed % 2 == 1 {
            for spec in policy.nodes.values_mut() {
                Arc::make_mut(spec).order = ReplaceOrder::CreateFirst;
            }
        }
        if seed % 3 == 2 {
            let spare: NodeName = "duel-spare-0".parse().unwrap();
            let spec = Arc::clone(policy.nodes.values().next().unwrap());
            policy.nodes.insert(spare.clone(), spec);
            policy.spares.insert(spare);
        }
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
        if self.fault("mass cut", 1) {
            let ids: Vec<InstanceId> = self.boxes.keys().copied().collect();
            for id in ids {
                self.turn(id, State::Cut);
            }
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
