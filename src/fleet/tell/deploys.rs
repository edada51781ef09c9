//! Notices about deploys: how each ended, what took too long, what was left closed.

use std::time::Duration;

use super::{facts, notice, span};
use crate::fleet::{
    deployed::{DeployKind, DeployOutcome, DeployReport, Placed, StepTook},
    name::{InstanceId, NodeName},
    notice::{Notice, Severity, Topic},
    units::Timestamp,
};

fn named(release: Option<&Placed>) -> String {
    release
        .map_or_else(|| "unknown".into(), |release| format!("{} (commit {})", release.name, release.commit))
}

/// A report in words, for timelines.
#[must_use]
pub fn report_text(report: &DeployReport) -> String {
    let (what, took) = (report.work.word(), span(report.took()));
    let detail = if report.detail.is_empty() { String::new() } else { format!(": {}", report.detail) };
    let rollout = report.rollout.as_ref().map(|id| format!(" in rollout {id}")).unwrap_or_default();
    let wanted = named(report.wanted.as_ref());
    let over: Vec<&StepTook> = report.steps.iter().filter(|step| step.is_over()).collect();
    let over =
        if over.is_empty() { String::new() } else { format!("; over its target: {}", step_list(&over)) };
    format!(
        "{what} of {wanted} by {}{rollout}: {} after {took}{detail}{over}",
        report.by,
        report.outcome.word()
    )
}

