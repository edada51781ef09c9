//! Durability as the engine sees it: commit, snapshot, fail, open anew.
//!
//! A failed commit leaves it unknown what is on disk, and a second try on the same handle may report success for pages
//! that were lost. So the handle is thrown away, and the state is read back before anything is decided again.

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    degraded::unwritable,
    outbox::{Outbox, OutboxPolicy},
};
use crate::{
    alerts::{self, Sink},
    clock::Clock,
    crash::{self, Point},
    fleet::{apply::Misfit, journal::Entry, notice::Notice, state::Fleet, units::Timestamp},
    store::{Addressed, Batch, Loaded, Store},
};

/// Entries after which the state is stored whole, so that a start folds few.
const SNAPSHOT_EVERY: usize = 1000;
/// How long a stop waits for messages under way; what still waits goes out after the next start.
const OUTBOX_PATIENCE: Duration = Duration::from_secs(3);
/// A store that fails again within this time of its return has not really come back: nobody is told anew.
const EPISODE: Duration = Duration::from_secs(600);
/// Bytes that must fit on the disk before a failed store is opened again: a small write succeeds on a full disk where the
/// next one does not.
const ROOM: usize = 1 << 20;
/// How often a failed store is tried again.
const REOPEN_EVERY: Duration = Duration::from_secs(15);

/// Why nothing can be made durable.
#[derive(Debug, Clone)]
pub enum StorageFault {
    /// The store refuses to write, open or be read; in words.
    Store(String),
    /// The journal holds a record that does not fit: a defect.
    Defect(String),
}

impl fmt::Display for StorageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(why) => f.write_str(why),
            Self::Defect(why) => {
                write!(f, "a record does not fit the state, which is a defect of the keeper: {why}")
            }
        }
    }
}

/// The store, open or broken, with the sinks that notices are addressed to.
pub struct Storage {
    folder: PathBuf,
    state: State,
    sinks: Vec<Sink>,
    http: reqwest::Client,
    clock: Clock,
    seed: u64,
    outbox: Option<Outbox>,
    since_snapshot: usize,
    /// When the store last failed or came back; what fails again soon after is the same episode.
    failed_at: Option<Timestamp>,
    reopened: tokio::sync::watch::Sender<Option<Store>>,
}

enum State {
    Open(Store),
    Failed { next_try: Timestamp },
}

impl Storage {
    /// Takes an open store, or none where it does not open yet, and starts the outbox.
    pub async fn new(
        folder: PathBuf,
        store: Option<Store>,
        sinks: Vec<Sink>,
        http: reqwest::Client,
        clock: Clock,
        seed: u64,
    ) -> Self {
        let (reopened, _) = tokio::sync::watch::channel(store.clone());
        let state = store.map_or(State::Failed { next_try: Timestamp(0) }, State::Open);
        let mut storage = Self {
            folder,
            state,
            sinks,
            http,
            clock,
            seed,
            outbox: None,
            since_snapshot: 0,
            failed_at: None,
            reopened,
        };
        storage.start_outbox().await;
        storage
    }

    async fn start_outbox(&mut self) {
        let State::Open(store) = &self.state else { return };
        if let Some(old) = self.outbox.take() {
            // It may still be telling that the store failed.
            old.stop(OUTBOX_PATIENCE).await;
        }
        let policy = OutboxPolicy::default();
        let sinks = self.sinks.clone();
        match Outbox::start(store, sinks, &self.http, self.clock, policy, self.seed).await {
            Ok(outbox) => self.outbox = Some(outbox),
            Err(fault) => {
                tracing::error!(fault = %chain(&fault), "the outbox does not start: notices are only stored")
            }
        }
    }

    /// Follows the open store, `None` while it is broken.
    #[must_use]
    pub fn follow(&self) -> tokio::sync::watch::Receiver<Option<Store>> {
        self.reopened.subscribe()
    }

