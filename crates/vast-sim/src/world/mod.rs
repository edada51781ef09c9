//! The simulated provider's state: market, account, instances, faults and the record of everything.
//!
//! One mutex guards it all; it is held for short, synchronous sections only. What must happen outside (starting and
//! killing boxes) is queued as [`Effect`]s, which the engine in `lib.rs` carries out in order.

pub(crate) mod account;
pub(crate) mod billing;
pub(crate) mod chaos;
pub(crate) mod instance;
pub(crate) mod lifecycle;
pub(crate) mod rentals;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::boxes::BoxCommand;
use crate::clock::SimSeconds;
use crate::config::SimConfig;
use crate::faults::{FaultId, FaultKind, FaultTable, Target};
use crate::market::{self, Market};
use crate::record::{CallRecord, Ledger, Rental, Truth, TruthEvent};
use account::Account;
use instance::Instance;

/// First instance id: in the range of live ids.
const FIRST_INSTANCE: u64 = 20_000_001;

/// Most calls kept; a demo makes hundreds, a day's soak test some ten thousands.
const MOST_CALLS: usize = 500_000;

/// Most outputs of logs and commands kept for fetching.
const MOST_OUTPUTS: usize = 1_000;

/// Something to do outside the lock.
#[derive(Debug)]
pub(crate) struct Effect {
    pub(crate) instance: u64,
    pub(crate) command: BoxCommand,
}

/// A running box, as the panel shows it.
#[derive(Debug, Clone)]
pub(crate) struct BoxSummary {
    pub(crate) address: Ipv4Addr,
    pub(crate) ports: BTreeMap<String, u16>,
    pub(crate) proxy: Option<(Ipv4Addr, u16)>,
    pub(crate) home: PathBuf,
    /// Fingerprint of the SSH host key; empty without SSH.
    pub(crate) host_key: String,
    pub(crate) frozen: bool,
}

/// Text that a `result_url` serves: the output of a logs or execute request.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// GETs still answered 404, as the live storage does until the upload is done.
    pub(crate) misses_left: u32,
    pub(crate) source: OutputSource,
}

/// Where an output's text comes from.
#[derive(Debug, Clone)]
pub(crate) enum OutputSource {
    /// The box's container log, last `tail` lines containing `filter`.
    ContainerLog { instance: u64, tail: usize, filter: Option<String> },
    /// Ready text.
    Text(String),
    /// An allowed command, run inside the box's folder.
    Command { instance: u64, words: Vec<String> },
}

/// All state.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: SimConfig,
    pub(crate) market: Market,
    pub(crate) account: Account,
    pub(crate) instances: BTreeMap<u64, Instance>,
    pub(crate) faults: FaultTable,
    pub(crate) effects: Vec<Effect>,
    pub(crate) calls: Vec<CallRecord>,
    pub(crate) last_call: u64,
    pub(crate) rentals: BTreeMap<u64, Rental>,
    /// What each instance was charged, by the start of the day.
    pub(crate) charges: BTreeMap<(u64, u64), billing::Charge>,
    pub(crate) truth: Vec<TruthEvent>,
    outputs: VecDeque<(String, Output)>,
    pub(crate) reports: HashMap<u64, Vec<serde_json::Value>>,
    /// The boxes that have been up, until they are destroyed; kept by their actors.
    pub(crate) boxes: HashMap<u64, BoxSummary>,
    /// Recent calls per identity and endpoint, for the published limits.
    pub(crate) last_seen: HashMap<(String, &'static str), VecDeque<SimSeconds>>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) fault_rng: fastrand::Rng,
    next_instance: u64,
    next_small_id: u64,
    /// Real time of the section being executed, for the records.
    pub(crate) wall_ms: u64,
}

