//! Keys about the fleet and its nodes; most of them may differ per `[[group]]`.

use super::{DAY, Flat, HOUR, Key, MINUTE, SECOND, TEXT, TEXTS, count, dollars, duration, number};
use crate::config::kind::Kind;

pub(super) const TOP: &[Key] = &[Key::new(
    "ladder",
    TEXTS,
    r#"["replace"]"#,
    "Remedies in the order they are tried: `restart-server`, `redeploy`, `reboot`, `start` (of a box that \
     the provider stopped), `replace`. Without \
     `replace` at its end the keeper never destroys a failing box and holds the node for a human \
     instead",
)
.per_group()];

pub(super) const FLEET: &[Key] = &[
    Key::new(
        "fleet.name",
        TEXT,
        r#""default""#,
        "Names the fleet in every label (`vk:<fleet>:<node>:<op>`); unlike for every keeper that \
         shares an account. At most 16 of a-z, 0-9 and inner dashes. Changing it orphans what is \
         rented",
    )
    .restart(),
    Key::new(
        "fleet.nodes",
        count(1, 10_000),
        "1",
        "How many nodes where no `[[group]]` is given: `<node_name>-0`, `<node_name>-1`, …",
    ),
    Key::new(
        "fleet.node_name",
        TEXT,
        r#""server""#,
        "What those nodes are called before the dash and the number",
    ),
    Key::new(
        "fleet.observe_only",
        Kind::Flag,
        "false",
        "Probe, decide and tell, but rent, destroy and deploy nothing",
    ),
    Key::new(
        "fleet.import",
        Kind::Flag,
        "false",
        "After the journal was lost or restored: take over what bears this fleet's labels and proves its identity. Better as \
         `run --import`, for one start",
    ),
    Key::new(
        "fleet.protected",
        Kind::Flag,
        "false",
        "Others depend on this fleet: no drills, and whatever a person does that changes what serves there must be confirmed by \
         typing its profile's name, or by `--yes --i-mean NAME`; healing asks nobody",
    )
    .restart(),
];

