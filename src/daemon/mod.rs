//! The daemon: puts the rooms together from the configuration, serves, schedules, and stops in order.
//!
//! Everything that can be wrong with the configuration is found before this room is entered; what can still fail here is
//! the machine: a lock that another keeper holds, a port that is taken, a key that cannot be read.

mod answer;
mod assemble;
mod schedule;
mod service;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use answer::{deploys, events, incident, incidents};
pub use assemble::{Boxes, addressed, boxes};
pub use service::serve;

use crate::{
    clock::Clock,
    config::Config,
    crash::{self, Point},
    engine::{Engine, Handle, Parts, Storage, StorageFault, chain},
    fleet::state::Fleet,
    http::{self, Hook, Site},
    metrics::Metrics,
    probe::{ProbeError, Prober},
    remote::RemoteError,
    store::{OpenError, Store},
    vast::VastError,
};

/// Reports of probes that may wait for the engine; a burst of a large fleet fits.
const REPORTS_WAITING: usize = 8192;

/// What a stop waits beyond the longest call to the provider, and at most: systemd kills after 45 s.
const STOP_GRACE: Duration = Duration::from_secs(5);
const STOP_MOST: Duration = Duration::from_secs(38);

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another keeper works on the same state.
    #[error("another keeper works on `{}`{}", folder.display(), pid.map_or_else(String::new, |pid| format!(" (pid {pid})")))]
    Locked {
        /// The state folder.
        folder: PathBuf,
        /// Its process id, if known.
        pid: Option<u32>,
    },
    /// The journal must be looked at by a person.
    #[error("cannot open the journal in `{}`", folder.display())]
    Store {
        /// The state folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The journal does not fold.
    #[error("the journal in `{}` cannot be followed: {fault}", folder.display())]
    Journal {
        /// The state folder.
        folder: PathBuf,
        /// Why.
        fault: StorageFault,
    },
    /// A setting that only its user can judge.
    #[error("{what}")]
    Setting {
        /// Which and why.
        what: String,
    },
    /// The provider's client.
    #[error("cannot prepare the provider's client")]
    Provider(#[from] VastError),
    /// SSH.
    #[error("cannot prepare ssh")]
    Remote(#[from] RemoteError),
    /// The prober.
    #[error("cannot start probing")]
    Probe(#[from] ProbeError),
    /// The client for sinks and canaries.
    #[error("cannot prepare the http client")]
    Http(#[source] reqwest::Error),
    /// An address or socket is taken or forbidden.
    #[error("cannot serve on `{at}`")]
    Serve {
        /// Which.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The scheduler.
    #[error("cannot start the scheduler: {0}")]
    Schedule(String),
}

/// What is not in the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The keeper's clock.
    pub clock: Clock,
    /// Seeds op ids, jitter and spread.
    pub seed: u64,
    /// Whether page, sockets and schedule are left out: for a one-off without a daemon.
    pub bare: bool,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    /// Asks the engine.
    pub handle: Handle,
    /// Where the page is served.
    pub page: Option<SocketAddr>,
    /// The open store, `None` while it is broken.
    pub store: watch::Receiver<Option<Store>>,
    stop: CancellationToken,
    engine: JoinHandle<()>,
}

impl Daemon {
    /// Starts everything.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub async fn start(config: &Config, options: Options) -> Result<Self, StartError> {
        let (store, fleet, trouble) = open(config).await?;
        let clock = options.clock.not_before(fleet.latest);
        if clock.now() > options.clock.now() {
            tracing::warn!("the wall clock is behind the journal: time goes on from the newest entry");
        }
        let sinks = assemble::sinks(config)?;
        let http = crate::alerts::http_client().map_err(StartError::Http)?;
        let (reports, probes) = tokio::sync::mpsc::channel(REPORTS_WAITING);
        let prober = Prober::start(clock, options.seed, reports)?;
        let edges = assemble::edges(config, clock, prober, http.clone())?;
        let metrics = Arc::new(Metrics::new());
        let mut storage =
            Storage::new(config.state_dir.clone(), store, sinks, http, clock, options.seed).await;
        if let Some(trouble) = trouble {
            storage.fail(&trouble, clock.now()).await;
        }
        let follow = storage.follow();
        let parts = Parts {
            clock,
            policy: assemble::policy(config),
            fleet,
            storage,
            edges,
            probes,
            metrics: Arc::clone(&metrics),
            stop_patience: (config.provider.timeout + STOP_GRACE).min(STOP_MOST),
            seed: options.seed,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let (engine, handle) = Engine::new(parts);
        let stop = CancellationToken::new();
        let serving = CancellationToken::new();
        // Whatever fails below, nothing that was begun above it goes on.
        let begun = [stop.clone().drop_guard(), serving.clone().drop_guard()];
        let page = if options.bare {
            None
        } else {
            serve_all(config, clock, &handle, &follow, metrics, &serving).await?
        };
        if !options.bare {
            schedule::start(&config.schedule, &handle, &stop).await.map_err(StartError::Schedule)?;
        }
        let [stop, serving] = begun.map(DropGuard::disarm);
        let engine = tokio::spawn({
            let stop = stop.clone();
            async move {
                engine.run(stop).await;
                serving.cancel();
            }
        });
        Ok(Self { handle, page, store: follow, stop, engine })
    }

    /// Stops in order: nothing new is begun, answers under way are journaled, the fleet stays as it is.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(fault) = self.engine.await {
            tracing::error!(%fault, "the engine ended badly");
        }
    }

    /// Waits for the engine to end by itself, which only a defect makes it do.
    pub async fn ended(&mut self) {
        let _ = (&mut self.engine).await;
    }
}

/// Opens the store. A disk that is full or cannot be written is no reason to stop watching: what can be read is read, and
/// the engine tries again.
async fn open(config: &Config) -> Result<(Option<Store>, Fleet, Option<StorageFault>), StartError> {
    let folder = config.state_dir.clone();
    let opened = {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || Store::open(&folder)).await
    };
    let opened = opened
        .map_err(|fault| StartError::Setting { what: format!("opening the journal failed: {fault}") })?;
    match opened {
        Ok((store, loaded)) => {
            let fleet = crate::engine::fold(loaded);
            let fleet = fleet.map_err(|fault| StartError::Journal { folder: folder.clone(), fault })?;
            crash::at(Point::Opened);
            Ok((Some(store), fleet, None))
        }
        Err(OpenError::Locked { pid }) => Err(StartError::Locked { folder, pid }),
        Err(fault) if fault.is_passing() => {
            let fault = &fault as &dyn std::error::Error;
            tracing::error!(fault, "the journal cannot be written");
            let fleet = read_only(&folder).await;
            let known =
                if fleet.is_some() { "" } else { "; the fleet cannot be read either, so nothing is watched" };
            let trouble = StorageFault::Store(format!("{}{known}", chain(fault)));
            Ok((None, fleet.unwrap_or_default(), Some(trouble)))
        }
        Err(source) => Err(StartError::Store { folder, source }),
    }
}

async fn read_only(folder: &std::path::Path) -> Option<Fleet> {
    let history = Store::open_read_only(folder).ok()?;
    let loaded = history.load().await.ok()?.ok()?;
    crate::engine::fold(loaded).ok()
}

async fn serve_all(
    config: &Config,
    clock: Clock,
    handle: &Handle,
    store: &watch::Receiver<Option<Store>>,
    metrics: Arc<Metrics>,
    stop: &CancellationToken,
) -> Result<Option<SocketAddr>, StartError> {
    let (site, questions) = Site::new(metrics, config.deploy.public_url.as_ref().map(url::Url::as_str));
    let secret = config.provider.webhook_secret.clone();
    let site = secret.into_iter().fold(site, |site, secret| site.hooked(Hook::new(secret, clock)));
    tokio::spawn(answer::answer_all(questions, handle.clone(), store.clone()));
    let socket = &config.control_socket;
    let taken = |at: String| move |source| StartError::Serve { at, source };
    // The address first: it may well be taken, and a socket made before it would have to be taken away again.
    let bound = match config.http {
        Some(listen) => {
            let bound = http::serve_tcp(site.clone(), listen, stop.clone()).await;
            Some(bound.map_err(taken(listen.to_string()))?)
        }
        None => None,
    };
    http::serve_unix(site, socket, stop.clone()).map_err(taken(socket.display().to_string()))?;
    Ok(bound)
}
