//! The end: nothing new is begun, and what was sent is awaited, so that its outcome is on record.

use super::Engine;
use crate::{
    crash::{self, Point},
    fleet::{
        event::{Context, Event},
        policy::Policy,
        step::step,
    },
};

impl Engine {
    pub(super) async fn finish(mut self) {
        crash::at(Point::Stopping);
        self.executor.stop_interruptible();
        let patience = tokio::time::sleep(self.stop_patience);
        tokio::pin!(patience);
        let mut sound = true;
        while self.executor.is_busy() {
            tokio::select! {
                () = &mut patience => break,
                Some(event) = self.events.recv() => sound &= self.record_only(event).await,
                () = self.executor.reap() => {}
            }
        }
        while let Ok(event) = self.events.try_recv() {
            sound &= self.record_only(event).await;
        }
        // A state that a misfit left half changed must not become a snapshot; the journal alone is true then.
        self.storage.close(sound.then_some(&self.fleet)).await;
    }

    /// Decides as ever and journals it, but performs nothing: the next start does what is due then. False when the state
    /// in memory can no longer be trusted.
    async fn record_only(&mut self, event: Event) -> bool {
        if self.storage.is_failed()
            || !matches!(event, Event::CreateAnswered { .. } | Event::DestroyAnswered { .. })
        {
            return true;
        }
        let policy = Policy { observe_only: true, ..(*self.policy).clone() };
        let context = Context { now: self.clock.now(), policy: &policy, random: self.random.u64(..) };
        let step = match step(&mut self.fleet, &mut self.memory, event, &context) {
            Ok(step) => step,
            Err(fault) => {
                tracing::error!(fault = &fault as &dyn std::error::Error, "a last answer made no sense");
                return false;
            }
        };
        match self.storage.commit(&self.fleet, &step.entries, &step.notices).await {
            Ok(()) => true,
            Err(fault) => {
                tracing::error!(%fault, "the last answers could not be journaled");
                false
            }
        }
    }
}