pub(super) const HEALTH: &[Key] = &[
    Key::new("health.path", TEXT, r#""/health""#, "Path and query that every probe asks for").per_group(),
    Key::new(
        "health.interval",
        duration(100, DAY),
        r#""60s""#,
        "From the start of one probe to the start of the next while healthy",
    )
    .flat(&[
        Flat { name: "HEALTH_CHECK_INTERVAL", unit: "s" },
        Flat { name: "KEEPER_HEALTH_CHECK_INTERVAL_MS", unit: "ms" },
    ])
    .per_group(),
    Key::new(
        "health.retry_interval",
        duration(50, DAY),
        r#""10s""#,
        "The same from the first failure until the verdict is settled; at most `health.interval`, to \
         which the default shrinks",
    )
    .per_group(),
    Key::new(
        "health.timeout",
        duration(10, 10 * MINUTE),
        r#""5s""#,
        "Longest wait for the whole answer; at most `health.interval`",
    )
    .flat(&[
        Flat { name: "HEALTH_CHECK_TIMEOUT", unit: "ms" },
        Flat { name: "KEEPER_HEALTH_CHECK_TIMEOUT_MS", unit: "ms" },
    ])
    .per_group(),
    Key::new(
        "health.failure_threshold",
        count(1, 1_000),
        "3",
        "Consecutive failures that make a node suspect",
    )
    .flat(&[
        Flat { name: "HEALTH_CHECK_FAILURE_THRESHOLD", unit: "" },
        Flat { name: "KEEPER_HEALTH_CHECK_MAX_FAILURES", unit: "" },
    ])
    .per_group(),
    Key::new(
        "health.success_threshold",
        count(1, 1_000),
        "2",
        "Consecutive successes that make it healthy again",
    )
    .per_group(),
    Key::new(
        "health.conditions",
        Kind::Texts { separator: ';' },
        "",
        "All must hold, in the syntax of Gatus: `[STATUS] == 200`, `[RESPONSE_TIME] < 5000`, \
         `[BODY].database == connected`. Without it: status 200, answer within 5 s, database \
         connected, WebSocket running, where the answer names them",
    )
    .per_group(),
    Key::new(
        "health.require_identity",
        Kind::Flag,
        "true",
        "The answer's `instance` must be the op id this box was given, so that a stranger on a reused \
         address is a failure",
    )
    .per_group(),
    Key::new(
        "health.maintenance_alarm",
        duration(SECOND, 7 * DAY),
        r#""10m""#,
        "How long a server may report maintenance (failures do not count meanwhile) before a human is told",
    )
    .per_group(),
    Key::new(
        "health.keep_alive",
        Kind::Flag,
        "false",
        "Keep one connection per node between probes instead of opening a new one each",
    )
    .per_group(),
];

pub(super) const REPLACE: &[Key] = &[
    Key::new(
        "replace.order",
        Kind::Choice(&["destroy-first", "create-first"]),
        r#""destroy-first""#,
        "What comes first when a box is replaced: its end, so that two half-alive servers never serve at \
     once, or the newcomer's proof, so that the box keeps the node if it comes back meanwhile; both \
     are paid for until then",
    )
    .per_group(),
    Key::new(
        "replace.priority",
        count(0, 1_000),
        "50",
        "Where many nodes fail and the rails let one begin, the highest goes first, then whoever served \
         longest",
    )
    .per_group(),
    Key::new(
        "replace.before_end",
        duration(0, 30 * DAY),
        r#""1h""#,
        "A serving box is replaced this long before its contract ends, under the rails, and kept until the \
         other has proven itself; an offer that says it ends within twice this is not rented. `0s` for never",
    )
    .per_group(),
    Key::new(
        "replace.spares",
        count(0, 100),
        "0",
        "Boxes kept rented, deployed and healthy beside the nodes (of the group), called \
         `<name>-spare-0`, …: the next one takes a failed node over within seconds and is rented anew \
         behind it, after all nodes have theirs. Those beyond a lowered number are destroyed",
    )
    .per_group(),
];

pub(super) const OFFERS: &[Key] = &[
    Key::new(
        "offers.query",
        TEXT,
        r#""gpu_display_active=true geolocation=US num_gpus=1 rented=False""#,
        "Search at the provider, in the query syntax of the `vastai` command",
    )
    .flat(&[Flat { name: "VAST_SEARCH_QUERY", unit: "" }])
    .per_group(),
    Key::new(
        "offers.price_cap",
        dollars(0.001, 1_000.0),
        "2.5",
        "Highest price of one box in dollars per hour; nothing dearer is ever rented",
    )
    .per_group(),
    Key::new(
        "offers.price_step_percent",
        count(100, 10_000),
        "150",
        "A replacement costs at most this many percent of the box it replaces",
    )
    .per_group(),
    Key::new("offers.min_reliability", number(0.0, 1.0), "0.96", "Lowest reliability of the machine, 0 to 1")
        .per_group(),
    Key::new("offers.min_cpu_ram_mb", number(0.0, 1e8), "16000", "Least memory of the machine in MB")
        .per_group(),
    Key::new("offers.min_cpu_cores", number(0.0, 10_000.0), "8", "Fewest CPU cores of the offer").per_group(),
    Key::new("offers.min_gpu_ram_mb", number(0.0, 1e7), "10000", "Least memory of one GPU in MB").per_group(),
    Key::new(
        "offers.min_direct_ports",
        count(0, 65_535),
        "2",
        "Fewest direct ports: one for SSH, one for the server",
    )
    .per_group(),
    Key::new("offers.min_inet_down_mbps", number(0.0, 1e6), "0", "Slowest download in Mbit/s").per_group(),
    Key::new(
        "offers.min_duration",
        duration(0, 3_650 * DAY),
        r#""0s""#,
        "Shortest time until the host's offer ends",
    )
    .per_group(),
    Key::new(
        "offers.gpus",
        TEXTS,
        "[]",
        "Exact GPU names wanted, best first, such as `RTX 4090`; empty: any",
    )
    .per_group(),
    Key::new(
        "offers.prefer_regions",
        TEXTS,
        "[]",
        "Regions wanted first, each a whole word of the location, such as `California` or `US`",
    )
    .per_group(),
    Key::new(
        "offers.order",
        TEXTS,
        r#"["region", "gpu", "price", "reliability"]"#,
        "What ranks the offers that pass, most important first; each of `region`, `gpu`, `price`, \
         `reliability` at most once",
    )
    .per_group(),
];

pub(super) const RENTAL: &[Key] = &[
    Key::new(
        "rental.image",
        TEXT,
        r#""nvidia/cuda:12.4.0-runtime-ubuntu22.04""#,
        "Container image, with tag or digest",
    )
    .flat(&[Flat { name: "VAST_IMAGE", unit: "" }])
    .per_group(),
    Key::new("rental.disk_gb", count(8, 100_000), "120", "Disk in GB; cannot change after renting")
        .flat(&[Flat { name: "VAST_DISK_GB", unit: "" }])
        .per_group(),
    Key::new(
        "rental.kind",
        Kind::Choice(&["on-demand", "interruptible"]),
        r#""on-demand""#,
        "Interruptible boxes are cheaper and belong to whoever bids most: one that is outbid is stopped, is bid more \
         for up to `rental.max_bid` and started again, and is replaced beyond that",
    )
    .per_group(),
    Key::new(
        "rental.bid",
        dollars(0.001, 128.0),
        "",
        "First bid for an interruptible box in dollars per hour, storage not included. Without it, or where an \
         offer wants more, a fifth over what wins the offer",
    )
    .per_group(),
    Key::new(
        "rental.max_bid",
        dollars(0.001, 128.0),
        "",
        "Never is more bid; storage comes on top of it, and both together stay below `offers.price_cap`",
    )
    .per_group(),
    Key::new(
        "rental.port",
        count(1, 65_535),
        "5555",
        "Port the server listens on in the container; published under a random host port",
    )
    .per_group(),
    Key::new(
        "rental.env",
        Kind::Table,
        "{}",
        "Environment of the container. No secrets: the host's owner can read it",
    )
    .per_group(),
    Key::new(
        "rental.onstart",
        Kind::Text { max: 4_048 },
        "",
        "Script that the provider runs at each container start; with what the keeper adds at most 4,048 characters (Vast.ai API)",
    )
    .per_group(),
    Key::new(
        "rental.dead_mans_switch",
        duration(0, 7 * DAY),
        r#""0s""#,
        "A box on which no server was seen healthy within this time destroys itself with its own key, should the keeper be gone \
         for good; 0s leaves it to the keeper",
    )
    .per_group(),
    Key::new(
        "rental.allow_private_addresses",
        Kind::Flag,
        "false",
        "Probe and deploy to addresses that are not globally routable; for simulators only",
    )
    .per_group(),
];

pub(super) const DEADLINES: &[Key] = &[
    Key::new(
        "deadlines.rent",
        duration(SECOND, DAY),
        r#""10m""#,
        "From the decision to rent until the create is sent",
    )
    .per_group(),
    Key::new(
        "deadlines.boot",
        duration(SECOND, DAY),
        r#""20m""#,
        "From the create until the provider says `running` with addresses; covers slow image pulls",
    )
    .per_group(),
    Key::new("deadlines.deploy", duration(SECOND, DAY), r#""15m""#, "The whole deploy").per_group(),
    Key::new(
        "deadlines.probation",
        duration(SECOND, DAY),
        r#""5m""#,
        "From the deploy's end until healthy `health.success_threshold` times in a row",
    )
    .per_group(),
    Key::new(
        "deadlines.remedy",
        duration(SECOND, 2 * HOUR),
        r#""5m""#,
        "One soft remedy (restart, redeploy, reboot) until healthy again",
    )
    .per_group(),
];
