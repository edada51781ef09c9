//! Import: after the journal was lost or restored from an old copy, what the account holds for this fleet is taken over again.
//!
//! An instance is taken over by two proofs: its label names this fleet and a node that nothing fills, and its server echoes the
//! identity of that label's attempt, as at any adoption. Until the second proof it is a newcomer on probation. One that fails it is
//! let go again, never condemned: it may be somebody's, and a person must look. A tenant of before that lists lack stays claimed
//! until then, and has its node back where the newcomer fails.
//!
//! Only on a person's word (`run --import`): a label alone must not make a keeper pay for what it never rented.

use super::{
    super::{
        event::IllegalEvent,
        guard::Wanted,
        journal::{Cause, DoomReason, Record},
        name::{InstanceId, NodeName, OpId},
        provider::{Rental, Status},
        state::{NodeState, Op, Stage},
        tell,
        watch::{Witness, Word},
    },
    Turn,
    witness::ASK_EVERY,
};

impl Turn<'_> {
    /// Takes an instance with an unknown attempt's label on probation, if it may be the node's.
    pub(super) fn import(
        &mut self,
        id: InstanceId,
        name: &NodeName,
        op: &OpId,
    ) -> Result<bool, IllegalEvent> {
        let policy = self.context.policy;
        let wanted = policy.import && !policy.observe_only && !self.is_left_alone(name);
        // An attempt has one box: a second one with its label is told and left alone, whatever became of the first.
        let is_twin = self.fleet.ops.contains_key(op) || self.fleet.old_ops.contains(op);
        let refused = self.memory.import_refused.contains(&id);
        if !wanted || is_twin || refused || !self.is_newest(id, name) {
            return Ok(false);
        }
        let Some(spec) = self.spec(name) else { return Ok(false) };
        let (Some(row), Some(address)) = (self.memory.row(id).cloned(), self.address_of(id, &spec)) else {
            return Ok(false);
        };
        if row.status != Status::Running {
            return Ok(false);
        }
        self.refresh_breaker()?;
        if !self.is_free_for_import(name) {
            return Ok(false);
        }
        self.take_over(id, name, op, row, address)?;
        Ok(true)
    }

    /// Of several with a node's label the newest counts: an older one was being replaced by it.
    fn is_newest(&self, id: InstanceId, name: &NodeName) -> bool {
        let labelled = self.memory.lists.labelled.get(name).map(Vec::as_slice).unwrap_or_default();
        let running = |id: &InstanceId| self.memory.row(*id).is_some_and(|row| row.status == Status::Running);
        let open = |id: &&InstanceId| running(id) && !self.memory.import_refused.contains(id);
        let op = |id: &InstanceId| self.memory.lists.owners.get(id);
        let newest = labelled.iter().filter(open).max();
        // Of two rentals of one attempt the lowest was kept, so the other one never served.
        let kept =
            newest.and_then(|newest| labelled.iter().filter(open).filter(|id| op(id) == op(newest)).min());
        kept == Some(&id)
    }

    /// Whether an attempt is known by the import of another box alone: this second one with its label may be the one that serves.
    pub(super) fn is_others_twin(&self, id: InstanceId, op: &OpId) -> bool {
        let claims = || self.fleet.claims().find(|(_, attempt, _)| attempt.op == *op);
        let imported =
            |known: &Op| known.imported || claims().is_some_and(|(_, attempt, _)| attempt.is_imported());
        self.fleet.ops.get(op).is_some_and(|known| known.instance != Some(id) && imported(known))
    }

    /// Whether nothing fills the node, or only what is proven gone; and nobody keeps it for themselves.
    fn is_free_for_import(&self, name: &NodeName) -> bool {
        let Some(node) = self.node(name) else { return true };
        if node.paused.is_some() || node.standby.is_some() {
            return false;
        }
        match &node.state {
            NodeState::Vacant => true,
            NodeState::Recovering(recovery) => {
                recovery.kept.is_none() && matches!(recovery.stage, Stage::Started { .. })
            }
            NodeState::Suspect { .. } => self.is_tenant_gone(name),
            NodeState::Serving(_) | NodeState::Remedying { .. } | NodeState::Held { .. } => false,
        }
    }

    /// Whether a tenant may be given up for the box that took its place. Absence alone is no death: its probes fail as often as
    /// for any replacement, the box itself was asked and does not say that it is up, and the rails let a recovery begin.
    fn is_tenant_gone(&self, name: &NodeName) -> bool {
        let (Some(spec), Some(watch)) = (self.spec(name), self.memory.watches.get(name)) else {
            return false;
        };
        let now = self.now();
        let missing = watch.missing_lists >= self.context.policy.inventory.gone_lists.max(1);
        let failing = watch.failures >= spec.health.failure_threshold.max(1);
        let heard = match watch.testimony(Witness::Ssh, now, self.context.policy.rails.witness_fresh) {
            Some(Word::Up(_)) => false,
            Some(Word::Down(_) | Word::Silent(_)) => true,
            None => watch.was_asked_in_vain(now, ASK_EVERY),
        };
        missing && failing && heard && self.guard().recovery(name, Wanted::ByItself).is_ok()
    }

    fn take_over(
        &mut self,
        id: InstanceId,
        name: &NodeName,
        op: &OpId,
        row: Rental,
        address: std::net::SocketAddr,
    ) -> Result<(), IllegalEvent> {
        let is_filled = self.node(name).is_some_and(|node| node.state.tenant().is_some());
        let incident = self.incident(name);
        self.stop_work(name);
        self.end_episode(name);
        // Kept until the other one has proven itself: a label alone ends nobody.
        let keeps = is_filled.then(|| DoomReason::Replaced {
            evidence: format!("missing from complete lists, and instance {id} bears its label"),
        });
        self.record(Record::RecoveryStarted {
            node: name.clone(),
            incident,
            cause: Cause::Imported,
            permit: format!("import: instance {id} bears its label"),
            keeps,
            spare_of: self.spare_of(name),
        })?;
        self.record(Record::Imported {
            node: name.clone(),
            op: op.clone(),
            instance: id,
            machine: row.machine,
            host: row.host,
            price: row.price,
            text: row.gpu,
            address,
        })?;
        let now = self.now();
        self.memory.watch(name).start_over(now);
        self.memory.desk(name).newcomer_bad_lists = 0;
        self.pursue(name)
    }

    /// Whether the node's newcomer was taken over and not rented.
    pub(super) fn is_imported(&self, name: &NodeName) -> bool {
        match self.node(name).map(|node| &node.state) {
            Some(NodeState::Recovering(recovery)) => {
                recovery.cause == Cause::Imported
                    && recovery.stage.claim().is_some_and(|(attempt, _)| attempt.is_imported())
            }
            _ => false,
        }
    }

    /// It does not prove to be this node's: let go, and told. Nothing is destroyed, and nothing rented beside it.
    pub(super) fn refuse_import(&mut self, name: &NodeName, detail: &str) -> Result<(), IllegalEvent> {
        let claimed = self.node(name).and_then(|node| node.state.claim()).and_then(|(_, instance)| instance);
        let Some(instance) = claimed else { return Ok(()) };
        let imported = self.is_imported(name);
        self.memory.import_refused.insert(instance);
        self.stop_work(name);
        self.watch_kept(name);
        self.record(Record::ImportRefused { node: name.clone(), instance, detail: detail.to_owned() })?;
        let refused = if imported { tell::import_refused } else { tell::newcomer_let_go };
        let notice = refused(self.now(), name, instance, detail);
        self.tell(notice);
        Ok(())
    }
}
