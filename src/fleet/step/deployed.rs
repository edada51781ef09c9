//! Deploys that were reported, the release that healing puts on a node, and pauses that end by themselves.

use super::{
    super::{
        command::Chosen,
        deployed::{DeployReport, Placed},
        event::{IllegalEvent, Reply},
        journal::{HeldReason, Record},
        name::NodeName,
        tell,
    },
    Turn,
};

/// Who ends a pause that was for a time only.
const TIME_IS_UP: &str = "the end of its time";

impl Turn<'_> {
    /// A deploy or a rollback came to its end: it is put on record, and whoever must know is told.
    pub(super) fn deploy_reported(&mut self, report: DeployReport) -> Result<(), IllegalEvent> {
        let (report, now) = (report.bounded(), self.now());
        let name = &report.node;
        let Some(node) = self.node(name) else {
            self.step.reply = Some(Reply::Refused(format!("node `{name}` is not known")));
            return Ok(());
        };
        let fills = node.state.tenant().is_some_and(|tenant| tenant.instance == report.instance);
        self.record(Record::DeployReported(Box::new(report.clone())))?;
        let shunned =
            report.wanted.as_ref().is_some_and(|wanted| self.fleet.quarantine.contains_key(&wanted.name));
        if report.closed.is_some() {
            let notice = tell::left_closed(now, &report);
            self.tell(notice);
        }
        if report.steps.iter().any(|step| step.is_over()) {
            let notice = tell::steps_overrun(now, &report);
            self.tell(notice);
        }
        // Of a rollout that goes well its own end is news enough.
        let routine = report.rollout.is_some() && report.outcome.is_good();
        if !report.healing && !routine {
            let notice = tell::deploy_ended(now, &report, shunned);
            self.tell(notice);
        }
        if fills && report.leaves_data_halfway() {
            // Journaled with the report: whoever reads one knows the other.
            self.hold(&report.node, HeldReason::DataHalfway { detail: report.detail.clone() })?;
        }
        if !report.healing && fills {
            // The server was started anew: what was counted against the one before says nothing of this one.
            self.memory.watch(name).start_over(now);
        }
        self.step.reply =
            Some(Reply::Accepted(format!("the {} of `{name}` is on record", report.work.word())));
        Ok(())
    }

    /// The release that was verified for a node by hand, where healing must not bring the configured one.
    pub(super) fn verified_before(&self, name: &NodeName) -> Option<Placed> {
        self.guard().verified_before(name).cloned()
    }

    /// What a deploy to a node brings.
    pub(super) fn chosen_release(&self, name: &NodeName) -> Chosen {
        self.verified_before(name).map_or_else(|| self.configured_release(), Chosen::Verified)
    }

    /// The configured release, as it is judged now.
    pub(super) fn configured_release(&self) -> Chosen {
        Chosen::Configured(self.memory.release.as_ref().map(|release| release.digest.clone()))
    }

    /// Lets healing go on where it was kept away for a time that is over.
    pub(super) fn end_pauses(&mut self) -> Result<(), IllegalEvent> {
        let now = self.now();
        let over = |pause: &super::super::state::Pause| pause.until.is_some_and(|until| until <= now);
        let paused = self.fleet.nodes.iter().filter(|(_, node)| node.paused.as_ref().is_some_and(over));
        let names: Vec<NodeName> = paused.map(|(name, _)| name.clone()).collect();
        for node in names {
            self.record(Record::Resumed { node: node.clone(), by: TIME_IS_UP.into() })?;
            self.pursue(&node)?;
        }
        Ok(())
    }
}
