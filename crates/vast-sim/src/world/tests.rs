//! Lives on a synthetic clock: the stages and the credit of one box, and random lives, in which the books must balance
//! whatever is called, whenever.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::State;
use super::instance::{Endpoints, Phase};
use crate::api::{instance_row, parse_launch};
use crate::config::{LifecycleConfig, MarketConfig, SimConfig};
use crate::faults::{Fault, FaultKind};
use crate::market::Lookup;
use crate::record::RentalEnd;

const START: f64 = 1_000_000.0;

/// One thing that may happen.
#[derive(Debug, Clone)]
enum Happening {
    Rent(usize),
    Destroy(usize),
    Stop(usize),
    Start(usize),
    Restart(usize, bool),
    BoxUp(usize, bool),
    Deed(usize, FaultKind),
    Break(FaultKind),
    Wait(f64),
}

fn deed() -> impl Strategy<Value = FaultKind> {
    prop_oneof![
        Just(FaultKind::KillInstance),
        Just(FaultKind::Outbid { min_bid: None }),
        Just(FaultKind::HostOffline { for_s: Some(50.0), status: "offline".to_owned() }),
        Just(FaultKind::ContractEnds { in_s: 30.0 }),
        Just(FaultKind::KillServer { whole_session: true }),
    ]
}

fn boot_fault() -> impl Strategy<Value = FaultKind> {
    prop_oneof![
        Just(FaultKind::StuckLoading),
        Just(FaultKind::OciFailure),
        Just(FaultKind::ExitsInBoot),
        Just(FaultKind::AddressChanges),
        Just(FaultKind::DestroyLingers { for_s: 500.0 }),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..1000_usize).prop_map(Happening::Rent),
        2 => (0..8_usize).prop_map(Happening::Destroy),
        1 => (0..8_usize).prop_map(Happening::Stop),
        1 => (0..8_usize).prop_map(Happening::Start),
        1 => (0..8_usize, any::<bool>()).prop_map(|(which, wipe)| Happening::Restart(which, wipe)),
        4 => (0..8_usize, any::<bool>()).prop_map(|(which, up)| Happening::BoxUp(which, up)),
        1 => (0..8_usize, deed()).prop_map(|(which, kind)| Happening::Deed(which, kind)),
        1 => boot_fault().prop_map(Happening::Break),
        6 => (0.1..400.0_f64).prop_map(Happening::Wait),
    ]
}

struct World {
    state: State,
    now: f64,
    call: u64,
}

impl World {
    fn new() -> Self {
        let config = SimConfig {
            market: MarketConfig { min_offers: 60, ..MarketConfig::default() },
            lifecycle: LifecycleConfig { expired_kept_s: 300.0, ..LifecycleConfig::default() },
            ..SimConfig::default()
        };
        World { state: State::new(config, START), now: START, call: 0 }
    }

    fn nth(&self, which: usize) -> Option<u64> {
        let living: Vec<u64> =
            self.state.instances.values().filter(|it| !it.is_destroyed()).map(|it| it.id).collect();
        living.get(which).copied()
    }

    fn happens(&mut self, what: &Happening) {
        self.state.advance(self.now);
        let now = self.now;
        match what {
            Happening::Rent(which) => self.rent(*which),
            Happening::Wait(seconds) => self.now += seconds,
            Happening::Break(kind) => {
                self.state.faults.inject(Fault::once(kind.clone()));
            }
            Happening::Destroy(which) => {
                self.call += 1;
                if let Some(id) = self.nth(*which) {
                    self.state.end_rental(id, &RentalEnd::Call(self.call), now);
                }
            }
            Happening::Stop(which) => {
                if let Some(id) = self.nth(*which) {
                    self.state.bill_one(id, now);
                    self.state.halt(id, "stopped by user", None);
                }
            }
            Happening::Start(which) => {
                if let Some(id) = self.nth(*which).filter(|id| self.phase(*id) == Some(Phase::Stopped)) {
                    self.state.restart(id, false, now);
                }
            }
            Happening::Restart(which, wipe) => {
                if let Some(id) = self.nth(*which).filter(|id| self.phase(*id) == Some(Phase::Running)) {
                    self.state.restart(id, *wipe, now);
                }
            }
            Happening::BoxUp(which, up) => {
                if let Some(id) = self.nth(*which) {
                    let boot = self.state.instances[&id].boots;
                    let endpoints = Endpoints {
                        address: std::net::Ipv4Addr::LOCALHOST,
                        ports: std::iter::once(("22/tcp".to_owned(), 12_345)).collect(),
                        proxy: None,
                    };
                    let outcome = if *up { Ok(endpoints) } else { Err("no".to_owned()) };
                    self.state.box_started(id, boot, outcome, now);
                }
            }
            Happening::Deed(which, kind) => {
                if let Some(id) = self.nth(*which) {
                    self.state.apply(id, kind, None, now);
                }
            }
        }
        self.state.advance(self.now);
        self.state.effects.clear();
    }

    fn phase(&self, id: u64) -> Option<Phase> {
        self.state.instances.get(&id).map(|instance| instance.phase)
    }

    fn rent(&mut self, which: usize) {
        let open: Vec<u64> = self.state.market.open(self.now).map(|(offer, _)| offer.id).collect();
        let Some(ask) = open.get(which % open.len().max(1)).copied() else { return };
        let Lookup::Open(offer) = self.state.market.look_up(ask, self.now) else {
            panic!("an open offer is open")
        };
        let body = json!({"image": "x", "label": "t"});
        let launch = parse_launch(body.as_object().expect("an object")).expect("a valid body");
        self.call += 1;
        self.state.rent(&offer, launch, self.call, self.now);
    }

