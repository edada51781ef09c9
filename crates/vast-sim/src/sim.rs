//! The simulator as a value: start it, ask it, break it, stop it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api::{self, SimListener};
use crate::boxes::process::Census;
use crate::boxes::{Addresses, BoxCommand, Deed, Guardian};
use crate::clock::Clock;
use crate::config::SimConfig;
use crate::engine::{self, Shared};
use crate::error::SimError;
use crate::faults::{ActiveFault, Fault, FaultError, FaultId, FaultKind};
use crate::info::{self, BoxInfo};
use crate::panel;
use crate::record::{CallRecord, Ledger};
use crate::state_folder::StateFolder;
use crate::world::State;

/// How long a shutdown waits for the boxes to be gone.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// Counts the simulators of this process, for their names.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Something done to one box at once.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A deed (see [`FaultKind::is_deed`]), without a rule.
    Do(FaultKind),
    /// End a freeze.
    Thaw,
    /// The lost host comes back.
    HostBack,
}

/// An action that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// No such instance, or it is destroyed.
    #[error("no instance {0}")]
    NoInstance(u64),
    /// The kind is not a deed but waits for calls, boots or connections: inject it as a fault.
    #[error("this kind is no deed: inject it as a fault")]
    NotADeed,
    /// The simulator is stopping.
    #[error("the simulator is stopping")]
    Stopping,
}

/// A running simulator. Dropping it kills every box's processes; [`Sim::shutdown`] does so in good order.
#[derive(Debug)]
pub struct Sim {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
    engine: JoinHandle<()>,
    guardian: Guardian,
    folder: StateFolder,
}

impl Sim {
    /// Starts a simulator on the current tokio runtime.
    ///
    /// # Errors
    /// [`SimError`] names the step and its object.
    pub async fn start(config: SimConfig) -> Result<Sim, SimError> {
        check(&config)?;
        let folder = StateFolder::open(config.state_dir.clone())?;
        let addresses = Addresses::claim(config.address_block, config.seed).map_err(SimError::Addresses)?;
        let listener =
            TcpListener::bind(config.listen).await.map_err(|error| SimError::Listen(config.listen, error))?;
        let address = listener.local_addr().map_err(|error| SimError::Listen(config.listen, error))?;
        let clock = Clock::start(config.time_scale);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let sim_id = format!("sim-{}-{number}-{:x}", std::process::id(), clock.wall_ms());
        let guardian =
            Guardian::start(&sim_id, folder.root(), folder.is_temporary()).map_err(SimError::Guardian)?;
        let state = State::new(config, clock.now());
        let shared = Arc::new(Shared::new(state, clock, addresses, folder.root().to_owned(), sim_id));
        let server = tokio::spawn(serve(Arc::clone(&shared), listener));
        let engine = tokio::spawn(engine::run(Arc::clone(&shared)));
        tracing::info!(%address, "simulator started");
        Ok(Sim { shared, address, server, engine, guardian, folder })
    }

    /// Base URL of the API, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// URL of the control panel.
    pub fn panel_url(&self) -> String {
        format!("http://{}/panel/", self.address)
    }

    /// All instances that are not destroyed, with their boxes.
    pub fn boxes(&self) -> Vec<BoxInfo> {
        self.shared.with(|state, _| info::boxes(state))
    }

