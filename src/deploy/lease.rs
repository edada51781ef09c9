//! The lease on a box: whoever deploys there holds it, and nobody else changes anything meanwhile.
//!
//! It stands on the box, as a token, a holder and an expiry. Every script of a deploy checks and renews it under the same
//! lock under which it works, so that one who lost it is refused from then on, however late its commands arrive. It runs out
//! by itself: a keeper that dies blocks nobody for longer than that, and the same holder coming back not at all.

use std::time::Duration;

use super::{fault::DeployFault, run::script};
use crate::remote::{BoxAddress, Remote, Script};

/// How long a lease lasts after each script. Steps that take longer ask for more.
pub(super) const LEASE: Duration = Duration::from_secs(120);
/// The exit code of a script that is not ours to run (`prologue.sh`).
pub(super) const RC_HELD: i32 = 40;

/// Our claim to a box.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) token: String,
    holder: String,
    /// Whether it was granted.
    pub(super) granted: bool,
}

impl Lease {
    pub(super) fn new(holder: &str) -> Self {
        let holder = holder.chars().map(|c| if c.is_control() { '?' } else { c }).take(100).collect();
        Self { token: format!("{:016x}", fastrand::u64(..)), holder, granted: false }
    }

    /// The values that the prologue of a script needs.
    pub(super) fn on(&self, script: Script, lasting: Duration) -> Script {
        script
            .value("lease", self.token.as_str())
            .value("leased", if self.granted { "yes" } else { "no" })
            .value("holder", self.holder.as_str())
            .value("lease_s", lasting.as_secs().to_string())
    }
}

/// Who holds a box.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Holder {
    /// In words.
    pub who: String,
    /// For how many seconds more, unless it is renewed.
    pub seconds_left: u64,
}

impl Holder {
    fn read(report: &str) -> Option<Self> {
        let (left, who) = report.lines().find_map(|line| line.strip_prefix("held="))?.split_once(' ')?;
        let who = who.chars().filter(|c| !c.is_control()).take(200).collect();
        Some(Self { who, seconds_left: left.parse().ok()? })
    }
}

/// Who holds a box now, if anybody does.
///
/// # Errors
/// The box cannot be asked within `limit`.
pub async fn lock_show(
    remote: &Remote,
    address: &BoxAddress,
    limit: Duration,
) -> Result<Option<Holder>, DeployFault> {
    ask(remote, address, "show", limit).await
}

/// Takes the lease from whoever holds it; every later command of theirs is refused. Returns who it was.
///
/// # Errors
/// The box cannot be asked within `limit`.
pub async fn lock_break(
    remote: &Remote,
    address: &BoxAddress,
    limit: Duration,
) -> Result<Option<Holder>, DeployFault> {
    ask(remote, address, "break", limit).await
}

async fn ask(
    remote: &Remote,
    address: &BoxAddress,
    verb: &str,
    limit: Duration,
) -> Result<Option<Holder>, DeployFault> {
    let session =
        remote.connect(address, limit).await.map_err(|fault| DeployFault::connect(&fault, false))?;
    let script = script!("lease.sh").value("verb", verb).value("token", "");
    let result = session.run(&script, b"", limit).await;
    session.close().await;
    match result {
        Ok(output) if output.rc == 0 => Ok(Holder::read(&output.stdout)),
        Ok(output) => Err(DeployFault::Box(output.reason())),
        Err(fault) => Err(DeployFault::Box(fault.to_string())),
    }
}
