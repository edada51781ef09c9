//! A world to try the keeper's decisions in: hosts, a provider, networks and the keeper itself, all of which fail.
//!
//! ```text
//!   faults ──strike──► hosts, provider, networks ──answers, probes, lists──► fleet::step ──records──► journal (as text)
//!     ▲                        ▲                                                │                       │
//!   menu, seed                 └────────────── commands, late or lost ──────────┘        fold after each crash
//!                                       judge: 18 invariants, by the truth of the world
//! ```
//!
//! The core is the real one: `step` decides, `apply` folds, and after each crash the state is what the journal's text folds
//! to. Around it stands what the engine does with it (expiry, one list at a time, probes at the prober's own pace), so that
//! a pause or a crash can fall between any two of its acts.
//!
//! One seed is one story: a single thread, integers for time, ordered collections, one generator. After the faults every
//! run goes on without them, and all must be well again or wait for a person who was told.
//!
//! Deliberately absent: JSON of the provider, sockets, SSH, SQLite. They have tests of their own against real ones; here
//! an answer is what the `vast` edge makes of it.

mod backup;
mod boxes;
mod contracts;
mod effects;
mod engine;
mod fault;
mod figures;
pub mod gate;
mod human;
mod journal;
mod judge;
mod keeper;
mod lists;
mod market;
mod menu;
mod probes;
mod process;
mod provider;
mod queue;
mod releases;
mod spares;
mod strikes;
mod tally;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::{
    boxes::{Rented, Strangers},
    journal::Journal,
    judge::Judge,
    keeper::{Due, Keeper},
    queue::Queue,
};
pub use self::{
    fault::{Fault, Row, Scope, TABLE},
    figures::{Figures, Reaction},
    judge::{Invariant, Violation},
    menu::{Base, Menu},
    tally::{Tally, sometimes},
};
use crate::fleet::{
    name::{HostId, InstanceId, NodeName},
    policy::Policy,
    units::Timestamp,
};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// When every story begins, in milliseconds since the epoch: late enough for an hour's error of the clock.
const BEGIN: u64 = 1_000_000_000_000;
/// Longest time after the faults' end until all must be well, beside the windows of rails that count in hours.
const CONVERGE: u64 = 4 * HOUR;
/// The whole bound, rails included: the longest window is a day.
const CONVERGE_MOST: u64 = 32 * HOUR;

/// One run, whole: the same setting tells the same story.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What the keeper is to keep.
    pub policy: Policy,
    /// What goes wrong.
    pub menu: Menu,
    /// Where every draw comes from.
    pub seed: u64,
    /// How long faults strike, in simulated hours.
    pub hours: u64,
}

/// What became of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Over every journaled record; the same seed gives the same one.
    pub hash: u64,
    /// What happened how often.
    pub tally: Tally,
    /// What a user cares for.
    pub figures: Figures,
    /// The first broken promise; the run ends with it.
    pub violation: Option<Violation>,
    /// Where a promise was broken, the journal's last words before, oldest first.
    pub last_words: Vec<String>,
}

/// Runs one story to its end.
#[must_use]
pub fn run(setting: &Setting) -> Outcome {
    let mut world = World::new(setting);
    world.pass(world.begin + setting.hours * HOUR);
    world.settle_availability();
    let figures = world.figures(setting.hours * HOUR);
    world.converge();
    world.judge_journal();
    let violation = world.judge.violation;
    let last_words = violation.as_ref().map(|_| world.journal.last_words()).unwrap_or_default();
    Outcome { hash: world.journal.hash, tally: world.tally, figures, violation, last_words }
}

/// All there is.
struct World {
    now: u64,
    begin: u64,
    rng: fastrand::Rng,
    policy: Policy,
    /// What is to be deployed.
    release: releases::Release,
    /// Hosts that spoil every box.
    bad_hosts: BTreeSet<HostId>,
    /// Since when a person has boxes taken over that no journal knows.
    importing_since: Option<u64>,
    /// The last copy that somebody made of the journal.
    backup: Option<backup::Backup>,
    /// A spare that the present configuration leaves out.
    unwanted: Option<spares::Unwanted>,
    names: Vec<NodeName>,
    places: BTreeMap<NodeName, usize>,
    queue: Queue<Due>,
    keeper: Keeper,
    journal: Journal,
    boxes: BTreeMap<InstanceId, Rented>,
    strangers: Strangers,
    next_instance: u64,
    /// Until when each fault's spell lasts, by the fault's place in the table.
    spells: Vec<u64>,
    /// The faults of this run, times a day.
    faults: Vec<(Fault, f64)>,
    /// Whether faults strike at all; over in the second part of a run.
    stormy: bool,
    /// How far the wall clock is off now, in milliseconds.
    wall_error: i64,
    judge: Judge,
    tally: Tally,
    books: figures::Books,
}