    /// Whether nothing can be made durable now.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(self.state, State::Failed { .. })
    }

    /// Makes one step durable, in one transaction.
    ///
    /// # Errors
    /// When it is not certain that it is on disk.
    pub async fn commit(
        &mut self,
        fleet: &Fleet,
        entries: &[Entry],
        notices: &[Notice],
    ) -> Result<(), StorageFault> {
        let State::Open(store) = &self.state else {
            return Err(StorageFault::Store("the store is closed".into()));
        };
        self.since_snapshot += entries.len();
        let snapshot =
            (self.since_snapshot >= SNAPSHOT_EVERY).then(|| serde_json::to_string(fleet)).transpose();
        let snapshot = snapshot.map_err(|fault| StorageFault::Defect(fault.to_string()))?;
        if snapshot.is_some() {
            self.since_snapshot = 0;
        }
        let address =
            |notice: &Notice| Addressed { sinks: alerts::route(&self.sinks, notice), notice: notice.clone() };
        let notices = notices.iter().map(address).collect();
        let batch = Batch { entries: entries.to_vec(), notices, snapshot };
        store.commit(batch).await.map(drop).map_err(|fault| StorageFault::Store(chain(&fault)))
    }

    /// Gives the handle up and tells the sinks directly, once per episode: the outbox is in the same broken store.
    pub async fn fail(&mut self, fault: &StorageFault, now: Timestamp) {
        let failed = State::Failed { next_try: now.after(REOPEN_EVERY) };
        if let State::Open(store) = std::mem::replace(&mut self.state, failed) {
            self.reopened.send_replace(None);
            store.close().await;
        }
        let calm = self.failed_at.is_none_or(|at| now.since(at) > EPISODE);
        self.failed_at = Some(now);
        if calm {
            self.tell_unstored(&unwritable(now, fault));
        }
    }

    /// Tells the sinks without the store, from memory.
    pub fn tell_unstored(&self, notice: &Notice) {
        if let Some(outbox) = &self.outbox {
            outbox.tell_unstored(notice);
            return;
        }
        for sink in self.sinks.iter().filter(|sink| sink.wants(notice)).cloned() {
            let (http, notice, stamp) = (self.http.clone(), notice.clone(), self.clock.civil());
            tokio::spawn(async move {
                let id = format!("direct-{}", notice.at.0);
                let message = alerts::Message::One(&notice);
                let delivery = sink.deliver(&http, notice.at, stamp, &id, &message).await;
                tracing::info!(sink = %sink.name, ?delivery, "told directly");
            });
        }
    }

    /// Starts an outbox that did not start.
    pub async fn tend(&mut self) {
        if self.outbox.is_none() && !self.sinks.is_empty() {
            self.start_outbox().await;
        }
    }

    /// Tries to open the store anew and reads the state back.
    pub async fn reopen(&mut self, now: Timestamp) -> Option<Fleet> {
        let State::Failed { next_try } = &mut self.state else { return None };
        if now < *next_try {
            return None;
        }
        *next_try = now.after(REOPEN_EVERY);
        let folder = self.folder.clone();
        // Opening reads and checks files: not on the engine's thread.
        let opened = tokio::task::spawn_blocking(move || {
            room_to_write(&folder).map_err(|fault| format!("no room in the state folder: {fault}"))?;
            Store::open(&folder).map_err(|fault| chain(&fault))
        });
        let opened = opened.await.ok()?;
        let (store, loaded) = opened.inspect_err(|fault| tracing::warn!(%fault, "still no store")).ok()?;
        let fleet =
            fold(loaded).inspect_err(|fault| tracing::error!(%fault, "the journal does not fold")).ok()?;
        // A store that opens may still refuse to write.
        if let Err(fault) = store.commit(Batch::default()).await {
            tracing::warn!(fault = %chain(&fault), "the store opens but cannot be written");
            store.close().await;
            return None;
        }
        self.failed_at = Some(now);
        self.reopened.send_replace(Some(store.clone()));
        self.state = State::Open(store);
        self.since_snapshot = 0;
        self.start_outbox().await;
        Some(fleet)
    }

    /// Stores the state whole, if it is given, and closes.
    pub async fn close(self, fleet: Option<&Fleet>) {
        if let Some(outbox) = self.outbox {
            outbox.stop(OUTBOX_PATIENCE).await;
        }
        let State::Open(store) = self.state else { return };
        if let Some(Ok(snapshot)) = fleet.map(serde_json::to_string) {
            let batch = Batch { snapshot: Some(snapshot), ..Batch::default() };
            if let Err(fault) = store.commit(batch).await {
                tracing::warn!(fault = %chain(&fault), "the last snapshot was not stored; the journal has everything");
            }
        }
        crash::at(Point::Stopped);
        store.close().await;
    }
}

/// Folds what the store held into the state.
///
/// # Errors
/// A snapshot or record that does not fit.
pub fn fold(loaded: Loaded) -> Result<Fleet, StorageFault> {
    let mut fleet = match loaded.snapshot {
        Some(snapshot) => {
            serde_json::from_str(&snapshot.body).map_err(|fault| StorageFault::Defect(fault.to_string()))?
        }
        None => Fleet::default(),
    };
    for entry in &loaded.entries {
        fleet.apply(entry).map_err(|fault: Misfit| StorageFault::Defect(fault.to_string()))?;
    }
    Ok(fleet)
}

/// Proves that the folder takes a megabyte.
fn room_to_write(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let trial = folder.join(".room");
    let written = File::create(&trial).and_then(|mut file| {
        file.write_all(&vec![0; ROOM])?;
        file.sync_all()
    });
    let removed = std::fs::remove_file(&trial);
    written.and(removed)
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(fault: &dyn std::error::Error) -> String {
    let mut text = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
