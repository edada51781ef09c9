//! The fold of one attempt to rent: from its intent to the newcomer's adoption, or to its failure.

use std::{collections::BTreeSet, time::Duration};

use super::{Misfit, misfit, stage_misfit, tenant_mut};
use crate::fleet::{
    action::ActionKind,
    journal::{Cause, Entry, Record},
    name::{InstanceId, NodeName, OpId},
    state::{Attempt, Fleet, NodeState, Op, Recovery, Stage, Tenant},
    units::Timestamp,
};

/// How long the label of an attempt is watched for a late rental, and after its end for a box that lists were wrong about. The
/// provider executes a lost create within minutes; while a box is claimed or condemned its label is watched in any case.
const OPS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// At multiples of this number the old ones are removed.
const OPS_SWEPT_EVERY: usize = 32;

impl Fleet {
    pub(super) fn apply_create(&mut self, entry: &Entry) -> Result<(), Misfit> {
        let at = entry.at;
        match &entry.record {
            Record::Intent { node: name, op, offer, machine, host, price, offer_text, bid, .. } => {
                let attempt = Attempt {
                    op: op.clone(),
                    offer: *offer,
                    machine: *machine,
                    host: *host,
                    price: *price,
                    text: offer_text.clone(),
                    bid: *bid,
                };
                let replacement = self.nodes.get(name).is_some_and(|node| node.adopted_at.is_some());
                let recovery = self.recovery_mut("intent", name)?;
                if recovery.stage.claim().is_some() {
                    return Err(stage_misfit("intent", name, recovery));
                }
                recovery.stage = Stage::Intent { attempt, at };
                // Now and then is enough, and each time would cost the square of their number.
                if self.ops.len().is_multiple_of(OPS_SWEPT_EVERY) {
                    self.sweep_ops(at);
                }
                self.ops.insert(op.clone(), Op::new(name, at));
                self.count(at, name, ActionKind::Create { op: op.clone(), replacement, price: *price });
            }
            Record::CreateUnresolved { node, op, .. } => {
                let attempt = self.open_attempt("create-unresolved", node, op)?;
                self.recovery_mut("create-unresolved", node)?.stage =
                    Stage::Unresolved { attempt, since: at };
            }
            Record::Created { node, op, instance } => {
                let attempt = self.open_attempt("created", node, op)?;
                if self.doomed.contains_key(instance) {
                    return Err(Misfit {
                        kind: "created",
                        subject: format!("instance {instance}"),
                        state: "doomed",
                    });
                }
                let price = attempt.price;
                let stage = Stage::Booting { attempt, instance: *instance, since: at };
                self.recovery_mut("created", node)?.stage = stage;
                if let Some(op) = self.ops.get_mut(op) {
                    op.instance = Some(*instance);
                }
                self.open_bill(at, *instance, Some(op), price);
            }
            Record::CreateFailed { node, op, retry_at, .. } => {
                self.open_attempt("create-failed", node, op)?;
                let stage = Stage::Started { since: at, not_before: *retry_at };
                self.recovery_mut("create-failed", node)?.stage = stage;
                self.actions.forget_create(op);
            }
            Record::CreateAbandoned { node, op } => {
                self.open_attempt("create-abandoned", node, op)?;
                let stage = Stage::Started { since: at, not_before: at };
                self.recovery_mut("create-abandoned", node)?.stage = stage;
                if self.predates_doubt(op) {
                    // Lists may have lied of what an earlier keeper rented by it: should it show up, a person must look.
                    self.ops.remove(op);
                } else if let Some(op) = self.ops.get_mut(op) {
                    op.given_up = true;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Forgets all but the id of the attempts whose labels need no watching any more.
    fn sweep_ops(&mut self, at: Timestamp) {
        let claimed: BTreeSet<OpId> = self.claims().map(|(_, attempt, _)| attempt.op.clone()).collect();
        let doomed = &self.doomed;
        let old_ops = &mut self.old_ops;
        self.ops.retain(|op, old| {
            let lives =
                claimed.contains(op) || old.instance.is_some_and(|instance| doomed.contains_key(&instance));
            let kept = at.since(old.gone_at.unwrap_or(old.at)) < OPS_KEPT || lives;
            // Only what was seen, or may have come to be unseen, can be seen again; a twin of what was imported is nobody's.
            if !kept && !old.imported && (old.instance.is_some() || old.given_up) {
                old_ops.insert(op.clone());
            }
            kept
        });
    }

    fn recovery_mut(&mut self, kind: &'static str, name: &NodeName) -> Result<&mut Recovery, Misfit> {
        match self.nodes.get_mut(name).map(|node| &mut node.state) {
            Some(NodeState::Recovering(recovery)) => Ok(recovery),
            Some(other) => Err(misfit(kind, name, other)),
            None => Err(misfit(kind, name, &NodeState::Vacant)),
        }
    }

    /// The attempt whose outcome is still open, checked to be `op`.
    fn open_attempt(&mut self, kind: &'static str, name: &NodeName, op: &OpId) -> Result<Attempt, Misfit> {
        let recovery = self.recovery_mut(kind, name)?;
        match &recovery.stage {
            Stage::Intent { attempt, .. } | Stage::Unresolved { attempt, .. } if attempt.op == *op => {
                Ok(attempt.clone())
            }
            other => Err(Misfit { kind, subject: format!("node `{name}`"), state: other.word() }),
        }
    }

    pub(super) fn apply_newcomer(&mut self, entry: &Entry) -> Result<(), Misfit> {
        let at = entry.at;
        match &entry.record {
            Record::InstanceUp { node: name, instance, address } => {
                let recovery = self.recovery_mut("instance-up", name)?;
                let Stage::Booting { attempt, instance: booting, .. } = &recovery.stage else {
                    return Err(stage_misfit("instance-up", name, recovery));
                };
                if booting != instance {
                    return Err(stage_misfit("instance-up", name, recovery));
                }
                let tenant = Tenant { rental: attempt.clone(), instance: *instance, address: *address };
                recovery.stage = Stage::Deploying { tenant, since: at };
            }
            Record::AddressChanged { node, instance, address } => {
                if let Some(tenant) = tenant_mut(&mut self.node_mut(node).state, *instance) {
                    tenant.address = *address;
                }
            }
            Record::Deployed { node: name, instance, release } => {
                let node = self.node_mut(name);
                node.release = Some(release.clone());
                if let NodeState::Recovering(recovery) = &mut node.state
                    && let Stage::Deploying { tenant, .. } = &recovery.stage
                    && tenant.instance == *instance
                {
                    recovery.stage = Stage::Probation { tenant: tenant.clone(), since: at };
                }
            }
            Record::AttemptFailed { node, retry_at, .. } => {
                let claimed = self.recovery_mut("attempt-failed", node)?.stage.claim();
                let claimed = claimed.and_then(|(_, instance)| instance);
                let condemned = claimed.is_some_and(|instance| self.doomed.contains_key(&instance));
                let recovery = self.recovery_mut("attempt-failed", node)?;
                if !condemned {
                    return Err(stage_misfit("attempt-failed", node, recovery));
                }
                recovery.attempts = recovery.attempts.saturating_add(1);
                recovery.seeking_since = at;
                recovery.stage = Stage::Started { since: at, not_before: *retry_at };
                self.node_mut(node).remember_kept_release();
            }
            Record::Promoted { node, from, instance } => self.promote(at, node, from, *instance)?,
            Record::Imported { .. } => self.import(entry)?,
            Record::ImportRefused { node: name, instance, .. } => {
                let recovery = self.recovery_mut("import-refused", name)?;
                let Some((attempt, Some(claimed))) = recovery.stage.claim() else {
                    return Err(stage_misfit("import-refused", name, recovery));
                };
                let imported = recovery.cause == Cause::Imported && attempt.is_imported();
                let op = attempt.op.clone();
                let misfit = stage_misfit("import-refused", name, recovery);
                let kept = recovery.kept.as_ref().map(|kept| kept.tenant.clone());
                if claimed != *instance || !(imported || self.predates_doubt(&op)) {
                    return Err(misfit);
                }
                self.ops.remove(&op);
                if imported && !self.let_go.contains(instance) {
                    self.bills.remove(instance);
                } else {
                    // It goes on costing until it is gone.
                    self.let_go.insert(*instance);
                }
                self.unknown.insert(*instance, name.clone());
                let node = self.node_mut(name);
                node.remember_kept_release();
                node.next = None;
                node.state = match (kept, &node.incident) {
                    (None, _) => NodeState::Vacant,
                    (Some(tenant), Some(_)) => NodeState::Suspect { tenant, since: at },
                    (Some(tenant), None) => NodeState::Serving(tenant),
                };
            }
            Record::Adopted { node: name, instance } => self.adopt(at, name, *instance)?,
            _ => {}
        }
        Ok(())
    }

    fn promote(
        &mut self,
        at: Timestamp,
        name: &NodeName,
        from: &NodeName,
        instance: InstanceId,
    ) -> Result<(), Misfit> {
        let doomed = self.doomed.contains_key(&instance);
        let spare = self.nodes.get(from).cloned().unwrap_or_default();
        let NodeState::Serving(tenant) = spare.state else {
            return Err(misfit("promoted", from, &spare.state));
        };
        let recovery = self.recovery_mut("promoted", name)?;
        if tenant.instance != instance || doomed || recovery.stage.claim().is_some() {
            return Err(stage_misfit("promoted", name, recovery));
        }
        // From now on the op is the node's: its label is watched under its new name.
        if let Some(op) = self.ops.get_mut(&tenant.rental.op) {
            op.node = name.clone();
        }
        self.recovery_mut("promoted", name)?.stage = Stage::Probation { tenant, since: at };
        let node = self.node_mut(name);
        node.release = spare.release;
        // A tenant that is kept may yet have its node back.
        node.remedied.extend(spare.remedied.into_iter().filter(|tried| tried.instance == instance));
        self.node_mut(from).state = NodeState::Vacant;
        Ok(())
    }

    fn import(&mut self, entry: &Entry) -> Result<(), Misfit> {
        let at = entry.at;
        let Record::Imported { node: name, op, instance, machine, host, price, text, address } =
            &entry.record
        else {
            return Ok(());
        };
        let known = self.ops.contains_key(op) || self.doomed.contains_key(instance);
        let recovery = self.recovery_mut("imported", name)?;
        if known || !matches!(recovery.stage, Stage::Started { .. }) {
            return Err(stage_misfit("imported", name, recovery));
        }
        let rental = Attempt {
            op: op.clone(),
            offer: Attempt::UNKNOWN_OFFER,
            machine: *machine,
            host: *host,
            price: *price,
            text: text.clone(),
            bid: None,
        };
        let tenant = Tenant { rental, instance: *instance, address: *address };
        recovery.stage = Stage::Probation { tenant, since: at };
        self.ops.insert(op.clone(), Op { instance: Some(*instance), imported: true, ..Op::new(name, at) });
        self.unknown.remove(instance);
        self.open_bill(at, *instance, None, *price);
        // What runs there is not known, and surely not what the last newcomer failed with.
        self.node_mut(name).release = None;
        Ok(())
    }

    fn adopt(&mut self, at: Timestamp, name: &NodeName, instance: InstanceId) -> Result<(), Misfit> {
        let doomed = self.doomed.contains_key(&instance);
        let kept = self.nodes.get(name).and_then(|node| node.state.tenant());
        // Whoever is forgotten by its node must be condemned before.
        let orphaned = kept.is_some_and(|kept| !self.doomed.contains_key(&kept.instance));
        let recovery = self.recovery_mut("adopted", name)?;
        let Stage::Probation { tenant, .. } = &recovery.stage else {
            return Err(stage_misfit("adopted", name, recovery));
        };
        if tenant.instance != instance || doomed || orphaned {
            return Err(stage_misfit("adopted", name, recovery));
        }
        let tenant = tenant.clone();
        self.let_go.remove(&instance);
        let node = self.node_mut(name);
        node.was_replaced = node.adopted_at.is_some();
        node.adopted_at = Some(at);
        node.state = NodeState::Serving(tenant);
        let given = node.release.as_ref().map(|release| release.digest.clone());
        // What was condemned meanwhile was not put there.
        if let Some(next) = node.next.take().filter(|next| given.as_ref() == Some(&next.release.digest)) {
            node.placed = Some(next.release.clone());
            self.verified = Some(next.release);
        }
        self.prove(at, given);
        Ok(())
    }
}
