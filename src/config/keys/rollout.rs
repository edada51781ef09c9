//! Keys about bringing a release to several nodes, and about telling others where these are.

use super::{HOUR, Key, TEXT, count, duration};
use crate::config::kind::Kind;

pub(super) const ROLLOUT: &[Key] = &[
    Key::new(
        "rollout.strategy",
        Kind::Choice(&["rolling", "canary"]),
        r#""rolling""#,
        "How `deploy --fleet` goes on after its first node: batch after batch, or only once that node was held for \
         `rollout.hold` and did no worse than the others",
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
