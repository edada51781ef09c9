//! Signs of life, written by the parts that live and read by health and metrics.
//!
//! A heartbeat is written on every turn of a loop, also when nothing changes: "nothing changed for a while" and "the
//! loop is dead" must not look alike.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};

use crate::clock::Millis;

/// How the database answered last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseState {
    /// A round trip succeeded within its timeout.
    Connected,
    /// The last round trip took longer than its timeout.
    Slow,
    /// The last round trip or commit failed.
    Disconnected,
}

impl DatabaseState {
    /// The word in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Slow => "slow",
            Self::Disconnected => "disconnected",
        }
    }
}

/// The shared signs of life; times are Unix milliseconds.
#[derive(Debug)]
pub struct Vitals {
    director_beat: AtomicI64,
    listener_beat: AtomicI64,
    live_beat: AtomicI64,
    ping: AtomicU8,
    ping_at: AtomicI64,
    ping_ms: AtomicI64,
    unhealthy_since: AtomicI64,
    store_lost: AtomicBool,
    draining: AtomicBool,
}

/// Marks "not unhealthy" in `unhealthy_since`.
const NEVER: i64 = i64::MIN;

impl Vitals {
    /// All alive as of `now`.
    pub fn new(now: Millis) -> Self {
        Self {
            director_beat: AtomicI64::new(now),
            listener_beat: AtomicI64::new(now),
            live_beat: AtomicI64::new(now),
            ping: AtomicU8::new(0),
            ping_at: AtomicI64::new(now),
            ping_ms: AtomicI64::new(0),
            unhealthy_since: AtomicI64::new(NEVER),
            store_lost: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    /// The director turned its loop.
    pub fn beat_director(&self, now: Millis) {
        self.director_beat.store(now, Ordering::Relaxed);
    }

    /// The listener turned its loop.
    pub fn beat_listener(&self, now: Millis) {
        self.listener_beat.store(now, Ordering::Relaxed);
    }

    /// The publisher of live state turned its loop.
    pub fn beat_live(&self, now: Millis) {
        self.live_beat.store(now, Ordering::Relaxed);
    }

    /// Milliseconds since the director's last turn.
    pub fn director_silence(&self, now: Millis) -> Millis {
        now - self.director_beat.load(Ordering::Relaxed)
    }

    /// Milliseconds since the last turn of the slower of listener and live publisher: the WebSocket path.
    pub fn websocket_silence(&self, now: Millis) -> Millis {
        let listener = self.listener_beat.load(Ordering::Relaxed);
        now - listener.min(self.live_beat.load(Ordering::Relaxed))
    }

    /// A round trip to the database ended (or was given up) at `now` after `took_ms`.
    pub fn database_answered(&self, state: DatabaseState, took_ms: Millis, now: Millis) {
        let code = match state {
            DatabaseState::Connected => 0,
            DatabaseState::Slow => 1,
            DatabaseState::Disconnected => 2,
        };
        self.ping.store(code, Ordering::Relaxed);
        self.ping_ms.store(took_ms, Ordering::Relaxed);
        self.ping_at.store(now, Ordering::Relaxed);
        self.note_database(now);
    }

    /// The director lost (or found again) its store.
    pub fn set_store_lost(&self, lost: bool, now: Millis) {
        self.store_lost.store(lost, Ordering::Relaxed);
        self.note_database(now);
    }

    fn note_database(&self, now: Millis) {
        if self.database() == DatabaseState::Connected {
            self.unhealthy_since.store(NEVER, Ordering::Relaxed);
        } else {
            // Keeps the first moment of trouble; a lost race only means that another thread has just written it.
            let _ = self.unhealthy_since.compare_exchange(NEVER, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The state of the database: a store that the director lost counts as disconnected whatever a ping says.
    pub fn database(&self) -> DatabaseState {
        if self.store_lost.load(Ordering::Relaxed) {
            return DatabaseState::Disconnected;
        }
        match self.ping.load(Ordering::Relaxed) {
            0 => DatabaseState::Connected,
            1 => DatabaseState::Slow,
            _ => DatabaseState::Disconnected,
        }
    }

    /// For how many milliseconds the database has been other than connected; 0 when it is.
    pub fn database_trouble_ms(&self, now: Millis) -> Millis {
        match self.unhealthy_since.load(Ordering::Relaxed) {
            NEVER => 0,
            since => now.saturating_sub(since).max(1),
        }
    }

    /// Duration of the last round trip and its age, both in milliseconds.
    pub fn database_latency(&self, now: Millis) -> (Millis, Millis) {
        (self.ping_ms.load(Ordering::Relaxed), now - self.ping_at.load(Ordering::Relaxed))
    }

    /// The server is on its way out: ready no more.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the server is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
