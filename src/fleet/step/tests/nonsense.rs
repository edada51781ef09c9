//! Any sequence of events, sensible or not: no panic, no record that does not fold, and every prefix of what was journaled
//! is a state from which the keeper starts and goes on.

mod events;

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::super::{
        bid::BidPolicy,
        command::Command,
        event::{Context, Event, IllegalEvent},
        guard::Guard,
        journal::{Entry, Record},
        memory::Memory,
        name::{InstanceId, NodeName, OpId},
        offer::OfferPolicy,
        policy::{NodeSpec, Policy, RentalSpec, ReplaceOrder, Rung},
        state::{Fleet, Node},
        step::step,
        units::{Money, Timestamp},
        view,
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
    /// How long the journal was after each transaction.
    written: Vec<usize>,
    sent: BTreeSet<OpId>,
    labels: Vec<String>,
    /// Whether answers mostly make sense, so that boxes come to serve and what needs several of them happens.
    calm: bool,
    /// Whether probes mostly fail at present: streaks are what thresholds are about. Where it is calm, one node's only.
    failing: bool,
    sick: Option<NodeName>,
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
        policy.import = rng.u32(0..4) == 0;
        if rng.bool() {
            let spec = policy.nodes[&node(0)].clone();
            policy.nodes.insert(spare(), spec);
            policy.spares.insert(spare());
        }
        let memory = Memory::starting(Timestamp(1), policy.rails.warm_up);
        Self {
            calm: rng.bool(),
            rng,
            policy,
            fleet: Fleet::default(),
            memory,
            now: 1,
            journal: Vec::new(),
            written: Vec::new(),
            sent: BTreeSet::new(),
            labels: Vec::new(),
            failing: false,
            sick: None,
        }
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
                let twice = |(other, node): &(&NodeName, &Node)| {
                    *other != name
                        && node.state.claim().is_some_and(|(_, instance)| instance == Some(claimed))
                };
                let other = self.fleet.nodes.iter().find(twice).map(|(other, _)| other);
                assert_eq!(other, None, "{name} claims {claimed} as well after {event:?}");
            }
        }
        self.journal.extend(step.entries);
        self.written.push(self.journal.len());
    }

    /// The keeper dies and is started again after a while, now and then on an old copy of its journal.
    fn restart(&mut self) {
        if self.rng.u32(0..3) == 0 {
            let lost = self.rng.usize(0..60).min(self.written.len());
            self.written.truncate(self.written.len() - lost);
            self.journal.truncate(self.written.last().copied().unwrap_or(0));
        }
        self.now += if self.rng.bool() { 5_000 } else { self.rng.u64(0..2_000_000) };
        self.fleet = replayed(&self.journal).unwrap();
        self.memory = Memory::starting(Timestamp(self.now), self.policy.rails.warm_up);
        self.handle(Event::Booted { version: "2".into() });
    }
}

fn spare() -> NodeName {
    "duel-spare-0".parse().unwrap()
}

#[test]
fn any_events_whatever_leave_a_state_that_folds_from_every_prefix() {
    let seeds = std::env::var("KEEPER_STEP_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300_u64);
    let mut kinds = BTreeSet::new();
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut nonsense = Nonsense::new(seed);
            nonsense.handle(Event::Booted { version: "1".into() });
            for _ in 0..1500 {
                nonsense.now += nonsense.rng.u64(1..5000);
                if nonsense.rng.u32(0..300) == 0 {
                    nonsense.restart();
                }
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
    let rare = ["promoted", "stood-by", "switched-back", "journal-doubted", "import-refused", "unknown-gone"];
    for kind in
        ["adopted", "held", "gone", "remedy-started", "create-abandoned", "retired"].into_iter().chain(rare)
    {
        assert!(kinds.contains(kind), "no `{kind}` in all of it: {kinds:?}");
    }
}
