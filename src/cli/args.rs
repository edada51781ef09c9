//! What can be typed.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

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
    /// Show which offer would be taken for a node, and why each other would not
    Offers {
        /// The node [default: the first]
        node: Option<NodeName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Destroy what fills a node and rent anew
    Reprovision(Drastic),
    /// Destroy what fills a node and leave it empty
    Destroy(Drastic),
    /// Keep healing away from a node; it is still watched
    Pause(Calm),
    /// Let healing of a paused or held node go on
    Resume(Calm),
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

/// What a verb takes that destroys nothing.
#[derive(Debug, Clone, ClapArgs)]
pub struct Calm {
    /// The node
    pub node: NodeName,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// What a destructive verb takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct Drastic {
    /// The node
    pub node: NodeName,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}
