//! How a story is told: events in, and every record, command and notice that followed, as text to be read.
//!
//! Time passes in [`Story::pass`]: honest lists every 20 s, looks when they are due, the credit read now and then, and
//! healthy nodes stay so unless `no_probes`. What changes nothing is left out of the text.

mod show;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use show::title;

use super::{
    super::super::{
        event::{Context, Event, Step, Wish, WorkFault},
        journal::{Entry, ReleaseRef},
        memory::Memory,
        name::{HostId, InstanceId, MachineId, NodeName, OpId},
        policy::{Policy, Rung},
        probe::{Failure, Observation, Verdict},
        provider::{CreateAnswer, Credit, DestroyAnswer, Inventory, OffersFound, Rental, Status},
        state::{Fleet, NodeState, Tenant},
        step::step,
        units::{Money, Timestamp},
        watch::Word,
    },
    node, offers, policy, replayed,
};

pub struct Story {
    pub policy: Policy,
    pub fleet: Fleet,
    /// What replay comes to, entry by entry.
    pub folded: Fleet,
    pub memory: Memory,
    pub now: u64,
    pub journal: Vec<Entry>,
    pub text: String,
    /// What lists show beside the rentals the keeper knows.
    pub extra: Vec<Rental>,
    /// What lists leave out.
    pub absent: BTreeSet<InstanceId>,
    /// Statuses other than running.
    pub status: BTreeMap<InstanceId, Status>,
    pub lists_fail: bool,
    /// The prober itself is dead: no observation comes.
    pub no_probes: bool,
    /// The loop's beat is part of the story: whoever goes unprobed is then noticed.
    pub beats: bool,
    pub last: Step,
    began: u64,
    looks: BTreeSet<(u64, NodeName)>,
    ops: Vec<String>,
    next_instance: u64,
    next_offer: u64,
}

impl Story {
    /// A keeper that starts with nothing.
    pub fn new(policy: Policy) -> Self {
        Self {
            memory: Memory::starting(Timestamp(1_000_000), policy.rails.warm_up),
            policy,
            fleet: Fleet::default(),
            folded: Fleet::default(),
            now: 1_000_000,
            journal: Vec::new(),
            text: String::new(),
            extra: Vec::new(),
            absent: BTreeSet::new(),
            status: BTreeMap::new(),
            lists_fail: false,
            no_probes: false,
            beats: false,
            last: Step::default(),
            began: 1_000_000,
            looks: BTreeSet::new(),
            ops: Vec::new(),
            next_instance: 100,
            next_offer: 1,
        }
    }

    /// A fleet that has served for an hour; the text begins there.
    pub fn serving(nodes: usize) -> Self {
        Self::serving_with(policy(nodes))
    }

    pub fn serving_with(policy: Policy) -> Self {
        let mut story = Self::new(policy);
        story.boot();
        story.pass(360);
        let names: Vec<NodeName> = story.policy.nodes.keys().cloned().collect();
        for name in names {
            story.fill(&name);
        }
        story.pass(3600);
        for name in story.policy.nodes.keys().cloned().collect::<Vec<_>>() {
            story.ok(&name);
        }
        story.start_telling();
        story
    }

    pub fn start_telling(&mut self) {
        self.text.clear();
        self.began = self.now;
    }

    /// From the search on, all goes well.
    pub fn fill(&mut self, name: &NodeName) {
        self.searched(name);
        let instance = self.next_instance();
        self.answered(name, CreateAnswer::Created(instance));
        self.pass(20);
        self.deployed(name);
        self.pass(1);
        self.ok(name);
        self.ok(name);
    }

    pub fn boot(&mut self) {
        self.tell(Event::Booted { version: "1".into() });
        self.tell(Event::CreditRead(Ok(Credit { dollars: Money(50_000_000) })));
    }

    /// The keeper dies and starts anew with what is on record up to `kept` entries.
    pub fn restart(&mut self, kept: usize) {
        self.restart_for(kept, Self::boot);
    }

