//! The provider's lists: complete, failed, stale, short, empty or somebody else's.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Fault, SECOND, World,
    boxes::{Fate, Rented},
    keeper::Due,
};
use crate::fleet::{
    event::Event,
    name::InstanceId,
    policy::NodeSpec,
    provider::{Inventory, ProviderFault, Rental, Status},
    state::{NodeState, Stage},
    units::Timestamp,
};

/// How old a stale list may be.
const STALE: u64 = 90 * SECOND;

impl World {
    /// Asks for the list, or for another one right after that which is under way.
    pub(super) fn list(&mut self) {
        if self.keeper.listing {
            self.keeper.list_wanted = true;
            return;
        }
        let inventory = &self.policy.inventory;
        let wait = if self.is_busy() { inventory.busy_interval } else { inventory.interval };
        self.keeper.next_list = self.now + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 2);
        self.keeper.listing = true;
        let delay = self.rng.u64(100..2 * SECOND);
        let due = Due::List { epoch: self.keeper.epoch, began: self.clock() };
        self.queue.push(self.now + delay, due);
    }

    /// Whether something waits for lists, as the engine sees it.
    fn is_busy(&self) -> bool {
        let (fleet, memory) = (&self.keeper.fleet, &self.keeper.memory);
        let awaited = |state: &NodeState| match state {
            NodeState::Recovering(recovery) => !matches!(recovery.stage, Stage::Probation { .. }),
            NodeState::Vacant | NodeState::Suspect { .. } => true,
            NodeState::Serving(_) | NodeState::Remedying { .. } | NodeState::Held { .. } => false,
        };
        !fleet.doomed.is_empty()
            || memory.lists.good < 2
            || fleet.doubted
            || fleet.nodes.values().any(|node| awaited(&node.state))
    }

    pub(super) fn list_answered(&mut self, began: Timestamp) {
        self.keeper.listing = false;
        let refused = self.keeper.memory.lists.implausible.is_some();
        match self.inventory(began) {
            Err(fault) => self.handle(Event::Listed(Err(fault))),
            Ok((inventory, missing)) => {
                self.handle(Event::Listed(Ok(inventory)));
                self.list_taken(began, refused, &missing);
            }
        }
        if self.keeper.up && std::mem::take(&mut self.keeper.list_wanted) {
            self.list();
        }
    }

    /// What a list that was believed means to the judge.
    fn list_taken(&mut self, began: Timestamp, refused: bool, missing: &[InstanceId]) {
        if !self.keeper.up {
            return;
        }
        if self.keeper.memory.lists.last_started_at != Some(began) {
            if self.keeper.memory.lists.implausible.is_some() && !refused {
                self.tally.add("implausible list refused");
            }
            return;
        }
        if refused && !missing.is_empty() {
            self.tally.add("implausible list believed at last");
        }
        for (id, rented) in &mut self.boxes {
            if missing.contains(id) {
                rented.hidden_at = self.now;
                rented.hidden_since.get_or_insert(self.now);
            } else {
                rented.hidden_since = None;
            }
        }
        self.judge_list(missing);
        self.forget_boxes();
    }

    /// The list, with the boxes that live and that it leaves out.
    fn inventory(&mut self, began: Timestamp) -> Result<(Inventory, Vec<InstanceId>), ProviderFault> {
        if let Some(fault) = self.call_fails() {
            return Err(fault);
        }
        if self.hit(Fault::PageFails) {
            return Err(ProviderFault::Malformed { detail: "25 of 31 instances came".into() });
        }
        let asked = self.moment(began).min(self.now);
        let mut as_of = self.rng.u64(asked..=self.now);
        if self.hit(Fault::ListStale) {
            as_of = as_of.saturating_sub(self.rng.u64(0..STALE));
        }
        let nothing = self.hit(Fault::ListEmpty);
        let anothers = self.hit(Fault::WrongAccount);
        let short = self.hit(Fault::ListLacksRows);
        let unknown = self.hit(Fault::UnknownStatus);
        let (now, port) = (self.now, self.any_spec().rental.port);
        let (mut rentals, mut missing) = (Vec::with_capacity(self.boxes.len()), Vec::new());
        for (id, rented) in &self.boxes {
            let there = rented.born <= as_of && rented.gone_at.is_none_or(|gone| gone > as_of);
            let left_out =
                nothing || (anothers && rented.node.is_some()) || (short && self.rng.u32(0..4) == 0);
            if there && !left_out {
                let mut row = row(*id, rented, now, port);
                if unknown && rented.node.is_some() && self.rng.bool() {
                    row.status = Status::Unclear("scheduling".into());
                }
                rentals.push(row);
            } else if rented.alive() && rented.node.is_some() {
                missing.push(*id);
            }
        }
        Ok((Inventory { started_at: began, rentals }, missing))
    }

    /// Any node's rules: for what all share, such as the published port.
    pub(super) fn any_spec(&self) -> Arc<NodeSpec> {
        self.policy.nodes.values().next().cloned().unwrap_or_default()
    }
}

fn row(id: InstanceId, rented: &Rented, now: u64, port: u16) -> Rental {
    let running = rented.ready_at.is_some_and(|at| at <= now);
    let status = match rented.fate {
        Fate::Exited | Fate::Stopped => Status::Exited,
        Fate::Offline => Status::Offline,
        _ if running => Status::Running,
        _ => Status::Starting,
    };
    let ports =
        if running { BTreeMap::from([(22, 40_022), (port, rented.address.port())]) } else { BTreeMap::new() };
    Rental {
        id,
        label: rented.label.clone(),
        machine: rented.machine,
        host: rented.host,
        status,
        message: None,
        price: rented.price,
        gpu: String::new(),
        public_ip: running.then_some(rented.address.ip()),
        ports,
        ssh_proxy: None,
        ends_at: rented.ends_at.map(Timestamp),
        stopped: rented.fate == Fate::Stopped,
        bidding: rented.bidding(),
    }
}
