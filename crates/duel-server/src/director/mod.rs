//! The director: the one owner of the arena's state.
//!
//! It takes commands from a bounded queue, as many as are waiting at once, decides them in order against the state,
//! commits all their records in one transaction, and only then answers and publishes. While one commit is being
//! flushed the next batch gathers: that is the group commit. Time is a command like any other: on every turn it first
//! lets happen what is due.
//!
//! A commit that fails or takes too long has an unknown outcome. Then nothing is answered with success, the state is
//! thrown away, and the director reads it back from the store before it goes on.

mod commands;
mod handle;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::arena::{Cents, Phase, Record, State, Timing};
use crate::clock::{Clock, Millis};
use crate::metrics::Metrics;
use crate::randomness::duel_seed;
use crate::store::{Store, StoreError};
use crate::view::View;
use crate::vitals::Vitals;

use commands::{Answer, decide};
use handle::Command;
pub use handle::{AcceptedBet, CommandError, Handle};

/// Commands waiting for the director; beyond it callers are told that the server is busy.
const QUEUE: usize = 4096;

/// Most commands of one batch: bounds the time of a commit and so the latency of a bet.
const BATCH: usize = 512;

/// The director turns at least this often, so that its heartbeat means something.
const HEARTBEAT_MS: Millis = 500;

/// A commit or load that takes longer counts as failed.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two attempts to read the state back.
const RELOAD_PAUSE: Duration = Duration::from_millis(500);

/// What the director is told at start.
pub struct Plan {
    /// Lengths of the cycle.
    pub timing: Timing,
    /// What a new player gets.
    pub starting_balance: Cents,
    /// The secret from which every duel's seed is derived.
    pub seed: u64,
    /// Enter maintenance before the first duel, with this reason and wait.
    pub start_in_maintenance: Option<(String, Millis)>,
    /// Keep a maintenance that was active when the process before ended.
    pub keep_maintenance: bool,
}

/// The director itself; see the module.
pub struct Director {
    store: Arc<dyn Store>,
    clock: Clock,
    plan: Plan,
    vitals: Arc<Vitals>,
    metrics: Arc<Metrics>,
    state: Option<State>,
    commands: mpsc::Receiver<Command>,
    view: watch::Sender<Arc<View>>,
    /// The state was read back and the view still shows the one before.
    view_is_stale: bool,
    /// Whether the process before ended without its good-bye.
    pub followed_crash: bool,
}