    /// Every API call so far, in order of arrival.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.shared.with(|state, _| state.calls.clone())
    }

    /// The calls with a greater `seq` than this; cheaper than [`Sim::calls`] for one who follows along.
    pub fn calls_after(&self, seq: u64) -> Vec<CallRecord> {
        self.shared.with(|state, _| state.calls_after(seq).cloned().collect())
    }

    /// Every rental and everything that truly happened to the boxes.
    pub fn ledger(&self) -> Ledger {
        self.shared.with(|state, _| state.ledger())
    }

    /// Puts a rule into force. A deed is drawn at once for the boxes that run.
    ///
    /// # Errors
    /// [`FaultError`] for a rule that makes no sense.
    pub fn inject(&self, fault: Fault) -> Result<FaultId, FaultError> {
        inject(&self.shared, fault)
    }

    /// All rules, spent ones included.
    pub fn faults(&self) -> Vec<ActiveFault> {
        self.shared.with(|state, _| state.faults.rules().to_vec())
    }

    /// Removes one rule; whether it was there. What it has done stays done.
    pub fn clear_fault(&self, id: FaultId) -> bool {
        self.shared.with(|state, _| state.faults.remove(id))
    }

    /// Removes all rules. What they have done stays done.
    pub fn clear_faults(&self) {
        self.shared.with(|state, _| state.faults.clear());
    }

    /// Does something to one box and waits until it is done; gives the process ids it hit.
    ///
    /// # Errors
    /// [`ActionError`] when there is no such box or the kind is no deed.
    pub async fn act(&self, instance: u64, action: Action) -> Result<Vec<i32>, ActionError> {
        act(&self.shared, instance, action).await
    }

    /// Sets the account's credit, in dollars.
    pub fn set_credit(&self, dollars: f64) {
        self.shared.with(|state, _| state.account.credit = dollars);
    }

    /// Kills every box, removes their folders, closes every port.
    pub async fn shutdown(mut self) {
        self.shared.stop.cancel();
        let _ = (&mut self.engine).await;
        let _ = (&mut self.server).await;
        self.shared.tasks.close();
        if tokio::time::timeout(SHUTDOWN_LIMIT, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!("some boxes did not stop in time");
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.server.abort();
        self.engine.abort();
        let census = Census { mark: self.shared.sim_id.clone(), folder: self.shared.root.join("boxes") };
        match census.kill_all() {
            Err(survivors) => tracing::error!(?survivors, "processes of boxes survived"),
            Ok(_) => match self.folder.remove_boxes() {
                Err(error) => tracing::error!(%error, "the boxes' folders were not removed"),
                Ok(()) => self.guardian.dismiss(),
            },
        }
    }
}

fn check(config: &SimConfig) -> Result<(), SimError> {
    if !(config.time_scale.is_finite() && config.time_scale > 0.0) {
        return Err(SimError::Setting("time_scale", format!("{} is not above zero", config.time_scale)));
    }
    if config.api_key.trim().is_empty() {
        return Err(SimError::Setting("api_key", "empty".to_owned()));
    }
    if !config.credit.is_finite() {
        return Err(SimError::Setting("credit", format!("{} is not a number of dollars", config.credit)));
    }
    if !matches!(config.auth_error_status, 401 | 404) {
        return Err(SimError::Setting("auth_error_status", "expected 404 or 401".to_owned()));
    }
    Ok(())
}

async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let app = Router::new()
        .merge(panel::routes())
        .fallback(api::serve)
        .with_state(Arc::clone(&shared))
        .into_make_service_with_connect_info::<api::Peer>();
    tokio::select! {
        () = shared.stop.cancelled() => {}
        ended = axum::serve(SimListener(listener), app) => {
            if let Err(error) = ended {
                tracing::error!(%error, "the API stopped");
            }
        }
    }
}

pub(crate) fn inject(shared: &Shared, fault: Fault) -> Result<FaultId, FaultError> {
    fault.check()?;
    Ok(shared.with(|state, now| {
        let is_deed = fault.kind.is_deed();
        let id = state.faults.inject(fault);
        if is_deed {
            state.chaos(Some(id), now);
        }
        id
    }))
}

pub(crate) async fn act(shared: &Shared, instance: u64, action: Action) -> Result<Vec<i32>, ActionError> {
    let (reply, done) = oneshot::channel();
    shared.with(|state, now| {
        if state.alive(instance).is_none() {
            return Err(ActionError::NoInstance(instance));
        }
        let deed = match &action {
            Action::Thaw => Some(Deed::Thaw),
            Action::HostBack => {
                state.set_host_lost(instance, None, None, None);
                None
            }
            Action::Do(kind) => match state.deed(instance, kind) {
                Some(deed) => Some(deed),
                None if state.apply(instance, kind, None, now) => None,
                None => return Err(ActionError::NotADeed),
            },
        };
        // A deed done by the state itself still waits for the box's turn, so that the caller sees it done.
        let deed = deed.unwrap_or(Deed::Nothing);
        state.command(instance, BoxCommand::Do { deed, fault: None, reply: Some(reply) });
        Ok(())
    })?;
    done.await.map_err(|_| ActionError::Stopping)
}
