//! What the configuration tells the core: per node what is wanted and how it is watched, and for the whole fleet the
//! rails. Checked values only; the `config` room turns text into these types.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    condition::Condition,
    name::{FleetName, MachineId, NodeName},
    offer::OfferPolicy,
    units::Money,
};

/// Everything the core knows about what is wanted.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The fleet's name, part of every label.
    pub fleet: FleetName,
    /// The nodes that should exist; nodes of one group share their specification.
    pub nodes: BTreeMap<NodeName, Arc<NodeSpec>>,
    /// Those of them that are spares: boxes kept in hand for the nodes of their group.
    pub spares: BTreeSet<NodeName>,
    /// The guard rules of the fleet.
    pub rails: Rails,
    /// How the provider's list is read and believed.
    pub inventory: InventoryPolicy,
    /// Decide and tell, but change nothing.
    pub observe_only: bool,
    /// Take over what the account holds for this fleet and the journal does not know.
    pub import: bool,
    /// Whether the nodes' addresses are published.
    pub publish: bool,
    /// Work on this node alone: a one-off without a daemon leaves the others as they are.
    pub only: Option<NodeName>,
}

impl Policy {
    /// The group whose spare a node is, if it is one.
    #[must_use]
    pub fn spare_of(&self, node: &NodeName) -> Option<&Arc<str>> {
        self.nodes.get(node).filter(|_| self.spares.contains(node)).map(|spec| &spec.group)
    }
}

/// What one node must be and how it is kept that way.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// The group it belongs to: its nodes are rented alike, and its spares may fill each of them.
    pub group: Arc<str>,
    /// How its health is judged.
    pub health: HealthPolicy,
    /// The remedies in the order they are tried; never empty, ends with [`Rung::Replace`] unless replacing is unwanted.
    pub ladder: Vec<Rung>,
    /// Whose turn comes first where many wait for one: the highest.
    pub priority: u32,
    /// A serving box is replaced this long before its contract ends; zero for never.
    pub before_end: Duration,
    /// Whether a failing tenant is destroyed before or after its replacement has proven itself.
    pub order: ReplaceOrder,
    /// Which offers may fill it.
    pub offers: OfferPolicy,
    /// What is rented.
    pub rental: RentalSpec,
    /// How long each stage of a recovery may take.
    pub deadlines: Deadlines,
}

/// How `/health` is asked and judged.
#[derive(Debug, Clone)]
pub struct HealthPolicy {
    /// Path and query asked on every probe, such as `/health`.
    pub path: String,
    /// Time from the start of one probe to the start of the next while healthy.
    pub interval: Duration,
    /// The same after a first failure, until the verdict is settled either way; at most `interval`.
    pub retry_interval: Duration,
    /// Longest wait for the whole answer.
    pub timeout: Duration,
    /// Consecutive failures that make a node suspect.
    pub failure_threshold: u32,
    /// Consecutive successes that make it healthy again.
    pub success_threshold: u32,
    /// All must hold for an answer to count as healthy.
    pub conditions: Vec<Condition>,
    /// Whether the answer must echo the op id of the box in `instance`: a reused address is then never mistaken for ours.
    pub require_identity: bool,
    /// How long a server may report maintenance before a human is told; the count of failures is suspended meanwhile.
    pub maintenance_alarm: Duration,
    /// Whether one connection is kept open between probes instead of a new one each.
    pub keep_alive: bool,
}

/// One remedy of the ladder, cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// Bid more for an interruptible box that was outbid, and start it; not on any ladder, it follows from the bid's cap.
    RaiseBid,
    /// Restart the server process over SSH.
    RestartServer,
    /// Deploy the current release again.
    Redeploy,
    /// Reboot the instance through the provider.
    Reboot,
    /// Start the instance, which the provider stopped.
    Start,
    /// Destroy the instance and rent another.
    Replace,
}

impl Rung {
    /// The word used in configuration, logs and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::RaiseBid => "raise-bid",
            Self::RestartServer => "restart-server",
            Self::Redeploy => "redeploy",
            Self::Reboot => "reboot",
            Self::Start => "start",
            Self::Replace => "replace",
        }
    }
}

/// What comes first when a tenant is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplaceOrder {
    /// Its end: two half-alive servers never serve at once, and only one box is paid for.
    #[default]
    DestroyFirst,
    /// The newcomer's proof: the tenant is destroyed when its replacement takes the node, and keeps the node if it comes back
    /// before. Both are paid for meanwhile.
    CreateFirst,
}

