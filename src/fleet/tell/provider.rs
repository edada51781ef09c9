//! The notices that are about no single healing: the provider, strays, the breaker, the keeper itself.

use std::time::Duration;

use super::{facts, notice, per_hour, span};
use crate::fleet::{
    breaker::{Census, Position},
    name::{InstanceId, NodeName},
    notice::{Notice, Severity, Topic},
    provider::{ProviderFault, Rental},
    state::{Doomed, Tenant},
    units::{Money, Timestamp},
};

/// The provider refuses our key.
pub(in crate::fleet) fn key_refused(at: Timestamp, detail: &str) -> Notice {
    Notice {
        facts: facts([("the provider says", detail.into())]),
        ..notice(
            at,
            Severity::Critical,
            Topic::Provider,
            "the provider refuses the api key: no box is judged or touched".into(),
            "check `VAST_API_KEY` and its rights, then reload; probing goes on meanwhile",
        )
    }
}

/// The provider takes our key again.
pub(in crate::fleet) fn key_taken(at: Timestamp) -> Notice {
    notice(
        at,
        Severity::Info,
        Topic::Provider,
        "the provider takes the api key again".into(),
        "nothing to do",
    )
}

/// The provider cannot be asked.
pub(in crate::fleet) fn outage(at: Timestamp, fault: &ProviderFault) -> Notice {
    Notice {
        facts: facts([("why", fault.to_string())]),
        ..notice(
            at,
            Severity::Critical,
            Topic::Provider,
            "the provider's list of instances cannot be read: nothing is rented or destroyed on guesswork"
                .into(),
            "probing goes on; healing goes on when a complete list comes",
        )
    }
}

/// The provider can be asked again.
pub(in crate::fleet) fn outage_over(at: Timestamp) -> Notice {
    let title = "the provider's list of instances can be read again".into();
    notice(at, Severity::Info, Topic::Provider, title, "nothing to do")
}

/// A list lacks too much to be believed.
pub(in crate::fleet) fn implausible(at: Timestamp, vanished: usize) -> Notice {
    let instances = if vanished == 1 { "instance" } else { "instances" };
    notice(
        at,
        Severity::Critical,
        Topic::Provider,
        format!("{vanished} {instances} vanished from the provider's list at once: not believed yet"),
        "it is believed when the same set stays missing; if they are gone for good, the probes say so too",
    )
}

/// What identifies a listed instance, and what it costs.
fn of_row(row: &Rental) -> Vec<(String, String)> {
    facts([
        ("instance", row.id.to_string()),
        ("label", row.label.clone().unwrap_or_default()),
        ("cost", per_hour(row.price)),
    ])
}

/// Something with our fleet's label that the journal does not know.
pub(in crate::fleet) fn stray(at: Timestamp, row: &Rental) -> Notice {
    Notice {
        facts: of_row(row),
        ..notice(
            at,
            Severity::Critical,
            Topic::Stray,
            format!("instance {} bears this fleet's label, but the journal does not know it", row.id),
            "it is left alone, and nothing is rented while it is there; if the journal was lost or restored, start the keeper once with \
             `run --import`; destroy it at the provider if it is not wanted",
        )
    }
}

/// What stands by after a blue-green replacement is paid for long after its time.
pub(in crate::fleet) fn way_back_open(
    at: Timestamp,
    node: &NodeName,
    standby: &Tenant,
    is_wanted: bool,
) -> Notice {
    let next = if is_wanted {
        "it is given back once its node's own box is seen to be well and no pause keeps the keeper away from it".to_owned()
    } else {
        "its node is no longer configured, so nothing is watched there and nothing given back".to_owned()
    };
    Notice {
        node: Some(node.clone()),
        facts: facts([("instance", standby.instance.to_string()), ("cost", per_hour(standby.rental.price))]),
        ..notice(
            at,
            Severity::Warning,
            Topic::Deploy,
            format!("instance {} still stands by as the way back, an hour after its time", standby.instance),
            &format!("{next}; `vast-keeper destroy {node}` takes both"),
        )
    }
}

/// A surplus spare's box that another node's label says it fills.
pub(in crate::fleet) fn promoted_since(at: Timestamp, row: &Rental) -> Notice {
    Notice {
        facts: of_row(row),
        ..notice(
            at,
            Severity::Critical,
            Topic::Stray,
            format!("instance {} stands on record as a spare, and its label names the node it fills", row.id),
            "the journal is older than its promotion: it is neither watched nor destroyed, and goes on costing; destroy it at the \
             provider once you know that nobody needs it",
        )
    }
}

/// An instance whose label begins with the fleet's prefix and names no attempt.
pub(in crate::fleet) fn damaged_label(at: Timestamp, row: &Rental) -> Notice {
    Notice {
        facts: of_row(row),
        ..notice(
            at,
            Severity::Critical,
            Topic::Stray,
            format!("instance {} bears this fleet's prefix, but its label names no rental", row.id),
            "it is left alone; if its label was damaged, nothing knows it for ours: destroy it at the provider, or give it back \
             the label of its rental; give it another one if it is yours",
        )
    }
}

