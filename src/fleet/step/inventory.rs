//! What a complete list of instances teaches: who exists, who vanished, whose outcome is settled, what is gone.
//!
//! A failed, short or implausible list is an error, never "gone". Absence alone is never death: a listed-away tenant that
//! answers its probes keeps its node.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{
    super::{
        address::globally_routable,
        command::Command,
        event::IllegalEvent,
        journal::{DoomReason, Record},
        name::{InstanceId, NodeName, OpId, Ownership},
        notice::Notice,
        planted::{Bug, planted},
        policy::NodeSpec,
        provider::{Inventory, ProviderFault, Rental, Status},
        state::{Node, NodeState, Stage},
        tell,
        units::Timestamp,
        watch::{Testimony, Word},
    },
    Turn,
};

/// Lists in a row that must call an instance dead before the provider counts as a witness: its word lags and errs.
const DOWN_LISTS: u32 = 2;

impl Turn<'_> {
    pub(super) fn list_failed(&mut self, fault: ProviderFault) -> Result<(), IllegalEvent> {
        let now = self.now();
        if let ProviderFault::Auth { detail } = &fault
            && self.fleet.key_accepted
        {
            self.record(Record::KeyAccepted { accepted: false })?;
            let notice = tell::key_refused(now, detail);
            self.tell(notice);
        }
        self.chase_unacknowledged();
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
        if self.memory.lists.last_started_at.is_some_and(|last| last >= began) {
            // An older list that ended late would turn time back.
            return Ok(());
        }
        if began < self.memory.lists.valid_from {
            // Nor does one from before a halt say how things are after it.
            self.chase_unacknowledged();
            return Ok(());
        }
        if !self.fleet.key_accepted && !planted(Bug::KeyRefusedForEver) {
            self.record(Record::KeyAccepted { accepted: true })?;
            let notice = tell::key_taken(self.now());
            self.tell(notice);
        }
        if let Some(vanished) = self.implausibly_vanished(&list)
            && !self.is_believed_at_last(vanished)
        {
            self.chase_unacknowledged();
            return Ok(());
        }
        if std::mem::take(&mut self.memory.outage_told) {
            let notice = tell::outage_over(self.now());
            self.tell(notice);
        }
        self.memory.accept(list, &self.context.policy.fleet);
        self.hear_of_tenants();
        let is_doubtful = self.is_list_doubtful(began);
        self.memory.lists.count(began, is_doubtful);
        self.settle_rows()?;
        self.settle_unknown(began)?;
        self.settle_journal()?;
        self.settle_doomed(began)?;
        self.settle_nodes(began)?;
        // A serving node is moved by its probes alone, and most nodes serve.
        let policy = self.context.policy;
        for name in policy.nodes.keys() {
            let serves = self.node(name).is_some_and(|node| matches!(node.state, NodeState::Serving(_)));
            if !serves {
                self.pursue(name)?;
            }
        }
        let surplus: Vec<NodeName> =
            self.fleet.nodes.keys().filter(|name| self.is_surplus(name)).cloned().collect();
        surplus.iter().try_for_each(|name| self.pursue(name))
    }

    /// Known instances that a list lacks, where they are too many to have vanished at once: tenants, and newcomers that have had
    /// the time to show up.
    fn implausibly_vanished(&mut self, list: &Inventory) -> Option<BTreeSet<InstanceId>> {
        let mut listed: Vec<InstanceId> = list.rentals.iter().map(|rental| rental.id).collect();
        listed.sort_unstable();
        let grace = self.context.policy.inventory.create_grace;
        let of_node = |node: &Node| {
            let newcomer = match &node.state {
                NodeState::Recovering(recovery) => {
                    let up = recovery.stage.claim().and_then(|(_, instance)| instance);
                    up.filter(|_| list.started_at >= recovery.stage.since().after(grace))
                }
                _ => None,
            };
            [node.state.tenant().map(|tenant| tenant.instance), newcomer]
        };
        let known: Vec<InstanceId> = self.fleet.nodes.values().flat_map(of_node).flatten().collect();
        let seen_before =
            |id: &InstanceId| self.memory.lists.good == 0 || self.memory.lists.rows.contains_key(id);
        let vanished: BTreeSet<InstanceId> =
            known.iter().copied().filter(|id| listed.binary_search(id).is_err() && seen_before(id)).collect();
        let many = (known.len() / 10).max(2);
        let emptied = list.rentals.is_empty() && !vanished.is_empty();
        (emptied || vanished.len() >= many).then_some(vanished)
    }

    /// A list that lacks too much is refused, unless the same set has been missing time and again.
    fn is_believed_at_last(&mut self, vanished: BTreeSet<InstanceId>) -> bool {
        let now = self.now();
        let lists = &mut self.memory.lists;
        let times = match &lists.implausible {
            Some((earlier, times)) if *earlier == vanished => times + 1,
            _ => 1,
        };
        if times >= self.context.policy.inventory.implausible_lists {
            return true;
        }
        let first = lists.implausible.is_none();
        lists.fault = Some(ProviderFault::Malformed {
            detail: "too many instances vanished at once to be believed".into(),
        });
        let missing = vanished.len();
        lists.implausible = Some((vanished, times));
        if first {
            let notice = tell::implausible(now, missing);
            self.tell(notice);
        }
        false
    }

    /// Rows with our label: settle open creates, doom strays, tell what is unknown.
    fn settle_rows(&mut self) -> Result<(), IllegalEvent> {
        let mut claimed: Vec<InstanceId> =
            self.fleet.claims().filter_map(|(_, _, instance)| instance).collect();
        claimed.sort_unstable();
        let mut unsettled: Vec<(InstanceId, Ownership)> = Vec::new();
        let mut relabelled: Vec<InstanceId> = Vec::new();
        // In the order of their ids, so of two rentals of one op the lowest is kept.
        for (id, owner) in &self.memory.lists.owners {
            let ours = matches!(owner, Ownership::Ours(..));
            if claimed.binary_search(id).is_ok() {
                if !ours {
                    relabelled.push(*id);
                }
            } else if *owner != Ownership::Foreign && !self.fleet.doomed.contains_key(id) {
                unsettled.push((*id, owner.clone()));
            }
        }
        self.relabel_promoted();
        for id in relabelled {
            self.tell_once(id, tell::relabelled);
        }
        for (id, owner) in unsettled {
            match owner {
                Ownership::Foreign => {}
                Ownership::Malformed if planted(Bug::ReapForeigners) => {
                    self.doom(id, None, DoomReason::Stray, Default::default())?;
                }
                Ownership::Malformed => self.tell_once(id, tell::damaged_label),
                Ownership::Ours(node, op) => self.settle_row(id, &node, &op)?,
            }
        }
        Ok(())
    }

    /// A row with our label that no node claims.
    fn settle_row(&mut self, id: InstanceId, node: &NodeName, op: &OpId) -> Result<(), IllegalEvent> {
        // Whatever node it names: in a journal brought back from an old copy, a spare that was promoted since is still on its way.
        let mut open =
            self.fleet.claims().filter(|(_, attempt, claimed)| claimed.is_none() && attempt.op == *op);
        if let Some(of) = open.next().map(|(name, ..)| name.clone()) {
            drop(open);
            return self.created(&of, op, id);
        }
        drop(open);
        // Whatever node it names: a promoted spare's twin, or itself come back, may still bear the spare's.
        let known = (self.fleet.ops.contains_key(op) || self.fleet.old_ops.contains(op))
            && !self.fleet.unknown.contains_key(&id)
            && !self.is_others_twin(id, op);
        if planted(Bug::StrayForgotten) {
            return Ok(());
        }
        if !known && self.import(id, node, op)? {
            return Ok(());
        }
        // A box goes from a spare to a node and never back: a spare's label is no news of one that was let go.
        let is_old_label = self.fleet.let_go.contains(&id) && self.context.policy.spares.contains(node);
        if !known && self.fleet.unknown.get(&id) != Some(node) && !is_old_label {
            self.record(Record::UnknownSeen { node: node.clone(), instance: id })?;
        }
        if !known || self.context.policy.observe_only {
            self.tell_once(id, tell::stray);
            return Ok(());
        }
        let price = self.memory.row(id).map(|row| row.price).unwrap_or_default();
        self.doom(id, Some(node), DoomReason::Stray, price)?;
        let notice = tell::stray_doomed(self.now(), node, id, price);
        self.tell(notice);
        Ok(())
    }

    /// Something odd about a row: told once, never touched.
    pub(super) fn tell_once(&mut self, id: InstanceId, notice: fn(Timestamp, &Rental) -> Notice) {
        let now = self.now();
        if let Some(notice) = self.memory.row(id).map(|row| notice(now, row))
            && self.memory.strays_told.insert(id)
        {
            self.tell(notice);
        }
    }

    /// All that the list says is heard before anything is decided by it: whose end it confirms no more is sick again, and many
    /// of those are a reason to go slowly with the others.
    fn hear_of_tenants(&mut self) {
        let names: Vec<NodeName> = self.fleet.nodes.keys().cloned().collect();
        for name in &names {
            let Some(node) = self.node(name) else { continue };
            let Some(instance) = node.state.tenant().map(|tenant| tenant.instance) else { continue };
            // While a newcomer is on probation the node's watch is the newcomer's.
            if node.state.probed().is_some_and(|probed| probed.instance == instance) {
                self.tenant_listed(name, instance);
            }
        }
    }

    /// What the list says of each node's tenant, newcomer or open create.
    fn settle_nodes(&mut self, began: Timestamp) -> Result<(), IllegalEvent> {
        let names: Vec<NodeName> = self.fleet.nodes.keys().cloned().collect();
        for name in names {
            let Some(node) = self.node(&name) else { continue };
            if let Some(tenant) = node.state.tenant() {
                let instance = tenant.instance;
                self.address_listed(&name, instance)?;
                self.price_listed(&name, instance)?;
                self.look_ahead(&name, instance)?;
            }
            let Some(node) = self.node(&name) else { continue };
            if let NodeState::Recovering(recovery) = &node.state {
                match &recovery.stage {
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
                }
            }
        }
        Ok(())
    }

    /// Enough complete lists without the label, over long enough, settle an ambiguous create as "rented nothing".
    fn settle_unresolved(
        &mut self,
        name: &NodeName,
        op: &OpId,
        since: Timestamp,
        began: Timestamp,
    ) -> Result<(), IllegalEvent> {
        if began <= since {
            return Ok(());
        }
        let doubtful = self.fleet.predates_doubt(op) && !self.guard().lists_settled();
        let absent = self.memory.absent.entry(op.clone()).or_default();
        *absent = absent.saturating_add(1);
        let inventory = &self.context.policy.inventory;
        let soon = (began.since(since) < inventory.settle || doubtful) && !planted(Bug::SettleByCountAlone);
        if (*absent < inventory.settle_lists || soon) && !planted(Bug::SettleAtOnce) {
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
        let stopped = matches!(seen, None | Some(Status::Exited));
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
                    .then(|| format!("{} in {} lists in a row", status.words(), watch.down_lists))
            }
            Some(_) => {
                watch.missing_lists = 0;
                watch.down_lists = 0;
                None
            }
        };
        watch.provider = word.map(|text| Testimony { at: now, word: Word::Down(text) });
        watch.stopped_since = stopped.then(|| watch.stopped_since.unwrap_or(now));
        let since = watch.stopped_since;
        if watch.failures > 0 && watch.down_lists > 0 && watch.down_lists < DOWN_LISTS {
            // One list more decides; it need not wait for the next regular one.
            self.order(Command::List);
        }
        if since.is_some_and(|since| self.guard().credit_read_since(since).is_err()) {
            // Without credit the provider stops every box; by the time the probes have judged, this is known.
            self.read_credit_again();
        }
    }

    /// Where a row's server is published, if that may be probed: the address comes from a marketplace host, which must not
    /// point the keeper into private networks.
    pub(super) fn address_of(&self, instance: InstanceId, spec: &NodeSpec) -> Option<SocketAddr> {
        let address = self.memory.row(instance)?.address(spec.rental.port)?;
        (spec.rental.allow_private_addresses || globally_routable(address.ip())).then_some(address)
    }

    /// Restarts and dynamic addresses move a server; probes follow.
    fn address_listed(&mut self, name: &NodeName, instance: InstanceId) -> Result<(), IllegalEvent> {
        let Some(spec) = self.spec(name) else { return Ok(()) };
        let Some(address) = self.address_of(instance, &spec) else { return Ok(()) };
        let Some(node) = self.node(name) else { return Ok(()) };
        let known = [node.state.tenant(), node.state.newcomer()];
        let current = known.into_iter().flatten().find(|tenant| tenant.instance == instance);
        let current = current.map(|tenant| tenant.address);
        if current.is_some_and(|current| current != address) && !planted(Bug::AddressNotFollowed) {
            self.record(Record::AddressChanged { node: name.clone(), instance, address })?;
        }
        Ok(())
    }
}
