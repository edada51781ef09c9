//! What everything shares, and the one loop that moves time and carries out effects.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::boxes::{Addresses, Registry};
use crate::clock::{Clock, SimSeconds};
use crate::world::State;

/// Longest sleep of the loop: billing and chaos are at most this late.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);

/// Shortest sleep, so that a high time scale does not spin.
const SHORTEST_SLEEP: Duration = Duration::from_millis(2);

/// How often deeds with a chance are drawn, in real time.
const CHAOS_INTERVAL_MS: u64 = 1_000;

/// Shared by the API, the panel, the boxes and the loop.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) addresses: Addresses,
    /// Folder of all boxes.
    pub(crate) root: PathBuf,
    /// Names this simulator among all on the machine.
    pub(crate) sim_id: String,
    pub(crate) wake: Notify,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn new(
        state: State,
        clock: Clock,
        addresses: Addresses,
        root: PathBuf,
        sim_id: String,
    ) -> Self {
        Shared {
            clock,
            addresses,
            root,
            sim_id,
            wake: Notify::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            state: Mutex::new(state),
        }
    }

    /// Runs `work` on the state, brought to the present first. Short and synchronous: it holds the lock.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut State, SimSeconds) -> R) -> R {
        let (result, wakes) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.wall_ms = self.clock.wall_ms();
            let now = self.clock.now();
            state.advance(now);
            let result = work(&mut state, now);
            (result, !state.effects.is_empty())
        };
        if wakes {
            self.wake.notify_one();
        }
        result
    }

    /// The mark that an instance's processes carry.
    pub(crate) fn mark(&self, instance: u64) -> String {
        format!("{}/{instance}", self.sim_id)
    }
}

/// Moves time and carries out effects until the simulator stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut registry = Registry::default();
    let mut last_chaos_ms = 0;
    loop {
        let (effects, sleep) = shared.with(|state, now| {
            if state.wall_ms >= last_chaos_ms + CHAOS_INTERVAL_MS {
                last_chaos_ms = state.wall_ms;
                state.chaos(None, now);
            }
            let due = state.next_due().map_or(LONGEST_SLEEP, |due| shared.clock.real(due - now));
            (std::mem::take(&mut state.effects), due.clamp(SHORTEST_SLEEP, LONGEST_SLEEP))
        });
        for effect in effects {
            registry.deliver(&shared, &shared.tasks, effect.instance, effect.command).await;
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}