    /// What must hold at any time.
    fn check(&self) {
        let living: Vec<_> = self.state.instances.values().filter(|it| !it.is_destroyed()).collect();
        for (at, left) in living.iter().enumerate() {
            for right in &living[at + 1..] {
                let same = left.machine.id == right.machine.id;
                let apart = left.offer.first_gpu + left.offer.gpus <= right.offer.first_gpu
                    || right.offer.first_gpu + right.offer.gpus <= left.offer.first_gpu;
                assert!(!same || apart, "one GPU let twice: {} and {}", left.id, right.id);
            }
            for (offer, machine) in
                self.state.market.open(self.now).filter(|(_, it)| it.id == left.machine.id)
            {
                let apart = left.offer.first_gpu + left.offer.gpus <= offer.first_gpu
                    || offer.first_gpu + offer.gpus <= left.offer.first_gpu;
                assert!(apart, "offer {} of machine {} overlaps a rental", offer.id, machine.id);
            }
        }
        let open_rentals: Vec<u64> =
            self.state.rentals.values().filter(|it| it.ended_ms.is_none()).map(|it| it.instance).collect();
        let ids: Vec<u64> = living.iter().map(|it| it.id).collect();
        assert_eq!(open_rentals, ids, "a rental is open exactly while its instance lives");
        let billed: f64 = self.state.rentals.values().map(|it| it.cost).sum();
        assert!(
            (billed - self.state.account.spent).abs() < 1e-6,
            "{billed} against {}",
            self.state.account.spent
        );
        for instance in living {
            let waits_for_others =
                !matches!(instance.phase, Phase::Provisioning | Phase::Created | Phase::Restarting);
            assert!(instance.due.is_some() || waits_for_others, "{:?} would never end", instance.phase);
            assert!(
                instance.endpoints.is_none() || instance.phase == Phase::Running,
                "{:?} is reachable",
                instance.phase
            );
        }
    }
}

#[test]
fn a_new_instance_shows_every_stage_in_turn() {
    let mut world = World::new();
    world.happens(&Happening::Rent(0));
    let id = world.nth(0).expect("a rental");
    let mut seen = Vec::new();
    for _ in 0..600 {
        let readable = world.state.instances.get(&id).filter(|it| it.is_readable(world.now));
        let row = readable.map_or(Value::Null, |it| instance_row(it, None, world.now).into());
        seen.push(json!([row.is_null(), row["actual_status"], row["ports"].is_object()]));
        // Heard only while it boots.
        world.happens(&Happening::BoxUp(0, true));
        world.happens(&Happening::Wait(0.1));
    }
    seen.dedup();
    let stages = json!([
        [true, null, false],
        [false, null, false],
        [false, "created", false],
        [false, "loading", false],
        [false, "running", false],
        [false, "running", true],
    ]);
    assert_eq!(Value::from(seen), stages);
}

#[test]
fn a_box_outlives_the_credit_by_less_than_a_round_and_then_costs_its_disk_alone() {
    const ROUND_S: f64 = 600.0;
    let mut world = World::new();
    world.happens(&Happening::Rent(0));
    world.happens(&Happening::Wait(100.0));
    world.happens(&Happening::BoxUp(0, true));
    let id = world.nth(0).expect("a rental");
    let (price, disk) = (world.state.instances[&id].rate(), world.state.instances[&id].storage_dph());
    world.state.account.credit = price * 1.9;
    let mut rounds = 0;
    while world.phase(id) == Some(Phase::Running) {
        world.happens(&Happening::Wait(ROUND_S));
        rounds += 1;
    }
    assert_eq!((world.phase(id), rounds), (Some(Phase::Stopped), 12), "1.9 hours in rounds of ten minutes");
    let owed = -world.state.account.credit;
    assert!((0.0..price * ROUND_S / 3600.0).contains(&owed), "{owed} at {price} $/h");
    world.happens(&Happening::Wait(3600.0));
    let kept = -world.state.account.credit - owed;
    assert!((kept - disk).abs() < 1e-9 && disk < price, "{kept} against {disk} of {price} $/h");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_books_balance_whatever_happens(story in prop::collection::vec(happening(), 1..60)) {
        let mut world = World::new();
        for what in &story {
            world.happens(what);
            world.check();
        }
        // Give everything back: the market is whole again.
        while let Some(id) = world.nth(0) {
            world.state.end_rental(id, &RentalEnd::Call(0), world.now);
        }
        world.check();
        prop_assert_eq!(world.state.market.hidden().count(), 0);
    }

    #[test]
    fn time_in_one_leap_costs_the_same_as_in_many(
        seconds in 1.0..600.0_f64,
        steps in 2..50_u32,
        turn in prop::option::of(prop_oneof![
            deed().prop_map(|kind| Happening::Deed(0, kind)),
            any::<bool>().prop_map(|wipe| Happening::Restart(0, wipe)),
            Just(Happening::Stop(0)),
        ]),
    ) {
        let mut costs = Vec::new();
        for parts in [1, steps] {
            let mut world = World::new();
            world.happens(&Happening::Rent(0));
            world.happens(&Happening::Wait(100.0));
            world.happens(&Happening::BoxUp(0, true));
            let id = world.nth(0).expect("a rental");
            prop_assert_eq!(world.phase(id), Some(Phase::Running));
            if let Some(turn) = &turn {
                world.happens(turn);
            }
            for _ in 0..parts {
                world.now += seconds / f64::from(parts);
                world.state.advance(world.now);
            }
            costs.push(world.state.account.spent);
        }
        prop_assert!((costs[0] - costs[1]).abs() < 1e-9, "{:?}", costs);
    }
}