impl World {
    fn new(setting: &Setting) -> Self {
        let mut rng = fastrand::Rng::with_seed(setting.seed);
        let policy = without_queries(&setting.policy);
        let names: Vec<NodeName> = policy.nodes.keys().cloned().collect();
        let places = names.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
        let faults = setting.menu.drawn(names.len(), || rng.f64());
        let mut world = Self {
            now: BEGIN,
            begin: BEGIN,
            keeper: Keeper::new(names.len()),
            journal: Journal::default(),
            queue: Queue::new(),
            boxes: BTreeMap::new(),
            strangers: Strangers::default(),
            next_instance: 1_000,
            spells: vec![0; TABLE.len()],
            stormy: true,
            wall_error: 0,
            judge: Judge::new(names.len()),
            tally: Tally::default(),
            books: figures::Books::new(names.len()),
            rng,
            policy,
            release: releases::Release::default(),
            bad_hosts: BTreeSet::new(),
            importing_since: None,
            backup: None,
            unwanted: None,
            names,
            places,
            faults,
        };
        world.settle_foreigners();
        for place in 0..world.faults.len() {
            world.schedule_strike(place);
        }
        world.schedule_wakes();
        world.schedule_backup();
        world.start_keeper();
        world
    }

    /// Lets time pass until `until`, or until a promise is broken.
    fn pass(&mut self, until: u64) {
        while self.judge.violation.is_none() {
            let Some((at, due)) = self.queue.pop(until) else { break };
            self.now = self.now.max(at);
            self.happen(due);
        }
        self.now = self.now.max(until);
    }

    /// Faults end, people look after what was handed to them, and all must be well within hours.
    fn converge(&mut self) {
        if self.judge.violation.is_some() {
            return;
        }
        self.end_faults();
        // A machine that sleeps wakes up first.
        self.pass(self.keeper.frozen_until);
        let (mut patience, most) = (self.now + CONVERGE, self.now + CONVERGE_MOST);
        loop {
            self.pass(self.now + 10 * MINUTE);
            if self.judge.violation.is_some() {
                return;
            }
            match self.unsettled() {
                None => break,
                Some(_) if self.is_railed() && self.now < most => patience = self.now + CONVERGE,
                Some(what) if self.now >= patience => {
                    return self.judge.broken(Invariant::Liveness, self.now - self.begin, what);
                }
                Some(_) => {}
            }
            self.answer_pages();
        }
    }

    /// The keeper's own time.
    fn clock(&self) -> Timestamp {
        Timestamp(self.now.saturating_add_signed(self.keeper.offset))
    }

    /// When the keeper's `at` is, in the world's time.
    fn moment(&self, at: Timestamp) -> u64 {
        at.0.saturating_add_signed(-self.keeper.offset)
    }

    /// Whether a fault's spell lasts.
    fn lasts(&self, fault: Fault) -> bool {
        self.spells.get(fault as usize).is_some_and(|until| *until > self.now)
    }

    /// Whether a spell hits this time.
    fn hit(&mut self, fault: Fault) -> bool {
        let hit = self.lasts(fault) && self.rng.bool();
        if hit {
            self.tally.add(fault.name());
        }
        hit
    }

    fn seconds(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.rng.u64(range) * SECOND
    }

    fn broken(&mut self, invariant: Invariant, detail: String) {
        let spells: Vec<&str> =
            TABLE.iter().map(|row| row.fault).filter(|fault| self.lasts(*fault)).map(Fault::name).collect();
        let detail = format!("{detail}; meanwhile: {}", spells.join(", "));
        self.judge.broken(invariant, self.now - self.begin, detail);
    }
}

/// The same policy for a marketplace that is simulated: its offers meet every floor and cap, and there is nobody to put a
/// query in the provider's language to.
fn without_queries(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    for spec in policy.nodes.values_mut() {
        if let Ok(query) = "".parse() {
            Arc::make_mut(spec).offers.query = query;
        }
    }
    policy
}
