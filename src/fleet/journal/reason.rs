//! The reasons that the journal gives: why a recovery began, why an instance is condemned, why a node waits for a human.

use serde::{Deserialize, Serialize};

use crate::fleet::release::Digest;

/// Why a recovery began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "cause")]
pub enum Cause {
    /// The node is wanted and nothing fills it.
    Wanted,
    /// Its probes failed, with the first failure's reason.
    Failing {
        /// The reason.
        why: String,
    },
    /// Its instance vanished from complete lists.
    Vanished,
    /// A person asked for it.
    Manual {
        /// Who.
        by: String,
    },
    /// It serves, but not for long, or not at a price that may be paid.
    Planned {
        /// Why.
        why: String,
    },
    /// What the account holds for the fleet is taken over after the journal was lost or restored.
    Imported,
}

/// Why an instance is condemned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum DoomReason {
    /// It failed and is being replaced.
    Replaced {
        /// The evidence in words.
        evidence: String,
    },
    /// It never became healthy.
    FailedToStart {
        /// The stage and what happened there.
        detail: String,
    },
    /// The create reported an error, yet rented something.
    BrokenCreate {
        /// The provider's words.
        detail: String,
    },
    /// A second rental of one op, or one whose op was given up.
    Stray,
    /// It served, and was replaced ahead of trouble.
    Planned {
        /// Why.
        detail: String,
    },
    /// Nobody needs it any more.
    Unneeded {
        /// Why.
        detail: String,
    },
    /// A person asked for it.
    Manual {
        /// Who.
        by: String,
    },
}

/// Why a node waits for a human.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum HeldReason {
    /// Every attempt failed.
    AttemptsUsedUp {
        /// How many.
        attempts: u32,
        /// The last failure.
        last: String,
    },
    /// The remedy that would be next is not on its ladder.
    LadderEnds,
    /// The host key of the same instance changed.
    HostKeyChanged,
    /// The release or the configuration is at fault, so another box would fail too.
    ReleaseAtFault {
        /// What failed.
        detail: String,
        /// The digest of that release, where it is known: with another one the node goes on by itself.
        #[serde(default)]
        release: Option<Digest>,
    },
    /// The provider refused our request or cannot be paid.
    Refused {
        /// Its words.
        detail: String,
    },
    /// A deploy or a restore stopped while data was being changed: another box would not have it.
    DataHalfway {
        /// What failed, and the way on.
        detail: String,
    },
    /// A person destroyed it and wants it to stay so.
    Destroyed {
        /// Who.
        by: String,
    },
}
