//! The soft rungs of the ladder: work on a box that is kept. Whether it helped is told by the probes after it.

use std::time::Duration;

use super::{
    super::{
        command::{Chosen, Command},
        event::{IllegalEvent, WorkFault},
        journal::{Cause, HeldReason, Record, ReleaseRef},
        name::{InstanceId, NodeName},
        policy::{NodeSpec, Rung},
        state::{NodeState, Tenant},
        units::Timestamp,
    },
    Turn,
};

impl Turn<'_> {
    pub(super) fn start_remedy(
        &mut self,
        name: &NodeName,
        tenant: Tenant,
        rung: Rung,
        spec: &NodeSpec,
        permit: String,
    ) -> Result<(), IllegalEvent> {
        let now = self.now();
        // A redeploy is a whole deploy and gets a deploy's time beside that to prove itself.
        let work = if rung == Rung::Redeploy { spec.deadlines.deploy } else { Duration::ZERO };
        let deadline = now.after(work.saturating_add(spec.deadlines.remedy));
        self.record(Record::RemedyStarted { node: name.clone(), rung, deadline, permit })?;
        self.memory.watch(name).start_over(now);
        self.order_remedy(name, tenant, rung, deadline);
        self.look(name, deadline);
        Ok(())
    }

    fn order_remedy(&mut self, name: &NodeName, tenant: Tenant, rung: Rung, deadline: Timestamp) {
        let release = self.release_to_redeploy(name);
        let desk = self.memory.desk(name);
        (desk.working, desk.brings) = (true, release.digest().cloned());
        self.order(Command::Remedy { node: name.clone(), tenant, rung, release, deadline });
    }

    pub(super) fn pursue_remedy(
        &mut self,
        name: &NodeName,
        rung: Rung,
        deadline: Timestamp,
    ) -> Result<(), IllegalEvent> {
        if self.now() < deadline {
            if rung.asks_the_provider() {
                self.ask_to_run(name);
            }
            self.look(name, deadline);
            return Ok(());
        }
        self.remedy_failed(name, rung, "not healthy again in time".into())
    }

    pub(super) fn remedy_worked(
        &mut self,
        name: &NodeName,
        instance: InstanceId,
        rung: Rung,
        result: Result<Option<ReleaseRef>, WorkFault>,
    ) -> Result<(), IllegalEvent> {
        let Some(NodeState::Remedying { tenant, rung: current, .. }) =
            self.node(name).map(|node| &node.state)
        else {
            return Ok(());
        };
        // Work that was given up may still report: what it did to a box of before says nothing of this one.
        if *current != rung || tenant.instance != instance {
            return Ok(());
        }
        self.memory.desk(name).working = false;
        match result {
            Ok(release) => {
                if let Some(release) = release {
                    self.record(Record::Deployed { node: name.clone(), instance, release })?;
                }
                // Whether it helped, the probes tell, from now on.
                let now = self.now();
                self.memory.watch(name).start_over(now);
                Ok(())
            }
            Err(WorkFault::HostKeyChanged(_)) => self.hold(name, HeldReason::HostKeyChanged),
            Err(WorkFault::Release(detail)) => {
                let release = self.release_on(name);
                self.release_refused(name, &detail)?;
                self.hold(name, HeldReason::ReleaseAtFault { detail, release })
            }
            Err(WorkFault::Unhealthy(detail)) => {
                if rung == Rung::Redeploy {
                    self.redeploy_failed(name, &detail)?;
                }
                self.remedy_failed(name, rung, detail)
            }
            Err(WorkFault::Halfway(detail)) => self.hold(name, HeldReason::DataHalfway { detail }),
            Err(WorkFault::Superseded(detail)) => self.redeploy_anew(name, detail),
            Err(WorkFault::Box(detail) | WorkFault::Unknown(detail)) => {
                self.remedy_failed(name, rung, detail)
            }
        }
    }

    /// Another release was configured before the redeploy began: it is brought if it may be.
    fn redeploy_anew(&mut self, name: &NodeName, detail: String) -> Result<(), IllegalEvent> {
        let Some(NodeState::Remedying { tenant, deadline, rung, .. }) =
            self.node(name).map(|node| &node.state)
        else {
            return Ok(());
        };
        let (tenant, deadline, rung) = (tenant.clone(), *deadline, *rung);
        let healing = self.incident(name).is_some();
        let guard = self.guard();
        let admitted = if healing { guard.release_for(name) } else { guard.wanted_on(name) };
        if admitted.is_ok() && self.now() < deadline {
            self.order_remedy(name, tenant, rung, deadline);
            return Ok(());
        }
        if healing {
            return self.remedy_failed(name, rung, detail);
        }
        // Nothing was wrong with the node, and nothing was done to it.
        self.record(Record::RemedyEnded { node: name.clone(), rung, helped: false, detail })?;
        self.pursue(name)
    }

    /// A planned redeploy is there to bring the configured release; healing brings what was verified.
    fn release_to_redeploy(&self, name: &NodeName) -> Chosen {
        if self.incident(name).is_some() { self.chosen_release(name) } else { self.configured_release() }
    }

    pub(super) fn remedy_failed(
        &mut self,
        name: &NodeName,
        rung: Rung,
        detail: String,
    ) -> Result<(), IllegalEvent> {
        self.stop_work(name);
        if self.incident(name).is_none() {
            // A planned redeploy that failed becomes an incident, so that somebody hears of it.
            let cause = Cause::Failing { why: format!("the planned {}: {detail}", rung.word()) };
            self.open_incident(name, cause, self.now())?;
        }
        self.record(Record::RemedyEnded { node: name.clone(), rung, helped: false, detail })?;
        if rung.asks_the_provider() {
            // What was queued may have been done since the last list: one from now on tells.
            self.memory.desk(name).lists_from = self.now();
            self.order(Command::List);
        }
        self.pursue(name)
    }
}
