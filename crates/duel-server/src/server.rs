//! The server as a whole: everything is started here, in order, and stopped in the opposite one.
//!
//! Stopping: ready goes off and waiting requests are answered → no more connections are accepted → requests in flight
//! finish → WebSockets are closed with a reason → the director commits its good-bye. All within the drain timeout.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alerts::Alerts;
use crate::build_info;
use crate::clock::Clock;
use crate::director::{Director, Handle, Plan};
use crate::http::{AdminGate, App, LastAnswer, Limits, Shared};
use crate::listener::Listener;
use crate::live::{Live, Publisher};
use crate::metrics::Metrics;
use crate::sentinel::{Alert, Severity};
use crate::settings::{DEFAULT_MAINTENANCE_TIMEOUT_MS, Settings};
use crate::store::{self, Store, StoreError};
use crate::stream::Stream;
use crate::telemetry::Redactor;
use crate::tokens::Tokens;
use crate::vitals::Vitals;
use crate::watch::{guard, watch_database};

/// Connections that may wait to be accepted. When it overflows, a client waits a whole second for its next attempt.
const BACKLOG: u32 = 4096;

/// Part of the drain timeout kept for the director's good-bye.
const GOODBYE_SHARE: u32 = 5;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error("cannot open the store")]
    Store(#[from] StoreError),
    /// The address.
    #[error("cannot listen on `{address}`")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No HTTP client for the webhook.
    #[error("cannot prepare the alert webhook")]
    Webhook(#[source] reqwest::Error),
    /// No randomness for keys and seeds.
    #[error("the system gives no randomness")]
    Randomness(#[from] getrandom::Error),
}

/// A started server.
pub struct Server {
    address: SocketAddr,
    drain_timeout: Duration,
    vitals: Arc<Vitals>,
    /// Begins the stop.
    stopping: CancellationToken,
    closing_sockets: CancellationToken,
    stop_background: CancellationToken,
    stop_director: CancellationToken,
    sockets: TaskTracker,
    listener: tokio::task::JoinHandle<crate::listener::Remaining>,
    background: TaskTracker,
    director: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts everything; when this returns, requests are answered.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let clock = Clock::start();
        let tokens = Tokens::new(&settings.tokens)?;
        // Bound first: a port that is taken must not leave a start without its good-bye in the store.
        let asked = SocketAddr::new(settings.host, settings.port);
        let bind_error = |source| StartError::Bind { address: asked, source };
        let socket = bind(asked).map_err(bind_error)?;
        let address = socket.local_addr().map_err(bind_error)?;
        let (core, director) = Core::open(&settings, clock).await?;
        let background = Background::start(&settings, address, &core, director.followed_crash)?;
        let stop_director = CancellationToken::new();
        let director = tokio::spawn(director.run(stop_director.clone()));

        let (stopping, closing_sockets) = (CancellationToken::new(), CancellationToken::new());
        let sockets = TaskTracker::new();
        let drain_timeout = settings.drain_timeout;
        let (vitals, metrics) = (Arc::clone(&core.vitals), Arc::clone(&core.metrics));
        let app = App::new(Shared {
            gate: AdminGate::new(settings.admin_code.as_ref()),
            limits: Limits::new(settings.rate_limited),
            settings,
            clock,
            arena: core.arena,
            store: core.store,
            vitals: core.vitals,
            metrics: core.metrics,
            tokens,
            live: background.live,
            stream: background.stream,
            build_time: build_info::build_time(),
            last_health: LastAnswer::default(),
            sockets: sockets.clone(),
            stopping: stopping.clone(),
            closing_sockets: closing_sockets.clone(),
        });
        let router = crate::http::router(app);
        let listener = Listener { socket, router, clock, vitals: Arc::clone(&vitals), metrics };
        Ok(Self {
            address,
            drain_timeout,
            vitals,
            listener: tokio::spawn(listener.run(stopping.clone())),
            stopping,
            closing_sockets,
            stop_background: background.stop,
            stop_director,
            sockets,
            background: background.tasks,
            director,
        })
    }

    /// Where it listens; the port is the real one also when the system chose it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops in good order, within the drain timeout.
    pub async fn stop(self) {
        let goodbye = self.drain_timeout / GOODBYE_SHARE;
        let draining = self.drain_timeout - goodbye;
        self.vitals.start_draining();
        self.stopping.cancel();
        if let Ok(remaining) = self.listener.await {
            self.closing_sockets.cancel();
            self.sockets.close();
            let sockets = tokio::time::timeout(draining, self.sockets.wait());
            let (cut, sockets) = tokio::join!(remaining.drain(draining), sockets);
            if cut > 0 || sockets.is_err() {
                let sockets = self.sockets.len();
                tracing::warn!(requests = cut, sockets, "the drain timeout cut connections short");
            }
        }
        self.stop_background.cancel();
        self.background.close();
        self.stop_director.cancel();
        let ended = async {
            self.background.wait().await;
            self.director.await
        };
        match tokio::time::timeout(goodbye.max(Duration::from_millis(100)), ended).await {
            Ok(Ok(())) => tracing::info!("stopped"),
            Ok(Err(error)) => tracing::error!(%error, "the director died before its good-bye"),
            Err(_) => tracing::error!("the drain timeout cut the good-bye short"),
        }
    }
}

/// What everything else stands on.
struct Core {
    clock: Clock,
    store: Arc<dyn Store>,
    vitals: Arc<Vitals>,
    metrics: Arc<Metrics>,
    arena: Handle,
}

impl Core {
    async fn open(settings: &Settings, clock: Clock) -> Result<(Self, Director), StartError> {
        let store = store::open(&settings.database).await?;
        let vitals = Arc::new(Vitals::new(clock.now()));
        let metrics = Arc::new(Metrics::new(clock.started_at()));
        let shared = (Arc::clone(&vitals), Arc::clone(&metrics));
        let (director, arena) =
            Director::open(Arc::clone(&store), clock, plan(settings)?, shared.0, shared.1).await?;
        Ok((Self { clock, store, vitals, metrics, arena }, director))
    }
}

/// What runs beside the listener and the director.
struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
    live: Live,
    stream: Stream,
}

