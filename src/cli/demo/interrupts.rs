//! Whoever wants the demo to end: Ctrl-C, SIGTERM, or a terminal that was closed.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::exit::{self, Failure};

/// Taken once at the start, so that a signal that comes between two waits is not lost.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupts {
    pub fn take() -> Result<Self, Failure> {
        let refused = |fault: io::Error| Failure::new(exit::BUG, format!("signals cannot be taken: {fault}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(refused)?,
            terminate: signal(SignalKind::terminate()).map_err(refused)?,
            hangup: signal(SignalKind::hangup()).map_err(refused)?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// What an interrupted demo fails with.
pub(super) fn interrupted() -> Failure {
    Failure::new(exit::UNKNOWN, "the demo was interrupted; everything it started is gone")
}
