//! Why a deploy failed, by what should happen next.

use crate::remote::ConnectFault;

/// Why a deploy failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeployFault {
    /// The artifact, its configuration or the box image is at fault: another box would fail too.
    #[error("the release is at fault: {0}")]
    Release(String),
    /// This box is at fault: another one may do.
    #[error("the box is at fault: {0}")]
    Box(String),
    /// A condition forbids it now, such as a server that does not come to rest. Nothing was changed.
    #[error("not now: {0}")]
    Refused(String),
    /// Another deploy is at work on the box.
    #[error("{0}")]
    Locked(String),
    /// The release was started, and its server did not become healthy in time.
    #[error("the server does not become healthy: {0}")]
    Unhealthy(String),
    /// The box shows another host key than before: a human must look.
    #[error("{0}")]
    HostKeyChanged(String),
    /// The new release may or may not be serving: look at `/health`.
    #[error("the outcome of the deploy is unknown: {0}")]
    Unknown(String),
    /// The data, and not only the server, is in a state that nobody wanted: a human must choose the way on.
    #[error("{what}; the way on: {forward}")]
    Halfway {
        /// What happened.
        what: String,
        /// What can be done.
        forward: String,
    },
    /// It failed after the switch; what was verified before serves again, and was seen to.
    #[error("{why}; the box went back to `{to}`, which serves")]
    RolledBack {
        /// Why it failed.
        why: Box<DeployFault>,
        /// The release that serves now.
        to: String,
    },
    /// It failed after the switch, and going back failed too.
    #[error("{why}; and going back failed: {detail}")]
    RollbackFailed {
        /// Why it failed.
        why: Box<DeployFault>,
        /// What is known of the way back.
        detail: String,
    },
}

impl DeployFault {
    /// A connection that cannot be had. After the switch has begun, the box may well be serving the new release.
    pub(super) fn connect(fault: &ConnectFault, switched: bool) -> Self {
        match fault {
            ConnectFault::HostKeyChanged { .. } => Self::HostKeyChanged(fault.to_string()),
            ConnectFault::Local { .. } => Self::Release(fault.to_string()),
            _ => Self::unreached(fault.to_string(), switched),
        }
    }

    /// The box stopped answering us.
    pub(super) fn unreached(detail: String, switched: bool) -> Self {
        if switched { Self::Unknown(detail) } else { Self::Box(detail) }
    }

    /// The fault that began it all, whatever became of the way back.
    #[must_use]
    pub fn first(&self) -> &Self {
        match self {
            Self::RolledBack { why, .. } | Self::RollbackFailed { why, .. } => why.first(),
            Self::Release(_)
            | Self::Box(_)
            | Self::Refused(_)
            | Self::Locked(_)
            | Self::Unhealthy(_)
            | Self::HostKeyChanged(_)
            | Self::Unknown(_)
            | Self::Halfway { .. } => self,
        }
    }
}
