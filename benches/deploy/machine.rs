//! The boxes of the benchmark: OpenSSH servers of their own, on loopback or as far away as another continent.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use vast_keeper::{
    deploy::{Artifact, DeployRequest, Gate, Method, Restart, Site, Smoke},
    fleet::{
        name::{InstanceId, OpId},
        provider::SshEndpoint,
    },
    remote::{BoxAddress, Remote, RemoteConfig},
};

use super::LIMIT;

/// To a box on another continent, one way.
const FAR: Duration = Duration::from_millis(75);
/// Where the ways to such boxes begin: none of the ports that were promised to servers.
const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A box: an SSH server with a home, and the port where its server will listen.
pub struct Machine {
    pub folder: TempDir,
    pub ssh_port: u16,
    pub server_port: u16,
    /// Where it is reached: its SSH server and its own.
    ssh: SocketAddr,
    public: SocketAddr,
    sshd: Child,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let supervise = self.folder.path().join("home/keeper/supervise");
        let _ = Command::new("sh").arg(supervise).arg("stop").stderr(Stdio::null()).status();
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Machine {
    pub async fn start() -> Result<Self> {
        let _ = fs::create_dir_all("/run/sshd");
        let folder = tempfile::Builder::new().prefix("vk-bench").tempdir_in("/tmp")?;
        let at = folder.path().display().to_string();
        for name in ["host", "key"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.path().join(name));
            ensure!(made_well(&mut keygen)?, "no key was made");
        }
        fs::create_dir(folder.path().join("home"))?;
        fs::copy(folder.path().join("key.pub"), folder.path().join("authorized_keys"))?;
        let (ssh_port, server_port) = (free_port()?, free_port()?);
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {ssh_port}\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized_keys\nUsePAM no\n\
             StrictModes no\nPidFile none\nPasswordAuthentication no\nLogLevel ERROR\nSubsystem sftp internal-sftp\n\
             SetEnv HOME={at}/home HOST=127.0.0.1\n"
        );
        fs::write(folder.path().join("sshd_config"), config)?;
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-f"]).arg(folder.path().join("sshd_config")).stdin(Stdio::null());
        let sshd = command.spawn().context("sshd (apt-get install openssh-server)")?;
        let [ssh, public] = [ssh_port, server_port].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let machine = Self { folder, ssh_port, server_port, ssh, public, sshd };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", ssh_port)).is_err() {
            ensure!(Instant::now() < until, "sshd does not listen");
            sleep(Duration::from_millis(5)).await;
        }
        Ok(machine)
    }

    /// The same on another continent.
    pub async fn far_away() -> Result<Self> {
        let mut machine = Self::start().await?;
        (machine.ssh, machine.public) = (relay(machine.ssh).await?, relay(machine.public).await?);
        Ok(machine)
    }

    pub fn remote(&self) -> Result<Remote> {
        Ok(Remote::new(RemoteConfig::new(self.folder.path().join("key"), self.folder.path().join("state")))?)
    }

    pub fn address(&self) -> Result<BoxAddress> {
        let endpoints = vec![SshEndpoint { host: self.ssh.ip().to_string(), port: self.ssh.port() }];
        Ok(BoxAddress { instance: InstanceId(7), endpoints, user: user()? })
    }

    pub fn request(&self, artifact: &Arc<Artifact>) -> Result<DeployRequest> {
        let op = OpId::from_bits(11);
        let address = self.address()?;
        let site = Site {
            node: "duel-0".parse().map_err(|error| anyhow::anyhow!("{error}"))?,
            instance: address.instance,
            op: op.clone(),
            endpoints: address.endpoints,
            user: address.user,
            server_port: self.server_port,
            public: self.public,
            gate: Gate {
                interval: Duration::from_millis(20),
                ..Gate::new(op, Some(artifact.commit.clone()))
            },
            keep: 3,
            deadline: LIMIT,
            connect_budget: Duration::from_secs(20),
            by: "the benchmark".into(),
            wait_lock: Duration::ZERO,
        };
        Ok(DeployRequest {
            site,
            method: Method::default(),
            artifact: Arc::clone(artifact),
            env: BTreeMap::new(),
            restart: Restart::Always,
            force: false,
            maintenance: None,
            smoke: Smoke::default(),
        })
    }
}

pub fn made_well(command: &mut Command) -> Result<bool> {
    Ok(command.status()?.success())
}

pub fn user() -> Result<String> {
    Ok(String::from_utf8(Command::new("id").arg("-un").output()?.stdout)?.trim().to_owned())
}

/// A way to that port on which every byte travels for [`FAR`]; returns where it begins.
async fn relay(to: SocketAddr) -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind((HERE, 0)).await?;
    let begins = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(far) = tokio::net::TcpStream::connect(to).await else { return };
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                tokio::join!(travel(from_near, to_far), travel(from_far, to_near));
            });
        }
    });
    Ok(begins)
}

async fn travel(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (sender, mut on_its_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let sent = async move {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let bytes = buffer.get(..read).unwrap_or_default().to_vec();
            let _ = sender.send((Instant::now() + FAR, bytes));
        }
    };
    let arrived = async move {
        while let Some((at, bytes)) = on_its_way.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(sent, arrived);
}