/// What is asked of the provider when a node is rented.
#[derive(Debug, Clone)]
pub struct RentalSpec {
    /// Container image, tag or digest.
    pub image: String,
    /// Disk in GB; cannot change later.
    pub disk_gb: u32,
    /// The port the server listens on inside the container; published by the provider under a random host port.
    pub port: u16,
    /// Further environment of the container; no secrets, the host's owner can read it.
    pub env: BTreeMap<String, String>,
    /// Script run by the provider's launcher at each container start; at most 4,048 characters (Vast.ai API).
    pub onstart: Option<String>,
    /// How long a box on which no server was ever seen healthy lives before it destroys itself with its own key; `None` leaves
    /// that to the keeper alone.
    pub dead_mans_switch: Option<Duration>,
    /// Whether instances with addresses that are not globally routable are probed and deployed to. Only for simulators:
    /// an address comes from a marketplace host, which must not be able to point the keeper into private networks.
    pub allow_private_addresses: bool,
}

/// The deadline of each stage; nothing waits for ever.
#[derive(Debug, Clone)]
pub struct Deadlines {
    /// From the decision until the create is sent: destroy acknowledged, offers found.
    pub rent: Duration,
    /// From the create's success until the provider says `running` with addresses.
    pub boot: Duration,
    /// The whole deploy.
    pub deploy: Duration,
    /// From the deploy's end until healthy `success_threshold` times in a row.
    pub probation: Duration,
    /// One soft remedy (restart, redeploy, reboot), its probation included.
    pub remedy: Duration,
}

/// Guard rules that can defer or forbid an action; what they count comes from the journal.
#[derive(Debug, Clone)]
pub struct Rails {
    /// Most recoveries at once; `None` means `max(1, 10 %)` of the nodes, at most 2 up to 20 nodes. Nodes that were never
    /// filled do not count.
    pub parallel: Option<u32>,
    /// Creates per node in `node_window`.
    pub node_creates: u32,
    /// The window of `node_creates` and of `attempts`.
    pub node_window: Duration,
    /// Replacements of the fleet in an hour.
    pub fleet_hourly: u32,
    /// Replacements of the fleet in a day.
    pub fleet_daily: u32,
    /// Failed attempts of one recovery before the node is held for a human.
    pub attempts: u32,
    /// How long after its last attempt failed a held node is tried again; never, if zero.
    pub held_retry: Duration,
    /// First wait between attempts, doubled each time.
    pub backoff: Duration,
    /// Longest wait between attempts.
    pub backoff_max: Duration,
    /// A node replaced less than this ago is not replaced again until this is past: deferred, shown and told, not held.
    pub cooldown: Duration,
    /// Work on a box that is kept (restart, redeploy, reboot) is tried once within this long: what helps only for a while leads
    /// to the next rung.
    pub remedy_again: Duration,
    /// Most the whole fleet may cost an hour, the new rental included.
    pub dollars_per_hour: Option<Money>,
    /// The day's budget: nothing is rented when what was spent in the last 24 hours and an hour of the whole fleet, the new
    /// rental included, exceed it together. What serves goes on serving.
    pub dollars_per_day: Option<Money>,
    /// No rental below this credit.
    pub credit_floor: Money,
    /// No rental when the credit lasts no longer than this with it: a box that is stopped within the hour helps nobody.
    pub credit_lasts: Duration,
    /// Told when the credit lasts no longer than this; zero for never.
    pub runway: Duration,
    /// How often what the provider charged is held against the ledger; zero for never.
    pub billing_check: Duration,
    /// How much more than the ledger says it may charge, in percent.
    pub billing_tolerance: u32,
    /// No new recovery for this long after the keeper's start or a stall: its own view may be stale.
    pub warm_up: Duration,
    /// A gap of the engine's loop beyond this is a stall.
    pub stall: Duration,
    /// How long the last complete list may be past before no recovery starts and nothing is rented.
    pub inventory_fresh: Duration,
    /// URLs of third parties that prove our own network when they answer.
    pub canaries: Vec<String>,
    /// Suspects at once that slow healing down, as a count…
    pub breaker_count: u32,
    /// …and as a share of the nodes in percent; both must be reached.
    pub breaker_percent: u32,
    /// While slow, one recovery starts in this time.
    pub breaker_spacing: Duration,
    /// A command is sent within this time of its decision or not at all, by the boot-time clock.
    pub command_expiry: Duration,
    /// On how many boxes at once a release is tried that was never seen serving here; those that failed with it count.
    pub unproven_boxes: u32,
    /// How long a destroy may wait while the condemned box shows its logs; zero takes no evidence.
    pub evidence: Duration,
    /// How long a machine that failed us is not rented again; a third failure makes it thirty times that.
    pub exclude_for: Duration,
    /// Machines never to rent.
    pub excluded_machines: Vec<MachineId>,
    /// A witness's word counts for this long.
    pub witness_fresh: Duration,
}

