//! Any sequence of events, sensible or not: no panic, no record that does not fold, and every prefix of what was journaled
//! is a state from which the keeper starts and goes on.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::super::{
        bid::{BidPolicy, Bidding},
        command::Command,
        event::{Context, Event, IllegalEvent, Seen, Wish, WorkFault},
        guard::Guard,
        journal::{Entry, Record, ReleaseRef},
        ledger::{LedgerWish, export},
        memory::{Memory, SelfCheck},
        name::{HostId, InstanceId, MachineId, NodeName, OpId},
        offer::{Offer, OfferPolicy, tests::offer},
        policy::{NodeSpec, Policy, RentalSpec, ReplaceOrder, Rung},
        probe::{Failure, Observation, Verdict},
        provider::{
            CreateAnswer, Credit, DestroyAnswer, Inventory, OffersFound, ProviderFault, Rental, StartAnswer,
            Status,
        },
        state::Fleet,
        step::step,
        units::{Money, Timestamp},
        view,
        watch::Word,
    },
    node, replayed, with_spec,
};

/// Never is more bid.
const MOST: Money = Money(400_000);

struct Nonsense {
    rng: fastrand::Rng,
    policy: Policy,
    fleet: Fleet,
    memory: Memory,
    now: u64,
    journal: Vec<Entry>,
    sent: BTreeSet<OpId>,
    labels: Vec<String>,
    /// Whether probes mostly fail at present: streaks are what thresholds are about.
    failing: bool,
}

