//! Keys about the rails and about how the provider's list is believed. They hold for the whole fleet.

use super::{DAY, HOUR, Key, MINUTE, SECOND, TEXTS, count, dollars, duration};

pub(super) const RAILS: &[Key] = &[
    Key::new(
        "rails.parallel",
        count(1, 10_000),
        "",
        "Most recoveries at once. Without it 10 % of the nodes, at least 1, and at most 2 up to 20 nodes",
    ),
    Key::new("rails.node_creates", count(1, 1_000), "3", "Most rentals for one node in `rails.node_window`"),
    Key::new(
        "rails.node_window",
        duration(SECOND, 7 * DAY),
        r#""6h""#,
        "The time in which `rails.node_creates` and `rails.attempts` count",
    ),
    Key::new(
        "rails.fleet_hourly",
        count(1, 100_000),
        "12",
        "Most replacements of the whole fleet in an hour",
    ),
    Key::new("rails.fleet_daily", count(1, 100_000), "40", "Most replacements of the whole fleet in a day"),
    Key::new(
        "rails.attempts",
        count(1, 100),
        "5",
        "Failed attempts of one recovery before the node is held for a human",
    ),
    Key::new(
        "rails.held_retry",
        duration(0, 7 * DAY),
        r#""6h""#,
        "How long after a node's attempts were used up they begin anew, all of them, and page anew where they fail; `0s` for never",
    ),
    Key::new(
        "rails.backoff",
        duration(10, DAY),
        r#""60s""#,
        "First wait between attempts; doubled each time",
    ),
    Key::new("rails.backoff_max", duration(10, DAY), r#""30m""#, "Longest wait between attempts"),
    Key::new(
        "rails.cooldown",
        duration(0, 7 * DAY),
        r#""30m""#,
        "A node replaced less than this ago is not replaced again before that has passed",
    ),
    Key::new(
        "rails.remedy_again",
        duration(0, 7 * DAY),
        r#""24h""#,
        "Each remedy that keeps the box (restart, redeploy, reboot) is tried on it once within this long: one that helps only \
         for a while leads to the next rung of the ladder",
    ),
    Key::new(
        "rails.dollars_per_hour",
        dollars(0.001, 1e6),
        "",
        "Most the whole fleet may cost an hour, the new rental included. No limit without it",
    ),
    Key::new(
        "rails.dollars_per_day",
        dollars(0.001, 1e7),
        "",
        "Nothing is rented when the last 24 hours' spending and the fleet's next hour, the new rental included, would exceed \
         this together; what serves goes on. No limit without it",
    ),
    Key::new("rails.credit_floor", dollars(0.0, 1e6), "1", "Nothing is rented below this credit in dollars"),
    Key::new(
        "rails.credit_lasts",
        duration(0, 30 * DAY),
        r#""2h""#,
        "Nothing is rented and no bid raised when the credit would last no longer than this at the fleet's hourly cost, the \
         addition included",
    ),
    Key::new(
        "rails.runway",
        duration(0, 365 * DAY),
        r#""24h""#,
        "Told once when the credit lasts no longer than this at the fleet's hourly cost; `0s` for never",
    ),
    Key::new(
        "rails.billing_check",
        duration(0, 7 * DAY),
        r#""1h""#,
        "How often what Vast.ai charged is held against the keeper's own ledger, so that a leak shows in dollars; needs \
         a key with the right `billing_read`. `0s` for never",
    ),
    Key::new(
        "rails.billing_tolerance",
        count(0, 1_000),
        "10",
        "How much more than its ledger says an instance may be charged before somebody is told, in percent, beside a \
         quarter of an hour of its price; traffic is left out",
    ),
    Key::new(
        "rails.warm_up",
        duration(0, HOUR),
        r#""90s""#,
        "No new recovery for this long after a start or a stall of the keeper: its own view may be stale",
    ),
    Key::new(
        "rails.stall",
        duration(100, 10 * MINUTE),
        r#""10s""#,
        "A gap beyond this in the keeper's own loop is a stall",
    ),
    Key::new(
        "rails.inventory_fresh",
        duration(SECOND, HOUR),
        r#""60s""#,
        "Without a complete list this young nothing is rented and no recovery starts",
    ),
    Key::new(
        "rails.canaries",
        TEXTS,
        "[]",
        "URLs of third parties that prove the keeper's own network when they answer",
    ),
    Key::new(
        "rails.breaker_count",
        count(1, 10_000),
        "3",
        "Suspects at once that slow healing down, together with `rails.breaker_percent`",
    ),
    Key::new(
        "rails.breaker_percent",
        count(1, 100),
        "30",
        "The same as a share of the nodes in percent; both must be reached",
    ),
    Key::new(
        "rails.breaker_spacing",
        duration(SECOND, DAY),
        r#""10m""#,
        "While slow, one recovery starts in this time",
    ),
    Key::new(
        "rails.command_expiry",
        duration(100, MINUTE),
        r#""8s""#,
        "A command is sent within this time of its decision, or never",
    ),
    Key::new(
        "rails.unproven_boxes",
        count(1, 10_000),
        "2",
        "On how many boxes at once a release is tried that was never seen serving; those that failed with it count",
    ),
    Key::new(
        "rails.evidence",
        duration(0, MINUTE),
        r#""10s""#,
        "How long a destroy waits at most while a condemned box that can be reached shows its logs, processes and GPU; 0s takes \
         no evidence",
    ),
    Key::new(
        "rails.exclude_for",
        duration(0, 365 * DAY),
        r#""24h""#,
        "How long a machine that failed us, or a host of which two did, is not rented again; from the third failure in a month \
         thirty times that",
    ),
    Key::new("rails.excluded_machines", TEXTS, "[]", "Machine ids that are never rented"),
    Key::new("rails.witness_fresh", duration(SECOND, HOUR), r#""60s""#, "How long a witness's word counts"),
];

pub(super) const INVENTORY: &[Key] = &[
    Key::new(
        "inventory.interval",
        duration(100, HOUR),
        r#""20s""#,
        "Between lists of the account's instances while nothing is pending",
    ),
    Key::new(
        "inventory.busy_interval",
        duration(100, HOUR),
        r#""5s""#,
        "The same while something is booting, doomed or unresolved",
    ),
    Key::new(
        "inventory.gone_lists",
        count(1, 100),
        "3",
        "Complete lists without an instance, begun after its acknowledged destroy, that prove it gone",
    ),
    Key::new(
        "inventory.settle_lists",
        count(1, 100),
        "3",
        "Complete lists without its label, begun after an ambiguous create or by a keeper whose journal is new or old, …",
    ),
    Key::new(
        "inventory.settle",
        duration(100, HOUR),
        r#""3m""#,
        "… and the time they must span before that create is given up, or the first box rented",
    ),
    Key::new(
        "inventory.create_grace",
        duration(0, HOUR),
        r#""2m""#,
        "How long a new instance may be missing from the list",
    ),
    Key::new(
        "inventory.implausible_lists",
        count(1, 1_000),
        "9",
        "Identical lists in a row after which an implausible mass vanishing is believed",
    ),
];
