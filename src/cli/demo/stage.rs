//! Sets the stage: a scratch folder, a key, the bundled server, the simulator, the receiver, the daemon; and strikes it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use vast_sim::{LifecycleConfig, Sim, SimConfig};

use super::{DemoArgs, Narrator, build, interrupts::Interrupts, receiver::Receiver};
use crate::{
    cli::{
        exit::{self, Failure, chain},
        setup,
    },
    clock::Clock,
    config::{self, Need, Sources},
    daemon::{Daemon, Options},
    engine::Handle,
    store::{History, Store},
    telemetry,
};

/// The account's key at the simulator.
const API_KEY: &str = "demo-key-of-the-simulated-account";
/// How long each stage of a simulated instance takes, in seconds.
const STAGE_S: f64 = 0.6;

/// Everything the demo has running.
pub(super) struct Stage {
    daemon: Daemon,
    sim: Sim,
    receiver: Receiver,
    nodes: u32,
    stop: CancellationToken,
    /// Removed when dropped.
    scratch: TempDir,
}

impl Stage {
    /// Sets everything. Only the build is long enough to be interrupted; the rest takes moments, and is struck in order.
    pub async fn set(
        args: &DemoArgs,
        narrator: &mut Narrator,
        interrupts: &mut Interrupts,
    ) -> Result<Self, Failure> {
        for (program, package) in [("ssh", "openssh-client"), ("ssh-keygen", "openssh-client")] {
            require(program, &format!("install it, e.g. `apt-get install {package}`"))?;
        }
        log(args)?;
        let scratch =
            TempDir::with_prefix("vk-demo-").map_err(|fault| broken("make a scratch folder", &fault))?;
        let key = make_key(scratch.path()).await?;
        let server = build::server(scratch.path(), narrator, interrupts).await?;
        narrator.heard()?;
        let stop = CancellationToken::new();
        let receiver =
            Receiver::start(stop.clone()).await.map_err(|fault| broken("start the receiver", &fault))?;
        narrator.say("starting the provider simulator");
        let sim = Sim::start(SimConfig {
            api_key: API_KEY.into(),
            seed: args.seed,
            lifecycle: LifecycleConfig::all(STAGE_S),
            ..SimConfig::default()
        });
        let sim = sim.await.map_err(|fault| broken("start the simulator", &fault))?;
        narrator.say(&format!(
            "the simulated provider answers at {}, its control panel at {}",
            sim.url(),
            sim.panel_url()
        ));
        match raise(args, scratch.path(), &key, &server, &sim, &receiver).await {
            Ok(daemon) => Ok(Self { daemon, sim, receiver, nodes: args.nodes, stop, scratch }),
            Err(failure) => {
                sim.shutdown().await;
                Err(failure)
            }
        }
    }

    pub fn engine(&self) -> &Handle {
        &self.daemon.handle
    }

    pub fn history(&self) -> Option<History> {
        self.daemon.store.borrow().as_ref().map(Store::history)
    }

    pub fn page(&self) -> Option<SocketAddr> {
        self.daemon.page
    }

    pub fn sim(&self) -> &Sim {
        &self.sim
    }

    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    pub fn node_names(&self) -> Vec<String> {
        (0..self.nodes).map(|number| format!("duel-{number}")).collect()
    }

    /// Stops everything and removes what it left.
    pub async fn strike(self) {
        self.daemon.stop().await;
        self.sim.shutdown().await;
        self.stop.cancel();
        drop(self.scratch);
    }
}

/// Starts the keeper.
async fn raise(
    args: &DemoArgs,
    scratch: &Path,
    key: &Path,
    server: &Path,
    sim: &Sim,
    receiver: &Receiver,
) -> Result<Daemon, Failure> {
    let sources = sources(args, scratch, key, server, sim, receiver)?;
    let config = config::load(&sources).map_err(|faults| Failure::new(exit::BUG, faults.to_string()))?;
    let options = Options { clock: Clock::new(), seed: args.seed, bare: false };
    Daemon::start(&config, options).await.map_err(setup::start_failure)
}

pub(super) fn broken(act: &str, fault: &dyn std::error::Error) -> Failure {
    Failure::new(exit::BUG, format!("cannot {act}: {}", chain(fault)))
}

pub(super) fn require(program: &str, hint: &str) -> Result<(), Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return Ok(());
    }
    Err(Failure::new(exit::UNREACHABLE, format!("the demo needs `{program}`, which is not installed"))
        .hint(hint))
}

/// The demo narrates by itself; the daemon's own log is only shown when asked for.
fn log(args: &DemoArgs) -> Result<(), Failure> {
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".into());
    let environment = std::env::vars().collect();
    let form = telemetry::Form::of_stderr(args.json, &environment);
    telemetry::begin(&level, form, &telemetry::Redactor::default())
        .map_err(|fault| Failure::new(exit::USAGE, chain(&fault)))
}

async fn make_key(scratch: &Path) -> Result<PathBuf, Failure> {
    let key = scratch.join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "vast-keeper-demo", "-f"])
        .arg(&key)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|fault| broken("run ssh-keygen", &fault))?;
    if made.status.success() {
        return Ok(key);
    }
    let words = String::from_utf8_lossy(&made.stderr).trim().to_owned();
    Err(Failure::new(exit::BUG, format!("ssh-keygen made no key: {words}")))
}

/// The demo's settings: those of earnest, with patience measured in seconds.
fn sources(
    args: &DemoArgs,
    scratch: &Path,
    key: &Path,
    server: &Path,
    sim: &Sim,
    receiver: &Receiver,
) -> Result<Sources, Failure> {
    let file = scratch.join("keeper.toml");
    let text = include_str!("keeper.toml");
    std::fs::write(&file, text).map_err(|fault| broken("write the demo's configuration", &fault))?;
    let path = |path: &Path| path.display().to_string();
    let flags = [
        ("fleet.nodes", args.nodes.to_string()),
        ("provider.base_url", sim.url()),
        ("ssh.key_file", path(key)),
        ("deploy.file", path(server)),
        // The demo shows a healing, and nobody wants to watch it wait.
        ("deploy.gate_steady", "0s".to_owned()),
        ("keeper.state_dir", path(&scratch.join("state"))),
        ("keeper.control_socket", path(&scratch.join("control.sock"))),
    ];
    let environment = [
        ("VAST_API_KEY", API_KEY.to_owned()),
        ("ADMIN_CODE", "demo-admin-code".to_owned()),
        ("SLACK_WEBHOOK_URL", receiver.url("slack")),
        ("DISCORD_WEBHOOK_URL", receiver.url("discord")),
        ("ALERT_WEBHOOK_URL", receiver.url("webhook")),
    ];
    let owned = |(name, value): (&str, String)| (name.to_owned(), value);
    Ok(Sources {
        config_file: Some(file),
        profile: None,
        env_file: None,
        environment: environment.into_iter().map(owned).collect::<BTreeMap<_, _>>(),
        flags: flags.into_iter().map(owned).collect(),
        need: Need::Run,
    })
}
