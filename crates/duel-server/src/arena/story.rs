//! Stories of the arena: whole cycles, maintenance at every moment, and random lives in which no cent is lost.

use proptest::prelude::*;

use super::*;
use crate::clock::Millis;

const TIMING: Timing =
    Timing { idle: 10, countdown: 100, fight: 200, announcement: 50, settlement: 20, resume_limit: 1_000 };

/// An arena with its records, driven by hand.
struct Arena {
    state: State,
    now: Millis,
    records: Vec<Record>,
}

impl Arena {
    fn new() -> Self {
        let mut arena = Self { state: State::new(0), now: 0, records: Vec::new() };
        arena.advance(0);
        arena
    }

    fn happen(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            self.state.apply(&record);
            self.records.push(record);
        }
    }

    fn advance(&mut self, by: Millis) {
        self.now += by;
        while let Some(record) = self.state.due(self.now, &TIMING, self.now.unsigned_abs()) {
            self.happen([record]);
        }
    }

    fn join(&mut self, number: u8) -> PlayerId {
        let player = PlayerId::from_random([number; 16]);
        let joined = self.state.join(player.clone(), String::from("p"), 1_000, self.now);
        self.happen(joined.ok());
        player
    }

    fn bet(&mut self, player: &PlayerId, side: Side, cents: Cents, key: &str) -> Result<(), Refusal> {
        let duel = self.state.duel.as_ref().map_or(0, |duel| duel.id);
        let key = BetKey::parse(key).expect("a valid key");
        let request = BetRequest { player: player.clone(), duel, side, cents, key };
        if self.state.repeated_bet(&request)?.is_some() {
            return Ok(());
        }
        let record = self.state.bet(&request, self.now)?;
        self.happen([record]);
        Ok(())
    }

    fn enter(&mut self, timeout: Millis) {
        let entered = self.state.enter_maintenance(String::from("test"), timeout, self.now);
        self.happen(entered.expect("not in maintenance yet"));
        self.advance(0);
    }

    fn stage(&self) -> Option<MaintenanceStage> {
        self.state.maintenance.as_ref().map(|active| active.stage)
    }

    fn duels_opened(&self) -> usize {
        self.records.iter().filter(|record| matches!(record, Record::DuelOpened { .. })).count()
    }
}

#[test]
fn a_cycle_runs_through_its_phases_and_pays_out() {
    let mut arena = Arena::new();
    let (ann, bob) = (arena.join(1), arena.join(2));
    assert_eq!((arena.state.phase(), arena.state.market()), (Phase::Countdown, MarketStatus::Open));
    arena.bet(&ann, Side::A, 300, "k").expect("accepted");
    arena.bet(&bob, Side::B, 100, "k").expect("accepted");
    arena.advance(100);
    assert_eq!((arena.state.phase(), arena.state.market()), (Phase::Fighting, MarketStatus::Locked));
    arena.advance(200);
    assert_eq!((arena.state.phase(), arena.state.market()), (Phase::Announcement, MarketStatus::Locked));
    let winner = arena.state.duel.as_ref().and_then(Duel::winner).expect("announced");
    arena.advance(20);
    assert_eq!((arena.state.phase(), arena.state.market()), (Phase::Announcement, MarketStatus::Resolved));
    let balances = [&ann, &bob].map(|player| arena.state.players[player].balance);
    assert_eq!(balances, if winner == Side::A { [1_100, 900] } else { [700, 1_300] });
    arena.advance(30);
    assert_eq!(arena.state.phase(), Phase::Idle);
    arena.advance(9);
    assert_eq!(arena.duels_opened(), 1, "the gap is kept");
    arena.advance(1);
    assert_eq!(arena.duels_opened(), 2);
}

#[test]
fn what_cannot_be_bet_is_refused_with_its_reason() {
    let mut arena = Arena::new();
    let ann = arena.join(1);
    let stranger = PlayerId::from_random([9; 16]);
    assert_eq!(arena.bet(&stranger, Side::A, 1, "k"), Err(Refusal::UnknownPlayer));
    for cents in [0, -1, i64::MIN, i64::MAX, MAX_STAKE + 1] {
        assert_eq!(arena.bet(&ann, Side::A, cents, "k"), Err(Refusal::StakeOutOfRange), "{cents}");
    }
    assert_eq!(arena.bet(&ann, Side::A, 1_001, "k"), Err(Refusal::InsufficientFunds { balance: 1_000 }));
    arena.bet(&ann, Side::A, 600, "k").expect("accepted");
    arena.bet(&ann, Side::A, 600, "k").expect("the same key is the same bet");
    assert_eq!(arena.state.players[&ann].balance, 400);
    assert_eq!(arena.bet(&ann, Side::B, 600, "k"), Err(Refusal::KeyReused));
    assert_eq!(arena.bet(&ann, Side::A, 401, "other"), Err(Refusal::InsufficientFunds { balance: 400 }));
    arena.now += 100;
    let late = Refusal::MarketNotOpen { duel: 1, status: MarketStatus::Locked };
    assert_eq!(arena.bet(&ann, Side::A, 1, "late"), Err(late), "also before the turn that locks it");
}

