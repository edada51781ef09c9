//! The supervisor on the box, and the verbs that reach it without a deploy.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{fault::DeployFault, run::script};
use crate::remote::{BoxAddress, Remote, RunFault};

/// The supervisor's text, installed by every deploy.
pub(super) const SUPERVISOR: &str = include_str!("scripts/supervise.sh");

/// For the rental's `onstart`, which the provider runs whenever the container starts: a rebooted box brings its server back
/// by itself. Before the first deploy it does nothing.
pub const ONSTART: &str = r#"[ ! -x "$HOME/keeper/supervise" ] || "$HOME/keeper/supervise" start"#;

/// Ends the server, if it runs, and starts it again under its supervisor, with the release and the settings that it has.
/// Its outcome is for the probes to see. Returns when it was started, in seconds of the box's clock.
///
/// # Errors
/// [`DeployFault::Box`] if nothing was ever deployed there or it cannot be done; [`DeployFault::Unknown`] if the
/// connection was lost meanwhile. Idempotent: it may be called again.
pub async fn restart_server(
    remote: &Remote,
    address: &BoxAddress,
    limit: Duration,
) -> Result<u64, DeployFault> {
    let output = control(remote, address, "restart", limit).await?;
    began(&output).map_err(DeployFault::Box)
}

/// Starts the server unless it is supervised already; what a rebooted box needs.
///
/// # Errors
/// As [`restart_server`].
pub async fn start_server(remote: &Remote, address: &BoxAddress, limit: Duration) -> Result<(), DeployFault> {
    control(remote, address, "start", limit).await.map(drop)
}

/// Ends the server and its supervisor, and nothing else. Nothing to end is success.
///
/// # Errors
/// As [`restart_server`].
pub async fn stop_server(remote: &Remote, address: &BoxAddress, limit: Duration) -> Result<(), DeployFault> {
    control(remote, address, "stop", limit).await.map(drop)
}

async fn control(
    remote: &Remote,
    address: &BoxAddress,
    verb: &str,
    limit: Duration,
) -> Result<String, DeployFault> {
    let end = Instant::now() + limit;
    let work = async {
        let session =
            remote.connect(address, limit).await.map_err(|fault| DeployFault::connect(&fault, false))?;
        let script = script!("control.sh").value("verb", verb);
        let left = end.saturating_duration_since(Instant::now());
        let result = session.run(&script, b"", left).await;
        session.close().await;
        match result {
            Ok(output) if output.rc == 0 => Ok(output.stdout),
            Ok(output) => Err(DeployFault::Box(format!("cannot {verb} the server: {}", output.reason()))),
            Err(fault @ RunFault::NotSent { .. }) => Err(DeployFault::Box(fault.to_string())),
            Err(fault) => Err(DeployFault::Unknown(fault.to_string())),
        }
    };
    let late = || {
        DeployFault::Unknown(format!("the server could not be told to {verb} within {} s", limit.as_secs()))
    };
    timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

/// When the server was started, in seconds of the box's clock, from a script's output.
pub(super) fn began(output: &str) -> Result<u64, String> {
    let value = output.lines().find_map(|line| line.strip_prefix("began="));
    value
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "the box did not tell when it started the server".to_owned())
}
