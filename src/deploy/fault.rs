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
    /// The box shows another host key than before: a human must look.
    #[error("{0}")]
    HostKeyChanged(String),
    /// The new release may or may not be serving: look at `/health`.
    #[error("the outcome of the deploy is unknown: {0}")]
    Unknown(String),
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
}
