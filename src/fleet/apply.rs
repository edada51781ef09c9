//! The fold: one record at a time turns the journal into [`Fleet`]. The same code runs live and in replay.
//!
//! A record that does not fit the state it meets is an error value, never a guess: a journal that folds with one is not
//! acted on.

mod blame;
mod deployed;
mod rental;
mod switch;

use super::{
    action::{Action, ActionKind},
    journal::{Cause, DoomReason, Entry, HeldReason, Record},
    name::{InstanceId, NodeName},
    planted::{Bug, planted},
    state::{Attempt, Doomed, Fleet, Incident, Kept, Node, NodeState, Pause, Recovery, Stage, Tenant},
    units::Timestamp,
};

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
        self.latest = self.latest.max(at);
        match &entry.record {
            Record::Booted { .. } => self.open_intents_become_unresolved(at),
            Record::JournalDoubted => (self.doubted, self.doubted_at) = (true, self.latest),
            Record::JournalSettled => self.doubted = false,
            Record::Noted { .. } => {}
            Record::IncidentOpened { incident, node, cause, first_failure_at } => {
                self.next_incident = self.next_incident.max(incident.0.saturating_add(1));
                let node = self.node_mut(node);
                let incident = Incident {
                    id: *incident,
                    cause: cause.clone(),
                    opened_at: at,
                    first_failure_at: *first_failure_at,
                    price_before: node.state.tenant().map(|tenant| tenant.rental.price),
                    tried: Vec::new(),
                    attribution: None,
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
            Record::RecoveryStarted { node, cause, keeps, spare_of, .. } => {
                self.newcomer_is_settled("recovery-started", node)?;
                self.node_mut(node).spare_of.clone_from(spare_of);
                self.node_mut(node).next = None;
                self.start_recovery(at, node, cause.clone(), keeps.clone());
            }
            Record::ReplacementCancelled { node, instance } => {
                self.newcomer_is_settled("replacement-cancelled", node)?;
                self.cancel_replacement(node, *instance)?;
                self.node_mut(node).next = None;
            }
            Record::Doomed { instance, node, reason, price } => {
                let doomed = Doomed {
                    node: node.clone(),
                    reason: reason.clone(),
                    since: at,
                    acknowledged_at: None,
                    price: *price,
                };
                if !(planted(Bug::DoomForgotten) && *reason == DoomReason::Stray) {
                    self.doomed.entry(*instance).or_insert(doomed);
                }
                self.forget_unknown(*instance);
                self.open_bill(at, *instance, None, *price);
                let node = node.as_ref().and_then(|node| self.nodes.get_mut(node));
                if let Some(node) = node.filter(|node| node.stands_by(*instance)) {
                    node.standby = None;
                }
            }
            Record::DestroyAcknowledged { instance } => {
                if let Some(doomed) = self.doomed.get_mut(instance) {
                    doomed.acknowledged_at = Some(at);
                    self.close_bill(at, *instance);
                }
            }
            Record::Gone { instance } => {
                self.doomed.remove(instance);
                // Lists may have been wrong: its label is watched on from here.
                if let Some(op) = self.ops.values_mut().find(|op| op.instance == Some(*instance)) {
                    op.gone_at = Some(at);
                }
            }
            Record::BidRaised { node, instance, bid, price, .. } => {
                let attempt = self.attempt_mut("bid-raised", node, *instance)?;
                attempt.bid = Some(*bid);
                attempt.price = *price;
                self.reprice_bill(at, *instance, *price);
            }
            Record::PriceChanged { node, instance, price } => {
                self.attempt_mut("price-changed", node, *instance)?.price = *price;
                self.reprice_bill(at, *instance, *price);
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
            | Record::Promoted { .. }
            | Record::Imported { .. }
            | Record::ImportRefused { .. }
            | Record::Adopted { .. } => return self.apply_newcomer(entry),
            Record::Held { node, reason } => {
                self.newcomer_is_settled("held", node)?;
                self.hold(at, node, reason.clone());
                self.node_mut(node).next = None;
            }
            Record::UnknownSeen { node, instance } => {
                self.unknown.insert(*instance, node.clone());
            }
            Record::UnknownGone { instance } => {
                self.forget_unknown(*instance);
                self.close_bill(at, *instance);
            }
            Record::Released { node, by_itself, .. } => self.release(at, node, *by_itself),
            Record::NextRelease { .. } | Record::StoodBy { .. } | Record::SwitchedBack { .. } => {
                return self.apply_switch(entry);
            }
            Record::Published { addresses } => self.published = Some(addresses.clone()),
            Record::DeployReported(report) => self.apply_report(at, report),
            Record::Paused { node, by, until } => {
                self.node_mut(node).paused = Some(Pause { by: by.clone(), since: at, until: *until });
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
            Record::MachineBlamed { .. }
            | Record::MachineImported { .. }
            | Record::MachineForgiven { .. }
            | Record::Attributed { .. }
            | Record::ReleaseFailed { .. }
            | Record::ReleaseCondemned { .. }
            | Record::ReleaseCleared { .. } => self.apply_blame(entry),
            Record::KeyAccepted { accepted } => self.key_accepted = *accepted,
            Record::BreakerMoved { to } => self.breaker = *to,
        }
        Ok(())
    }

    /// An instance is accounted for, or gone.
    fn forget_unknown(&mut self, instance: InstanceId) {
        self.unknown.remove(&instance);
        self.let_go.remove(&instance);
    }

    fn node_mut(&mut self, name: &NodeName) -> &mut Node {
        self.nodes.entry(name.clone()).or_default()
    }

    /// The rental of a node that is this instance, condemned ones excepted.
    fn attempt_mut(
        &mut self,
        kind: &'static str,
        name: &NodeName,
        instance: InstanceId,
    ) -> Result<&mut Attempt, Misfit> {
        let doomed = self.doomed.contains_key(&instance);
        let Some(node) = self.nodes.get_mut(name) else {
            return Err(misfit(kind, name, &NodeState::Vacant));
        };
        let refused = misfit(kind, name, &node.state);
        if doomed {
            return Err(refused);
        }
        let boots = matches!(&node.state, NodeState::Recovering(recovery)
            if matches!(&recovery.stage, Stage::Booting { instance: newcomer, .. } if *newcomer == instance));
        let attempt = if boots {
            match &mut node.state {
                NodeState::Recovering(Recovery { stage: Stage::Booting { attempt, .. }, .. }) => {
                    Some(attempt)
                }
                _ => None,
            }
        } else {
            tenant_mut(&mut node.state, instance).map(|tenant| &mut tenant.rental)
        };
        attempt.ok_or(refused)
    }

    /// What a crash leaves behind: an intent may or may not have been sent, so only looking can tell.
    fn open_intents_become_unresolved(&mut self, at: Timestamp) {
        for node in self.nodes.values_mut() {
            let NodeState::Recovering(recovery) = &mut node.state else { continue };
            if let Stage::Intent { attempt, .. } | Stage::Unresolved { attempt, .. } = &recovery.stage {
                recovery.stage = if planted(Bug::IntentForgottenAtBoot) {
                    Stage::Started { since: at, not_before: at }
                } else {
                    Stage::Unresolved { attempt: attempt.clone(), since: at }
                };
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
                let (tenant, instance) = (tenant.clone(), tenant.instance);
                node.state = NodeState::Remedying { tenant, rung: *rung, since: at, deadline: *deadline };
                // Without an incident it is a planned redeploy of a healthy server.
                if let Some(incident) = &mut node.incident {
                    incident.tried.push(*rung);
                    node.note_remedy(*rung, instance, at);
                }
            }
            Record::RemedyEnded { node: name, .. } => {
                let node = self.node_mut(name);
                let NodeState::Remedying { tenant, .. } = &node.state else {
                    return Err(misfit("remedy-ended", name, &node.state));
                };
                let tenant = tenant.clone();
                // A planned redeploy that helped has no incident to go back to.
                let helped = matches!(&entry.record, Record::RemedyEnded { helped: true, .. });
                let release = node.release.as_ref().filter(|_| helped).map(|release| release.digest.clone());
                node.state = match node.incident {
                    Some(_) => NodeState::Suspect { tenant, since: at },
                    None => NodeState::Serving(tenant),
                };
                self.prove(at, release);
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

    fn start_recovery(&mut self, at: Timestamp, name: &NodeName, cause: Cause, keeps: Option<DoomReason>) {
        let doomed = &self.doomed;
        let node = self.nodes.entry(name.clone()).or_default();
        let previous_price = node.state.tenant().map(|tenant| tenant.rental.price);
        let alive = node.state.tenant().filter(|tenant| !doomed.contains_key(&tenant.instance)).cloned();
        let release = node.release.clone();
        let kept = alive.zip(keeps).map(|(tenant, doom)| Box::new(Kept { tenant, doom, release }));
        let was_filled = node.adopted_at.is_some();
        node.state = NodeState::Recovering(Recovery {
            cause,
            since: at,
            attempts: 0,
            seeking_since: at,
            previous_price,
            kept,
            stage: Stage::Started { since: at, not_before: at },
        });
        if was_filled {
            self.count(at, name, ActionKind::Recovery);
        }
    }

    /// Gives the node back to the tenant that was kept.
    fn cancel_replacement(&mut self, name: &NodeName, instance: InstanceId) -> Result<(), Misfit> {
        let doomed = self.doomed.contains_key(&instance);
        let node = self.node_mut(name);
        let kept = match &node.state {
            NodeState::Recovering(recovery) => recovery.kept.as_ref(),
            _ => None,
        };
        let Some(kept) = kept.filter(|kept| kept.tenant.instance == instance && !doomed) else {
            return Err(misfit("replacement-cancelled", name, &node.state));
        };
        let tenant = kept.tenant.clone();
        node.remember_kept_release();
        node.state = NodeState::Serving(tenant);
        Ok(())
    }

    fn count(&mut self, at: Timestamp, node: &NodeName, what: ActionKind) {
        self.actions.add(Action { at, node: node.clone(), what });
    }

    fn hold(&mut self, at: Timestamp, name: &NodeName, reason: HeldReason) {
        let doomed = &self.doomed;
        let node = self.nodes.entry(name.clone()).or_default();
        let tenant = node.state.tenant().filter(|tenant| !doomed.contains_key(&tenant.instance)).cloned();
        node.remember_kept_release();
        node.state = NodeState::Held { reason, tenant, since: at };
    }

    fn release(&mut self, at: Timestamp, name: &NodeName, by_itself: bool) {
        let node = self.node_mut(name);
        if let Some(incident) = &mut node.incident {
            incident.tried.clear();
        }
        if !by_itself {
            // Whoever let it go on mended something, so every remedy may help again.
            node.remedied.clear();
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

/// The tenant or newcomer of a node that is this instance.
fn tenant_mut(state: &mut NodeState, instance: InstanceId) -> Option<&mut Tenant> {
    let tenant = match state {
        NodeState::Recovering(Recovery { kept: Some(kept), .. }) if kept.tenant.instance == instance => {
            Some(&mut kept.tenant)
        }
        NodeState::Serving(tenant)
        | NodeState::Suspect { tenant, .. }
        | NodeState::Remedying { tenant, .. } => Some(tenant),
        NodeState::Held { tenant, .. } => tenant.as_mut(),
        NodeState::Recovering(Recovery {
            stage: Stage::Deploying { tenant, .. } | Stage::Probation { tenant, .. },
            ..
        }) => Some(tenant),
        NodeState::Vacant | NodeState::Recovering(_) => None,
    };
    tenant.filter(|tenant| tenant.instance == instance)
}

fn misfit(kind: &'static str, name: &NodeName, state: &NodeState) -> Misfit {
    Misfit { kind, subject: format!("node `{name}`"), state: state.word() }
}

fn stage_misfit(kind: &'static str, name: &NodeName, recovery: &Recovery) -> Misfit {
    Misfit { kind, subject: format!("node `{name}`"), state: recovery.stage.word() }
}