impl State {
    pub(crate) fn new(config: SimConfig, now: SimSeconds) -> Self {
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let market = market::generate(&config.market, &mut rng, now);
        let fault_rng = rng.fork();
        State {
            account: Account::new(config.credit),
            market,
            config,
            instances: BTreeMap::new(),
            faults: FaultTable::default(),
            effects: Vec::new(),
            calls: Vec::new(),
            last_call: 0,
            rentals: BTreeMap::new(),
            charges: BTreeMap::new(),
            truth: Vec::new(),
            outputs: VecDeque::new(),
            reports: HashMap::new(),
            boxes: HashMap::new(),
            last_seen: HashMap::new(),
            rng,
            fault_rng,
            next_instance: FIRST_INSTANCE,
            next_small_id: 1_001,
            wall_ms: 0,
        }
    }

    pub(crate) fn next_instance_id(&mut self) -> u64 {
        let id = self.next_instance;
        self.next_instance += 1 + self.rng.u64(0..9);
        id
    }

    /// Ids of keys and the like.
    pub(crate) fn small_id(&mut self) -> u64 {
        self.next_small_id += 1;
        self.next_small_id
    }

    /// Text of `length` hex digits from the seeded generator.
    pub(crate) fn token(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from_digit(self.rng.u32(0..16), 16).unwrap_or('0')).collect()
    }

    /// An instance that exists and is not destroyed.
    pub(crate) fn alive(&self, id: u64) -> Option<&Instance> {
        self.instances.get(&id).filter(|instance| !instance.is_destroyed())
    }

    /// As [`State::alive`], to change it.
    pub(crate) fn alive_mut(&mut self, id: u64) -> Option<&mut Instance> {
        self.instances.get_mut(&id).filter(|instance| !instance.is_destroyed())
    }

    /// Queues a command for an instance's box.
    pub(crate) fn command(&mut self, instance: u64, command: BoxCommand) {
        self.effects.push(Effect { instance, command });
    }

    /// Notes what truly happened to a box.
    pub(crate) fn note(&mut self, instance: u64, what: Truth, fault: Option<FaultId>) {
        tracing::info!(instance, ?what, fault = fault.map(|id| id.0), "truth");
        self.truth.push(TruthEvent { at_ms: self.wall_ms, instance, what, fault });
    }

    /// Draws a fault for an instance; `pick` takes the kinds that matter here.
    pub(crate) fn draw_for<T>(
        &mut self,
        id: u64,
        endpoint: Option<&str>,
        port: Option<u16>,
        pick: impl Fn(&FaultKind) -> Option<T>,
    ) -> Option<(FaultId, T)> {
        let instance = self.instances.get(&id);
        let target = Target {
            instance: Some(id),
            label: instance.and_then(|it| it.launch.label.as_deref()),
            machine: instance.map(|it| it.machine.id),
            endpoint,
            port,
        };
        self.faults.draw(&mut self.fault_rng, &target, pick)
    }

    /// Opens a call's record and gives its number.
    pub(crate) fn open_call(&mut self, mut call: CallRecord) -> u64 {
        self.last_call += 1;
        call.seq = self.last_call;
        if self.calls.len() >= MOST_CALLS {
            self.calls.drain(..MOST_CALLS / 10);
        }
        self.calls.push(call);
        self.last_call
    }

    /// The record of a call, unless it has been dropped for its age.
    pub(crate) fn call_mut(&mut self, seq: u64) -> Option<&mut CallRecord> {
        let at = self.calls.binary_search_by_key(&seq, |call| call.seq).ok()?;
        self.calls.get_mut(at)
    }

    /// The calls after a given one, oldest first.
    pub(crate) fn calls_after(&self, seq: u64) -> impl Iterator<Item = &CallRecord> {
        let start = self.calls.partition_point(|call| call.seq <= seq);
        self.calls[start..].iter()
    }

    /// Stores an output under its token, letting the oldest go.
    pub(crate) fn store_output(&mut self, token: String, output: Output) {
        if self.outputs.len() >= MOST_OUTPUTS {
            self.outputs.pop_front();
        }
        self.outputs.push_back((token, output));
    }

    /// A stored output.
    pub(crate) fn output_mut(&mut self, token: &str) -> Option<&mut Output> {
        self.outputs.iter_mut().find(|(name, _)| name == token).map(|(_, output)| output)
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger {
            rentals: self.rentals.values().cloned().collect(),
            truth: self.truth.clone(),
            credit: self.account.credit,
            spent: self.account.spent,
        }
    }
}
