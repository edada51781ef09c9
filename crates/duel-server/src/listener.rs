//! Accepts connections and serves HTTP/1 on them, within limits.
//!
//! Why not the framework's own loop: a half-open connection must cost little and end soon. So there is a limit on
//! connections, a deadline for request heads, and a drain that stops accepting first, lets requests in flight finish,
//! and cuts what is left at its deadline.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::clock::Clock;
use crate::http::ClientAddress;
use crate::metrics::{Metrics, OutcomeLabel};
use crate::vitals::Vitals;

/// A client that does not finish its request head within this time is cut; also the limit of idle keep-alive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Most connections at once, where the system allows as many files.
const MAX_CONNECTIONS: u64 = 16_384;

/// Files kept for everything that is not a connection: the database, logs, the encoder.
const SPARE_FILES: u64 = 128;

/// Read buffer of a connection; request heads of this API are small.
const BUFFER_BYTES: usize = 16 * 1024;

/// Send buffer of a connection in the kernel, so that a reader that has stopped is noticed after some dozens of
/// messages and not after megabytes.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// The listener turns at least this often, so that its heartbeat means something.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Pause after a failed accept: usually the process is out of files, and spinning would not give any back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until told to stop.
pub struct Listener {
    /// The bound socket.
    pub socket: TcpListener,
    /// What serves requests.
    pub router: Router,
    /// The clock.
    pub clock: Clock,
    /// Where the heartbeat goes.
    pub vitals: Arc<Vitals>,
    /// Where connections are counted.
    pub metrics: Arc<Metrics>,
}

/// The connections still open after the listener stopped accepting.
pub struct Remaining {
    connections: TaskTracker,
    cut: CancellationToken,
}

impl Remaining {
    /// Waits for all connections to end; at the deadline the rest is cut. Says how many were.
    pub async fn drain(self, limit: Duration) -> usize {
        self.connections.close();
        if tokio::time::timeout(limit, self.connections.wait()).await.is_ok() {
            return 0;
        }
        let left = self.connections.len();
        self.cut.cancel();
        self.connections.wait().await;
        left
    }
}

impl Listener {
    /// Accepts until `stop`; every open connection is then asked to finish its request and close.
    pub async fn run(self, stop: CancellationToken) -> Remaining {
        let limit = raise_file_limit();
        let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
        let mut beat = tokio::time::interval(HEARTBEAT);
        loop {
            // Accepting loses nothing when another arm wins.
            tokio::select! {
                () = stop.cancelled() => return Remaining { connections, cut },
                _ = beat.tick() => self.vitals.beat_listener(self.clock.now()),
                accepted = self.socket.accept() => match accepted {
                    Ok(_) if connections.len() as u64 >= limit => self.count_cut("over-limit"),
                    Ok((stream, peer)) => {
                        let served = self.serve(stream, peer, stop.clone(), cut.clone());
                        connections.spawn(served);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }

    fn count_cut(&self, outcome: &'static str) {
        self.metrics.connections_cut.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        stop: CancellationToken,
        cut: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let (router, metrics) = (self.router.clone(), Arc::clone(&self.metrics));
        async move {
            metrics.connections.inc();
            // Small answers must not wait for each other; a socket that refuses an option works without it.
            let _ = stream.set_nodelay(true);
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES);
            let service = service_fn(move |request| answer(router.clone(), peer.ip(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(BUFFER_BYTES)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let mut connection = std::pin::pin!(connection);
            // Once asked to stop, the connection goes on until its request is answered or it is cut.
            let outcome = tokio::select! {
                outcome = connection.as_mut() => Some(outcome),
                () = stop.cancelled() => None,
            };
            let outcome = match outcome {
                Some(outcome) => outcome,
                None => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        outcome = connection => outcome,
                        () = cut.cancelled() => Ok(()),
                    }
                }
            };
            if outcome.is_err_and(|error| error.is_timeout()) {
                metrics.connections_cut.get_or_create(&OutcomeLabel { outcome: "slow-head" }).inc();
            }
            metrics.connections.dec();
        }
    }
}

async fn answer(
    mut router: Router,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ClientAddress(peer.to_canonical()));
    router.call(request).await
}

/// Raises the soft limit of open files to the hard one and says how many connections fit.
fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = MAX_CONNECTIONS + SPARE_FILES;
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
    files.saturating_sub(SPARE_FILES).clamp(16, MAX_CONNECTIONS)
}
