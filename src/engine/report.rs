//! A deploy as it is put on record: its steps gathered while they happen, its end in the core's words.

use crate::{
    deploy::{DeployFault, Deployed, StepPhase, StepReport},
    fleet::{
        deployed::{DeployKind, DeployOutcome, DeployReport, Placed, StepTook},
        name::{InstanceId, NodeName},
        units::{Timestamp, millis},
    },
};

/// A deploy or a rollback under way.
#[derive(Debug, Clone)]
pub struct Journey {
    /// The node.
    pub node: NodeName,
    /// Its box.
    pub instance: InstanceId,
    /// What is done.
    pub work: DeployKind,
    /// Who asked for it.
    pub by: String,
    /// Whether it is the keeper's own healing.
    pub healing: bool,
    /// The rollout it is part of.
    pub rollout: Option<String>,
    /// What is wanted there.
    pub wanted: Option<Placed>,
    /// The release that is left because it is at fault.
    pub leaves: Option<Placed>,
    /// When it began.
    pub started_at: Timestamp,
    /// The steps that have ended.
    pub steps: Vec<StepTook>,
}

impl Journey {
    /// Takes note of a step that ended.
    pub fn take(&mut self, report: &StepReport) {
        if report.phase != StepPhase::Finished {
            return;
        }
        self.steps.push(StepTook {
            step: report.step.word().into(),
            took_ms: millis(report.took),
            target_ms: millis(report.step.part().target()),
        });
    }

    /// The whole, at its end. `serves` is what was seen to serve after a fault, where somebody looked.
    #[must_use]
    pub fn end(
        mut self,
        now: Timestamp,
        result: &Result<Deployed, DeployFault>,
        serves: Option<Placed>,
    ) -> DeployReport {
        let (outcome, at_fault, detail, closed, serves) = match result {
            Ok(deployed) => {
                let outcome =
                    if deployed.unchanged { DeployOutcome::Unchanged } else { DeployOutcome::Verified };
                let serves = placed(deployed);
                self.wanted = Some(serves.clone());
                (outcome, false, String::new(), deployed.closed.clone(), Some(serves))
            }
            Err(fault) => (outcome(fault), is_the_releases(fault), fault.to_string(), None, serves),
        };
        DeployReport {
            node: self.node,
            instance: self.instance,
            work: self.work,
            by: self.by,
            healing: self.healing,
            rollout: self.rollout,
            wanted: self.wanted,
            serves,
            outcome,
            at_fault: at_fault || self.leaves.is_some(),
            leaves: self.leaves,
            detail,
            closed,
            started_at: self.started_at,
            took_ms: millis(now.since(self.started_at)),
            steps: self.steps,
        }
        .bounded()
    }
}

/// What a deploy left on its box.
#[must_use]
pub fn placed(deployed: &Deployed) -> Placed {
    let release = &deployed.release;
    Placed { name: deployed.name.clone(), digest: release.digest.clone(), commit: release.commit.clone() }
}

/// Whether the release, and neither the box nor the way to it, is at fault: the deploy says so, or the same box serves the
/// release before again.
#[must_use]
pub fn is_the_releases(fault: &DeployFault) -> bool {
    match (fault, fault.first()) {
        (_, DeployFault::Release(_) | DeployFault::Unhealthy(_))
        | (DeployFault::RolledBack { .. }, DeployFault::Box(_)) => true,
        (
            _,
            DeployFault::Box(_)
            | DeployFault::Refused(_)
            | DeployFault::Locked(_)
            | DeployFault::HostKeyChanged(_)
            | DeployFault::Unknown(_)
            | DeployFault::Halfway { .. }
            | DeployFault::RolledBack { .. }
            | DeployFault::RollbackFailed { .. },
        ) => false,
    }
}

fn outcome(fault: &DeployFault) -> DeployOutcome {
    match fault {
        DeployFault::RolledBack { .. } => DeployOutcome::RolledBack,
        DeployFault::RollbackFailed { .. } => DeployOutcome::RollbackFailed,
        DeployFault::Halfway { .. } => DeployOutcome::Halfway,
        DeployFault::Refused(_) | DeployFault::Locked(_) => DeployOutcome::Refused,
        DeployFault::Unknown(_) => DeployOutcome::Unknown,
        DeployFault::Release(_)
        | DeployFault::Box(_)
        | DeployFault::Unhealthy(_)
        | DeployFault::HostKeyChanged(_) => DeployOutcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        deploy::{Step, StepTime},
        fleet::journal::ReleaseRef,
    };

    fn journey() -> Journey {
        Journey {
            node: "duel-0".parse().unwrap(),
            instance: InstanceId(7),
            work: DeployKind::Deploy,
            by: "anna".into(),
            healing: false,
            rollout: None,
            wanted: None,
            leaves: None,
            started_at: Timestamp(1_000),
            steps: Vec::new(),
        }
    }

    #[test]
    fn steps_are_noted_when_they_end_and_measured_against_their_targets() {
        let mut journey = journey();
        let step = |phase, seconds| StepReport {
            step: Step::Start,
            phase,
            took: std::time::Duration::from_secs(seconds),
            detail: String::new(),
        };
        journey.take(&step(StepPhase::Started, 0));
        journey.take(&step(StepPhase::Finished, 121));
        let deployed = Deployed {
            release: ReleaseRef { digest: "d".into(), commit: "c".into() },
            name: "d-s".into(),
            unchanged: false,
            closed: None,
            steps: vec![StepTime { step: Step::Start, took: std::time::Duration::ZERO }],
            round_trips: 1,
        };
        let report = journey.end(Timestamp(4_000), &Ok(deployed), None);
        assert_eq!((report.outcome, report.took_ms), (DeployOutcome::Verified, 3_000));
        assert_eq!(report.steps.len(), 1);
        assert!(report.steps[0].is_over(), "two minutes are the target of a start");
        assert_eq!(report.serves, report.wanted);
    }

    #[test]
    fn whose_fault_it_was_survives_the_way_back() {
        let back = |why: DeployFault| DeployFault::RolledBack { why: Box::new(why), to: "old".into() };
        let ended = |fault: DeployFault| journey().end(Timestamp(2_000), &Err(fault), None);
        let report = ended(back(DeployFault::Unhealthy("503".into())));
        assert!(report.outcome == DeployOutcome::RolledBack && report.at_fault);
        let report = ended(back(DeployFault::Box("it ended with code 134".into())));
        assert!(report.at_fault, "the same box serves the one before");
        assert!(!ended(DeployFault::Box("disk full".into())).at_fault);
        assert_eq!(ended(DeployFault::Refused("busy".into())).outcome, DeployOutcome::Refused);
        assert_eq!(ended(DeployFault::Unknown("cut".into())).outcome, DeployOutcome::Unknown);
    }
}
