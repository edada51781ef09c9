//! What a complete list of instances teaches: who exists, who vanished, whose outcome is settled, what is gone.
//!
//! A failed, short or implausible list is an error, never "gone". Absence alone is never death: a listed-away tenant that
//! answers its probes keeps its node.

use std::collections::BTreeSet;

use super::{
    super::{
        event::{Command, IllegalEvent},
        journal::{DoomReason, Record},
        memory::Absent,
        name::{InstanceId, NodeName, Ownership, ownership},
        provider::{Inventory, ProviderFault, Rental, Status},
        state::{NodeState, Stage},
        tell,
        units::Timestamp,
        watch::{Testimony, Word},
    },
    Turn,
    newcomer::words,
};

/// Lists in a row that must call an instance dead before the provider counts as a witness: its word lags and errs.
const DOWN_LISTS: u32 = 2;

impl Turn<'_> {
    pub(super) fn list_failed(&mut self, fault: ProviderFault) -> Result<(), IllegalEvent> {
        let now = self.now();
        self.provider_fault(&fault)?;
        let lists = &mut self.memory.lists;
        lists.faults = lists.faults.saturating_add(1);
        let stale = lists
            .last_started_at
            .is_none_or(|last| now.since(last) > self.context.policy.rails.inventory_fresh);
        let auth = matches!(fault, ProviderFault::Auth { .. });
        let tell = stale && !auth && lists.faults >= 3 && !self.memory.outage_told;
        if tell {
            self.memory.outage_told = true;
            let notice = tell::outage(now, &fault);
            self.tell(notice);
        }
        self.memory.lists.fault = Some(fault);
        Ok(())
    }

    pub(super) fn listed(&mut self, list: Inventory) -> Result<(), IllegalEvent> {
        let began = list.started_at;
        if self.memory.lists.last_started_at.is_some_and(|last| last > began) {
            // An older list that ended late would turn time back.
            return Ok(());
        }
        if !self.fleet.key_accepted {
            self.record(Record::KeyAccepted { accepted: true })?;
            let notice = tell::key_taken(self.now());
            self.tell(notice);
        }
        if let Some(vanished) = self.implausibly_vanished(&list) {
            return self.disbelieve(vanished);
        }
        if std::mem::take(&mut self.memory.outage_told) {
            let notice = tell::outage_over(self.now());
            self.tell(notice);
        }
        self.memory.accept(list);
        self.settle_rows()?;
        self.settle_doomed(began);
        self.settle_gone()?;
        self.settle_nodes(began)?;
        let names: Vec<NodeName> = self.context.policy.nodes.keys().cloned().collect();
        for name in names {
            self.pursue(&name)?;
        }
        Ok(())
    }

    /// Known instances that a list lacks, where they are too many to have vanished at once.
    fn implausibly_vanished(&mut self, list: &Inventory) -> Option<BTreeSet<InstanceId>> {
        let listed: BTreeSet<InstanceId> = list.rentals.iter().map(|rental| rental.id).collect();
        let known: Vec<InstanceId> = self
            .fleet
            .nodes
            .values()
            .filter_map(|node| node.state.tenant())
            .map(|tenant| tenant.instance)
            .collect();
        let seen_before =
            |id: &InstanceId| self.memory.lists.good == 0 || self.memory.lists.rows.contains_key(id);
        let vanished: BTreeSet<InstanceId> =
            known.iter().copied().filter(|id| !listed.contains(id) && seen_before(id)).collect();
        let many = (known.len() / 10).max(2);
        (vanished.len() >= many).then_some(vanished)
    }

    /// Refuses a list that lacks too much, unless the same set has been missing time and again.
    fn disbelieve(&mut self, vanished: BTreeSet<InstanceId>) -> Result<(), IllegalEvent> {
        let now = self.now();
        let lists = &mut self.memory.lists;
        let times = match &lists.implausible {
            Some((earlier, times)) if *earlier == vanished => times + 1,
            _ => 1,
        };
        if times >= self.context.policy.inventory.implausible_lists {
            // Believed at last: the next such list finds nothing known before that vanished anew.
            lists.rows.retain(|id, _| !vanished.contains(id));
            lists.good = lists.good.max(1);
            lists.implausible = None;
            return Ok(());
        }
        if times == 1 {
            let notice = tell::implausible(now, vanished.len());
            self.tell(notice);
        }
        self.memory.lists.implausible = Some((vanished, times));
        self.memory.lists.fault = Some(ProviderFault::Malformed {
            detail: "too many instances vanished at once to be believed".into(),
        });
        Ok(())
    }

    /// Rows with our label: settle open creates, doom strays, tell what is unknown.
    fn settle_rows(&mut self) -> Result<(), IllegalEvent> {
        let fleet_name = self.context.policy.fleet.clone();
        let rows: Vec<Rental> = self.memory.lists.rows.values().cloned().collect();
        for row in rows {
            if self.fleet.doomed.contains_key(&row.id) {
                continue;
            }
            let claimed =
                self.fleet.nodes.values().any(
                    |node| matches!(node.state.claim(), Some((_, Some(instance))) if instance == row.id),
                );
            match ownership(row.label.as_deref(), &fleet_name) {
                _ if claimed => {}
                Ownership::Foreign => {}
                Ownership::Malformed => self.tell_stray(&row),
                Ownership::Ours(node, op) => {
                    let open = self.node(&node).is_some_and(
                        |node| matches!(node.state.claim(), Some((attempt, None)) if attempt.op == op),
                    );
                    if open {
                        // Rows come in the order of their ids, so of two rentals of one op the lowest is kept.
                        self.created(&node, &op, row.id)?;
                    } else if self.fleet.ops.contains_key(&op) {
                        self.doom(row.id, Some(&node), DoomReason::Stray, row.price)?;
                        let notice = tell::stray_doomed(self.now(), &node, row.id, row.price);
                        self.tell(notice);
                    } else {
                        self.tell_stray(&row);
                    }
                }
            }
        }
        Ok(())
    }

    /// Something with our fleet's name that the journal does not know: told, never touched.
    fn tell_stray(&mut self, row: &Rental) {
        if self.memory.strays_told.insert(row.id) {
            let notice = tell::stray(self.now(), row);
            self.tell(notice);
        }
    }

    /// Doomed instances: still listed means destroy again, absent from enough lists after the acknowledgement means gone.
    fn settle_doomed(&mut self, began: Timestamp) {
        let doomed: Vec<(InstanceId, Option<Timestamp>)> =
            self.fleet.doomed.iter().map(|(id, doomed)| (*id, doomed.acknowledged_at)).collect();
        for (instance, acknowledged) in doomed {
            let listed = self.memory.lists.rows.contains_key(&instance);
            let proven = acknowledged.is_some_and(|at| began > at);
            let chase = self.memory.chases.entry(instance).or_default();
            if !listed && proven {
                chase.absent_lists += 1;
            } else {
                chase.absent_lists = 0;
            }
            if listed || acknowledged.is_none() {
                self.send_destroy(instance);
            }
        }
    }

    fn settle_gone(&mut self) -> Result<(), IllegalEvent> {
        let enough = self.context.policy.inventory.gone_lists.max(1);
        let gone: Vec<InstanceId> = self
            .memory
            .chases
            .iter()
            .filter(|(id, chase)| chase.absent_lists >= enough && self.fleet.doomed.contains_key(id))
            .map(|(id, _)| *id)
            .collect();
        for instance in gone {
            self.record(Record::Gone { instance })?;
            self.memory.chases.remove(&instance);
        }
        Ok(())
    }

    /// What the list says of each node's tenant, newcomer or open create.
    fn settle_nodes(&mut self, began: Timestamp) -> Result<(), IllegalEvent> {
        let names: Vec<NodeName> = self.fleet.nodes.keys().cloned().collect();
        for name in names {
            let Some(node) = self.node(&name) else { continue };
            match &node.state {
                NodeState::Recovering(recovery) => match &recovery.stage {
                    Stage::Unresolved { attempt, since } => {
                        let (op, since) = (attempt.op.clone(), *since);
                        self.settle_unresolved(&name, &op, since, began)?;
                    }
                    Stage::Booting { instance, since, .. } => {
                        let (instance, since) = (*instance, *since);
                        self.newcomer_listed(&name, instance, since, began)?;
                    }
                    Stage::Deploying { tenant, since } | Stage::Probation { tenant, since } => {
                        let (instance, since) = (tenant.instance, *since);
                        self.address_listed(&name, instance)?;
                        self.newcomer_listed(&name, instance, since, began)?;
                    }
                    Stage::Started { .. } | Stage::Intent { .. } => {}
                },
                state => {
                    if let Some(tenant) = state.tenant() {
                        let instance = tenant.instance;
                        self.tenant_listed(&name, instance);
                        self.address_listed(&name, instance)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Enough complete lists without the label, over long enough, settle an ambiguous create as "rented nothing".
    fn settle_unresolved(
        &mut self,
        name: &NodeName,
        op: &super::super::name::OpId,
        since: Timestamp,
        began: Timestamp,
    ) -> Result<(), IllegalEvent> {
        if began <= since {
            return Ok(());
        }
        let absent = self.memory.absent.entry(op.clone()).or_insert(Absent { first: began, lists: 0 });
        absent.lists += 1;
        let inventory = &self.context.policy.inventory;
        if absent.lists < inventory.settle_lists || began.since(since) < inventory.settle {
            return Ok(());
        }
        self.memory.absent.remove(op);
        self.record(Record::CreateAbandoned { node: name.clone(), op: op.clone() })
    }

    /// The provider as a witness on a tenant.
    fn tenant_listed(&mut self, name: &NodeName, instance: InstanceId) {
        let now = self.now();
        let seen = self.memory.row(instance).map(|row| row.status.clone());
        let gone_lists = self.context.policy.inventory.gone_lists.max(1);
        let watch = self.memory.watch(name);
        let word = match seen {
            None => {
                watch.missing_lists = watch.missing_lists.saturating_add(1);
                watch.down_lists = 0;
                (watch.missing_lists >= gone_lists)
                    .then(|| format!("missing from {} complete lists in a row", watch.missing_lists))
            }
            Some(status @ (Status::Exited | Status::Offline)) => {
                watch.missing_lists = 0;
                watch.down_lists = watch.down_lists.saturating_add(1);
                (watch.down_lists >= DOWN_LISTS)
                    .then(|| format!("{} in {} lists in a row", words(&status), watch.down_lists))
            }
            Some(_) => {
                watch.missing_lists = 0;
                watch.down_lists = 0;
                None
            }
        };
        watch.provider = word.map(|text| Testimony { at: now, word: Word::Down(text) });
        if watch.failures > 0 && watch.down_lists > 0 && watch.down_lists < DOWN_LISTS {
            // One list more decides; it need not wait for the next regular one.
            self.order(Command::List);
        }
    }

    /// Restarts and dynamic addresses move a server; probes follow.
    fn address_listed(&mut self, name: &NodeName, instance: InstanceId) -> Result<(), IllegalEvent> {
        let Some(spec) = self.spec(name) else { return Ok(()) };
        let Some(address) = self.memory.row(instance).and_then(|row| row.address(spec.rental.port)) else {
            return Ok(());
        };
        let node = self.node(name);
        let current = match node.map(|node| &node.state) {
            Some(NodeState::Recovering(recovery)) => match &recovery.stage {
                Stage::Deploying { tenant, .. } | Stage::Probation { tenant, .. } => Some(tenant.address),
                _ => None,
            },
            Some(state) => state.tenant().map(|tenant| tenant.address),
            None => None,
        };
        if current.is_some_and(|current| current != address) {
            self.record(Record::AddressChanged { node: name.clone(), instance, address })?;
        }
        Ok(())
    }
}
