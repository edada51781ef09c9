//! The keeper's process: what wakes it, how it decides and commits, and how it dies, stalls and comes back.

use std::time::Duration;

use super::{Fault, Invariant, SECOND, World, probes::Probing};
use crate::fleet::{
    event::{Command, Context, Event, IllegalEvent, Step},
    journal::ReleaseRef,
    memory::Memory,
    name::InstanceId,
    offer::Offer,
    provider::DestroyAnswer,
    state::{Fleet, Tenant},
    step::step,
    units::Timestamp,
};

/// The engine's beat is a second; what the core does on it it does every five, so more would only cost time here.
const BEAT: u64 = 5 * SECOND;
/// From a crash to the next start: the unit's `RestartSec`, and the start itself.
const RESTART: std::ops::Range<u64> = 5..12;

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
    /// A person looks at what was handed to them.
    Person,
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
            Due::Person => self.person(),
        }
    }

    /// The process starts: it folds what its journal holds and knows nothing else.
    pub(super) fn start_keeper(&mut self) {
        let folded = if std::mem::take(&mut self.keeper.knew_more) {
            self.journal.fold().map(|fleet| self.keeper.fleet.clone_from(fleet))
        } else {
            self.journal.fold_beside(&mut self.keeper.fleet)
        };
        if let Err(fault) = folded {
            return self.broken(Invariant::Fold, format!("the journal does not fold: {fault}"));
        }
        if self.keeper.offset != self.wall_error {
            self.tally.add("restart under another wall clock");
            self.keeper.offset = self.wall_error;
        }
        let now = self.clock();
        let keeper = &mut self.keeper;
        keeper.up = true;
        keeper.epoch += 1;
        keeper.memory = Memory::starting(now, self.policy.rails.warm_up);
        keeper.memory.release_missing = Some("it is being prepared".into());
        keeper.awake_at = self.now;
        (keeper.frozen_until, keeper.pause, keeper.commit_fails) = (0, None, false);
        (keeper.next_list, keeper.next_credit, keeper.next_canaries) = (0, 0, 0);
        (keeper.listing, keeper.list_wanted) = (false, false);
        keeper.looks.fill(None);
        keeper.probing.iter_mut().for_each(Probing::forget);
        self.judge.keeper_started();
        for node in 0..self.names.len() {
            self.retarget(node);
        }
        self.handle(Event::Booted { version: "simulated".into() });
        let prepared = self.now + self.rng.u64(200..5 * SECOND);
        let epoch = self.keeper.epoch;
        let release = ReleaseRef { digest: "d".into(), commit: "c".into() };
        self.queue.push(prepared, Due::Tell(epoch, Box::new(Event::ReleasePrepared(Ok(release)))));
        self.queue.push(self.now, Due::Beat(epoch));
        if self.keeper.crashes_left > 0 {
            self.keeper.crashes_left -= 1;
            self.arm_crash();
        }
    }

    /// The process dies; what was not committed is lost with it.
    pub(super) fn crash(&mut self, where_: &'static str) {
        if !self.keeper.up {
            return;
        }
        self.tally.add("keeper crashes");
        self.tally.add(where_);
        self.keeper.up = false;
        self.keeper.crash = None;
        let back = self.now + self.seconds(RESTART);
        self.queue.push(back, Due::Start);
    }

    /// The process stands still: everything it is to do waits.
    pub(super) fn freeze(&mut self, lasts: u64) {
        if !self.keeper.up || self.now < self.keeper.frozen_until {
            return;
        }
        self.keeper.frozen_until = self.now + lasts;
        let thaw = Due::Thaw { epoch: self.keeper.epoch, since: self.now };
        self.queue.push(self.keeper.frozen_until, thaw);
    }

    fn thawed(&mut self, since: u64) {
        let gap = Duration::from_millis(self.now - since);
        if gap > self.policy.rails.stall + Duration::from_secs(1) {
            self.keeper.awake_at = self.now;
            self.judge.keeper_stalled(self.now);
            self.handle(Event::Stalled { gap });
        }
    }

    /// An answer arrives, unless the keeper dies of it.
    fn told(&mut self, event: Event) {
        let weighty = matches!(
            event,
            Event::CreateAnswered { .. } | Event::DestroyAnswered { .. } | Event::DeployEnded { .. }
        );
        if weighty && self.keeper.crash.is_some_and(|armed| armed.point == Point::BeforeAnswer) {
            return self.crash("crash before an answer");
        }
        match &event {
            Event::Probed { node, .. } => {
                if let Some(place) = self.places.get(node).copied() {
                    self.probed(place, event);
                }
            }
            _ => self.handle(event),
        }
    }

    pub(super) fn tell(&mut self, delay: u64, event: Event) {
        self.queue.push(self.now + delay, Due::Tell(self.keeper.epoch, Box::new(event)));
    }

    /// One event, whole: decide, make durable, act.
    pub(super) fn handle(&mut self, event: Event) {
        let context = Context { now: self.clock(), policy: &self.policy, random: self.rng.u64(..) };
        let not_after = context.now.after(self.policy.rails.command_expiry);
        let step = match step(&mut self.keeper.fleet, &mut self.keeper.memory, event, &context) {
            Ok(step) => step,
            Err(IllegalEvent::UnknownOp { .. }) => return self.tally.add("answer of an unknown op"),
            Err(IllegalEvent::Misfit(fault)) => return self.broken(Invariant::Fold, fault.to_string()),
        };
        if step.entries.is_empty() && step.notices.is_empty() && step.commands.is_empty() {
            return self.order_looks(&step);
        }
        if !step.entries.is_empty() && !self.commit(&step) {
            return;
        }
        self.judge_step(&step);
        self.order_looks(&step);
        self.retarget_touched(&step);
        let split = self.is_armed(Point::BetweenEffects, &step) && step.commands.len() > 1;
        for command in step.commands {
            self.perform(command, not_after);
            if split {
                return self.crash("crash between effects");
            }
        }
    }

    /// Makes a step durable, unless the keeper dies before, right after, or of it.
    fn commit(&mut self, step: &Step) -> bool {
        if self.is_armed(Point::BeforeCommit, step) {
            self.keeper.knew_more = true;
            self.crash("crash before a commit");
            return false;
        }
        let fails = std::mem::take(&mut self.keeper.commit_fails);
        if fails && self.rng.bool() {
            self.keeper.knew_more = true;
            self.crash("commit of unknown outcome");
            return false;
        }
        if let Err(fault) = self.journal.append(&step.entries) {
            self.broken(Invariant::Fold, format!("a record cannot be written: {fault}"));
            return false;
        }
        if fails || self.is_armed(Point::AfterCommit, step) {
            self.judge_step(step);
            self.crash(if fails { "commit of unknown outcome" } else { "crash after a commit" });
            return false;
        }
        true
    }

    fn is_armed(&self, point: Point, step: &Step) -> bool {
        self.keeper.crash.is_some_and(|armed| {
            let meant = armed.kind.is_none_or(|kind| step.records().any(|record| record.kind() == kind));
            armed.point == point && meant && !step.entries.is_empty()
        })
    }

    fn order_looks(&mut self, step: &Step) {
        for (node, at) in &step.looks {
            let Some(place) = self.places.get(node).copied() else { continue };
            let at = self.moment(*at).max(self.now);
            let Some(pending) = self.keeper.looks.get_mut(place) else { continue };
            if pending.is_none_or(|earlier| earlier > at) {
                *pending = Some(at);
                self.queue.push(at, Due::Look { epoch: self.keeper.epoch, node: place });
            }
        }
    }

    fn look(&mut self, node: usize) {
        let Some(pending) = self.keeper.looks.get_mut(node) else { return };
        if pending.is_none_or(|at| at > self.now) {
            return;
        }
        *pending = None;
        if let Some(node) = self.names.get(node).cloned() {
            self.handle(Event::Look { node });
        }
    }

    /// What time alone brings: lists, credit, canaries.
    fn beat(&mut self) {
        self.queue.push(self.now + BEAT, Due::Beat(self.keeper.epoch));
        self.handle(Event::Beat);
        if self.now >= self.keeper.next_list {
            self.list();
        }
        if self.now >= self.keeper.next_credit {
            self.keeper.next_credit = self.now + 300 * SECOND;
            self.read_credit();
        }
        let canaries = !self.policy.rails.canaries.is_empty() && self.now >= self.keeper.next_canaries;
        if canaries && self.keeper.memory.watches.values().any(|watch| watch.failures > 0) {
            self.keeper.next_canaries = self.now + 15 * SECOND;
            self.check_self();
        }
        if let Some(at) = self.judge.look_at_rails(self.now) {
            self.judge.rails_seen_at = at;
            self.tally_rails();
        }
    }

    /// A destroy or create that expired before it was sent.
    pub(super) fn expired(&mut self, command: Command) {
        self.tally.add("command expired unsent");
        let event = match command {
            Command::Create { node, label, .. } => {
                let answer = crate::fleet::provider::CreateAnswer::NotSent("the command expired".into());
                Event::CreateAnswered { node, op: label.op, answer }
            }
            Command::Destroy { instance } => {
                let detail = "the command expired".into();
                let fault = crate::fleet::provider::ProviderFault::Unreachable { detail };
                Event::DestroyAnswered { instance, answer: DestroyAnswer::Failed(fault) }
            }
            _ => return,
        };
        self.tell(0, event);
    }

    /// Kills the keeper at a drawn point of its work, now or soon.
    pub(super) fn arm_crash(&mut self) {
        const KINDS: [&str; 12] = [
            "intent",
            "created",
            "create-unresolved",
            "create-failed",
            "doomed",
            "destroy-acknowledged",
            "gone",
            "instance-up",
            "deployed",
            "adopted",
            "recovery-started",
            "incident-opened",
        ];
        if self.keeper.crash.is_some() {
            // The one before found no such point; it strikes now.
            return self.crash("crash at any time");
        }
        let point = match self.rng.u32(0..5) {
            0 => return self.crash("crash at any time"),
            1 => Point::BeforeCommit,
            2 => Point::AfterCommit,
            3 => Point::BetweenEffects,
            _ => Point::BeforeAnswer,
        };
        let kind = if self.rng.bool() { KINDS.get(self.rng.usize(0..KINDS.len())).copied() } else { None };
        self.keeper.crash = Some(Armed { point, kind });
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
