//! A release brought to many nodes: what happened so far, folded; and what is to be done next, decided from that alone.
//!
//! ```text
//! first node alone (the gate) ─ verified ─► [canary: held and compared] ─► batches, each after a wait, above the minimum health
//!      │ the release's fault: stop              │ worse: back, stop            │ failures over the budget: stop
//!      │ the box's fault: the next is the gate  │ unknown: pause               │ two hosts fail alike: the release is at fault:
//!      ▼                                        ▼                              ▼   every node goes back
//! ```
//!
//! Pure: a runner carries out what [`Rollout::next`] orders and folds in what came of it with [`Rollout::apply`], so that one who
//! was killed is followed by another who reads the same events. Failures are counted over the whole rollout, boxes that could not
//! be reached included, and nodes still being worked on hold back the next batch. What a runner that died left half-way is begun
//! again before anything else, and settled before the rollout ends.
//!
//! Deliberately absent: how a node gets the release. In blue-green it is on a second box, which `fleet::step`'s switch rents and
//! proves; the order of things is the same, one node at a time.

pub mod analysis;
mod judge;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::{
    analysis::Verdict,
    judge::{Health, Order},
    plan::{Manner, Plan, Share, Terms, Unrest},
};
use super::{
    deployed::Placed,
    name::{HostId, NodeName},
    units::Timestamp,
};

/// What a rollout is, from its beginning on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    /// Its number.
    pub id: String,
    /// Who asked for it.
    pub by: String,
    /// What is brought.
    pub release: Placed,
    /// How.
    pub plan: Plan,
    /// On which terms; whoever takes it up keeps them.
    #[serde(default)]
    pub terms: Terms,
    /// To whom, in this order; the first is the gate.
    pub members: Vec<Member>,
}

/// A node of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node.
    pub node: NodeName,
    /// Whose box fills it.
    pub host: HostId,
}

/// Something that happened, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum Happened {
    /// Work on these nodes begins.
    Started {
        /// Which.
        nodes: Vec<NodeName>,
    },
    /// Work on a node has ended.
    Ended {
        /// Which.
        node: NodeName,
        /// How.
        result: NodeResult,
    },
    /// The held node was compared with the others.
    Analysed {
        /// What came of it.
        verdict: Verdict,
    },
    /// A node was taken back, or could not be.
    WentBack {
        /// Which.
        node: NodeName,
        /// Why it could not.
        fault: Option<String>,
    },
    /// Nothing new begins until somebody says so.
    Paused {
        /// Who, or what.
        by: String,
        /// Why.
        why: String,
    },
    /// It goes on.
    Continued {
        /// Who.
        by: String,
    },
    /// It ends as it stands.
    Aborted {
        /// Who.
        by: String,
        /// Whether the nodes that have the release go back.
        back: bool,
    },
    /// A runner takes up what another left: what was under way is begun again, which every deploy allows.
    TakenUp,
    /// It has ended.
    Finished {
        /// How.
        ending: Ending,
    },
}

impl Happened {
    /// The word that it is written down with.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Ended { .. } => "ended",
            Self::Analysed { .. } => "analysed",
            Self::WentBack { .. } => "went-back",
            Self::Paused { .. } => "paused",
            Self::Continued { .. } => "continued",
            Self::Aborted { .. } => "aborted",
            Self::TakenUp => "taken-up",
            Self::Finished { .. } => "finished",
        }
    }
}

/// How the work on one node ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum NodeResult {
    /// The release serves there.
    Done {
        /// Whether it had to be brought.
        changed: bool,
    },
    /// It does not.
    Failed {
        /// Why.
        detail: String,
        /// Whether that is the release's fault, and not the box's or the network's.
        at_fault: bool,
        /// What serves instead.
        left: Left,
    },
}

/// What a failed deploy left on its box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Left {
    /// Nothing was changed.
    AsItWas,
    /// It went back, and what served before serves.
    WentBack,
    /// Nobody knows.
    Unknown,
    /// Going back failed.
    Broken,
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Its turn has not come.
    Waiting,
    /// It is being worked on.
    Working,
    /// The release serves there.
    Done {
        /// Since when.
        at: Timestamp,
        /// Whether it had to be brought.
        changed: bool,
    },
    /// The release does not serve there.
    Failed {
        /// Why.
        detail: String,
        /// Whether the release is at fault.
        at_fault: bool,
        /// What serves instead.
        left: Left,
    },
    /// It was taken back.
    Back,
    /// It should have been taken back, and was not.
    Stuck {
        /// Why.
        why: String,
    },
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ending")]
pub enum Ending {
    /// Every node was tried, and no more failed than may.
    Done,
    /// Too much failed.
    Stopped {
        /// What.
        why: String,
    },
    /// The release is at fault; whoever had it went back.
    AtFault {
        /// What that rests on.
        evidence: String,
    },
    /// The held node was worse than the others, and went back.
    Worse {
        /// In what.
        why: String,
    },
    /// Somebody ended it.
    Aborted {
        /// Who.
        by: String,
    },
}

/// Somebody, or the rollout itself, keeps it from going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Who, or what.
    pub by: String,
    /// Why.
    pub why: String,
}

