//! Whoever wants a command to end before it is done: Ctrl-C, or SIGTERM from a service manager.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

/// Heard from the moment it is made, so that a signal between two waits is not lost.
#[derive(Debug)]
pub(super) struct Stop {
    signals: watch::Receiver<u32>,
    /// Those that were followed: what is done because of them is ended by the next one only.
    followed: AtomicU32,
    listener: JoinHandle<()>,
}

impl Stop {
    /// Listens. Where signals cannot be taken they end the process, as they would have without us.
    pub(super) fn listen() -> Self {
        let (count, signals) = watch::channel(0_u32);
        let kinds = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        let listener = tokio::spawn(async move {
            let (Ok(mut interrupt), Ok(mut terminate)) = kinds else { return };
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                count.send_modify(|count| *count = count.saturating_add(1));
            }
        });
        Self { signals, followed: AtomicU32::new(0), listener }
    }

    /// Waits until somebody wants the end. Cancel-safe, and ready until it is followed.
    pub(super) async fn asked(&self) {
        let followed = self.followed.load(Relaxed);
        if self.signals.clone().wait_for(|count| *count > followed).await.is_err() {
            std::future::pending().await
        }
    }

    /// Whether somebody wants it.
    pub(super) fn is_asked(&self) -> bool {
        *self.signals.borrow() > self.followed.load(Relaxed)
    }

    /// What was asked for until now is being done: from here on the next signal counts.
    pub(super) fn follow(&self) {
        self.followed.store(*self.signals.borrow(), Relaxed);
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