impl Background {
    fn start(
        settings: &Settings,
        address: SocketAddr,
        core: &Core,
        followed_crash: bool,
    ) -> Result<Self, StartError> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (clock, vitals, metrics) = (core.clock, &core.vitals, &core.metrics);
        let alerts = start_alerts(settings, address, &tasks, &stop)?;
        if followed_crash {
            metrics.start_followed_crash.set(1);
            alerts.tell(Alert {
                severity: Severity::Critical,
                kind: "server-crashed",
                text: String::from("the server was started again after it crashed or was killed"),
            });
        }
        let (publisher, live) =
            Publisher::new(clock, Arc::clone(vitals), core.arena.views(), settings.stream.public_delay);
        tasks.spawn(publisher.run(stop.clone()));
        let (store, limit) = (Arc::clone(&core.store), settings.database_timeout);
        let database = watch_database(store, clock, Arc::clone(vitals), Arc::clone(metrics), limit);
        tasks.spawn(stop.clone().run_until_cancelled_owned(database));
        let stream = Stream::start(&settings.stream, clock, &core.arena, metrics, &tasks, &stop);
        let guard = guard(clock, Arc::clone(vitals), core.arena.clone(), stream.clone(), alerts);
        tasks.spawn(stop.clone().run_until_cancelled_owned(guard));
        Ok(Self { tasks, stop, live, stream })
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the old process's closed connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn plan(settings: &Settings) -> Result<Plan, getrandom::Error> {
    let drawn = crate::randomness::bytes::<8>()?;
    Ok(Plan {
        timing: settings.timing,
        starting_balance: settings.starting_balance,
        seed: settings.duel_seed.unwrap_or_else(|| u64::from_le_bytes(drawn)),
        start_in_maintenance: settings
            .start_in_maintenance
            .then(|| (String::from("started in maintenance"), DEFAULT_MAINTENANCE_TIMEOUT_MS)),
        keep_maintenance: settings.maintenance_persist,
    })
}

/// The place where alerts are put, with its sender running where there is a webhook.
fn start_alerts(
    settings: &Settings,
    address: SocketAddr,
    background: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Alerts, StartError> {
    let Some(webhook) = settings.alerts.clone() else { return Ok(Alerts::only_logged()) };
    let origin = settings.instance.clone().unwrap_or_else(|| format!("duel-server at {address}"));
    let redactor = Redactor::new(&settings.secrets());
    let (alerts, sender) = Alerts::to_webhook(webhook, redactor, origin).map_err(StartError::Webhook)?;
    background.spawn(sender.run(stop.clone()));
    Ok(alerts)
}
