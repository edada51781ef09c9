//! Keys about bringing a release to several nodes, about telling others where these are, and about where releases come from.

use super::{HOUR, Key, SECOND, TEXT, TEXTS, count, duration};
use crate::config::kind::Kind;

pub(super) const ROLLOUT: &[Key] = &[
    Key::new(
        "rollout.strategy",
        Kind::Choice(&["rolling", "canary", "blue-green"]),
        r#""rolling""#,
        "How `deploy --fleet` goes on after its first node: batch after batch, or only once that node was held for \
         `rollout.hold` and did no worse than the others, or node by node on a second box that then takes the node",
    )
    .restart(),
    Key::new("rollout.batch", TEXT, r#""25%""#, "How many nodes at once after the first: `2` or `25%`").restart(),
    Key::new(
        "rollout.max_failures",
        TEXT,
        r#""20%""#,
        "How many of all nodes may fail, unreachable ones included, before it stops: `1` or `20%`",
    )
    .restart(),
    Key::new("rollout.wait", duration(0, 24 * HOUR), r#""10s""#, "Pause after each batch").restart(),
    Key::new(
        "rollout.min_healthy",
        count(0, 100),
        "75",
        "Percent of the nodes that stay healthy while a batch is worked on; one node may always be",
    )
    .restart(),
    Key::new(
        "rollout.health_within",
        duration(0, 24 * HOUR),
        r#""5m""#,
        "How long that is waited for before a person must decide",
    )
    .restart(),
    Key::new("rollout.hold", duration(0, 168 * HOUR), r#""5m""#, "How long a canary is held and compared").restart(),
    Key::new(
        "rollout.keep_old",
        duration(0, 168 * HOUR),
        r#""30m""#,
        "How long the box before is kept as the way back after a blue-green deploy; it is paid for",
    )
    .restart(),
    Key::new("rollout.parallel", count(1, 64), "8", "Boxes worked on at once").restart(),
];

pub(super) const PUBLISH: &[Key] = &[
    Key::new(
        "publish.file",
        TEXT,
        "",
        "A file that always holds where the nodes are reached, as JSON: `{\"fleet\":…,\"nodes\":{\"duel-0\":\"address:port\"}}`",
    )
    .restart(),
    Key::new(
        "publish.command",
        TEXT,
        "",
        "A shell command that gets the same JSON on its standard input after every change, such as one that sets a name's \
         address; again until it succeeds",
    )
    .restart(),
    Key::new("publish.url", TEXT, "", "A URL that the same JSON is posted to; anything but 2xx is tried again").restart(),
];

pub(super) const ENVIRONMENTS: &[Key] = &[
    Key::new(
        "promote.order",
        TEXTS,
        r#"["development", "staging", "beta", "production"]"#,
        "The profiles that a release is promoted through: only from an earlier one to a later one",
    )
    .restart(),
    Key::new(
        "push.remote",
        TEXT,
        "",
        "A git remote, such as `git@github.com:you/server.git`: `vast-keeper follow`, which is a service of its own, deploys what is \
         pushed to `push.branch`, and not while a node has an incident",
    )
    .restart(),
    Key::new("push.branch", TEXT, r#""main""#, "The branch that belongs to this fleet").restart(),
    Key::new("push.every", duration(SECOND, 24 * HOUR), r#""60s""#, "How often the remote is asked").restart(),
    Key::new(
        "push.build",
        TEXT,
        r#""cargo build --release""#,
        "The shell command that builds the server in a fresh checkout of exactly the pushed commit",
    )
    .restart(),
    Key::new(
        "push.artifact",
        TEXT,
        r#""target/release/duel-server""#,
        "Where that leaves the binary, relative to the checkout",
    )
    .restart(),
    Key::new("push.build_within", duration(SECOND, 24 * HOUR), r#""30m""#, "Longest build").restart(),
];
