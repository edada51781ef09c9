//! Looking at a box without changing anything: its logs, and everything that tells why a server does not serve.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;

use super::{env_file::mask, fault::DeployFault, run::script};
use crate::remote::{BoxAddress, Remote, Script};

/// A log on the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// What the server writes.
    Server,
    /// When it was started and how it ended.
    Supervisor,
    /// What was deployed, verified and gone back from.
    Deploys,
}

impl Log {
    fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Supervisor => "supervisor",
            Self::Deploys => "deploys",
        }
    }
}

/// The last `lines` of a log, at most 256 KiB, those with `grep` in them where it is given. The values of `secrets` are
/// masked.
///
/// # Errors
/// The box cannot be asked within `limit`, or has no such log.
pub async fn logs(
    remote: &Remote,
    address: &BoxAddress,
    (which, lines, grep): (Log, u32, &str),
    secrets: &BTreeMap<String, SecretString>,
    limit: Duration,
) -> Result<String, DeployFault> {
    let script =
        script!("logs.sh").value("which", which.word()).value("lines", lines.to_string()).value("grep", grep);
    ask(remote, address, script, secrets, limit).await
}

/// One screen about the box: a name, a tab and a value in each line; after a line `log` the end of the server's log.
///
/// # Errors
/// The box cannot be asked within `limit`.
pub async fn diagnose(
    remote: &Remote,
    address: &BoxAddress,
    secrets: &BTreeMap<String, SecretString>,
    limit: Duration,
) -> Result<String, DeployFault> {
    ask(remote, address, script!("diagnose.sh"), secrets, limit).await
}

pub(super) async fn ask(
    remote: &Remote,
    address: &BoxAddress,
    script: Script,
    secrets: &BTreeMap<String, SecretString>,
    limit: Duration,
) -> Result<String, DeployFault> {
    let session =
        remote.connect(address, limit).await.map_err(|fault| DeployFault::connect(&fault, false))?;
    let result = session.run(&script, b"", limit).await;
    session.close().await;
    let output = result.map_err(|fault| DeployFault::Box(fault.to_string()))?;
    if output.rc != 0 {
        return Err(DeployFault::Box(mask(&output.reason(), secrets)));
    }
    // What a server writes may move a terminal's cursor.
    let plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
    Ok(mask(&output.stdout, secrets).chars().filter(|c| plain(*c)).collect())
}