    /// The same for another process than a keeper.
    pub fn restart_for(&mut self, kept: usize, whom: impl FnOnce(&mut Self)) {
        self.journal.truncate(kept);
        self.fleet = replayed(&self.journal).unwrap();
        self.folded = self.fleet.clone();
        self.memory = Memory::starting(Timestamp(self.now), self.policy.rails.warm_up);
        self.looks.clear();
        whom(self);
    }

    pub fn tell(&mut self, event: Event) {
        let title = title(&event);
        let context = Context { now: Timestamp(self.now), policy: &self.policy, random: self.now };
        let step = match step(&mut self.fleet, &mut self.memory, event, &context) {
            Ok(step) => step,
            Err(illegal) => {
                let _ = writeln!(self.text, "{:>5} s  {title}\n    illegal  {illegal}", self.since());
                return;
            }
        };
        self.show(&title, &step);
        for (name, at) in &step.looks {
            self.looks.insert((at.0, name.clone()));
        }
        self.journal.extend(step.entries.iter().cloned());
        self.last = step;
        for entry in &self.last.entries {
            self.folded.apply(entry).unwrap();
        }
        assert_eq!(self.folded, self.fleet, "the fold is the state");
    }

    /// Lets seconds pass.
    pub fn pass(&mut self, seconds: u64) {
        let until = self.now + seconds * 1000;
        loop {
            let next_list = self.now - self.now % 20_000 + 20_000;
            let next_look = self.looks.first().map(|(at, _)| (*at).max(self.now));
            match next_look {
                Some(at) if at < next_list && at <= until => {
                    let Some((_, name)) = self.looks.pop_first() else { break };
                    self.now = at;
                    self.tell(Event::Look { node: name });
                }
                _ if next_list <= until => {
                    self.now = next_list;
                    if self.now.is_multiple_of(300_000)
                        && self.memory.credit.is_some_and(|(_, c)| c.dollars > Money(0))
                    {
                        let credit = self.memory.credit.unwrap().1;
                        self.tell(Event::CreditRead(Ok(credit)));
                    }
                    if !self.lists_fail {
                        self.list();
                    }
                    if self.now.is_multiple_of(60_000) && !self.no_probes {
                        self.probe_the_healthy();
                    }
                    if self.beats {
                        self.tell(Event::Beat);
                    }
                }
                _ => break,
            }
        }
        self.now = until;
    }

    /// What was healthy at its last probe is so at the next.
    fn probe_the_healthy(&mut self) {
        let healthy = |name: &&NodeName| {
            let last = self.memory.watches.get(name).and_then(|watch| watch.last.as_ref());
            matches!(self.fleet.nodes[*name].state, NodeState::Serving(_))
                && last.is_some_and(|last| last.verdict == Verdict::Healthy)
        };
        let names: Vec<NodeName> = self.fleet.nodes.keys().filter(healthy).cloned().collect();
        for name in names {
            self.ok(&name);
        }
    }

    /// An honest list, begun now.
    pub fn list(&mut self) {
        let started_at = Timestamp(self.now);
        self.tell(Event::Listed(Ok(Inventory { started_at, rentals: self.rows() })));
    }

    pub fn rows(&self) -> Vec<Rental> {
        let mut rows: BTreeMap<InstanceId, Rental> = BTreeMap::new();
        for (name, attempt, instance) in self.fleet.claims() {
            if let Some(instance) = instance {
                let label = Some(format!("vk:test:{name}:{}", attempt.op));
                rows.insert(instance, Rental { price: attempt.price, ..row(instance, label) });
            }
        }
        for extra in &self.extra {
            rows.insert(extra.id, extra.clone());
        }
        for (id, status) in &self.status {
            if let Some(row) = rows.get_mut(id) {
                row.status = status.clone();
            }
        }
        rows.into_values().filter(|row| !self.absent.contains(&row.id)).collect()
    }

    pub fn next_instance(&mut self) -> InstanceId {
        self.next_instance += 1;
        InstanceId(self.next_instance)
    }

    pub fn searched(&mut self, name: &NodeName) {
        let found = OffersFound { offers: offers(self.next_offer..self.next_offer + 3) };
        self.next_offer += 3;
        self.tell(Event::Searched { node: name.clone(), answer: Ok(found) });
    }

