//! Starting a box: folder, address, gates, SSH server, then its program.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::gate::{Gate, Line, Upstream};
use super::process::Census;
use super::shell::Shell;
use super::ssh::SshHost;
use super::{Boot, Folder};
use crate::engine::Shared;
use crate::world::instance::Endpoints;
use crate::world::{BoxSummary, State};

/// The container port of SSH, and of Jupyter.
const SSH_PORT: u16 = 22;
const JUPYTER_PORT: u16 = 8080;

/// A start that failed, with the step that did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("preparing the folder: {0}")]
    Folder(#[source] io::Error),
    #[error("listening on {0}: {1}")]
    Listen(Ipv4Addr, #[source] io::Error),
    #[error("starting the program: {0}")]
    Program(#[source] io::Error),
}

/// What a box keeps over restarts.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) endpoints: Endpoints,
    pub(crate) host_seed: [u8; 32],
    pub(crate) fingerprint: String,
}

impl Place {
    pub(crate) fn summary(&self, folder: &Folder) -> BoxSummary {
        BoxSummary {
            address: self.endpoints.address,
            ports: self.endpoints.ports.clone(),
            proxy: self.endpoints.proxy,
            home: folder.home(),
            host_key: self.fingerprint.clone(),
            frozen: false,
        }
    }
}

/// What exists only while the box is up.
pub(crate) struct Running {
    pub(crate) down: CancellationToken,
    pub(crate) gates: Vec<JoinHandle<()>>,
    pub(crate) silence: watch::Sender<bool>,
    pub(crate) ssh_cuts: watch::Sender<u64>,
    pub(crate) ssh: Option<Arc<SshHost>>,
    /// TCP container ports of the box's own servers.
    pub(crate) app_ports: Vec<u16>,
}

/// Seed of an SSH host key.
pub(crate) fn seed(state: &mut State) -> [u8; 32] {
    let mut seed = [0; 32];
    state.rng.fill(&mut seed);
    seed
}

/// Starts everything. On failure nothing of the box is left listening.
pub(crate) async fn start(
    shared: &Arc<Shared>,
    instance: u64,
    folder: &Folder,
    census: &Census,
    previous: Option<Place>,
    boot: &Boot,
) -> Result<(Place, Running), LaunchError> {
    folder.prepare().map_err(LaunchError::Folder)?;
    folder.add_keys(&boot.keys).map_err(LaunchError::Folder)?;
    let host_seed =
        previous.as_ref().map_or_else(|| shared.with(|state, _| seed(state)), |place| place.host_seed);
    let kept = previous.filter(|_| !boot.fresh_address).map(|place| place.endpoints);
    let address = kept.as_ref().map_or_else(|| shared.addresses.next(), |endpoints| endpoints.address);
    let shell = Shell { folder: folder.clone(), mark: census.mark.clone(), host: address };
    let ssh = boot.has_ssh.then(|| {
        Arc::new(SshHost::new(Arc::clone(shared), instance, shell.clone(), host_seed, shared.tasks.clone()))
    });
    let (silence, silent) = watch::channel(false);
    let (ssh_cuts, cuts) = watch::channel(0);
    let down = shared.stop.child_token();
    let guard = down.clone().drop_guard();
    let mut doorway = Doorway {
        shared,
        instance,
        address,
        kept: kept.as_ref(),
        line: Line { silent, ssh_cuts: cuts, down: down.clone() },
        gates: Vec::new(),
    };
    let endpoints = doorway.open(boot, ssh.as_ref()).await?;
    let child = run_program(&shell, boot, &endpoints).map_err(LaunchError::Program)?;
    watch_program(shared, instance, boot, child);
    guard.disarm();
    let fingerprint = ssh.as_ref().map(|ssh| ssh.fingerprint()).unwrap_or_default();
    let app_ports =
        boot.ports.iter().filter(|(_, protocol)| *protocol == "tcp").map(|(port, _)| *port).collect();
    let running = Running { down, gates: doorway.gates, silence, ssh_cuts, ssh, app_ports };
    Ok((Place { endpoints, host_seed, fingerprint }, running))
}

/// Opens a box's gates.
struct Doorway<'a> {
    shared: &'a Arc<Shared>,
    instance: u64,
    address: Ipv4Addr,
    kept: Option<&'a Endpoints>,
    line: Line,
    gates: Vec<JoinHandle<()>>,
}

