//! The two boxes of a blue-green replacement: what the newcomer is given, and the tenant before as the way back.

use serde::{Deserialize, Serialize};

use super::{deployed::Placed, journal::ReleaseRef, state::Tenant, units::Timestamp};

/// What a blue-green replacement brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// The release.
    pub release: Placed,
    /// How long the tenant before is kept as the way back, in milliseconds.
    pub keep_ms: u64,
}

/// A tenant that served before and still runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standby {
    /// The tenant.
    pub tenant: Tenant,
    /// It is condemned then.
    pub until: Timestamp,
    /// What it runs.
    pub release: Option<ReleaseRef>,
    /// The same with its settings, where that was verified by hand.
    pub placed: Option<Placed>,
}