/// A rollout as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// What it is.
    pub brief: Brief,
    /// When it began.
    pub began_at: Timestamp,
    /// Where each node stands.
    pub progress: BTreeMap<NodeName, Progress>,
    /// When the last node's work ended, or somebody let it go on.
    pub settled_at: Timestamp,
    /// Nodes that a runner was working on when it ended: what stands there is nobody's until it is begun again or settled.
    pub cut_short: BTreeSet<NodeName>,
    /// When another runner took it up last: what the one before had seen of a held node died with it.
    pub taken_up_at: Option<Timestamp>,
    /// What the comparison of the held node said.
    pub verdict: Option<Verdict>,
    /// Why nothing new begins.
    pub paused: Option<Pause>,
    /// Who ended it, and whether the release is taken back.
    pub aborted: Option<(String, bool)>,
    /// How it ended.
    pub ending: Option<Ending>,
}

/// Something that cannot have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{what}` does not fit a rollout in which {why}")]
pub struct Misfit {
    what: &'static str,
    why: String,
}

impl Rollout {
    /// A rollout that begins. A node named twice is one node.
    #[must_use]
    pub fn new(mut brief: Brief, began_at: Timestamp) -> Self {
        let mut seen = BTreeSet::new();
        brief.members.retain(|member| seen.insert(member.node.clone()));
        let progress = seen.into_iter().map(|node| (node, Progress::Waiting)).collect();
        Self {
            brief,
            began_at,
            progress,
            settled_at: began_at,
            cut_short: BTreeSet::new(),
            taken_up_at: None,
            verdict: None,
            paused: None,
            aborted: None,
            ending: None,
        }
    }

    /// Folds in what happened.
    ///
    /// # Errors
    /// It cannot have happened; nothing is changed then.
    pub fn apply(&mut self, at: Timestamp, happened: &Happened) -> Result<(), Misfit> {
        if self.ending.is_some() {
            return Err(Misfit { what: happened.word(), why: "everything has ended".into() });
        }
        match happened {
            Happened::Started { nodes } => self.started(nodes)?,
            Happened::Ended { node, result } => self.ended(at, node, result)?,
            Happened::Analysed { verdict } => self.verdict = Some(verdict.clone()),
            Happened::WentBack { node, fault } => {
                let progress = self.of("went-back", node)?;
                *progress = match fault {
                    None => Progress::Back,
                    Some(why) => Progress::Stuck { why: why.clone() },
                };
            }
            Happened::Paused { by, why } => {
                self.paused = Some(Pause { by: by.clone(), why: why.clone() });
            }
            Happened::Continued { .. } => {
                self.paused = None;
                self.settled_at = at;
                // A person who goes on after an unclear comparison has decided it.
                if let Some(Verdict::Unknown { why }) = &self.verdict {
                    self.verdict =
                        Some(Verdict::Better { why: format!("unclear ({why}), and let pass by hand") });
                }
            }
            Happened::Aborted { by, back } => self.aborted = Some((by.clone(), *back)),
            Happened::TakenUp => {
                self.taken_up_at = Some(at);
                for (node, progress) in &mut self.progress {
                    if *progress == Progress::Working {
                        *progress = Progress::Waiting;
                        self.cut_short.insert(node.clone());
                    }
                }
            }
            Happened::Finished { ending } => self.ending = Some(ending.clone()),
        }
        Ok(())
    }

    fn started(&mut self, nodes: &[NodeName]) -> Result<(), Misfit> {
        for node in nodes {
            if *self.of("started", node)? != Progress::Waiting {
                return Err(Misfit { what: "started", why: format!("`{node}` does not wait") });
            }
        }
        for node in nodes {
            self.progress.insert(node.clone(), Progress::Working);
        }
        Ok(())
    }

    fn ended(&mut self, at: Timestamp, node: &NodeName, result: &NodeResult) -> Result<(), Misfit> {
        let again = self.cut_short.contains(node);
        let progress = self.of("ended", node)?;
        if !matches!(progress, Progress::Working | Progress::Waiting) {
            return Err(Misfit { what: "ended", why: format!("`{node}` is not worked on") });
        }
        // What serves already where a runner died has come with this rollout, and goes back with it.
        *progress = match result {
            NodeResult::Done { changed } => Progress::Done { at, changed: *changed || again },
            NodeResult::Failed { detail, at_fault, left } => {
                Progress::Failed { detail: detail.clone(), at_fault: *at_fault, left: *left }
            }
        };
        self.cut_short.remove(node);
        self.settled_at = at;
        Ok(())
    }

    fn of(&mut self, what: &'static str, node: &NodeName) -> Result<&mut Progress, Misfit> {
        self.progress.get_mut(node).ok_or_else(|| Misfit { what, why: format!("there is no `{node}`") })
    }

    /// The members with where they stand, in their order.
    pub fn standing(&self) -> impl Iterator<Item = (&Member, &Progress)> {
        self.brief.members.iter().filter_map(|member| Some((member, self.progress.get(&member.node)?)))
    }

    /// How many failed, over the whole rollout.
    #[must_use]
    pub fn failures(&self) -> u32 {
        let failed =
            |progress: &&Progress| matches!(progress, Progress::Failed { .. } | Progress::Stuck { .. });
        u32::try_from(self.progress.values().filter(failed).count()).unwrap_or(u32::MAX)
    }

    /// How many may.
    #[must_use]
    pub fn budget(&self) -> u32 {
        self.brief.plan.max_failures.at_most(self.brief.members.len())
    }
}