#[test]
fn maintenance_at_any_moment_stops_the_next_duel_and_waits_for_this_one() {
    // Every millisecond of a cycle, the gap after it and the turn right at its end included.
    for moment in 0..=365 {
        let mut arena = Arena::new();
        arena.advance(moment);
        let opened = arena.duels_opened();
        arena.enter(10_000);
        assert_ne!(arena.state.market(), MarketStatus::Open, "locked at {moment}");
        assert_eq!(arena.stage() == Some(MaintenanceStage::Safe), arena.state.is_quiet(), "at {moment}");
        for _ in 0..2_000 {
            arena.advance(1);
        }
        assert_eq!(arena.stage(), Some(MaintenanceStage::Safe), "entered at {moment}");
        assert_eq!(arena.duels_opened(), opened, "no new duel when entered at {moment}");
        let exited = arena.state.exit_maintenance(arena.now).expect("active");
        arena.happen(exited);
        arena.advance(1);
        assert_eq!(arena.duels_opened(), opened + 1, "doors open after the exit");
    }
}

#[test]
fn a_wait_in_vain_times_out_and_becomes_safe_later() {
    let mut arena = Arena::new();
    arena.advance(150);
    arena.enter(30);
    arena.advance(30);
    assert_eq!(arena.stage(), Some(MaintenanceStage::TimedOut));
    for _ in 0..400 {
        arena.advance(1);
    }
    assert_eq!(arena.stage(), Some(MaintenanceStage::Safe));
}

#[test]
fn leaving_maintenance_before_the_fight_opens_the_market_again() {
    let mut arena = Arena::new();
    let ann = arena.join(1);
    arena.enter(10_000);
    assert!(matches!(arena.bet(&ann, Side::A, 1, "k"), Err(Refusal::MarketNotOpen { .. })));
    let exited = arena.state.exit_maintenance(arena.now).expect("active");
    arena.happen(exited);
    assert_eq!(arena.bet(&ann, Side::A, 1, "k"), Ok(()));
}

#[test]
fn an_interrupted_duel_goes_on_or_is_refunded_by_how_long_it_was_away() {
    let mut arena = Arena::new();
    let ann = arena.join(1);
    arena.bet(&ann, Side::A, 700, "k").expect("accepted");
    assert_eq!(arena.state.interrupted(100 + 1_000, &TIMING), None, "goes on");
    let refund = arena.state.interrupted(100 + 1_001, &TIMING).expect("called off");
    arena.happen([refund]);
    assert_eq!(arena.state.players[&ann].balance, 1_000);
    assert!(arena.state.is_quiet());
}

/// A step of a random life.
#[derive(Debug, Clone)]
enum Step {
    Wait(Millis),
    Join(u8),
    Bet { player: u8, a: bool, cents: Cents, key: u8 },
    Enter(Millis),
    Exit,
    Crash { away: Millis },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..120_i64).prop_map(Step::Wait),
        1 => (0..8_u8).prop_map(Step::Join),
        6 => (0..8_u8, any::<bool>(), -5..1_200_i64, 0..4_u8)
            .prop_map(|(player, a, cents, key)| Step::Bet { player, a, cents, key }),
        1 => (0..500_i64).prop_map(Step::Enter),
        1 => Just(Step::Exit),
        1 => (0..3_000_i64).prop_map(|away| Step::Crash { away }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_cents_are_conserved_and_replay_gives_the_same_state(
        steps in prop::collection::vec(step(), 1..150)
    ) {
        let mut arena = Arena::new();
        for step in steps {
            match step {
                Step::Wait(by) => arena.advance(by),
                Step::Join(number) => drop(arena.join(number)),
                Step::Bet { player, a, cents, key } => {
                    let side = if a { Side::A } else { Side::B };
                    // A refusal is as good as a bet here; the books are checked below.
                    let _ = arena.bet(&PlayerId::from_random([player; 16]), side, cents, &key.to_string());
                }
                Step::Enter(timeout) => {
                    let entered = arena.state.enter_maintenance(String::new(), timeout, arena.now);
                    arena.happen(entered.unwrap_or_default());
                }
                Step::Exit => {
                    let exited = arena.state.exit_maintenance(arena.now);
                    arena.happen(exited.unwrap_or_default());
                }
                Step::Crash { away } => {
                    arena.now += away;
                    let called_off = arena.state.interrupted(arena.now, &TIMING);
                    arena.happen(called_off);
                }
            }
            let granted = 1_000 * arena.state.players.len() as i128;
            prop_assert_eq!(arena.state.cents_in_circulation(), granted);
            prop_assert!(arena.state.players.values().all(|player| player.balance >= 0));
        }
        let mut replayed = State::new(0);
        arena.records.iter().for_each(|record| replayed.apply(record));
        prop_assert_eq!(format!("{:?}", sorted(&replayed)), format!("{:?}", sorted(&arena.state)));
    }
}

/// The state's parts that have no hash order.
fn sorted(state: &State) -> impl std::fmt::Debug + use<> {
    let mut players: Vec<_> = state.players.iter().map(|(id, it)| (id.clone(), it.balance)).collect();
    players.sort();
    let duel = state.duel.as_ref().map(|duel| (duel.id, duel.stage, duel.pools, duel.bets.len()));
    (players, duel, state.next_bet, state.next_duel, state.maintenance.clone(), state.scores.clone())
}
