//! The truth of what is rented: where it stands, what runs on it, and since when it is well.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{Fault, SECOND, World, keeper::Due, releases::Release};
use crate::fleet::{
    name::{HostId, InstanceId, MachineId, OpId},
    offer::Offer,
    units::Money,
};

/// The first address of the simulated marketplace; any global one does, nothing is ever sent there.
const FIRST_ADDRESS: u32 = 0x0500_0000;

/// How a box fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It runs what was deployed.
    Up,
    /// Its server accepts and never answers.
    Hung,
    /// Its server answers 500.
    Failing,
    /// Its server says it is in maintenance, which somebody holds it in.
    Maintained,
    /// The same, and whoever held it there has died: nobody else ends it.
    Forgotten,
    /// Its container has ended.
    Exited,
    /// The provider stopped it: its disk is kept, its GPU let go.
    Stopped,
    /// Its machine is disconnected.
    Offline,
}

/// A box as it truly is.
#[derive(Debug, Clone)]
pub(super) struct Rented {
    pub label: Option<String>,
    /// The node it was rented for; a stranger's box has none.
    pub node: Option<usize>,
    pub op: Option<OpId>,
    pub machine: MachineId,
    pub host: HostId,
    /// Dollars an hour, now.
    pub price: Money,
    /// What it cost before, each price with its end.
    pub prices_before: Vec<(u64, Money)>,
    /// Our bid, of an interruptible one.
    pub bid: Option<Money>,
    /// What somebody else bids for its machine.
    pub others: Option<Money>,
    pub born: u64,
    /// When it reaches `running`; never, if it is stuck.
    pub ready_at: Option<u64>,
    pub gone_at: Option<u64>,
    /// When its contract ends, if that is near.
    pub ends_at: Option<u64>,
    pub address: SocketAddr,
    /// The release that it runs.
    pub runs: Option<Release>,
    /// The release that is being deployed to it.
    pub deploying: Release,
    /// Whose server was deployed to it.
    pub serves: Option<OpId>,
    pub fate: Fate,
    /// Nobody reaches it before this.
    pub cut_until: u64,
    /// It never becomes healthy, whatever is deployed.
    pub sickly: bool,
    /// Since when it serves the world, if it does.
    pub well_since: Option<u64>,
    /// Since when it no longer does, until its healing begins.
    pub ill_since: Option<u64>,
    /// Counts its turns of fate, so that an older cure does not heal a newer illness.
    pub changes: u32,
    /// How it came to be unknown to the keeper, if its create did not go straight.
    pub oddity: Option<Oddity>,
    /// Believed lists that showed it while nobody claimed or condemned it.
    pub unclaimed_lists: u32,
    /// When a believed list last left it out although it lived.
    pub hidden_at: u64,
    /// When believed lists began to leave it out, and no one showed it since.
    pub hidden_since: Option<u64>,
    /// Its attempt is on no record any more.
    pub orphan: bool,
    /// It was adopted, by whichever keeper, and has not been promoted since.
    pub adopted: bool,
    /// Whether a start of it waits at the provider.
    pub start_asked: bool,
}

/// What was odd about a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    /// Its answer never came.
    Unanswered,
    /// Executed after its answer was lost.
    Late,
    /// The second of one create.
    Twin,
    /// Its answer was an error.
    Broken,
}

/// Addresses at which somebody else's server answers.
#[derive(Debug, Default)]
pub(super) struct Strangers(BTreeSet<SocketAddr>);

impl Strangers {
    pub fn answer_at(&self, address: SocketAddr) -> bool {
        self.0.contains(&address)
    }
}

impl Rented {
    pub fn alive(&self) -> bool {
        self.gone_at.is_none()
    }

    pub fn running(&self, now: u64) -> bool {
        self.alive() && self.ready_at.is_some_and(|at| at <= now)
    }

    /// It costs otherwise from now on.
    pub fn reprice(&mut self, price: Money, now: u64) {
        self.prices_before.push((now, self.price));
        self.price = price;
    }

    /// What it cost within a span of time.
    pub fn cost(&self, from: u64, to: u64) -> Money {
        let mut since = self.born;
        let mut sum = Money(0);
        for (until, price) in self.prices_before.iter().copied().chain([(u64::MAX, self.price)]) {
            let lasted = until.min(to).saturating_sub(since.max(from));
            sum = sum.plus(price.over(Duration::from_millis(lasted)));
            since = until;
        }
        sum
    }

    /// Whether a good release would serve on it.
    pub fn would_serve(&self, now: u64) -> bool {
        let there = !self.sickly && self.running(now) && now >= self.cut_until;
        there && matches!(self.fate, Fate::Up | Fate::Maintained | Fate::Forgotten)
    }

    /// Whether its own server cannot be well on it.
    pub fn is_spoilt(&self) -> bool {
        self.sickly || self.runs.is_some_and(|release| release.bad)
    }

    fn serves_now(&self, now: u64) -> bool {
        self.serves.is_some() && self.runs.is_some_and(|release| !release.bad) && self.would_serve(now)
    }
}

