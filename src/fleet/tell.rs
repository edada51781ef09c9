//! The notices of the core, each complete in itself: what, why, the evidence, what it costs, what happens next.

mod deploys;
mod money;
mod provider;

use std::time::Duration;

pub use deploys::report_text;
pub(super) use deploys::{
    deploy_ended, left_closed, maintenance, maintenance_ended, not_published, published_again, steps_overrun,
    switched_back,
};
pub(super) use money::{
    charges_unread, mass_replacement, over_caps, overcharged, planned, price_changed, runway_long,
    runway_short,
};
pub(super) use provider::{
    blind, blind_no_more, breaker, damaged_label, implausible, key_refused, key_taken, late, outage,
    outage_over, promoted_since, relabelled, stalled, stray, stray_doomed, undying, unwanted, way_back_open,
};

use super::{
    culprit::{Attribution, Culprit},
    guard::Rail,
    journal::{Cause, HeldReason, Outcome},
    name::{IncidentId, InstanceId, NodeName},
    notice::{Notice, Severity, Topic},
    policy::{Policy, ReplaceOrder, Rung},
    release::short,
    state::{Fleet, Incident, Tenant},
    units::{Money, Timestamp},
};

/// A duration as people read it: `850 ms`, `42.0 s`, `3 min 10 s`, `2 h 5 min`.
#[must_use]
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A cause in words.
#[must_use]
pub fn cause_text(cause: &Cause) -> String {
    match cause {
        Cause::Wanted => "the node is wanted and nothing fills it".into(),
        Cause::Failing { why } => why.clone(),
        Cause::Vanished => "its instance vanished from the provider's lists".into(),
        Cause::Manual { by } => format!("asked for by {by}"),
        Cause::Planned { why } => why.clone(),
        Cause::Imported => "taken over after the journal was lost or restored".into(),
    }
}

/// Why a node is held, in words.
#[must_use]
pub fn held_text(reason: &HeldReason) -> String {
    match reason {
        HeldReason::AttemptsUsedUp { attempts, last } => {
            format!("{attempts} attempts failed, the last: {last}")
        }
        HeldReason::LadderEnds => "every remedy of its ladder was tried, now or lately".into(),
        HeldReason::HostKeyChanged => "the ssh host key of the same instance changed".into(),
        HeldReason::ReleaseAtFault { detail, .. } => {
            format!("the release or its configuration is at fault: {detail}")
        }
        HeldReason::Refused { detail } => format!("the provider refused the request: {detail}"),
        HeldReason::DataHalfway { detail } => {
            format!("its data may be halfway between two states, and only this box has it: {detail}")
        }
        HeldReason::Destroyed { by } => format!("destroyed by {by}; it stays empty until `resume`"),
    }
}

