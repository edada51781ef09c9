//! Whoever wants a command to end before it is done: Ctrl-C, or SIGTERM from a service manager.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Heard from the moment it is made, so that a signal between two waits is not lost.
#[derive(Debug)]
pub(super) struct Stop {
    asked: CancellationToken,
    listener: JoinHandle<()>,
}

impl Stop {
    /// Listens. Where signals cannot be taken they end the process, as they would have without us.
    pub(super) fn listen() -> Self {
        let asked = CancellationToken::new();
        let heard = asked.clone();
        let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        let listener = tokio::spawn(async move {
            if let (Ok(interrupt), Ok(terminate)) = signals {
                either(interrupt, terminate).await;
                heard.cancel();
            }
        });
        Self { asked, listener }
    }

    /// Waits until somebody wants the end. Cancel-safe, and ready for ever after.
    pub(super) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Whether somebody wanted it already.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn either(mut interrupt: Signal, mut terminate: Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
