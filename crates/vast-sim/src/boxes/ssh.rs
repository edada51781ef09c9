//! A box's SSH server: public keys only, user `root`, commands run inside the box.
//!
//! Behaves like OpenSSH's sshd in what clients notice: exit codes and exit signals, many channels on one
//! connection, signals to the running command, terminals, the environment of `/etc/environment`, port forwarding to
//! the box, sftp where the machine has OpenSSH's `sftp-server`. Deliberately absent: terminal modes, forwarding back
//! to the client, agent and X11 forwarding.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, MethodKind, MethodSet, Sig};
use rustix::process::Pid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::session;
use super::shell::Shell;
use super::terminal::Terminal;
use crate::engine::Shared;
use crate::faults::FaultKind;

/// Where Debian and its kin keep OpenSSH's sftp server.
const SFTP_SERVERS: [&str; 3] =
    ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];

/// Messages buffered per channel. With russh's default of 100 one command that does not read its input stalls
/// every other channel of the connection; sshd has no such stall.
const CHANNEL_BUFFER: usize = 65_536;

/// The SSH server of one box; survives restarts of the box's programs.
#[derive(Debug)]
pub(crate) struct SshHost {
    shared: Arc<Shared>,
    instance: u64,
    shell: Shell,
    config: Mutex<Arc<Config>>,
    tasks: TaskTracker,
}

impl SshHost {
    pub(crate) fn new(
        shared: Arc<Shared>,
        instance: u64,
        shell: Shell,
        seed: [u8; 32],
        tasks: TaskTracker,
    ) -> Self {
        SshHost { shared, instance, shell, config: Mutex::new(Arc::new(config(seed))), tasks }
    }

    /// New connections see another host key.
    pub(crate) fn change_key(&self, seed: [u8; 32]) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config(seed));
    }

    /// `SHA256:…` of the present host key.
    pub(crate) fn fingerprint(&self) -> String {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.keys.first().map(|key| key.fingerprint(HashAlg::Sha256).to_string()).unwrap_or_default()
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let config = Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner));
        let closed = CancellationToken::new();
        let connection = Connection {
            shared: Arc::clone(&self.shared),
            instance: self.instance,
            shell: self.shell.clone(),
            refused: None,
            channels: HashMap::new(),
            environments: HashMap::new(),
            groups: HashMap::new(),
            terminals: HashMap::new(),
            tasks: self.tasks.clone(),
            closed: closed.clone(),
            _closes: closed.drop_guard(),
        };
        match russh::server::run_stream(config, stream, connection).await {
            Ok(running) => {
                if let Err(error) = running.await {
                    tracing::debug!(instance = self.instance, %error, "ssh connection ended");
                }
            }
            Err(error) => tracing::debug!(instance = self.instance, %error, "ssh handshake failed"),
        }
    }
}

fn config(seed: [u8; 32]) -> Config {
    Config {
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        auth_rejection_time: std::time::Duration::from_millis(200),
        auth_rejection_time_initial: Some(std::time::Duration::ZERO),
        keys: vec![PrivateKey::from(Ed25519Keypair::from_seed(&seed))],
        channel_buffer_size: CHANNEL_BUFFER,
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    }
}

struct Connection {
    shared: Arc<Shared>,
    instance: u64,
    shell: Shell,
    /// Whether a fault refuses this connection's logins; drawn at the first key.
    refused: Option<bool>,
    /// Channels that were opened and have no command yet.
    channels: HashMap<ChannelId, Channel<Msg>>,
    environments: HashMap<ChannelId, Vec<(String, String)>>,
    /// Process groups of the running commands. Signals go straight there: behind unread input they would wait.
    groups: HashMap<ChannelId, Pid>,
    terminals: HashMap<ChannelId, Terminal>,
    tasks: TaskTracker,
    closed: CancellationToken,
    _closes: DropGuard,
}

impl Connection {
    fn admits(&mut self, user: &str, key: &russh::keys::PublicKey) -> bool {
        let (shared, instance) = (&self.shared, self.instance);
        let refused = *self.refused.get_or_insert_with(|| {
            let pick = |kind: &FaultKind| matches!(kind, FaultKind::SshAuthRefused).then_some(());
            shared.with(|state, _| state.draw_for(instance, None, Some(22), pick)).is_some()
        });
        !refused && user == "root" && self.shell.folder.admits(key)
    }

    /// Starts `command` on a channel; a channel has one command.
    fn start(
        &mut self,
        id: ChannelId,
        command: session::Command,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(channel) = self.channels.remove(&id) else {
            return session.channel_failure(id);
        };
        let environment = self.environments.remove(&id).unwrap_or_default();
        let terminal = self.terminals.get(&id).cloned();
        match session::spawn(&self.shell, &command, &environment, terminal) {
            Ok(started) => {
                session.channel_success(id)?;
                self.groups.extend(started.group().map(|group| (id, group)));
                let talk = session::run(channel, started, session.handle(), self.closed.clone());
                self.tasks.spawn(talk);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(instance = self.instance, %error, "command did not start");
                session.channel_failure(id)
            }
        }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(if self.admits(user, offer.public_key) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(if self.admits(user, key.public_key) { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        // Inside a container `localhost` is the container; here that is the box's own address.
        let target = match host {
            "localhost" | "127.0.0.1" | "::1" | "0.0.0.0" => self.shell.host.to_string(),
            other => other.to_owned(),
        };
        let Ok(port) = u16::try_from(port) else { return Ok(()) };
        // Dropping the unanswered handle refuses the channel.
        let Ok(mut server) = TcpStream::connect((target, port)).await else { return Ok(()) };
        reply.accept().await;
        let closed = self.closed.clone();
        self.tasks.spawn(async move {
            let mut client = channel.into_stream();
            tokio::select! {
                () = closed.cancelled() => {}
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
            }
        });
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        // Debian's sshd accepts these and nothing else.
        if name == "LANG" || name.starts_with("LC_") {
            self.environments.entry(id).or_default().push((name.to_owned(), value.to_owned()));
            return session.channel_success(id);
        }
        session.channel_failure(id)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        kind: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match Terminal::open(kind, columns, rows) {
            Ok(terminal) => {
                self.terminals.insert(id, terminal);
                session.channel_success(id)
            }
            Err(error) => {
                tracing::debug!(instance = self.instance, %error, "no terminal");
                session.channel_failure(id)
            }
        }
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Some(Err(error)) = self.terminals.get(&id).map(|terminal| terminal.resize(columns, rows)) {
            tracing::debug!(instance = self.instance, %error, "terminal not resized");
        }
        Ok(())
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.start(id, session::Command::Login, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.start(id, session::Command::Shell(data.to_vec()), session)
    }

    async fn signal(
        &mut self,
        id: ChannelId,
        signal: Sig,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Some(group) = self.groups.get(&id) {
            session::forward_signal(*group, &signal);
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), russh::Error> {
        self.groups.remove(&id);
        self.terminals.remove(&id);
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let server = SFTP_SERVERS.into_iter().find(|path| name == "sftp" && Path::new(path).exists());
        match server {
            Some(path) => self.start(id, session::Command::Program(path), session),
            None => session.channel_failure(id),
        }
    }
}