fn facts<const N: usize>(facts: [(&str, String); N]) -> Vec<(String, String)> {
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn per_hour(price: Money) -> String {
    format!("{price}/h")
}

fn notice(at: Timestamp, severity: Severity, topic: Topic, title: String, next: &str) -> Notice {
    Notice { at, severity, topic, node: None, incident: None, title, facts: Vec::new(), next: next.into() }
}

/// The one opening message of an incident.
pub(super) fn opened(
    at: Timestamp,
    node: &NodeName,
    fleet: &Fleet,
    incident: IncidentId,
    cause: &Cause,
    failures: u32,
    policy: &Policy,
) -> Notice {
    let tenant = fleet.nodes.get(node).and_then(|node| node.state.tenant());
    let ladder =
        policy.nodes.get(node).map(|spec| spec.ladder.iter().map(|rung| rung.word()).collect::<Vec<_>>());
    let mut told =
        facts([("why", cause_text(cause)), ("evidence", format!("{failures} failed probes in a row"))]);
    if let Some(tenant) = tenant {
        told.push(("instance".into(), format!("{} ({})", tenant.instance, tenant.rental.text)));
        told.push(("cost before".into(), per_hour(tenant.rental.price)));
    }
    let next = match cause {
        Cause::Manual { .. } => match policy.nodes.get(node).map(|spec| spec.order) {
            Some(ReplaceOrder::CreateFirst) => {
                "another instance is rented, and this one destroyed when that serves".to_owned()
            }
            _ => "the instance is destroyed and another one rented".to_owned(),
        },
        _ => format!("a second witness is asked; then {}", ladder.unwrap_or_default().join(", then ")),
    };
    let (severity, title) = match cause {
        // Whoever asked for it need not be paged.
        Cause::Manual { by } => (Severity::Info, format!("{node} is being reprovisioned by {by}")),
        Cause::Wanted | Cause::Failing { .. } | Cause::Vanished | Cause::Planned { .. } | Cause::Imported => {
            (Severity::Critical, format!("{node} is failing: {}", cause_text(cause)))
        }
    };
    Notice {
        node: Some(node.clone()),
        incident: Some(incident),
        facts: told,
        ..notice(at, severity, Topic::IncidentOpened, title, &next)
    }
}

/// The same with who is most likely at fault, where boxes could be compared.
pub(super) fn with_fault(mut notice: Notice, fault: Option<&Attribution>) -> Notice {
    if let Some(Attribution { culprit, evidence }) = fault.filter(|fault| fault.culprit != Culprit::Unknown) {
        notice.facts.push(("likely at fault".into(), format!("{culprit}: {evidence}")));
    }
    notice
}

/// The one closing message of an incident.
pub(super) fn closed(
    at: Timestamp,
    node: &NodeName,
    fleet: &Fleet,
    incident: &Incident,
    outcome: Outcome,
) -> Notice {
    let how = match outcome {
        Outcome::ByItself => "healthy again by itself",
        Outcome::Remedied => "healthy again after a remedy",
        Outcome::Replaced => "replaced and healthy",
        Outcome::Ended => "no longer wanted",
    };
    let lasted = at.since(incident.first_failure_at);
    let mut told = facts([
        ("why", cause_text(&incident.cause)),
        ("lasted", span(lasted)),
        ("detected after", span(incident.opened_at.since(incident.first_failure_at))),
    ]);
    if let Some(Attribution { culprit, evidence }) = &incident.attribution {
        told.push(("fault".into(), format!("{culprit}: {evidence}")));
    }
    if let Some(before) = incident.price_before {
        told.push(("cost before".into(), per_hour(before)));
    }
    if let Some(tenant) = fleet.nodes.get(node).and_then(|node| node.state.tenant()) {
        told.push(("cost now".into(), per_hour(tenant.rental.price)));
        told.push(("instance".into(), format!("{} ({})", tenant.instance, tenant.rental.text)));
    }
    Notice {
        node: Some(node.clone()),
        incident: Some(incident.id),
        facts: told,
        ..notice(
            at,
            Severity::Info,
            Topic::IncidentClosed,
            format!("{node} is {how} after {}", span(lasted)),
            &format!("nothing to do; the story: `vast-keeper incidents {}`", incident.id),
        )
    }
}

/// A node was filled for the first time, or again after a person emptied it.
pub(super) fn filled(at: Timestamp, node: &NodeName, tenant: &Tenant) -> Notice {
    Notice {
        node: Some(node.clone()),
        facts: facts([
            ("instance", format!("{} ({})", tenant.instance, tenant.rental.text)),
            ("cost now", per_hour(tenant.rental.price)),
        ]),
        ..notice(
            at,
            Severity::Info,
            Topic::Deploy,
            format!("{node} is rented, deployed and healthy"),
            "nothing to do",
        )
    }
}

/// An instance with our label did not prove to be the node's.
pub(super) fn import_refused(at: Timestamp, node: &NodeName, instance: InstanceId, detail: &str) -> Notice {
    Notice {
        node: Some(node.clone()),
        facts: facts([("instance", instance.to_string()), ("why", detail.into())]),
        ..notice(
            at,
            Severity::Critical,
            Topic::Stray,
            format!(
                "instance {instance} bears the label of {node}, but does not prove to be it: not taken over"
            ),
            "it is left alone, and nothing is rented for its node; mend its server and start with `--import` again, or destroy \
             it at the provider",
        )
    }
}

/// A newcomer that an old journal knows, and that did not prove to serve.
pub(super) fn newcomer_let_go(at: Timestamp, node: &NodeName, instance: InstanceId, detail: &str) -> Notice {
    Notice {
        node: Some(node.clone()),
        facts: facts([("instance", instance.to_string()), ("why", detail.into())]),
        ..notice(
            at,
            Severity::Critical,
            Topic::Stray,
            format!(
                "instance {instance} was on its way to {node} when the journal was last written, and is not seen to serve"
            ),
            "the journal is not fresh, so the box may serve by now: it is left alone, and nothing is rented while it is there; mend \
             its server and start with `--import`, or destroy it at the provider",
        )
    }
}

/// A node's instance was taken over.
pub(super) fn imported(at: Timestamp, node: &NodeName, tenant: &Tenant) -> Notice {
    Notice {
        node: Some(node.clone()),
        facts: facts([
            ("instance", format!("{} ({})", tenant.instance, tenant.rental.text)),
            ("cost now", per_hour(tenant.rental.price)),
        ]),
        ..notice(
            at,
            Severity::Info,
            Topic::Keeper,
            format!(
                "{node} was taken over: its instance {} is healthy and proves its identity",
                tenant.instance
            ),
            "nothing to do",
        )
    }
}

/// A release is at fault, and is deployed nowhere any more.
pub(super) fn release_condemned(at: Timestamp, digest: &str, evidence: &str, boxes: usize) -> Notice {
    Notice {
        facts: facts([
            ("release", digest.into()),
            ("evidence", evidence.into()),
            ("boxes that failed with it", boxes.to_string()),
        ]),
        ..notice(
            at,
            Severity::Critical,
            Topic::Deploy,
            format!("the release is at fault: {} is deployed nowhere any more", short(digest)),
            "give the keeper another release, or mend its configuration and `vast-keeper resume` a node that is held",
        )
    }
}

/// A node waits for a human.
pub(super) fn held(
    at: Timestamp,
    node: &NodeName,
    incident: Option<IncidentId>,
    reason: &HeldReason,
) -> Notice {
    Notice {
        node: Some(node.clone()),
        incident,
        facts: facts([("why", held_text(reason))]),
        ..notice(
            at,
            Severity::Critical,
            Topic::Held,
            format!("{node} waits for you: {}", held_text(reason)),
            &match reason {
                HeldReason::AttemptsUsedUp { .. } => format!(
                    "mend the cause, then `vast-keeper resume {node}`; attempts begin anew after `rails.held_retry`"
                ),
                _ => format!("mend the cause, then `vast-keeper resume {node}`"),
            },
        )
    }
}

/// A rail keeps an action back.
pub(super) fn blocked(
    at: Timestamp,
    node: &NodeName,
    incident: Option<IncidentId>,
    rail: Rail,
    why: &str,
) -> Notice {
    Notice {
        node: Some(node.clone()),
        incident,
        facts: facts([("rail", rail.word().into()), ("why", why.into())]),
        ..notice(
            at,
            Severity::Warning,
            Topic::Blocked,
            format!("healing of {node} is kept back by the rail `{rail}`"),
            &if rail == Rail::Import {
                "a person must say what becomes of that box: nothing is rented while it is there".to_owned()
            } else {
                format!(
                    "it goes on by itself when the rail lets it; to force it: `vast-keeper reprovision {node}`"
                )
            },
        )
    }
}

/// A witness says that the server is up although our probes fail.
pub(super) fn vetoed(at: Timestamp, node: &NodeName, incident: Option<IncidentId>, why: &str) -> Notice {
    Notice {
        node: Some(node.clone()),
        incident,
        facts: facts([("evidence", why.into())]),
        ..notice(
            at,
            Severity::Warning,
            Topic::Blocked,
            format!("{node} fails our probes, but the box itself says its server is up"),
            "nothing is destroyed while it says so; look at the network between here and the box",
        )
    }
}

/// What a keeper that only observes would do now.
pub(super) fn would(
    at: Timestamp,
    node: &NodeName,
    incident: Option<IncidentId>,
    rung: Rung,
    tenant: &Tenant,
    evidence: &str,
) -> Notice {
    Notice {
        node: Some(node.clone()),
        incident,
        facts: facts([
            ("would", format!("{} instance {} ({})", rung.word(), tenant.instance, tenant.rental.text)),
            ("evidence", evidence.into()),
            ("cost before", per_hour(tenant.rental.price)),
        ]),
        ..notice(
            at,
            Severity::Critical,
            Topic::Blocked,
            format!("{node} would be healed now (`{}`), but the keeper only observes", rung.word()),
            "heal it by hand, or let the keeper act: unset `fleet.observe_only` and start it without `--observe-only`",
        )
    }
}

/// A waiting stage has lasted beyond its deadline.
pub(super) fn overrun(
    at: Timestamp,
    node: &NodeName,
    incident: Option<IncidentId>,
    what: &str,
    lasted: Duration,
) -> Notice {
    Notice {
        node: Some(node.clone()),
        incident,
        facts: facts([("waiting for", span(lasted))]),
        ..notice(
            at,
            Severity::Critical,
            Topic::Blocked,
            format!("{node}: {what} after {}", span(lasted)),
            "the keeper goes on trying; `vast-keeper status` shows what is in the way",
        )
    }
}
