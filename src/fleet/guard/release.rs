//! Which release a node would get, and whether it may be deployed at all.

use super::{Deferral, Guard, Rail, defer};
use crate::fleet::{
    deployed::Placed,
    name::NodeName,
    planted::{Bug, planted},
    policy::Rung,
    release::{Digest, short},
    state::{Node, NodeState, Stage},
};

impl Guard<'_> {
    /// The release that was verified for a node by hand and is not the configured one; where the configured one is
    /// quarantined, the last that was verified anywhere.
    #[must_use]
    pub fn verified_before(&self, node: &NodeName) -> Option<&Placed> {
        let good = |placed: &&Placed| {
            let standing = self.fleet.releases.get(&placed.digest);
            !self.fleet.quarantine.contains_key(&placed.name)
                && standing.is_none_or(|standing| standing.condemned.is_none())
        };
        let configured = self.memory.release_name.as_ref();
        let next = self.fleet.nodes.get(node).and_then(|node| node.next.as_ref());
        if let Some(next) = next.map(|next| &next.release).filter(good) {
            return Some(next);
        }
        let own = self.fleet.nodes.get(node).and_then(|node| node.placed.as_ref()).filter(good);
        match own {
            Some(own) => Some(own).filter(|own| configured != Some(&own.name)),
            None if configured.is_some_and(|name| self.fleet.quarantine.contains_key(name)) => {
                self.fleet.verified.as_ref().filter(good)
            }
            None => None,
        }
    }

    /// The same for what healing would put on a node.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub fn release_for(&self, node: &NodeName) -> Result<(), Deferral> {
        if self.verified_before(node).is_some() { Ok(()) } else { self.release() }
    }

    /// Nothing is paid for, and nothing destroyed, for want of something to deploy.
    ///
    /// # Errors
    /// The configured release is not there, or it is condemned or quarantined.
    pub fn release(&self) -> Result<(), Deferral> {
        if let Some(why) = &self.memory.release_missing {
            return defer(Rail::Release, format!("the release is not there: {why}"), None);
        }
        let name = self.memory.release_name.as_ref();
        if let Some(shunned) = name.and_then(|name| self.fleet.quarantine.get(name)) {
            let why = format!("release {} is quarantined: {}", shunned.release.name, shunned.why);
            return defer(Rail::Release, why, None);
        }
        let Some(wanted) = &self.memory.release else { return Ok(()) };
        self.fleet.fault_of(&wanted.digest).map_or(Ok(()), |why| defer(Rail::Release, why, None))
    }

    /// May the wanted release be deployed to a box that is up? It may have been rented before that release was wanted, so
    /// what was asked before the rental is asked again: a bad one must not reach every newcomer at once.
    ///
    /// # Errors
    /// It is not there yet, condemned or quarantined, or it was never seen serving and enough boxes try it.
    pub fn deploy(&self, node: &NodeName) -> Result<(), Deferral> {
        if self.verified_before(node).is_some() { Ok(()) } else { self.wanted_on(node) }
    }

    /// The same for the wanted release, whatever was verified for the node before.
    ///
    /// # Errors
    /// As [`deploy`](Self::deploy).
    pub fn wanted_on(&self, node: &NodeName) -> Result<(), Deferral> {
        // After a start nobody knows yet which release is wanted, nor whether it was ever seen serving.
        self.release()?;
        let Some(trial) = self.trial() else { return Ok(()) };
        let tries = |(name, other): &(&NodeName, &Node)| match &other.state {
            NodeState::Recovering(recovery) if *name != node => match &recovery.stage {
                // One of unknown outcome is run again after a while.
                Stage::Deploying { since, .. } => {
                    self.memory.desks.get(*name).is_some_and(|desk| desk.working || desk.work_after > *since)
                }
                Stage::Probation { .. } => {
                    other.release.as_ref().is_some_and(|given| given.digest == *trial.digest)
                }
                Stage::Started { .. }
                | Stage::Intent { .. }
                | Stage::Unresolved { .. }
                | Stage::Booting { .. } => false,
            },
            NodeState::Remedying { rung: Rung::Redeploy, .. } => *name != node,
            _ => false,
        };
        trial.admits(self.fleet.nodes.iter().filter(tries).count())
    }

    /// The wanted release, where it was never seen serving.
    fn trial(&self) -> Option<Trial<'_>> {
        let wanted = self.memory.release.as_ref().filter(|wanted| !self.fleet.is_proven(&wanted.digest))?;
        let lost = self.fleet.releases.get(&wanted.digest).map_or(0, |standing| standing.failures.len());
        let lost = u32::try_from(lost).unwrap_or(u32::MAX);
        let most = self.policy.rails.unproven_boxes.saturating_sub(lost).max(1);
        Some(Trial { digest: &wanted.digest, most, lost })
    }

    /// A release that was never seen serving is tried on few boxes first, and those it lost already count.
    pub(super) fn unproven(&self, node: &NodeName) -> Result<(), Deferral> {
        if self.verified_before(node).is_some() {
            return Ok(());
        }
        let Some(trial) = self.trial() else { return Ok(()) };
        let claims = |(name, other): &(&NodeName, &Node)| {
            *name != node
                && matches!(&other.state, NodeState::Recovering(recovery) if recovery.stage.claim().is_some())
        };
        trial.admits(self.fleet.nodes.iter().filter(claims).count())
    }
}

/// A release that was never seen serving, on how many boxes at once it is tried, and how many it lost.
struct Trial<'a> {
    digest: &'a Digest,
    most: u32,
    lost: u32,
}

impl Trial<'_> {
    /// May another box try it beside so many?
    fn admits(&self, trying: usize) -> Result<(), Deferral> {
        if trying < self.most as usize || planted(Bug::UnprovenEverywhere) {
            return Ok(());
        }
        let (name, lost) = (short(self.digest), self.lost);
        let why = format!(
            "release {name} was never seen serving: {trying} boxes try it first, {lost} failed with it"
        );
        defer(Rail::Unproven, why, None)
    }
}
