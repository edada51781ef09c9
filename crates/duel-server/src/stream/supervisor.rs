//! Keeps one destination's encoder running.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::encoder::{self, FRAME_RATE, KeyFile, Progress};
use super::policy::{End, Next, Policy};
use super::{Stream, StreamState, scene};
use crate::clock::Clock;
use crate::director::Handle;
use crate::metrics::{DestinationLabel, Metrics};
use crate::settings::{Destination, StreamSettings};
use crate::telemetry::Redactor;

/// How long an encoder may take to end by itself after its input was closed.
const FAREWELL: Duration = Duration::from_millis(500);

/// Of what an encoder says on its standard error, the last part is kept.
const COMPLAINT_BYTES: usize = 2_000;

/// See the module.
pub struct Supervisor {
    pub destination: Destination,
    pub settings: StreamSettings,
    pub clock: Clock,
    pub arena: Handle,
    pub metrics: Arc<Metrics>,
    pub stream: Stream,
    pub index: usize,
}

/// How one run ended.
enum Run {
    /// The program is not there: no restart will help.
    NoEncoder,
    /// The server stops.
    Stopped,
    /// It ended or stalled, with what it complained about.
    Ended(End, String),
}

impl Supervisor {
    /// Runs until told to stop or given up.
    pub async fn run(self, stop: CancellationToken) {
        let name = self.destination.name;
        let mut policy = Policy::new(self.settings.max_restarts, self.settings.max_recoveries);
        loop {
            self.stream.update(self.index, |status| status.state = StreamState::Starting);
            let started = Instant::now();
            let (end, complaint) = match self.run_once(&stop).await {
                Run::Stopped => return,
                Run::NoEncoder => {
                    tracing::warn!(name, "ffmpeg is not installed: streaming is off");
                    return self.rest(StreamState::Off, "ffmpeg is not installed");
                }
                Run::Ended(end, complaint) => (end, complaint),
            };
            let next = policy.ended(end, started.elapsed());
            self.measured(0.0, 0.0);
            self.stream.update(self.index, |status| {
                (status.live_since, status.frames_per_second, status.bitrate_kbps) = (None, 0.0, 0.0);
                status.state = StreamState::Starting;
                status.stalls += u64::from(end == End::Stalled);
                status.restarts += 1;
                status.reason = Some(complaint.clone());
            });
            let Next::RestartAfter(delay) = next else {
                tracing::error!(name, complaint, "the stream is given up after too many failures");
                return self.rest(StreamState::Failed, &complaint);
            };
            let delay_ms = delay.as_millis() as u64;
            tracing::warn!(name, ?end, complaint, delay_ms, "the encoder is started again");
            self.metrics.encoder_restarts.inc();
            if timeout(delay, stop.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    fn rest(&self, state: StreamState, reason: &str) {
        self.stream.update(self.index, |status| {
            status.state = state;
            status.reason = Some(reason.to_owned());
        });
    }

    async fn run_once(&self, stop: &CancellationToken) -> Run {
        let key = match KeyFile::write(&self.destination) {
            Ok(key) => key,
            Err(error) => return Run::Ended(End::Exited, format!("the key file cannot be written: {error}")),
        };
        let mut child = match encoder::start(&self.settings.ffmpeg, &self.destination, &key) {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Run::NoEncoder,
            Err(error) => return Run::Ended(End::Exited, format!("ffmpeg cannot be started: {error}")),
        };
        let (Some(input), Some(output), Some(mut errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Run::Ended(End::Exited, String::from("ffmpeg has no pipes"));
        };
        let complaint = async {
            let (mut said, mut chunk) = (Vec::new(), [0; 512]);
            // Read to the end, so that the encoder never waits for us; a pipe that breaks has said all it had to say.
            while let Ok(count @ 1..) = errors.read(&mut chunk).await {
                said.extend_from_slice(&chunk[..count]);
                said.drain(..said.len().saturating_sub(COMPLAINT_BYTES));
            }
            said
        };
        let mut complaint = std::pin::pin!(complaint);
        let mut said = None;
        let end = tokio::select! {
            () = stop.cancelled() => None,
            () = self.feed(input) => Some(End::Exited),
            () = self.watch(output) => Some(End::Stalled),
            text = complaint.as_mut() => { said = Some(text); Some(End::Exited) }
        };
        end_child(&mut child, end).await;
        let said = match said {
            Some(said) => said,
            None => timeout(FAREWELL, complaint).await.unwrap_or_default(),
        };
        match end {
            None => Run::Stopped,
            Some(end) => Run::Ended(end, self.explain(end, &said)),
        }
    }

    /// The encoder's complaint in one line, without the key.
    fn explain(&self, end: End, said: &[u8]) -> String {
        let text = String::from_utf8_lossy(said).split_whitespace().collect::<Vec<_>>().join(" ");
        let text = Redactor::new(std::slice::from_ref(&self.destination.key)).mask(&text);
        match (end, text.is_empty()) {
            (_, false) => text,
            (End::Stalled, true) => String::from("no progress"),
            (End::Exited, true) => String::from("ffmpeg ended"),
        }
    }

    /// Draws and writes frames until the encoder takes no more of them.
    async fn feed(&self, mut input: ChildStdin) {
        let mut ticks = interval(Duration::from_secs(1) / FRAME_RATE);
        // Frames that could not be written in time are left out, not made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let frame = scene::draw(&self.arena.view(), self.clock.now());
            if input.write_all(frame.bytes()).await.is_err() {
                return;
            }
        }
    }

    /// Reads the progress until the encoder stalls: no new frame or no new byte over the set number of checks.
    async fn watch(&self, output: ChildStdout) {
        let mut lines = BufReader::new(output).lines();
        let (mut now, mut before) = (Progress::default(), (Progress::default(), Instant::now()));
        let (mut checked, mut stuck) = (Progress::default(), 0);
        let mut checks = interval(self.settings.stall_interval);
        checks.tick().await;
        loop {
            // `next_line` keeps what it has of a line when the other arm wins.
            tokio::select! {
                line = lines.next_line() => {
                    let Ok(Some(line)) = line else {
                        // The end of the output is the end of the encoder, which the other side notices.
                        return std::future::pending().await;
                    };
                    if now.read(&line) && now.frames > 0 {
                        self.note(now, &mut before);
                    }
                }
                _ = checks.tick() => {
                    let moved = now.frames > checked.frames && now.bytes > checked.bytes;
                    stuck = if moved { 0 } else { stuck + 1 };
                    checked = now;
                    if stuck >= self.settings.stall_checks {
                        return;
                    }
                }
            }
        }
    }

    fn measured(&self, frames: f64, kilobits: f64) {
        let label = DestinationLabel { destination: self.destination.name };
        self.metrics.stream_fps.get_or_create(&label).set(frames);
        self.metrics.stream_kbps.get_or_create(&label).set(kilobits);
    }

    /// Measures what happened since the last measurement, at most once a second.
    fn note(&self, now: Progress, before: &mut (Progress, Instant)) {
        let seconds = before.1.elapsed().as_secs_f64();
        if seconds < 1.0 {
            return;
        }
        let frames = now.frames.saturating_sub(before.0.frames) as f64 / seconds;
        let kilobits = now.bytes.saturating_sub(before.0.bytes) as f64 * 8.0 / 1000.0 / seconds;
        *before = (now, Instant::now());
        let at = self.clock.now();
        self.stream.update(self.index, |status| {
            (status.frames_per_second, status.bitrate_kbps) = (frames, kilobits);
            if status.state != StreamState::Live {
                tracing::info!(name = status.name, "the stream is live");
                (status.state, status.live_since, status.reason) = (StreamState::Live, Some(at), None);
            }
        });
        self.measured(frames, kilobits);
    }
}

/// Lets an encoder finish when the server stops, kills it otherwise, and waits for its end either way.
async fn end_child(child: &mut Child, end: Option<End>) {
    // Its input was closed when the feeding ended; a healthy encoder finishes its stream then.
    if end.is_none() && timeout(FAREWELL, child.wait()).await.is_ok() {
        return;
    }
    if let Err(error) = child.kill().await {
        tracing::debug!(%error, "an encoder could not be killed; it has ended already");
    }
}