impl Nonsense {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let ladders = [
            vec![Rung::Replace],
            vec![Rung::RestartServer, Rung::Redeploy, Rung::Reboot, Rung::Replace],
            vec![Rung::RestartServer],
            vec![Rung::RestartServer, Rung::Reboot, Rung::Start, Rung::Replace],
        ];
        let bid = (rng.u32(0..4) == 0).then_some(BidPolicy { start: None, most: MOST });
        let spec = NodeSpec {
            ladder: ladders[rng.usize(0..ladders.len())].clone(),
            order: if rng.bool() { ReplaceOrder::CreateFirst } else { ReplaceOrder::DestroyFirst },
            rental: RentalSpec { allow_private_addresses: rng.bool(), ..RentalSpec::default() },
            offers: OfferPolicy { bid, ..OfferPolicy::default() },
            ..NodeSpec::default()
        };
        let mut policy = with_spec(3, spec);
        if rng.bool() {
            policy.inventory.settle = Duration::from_secs(1);
        }
        let memory = Memory::starting(Timestamp(1), policy.rails.warm_up);
        let (fleet, journal, sent, labels) = (Fleet::default(), Vec::new(), BTreeSet::new(), Vec::new());
        Self { rng, policy, fleet, memory, now: 1, journal, sent, labels, failing: false }
    }

    fn handle(&mut self, event: Event) {
        let context = Context { now: Timestamp(self.now), policy: &self.policy, random: self.rng.u64(..) };
        let doomed: BTreeSet<InstanceId> = self.fleet.doomed.keys().copied().collect();
        let step = match step(&mut self.fleet, &mut self.memory, event.clone(), &context) {
            Ok(step) => step,
            Err(IllegalEvent::UnknownOp { .. }) => return,
            Err(fault) => panic!("{fault} after {event:?}"),
        };
        for command in &step.commands {
            assert!(
                !(self.policy.observe_only && command.changes_something()),
                "{command:?} while observing"
            );
            match command {
                Command::Start { bid: Some(bid), .. } => {
                    assert!(*bid <= MOST, "{bid} is more than may be bid")
                }
                Command::Create { label, offer, .. } => {
                    assert!(offer.bid.is_none_or(|bid| bid <= MOST), "{offer:?}");
                    assert!(self.sent.insert(label.op.clone()), "sent twice");
                    self.labels.push(label.to_string());
                }
                Command::Destroy { instance } => {
                    let condemned = doomed.contains(instance)
                        || step
                            .records()
                            .any(|r| matches!(r, Record::Doomed { instance: i, .. } if i == instance));
                    assert!(condemned, "{instance} is destroyed but not condemned");
                }
                _ => {}
            }
        }
        for (name, node) in &self.fleet.nodes {
            if let Some((_, Some(claimed))) = node.state.claim() {
                assert!(
                    !self.fleet.doomed.contains_key(&claimed),
                    "{name} claims doomed {claimed} after {event:?}"
                );
            }
        }
        self.journal.extend(step.entries);
    }

    fn node(&mut self) -> NodeName {
        node(self.rng.usize(0..4))
    }

    fn instance(&mut self) -> InstanceId {
        InstanceId(self.rng.u64(1..12))
    }

    /// Mostly the node's own op, so that events get past the first check.
    fn op(&mut self, name: &NodeName) -> OpId {
        let own = self.fleet.nodes.get(name).and_then(|node| node.state.claim()).map(|(a, _)| a.op.clone());
        own.filter(|_| self.rng.u32(0..8) > 0).unwrap_or_else(|| OpId::from_bits(self.rng.u64(..)))
    }

    fn own_instance(&mut self, name: &NodeName) -> InstanceId {
        let own = self.fleet.nodes.get(name).and_then(|node| node.state.claim()).and_then(|(_, i)| i);
        own.filter(|_| self.rng.u32(0..8) > 0).unwrap_or_else(|| self.instance())
    }

    fn fault(&mut self) -> ProviderFault {
        let detail = String::from("detail");
        match self.rng.u32(0..6) {
            0 => ProviderFault::Auth { detail },
            1 => ProviderFault::RateLimited { retry_after_ms: Some(self.rng.u64(..)) },
            2 => ProviderFault::Credit { detail },
            3 => ProviderFault::Refused { detail },
            4 => ProviderFault::Unreachable { detail },
            _ => ProviderFault::Malformed { detail },
        }
    }

    fn work_fault(&mut self) -> WorkFault {
        let detail = String::from("detail");
        match self.rng.u32(0..9) {
            0 => WorkFault::Release(detail),
            8 => WorkFault::Halfway(detail),
            1 | 2 => WorkFault::Box(detail),
            3 => WorkFault::HostKeyChanged(detail),
            4 | 5 => WorkFault::Unhealthy(detail),
            _ => WorkFault::Unknown(detail),
        }
    }

    fn list(&mut self) -> Inventory {
        let mut rentals = Vec::new();
        for id in 1..12 {
            if self.rng.u32(0..3) == 0 {
                continue;
            }
            let claimed = self.fleet.nodes.iter().find_map(|(name, node)| match node.state.claim() {
                Some((attempt, Some(instance))) if instance == InstanceId(id) => {
                    Some(format!("vk:test:{name}:{}", attempt.op))
                }
                _ => None,
            });
            let label = match self.rng.u32(0..10) {
                0 => None,
                1 => Some("another's".into()),
                2 => Some("vk:test:broken".into()),
                // One of these keeps everybody from renting for a while.
                3 if self.rng.u32(0..40) == 0 => Some(format!("vk:test:{}:{}", node(0), OpId::from_bits(id))),
                4 | 5 if !self.labels.is_empty() => {
                    Some(self.labels[self.rng.usize(0..self.labels.len())].clone())
                }
                _ => claimed,
            };
            let status = match self.rng.u32(0..10) {
                0 => Status::Starting,
                1 => Status::Exited,
                2 => Status::Offline,
                3 => Status::Broken,
                4 => Status::Unclear("odd".into()),
                _ => Status::Running,
            };
            rentals.push(Rental {
                id: InstanceId(id),
                label,
                machine: MachineId(id),
                host: HostId(id),
                status,
                message: None,
                price: Money(self.rng.i64(-5..1_000_000)),
                gpu: "RTX 4090".into(),
                public_ip: Some([self.rng.u8(..), 0, 0, 1].into()),
                ports: [(22, 1), (5555, 2)].into(),
                ssh_proxy: None,
                ends_at: (self.rng.u32(0..20) == 0).then(|| Timestamp(self.rng.u64(..))),
                stopped: self.rng.u32(0..3) == 0,
                bidding: self.rng.bool().then(|| Bidding {
                    bid: Money(self.rng.i64(..)),
                    floor: self.rng.bool().then(|| Money(self.rng.i64(-5..500_000))),
                }),
            });
        }
        let started_at = Timestamp(self.now.saturating_sub(self.rng.u64(0..10_000)));
        Inventory { started_at, rentals }
    }

    fn event(&mut self) -> Event {
        let node = self.node();
        match self.rng.u32(0..24) {
            0 if self.rng.u32(0..6) == 0 => Event::Stalled { gap: Duration::from_millis(self.rng.u64(..)) },
            1 if self.rng.u32(0..4) > 0 => {
                let answer = Ok(Credit { dollars: Money(50_000_000) });
                Event::CreditRead(answer)
            }
            1 => {
                self.policy.observe_only = self.rng.u32(0..4) == 0;
                if self.rng.bool() {
                    self.policy.nodes.remove(&node);
                } else if let Some(spec) = self.policy.nodes.values().next().cloned() {
                    self.policy.nodes.insert(node, spec);
                }
                Event::PolicyChanged
            }
            2 => Event::Beat,
            0 | 3 => Event::Look { node },
            4..=6 => {
                self.failing ^= self.rng.u32(0..20) == 0;
                let verdict = match self.rng.u32(0..20) {
                    0 => Verdict::Maintenance,
                    1 => Verdict::Healthy,
                    _ if !self.failing => Verdict::Healthy,
                    _ => Verdict::Failing(Failure::Timeout { limit_ms: 5000 }),
                };
                let identity = self.op(&node);
                let at = Timestamp(self.now.saturating_sub(self.rng.u64(0..6000)));
                let took = Duration::from_millis(5);
                let observation = Observation { at, lateness: Duration::ZERO, took, identity, verdict };
                Event::Probed { node, observation }
            }
            7..=9 => Event::Listed(if self.rng.u32(0..6) == 0 { Err(self.fault()) } else { Ok(self.list()) }),
            10 => {
                let first = self.rng.u64(1..1000);
                let floor = (self.rng.u32(0..8) > 0).then(|| Money(self.rng.i64(-5..450_000)));
                let offers =
                    (first..first + self.rng.u64(0..4)).map(|id| Offer { floor, ..offer(id) }).collect();
                let answer =
                    if self.rng.u32(0..5) == 0 { Err(self.fault()) } else { Ok(OffersFound { offers }) };
                Event::Searched { node, answer }
            }
            11 | 23 => {
                let op = self.op(&node);
                let instance = self.instance();
                let answer = match self.rng.u32(0..8) {
                    0 => CreateAnswer::CreatedBroken(instance, "broken".into()),
                    1 => CreateAnswer::OfferGone("gone".into()),
                    2 => CreateAnswer::Refused(self.fault()),
                    3 => CreateAnswer::NotSent("expired".into()),
                    4 => CreateAnswer::Ambiguous("reset".into()),
                    _ => CreateAnswer::Created(instance),
                };
                Event::CreateAnswered { node, op, answer }
            }
            12 => {
                let instance = self.own_instance(&node);
                let answer = match self.rng.u32(0..3) {
                    0 => StartAnswer::Starting,
                    1 => StartAnswer::Queued("queued".into()),
                    _ => StartAnswer::Failed(self.fault()),
                };
                Event::StartAnswered { node, instance, answer }
            }
            13 => {
                let known: Vec<InstanceId> = self.fleet.doomed.keys().copied().collect();
                let instance =
                    if known.is_empty() { self.instance() } else { known[self.rng.usize(0..known.len())] };
                let fault = self.fault();
                let answer =
                    if self.rng.bool() { DestroyAnswer::Acknowledged } else { DestroyAnswer::Failed(fault) };
                Event::DestroyAnswered { instance, answer }
            }
            14 => {
                let instance = self.own_instance(&node);
                let release = ReleaseRef { digest: "d".into(), commit: "c".into() };
                let result = if self.rng.u32(0..4) > 0 { Ok(release) } else { Err(self.work_fault()) };
                Event::DeployEnded { node, instance, result }
            }
            15 => {
                let rungs = [Rung::RestartServer, Rung::Redeploy, Rung::Reboot, Rung::Replace];
                let rung = rungs[self.rng.usize(0..4)];
                let result = if self.rng.bool() { Ok(None) } else { Err(self.work_fault()) };
                let instance = self.own_instance(&node);
                Event::RemedyWorked { node, instance, rung, result }
            }
            16 => {
                let instance = self.own_instance(&node);
                let word = match self.rng.u32(0..3) {
                    0 => Word::Up("up".into()),
                    1 => Word::Down("down".into()),
                    _ => Word::Silent("silent".into()),
                };
                Event::Witnessed { node, instance, asked_at: Timestamp(self.now), word }
            }
            17 => Event::SelfChecked(SelfCheck {
                at: Timestamp(self.now),
                answered: self.rng.u32(0..3),
                asked: 2,
            }),
            18 => {
                let dollars = Money(self.rng.i64(0..50_000_000));
                Event::CreditRead(if self.rng.u32(0..5) == 0 {
                    Err(self.fault())
                } else {
                    Ok(Credit { dollars })
                })
            }
            19 => {
                let release = ReleaseRef { digest: format!("d{}", self.rng.u32(0..3)), commit: "c".into() };
                Event::ReleasePrepared(if self.rng.u32(0..5) == 0 { Err("no".into()) } else { Ok(release) })
            }
            20 if self.rng.bool() => {
                let instance = self.own_instance(&node);
                let seen = match self.rng.u32(0..4) {
                    3 => Seen::Halfway("the migration to r".into()),
                    0 => Seen::Ended("deploy r".into()),
                    1 => Seen::Stays("a concert".into()),
                    _ => Seen::Unclear("no connection".into()),
                };
                Event::LeftBehind { node, instance, seen }
            }
            20 => {
                let machine = MachineId(self.rng.u64(0..1000) * 10);
                let ledger = export(&self.fleet, Timestamp(self.now));
                let wishes = [LedgerWish::Forgive { machine }, LedgerWish::Import { ledger }];
                let wish = wishes[self.rng.usize(0..2)].clone();
                Event::LedgerAsked { wish, by: "somebody".into() }
            }
            _ => {
                let wishes = [
                    Wish::Reprovision,
                    Wish::Destroy,
                    Wish::Redeploy,
                    Wish::Redeploy,
                    Wish::Redeploy,
                    Wish::Pause,
                    Wish::Resume,
                    Wish::Resume,
                    Wish::Resume,
                ];
                let wish = wishes[self.rng.usize(0..wishes.len())];
                Event::Asked { node, wish, by: "somebody".into() }
            }
        }
    }
}