impl Director {
    /// Loads the state, settles what an earlier process left, and commits the start.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Clock,
        plan: Plan,
        vitals: Arc<Vitals>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Handle), StoreError> {
        let loaded = store.load(clock.now()).await?;
        let mut state = loaded.state;
        let now = clock.now();
        let mut records = vec![Record::ServerStarted { at: now }];
        if let Some(called_off) = state.interrupted(now, &plan.timing) {
            state.apply(&called_off);
            records.push(called_off);
        }
        for record in maintenance_at_start(&state, &plan, now) {
            state.apply(&record);
            records.push(record);
        }
        let records: Arc<[Record]> = records.into();
        store.commit(Arc::clone(&records)).await?;
        account_for(&metrics, &state, &records);
        metrics.maintenance.set(i64::from(state.maintenance.is_some()));
        let (sender, commands) = mpsc::channel(QUEUE);
        let (view, views) = watch::channel(Arc::new(View::of(&state)));
        let followed_crash = loaded.crashed;
        let state = Some(state);
        let director = Self {
            store,
            clock,
            plan,
            vitals,
            metrics,
            state,
            commands,
            view,
            view_is_stale: false,
            followed_crash,
        };
        Ok((director, Handle { commands: sender, view: views }))
    }

    /// Runs until told to stop; then commits the good-bye.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let now = self.clock.now();
            self.vitals.beat_director(now);
            let due = self.state.as_ref().and_then(|state| state.next_due_at(&self.plan.timing));
            let wake = due.unwrap_or(Millis::MAX).min(now + HEARTBEAT_MS);
            let mut batch = Vec::new();
            // `recv_many` loses nothing when another arm wins; the other two hold no data.
            tokio::select! {
                () = stop.cancelled() => break,
                received = self.commands.recv_many(&mut batch, BATCH) => {
                    if received == 0 { break }
                }
                () = tokio::time::sleep_until(self.clock.instant_of(wake)) => {}
            }
            if self.state.is_none() && !self.reload().await {
                batch.into_iter().for_each(|command| command.refuse(CommandError::StoreLost));
                // Cut short by the stop, so that a lost store does not hold up the exit.
                let _ = timeout(RELOAD_PAUSE, stop.cancelled()).await;
                continue;
            }
            self.turn(batch).await;
        }
        self.commands.close();
        let goodbye: Arc<[Record]> = Arc::new([Record::ServerStopped { at: self.clock.now() }]);
        match timeout(STORE_TIMEOUT, self.store.commit(goodbye)).await {
            Ok(Ok(())) => tracing::info!("the arena is checkpointed"),
            Ok(Err(error)) => {
                tracing::error!(error = crate::error_chain(&error), "cannot commit the good-bye")
            }
            Err(_) => tracing::error!("the commit of the good-bye took too long"),
        }
    }

    async fn turn(&mut self, batch: Vec<Command>) {
        let Some(mut state) = self.state.take() else { return };
        let now = self.clock.now();
        let mut records = Vec::new();
        let next_seed = duel_seed(self.plan.seed, state.next_duel);
        while let Some(record) = state.due(now, &self.plan.timing, next_seed) {
            state.apply(&record);
            records.push(record);
        }
        let answers: Vec<Answer> = batch
            .into_iter()
            .map(|command| decide(&mut state, &mut records, command, self.plan.starting_balance, now))
            .collect();
        let changed = !records.is_empty();
        if changed {
            let records: Arc<[Record]> = records.into();
            if !self.commit(Arc::clone(&records)).await {
                let settled = |record: &&Record| matches!(record, Record::MarketSettled { .. });
                self.metrics.payouts_failed.inc_by(records.iter().filter(settled).count() as u64);
                self.vitals.set_store_lost(true, self.clock.now());
                answers.into_iter().for_each(|answer| answer(false));
                return;
            }
            account_for(&self.metrics, &state, &records);
        }
        if changed || self.view_is_stale {
            // Published before the answers, so that whoever got an answer finds it in the view.
            self.view.send_replace(Arc::new(View::of(&state)));
        }
        if self.view_is_stale {
            self.vitals.set_store_lost(false, self.clock.now());
            self.view_is_stale = false;
        }
        answers.into_iter().for_each(|answer| answer(true));
        self.state = Some(state);
    }

    async fn commit(&self, records: Arc<[Record]>) -> bool {
        let started = self.clock.monotonic();
        let outcome = timeout(STORE_TIMEOUT, self.store.commit(records)).await;
        self.metrics.database_commit.observe(started.elapsed().as_secs_f64());
        match outcome {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::error!(error = crate::error_chain(&error), "a commit failed"),
            Err(_) => tracing::error!(limit_ms = STORE_TIMEOUT.as_millis() as u64, "a commit took too long"),
        }
        self.metrics.database_errors.inc();
        false
    }

    /// Reads the state back from the store; says whether there is one again.
    async fn reload(&mut self) -> bool {
        match timeout(STORE_TIMEOUT, self.store.load(self.clock.now())).await {
            Ok(Ok(loaded)) => {
                let mut state = loaded.state;
                // Goes on counting: watchers compare it to see a change.
                state.phase_version += self.view.borrow().phase_version + 1;
                tracing::warn!("the store is back and the state was read again");
                // Published, and reported as healed, by the turn that follows: once what fell due has happened.
                self.view_is_stale = true;
                self.state = Some(state);
                true
            }
            Ok(Err(error)) => {
                tracing::debug!(error = crate::error_chain(&error), "the store is still lost");
                false
            }
            Err(_) => false,
        }
    }
}

/// Logs transitions and counts what was committed.
fn account_for(metrics: &Metrics, state: &State, records: &[Record]) {
    for record in records {
        metrics.count(record, state);
        match record {
            Record::DuelOpened { duel, a, b, .. } => tracing::info!(duel, a, b, "a duel was announced"),
            Record::WinnerAnnounced { duel, winner, .. } => {
                tracing::info!(duel, winner = winner.as_str(), "a duel was won");
            }
            Record::MarketSettled { duel, payouts, .. } => {
                tracing::info!(duel, bets = payouts.len(), "a market was settled");
            }
            Record::DuelCalledOff { duel, .. } => {
                tracing::warn!(duel, "a duel was called off and refunded")
            }
            Record::MaintenanceEntered { reason, .. } => tracing::info!(reason, "maintenance entered"),
            Record::MaintenanceSafe { .. } => tracing::info!("maintenance: safe to deploy"),
            Record::MaintenanceTimedOut { .. } => {
                tracing::warn!(
                    phase = state.phase().as_str(),
                    "maintenance: markets did not resolve in time"
                );
            }
            Record::MaintenanceExited { .. } => tracing::info!("maintenance exited"),
            Record::PlayerJoined { .. }
            | Record::BetPlaced { .. }
            | Record::MarketLocked { .. }
            | Record::MarketReopened { .. }
            | Record::FightStarted { .. }
            | Record::DuelEnded { .. }
            | Record::ServerStarted { .. }
            | Record::ServerStopped { .. } => {}
        }
    }
}

fn maintenance_at_start(state: &State, plan: &Plan, now: Millis) -> Vec<Record> {
    let mut records = Vec::new();
    let kept = state.maintenance.is_some() && plan.keep_maintenance;
    if state.maintenance.is_some() && !kept {
        records.extend(state.exit_maintenance(now).unwrap_or_default());
    }
    if let (Some((reason, timeout)), false) = (&plan.start_in_maintenance, kept) {
        let deadline = now.saturating_add(*timeout);
        records.push(Record::MaintenanceEntered { reason: reason.clone(), at: now, deadline });
        if let Some(duel) = state.duel.as_ref().filter(|duel| duel.phase() == Phase::Countdown) {
            records.push(Record::MarketLocked { duel: duel.id, at: now });
        }
    }
    records
}