    pub fn op(&self, name: &NodeName) -> OpId {
        self.fleet.nodes[name].state.claim().unwrap().0.op.clone()
    }

    pub fn tenant(&self, name: &NodeName) -> Tenant {
        self.fleet.nodes[name].state.probed().unwrap().clone()
    }

    pub fn instance(&self, name: &NodeName) -> InstanceId {
        self.fleet.nodes[name].state.claim().unwrap().1.unwrap()
    }

    pub fn answered(&mut self, name: &NodeName, answer: CreateAnswer) {
        let op = self.op(name);
        self.tell(Event::CreateAnswered { node: name.clone(), op, answer });
    }

    pub fn deployed(&mut self, name: &NodeName) {
        let instance = self.instance(name);
        let release = ReleaseRef { digest: "d1".into(), commit: "c1".into() };
        self.tell(Event::DeployEnded { node: name.clone(), instance, result: Ok(release) });
    }

    pub fn destroyed(&mut self, instance: InstanceId) {
        self.tell(Event::DestroyAnswered { instance, answer: DestroyAnswer::Acknowledged });
    }

    pub fn probed(&mut self, name: &NodeName, verdict: Verdict) {
        self.probed_late(name, verdict, Duration::ZERO);
    }

    /// A probe that started after its time.
    pub fn probed_late(&mut self, name: &NodeName, verdict: Verdict, lateness: Duration) {
        let Some(identity) = self.fleet.nodes[name].state.probed().map(|tenant| tenant.rental.op.clone())
        else {
            return;
        };
        let observation = Observation {
            at: Timestamp(self.now),
            lateness,
            took: Duration::from_millis(12),
            identity,
            verdict,
        };
        self.tell(Event::Probed { node: name.clone(), observation });
    }

    pub fn ok(&mut self, name: &NodeName) {
        self.probed(name, Verdict::Healthy);
    }

    pub fn fail(&mut self, name: &NodeName) {
        self.probed(name, Verdict::Failing(Failure::Timeout { limit_ms: 5000 }));
    }

    /// Three failures, ten seconds apart: the default threshold.
    pub fn fail_thrice(&mut self, name: &NodeName) {
        for _ in 0..3 {
            self.fail(name);
            self.pass(10);
        }
    }

    pub fn witness(&mut self, name: &NodeName, word: Word) {
        let (instance, asked_at) = (self.instance(name), Timestamp(self.now));
        self.tell(Event::Witnessed { node: name.clone(), instance, asked_at, word });
    }

    /// The work of a soft remedy on the present tenant ended.
    pub fn remedied(&mut self, name: &NodeName, rung: Rung, result: Result<Option<ReleaseRef>, WorkFault>) {
        let instance = self.instance(name);
        self.tell(Event::RemedyWorked { node: name.clone(), instance, rung, result });
    }

    /// Fails, and the box itself says so: the tenant is doomed.
    pub fn lose(&mut self, name: &NodeName) -> InstanceId {
        let instance = self.instance(name);
        self.fail_thrice(name);
        self.witness(name, Word::Down("no answer on its own port".into()));
        instance
    }

    pub fn ask(&mut self, name: &NodeName, wish: Wish) {
        self.tell(Event::Asked { node: name.clone(), wish, by: "ann".into() });
    }

    pub fn state(&self, i: usize) -> &NodeState {
        &self.fleet.nodes[&node(i)].state
    }
}

/// A running row with both ports published on an address of its own.
pub fn row(id: InstanceId, label: Option<String>) -> Rental {
    Rental {
        id,
        label,
        machine: MachineId(id.0),
        host: HostId(id.0),
        status: Status::Running,
        message: None,
        price: Money(350_000),
        gpu: "RTX 4090".into(),
        public_ip: Some([127, 0, 1, (id.0 % 250) as u8].into()),
        ports: [(22, 40022), (5555, 45555)].into(),
        ssh_proxy: None,
        ends_at: None,
        stopped: false,
        bidding: None,
    }
}
