//! Who is at fault, put on record; machines entered into the ledger; a release condemned before it costs a third box.

use std::collections::BTreeSet;

use super::{
    super::{
        culprit::{Attribution, Culprit, Failed, attribute},
        event::{IllegalEvent, Reply},
        guard::Rail,
        journal::{HeldReason, Record, ReleaseRef},
        ledger::{self, LedgerWish, REPEAT_FACTOR, REPEAT_OFFENDER},
        name::{InstanceId, NodeName},
        release::{Digest, short},
        state::{Attempt, NodeState, Recovery, Stage},
        tell,
    },
    Turn,
};

impl Turn<'_> {
    /// Says who is at fault for a box that failed, and enters its machine into the ledger where that is the machine.
    pub(super) fn blame(
        &mut self,
        name: &NodeName,
        attempt: &Attempt,
        instance: InstanceId,
        release: Option<&Digest>,
        detail: &str,
    ) -> Result<Attribution, IllegalEvent> {
        let failed = Failed { node: name, attempt, instance, release };
        let attribution = attribute(failed, self.fleet, self.memory, self.context.policy, self.now());
        self.attributed(name, instance, &attribution)?;
        if attribution.culprit.is_the_machines() {
            self.strike(name, attempt, instance, detail, attribution.culprit)?;
        }
        Ok(attribution)
    }

    fn attributed(
        &mut self,
        name: &NodeName,
        instance: InstanceId,
        attribution: &Attribution,
    ) -> Result<(), IllegalEvent> {
        let known = self.node(name).and_then(|node| node.incident.as_ref()?.attribution.as_ref());
        if known == Some(attribution) {
            return Ok(());
        }
        let incident = self.incident(name);
        self.record(Record::Attributed {
            node: name.clone(),
            incident,
            instance,
            culprit: attribution.culprit,
            evidence: attribution.evidence.clone(),
        })
    }

    /// Excludes a machine for a while.
    fn strike(
        &mut self,
        name: &NodeName,
        attempt: &Attempt,
        instance: InstanceId,
        detail: &str,
        culprit: Culprit,
    ) -> Result<(), IllegalEvent> {
        let now = self.now();
        let earlier = self.fleet.blamed.get(&attempt.machine).map_or(0, |blame| blame.counting(now));
        let factor = if earlier.saturating_add(1) >= REPEAT_OFFENDER { REPEAT_FACTOR } else { 1 };
        let until = now.after(self.context.policy.rails.exclude_for.saturating_mul(factor));
        self.record(Record::MachineBlamed {
            machine: attempt.machine,
            host: attempt.host,
            detail: detail.to_owned(),
            until,
            node: Some(name.clone()),
            instance: Some(instance),
            culprit,
        })
    }

    /// The release that runs on a node's box, or is being deployed to it: the one that was ordered, whatever is wanted by now.
    pub(super) fn release_on(&self, name: &NodeName) -> Option<Digest> {
        let node = self.node(name)?;
        match &node.state {
            NodeState::Recovering(Recovery { stage: Stage::Deploying { .. }, .. })
            | NodeState::Remedying { .. } => {
                let ordered = self.memory.desks.get(name).and_then(|desk| desk.brings.clone());
                ordered.or_else(|| self.chosen_release(name).digest().cloned())
            }
            NodeState::Recovering(Recovery { stage: Stage::Probation { .. }, .. })
            | NodeState::Serving(_)
            | NodeState::Suspect { .. }
            | NodeState::Held { .. } => node.release.as_ref().map(|release| release.digest.clone()),
            NodeState::Recovering(_) | NodeState::Vacant => None,
        }
    }

    /// A box came up, took the release, and its server does not serve: it counts against the release.
    pub(super) fn release_failed(&mut self, name: &NodeName, detail: &str) -> Result<(), IllegalEvent> {
        let Some(digest) = self.release_on(name) else { return Ok(()) };
        let claimed = self.node(name).and_then(|node| node.state.claim());
        let Some((host, instance)) = claimed.and_then(|(attempt, instance)| Some((attempt.host, instance?)))
        else {
            return Ok(());
        };
        let detail = detail.to_owned();
        self.record(Record::ReleaseFailed { node: name.clone(), instance, digest, host, detail })
    }

    /// A box that had a server took a release that does not serve on it.
    pub(super) fn redeploy_failed(&mut self, name: &NodeName, detail: &str) -> Result<(), IllegalEvent> {
        let digest = self.release_on(name);
        let tenant = self.node(name).and_then(|node| node.state.tenant()).cloned();
        let (Some(digest), Some(tenant)) = (digest, tenant) else { return Ok(()) };
        self.release_failed(name, detail)?;
        let (attempt, instance) = (&tenant.rental, tenant.instance);
        let failed = Failed { node: name, attempt, instance, release: Some(&digest) };
        let attribution = attribute(failed, self.fleet, self.memory, self.context.policy, self.now());
        self.attributed(name, tenant.instance, &attribution)?;
        if attribution.culprit == Culprit::Release {
            self.condemn(&digest, &attribution.evidence)?;
        }
        Ok(())
    }

    /// Takes no further box for a release that is at fault, and gives those that failed with it to a human.
    pub(super) fn condemn(&mut self, digest: &Digest, evidence: &str) -> Result<(), IllegalEvent> {
        let known = self.fleet.releases.get(digest).is_some_and(|standing| standing.condemned.is_some());
        if known {
            return Ok(());
        }
        let evidence = evidence.to_owned();
        self.record(Record::ReleaseCondemned { digest: digest.clone(), evidence: evidence.clone() })?;
        let boxes = self.fleet.releases.get(digest).map_or(0, |standing| standing.failures.len());
        let notice = tell::release_condemned(self.now(), digest, &evidence, boxes);
        self.tell(notice);
        // Whoever failed with it and waits for another box; who failed for another reason goes on when there is a release.
        let tried: BTreeSet<&NodeName> = self
            .fleet
            .releases
            .get(digest)
            .map(|standing| standing.failures.iter().map(|failure| &failure.node).collect())
            .unwrap_or_default();
        let waits = |(name, node): &(&NodeName, &super::Node)| match &node.state {
            NodeState::Recovering(recovery) => {
                tried.contains(name)
                    && recovery.attempts > 0
                    && matches!(recovery.stage, Stage::Started { .. })
            }
            _ => false,
        };
        let failed: Vec<NodeName> =
            self.fleet.nodes.iter().filter(waits).map(|(name, _)| name.clone()).collect();
        for name in failed {
            self.hold_for_release(&name, digest, &evidence)?;
        }
        Ok(())
    }

    pub(super) fn hold_for_release(
        &mut self,
        name: &NodeName,
        digest: &Digest,
        detail: &str,
    ) -> Result<(), IllegalEvent> {
        let reason = HeldReason::ReleaseAtFault { detail: detail.to_owned(), release: Some(digest.clone()) };
        self.hold(name, reason)
    }

    /// The work on a box says that the release is at fault; so it is, unless it serves elsewhere.
    pub(super) fn release_refused(&mut self, name: &NodeName, detail: &str) -> Result<(), IllegalEvent> {
        let digest = self.release_on(name);
        let claimed = self.node(name).and_then(|node| node.state.claim());
        let claimed = claimed.and_then(|(attempt, instance)| Some((attempt.clone(), instance?)));
        let Some((attempt, instance)) = claimed else { return Ok(()) };
        self.release_failed(name, detail)?;
        let failed = Failed { node: name, attempt: &attempt, instance, release: digest.as_ref() };
        let compared = attribute(failed, self.fleet, self.memory, self.context.policy, self.now());
        let evidence = match compared.culprit {
            Culprit::Release => compared.evidence.clone(),
            _ => format!("the deploy itself says so: {detail}"),
        };
        let attribution = Attribution { culprit: Culprit::Release, evidence };
        self.attributed(name, instance, &attribution)?;
        match (digest, compared.culprit) {
            (Some(digest), Culprit::Release) => self.condemn(&digest, &compared.evidence),
            _ => Ok(()),
        }
    }

    /// The wanted release is there. Nodes that were held for another one's sake go on.
    pub(super) fn release_prepared(&mut self, release: ReleaseRef) -> Result<(), IllegalEvent> {
        self.memory.release_missing = None;
        let held_for_another = |node: &super::Node| match &node.state {
            NodeState::Held {
                reason: HeldReason::ReleaseAtFault { release: Some(at_fault), .. }, ..
            } => *at_fault != release.digest,
            _ => false,
        };
        let held: Vec<NodeName> = self
            .fleet
            .nodes
            .iter()
            .filter(|(_, node)| held_for_another(node))
            .map(|(name, _)| name.clone())
            .collect();
        let by = format!("the new release {}", short(&release.digest));
        self.memory.release = Some(release);
        for node in held {
            self.end_episode(&node);
            self.record(Record::Released { node, by: by.clone(), by_itself: false })?;
        }
        Ok(())
    }

    /// A person lets a node go on that is held, or cannot be filled, for a release's sake: it may be tried again.
    pub(super) fn clear_release(&mut self, name: &NodeName, by: &str) -> Result<(), IllegalEvent> {
        let held_for = match self.node(name).map(|node| &node.state) {
            Some(NodeState::Held { reason: HeldReason::ReleaseAtFault { release, .. }, .. }) => {
                release.clone()
            }
            _ => None,
        };
        let Some(digest) = held_for.or_else(|| self.barring_release(name)) else { return Ok(()) };
        let shunned = self.fleet.quarantine.values().any(|pair| pair.release.digest == digest);
        if shunned || self.fleet.releases.contains_key(&digest) {
            self.record(Record::ReleaseCleared { digest, by: by.into() })?;
        }
        Ok(())
    }

    /// The condemned release for whose sake alone a node waits that is not held: whoever was held for it may be gone.
    pub(super) fn barring_release(&self, name: &NodeName) -> Option<Digest> {
        let blocked = self.memory.desks.get(name)?.blocked.as_ref()?;
        let wanted = self.memory.release.as_ref().filter(|_| blocked.rail == Rail::Release)?;
        let standing = self.fleet.releases.get(&wanted.digest);
        let condemned = standing.is_some_and(|standing| standing.condemned.is_some());
        let shunned =
            self.memory.release_name.as_ref().is_some_and(|name| self.fleet.quarantine.contains_key(name));
        (condemned || shunned).then(|| wanted.digest.clone())
    }

    /// What a person wants of the ledger.
    pub(super) fn ledger_asked(&mut self, wish: LedgerWish, by: &str) -> Result<(), IllegalEvent> {
        let reply = match wish {
            LedgerWish::Forgive { machine } if self.fleet.blamed.contains_key(&machine) => {
                self.record(Record::MachineForgiven { machine, by: by.into() })?;
                Reply::Accepted(format!("machine {machine} is forgiven and may be rented again"))
            }
            LedgerWish::Forgive { machine } => {
                Reply::NothingToDo(format!("machine {machine} is not in the ledger"))
            }
            LedgerWish::Import { ledger } => {
                match ledger::accepted(ledger, self.context.policy, self.now()) {
                    Err(why) => Reply::Refused(format!("not a ledger that can be taken over: {why}")),
                    Ok(machines) => {
                        let mut changed = 0;
                        for (machine, blame) in machines {
                            let mut merged = self.fleet.blamed.get(&machine).cloned();
                            if let Some(known) = &mut merged {
                                known.merge(&blame);
                            }
                            if merged.is_some() && merged.as_ref() == self.fleet.blamed.get(&machine) {
                                continue;
                            }
                            changed += 1;
                            self.record(Record::MachineImported { machine, blame, by: by.into() })?;
                        }
                        if changed == 0 {
                            Reply::NothingToDo("everything in it is known already".into())
                        } else {
                            Reply::Accepted(format!("{changed} machines were taken over"))
                        }
                    }
                }
            }
        };
        self.step.reply = Some(reply);
        Ok(())
    }
}
