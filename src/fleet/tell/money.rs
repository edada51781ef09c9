//! The notices about what is ahead: money that runs out, work that takes long, contracts that end.

use std::time::Duration;

use super::{facts, notice, per_hour, span};
use crate::fleet::{
    forecast::Forecast,
    name::NodeName,
    notice::{Notice, Severity, Topic},
    plan::Plan,
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

/// A box that serves is replaced ahead of trouble, or should be.
pub(in crate::fleet) fn planned(at: Timestamp, node: &NodeName, why: &str, next: &str) -> Notice {
    Notice {
        node: Some(node.clone()),
        facts: facts([("why", why.into())]),
        ..notice(at, Severity::Info, Topic::Deploy, format!("{node} is to be replaced: {why}"), next)
    }
}