#[test]
fn any_events_whatever_leave_a_state_that_folds_from_every_prefix() {
    let seeds = std::env::var("KEEPER_STEP_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(150_u64);
    let mut kinds = BTreeSet::new();
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut nonsense = Nonsense::new(seed);
            nonsense.handle(Event::Booted { version: "1".into() });
            for _ in 0..1500 {
                nonsense.now += nonsense.rng.u64(1..5000);
                let event = nonsense.event();
                nonsense.handle(event);
            }
            nonsense
        });
        let mut nonsense = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        assert_eq!(replayed(&nonsense.journal).unwrap(), nonsense.fleet, "seed {seed}");
        kinds.extend(nonsense.journal.iter().map(|entry| entry.record.kind()));
        // The view and the rails are asked of any state.
        let now = Timestamp(nonsense.now);
        let seen = view::view(&nonsense.fleet, &nonsense.memory, &nonsense.policy, now);
        assert!(serde_json::to_string(&seen).unwrap().len() > 2);
        let journal = std::mem::take(&mut nonsense.journal);
        let mut fleet = Fleet::default();
        for entry in &journal {
            fleet.apply(entry).unwrap();
            if nonsense.rng.u32(0..10) > 0 {
                continue;
            }
            // The keeper dies here and starts with what it has.
            let (mut fleet, policy) = (fleet.clone(), &nonsense.policy);
            let mut memory = Memory::starting(entry.at, policy.rails.warm_up);
            let context = Context { now: Timestamp(entry.at.0 + 1), policy, random: seed };
            step(&mut fleet, &mut memory, Event::Booted { version: "2".into() }, &context).unwrap();
            let guard = Guard { fleet: &fleet, memory: &memory, policy, now: context.now };
            assert!(
                guard.create(&node(0), None).is_err(),
                "seed {seed}: nothing is rented before lists are read"
            );
        }
    }
    for kind in ["adopted", "held", "gone", "remedy-started", "create-abandoned", "retired"] {
        assert!(kinds.contains(kind), "no `{kind}` in all of it: {kinds:?}");
    }
}
