//! Create-first: the tenant stays while its replacement is rented, deployed and proven beside it.
//!
//! Until a newcomer is on probation the probes go on asking the tenant, and if it comes back it keeps the node: whatever was
//! rented meanwhile is condemned. On probation the newcomer is asked instead, so a comeback after that is not seen; it takes
//! two healthy answers to end. The tenant is condemned in the transaction that adopts the newcomer, so that at every moment
//! one of the two is on record as the node's own.
//!
//! A replacement that was asked for by hand is not cancelled: its tenant may be healthy all the time.

use super::{
    super::{
        event::IllegalEvent,
        journal::{Cause, DoomReason, Outcome, Record},
        name::NodeName,
        policy::NodeSpec,
        state::{Kept, NodeState, Recovery, Stage},
    },
    Turn,
};

impl Turn<'_> {
    fn kept(&self, name: &NodeName) -> Option<&Kept> {
        match self.node(name).map(|node| &node.state) {
            Some(NodeState::Recovering(recovery)) => recovery.kept.as_deref(),
            _ => None,
        }
    }

    /// Whether the tenant is healthy again and its replacement can be called off. A create in doubt is settled first.
    pub(super) fn came_back(&self, name: &NodeName, spec: &NodeSpec) -> bool {
        let Some(NodeState::Recovering(Recovery { kept: Some(kept), cause, stage, .. })) =
            self.node(name).map(|node| &node.state)
        else {
            return false;
        };
        let its_own = matches!(cause, Cause::Failing { .. } | Cause::Vanished);
        let settled = match stage {
            Stage::Started { .. } => true,
            // Whoever only observes condemns nothing, so what is on its way goes on.
            Stage::Booting { .. } | Stage::Deploying { .. } => !self.context.policy.observe_only,
            Stage::Intent { .. } | Stage::Unresolved { .. } | Stage::Probation { .. } => false,
        };
        if !its_own || !settled {
            return false;
        }
        let Some(watch) = self.memory.watches.get(name) else { return false };
        let of_tenant = watch.last.as_ref().is_some_and(|last| last.identity == kept.tenant.rental.op);
        of_tenant && watch.successes >= spec.health.success_threshold.max(1)
    }

    /// Whether the tenant that is kept answers well again, and the next probes decide whether it came back. Until they have,
    /// nothing more is begun that would end with its destroy.
    pub(super) fn is_coming_back(&self, name: &NodeName, spec: &NodeSpec) -> bool {
        let Some(NodeState::Recovering(Recovery { kept: Some(kept), cause, stage, .. })) =
            self.node(name).map(|node| &node.state)
        else {
            return false;
        };
        let its_own = matches!(cause, Cause::Failing { .. } | Cause::Vanished);
        if !its_own || !matches!(stage, Stage::Started { .. }) {
            return false;
        }
        let Some(watch) = self.memory.watches.get(name).filter(|watch| watch.successes > 0) else {
            return false;
        };
        let last = watch.current(&spec.health, self.now());
        last.is_some_and(|last| last.identity == kept.tenant.rental.op)
    }

    /// The tenant keeps the node; a newcomer on its way is condemned.
    pub(super) fn cancel_replacement(&mut self, name: &NodeName) -> Result<(), IllegalEvent> {
        let Some(instance) = self.kept(name).map(|kept| kept.tenant.instance) else { return Ok(()) };
        let detail = format!("instance {instance}, which it was to replace, is healthy again");
        self.doom_newcomer(name, DoomReason::Unneeded { detail })?;
        self.memory.desk(name).offers.clear();
        self.record(Record::ReplacementCancelled { node: name.clone(), instance })?;
        self.heal(name, Outcome::ByItself)
    }

    /// Condemns the tenant whose replacement has proven itself.
    pub(super) fn doom_kept(&mut self, name: &NodeName) -> Result<(), IllegalEvent> {
        let Some(kept) = self.kept(name).cloned() else { return Ok(()) };
        self.let_go_of_kept(name, kept)
    }

    /// A newcomer failed: what its probes said must not be taken for the tenant's. Where it was not probed yet, what is known
    /// is the tenant's own and stays: to forget it would take a failing node out of the breaker's count.
    pub(super) fn watch_kept(&mut self, name: &NodeName) {
        let now = self.now();
        let Some(op) = self.kept(name).map(|kept| kept.tenant.rental.op.clone()) else { return };
        let watch = self.memory.watch(name);
        if watch.last.as_ref().is_some_and(|last| last.identity != op) {
            watch.start_over(now);
        }
    }
}
