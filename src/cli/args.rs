//! What can be typed.

mod releases;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

pub use self::releases::{
    Consent, DeployArgs, DrillAction, DrillArgs, MannerWord, OnTimeoutWord, PromoteArgs, RestoreArgs,
    RollbackArgs, RolloutAction, Working,
};
use crate::fleet::name::NodeName;

/// A self-healing fleet keeper for Vast.ai.
///
/// It polls /health on every node, destroys and reprovisions instances that are proven dead, redeploys the server over
/// ssh, and tells people in Slack, Discord and webhooks.
#[derive(Debug, Parser)]
#[command(name = "vast-keeper", version, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub common: Common,
}

/// Where settings come from.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Settings")]
pub struct Common {
    /// The configuration file [default: config/keeper.toml, then /etc/vast-keeper/keeper.toml, where they exist]
    #[arg(long, global = true, value_name = "FILE", env = "KEEPER_CONFIG")]
    pub config: Option<PathBuf>,
    /// The profile: `<profile>.toml` beside the configuration file
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// The environment file [default: .env where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// One setting over all others, such as `health.interval=30s`; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Watch and heal the fleet until told to stop (the daemon)
    Run {
        /// Decide and tell, but change nothing
        #[arg(long)]
        observe_only: bool,
        /// After the journal was lost or restored: take over what bears this fleet's labels and proves its identity
        #[arg(long)]
        import: bool,
    },
    /// Show the whole keeper healing a simulated fleet; needs no account
    #[cfg(feature = "demo")]
    Demo(super::demo::DemoArgs),
    /// Validate the configuration and list all faults; contacts nobody
    Check {
        /// Print the verdict as JSON
        #[arg(long)]
        json: bool,
    },
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Show the fleet
    Status {
        /// Print the view as JSON
        #[arg(long)]
        json: bool,
    },
    /// Explain a node: evidence for and against a fault, the rails in the way, what happens next and when
    Why(Calm),
    /// Show which offer would be taken for a node, and why each other would not
    Offers {
        /// The node [default: the first]
        node: Option<NodeName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Try the keeper's decisions in a simulated world where everything fails; contacts nobody
    Simulate(super::simulate::SimulateArgs),
    /// Destroy what fills a node and rent anew
    Reprovision(Drastic),
    /// Destroy what fills a node and leave it empty
    Destroy(Drastic),
    /// Keep healing away from a node; it is still watched
    Pause(Calming),
    /// Let healing of a paused or held node go on
    Resume(Calming),
    /// Put the configured release on nodes that serve, one after the other; a failure goes back by itself
    Deploy(DeployArgs),
    /// What a deploy to several nodes is doing: look, stop it for a while, let it go on, end it
    Rollout {
        #[command(subcommand)]
        action: RolloutAction,
    },
    /// Go back to the release that was verified before, with its settings
    Rollback(RollbackArgs),
    /// Bring the release that serves in one profile, and no other, to the next
    Promote(PromoteArgs),
    /// Deploy what is pushed to `push.branch`, as long as this runs
    Follow {
        /// Ask once, deploy what is new, and end
        #[arg(long)]
        once: bool,
        /// Deploy what is there already when it is first looked at, and not only what comes after
        #[arg(long)]
        now: bool,
        /// Needed for a protected fleet: the name of its profile
        #[arg(long, value_name = "PROFILE")]
        i_mean: Option<String>,
    },
    /// What a node must be, and in what it differs from that now
    Spec {
        /// The node
        node: NodeName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Break something on purpose, see it healed, and keep the time; never on a protected fleet
    Drill {
        #[command(subcommand)]
        action: DrillAction,
    },
    /// The history of deploys and rollbacks, with the time of each step
    Deploys {
        /// Only of this node
        node: Option<NodeName>,
        /// How many are listed
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the releases on the boxes, and which is the way back
    Releases {
        /// The nodes [default: all that are filled]
        nodes: Vec<NodeName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the backups on a node's box
    Backups {
        /// The node
        node: NodeName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring the data of a backup back, under the release and the settings of then; what is there now is backed up first
    Restore(RestoreArgs),
    /// The servers' maintenance: no new duel begins, and what runs comes to its end
    Maintenance {
        #[command(subcommand)]
        action: MaintenanceAction,
    },
    /// The lock of whoever deploys on a box
    Lock {
        #[command(subcommand)]
        action: LockAction,
    },
    /// Print the end of a log on a node's box; secrets are masked
    Logs(LogsArgs),
    /// Open a shell on a node's box, or run a command there
    Ssh {
        /// The node
        node: NodeName,
        /// The command, after `--`
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// One screen about a node's box: load, memory, disk, GPU, server, log
    Diagnose {
        /// The node
        node: NodeName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The ledger of machines and hosts that failed us
    Ledger {
        /// Print the ledger as JSON
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        action: Option<LedgerAction>,
    },
    /// List incidents, or tell the story of one
    Incidents {
        /// Its number
        id: Option<u64>,
        /// How many are listed
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Only of this node
        #[arg(long)]
        node: Option<NodeName>,
        /// Print what the destroyed boxes of this incident showed of their end, too
        #[arg(long, requires = "id", conflicts_with = "json")]
        evidence: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the journal in words
    Events {
        /// Go on printing as it grows
        #[arg(long, short)]
        follow: bool,
        /// Only after this number [default: the last 50]
        #[arg(long)]
        after: Option<u64>,
        /// Only of this node
        #[arg(long)]
        node: Option<NodeName>,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
}

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerAction {
    /// Write it to a file, or to stdout with `-`, for another keeper
    Export {
        /// The file; overwritten
        file: PathBuf,
    },
    /// Take over what another keeper's ledger knows; nothing known here is lost
    Import {
        /// The file, or `-` for stdin
        file: PathBuf,
    },
    /// Strike a machine off: it may be rented again at once
    Forgive {
        /// Its machine id
        machine: u64,
    },
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Print every setting with its value and where it came from; secrets are masked
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What to do about maintenance.
#[derive(Debug, Clone, Subcommand)]
pub enum MaintenanceAction {
    /// Enter it, and wait until nothing runs
    Enter {
        /// The nodes [default: all that are filled]
        nodes: Vec<NodeName>,
        /// Why, for the server's audit trail
        #[arg(long)]
        reason: Option<String>,
        /// Longest wait [default: `deploy.maintenance_wait`]
        #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration)]
        timeout: Option<std::time::Duration>,
        /// Do not wait for what runs
        #[arg(long)]
        emergency: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell how the servers stand
    Status {
        /// The nodes [default: all that are filled]
        nodes: Vec<NodeName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let the servers go on
    Exit {
        /// The nodes [default: all that are filled]
        nodes: Vec<NodeName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl MaintenanceAction {
    /// The nodes it is about; none means all.
    pub fn nodes(&self) -> &[NodeName] {
        let (Self::Enter { nodes, .. } | Self::Status { nodes, .. } | Self::Exit { nodes, .. }) = self;
        nodes
    }

    /// Whether JSON is wanted.
    pub fn json(&self) -> bool {
        let (Self::Enter { json, .. } | Self::Status { json, .. } | Self::Exit { json, .. }) = self;
        *json
    }
}

/// What to do about a lock.
#[derive(Debug, Clone, Subcommand)]
pub enum LockAction {
    /// Tell who deploys there
    Show {
        /// The node
        node: NodeName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take it from them; every later command of theirs is refused
    Break {
        /// The node
        node: NodeName,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What `logs` takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct LogsArgs {
    /// The node
    pub node: NodeName,
    /// Whose log
    #[arg(long, value_enum, default_value = "server")]
    pub of: WhichLog,
    /// How many lines at most
    #[arg(long, short = 'n', default_value_t = 100)]
    pub lines: u32,
    /// Only lines with this text
    #[arg(long)]
    pub grep: Option<String>,
    /// Only what was written in this time, such as `10m`, where the log tells times
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration)]
    pub since: Option<std::time::Duration>,
}

/// A log on a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WhichLog {
    /// What the server writes
    Server,
    /// When it was started, and how it ended
    Supervisor,
    /// What was deployed, verified and gone back from
    Deploys,
}

/// What a verb takes that destroys nothing.
#[derive(Debug, Clone, ClapArgs)]
pub struct Calm {
    /// The node
    pub node: NodeName,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// What a verb takes that concerns one node or all of them.
#[derive(Debug, Clone, ClapArgs)]
pub struct Calming {
    /// The node
    #[arg(required_unless_present = "all")]
    pub node: Option<NodeName>,
    /// Every node; a resume then ends pauses and leaves alone what is held
    #[arg(long, conflicts_with = "node")]
    pub all: bool,
    /// Print the outcome as JSON; with `--all` a list with one for each node
    #[arg(long)]
    pub json: bool,
}

/// What a destructive verb takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct Drastic {
    /// The node
    pub node: NodeName,
    #[command(flatten)]
    pub consent: Consent,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}
