//! The supervisor on the box, and the verbs that reach it without a deploy.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{fault::DeployFault, half_way::half_way, run::script};
use crate::{
    fleet::name::NodeName,
    remote::{BoxAddress, Remote, RunFault},
};

/// The exit code of `control.sh` for data that something was changing when it was cut.
const RC_HALF_WAY: i32 = 67;

/// The supervisor's text, installed by every deploy.
pub(super) const SUPERVISOR: &str = concat!(
    include_str!("scripts/supervise.sh"),
    include_str!("scripts/holders.sh"),
    include_str!("scripts/managers.sh"),
    include_str!("scripts/supervise_main.sh")
);

/// For the rental's `onstart`, which the provider runs whenever the container starts: a rebooted box brings its server back
/// by itself. Before the first deploy it does nothing.
pub const ONSTART: &str = r#"[ ! -x "$HOME/keeper/supervise" ] || "$HOME/keeper/supervise" start"#;

/// Ends the server, if it runs, and starts it again under its supervisor, with the release and the settings that it has.
/// Its outcome is for the probes to see. Returns when it was started, in seconds of the box's clock. `node` is whom the box fills.
///
/// # Errors
/// [`DeployFault::Box`] if nothing was ever deployed there or it cannot be done; [`DeployFault::Halfway`] if something was changing
/// the data when it was cut; [`DeployFault::Unknown`] if the connection was lost meanwhile. Idempotent: it may be called again.
pub async fn restart_server(
    remote: &Remote,
    address: &BoxAddress,
    node: &NodeName,
    limit: Duration,
) -> Result<u64, DeployFault> {
    let output = control(remote, address, node, "restart", limit).await?;
    began(&output).map_err(DeployFault::Box)
}

/// Starts the server unless it is supervised already; what a rebooted box needs.
///
/// # Errors
/// As [`restart_server`].
pub async fn start_server(
    remote: &Remote,
    address: &BoxAddress,
    node: &NodeName,
    limit: Duration,
) -> Result<(), DeployFault> {
    control(remote, address, node, "start", limit).await.map(drop)
}

/// Ends the server and its supervisor, and nothing else. Nothing to end is success.
///
/// # Errors
/// As [`restart_server`].
pub async fn stop_server(
    remote: &Remote,
    address: &BoxAddress,
    node: &NodeName,
    limit: Duration,
) -> Result<(), DeployFault> {
    control(remote, address, node, "stop", limit).await.map(drop)
}

async fn control(
    remote: &Remote,
    address: &BoxAddress,
    node: &NodeName,
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
            Ok(output) if output.rc == RC_HALF_WAY => Err(half_way(output.stderr.trim(), node)),
            Ok(output) => {
                Err(DeployFault::Box(format!("cannot {verb} the server of `{node}`: {}", output.reason())))
            }
            Err(fault @ RunFault::NotSent { .. }) => Err(DeployFault::Box(fault.to_string())),
            Err(fault) => Err(DeployFault::Unknown(fault.to_string())),
        }
    };
    let late = || {
        DeployFault::Unknown(format!(
            "the server of `{node}` could not be told to {verb} within {} s",
            limit.as_secs()
        ))
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

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::{super::tests::stage::eventually, *};

    /// The supervisor alone, without a box, with shorter times than the real ones.
    struct Supervised(tempfile::TempDir);

    impl Supervised {
        fn new(server: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["run", "log", "env", "data", "releases/r"] {
                fs::create_dir_all(folder.path().join(name)).unwrap();
            }
            let text = SUPERVISOR
                .replace("\nlog_bytes_max=8388608\n", "\nlog_bytes_max=20000\n")
                .replace("\nrotate_every=10\n", "\nrotate_every=0.1\n");
            assert!(text.contains("=20000\n") && text.contains("=0.1\n"), "the constants were renamed");
            fs::write(folder.path().join("supervise"), text).unwrap();
            fs::write(folder.path().join("releases/r/server.env"), "").unwrap();
            fs::write(folder.path().join("env/identity.env"), "PORT=1\n").unwrap();
            let program = folder.path().join("releases/r/server");
            fs::write(&program, server).unwrap();
            fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            std::os::unix::fs::symlink("releases/r", folder.path().join("current")).unwrap();
            Self(folder)
        }

        fn verb(&self, verb: &str) {
            let status = Command::new("sh").arg(self.0.path().join("supervise")).arg(verb).status().unwrap();
            assert!(status.success(), "{verb}");
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.0.path().join(path)).unwrap_or_default()
        }
    }

    impl Drop for Supervised {
        fn drop(&mut self) {
            self.verb("stop");
        }
    }

    #[tokio::test]
    async fn a_log_that_has_grown_is_moved_aside_and_the_server_goes_on() {
        let supervised =
            Supervised::new("#!/bin/sh\nn=0\nwhile sleep 0.01; do n=$((n + 1)); seq 100000 100100; done\n");
        supervised.verb("start");
        let size = |path: &str| fs::metadata(supervised.0.path().join(path)).map_or(0, |meta| meta.len());
        eventually("the log is moved aside", || size("log/server.log.1") > 20_000).await;
        eventually("the log was cut", || size("log/server.log") < size("log/server.log.1")).await;
        let before = size("log/server.log");
        eventually("the server goes on writing", || size("log/server.log") != before).await;
        assert_eq!(supervised.read("run/exits"), "", "it was never restarted");
    }

    #[tokio::test]
    async fn a_server_that_keeps_ending_is_started_less_and_less_often() {
        let supervised = Supervised::new("#!/bin/sh\nexit 7\n");
        supervised.verb("start");
        eventually("it ended three times", || supervised.read("run/exits").starts_with("3 7 ")).await;
        let told = supervised.read("log/supervisor.log");
        let delays: Vec<&str> = told.lines().filter_map(|line| line.split("again in ").nth(1)).collect();
        assert_eq!(delays[..2], ["1 s", "2 s"], "{told}");
    }
}