impl World {
    /// Rents a box; nobody but the provider knows yet.
    pub(super) fn rent(
        &mut self,
        label: Option<String>,
        node: Option<usize>,
        op: Option<OpId>,
        offer: &Offer,
    ) -> InstanceId {
        self.next_instance += 1;
        let id = InstanceId(self.next_instance);
        let spoilt = node.is_some() && self.bad_hosts.contains(&offer.host);
        // Which way a bad host spoils boxes is its own habit.
        let never_up = spoilt && offer.host.0.is_multiple_of(2);
        let stuck = node.is_some() && self.hit(Fault::StuckBoot) || never_up;
        let ready = self.now + self.seconds(20..240);
        let sickly = node.is_some() && self.hit(Fault::NeverHealthy) || spoilt;
        if spoilt {
            self.tally.add("box rented on a bad host");
        }
        let offset = u32::try_from(self.next_instance % 0x00ff_0000).unwrap_or_default();
        let rented = Rented {
            label,
            node,
            op,
            machine: offer.machine,
            host: offer.host,
            price: offer.price,
            prices_before: Vec::new(),
            bid: offer.bid,
            others: None,
            born: self.now,
            ready_at: (!stuck).then_some(ready),
            gone_at: None,
            ends_at: None,
            address: SocketAddr::new(Ipv4Addr::from(FIRST_ADDRESS + offset).into(), 45_555),
            runs: None,
            deploying: Release::default(),
            serves: None,
            fate: Fate::Up,
            cut_until: 0,
            sickly,
            well_since: None,
            ill_since: None,
            changes: 0,
            oddity: None,
            unclaimed_lists: 0,
            hidden_at: 0,
            hidden_since: None,
            orphan: false,
            adopted: false,
            start_asked: false,
        };
        self.boxes.insert(id, rented);
        if node.is_some() {
            self.schedule_end(id, offer);
        }
        id
    }

    /// Somebody else's boxes in the same account are always there.
    pub(super) fn settle_foreigners(&mut self) {
        let odd = format!("vk:{}:by-hand", self.policy.fleet);
        let labels = ["training", "vk:another:duel-0:abcdefghijk", &odd].map(|label| Some(label.to_owned()));
        for label in labels.into_iter().chain([None]) {
            let offer = self.any_offer(None);
            let id = self.rent(label, None, None, &offer);
            self.judge.foreign.insert(id);
        }
    }

    /// Changes a box and keeps the record of its health true.
    pub(super) fn change(&mut self, id: InstanceId, change: impl FnOnce(&mut Rented)) {
        let now = self.now;
        let Some(rented) = self.boxes.get_mut(&id) else { return };
        change(rented);
        let node = rented.node;
        let was_well = rented.well_since.is_some();
        rented.well_since = if rented.serves_now(now) { rented.well_since.or(Some(now)) } else { None };
        match (was_well, rented.well_since) {
            (true, None) => rented.ill_since = Some(now),
            (_, Some(_)) => rented.ill_since = None,
            (false, None) => {}
        }
        if let Some(node) = node {
            self.note_availability(node);
        }
    }

    /// Makes a box fare otherwise, and well again after `heals_after`, unless something else happens to it before.
    pub(super) fn befall(&mut self, id: InstanceId, fate: Fate, heals_after: Option<u64>) {
        self.change(id, |rented| {
            rented.fate = fate;
            rented.changes += 1;
        });
        if let (Some(after), Some(rented)) = (heals_after, self.boxes.get(&id)) {
            let due = Due::Heal { instance: id, changes: rented.changes };
            self.queue.push(self.now + after, due);
        }
    }

    /// Nobody reaches the box for a while.
    pub(super) fn cut(&mut self, id: InstanceId, lasts: u64) {
        let until = self.now + lasts;
        self.change(id, |rented| rented.cut_until = until);
        self.queue.push(until, Due::Reconnect { instance: id });
    }

    pub(super) fn heal(&mut self, id: InstanceId, changes: u32) {
        let due = self.boxes.get(&id).is_some_and(|rented| rented.alive() && rented.changes == changes);
        if due && self.others_leave(id) {
            self.befall(id, Fate::Up, None);
            self.change(id, |rented| rented.start_asked = false);
        }
    }

    /// The box is no more. Its address may go to the next tenant at once, as it does at this provider.
    pub(super) fn end_box(&mut self, id: InstanceId) {
        let now = self.now;
        let Some(rented) = self.boxes.get(&id).filter(|rented| rented.alive()) else { return };
        let (address, served) = (rented.address, rented.serves.is_some());
        if rented.node.is_some() {
            self.books.paid(rented.cost(rented.born, now), now - rented.born);
        }
        self.change(id, |rented| rented.gone_at = Some(now));
        if served && self.rng.u32(0..4) == 0 {
            self.strangers.0.insert(address);
        }
    }

    /// The box of a node that serves or is to serve, if it lives.
    pub(super) fn box_of(&self, node: usize) -> Option<InstanceId> {
        let name = self.names.get(node)?;
        let (_, instance) = self.keeper.fleet.nodes.get(name)?.state.claim()?;
        instance.filter(|id| self.boxes.get(id).is_some_and(Rented::alive))
    }

    /// Boxes that ended so long ago that no list shows them any more are forgotten.
    pub(super) fn forget_boxes(&mut self) {
        let horizon = self.now.saturating_sub(200 * SECOND);
        let forget = |rented: &Rented| rented.gone_at.is_some_and(|at| at < horizon);
        let claimed = &self.keeper.fleet;
        let held = |id: &InstanceId| claimed.doomed.contains_key(id);
        self.boxes.retain(|id, rented| !forget(rented) || held(id));
    }

    /// A box is published elsewhere, as dynamic addresses are.
    pub(super) fn move_address(&mut self, id: InstanceId) {
        self.next_instance += 1;
        let offset = u32::try_from(self.next_instance % 0x00ff_0000).unwrap_or_default();
        let address = SocketAddr::new(Ipv4Addr::from(FIRST_ADDRESS + offset).into(), 45_555);
        self.change(id, |rented| rented.address = address);
    }
}
