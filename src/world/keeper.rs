//! The keeper as a process of this world: what it holds, and what is still to happen to it.

use super::{Fault, World, probes::Probing};
use crate::fleet::{
    command::Command,
    event::Event,
    memory::Memory,
    name::InstanceId,
    offer::Offer,
    state::{Fleet, Tenant},
    units::Timestamp,
};

/// Something that is to happen.
#[derive(Debug)]
pub(super) enum Due {
    /// An answer reaches the keeper of that epoch.
    Tell(u32, Box<Event>),
    /// A list that was asked for then is answered.
    List { epoch: u32, began: Timestamp },
    /// A timer of a node.
    Look { epoch: u32, node: usize },
    /// A probe starts.
    Probe { node: usize, round: u32 },
    /// The wanted release is there.
    Release(u32),
    /// The keeper's beat.
    Beat(u32),
    /// A command is performed, if it is still in time.
    Perform { epoch: u32, command: Box<Command>, not_after: Timestamp },
    /// A command that was in time is sent.
    Send { epoch: u32, command: Box<Command> },
    /// Work on a box ends.
    WorkEnds {
        epoch: u32,
        work: u32,
        node: usize,
        tenant: Box<Tenant>,
        rung: Option<crate::fleet::policy::Rung>,
    },
    /// The process goes on after it stood still since then.
    Thaw { epoch: u32, since: u64 },
    /// The process starts.
    Start,
    /// A fault strikes, by its place among those of the run.
    Strike(usize),
    /// A box gets well by itself.
    Heal { instance: InstanceId, changes: u32 },
    /// A box is reachable again.
    Reconnect { instance: InstanceId },
    /// The provider executes a create whose answer was an error.
    LateCreate { label: String, node: usize, op: crate::fleet::name::OpId, offer: Box<Offer> },
    /// The provider executes a destroy late.
    LateDestroy(InstanceId),
    /// The host takes back what it let.
    ContractEnds(InstanceId),
    /// A person looks at what was handed to them.
    Person,
    /// Somebody copies the journal.
    Backup,
}

/// Where the keeper is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    BeforeCommit,
    AfterCommit,
    BetweenEffects,
    BeforeAnswer,
}

/// A crash that waits for its point: at a record of this kind, if one is named.
#[derive(Debug, Clone, Copy)]
pub(super) struct Armed {
    pub point: Point,
    pub kind: Option<&'static str>,
}

/// The process and what it remembers.
#[derive(Debug)]
pub(super) struct Keeper {
    pub up: bool,
    /// Counts its lives: what was meant for an earlier one is lost.
    pub epoch: u32,
    pub frozen_until: u64,
    /// Its clock against the world's.
    pub offset: i64,
    pub fleet: Fleet,
    pub memory: Memory,
    /// When it started or went on after a stall.
    pub awake_at: u64,
    pub next_list: u64,
    pub listing: bool,
    pub list_wanted: bool,
    pub next_credit: u64,
    pub next_canaries: u64,
    /// The pending look of each node.
    pub looks: Vec<Option<u64>>,
    pub probing: Vec<Probing>,
    /// The work under way on each node, by number.
    pub work: Vec<u32>,
    pub crash: Option<Armed>,
    /// The next drastic command meets a pause; `true`: after its expiry was checked.
    pub pause: Option<bool>,
    /// The next commit fails.
    pub commit_fails: bool,
    /// It died with more in its state than it had made durable.
    pub knew_more: bool,
    /// Crashes still to come in a storm of them.
    pub crashes_left: u32,
}

impl Keeper {
    pub fn new(nodes: usize) -> Self {
        Self {
            up: false,
            epoch: 0,
            frozen_until: 0,
            offset: 0,
            fleet: Fleet::default(),
            memory: Memory::default(),
            awake_at: 0,
            next_list: 0,
            listing: false,
            list_wanted: false,
            next_credit: 0,
            next_canaries: 0,
            looks: vec![None; nodes],
            probing: (0..nodes).map(|_| Probing::default()).collect(),
            work: vec![0; nodes],
            crash: None,
            pause: None,
            commit_fails: false,
            knew_more: false,
            crashes_left: 0,
        }
    }
}

impl World {
    /// What is due happens, unless it was meant for a keeper that lives no more. A stopped process gets it later.
    pub(super) fn happen(&mut self, due: Due) {
        let epoch = match &due {
            Due::Tell(epoch, _)
            | Due::List { epoch, .. }
            | Due::Look { epoch, .. }
            | Due::Beat(epoch)
            | Due::Release(epoch)
            | Due::Perform { epoch, .. }
            | Due::Send { epoch, .. }
            | Due::WorkEnds { epoch, .. }
            | Due::Thaw { epoch, .. } => Some(*epoch),
            Due::Probe { .. } => Some(self.keeper.epoch),
            _ => None,
        };
        if let Some(epoch) = epoch {
            if !self.keeper.up || epoch != self.keeper.epoch {
                return;
            }
            if self.now < self.keeper.frozen_until {
                return self.queue.push(self.keeper.frozen_until, due);
            }
        }
        match due {
            Due::Tell(_, event) => self.told(*event),
            Due::List { began, .. } => self.list_answered(began),
            Due::Look { node, .. } => self.look(node),
            Due::Probe { node, round } => self.probe(node, round),
            Due::Release(_) => self.release_prepared(),
            Due::Beat(_) => self.beat(),
            Due::Perform { command, not_after, .. } => self.perform(*command, not_after),
            Due::Send { command, .. } => self.send(*command, true),
            Due::WorkEnds { work, node, tenant, rung, .. } => self.work_ends(work, node, &tenant, rung),
            Due::Thaw { since, .. } => self.thawed(since),
            Due::Start => self.start_keeper(),
            Due::Strike(place) => self.strike(place),
            Due::Heal { instance, changes } => self.heal(instance, changes),
            Due::Reconnect { instance } => self.change(instance, |_| {}),
            Due::LateCreate { label, node, op, offer } => self.create_late(label, node, op, &offer),
            Due::LateDestroy(instance) => self.end_box(instance),
            Due::ContractEnds(instance) => self.contract_ends(instance),
            Due::Person => self.person(),
            Due::Backup => self.back_up(),
        }
    }

    /// Whether the keeper's own network reaches nothing.
    pub(super) fn is_offline(&mut self) -> bool {
        self.hit_always(Fault::KeeperOffline)
    }

    /// Like [`hit`](Self::hit), for spells that spare nobody.
    pub(super) fn hit_always(&mut self, fault: Fault) -> bool {
        let hit = self.lasts(fault);
        if hit {
            self.tally.add(fault.name());
        }
        hit
    }
}