/// How the provider's list is read and believed.
#[derive(Debug, Clone)]
pub struct InventoryPolicy {
    /// Time between lists while nothing is pending.
    pub interval: Duration,
    /// Time between lists while something is booting, doomed or unresolved.
    pub busy_interval: Duration,
    /// Complete lists without an instance, begun after the acknowledged destroy, that prove it gone.
    pub gone_lists: u32,
    /// Complete lists without a label, begun after an ambiguous create…
    pub settle_lists: u32,
    /// …and the time they must span before the create is abandoned.
    pub settle: Duration,
    /// A new instance may be missing from the list for this long after its create.
    pub create_grace: Duration,
    /// Identical implausible lists in a row after which the vanishing is believed.
    pub implausible_lists: u32,
}

impl Default for HealthPolicy {
    /// Interval 60 s, timeout 5 s, three failures: the documented defaults of the original keeper.
    fn default() -> Self {
        Self {
            path: "/health".into(),
            interval: Duration::from_secs(60),
            retry_interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            failure_threshold: 3,
            success_threshold: 2,
            conditions: Condition::preset(),
            require_identity: true,
            maintenance_alarm: Duration::from_secs(600),
            keep_alive: false,
        }
    }
}

impl Default for RentalSpec {
    fn default() -> Self {
        Self {
            image: "nvidia/cuda:12.4.0-runtime-ubuntu22.04".into(),
            disk_gb: 120,
            port: 5555,
            env: BTreeMap::new(),
            onstart: None,
            dead_mans_switch: None,
            allow_private_addresses: false,
        }
    }
}

impl Default for Deadlines {
    /// Boot 20 min and deploy 15 min bound the slow image pulls that marketplace hosts show.
    fn default() -> Self {
        Self {
            rent: Duration::from_secs(600),
            boot: Duration::from_secs(1200),
            deploy: Duration::from_secs(900),
            probation: Duration::from_secs(300),
            remedy: Duration::from_secs(300),
        }
    }
}

impl Default for Rails {
    fn default() -> Self {
        Self {
            parallel: None,
            node_creates: 3,
            node_window: Duration::from_secs(6 * 3600),
            fleet_hourly: 12,
            fleet_daily: 40,
            attempts: 5,
            held_retry: Duration::from_secs(6 * 3600),
            backoff: Duration::from_secs(60),
            backoff_max: Duration::from_secs(1800),
            cooldown: Duration::from_secs(1800),
            remedy_again: Duration::from_secs(86_400),
            dollars_per_hour: None,
            dollars_per_day: None,
            credit_floor: Money(1_000_000),
            credit_lasts: Duration::from_secs(2 * 3600),
            runway: Duration::from_secs(24 * 3600),
            billing_check: Duration::from_secs(3600),
            billing_tolerance: 10,
            warm_up: Duration::from_secs(90),
            stall: Duration::from_secs(10),
            inventory_fresh: Duration::from_secs(60),
            canaries: Vec::new(),
            breaker_count: 3,
            breaker_percent: 30,
            breaker_spacing: Duration::from_secs(600),
            command_expiry: Duration::from_secs(8),
            unproven_boxes: 2,
            evidence: Duration::from_secs(10),
            exclude_for: Duration::from_secs(24 * 3600),
            excluded_machines: Vec::new(),
            witness_fresh: Duration::from_secs(60),
        }
    }
}

impl Default for InventoryPolicy {
    /// Three lists over 180 s outlast both the provider's read lag and a TCP connection's own retries.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(20),
            busy_interval: Duration::from_secs(5),
            gone_lists: 3,
            settle_lists: 3,
            settle: Duration::from_secs(180),
            create_grace: Duration::from_secs(120),
            implausible_lists: 9,
        }
    }
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self {
            group: "".into(),
            health: HealthPolicy::default(),
            ladder: vec![Rung::Replace],
            order: ReplaceOrder::default(),
            priority: 50,
            before_end: Duration::from_secs(3600),
            offers: OfferPolicy::default(),
            rental: RentalSpec::default(),
            deadlines: Deadlines::default(),
        }
    }
}
