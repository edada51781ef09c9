//! The notices about what is ahead: money that runs out, work that takes long, contracts that end.

use std::time::Duration;

use super::{facts, notice, per_hour, span};
use crate::fleet::{
    charge::Unexplained,
    forecast::Forecast,
    name::{InstanceId, NodeName},
    notice::{Notice, Severity, Topic},
    plan::Plan,
    provider::{ProviderFault, Rental},
    state::Fleet,
    units::{Money, Timestamp},
};

/// The credit lasts no longer than a human should be given to top it up.
pub(in crate::fleet) fn runway_short(
    at: Timestamp,
    forecast: &Forecast,
    lasts: Duration,
    credit: Money,
) -> Notice {
    let severity = if lasts < Duration::from_secs(3600) { Severity::Critical } else { Severity::Warning };
    Notice {
        facts: facts([
            ("credit", credit.to_string()),
            ("cost now", per_hour(forecast.hourly)),
            ("cost of the wanted fleet", per_hour(forecast.wanted_hourly)),
        ]),
        ..notice(
            at,
            severity,
            Topic::Provider,
            format!("the credit lasts for {}", span(lasts)),
            "top it up: without credit the provider stops every box, and may delete them later",
        )
    }
}

/// The credit lasts long enough again.
pub(in crate::fleet) fn runway_long(at: Timestamp, lasts: Option<Duration>) -> Notice {
    let lasts = lasts.map_or_else(
        || "as long as nothing costs anything".to_owned(),
        |lasts| format!("for {}", span(lasts)),
    );
    notice(at, Severity::Info, Topic::Provider, format!("the credit lasts {lasts} again"), "nothing to do")
}

/// The fleet as it is wanted costs more than the rails allow.
pub(in crate::fleet) fn over_caps(at: Timestamp, forecast: &Forecast, which: &str, cap: Money) -> Notice {
    Notice {
        facts: facts([
            ("wanted fleet an hour", forecast.wanted_hourly.to_string()),
            ("wanted fleet a day", forecast.wanted_daily.to_string()),
            ("cap", format!("{which} = {cap}")),
        ]),
        ..notice(
            at,
            Severity::Warning,
            Topic::Blocked,
            format!("the wanted fleet costs more than `{which}` allows"),
            "what serves goes on, but rentals will be refused when the cap is reached: raise it or want less",
        )
    }
}

/// Many nodes wait to be replaced.
pub(in crate::fleet) fn mass_replacement(at: Timestamp, plan: &Plan) -> Notice {
    let takes = plan
        .takes
        .map_or_else(|| "it is not known how long".to_owned(), |takes| format!("about {}", span(takes)));
    let order: Vec<&str> = plan.waiting.iter().take(10).map(NodeName::as_str).collect();
    Notice {
        facts: facts([
            ("waiting", plan.waiting.len().to_string()),
            ("under way", plan.under_way.to_string()),
            ("first in turn", order.join(", ")),
            ("it hangs on", plan.limit.clone()),
        ]),
        ..notice(
            at,
            Severity::Warning,
            Topic::Breaker,
            format!(
                "{} failed nodes wait for their turn: {takes} until the last one serves",
                plan.waiting.len()
            ),
            "nothing to do, the most valuable go first; `vast-keeper status` shows the order",
        )
    }
}

/// The provider asks another price for a box that serves.
pub(in crate::fleet) fn price_changed(
    at: Timestamp,
    node: &NodeName,
    instance: InstanceId,
    before: Money,
    after: Money,
    cap: Option<Money>,
) -> Notice {
    let severity = if after > before { Severity::Warning } else { Severity::Info };
    let next = match cap {
        Some(cap) if after > cap => {
            "it is above the cap, so another box is rented in its place, under the rails"
        }
        _ => "it is under the cap and goes on serving; from now on it is counted with the new price",
    };
    Notice {
        node: Some(node.clone()),
        facts: facts([
            ("instance", instance.to_string()),
            ("cost before", per_hour(before)),
            ("cost now", per_hour(after)),
        ]),
        ..notice(
            at,
            severity,
            Topic::Provider,
            format!("the price of {node} changed from {before}/h to {after}/h"),
            next,
        )
    }
}

/// The provider charged more than the ledger of rentals explains.
pub(in crate::fleet) fn overcharged(
    at: Timestamp,
    row: &Unexplained,
    from: Timestamp,
    listed: Option<&Rental>,
    fleet: &Fleet,
) -> Notice {
    let Unexplained { instance, charged, known } = row;
    let node = fleet.ops.values().find(|op| op.instance == Some(*instance)).map(|op| op.node.clone());
    let title = match known {
        None => format!("instance {instance} was charged {charged}, and no rental on record explains it"),
        Some(known) => format!(
            "instance {instance} was charged {charged} where the ledger knows {known}: {} too much",
            row.excess()
        ),
    };
    let alive = match listed {
        Some(row) => format!("listed as {}, at {}/h", row.status.words(), row.price),
        None => "not listed".to_owned(),
    };
    Notice {
        node,
        facts: facts([
            ("instance", instance.to_string()),
            ("charged", charged.to_string()),
            ("by the ledger", known.map_or_else(|| "nothing".into(), |known| known.to_string())),
            ("over", span(at.since(from))),
            ("now", alive),
        ]),
        ..notice(
            at,
            Severity::Critical,
            Topic::Stray,
            title,
            "look at the charges of that instance at the provider; if it lives and is not wanted, destroy it there",
        )
    }
}

/// What the provider charges cannot be read.
pub(in crate::fleet) fn charges_unread(at: Timestamp, fault: &ProviderFault) -> Notice {
    Notice {
        facts: facts([("why", fault.to_string())]),
        ..notice(
            at,
            Severity::Warning,
            Topic::Provider,
            "what the provider charges cannot be read: a leak would not show in dollars".into(),
            "give the api key the right `billing_read`, or set `rails.billing_check` to `0s`; all else goes on",
        )
    }
}

/// A box that serves is replaced ahead of trouble, or should be.
pub(in crate::fleet) fn planned(at: Timestamp, node: &NodeName, why: &str, next: &str) -> Notice {
    Notice {
        node: Some(node.clone()),
        facts: facts([("why", why.into())]),
        ..notice(at, Severity::Info, Topic::Deploy, format!("{node} is to be replaced: {why}"), next)
    }
}
