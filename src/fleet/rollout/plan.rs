//! How a rollout goes about it, and on which terms each of its boxes is worked on.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A number of nodes, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Share {
    /// So many.
    Nodes(u32),
    /// So many of a hundred.
    Percent(u32),
}

impl Share {
    /// How many of `nodes` that is as the size of a batch: rounded down, but at least one.
    #[must_use]
    pub fn batch(self, nodes: usize) -> usize {
        match self {
            Self::Nodes(count) => usize::try_from(count).unwrap_or(usize::MAX).max(1),
            Self::Percent(percent) => (nodes.saturating_mul(percent as usize) / 100).max(1),
        }
    }

    /// Reads the size of a batch, of which there is no empty one.
    ///
    /// # Errors
    /// Neither a number nor a share, or zero.
    pub fn of_a_batch(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Self::Nodes(0) | Self::Percent(0) => Err("zero; a batch is one node at least".into()),
            share => Ok(share),
        }
    }

    /// How many of `nodes` that is as a limit: rounded down, and perhaps none.
    #[must_use]
    pub fn at_most(self, nodes: usize) -> u32 {
        match self {
            Self::Nodes(count) => count,
            Self::Percent(percent) => {
                u32::try_from(nodes.saturating_mul(percent as usize) / 100).unwrap_or(u32::MAX)
            }
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u32>().ok().filter(|_| plain)
        };
        let found = match text.trim().strip_suffix('%') {
            Some(percent) => number(percent.trim_end()).filter(|percent| *percent <= 100).map(Self::Percent),
            None => number(text.trim()).map(Self::Nodes),
        };
        found.ok_or_else(|| "neither a number such as `2` nor a share such as `25%`".into())
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// The order of things after the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// Batch after batch.
    #[default]
    Rolling,
    /// The gate is held for a time and compared with those that still have the release before.
    Canary,
    /// Node by node on a second box, which takes the node once it has proven itself; the first is kept as the way back.
    BlueGreen,
}

/// How a rollout goes about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In which manner.
    pub manner: Manner,
    /// How many at once after the gate.
    pub batch: Share,
    /// How many may fail over the whole rollout.
    pub max_failures: Share,
    /// Pause after each batch.
    pub wait: Duration,
    /// Nodes of the rollout that must stay healthy, in percent; one may always be worked on.
    pub min_healthy_percent: u32,
    /// How long that is waited for before a person must decide.
    pub health_within: Duration,
    /// How long a canary is held.
    pub hold: Duration,
}

/// What is done with a server that does not come to rest in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unrest {
    /// It is left alone, and its node counts as failed.
    Abort,
    /// It is replaced all the same.
    Proceed,
}

/// On which terms each box is worked on, as they were when the rollout was begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// Bring even a release that a box once went back from.
    pub force: bool,
    /// Start a server anew whose release serves already.
    pub restart: bool,
    /// What is done with a server that does not come to rest; none for what the configuration says.
    pub unrest: Option<Unrest>,
    /// How long another's work on a box is waited for.
    pub wait_lock: Duration,
}

impl Default for Plan {
    /// A quarter at a time, a fifth may fail: what the deployers of section 6 settled on.
    fn default() -> Self {
        Self {
            manner: Manner::Rolling,
            batch: Share::Percent(25),
            max_failures: Share::Percent(20),
            wait: Duration::from_secs(10),
            min_healthy_percent: 75,
            health_within: Duration::from_secs(300),
            hold: Duration::from_secs(300),
        }
    }
}

impl Plan {
    /// How many of `nodes` must be healthy before and while a batch is worked on.
    #[must_use]
    pub fn floor(&self, nodes: usize) -> usize {
        let wanted = nodes.saturating_mul(self.min_healthy_percent.min(100) as usize).div_ceil(100);
        // With every node needed none could ever be worked on.
        wanted.min(nodes.saturating_sub(1))
    }
}
