//! The TCP gate before each port of a box: forwards, or breaks traffic as the faults say.
//!
//! It stands where Vast.ai's port mapping stands: clients reach the host port, the gate reaches the container port.
//! Each accepted connection asks the fault table once; a frozen or lost box is silent, also on connections that
//! are open already. One difference to a real mapping: a port nobody listens on is reset after the accept instead
//! of being refused.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::canned;
use super::ssh::SshHost;
use crate::engine::Shared;
use crate::faults::{FaultKind, TrafficBreak};
use crate::record::Truth;

/// Bytes moved at once; also the grain of byte-exact cuts' buffers.
const CHUNK: usize = 64 * 1024;

/// Buffer between the gate and the in-process SSH server.
const SSH_PIPE: usize = 256 * 1024;

/// What the gate leads to.
#[derive(Debug, Clone)]
pub(crate) enum Upstream {
    /// A port of the box's own programs.
    App(SocketAddr),
    /// The box's SSH server; `direct` or `proxy` names the way in.
    Ssh(Arc<SshHost>, &'static str),
}

/// The signals every connection of a box listens to.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// True while nothing gets through.
    pub(crate) silent: watch::Receiver<bool>,
    /// Changes when all SSH connections are to be cut.
    pub(crate) ssh_cuts: watch::Receiver<u64>,
    /// Cancelled when the box goes down.
    pub(crate) down: CancellationToken,
}

/// One gate.
pub(crate) struct Gate {
    pub(crate) shared: Arc<Shared>,
    pub(crate) instance: u64,
    /// The container port.
    pub(crate) port: u16,
    pub(crate) upstream: Upstream,
    pub(crate) line: Line,
    pub(crate) tasks: TaskTracker,
}

impl Gate {
    /// Accepts until the box goes down; the port is free again when this returns.
    pub(crate) async fn run(self, listener: TcpListener) {
        let gate = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                () = gate.line.down.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((client, _)) => {
                    let serving = Arc::clone(&gate);
                    gate.tasks.spawn(async move { serving.serve(client).await });
                }
                // Out of descriptors or the like: wait a little rather than spin.
                Err(error) => {
                    tracing::warn!(%error, port = gate.port, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn serve(&self, client: TcpStream) {
        let _ = client.set_nodelay(true);
        let mut ssh_cuts = self.line.ssh_cuts.clone();
        ssh_cuts.mark_unchanged();
        let is_ssh = matches!(self.upstream, Upstream::Ssh(..));
        let cut = async {
            if !is_ssh || ssh_cuts.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        // Each arm may be dropped at any point: dropping closes both sides, which is what going down means.
        tokio::select! {
            () = self.line.down.cancelled() => {}
            () = cut => {}
            () = self.converse(client) => {}
        }
    }

    async fn converse(&self, client: TcpStream) {
        clear(&self.line.silent).await;
        let broken = self.draw();
        match broken {
            None => self.forward(client, Limits::default()).await,
            Some(TrafficBreak::Hang) => hold(client).await,
            Some(TrafficBreak::Reset) => reset(&client),
            Some(TrafficBreak::Close) => {}
            Some(TrafficBreak::CutAfter(bytes)) => {
                self.forward(client, Limits { down: Some(bytes), ..Limits::default() }).await;
            }
            Some(TrafficBreak::CutUploadAfter(bytes)) => {
                self.forward(client, Limits { up: Some(bytes), ..Limits::default() }).await;
            }
            Some(TrafficBreak::BytesPerSecond(rate)) => {
                self.forward(client, Limits { rate: Some(rate.max(1)), ..Limits::default() }).await;
            }
            Some(TrafficBreak::DelayMs(delay)) => {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                self.forward(client, Limits::default()).await;
            }
            Some(TrafficBreak::Html502) => canned::html_502(client).await,
            Some(TrafficBreak::Garbage) => canned::garbage(client).await,
            Some(TrafficBreak::Huge(bytes)) => canned::huge(client, bytes).await,
            Some(TrafficBreak::Stranger) => canned::stranger(client).await,
        }
    }

    fn draw(&self) -> Option<TrafficBreak> {
        let upstream = &self.upstream;
        self.shared.with(|state, _| {
            let drawn = state.draw_for(self.instance, None, Some(self.port), |kind| match (kind, upstream) {
                (FaultKind::HttpTraffic { how }, Upstream::App(_)) => Some(how.clone()),
                (FaultKind::SshTraffic { how, path }, Upstream::Ssh(_, way)) => {
                    path.as_deref().is_none_or(|path| path == *way).then(|| how.clone())
                }
                _ => None,
            });
            let (fault, how) = drawn?;
            state.note(self.instance, Truth::Network(format!("port {}: {how:?}", self.port)), Some(fault));
            Some(how)
        })
    }

    async fn forward(&self, client: TcpStream, limits: Limits) {
        match &self.upstream {
            Upstream::App(address) => match TcpStream::connect(address).await {
                Ok(server) => {
                    let _ = server.set_nodelay(true);
                    let (read, write) = server.into_split();
                    self.pump(client, read, write, limits).await;
                }
                Err(_) => reset(&client),
            },
            Upstream::Ssh(host, _) => {
                let (near, far) = tokio::io::duplex(SSH_PIPE);
                let host = Arc::clone(host);
                self.tasks.spawn(async move { host.serve(far).await });
                let (read, write) = tokio::io::split(near);
                self.pump(client, read, write, limits).await;
            }
        }
    }

    /// Moves bytes both ways until both ends are done, or one breaks, or a limit cuts the connection.
    async fn pump(
        &self,
        client: TcpStream,
        server_read: impl AsyncRead + Unpin,
        server_write: impl AsyncWrite + Unpin,
        limits: Limits,
    ) {
        let mut client = client;
        let outcome = {
            let (client_read, client_write) = client.split();
            let up = copy(client_read, server_write, limits.up, limits.rate, self.line.silent.clone());
            let down = copy(server_read, client_write, limits.down, limits.rate, self.line.silent.clone());
            tokio::try_join!(up, down)
        };
        if outcome.is_err() {
            reset(&client);
        }
    }
}

/// Byte limits of one connection.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    up: Option<u64>,
    down: Option<u64>,
    rate: Option<u64>,
}

/// Copies one direction; ends the writer at the reader's end. Reaching `limit` is an error: the cut.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    limit: Option<u64>,
    rate: Option<u64>,
    silent: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut left = limit.unwrap_or(u64::MAX);
    let chunk = rate.map_or(CHUNK, |rate| usize::try_from(rate / 10).unwrap_or(CHUNK).clamp(1, CHUNK));
    let mut buffer = vec![0; chunk];
    loop {
        let count = from.read(&mut buffer).await?;
        clear(&silent).await;
        if count == 0 {
            return to.shutdown().await;
        }
        let allowed = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        to.write_all(&buffer[..allowed]).await?;
        to.flush().await?;
        left -= allowed as u64;
        if left == 0 || allowed < count {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if let Some(rate) = rate {
            tokio::time::sleep(Duration::from_secs_f64(count as f64 / rate as f64)).await;
        }
    }
}

/// Waits while the line is silent.
async fn clear(silent: &watch::Receiver<bool>) {
    let mut silent = silent.clone();
    // An error means that the box is gone; its token ends this connection.
    let _ = silent.wait_for(|silent| !silent).await;
}

/// Keeps a connection open without a byte until the client leaves.
async fn hold(mut client: TcpStream) {
    let mut sink = vec![0; CHUNK];
    while client.read(&mut sink).await.is_ok_and(|count| count > 0) {}
}

/// Makes the coming close a reset.
pub(crate) fn reset(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}