impl Doorway<'_> {
    async fn open(&mut self, boot: &Boot, ssh: Option<&Arc<SshHost>>) -> Result<Endpoints, LaunchError> {
        let mut ports = BTreeMap::new();
        let mut proxy = None;
        if let Some(ssh) = ssh {
            let direct = Upstream::Ssh(Arc::clone(ssh), "direct");
            let host_port = self.gate(self.address, SSH_PORT, self.kept_port("22/tcp"), direct).await?;
            ports.insert("22/tcp".to_owned(), host_port);
            let address = self.shared.addresses.proxy(self.instance);
            let kept = self.kept.and_then(|endpoints| endpoints.proxy).map(|(_, port)| port);
            let upstream = Upstream::Ssh(Arc::clone(ssh), "proxy");
            proxy = Some((address, self.gate(address, SSH_PORT, kept, upstream).await?));
        }
        let jupyter = boot.has_jupyter.then_some((JUPYTER_PORT, "tcp"));
        for (port, protocol) in boot.ports.iter().copied().chain(jupyter) {
            let name = format!("{port}/{protocol}");
            if ports.contains_key(&name) {
                continue;
            }
            let upstream = Upstream::App(SocketAddr::from((self.address, port)));
            let host_port = self.gate(self.address, port, self.kept_port(&name), upstream).await?;
            ports.insert(name, host_port);
        }
        Ok(Endpoints { address: self.address, ports, proxy })
    }

    fn kept_port(&self, name: &str) -> Option<u16> {
        self.kept.and_then(|endpoints| endpoints.ports.get(name).copied())
    }

    /// UDP ports get a TCP gate too: their host port must be reserved, and nothing forwards UDP here.
    async fn gate(
        &mut self,
        address: Ipv4Addr,
        port: u16,
        wanted: Option<u16>,
        upstream: Upstream,
    ) -> Result<u16, LaunchError> {
        let listened = self.shared.addresses.listen(address, wanted).await;
        let listener = listened.map_err(|error| LaunchError::Listen(address, error))?;
        let host_port = listener.local_addr().map_err(|error| LaunchError::Listen(address, error))?.port();
        let gate = Gate {
            shared: Arc::clone(self.shared),
            instance: self.instance,
            port,
            upstream,
            line: self.line.clone(),
            tasks: self.shared.tasks.clone(),
        };
        self.gates.push(self.shared.tasks.spawn(gate.run(listener)));
        Ok(host_port)
    }
}

/// Starts the main program: Vast.ai's launcher with `onstart` for SSH and Jupyter, the entrypoint for `args`.
///
/// `onstart` sees its private `/etc/environment`: mentions of that path are rewritten, because the usual line
/// `env >> /etc/environment` would otherwise write to the real machine's file.
fn run_program(shell: &Shell, boot: &Boot, endpoints: &Endpoints) -> io::Result<Option<Child>> {
    let Some(onstart) = boot.onstart.as_deref().filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    let private = shell.folder.environment_file().display().to_string();
    let script = onstart.replace("/etc/environment", &private);
    let mut command = shell.command(Shell::program());
    if boot.has_ssh || boot.has_jupyter {
        let file = shell.folder.base().join("onstart.sh");
        std::fs::write(&file, script)?;
        command.arg(file);
    } else {
        // The entrypoint program with its arguments, words of the program split as a shell would.
        command.arg("-c").arg(format!("exec {script} \"$@\"")).arg("entrypoint").args(&boot.args);
    }
    let ports = endpoints.ports.iter().map(|(name, host_port)| {
        let (port, protocol) = name.split_once('/').unwrap_or((name, "tcp"));
        (format!("VAST_{}_PORT_{port}", protocol.to_uppercase()), host_port.to_string())
    });
    let log = shell.folder.open_log()?;
    command
        .envs(boot.variables.iter().map(|(name, value)| (name, value)))
        .envs(ports)
        .env("PUBLIC_IPADDR", endpoints.address.to_string())
        // Last, so that a given HOST of 0.0.0.0 cannot make two boxes fight for one port.
        .env("HOST", endpoints.address.to_string())
        .env(super::process::MARK, &shell.mark)
        .stdout(log.try_clone()?)
        .stderr(log);
    command.spawn().map(Some)
}

/// Reaps the program. With runtype `args` its end is the container's end; a launcher outlives its onstart.
fn watch_program(shared: &Arc<Shared>, instance: u64, boot: &Boot, child: Option<Child>) {
    let Some(mut child) = child else { return };
    let (shared, number, is_container) =
        (Arc::clone(shared), boot.number, !boot.has_ssh && !boot.has_jupyter);
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        let status = child.wait().await;
        if is_container {
            let code = status.ok().and_then(|status| status.code());
            shared.with(|state, _| state.box_exited(instance, number, code));
        }
    });
}
