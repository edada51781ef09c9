//! The RTMP output: the duel drawn as frames, encoded by a supervised `ffmpeg`, sent to each destination.
//!
//! One encoder per destination: a platform that is down or slow disturbs no other. Drawing is ours and cheap;
//! encoding is `ffmpeg`'s. Without destinations, or without `ffmpeg` on the machine, streaming is off and everything
//! else works.

mod canvas;
mod encoder;
mod font;
mod policy;
mod scene;
mod supervisor;

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Millis};
use crate::director::Handle;
use crate::metrics::Metrics;
use crate::settings::StreamSettings;

/// How one destination, or the stream as a whole, is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamState {
    /// Not configured, or no encoder on this machine.
    Off,
    /// The encoder is sending frames.
    Live,
    /// The encoder is being started, for the first time or again.
    Starting,
    /// Too many failures in a row: given up.
    Failed,
}

impl StreamState {
    /// The word in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Live => "live",
            Self::Starting => "starting",
            Self::Failed => "failed",
        }
    }
}

/// What is known of one destination.
#[derive(Debug, Clone)]
struct Status {
    name: &'static str,
    state: StreamState,
    live_since: Option<Millis>,
    frames_per_second: f64,
    bitrate_kbps: f64,
    restarts: u64,
    stalls: u64,
    reason: Option<String>,
}

/// One destination in the answer of `/api/streaming/rtmp/status`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DestinationReport {
    name: &'static str,
    connected: bool,
    state: StreamState,
    started_at: Option<Millis>,
    frames_per_second: f64,
    bitrate_kbps: f64,
    restarts: u64,
    stalls: u64,
    error: Option<String>,
}

/// The answer of `/api/streaming/rtmp/status`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    active: bool,
    state: StreamState,
    started_at: Option<Millis>,
    ffmpeg_running: bool,
    canonical_platform: Option<&'static str>,
    destinations: Vec<DestinationReport>,
}

/// The stream, for whoever asks how it is doing.
#[derive(Clone)]
pub struct Stream {
    statuses: Arc<[Mutex<Status>]>,
    canonical_platform: Option<&'static str>,
}

impl Stream {
    /// Starts one supervisor per destination; they end with `stop`.
    pub fn start(
        settings: &StreamSettings,
        clock: Clock,
        arena: &Handle,
        metrics: &Arc<Metrics>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let fresh = |name| Status {
            name,
            state: StreamState::Starting,
            live_since: None,
            frames_per_second: 0.0,
            bitrate_kbps: 0.0,
            restarts: 0,
            stalls: 0,
            reason: None,
        };
        let statuses: Arc<[Mutex<Status>]> =
            settings.destinations.iter().map(|destination| Mutex::new(fresh(destination.name))).collect();
        let canonical_platform = settings.canonical_platform.map(crate::settings::Platform::as_str);
        let stream = Self { statuses, canonical_platform };
        for (index, destination) in settings.destinations.iter().enumerate() {
            let supervisor = supervisor::Supervisor {
                destination: destination.clone(),
                settings: settings.clone(),
                clock,
                arena: arena.clone(),
                metrics: Arc::clone(metrics),
                stream: stream.clone(),
                index,
            };
            tasks.spawn(supervisor.run(stop.clone()));
        }
        stream
    }

    /// Changes what is known of one destination.
    fn update(&self, index: usize, change: impl FnOnce(&mut Status)) {
        if let Some(status) = self.statuses.get(index) {
            change(&mut status.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn snapshot(&self) -> Vec<Status> {
        let copy = |status: &Mutex<Status>| status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.statuses.iter().map(copy).collect()
    }

    /// The worst state of any destination.
    pub fn state(&self) -> StreamState {
        self.snapshot().iter().map(|status| status.state).max().unwrap_or(StreamState::Off)
    }

    /// The report as of now.
    pub fn report(&self) -> Report {
        let statuses = self.snapshot();
        let live = statuses.iter().any(|status| status.state == StreamState::Live);
        Report {
            active: live,
            state: self.state(),
            started_at: statuses.iter().filter_map(|status| status.live_since).min(),
            ffmpeg_running: live,
            canonical_platform: self.canonical_platform,
            destinations: statuses
                .into_iter()
                .map(|status| DestinationReport {
                    name: status.name,
                    connected: status.state == StreamState::Live,
                    state: status.state,
                    started_at: status.live_since,
                    frames_per_second: status.frames_per_second,
                    bitrate_kbps: status.bitrate_kbps,
                    restarts: status.restarts,
                    stalls: status.stalls,
                    error: status.reason,
                })
                .collect(),
        }
    }
}
