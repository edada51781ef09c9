//! What the verbs about releases take: deploys, rollouts, promotions, drills.

use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};

use crate::fleet::{name::NodeName, rollout::Share};

/// Whether whoever types means it.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Consent {
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Needed with `--yes` for a protected fleet: the name of its profile
    #[arg(long, value_name = "PROFILE")]
    pub i_mean: Option<String>,
}

/// What every verb takes that works on boxes which serve.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Working {
    #[command(flatten)]
    pub consent: Consent,
    /// When the server does not come to rest in time; `ask` is for one node, several are left alone instead [default:
    /// `deploy.maintenance_timeout`]
    #[arg(long, value_name = "WORD")]
    pub on_timeout: Option<OnTimeoutWord>,
    /// Wait so long for another deploy on the box
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = crate::config::parse_duration)]
    pub wait_lock: Duration,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `deploy` takes.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct DeployArgs {
    /// The nodes
    #[arg(conflicts_with = "fleet")]
    pub nodes: Vec<NodeName>,
    /// The nodes, too: `--nodes duel-0,duel-1`
    #[arg(long = "nodes", value_name = "NODES", value_delimiter = ',', conflicts_with = "fleet")]
    pub named: Vec<NodeName>,
    /// One that was verified before, by the beginning of its name or by its commit [default: the configured one]
    #[arg(long, value_name = "RELEASE")]
    pub release: Option<String>,
    /// All nodes that are filled: the first alone, then batch after batch (`rollout.*`)
    #[arg(long)]
    pub fleet: bool,
    /// How the nodes follow each other [default: `rollout.strategy`]
    #[arg(long, value_name = "WORD")]
    pub strategy: Option<MannerWord>,
    /// How many nodes at once after the first, such as `2` or `25%` [default: `rollout.batch`]
    #[arg(long, value_name = "SHARE", value_parser = Share::of_a_batch)]
    pub batch: Option<Share>,
    /// How many may fail over all, such as `1` or `20%` [default: `rollout.max_failures`]
    #[arg(long, value_name = "SHARE")]
    pub max_failures: Option<Share>,
    /// Show what would be done with the exact scripts, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Restart a server whose release serves already
    #[arg(long)]
    pub restart: bool,
    /// Deploy even a release that the box once went back from
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub working: Working,
}

/// What `rollback` takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct RollbackArgs {
    /// The nodes
    #[arg(conflicts_with = "fleet")]
    pub nodes: Vec<NodeName>,
    /// All nodes that are filled; the first failure ends it
    #[arg(long)]
    pub fleet: bool,
    /// The release (the beginning of its name, or its commit) [default: the last one verified before]
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<String>,
    /// Only tell whether every box can go back, and to what
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub working: Working,
}

/// What `promote` takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct PromoteArgs {
    /// The profile whose release it is
    #[arg(long, value_name = "PROFILE")]
    pub from: String,
    /// The profile that gets it
    #[arg(long, value_name = "PROFILE")]
    pub to: String,
    #[command(flatten)]
    pub consent: Consent,
    /// Only tell what would be brought where
    #[arg(long)]
    pub dry_run: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// What is rehearsed.
#[derive(Debug, Clone, Subcommand)]
pub enum DrillAction {
    /// End a node's server behind the keeper's back, and wait until it is healed
    KillServer(DrillArgs),
    /// Take a node back to the release before, and forward again
    Rollback(DrillArgs),
    /// Have a node's box replaced by another one
    Replace(DrillArgs),
    /// When each was rehearsed last, and how long it took
    History {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What a drill takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct DrillArgs {
    /// The node
    #[arg(long)]
    pub node: NodeName,
    /// How long recovery may take
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = crate::config::parse_duration)]
    pub target: Duration,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// How the nodes of a rollout follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MannerWord {
    /// Batch after batch
    Rolling,
    /// The first is held for a time and compared with the others
    Canary,
    /// Node by node on a second box, which takes the node once it has proven itself; the first is kept as the way back
    BlueGreen,
}

/// What to do about a rollout.
#[derive(Debug, Clone, Subcommand)]
pub enum RolloutAction {
    /// Tell how the newest one stands, node by node
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Begin on no further node; what is under way comes to its end
    Pause,
    /// Go on with one that is paused, or whose command was killed, on the terms that it was begun with
    Continue {
        #[command(flatten)]
        consent: Consent,
        /// Print the outcome as JSON
        #[arg(long)]
        json: bool,
    },
    /// End it as it stands; a node that a killed command left half-way is seen to
    Abort {
        /// Take the nodes that have the release back to the one before
        #[arg(long)]
        back: bool,
        #[command(flatten)]
        consent: Consent,
    },
}

/// What `restore` takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct RestoreArgs {
    /// The node
    pub node: NodeName,
    /// The backup (the beginning of its name) [default: the youngest with a dump]
    #[arg(long, value_name = "NAME")]
    pub backup: Option<String>,
    #[command(flatten)]
    pub working: Working,
}

/// What happens when a server does not come to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnTimeoutWord {
    /// Deploy nothing
    Abort,
    /// Deploy all the same
    Proceed,
    /// Ask at the terminal
    Ask,
}
