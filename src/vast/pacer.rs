//! Turns: calls to one endpoint keep the provider's spacing and wait in the order they came.
//!
//! A rejected call can push the provider's own account of us into debt (its newer limits are token buckets with a
//! penalty), so a 429 moves the endpoint's next turn for everybody who waits, and doubles while it goes on.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::endpoint::Endpoint;
use crate::{clock::Clock, fleet::units::Timestamp};

/// Longest wait of our own choosing after a 429.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Longest wait that one answer of the provider can impose. Its search quota lasts until midnight UTC; asked again every
/// quarter of an hour, a wrong answer or clock does not stop the healing for a day, and a right one costs 96 calls.
pub(super) const TOLD_MAX: Duration = Duration::from_secs(15 * 60);

/// There is no turn in time; the next would be after `wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoTurn {
    pub(super) wait: Duration,
}

/// The turns of all endpoints.
pub(super) struct Pacer {
    clock: Clock,
    scale: f64,
    lanes: [Lane; Endpoint::ALL.len()],
}

/// One endpoint's turns. The queue is tokio's fair mutex: who waits in it holds nothing else, and leaves no gap when
/// dropped.
#[derive(Default)]
struct Lane {
    queue: tokio::sync::Mutex<()>,
    pace: Mutex<Pace>,
}

/// When the next turn is, and how many 429s came in a row.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    free_at: Timestamp,
    strikes: u32,
}

impl Pace {
    /// Takes the turn if it has come, or tells how long it will be.
    fn take(&mut self, now: Timestamp, spacing: Duration) -> Result<(), Duration> {
        if self.free_at > now {
            return Err(now.until(self.free_at));
        }
        self.free_at = now.after(spacing);
        Ok(())
    }

    /// Takes note of an ordinary answer. The provider measures from when a call reached it, which was before its answer
    /// reached us, so the spacing from here on is never too short.
    fn pass(&mut self, now: Timestamp, spacing: Duration) {
        self.strikes = 0;
        self.free_at = self.free_at.max(now.after(spacing));
    }

    /// Takes note of a 429 and the wait it asked for, if any.
    fn strike(&mut self, now: Timestamp, spacing: Duration, told: Option<Duration>) {
        let doubled = spacing.saturating_mul(2_u32.saturating_pow(self.strikes)).min(BACKOFF_MAX);
        self.strikes = self.strikes.saturating_add(1);
        let wait = doubled.max(told.unwrap_or_default().min(TOLD_MAX));
        self.free_at = self.free_at.max(now.after(wait));
    }
}

impl Pacer {
    pub(super) fn new(clock: Clock, scale: f64) -> Self {
        // What is no scale at all keeps the published spacing.
        let scale = if scale.is_finite() { scale.clamp(0.0, 1e3) } else { 1.0 };
        Self { clock, scale, lanes: std::array::from_fn(|_| Lane::default()) }
    }

    /// Waits for a turn until `until` at most.
    pub(super) async fn turn(&self, endpoint: Endpoint, until: Timestamp) -> Result<(), NoTurn> {
        let Some(lane) = self.lanes.get(endpoint.index()) else { return Ok(()) };
        let patience = self.clock.now().until(until);
        let Ok(_place) = timeout(patience, lane.queue.lock()).await else {
            return Err(NoTurn { wait: self.clock.now().until(lane.pace(|pace| pace.free_at)) });
        };
        loop {
            let now = self.clock.now();
            let Err(wait) = lane.pace(|pace| pace.take(now, self.spacing(endpoint))) else { return Ok(()) };
            if now.after(wait) > until {
                return Err(NoTurn { wait });
            }
            sleep(wait).await;
        }
    }

    /// Takes note of an answer: `throttled` with the wait the provider asked for, or an ordinary one.
    pub(super) fn answered(&self, endpoint: Endpoint, throttled: Option<Option<Duration>>) {
        let Some(lane) = self.lanes.get(endpoint.index()) else { return };
        let now = self.clock.now();
        lane.pace(|pace| match throttled {
            Some(told) => pace.strike(now, self.spacing(endpoint), told),
            None => pace.pass(now, self.spacing(endpoint)),
        });
    }

    fn spacing(&self, endpoint: Endpoint) -> Duration {
        endpoint.spacing().mul_f64(self.scale)
    }
}

impl Lane {
    fn pace<T>(&self, change: impl FnOnce(&mut Pace) -> T) -> T {
        change(&mut self.pace.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn turns_keep_their_distance() {
        let mut pace = Pace::default();
        assert_eq!(pace.take(Timestamp(5_000), SECOND), Ok(()));
        assert_eq!(pace.take(Timestamp(5_400), SECOND), Err(Duration::from_millis(600)));
        assert_eq!(pace.take(Timestamp(6_000), SECOND), Ok(()));
        pace.pass(Timestamp(6_300), SECOND);
        assert_eq!(
            pace.take(Timestamp(7_100), SECOND),
            Err(Duration::from_millis(200)),
            "counted from the answer"
        );
    }

    #[test]
    fn a_429_doubles_the_wait_up_to_a_cap_and_the_providers_word_counts() {
        let mut pace = Pace::default();
        let mut waits = Vec::new();
        let mut now = Timestamp(0);
        for _ in 0..8 {
            pace.strike(now, SECOND, None);
            waits.push(now.until(pace.free_at).as_secs());
            now = pace.free_at;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        let mut pace = Pace::default();
        pace.strike(now, SECOND, Some(Duration::from_secs(90)));
        assert_eq!(now.until(pace.free_at).as_secs(), 90);
        pace.strike(now, SECOND, Some(Duration::MAX));
        assert_eq!(now.until(pace.free_at), TOLD_MAX);
        pace.strikes = u32::MAX;
        pace.strike(now, SECOND, None);
    }

    #[tokio::test]
    async fn waiters_go_in_order_and_whoever_has_no_time_left_is_told() {
        let clock = Clock::new();
        // A scale that makes the destroy's spacing 30 ms.
        let pacer = Arc::new(Pacer::new(clock, 0.01));
        let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
        let started = clock.now();
        let mut tasks = tokio::task::JoinSet::new();
        for turn in 0..4 {
            let (pacer, done) = (pacer.clone(), done.clone());
            tasks.spawn(async move {
                pacer.turn(Endpoint::Destroy, started.after(10 * SECOND)).await.unwrap();
                done.send((turn, clock.now())).unwrap();
            });
            tokio::task::yield_now().await;
        }
        let late = pacer.turn(Endpoint::Destroy, started.after(Duration::from_millis(5))).await;
        assert!(late.is_err(), "five calls at 30 ms cannot all have a turn within 5 ms");
        pacer
            .turn(Endpoint::List, started.after(Duration::from_millis(500)))
            .await
            .expect("endpoints are apart");
        tasks.join_all().await;
        drop(done);
        let mut seen = Vec::new();
        while let Some((turn, at)) = order.recv().await {
            seen.push(turn);
            assert!(started.until(at) >= Duration::from_millis(30) * turn, "turn {turn} came early");
        }
        assert_eq!(seen, [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn a_429_holds_back_those_already_waiting() {
        let clock = Clock::new();
        let pacer = Pacer::new(clock, 0.001);
        let soon = clock.now().after(SECOND);
        pacer.turn(Endpoint::Create, soon).await.unwrap();
        pacer.answered(Endpoint::Create, Some(Some(Duration::from_secs(30))));
        let refused = pacer.turn(Endpoint::Create, soon).await.unwrap_err();
        assert!(refused.wait > Duration::from_secs(25), "{refused:?}");
    }
}
