//! Brings notices from the store to the sinks: in order, at the sink's pace, until each is taken or given up.
//!
//! Every sink has a lane of its own, so a dead one delays no other. A notice that was sent while the keeper died may come
//! twice, with the same id; none is lost. When many wait, they are folded into one message instead of flooding a
//! channel. A sink that refuses everything is asked once an hour, and the other sinks are told.
//!
//! Lanes wake on commits, never by polling. They end when told to, or with this value.

mod lane;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use self::lane::Lane;
use crate::{
    alerts::{self, Sink},
    clock::Clock,
    fleet::{notice::Notice, units::Timestamp},
    retry::RetryPolicy,
    store::{Addressed, Store, StoreError},
};

/// Notices that may wait in memory for one sink when there is no store; more are dropped, with a log line.
const UNSTORED: usize = 32;

/// How the outbox behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutboxPolicy {
    /// How a failing sink is tried again; its limits on time are those below.
    pub retry: RetryPolicy,
    /// When more notices than this wait for a sink, they are folded.
    pub fold_above: u32,
    /// Most notices in one message; Discord's 4,096 characters leave 100 for each of 40.
    pub fold_most: u32,
    /// A notice that could not be delivered for this long is given up.
    pub give_up_after: Duration,
    /// How often a sink that refuses everything is asked again; a restart asks at once.
    pub refused_pause: Duration,
}

impl Default for OutboxPolicy {
    /// Folds above 20 notices, gives up after a day, asks a refusing sink once an hour.
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            fold_above: 20,
            fold_most: 40,
            give_up_after: Duration::from_secs(86_400),
            refused_pause: Duration::from_secs(3_600),
        }
    }
}

/// How one sink stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub sink: String,
    /// Notices that wait for it.
    pub depth: u64,
    /// Whether it works.
    pub condition: Condition,
}

/// Whether a sink works. Texts are free of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// As far as is known.
    Working,
    /// The last try failed.
    Retrying {
        /// When the next one is.
        until: Timestamp,
        /// What happened.
        detail: String,
    },
    /// It refuses everything; somebody must repair it.
    Refusing {
        /// When it is asked again.
        until: Timestamp,
        /// Its words.
        detail: String,
    },
    /// The store failed: only what is told without it goes out.
    WithoutStore,
}

/// The running outbox.
#[derive(Debug)]
pub struct Outbox {
    sinks: Arc<[Sink]>,
    entrances: Vec<mpsc::Sender<Notice>>,
    standings: Vec<watch::Receiver<Standing>>,
    lanes: JoinSet<()>,
    stop: CancellationToken,
}

impl Outbox {
    /// Starts a lane for every sink. What waits for sinks that are no longer configured is given up.
    ///
    /// # Errors
    /// The store is closed or fails.
    pub async fn start(
        store: &Store,
        sinks: Vec<Sink>,
        http: &reqwest::Client,
        clock: Clock,
        policy: OutboxPolicy,
        seed: u64,
    ) -> Result<Self, StoreError> {
        let names: Vec<String> = sinks.iter().map(|sink| sink.name.clone()).collect();
        let given_up = store.abandon_unknown_sinks(&names, clock.now()).await?;
        if given_up > 0 {
            tracing::warn!(given_up, "notices for sinks that are no longer configured are given up");
        }
        let mut outbox = Self {
            sinks: sinks.into(),
            entrances: Vec::new(),
            standings: Vec::new(),
            lanes: JoinSet::new(),
            stop: CancellationToken::new(),
        };
        for (index, sink) in outbox.sinks.iter().enumerate() {
            let (entrance, unstored) = mpsc::channel(UNSTORED);
            let standing = Standing { sink: sink.name.clone(), depth: 0, condition: Condition::Working };
            let (standing_out, standing) = watch::channel(standing);
            let lane = Lane::new(
                (store.clone(), http.clone(), clock),
                (outbox.sinks.clone(), index),
                policy,
                seed.wrapping_add(index as u64),
                (unstored, standing_out, outbox.stop.clone()),
            );
            outbox.entrances.push(entrance);
            outbox.standings.push(standing);
            outbox.lanes.spawn(lane.run());
        }
        Ok(outbox)
    }

    /// A notice with the sinks that want it, ready for a [`Batch`](crate::store::Batch).
    #[must_use]
    pub fn address(&self, notice: Notice) -> Addressed {
        let sinks = alerts::route(&self.sinks, &notice);
        Addressed { notice, sinks }
    }

    /// Tells the sinks that want it, without the store: for the news that the store itself fails. Kept in memory only.
    pub fn tell_unstored(&self, notice: &Notice) {
        for (sink, entrance) in self.sinks.iter().zip(&self.entrances) {
            if sink.wants(notice) && entrance.try_send(notice.clone()).is_err() {
                tracing::error!(
                    sink = sink.name,
                    title = notice.title,
                    "a notice could not be queued and is lost"
                );
            }
        }
    }

    /// How every sink stands, in the order of the configuration.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.standings.iter().map(|standing| standing.borrow().clone()).collect()
    }

    /// Lets deliveries under way end, at most for `within`, and stops. What still waits goes out after the next start.
    pub async fn stop(mut self, within: Duration) {
        self.stop.cancel();
        let ended = async { while self.lanes.join_next().await.is_some() {} };
        if tokio::time::timeout(within, ended).await.is_err() {
            tracing::warn!("a delivery did not end in time and will be repeated after the next start");
            self.lanes.shutdown().await;
        }
    }
}
