//! Connecting: direct first, then through the provider's relay, again and again within a budget.
//!
//! The master is started here and not by the `openssh` crate, for three reasons: its log is the only place where `ssh`
//! tells why it failed, an attempt that is given up must die with its future, and the host key is to be pinned only once
//! the box has accepted our key. A box whose address still belongs to somebody else would otherwise be pinned wrongly.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path, process::Stdio, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use super::{
    client_config::{ClientConfig, is_host, is_user},
    config::{Inner, Remote, make_pins},
    fault::{self, ConnectFault},
    session::Session,
};
use crate::{
    crash::{self, Point},
    fleet::{name::InstanceId, provider::SshEndpoint},
};

/// First and longest wait between two rounds over the endpoints.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(15);
/// Authentication is not covered by `ConnectTimeout`; a slow box gets this much more for it.
const AUTH_ALLOWANCE: Duration = Duration::from_secs(10);

/// Where a box is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxAddress {
    /// Whose host key is expected.
    pub instance: InstanceId,
    /// Ways to it, best first: direct, then the relay.
    pub endpoints: Vec<SshEndpoint>,
    /// Login name, `root` on Vast.ai.
    pub user: String,
}

impl Remote {
    /// A session with a box, by the first endpoint that works. Refusals of the key are retried too: a fresh box learns
    /// it only a while after its SSH server starts.
    ///
    /// # Errors
    /// The fault of the last round when the budget is used up; at once for what no retry can mend.
    pub async fn connect(&self, address: &BoxAddress, budget: Duration) -> Result<Session, ConnectFault> {
        let end = Instant::now() + budget;
        let mut pause = RETRY_FIRST;
        loop {
            let fault = match self.round(address, end).await {
                Ok(session) => return Ok(session),
                Err(fault) => fault,
            };
            let wait = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            if !fault.retryable() || Instant::now() + wait >= end {
                return Err(fault);
            }
            tracing::debug!(instance = %address.instance, fault = %fault, "cannot connect yet");
            sleep(wait).await;
            pause = (pause * 2).min(RETRY_LONGEST);
        }
    }

    /// Each endpoint once.
    async fn round(&self, address: &BoxAddress, end: Instant) -> Result<Session, ConnectFault> {
        if !is_user(&address.user) {
            return Err(ConnectFault::Local { detail: "the login name is not a plain name".into() });
        }
        let mut refused = false;
        let mut details = Vec::new();
        for endpoint in &address.endpoints {
            let left = end.saturating_duration_since(Instant::now());
            let limit = self.inner.connect_timeout.min(left.max(Duration::from_secs(1)));
            let result = match is_host(&endpoint.host) {
                true => attempt(&self.inner, address, endpoint, limit).await,
                false => Err(ConnectFault::Unreachable { detail: "not a host name".into() }),
            };
            match result {
                Ok(session) => return Ok(session),
                Err(fault) if !fault.retryable() => return Err(fault),
                Err(fault) => {
                    refused |= matches!(fault, ConnectFault::AuthRefused { .. });
                    details.push(format!(
                        "{}:{}: {}",
                        endpoint.host.escape_debug(),
                        endpoint.port,
                        fault.detail()
                    ));
                }
            }
        }
        if details.is_empty() {
            details.push("the provider has told no SSH address yet".into());
        }
        let detail = details.join("; ");
        Err(if refused { ConnectFault::AuthRefused { detail } } else { ConnectFault::Unreachable { detail } })
    }
}

async fn attempt(
    inner: &Arc<Inner>,
    address: &BoxAddress,
    endpoint: &SshEndpoint,
    limit: Duration,
) -> Result<Session, ConnectFault> {
    let local = |what: &str, error: &io::Error| ConnectFault::Local { detail: format!("{what}: {error}") };
    let make = || tempfile::Builder::new().prefix("s").tempdir_in(inner.sockets.path());
    let folder = make()
        // Cleaners of `/tmp` remove what lay unused for days; a daemon lives longer.
        .or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                fs::DirBuilder::new().mode(0o700).create(inner.sockets.path()).and_then(|()| make())
            }
            _ => Err(error),
        })
        .map_err(|error| local("cannot make a directory for the control socket", &error))?;
    let pin = inner.pin_file(address.instance);
    let pinned = fs::metadata(&pin).is_ok_and(|meta| meta.len() > 0);
    let fresh = folder.path().join("known_hosts");
    let config = ClientConfig {
        instance: address.instance,
        host: &endpoint.host,
        port: endpoint.port,
        user: &address.user,
        key_file: &inner.key_file,
        known_hosts: if pinned { &pin } else { &fresh },
        pinned,
        connect_timeout: limit,
        alive_interval: inner.alive_interval,
    };
    fs::write(folder.path().join("config"), config.text())
        .map_err(|error| local("cannot write the ssh configuration", &error))?;
    launch(&inner.ssh, &folder, limit + AUTH_ALLOWANCE).await?;
    crash::at(Point::Authenticated);
    let session = Session::new(folder, endpoint.clone(), inner.clone());
    if !pinned {
        keep_pin(&fresh, &pin)?;
    }
    Ok(session)
}

/// Runs `ssh` until it has authenticated and gone to the background. Dropping the future kills it.
async fn launch(ssh: &Path, folder: &TempDir, limit: Duration) -> Result<(), ConnectFault> {
    let file = |name: &str| folder.path().join(name);
    // An empty environment: no agent, no askpass program, and error texts in English.
    let mut child = Command::new(ssh)
        .env_clear()
        .arg("-F")
        .arg(file("config"))
        .arg("-E")
        .arg(file("log"))
        .arg("-S")
        .arg(file("master"))
        .args(["-M", "-N", "-f", "--", "box"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| ConnectFault::Local { detail: error.to_string() })?;
    match timeout(limit, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(_)) => Err(fault::read(&fs::read_to_string(file("log")).unwrap_or_default())),
        Ok(Err(error)) => Err(ConnectFault::Local { detail: error.to_string() }),
        Err(_) => {
            Err(ConnectFault::Unreachable { detail: format!("no session within {} s", limit.as_secs()) })
        }
    }
}

/// Makes the key of the first authenticated connection the pinned one. When two connections race, the second must have
/// seen the same key.
fn keep_pin(fresh: &Path, pin: &Path) -> Result<(), ConnectFault> {
    let local =
        |error: io::Error| ConnectFault::Local { detail: format!("cannot pin the host key: {error}") };
    let seen = fs::read(fresh).map_err(local)?;
    pin.parent().map_or(Ok(()), make_pins).map_err(local)?;
    let staged = pin.with_extension(format!("{:08x}.new", fastrand::u32(..)));
    fs::write(&staged, &seen).map_err(local)?;
    let linked = fs::hard_link(&staged, pin);
    let _ = fs::remove_file(&staged);
    match linked {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::read(pin).map_err(local)? == seen {
                return Ok(());
            }
            let detail = "two first connections saw different host keys".into();
            Err(ConnectFault::HostKeyChanged { detail })
        }
        Err(error) => Err(local(error)),
    }
}
