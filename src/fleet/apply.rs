//! The fold: one record at a time turns the journal into [`Fleet`]. The same code runs live and in replay.
//!
//! A record that does not fit the state it meets is an error value, never a guess: a journal that folds with one is not
//! acted on.

use std::time::Duration;

use super::{
    journal::{Entry, HeldReason, Record},
    name::{InstanceId, NodeName, OpId},
    state::{
        Action, ActionKind, Attempt, Blame, Doomed, Fleet, Incident, Node, NodeState, Op, Pause, Recovery,
        Stage, Tenant,
    },
    units::Timestamp,
};

/// How long an action is remembered for the rails: longer than any window a rail is sensibly given.
const ACTIONS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the label of an attempt is watched for a late rental; the provider executes a lost create within minutes.
const OPS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// A record that does not fit the state it meets.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("record `{kind}` does not fit {subject} in state `{state}`")]
pub struct Misfit {
    kind: &'static str,
    subject: String,
    state: &'static str,
}

impl Fleet {
    /// Folds one entry in.
    ///
    /// # Errors
    /// When the record does not fit; the state is then unchanged.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Misfit> {
        let at = entry.at;
        match &entry.record {
            Record::Booted { .. } => self.open_intents_become_unresolved(at),
            Record::Noted { .. } => {}
            Record::IncidentOpened { incident, node, cause, first_failure_at } => {
                self.next_incident = self.next_incident.max(incident.0 + 1);
                let node = self.node_mut(node);
                let incident = Incident {
                    id: *incident,
                    cause: cause.clone(),
                    opened_at: at,
                    first_failure_at: *first_failure_at,
                    price_before: node.state.tenant().map(|tenant| tenant.rental.price),
                    tried: Vec::new(),
                };
                node.incident = Some(incident);
                if let NodeState::Serving(tenant) = &node.state {
                    node.state = NodeState::Suspect { tenant: tenant.clone(), since: at };
                }
            }
            Record::IncidentClosed { node, .. } => {
                let node = self.node_mut(node);
                node.incident = None;
                if let NodeState::Suspect { tenant, .. } | NodeState::Remedying { tenant, .. } = &node.state {
                    node.state = NodeState::Serving(tenant.clone());
                }
            }
            Record::RemedyStarted { .. } | Record::RemedyEnded { .. } => return self.apply_remedy(entry),
            Record::RecoveryStarted { node, cause, .. } => {
                self.newcomer_is_settled("recovery-started", node)?;
                self.start_recovery(at, node, cause.clone());
            }
            Record::Doomed { instance, node, reason, price } => {
                let doomed = Doomed {
                    node: node.clone(),
                    reason: reason.clone(),
                    since: at,
                    acknowledged_at: None,
                    price: *price,
                };
                self.doomed.entry(*instance).or_insert(doomed);
            }
            Record::DestroyAcknowledged { instance } => {
                if let Some(doomed) = self.doomed.get_mut(instance) {
                    doomed.acknowledged_at = Some(at);
                }
            }
            Record::Gone { instance } => {
                self.doomed.remove(instance);
            }
            Record::Intent { .. }
            | Record::CreateUnresolved { .. }
            | Record::Created { .. }
            | Record::CreateFailed { .. }
            | Record::CreateAbandoned { .. } => return self.apply_create(entry),
            Record::InstanceUp { .. }
            | Record::AddressChanged { .. }
            | Record::Deployed { .. }
            | Record::AttemptFailed { .. }
            | Record::Adopted { .. } => return self.apply_newcomer(entry),
            Record::Held { node, reason } => {
                self.newcomer_is_settled("held", node)?;
                self.hold(at, node, reason.clone());
            }
            Record::Released { node, .. } => self.release(at, node),
            Record::Paused { node, by } => {
                self.node_mut(node).paused = Some(Pause { by: by.clone(), since: at });
            }
            Record::Resumed { node, .. } => self.node_mut(node).paused = None,
            Record::Retired { node } => {
                self.newcomer_is_settled("retired", node)?;
                let tenant = self.nodes.get(node).and_then(|node| node.state.tenant());
                if tenant.is_some_and(|tenant| !self.doomed.contains_key(&tenant.instance)) {
                    return Err(Misfit {
                        kind: "retired",
                        subject: format!("node `{node}`"),
                        state: "filled",
                    });
                }
                self.nodes.remove(node);
            }
            Record::MachineBlamed { machine, host, detail, until } => {
                let count = self.blamed.get(machine).map_or(0, |blame| blame.count) + 1;
                let blame = Blame { host: *host, count, detail: detail.clone(), until: *until };
                self.blamed.insert(*machine, blame);
            }
            Record::KeyAccepted { accepted } => self.key_accepted = *accepted,
            Record::BreakerMoved { to } => self.breaker = *to,
        }
        Ok(())
    }

    fn node_mut(&mut self, name: &NodeName) -> &mut Node {
        self.nodes.entry(name.clone()).or_default()
    }

    /// What a crash leaves behind: an intent may or may not have been sent, so only looking can tell.
    fn open_intents_become_unresolved(&mut self, at: Timestamp) {
        for node in self.nodes.values_mut() {
            let NodeState::Recovering(recovery) = &mut node.state else { continue };
            if let Stage::Intent { attempt, .. } | Stage::Unresolved { attempt, .. } = &recovery.stage {
                recovery.stage = Stage::Unresolved { attempt: attempt.clone(), since: at };
            }
        }
    }

    fn apply_remedy(&mut self, entry: &Entry) -> Result<(), Misfit> {
        let at = entry.at;
        match &entry.record {
            Record::RemedyStarted { node: name, rung, deadline, .. } => {
                let node = self.node_mut(name);
                let (NodeState::Suspect { tenant, .. } | NodeState::Serving(tenant)) = &node.state else {
                    return Err(misfit("remedy-started", name, &node.state));
                };
                let tenant = tenant.clone();
                node.state = NodeState::Remedying { tenant, rung: *rung, since: at, deadline: *deadline };
                // Without an incident it is a planned redeploy of a healthy server.
                if let Some(incident) = &mut node.incident {
                    incident.tried.push(*rung);
                }
            }
            Record::RemedyEnded { node: name, .. } => {
                let node = self.node_mut(name);
                let NodeState::Remedying { tenant, .. } = &node.state else {
                    return Err(misfit("remedy-ended", name, &node.state));
                };
                let tenant = tenant.clone();
                // A planned redeploy that helped has no incident to go back to.
                node.state = match node.incident {
                    Some(_) => NodeState::Suspect { tenant, since: at },
                    None => NodeState::Serving(tenant),
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// A rental on its way must be condemned, or known to have come to nothing, before its node forgets it.
    fn newcomer_is_settled(&self, kind: &'static str, name: &NodeName) -> Result<(), Misfit> {
        let Some(NodeState::Recovering(recovery)) = self.nodes.get(name).map(|node| &node.state) else {
            return Ok(());
        };
        match recovery.stage.claim() {
            None => Ok(()),
            Some((_, Some(instance))) if self.doomed.contains_key(&instance) => Ok(()),
            Some(_) => Err(stage_misfit(kind, name, recovery)),
        }
    }

    fn start_recovery(&mut self, at: Timestamp, name: &NodeName, cause: super::journal::Cause) {
        let node = self.node_mut(name);
        let previous_price = node.state.tenant().map(|tenant| tenant.rental.price);
        let was_filled = node.adopted_at.is_some();
        node.state = NodeState::Recovering(Recovery {
            cause,
            since: at,
            attempts: 0,
            seeking_since: at,
            previous_price,
            stage: Stage::Started { since: at, not_before: at },
        });
        if was_filled {
            self.count(at, name, ActionKind::Recovery);
        }
    }

    fn count(&mut self, at: Timestamp, node: &NodeName, what: ActionKind) {
        while self.actions.front().is_some_and(|oldest| at.since(oldest.at) > ACTIONS_KEPT) {
            self.actions.pop_front();
        }
        self.actions.push_back(Action { at, node: node.clone(), what });
    }

    fn apply_create(&mut self, entry: &Entry) -> Result<(), Misfit> {
        let at = entry.at;
        match &entry.record {
            Record::Intent { node: name, op, offer, machine, host, price, offer_text, .. } => {
                let attempt = Attempt {
                    op: op.clone(),
                    offer: *offer,
                    machine: *machine,
                    host: *host,
                    price: *price,
                    text: offer_text.clone(),
                };
                let replacement = self.nodes.get(name).is_some_and(|node| node.adopted_at.is_some());
                let recovery = self.recovery_mut("intent", name)?;
                if recovery.stage.claim().is_some() {
                    return Err(stage_misfit("intent", name, recovery));
                }
                recovery.stage = Stage::Intent { attempt, at };
                self.ops.retain(|_, old| at.since(old.at) < OPS_KEPT);
                self.ops.insert(op.clone(), Op { node: name.clone(), at, instance: None });
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
                let stage = Stage::Booting { attempt, instance: *instance, since: at };
                self.recovery_mut("created", node)?.stage = stage;
                if let Some(op) = self.ops.get_mut(op) {
                    op.instance = Some(*instance);
                }
            }
            Record::CreateFailed { node, op, retry_at, .. } => {
                self.open_attempt("create-failed", node, op)?;
                let stage = Stage::Started { since: at, not_before: *retry_at };
                self.recovery_mut("create-failed", node)?.stage = stage;
                self.forget_create(op);
            }
            Record::CreateAbandoned { node, op } => {
                self.open_attempt("create-abandoned", node, op)?;
                let stage = Stage::Started { since: at, not_before: at };
                self.recovery_mut("create-abandoned", node)?.stage = stage;
            }
            _ => {}
        }
        Ok(())
    }

    /// A create that certainly rented nothing does not count against the rails.
    fn forget_create(&mut self, failed: &OpId) {
        self.actions.retain(|action| !matches!(&action.what, ActionKind::Create { op, .. } if op == failed));
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

    fn apply_newcomer(&mut self, entry: &Entry) -> Result<(), Misfit> {
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
                if let Some(tenant) = tenant_mut(&mut self.node_mut(node).state)
                    && tenant.instance == *instance
                {
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
            }
            Record::Adopted { node: name, instance } => self.adopt(at, name, *instance)?,
            _ => {}
        }
        Ok(())
    }

    fn adopt(&mut self, at: Timestamp, name: &NodeName, instance: InstanceId) -> Result<(), Misfit> {
        let doomed = self.doomed.contains_key(&instance);
        let recovery = self.recovery_mut("adopted", name)?;
        let Stage::Probation { tenant, .. } = &recovery.stage else {
            return Err(stage_misfit("adopted", name, recovery));
        };
        if tenant.instance != instance || doomed {
            return Err(stage_misfit("adopted", name, recovery));
        }
        let tenant = tenant.clone();
        let node = self.node_mut(name);
        node.was_replaced = node.adopted_at.is_some();
        node.adopted_at = Some(at);
        node.state = NodeState::Serving(tenant);
        Ok(())
    }

    fn hold(&mut self, at: Timestamp, name: &NodeName, reason: HeldReason) {
        let doomed = &self.doomed;
        let node = self.nodes.entry(name.clone()).or_default();
        let tenant = node.state.tenant().filter(|tenant| !doomed.contains_key(&tenant.instance)).cloned();
        node.state = NodeState::Held { reason, tenant, since: at };
    }

    fn release(&mut self, at: Timestamp, name: &NodeName) {
        let node = self.node_mut(name);
        if let Some(incident) = &mut node.incident {
            // Whoever let it go on mended something, so every remedy may help again.
            incident.tried.clear();
        }
        if let NodeState::Held { tenant, .. } = &node.state {
            node.state = match (tenant.clone(), &node.incident) {
                (None, _) => NodeState::Vacant,
                (Some(tenant), None) => NodeState::Serving(tenant),
                (Some(tenant), Some(_)) => NodeState::Suspect { tenant, since: at },
            };
        }
    }
}

fn tenant_mut(state: &mut NodeState) -> Option<&mut Tenant> {
    match state {
        NodeState::Serving(tenant)
        | NodeState::Suspect { tenant, .. }
        | NodeState::Remedying { tenant, .. } => Some(tenant),
        NodeState::Held { tenant, .. } => tenant.as_mut(),
        NodeState::Recovering(Recovery {
            stage: Stage::Deploying { tenant, .. } | Stage::Probation { tenant, .. },
            ..
        }) => Some(tenant),
        NodeState::Vacant | NodeState::Recovering(_) => None,
    }
}

fn misfit(kind: &'static str, name: &NodeName, state: &NodeState) -> Misfit {
    Misfit { kind, subject: format!("node `{name}`"), state: state.word() }
}

fn stage_misfit(kind: &'static str, name: &NodeName, recovery: &Recovery) -> Misfit {
    Misfit { kind, subject: format!("node `{name}`"), state: recovery.stage.word() }
}