fn step_list(steps: &[&StepTook]) -> String {
    let one = |step: &&StepTook| {
        let (took, target) = (step.took_ms, step.target_ms);
        let span = |ms: u64| span(Duration::from_millis(ms));
        format!("{} {} of {}", step.step, span(took), span(target))
    };
    steps.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A deploy or a rollback that somebody asked for came to its end.
pub(in crate::fleet) fn deploy_ended(at: Timestamp, report: &DeployReport, shunned: bool) -> Notice {
    let node = &report.node;
    let wanted = named(report.wanted.as_ref());
    let (severity, how) = match (report.outcome, report.work) {
        (DeployOutcome::Verified, DeployKind::Deploy) => (Severity::Info, format!("serves {wanted}")),
        (DeployOutcome::Verified, DeployKind::Rollback) => {
            (Severity::Warning, format!("went back to {wanted}"))
        }
        (DeployOutcome::Verified, DeployKind::Restore) => {
            (Severity::Warning, format!("was given a backup back and serves {wanted}"))
        }
        (DeployOutcome::Unchanged, _) => (Severity::Info, format!("serves {wanted} already")),
        (DeployOutcome::RolledBack, _) => {
            (Severity::Critical, format!("does not take {wanted} and went back"))
        }
        (DeployOutcome::RollbackFailed, _) => {
            (Severity::Critical, format!("does not take {wanted}, and going back failed"))
        }
        (DeployOutcome::Halfway, _) => {
            (Severity::Critical, format!("stopped halfway through the {}", report.work.word()))
        }
        (DeployOutcome::Refused, _) => (Severity::Info, format!("was left as it was: {wanted} is refused")),
        (DeployOutcome::Failed, _) => (Severity::Critical, format!("could not be given {wanted}")),
        (DeployOutcome::Unknown, _) => (Severity::Critical, format!("may or may not serve {wanted}")),
    };
    let mut told = facts([
        ("by", report.by.clone()),
        ("release", wanted),
        ("serves", named(report.serves.as_ref())),
        ("took", span(report.took())),
    ]);
    if !report.detail.is_empty() {
        told.push(("why".into(), report.detail.clone()));
    }
    if let Some(rollout) = &report.rollout {
        told.push(("rollout".into(), rollout.clone()));
    }
    let next = match report.outcome {
        DeployOutcome::Verified | DeployOutcome::Unchanged => {
            format!("nothing to do; the way back: `vast-keeper rollback {node}`")
        }
        _ if shunned => format!(
            "this release with these settings is deployed nowhere any more, not by healing either, until another one is \
             given or `vast-keeper deploy {node} --force`"
        ),
        DeployOutcome::Unknown => {
            format!("the box goes back by itself unless it is confirmed; `vast-keeper releases {node}`")
        }
        _ => format!("`vast-keeper diagnose {node}`; `vast-keeper deploys {node}` tells the steps"),
    };
    Notice {
        node: Some(node.clone()),
        facts: told,
        ..notice(at, severity, Topic::Deploy, format!("{node} {how}"), &next)
    }
}

/// Steps of a deploy took longer than the runbook gives them.
pub(in crate::fleet) fn steps_overrun(at: Timestamp, report: &DeployReport) -> Notice {
    let node = &report.node;
    let over: Vec<&StepTook> = report.steps.iter().filter(|step| step.is_over()).collect();
    Notice {
        node: Some(node.clone()),
        facts: facts([("steps", step_list(&over)), ("the whole", span(report.took()))]),
        ..notice(
            at,
            Severity::Warning,
            Topic::Deploy,
            format!("a {} of {node} took longer than its targets", report.work.word()),
            &format!("`vast-keeper deploys {node}` compares it with those before"),
        )
    }
}

/// The box before serves again.
pub(in crate::fleet) fn switched_back(
    at: Timestamp,
    node: &NodeName,
    instance: InstanceId,
    why: &str,
) -> Notice {
    Notice {
        node: Some(node.clone()),
        facts: facts([("instance", instance.to_string()), ("why", why.into())]),
        ..notice(
            at,
            Severity::Warning,
            Topic::Deploy,
            format!("{node} is switched back to instance {instance}, which served before"),
            "the box with the newer release is destroyed",
        )
    }
}

/// Whatever points at the nodes may point at boxes of before.
pub(in crate::fleet) fn not_published(at: Timestamp, why: &str) -> Notice {
    Notice {
        facts: facts([("why", why.into())]),
        ..notice(
            at,
            Severity::Critical,
            Topic::Keeper,
            "the nodes' addresses cannot be published".into(),
            "it is tried again until it is done; `publish.*` says where",
        )
    }
}

/// It points at the right ones again.
pub(in crate::fleet) fn published_again(at: Timestamp, failures: u32) -> Notice {
    let title = format!("the nodes' addresses are published again, after {failures} failures");
    notice(at, Severity::Info, Topic::Keeper, title, "nothing to do")
}

/// A deploy could not end the maintenance that it entered.
pub(in crate::fleet) fn left_closed(at: Timestamp, report: &DeployReport) -> Notice {
    let node = &report.node;
    Notice {
        node: Some(node.clone()),
        facts: facts([("why", report.closed.clone().unwrap_or_default()), ("by", report.by.clone())]),
        ..notice(
            at,
            Severity::Critical,
            Topic::Maintenance,
            format!("{node} serves, but a {} left it in maintenance", report.work.word()),
            &format!("`vast-keeper maintenance exit {node}`"),
        )
    }
}

/// A server stays in maintenance.
pub(in crate::fleet) fn maintenance(
    at: Timestamp,
    node: &NodeName,
    lasted: Duration,
    stays: Option<&str>,
) -> Notice {
    Notice {
        node: Some(node.clone()),
        facts: stays.map(|why| facts([("the box", why.into())])).unwrap_or_default(),
        ..notice(
            at,
            Severity::Warning,
            Topic::Maintenance,
            format!("{node} has been in maintenance for {}", span(lasted)),
            "its failures are not counted meanwhile; end the maintenance if it is forgotten",
        )
    }
}

/// A server was let go on that somebody's work had left in maintenance.
pub(in crate::fleet) fn maintenance_ended(at: Timestamp, node: &NodeName, reason: &str) -> Notice {
    Notice {
        node: Some(node.clone()),
        facts: facts([("entered for", reason.into())]),
        ..notice(
            at,
            Severity::Warning,
            Topic::Maintenance,
            format!("{node} was left in maintenance by work that died; it goes on"),
            "what was begun there did not end: `vast-keeper releases` tells what serves",
        )
    }
}