/// An instance of ours bears another's label, which makes it another's to destroy, or none, which does not: its id is known.
pub(in crate::fleet) fn relabelled(at: Timestamp, row: &Rental) -> Notice {
    let (done, next) = if row.label.as_deref().unwrap_or_default().is_empty() {
        ("removed", "it is known by its id and treated as ours still")
    } else {
        (
            "changed",
            "it is still watched; while it bears another's label it is neither replaced nor destroyed",
        )
    };
    Notice {
        facts: of_row(row),
        ..notice(
            at,
            Severity::Warning,
            Topic::Stray,
            format!("instance {} is ours, but its label was {done}", row.id),
            next,
        )
    }
}

/// A condemned instance lives on.
pub(in crate::fleet) fn undying(
    at: Timestamp,
    instance: InstanceId,
    doomed: &Doomed,
    lasted: Duration,
) -> Notice {
    let destroy = if doomed.acknowledged_at.is_some() { "accepted" } else { "not accepted" };
    Notice {
        node: doomed.node.clone(),
        facts: facts([("cost", per_hour(doomed.price)), ("destroy", destroy.into())]),
        ..notice(
            at,
            Severity::Critical,
            Topic::Stray,
            format!("instance {instance} is still there {} after it was condemned", span(lasted)),
            "the keeper goes on destroying it; look at the provider's console",
        )
    }
}

/// A late or second rental of ours is being destroyed.
pub(in crate::fleet) fn stray_doomed(
    at: Timestamp,
    node: &NodeName,
    instance: InstanceId,
    price: Money,
) -> Notice {
    Notice {
        node: Some(node.clone()),
        facts: facts([("instance", instance.to_string()), ("cost", per_hour(price))]),
        ..notice(
            at,
            Severity::Warning,
            Topic::Stray,
            format!("instance {instance} was rented late or twice for {node}: it is being destroyed"),
            "nothing to do",
        )
    }
}

/// A node left the configuration while it is filled.
pub(in crate::fleet) fn unwanted(
    at: Timestamp,
    node: &NodeName,
    claims: &[(Option<InstanceId>, Money)],
) -> Notice {
    let instances = claims.iter().map(|(id, _)| id.map_or_else(|| "on its way".into(), |id| id.to_string()));
    let instances: Vec<String> = instances.collect();
    let cost = claims.iter().map(|(_, price)| *price).sum();
    Notice {
        node: Some(node.clone()),
        facts: facts([("instance", instances.join(", ")), ("cost", per_hour(cost))]),
        ..notice(
            at,
            Severity::Warning,
            Topic::Keeper,
            format!("{node} is no longer configured, but still rented"),
            &format!("it is neither watched nor destroyed; `vast-keeper destroy {node}` ends it"),
        )
    }
}

/// The breaker moved.
pub(in crate::fleet) fn breaker(at: Timestamp, to: Position, census: Census) -> Notice {
    let (severity, what) = match to {
        Position::Normal => (Severity::Info, "healing goes on at the normal pace"),
        Position::Slow => {
            (Severity::Critical, "many nodes fail at once: healing is slowed down to one at a time")
        }
        Position::Hold => {
            (Severity::Critical, "no node is healthy: nothing is destroyed, the fault may be ours")
        }
    };
    Notice {
        facts: facts([
            ("healthy", format!("{} of {}", census.healthy, census.filled)),
            ("failing without a witness", census.unconfirmed.to_string()),
            ("confirmed dead", census.confirmed.to_string()),
        ]),
        ..notice(
            at,
            severity,
            Topic::Breaker,
            what.into(),
            "look for a common cause: our network, the release, the provider",
        )
    }
}

/// The keeper's loop stood still.
pub(in crate::fleet) fn stalled(at: Timestamp, gap: Duration) -> Notice {
    notice(
        at,
        Severity::Warning,
        Topic::Keeper,
        format!("the keeper stood still for {}: all counts start over", span(gap)),
        "if it was no suspend, look at the load of its machine",
    )
}

/// Our own probes do not start on time.
pub(in crate::fleet) fn late(at: Timestamp, late: u32, probes: u32) -> Notice {
    Notice {
        facts: facts([("late", format!("{late} of {probes} probes"))]),
        ..notice(
            at,
            Severity::Warning,
            Topic::Keeper,
            "the keeper's own probes start late: what they saw does not count".into(),
            "all counts start over and nothing begins for a while; look at the load of the keeper's machine",
        )
    }
}

/// Nodes that should be probed are not.
pub(in crate::fleet) fn blind(at: Timestamp, nodes: u32, lasted: Duration) -> Notice {
    let noun = if nodes == 1 { "node" } else { "nodes" };
    notice(
        at,
        Severity::Critical,
        Topic::Keeper,
        format!("the keeper cannot probe: {nodes} {noun} unobserved for {}", span(lasted)),
        "nothing is known of them and nothing is healed there; look at the keeper's log and the load of its machine, and \
         restart it",
    )
}

/// Every node is probed again.
pub(in crate::fleet) fn blind_no_more(at: Timestamp) -> Notice {
    let title = "the keeper probes every node again".into();
    notice(at, Severity::Info, Topic::Keeper, title, "nothing to do")
}
