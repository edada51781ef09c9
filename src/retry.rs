//! The one place that knows how long to wait before trying again.
//!
//! The growth of the delay is the `backoff` crate's; four habits of that crate are corrected here, and nowhere else, so
//! that replacing it means replacing this file: its random numbers cannot be seeded (ours are), its jitter goes beyond
//! its own maximum (here the maximum is one), a server's `Retry-After` passes by every limit (here it is capped and
//! counts), and its clock is the machine's (here it is the runtime's, so that paused time in tests works).

use std::{future::Future, time::Duration};

use ::backoff::{Clock, backoff::Backoff as _, exponential::ExponentialBackoff};

/// No policy waits longer than this, so that adding jitter cannot overflow.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// How to wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// The first delay, before jitter.
    pub initial: Duration,
    /// By what each delay is longer than the one before; at least 1.
    pub multiplier: f64,
    /// Longest delay, jitter included.
    pub max_delay: Duration,
    /// Share of a delay that is left to chance, 0 to 1: at 0.2 a delay of 10 s becomes 8 s to 12 s.
    pub jitter: f64,
    /// Longest wait that the other side may ask for; what it asks beyond that is cut.
    pub hint_cap: Duration,
    /// Give up once this much time has passed since the first try; `None` never gives up.
    pub give_up_after: Option<Duration>,
}

impl Default for RetryPolicy {
    /// 1 s, doubling to 5 min, a fifth left to chance, hints up to 15 min, never giving up.
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            multiplier: 2.0,
            max_delay: Duration::from_secs(300),
            jitter: 0.2,
            hint_cap: Duration::from_secs(900),
            give_up_after: None,
        }
    }
}

/// The delays of one run of failures.
#[derive(Debug)]
pub struct Backoff {
    policy: RetryPolicy,
    growth: ExponentialBackoff<RuntimeClock>,
    chance: fastrand::Rng,
}

impl Backoff {
    /// A fresh run; the same policy and seed give the same delays.
    #[must_use]
    pub fn new(policy: RetryPolicy, seed: u64) -> Self {
        let mut growth = ExponentialBackoff {
            current_interval: policy.initial,
            initial_interval: policy.initial,
            // Chance is added below, from the seed.
            randomization_factor: 0.0,
            multiplier: policy.multiplier.max(1.0),
            max_interval: policy.max_delay,
            max_elapsed_time: None,
            start_time: RuntimeClock.now(),
            clock: RuntimeClock,
        };
        growth.reset();
        Self { policy, growth, chance: fastrand::Rng::with_seed(seed) }
    }

    /// How long to wait before the next try, or `None` to give up. `hint` is what the other side asked for
    /// (`Retry-After`): it is obeyed up to the cap, and never shortens our own delay.
    pub fn next_delay(&mut self, hint: Option<Duration>) -> Option<Duration> {
        let own = self.growth.next_backoff()?.min(self.policy.max_delay).min(LONGEST);
        let jitter = if self.policy.jitter.is_nan() { 0.0 } else { self.policy.jitter.clamp(0.0, 1.0) };
        let factor = 1.0 + jitter * (2.0 * self.chance.f64() - 1.0);
        let own = own.mul_f64(factor).min(self.policy.max_delay);
        let delay = own.max(hint.unwrap_or_default().min(self.policy.hint_cap));
        match self.policy.give_up_after {
            Some(limit) if self.growth.get_elapsed_time().saturating_add(delay) > limit => None,
            Some(_) | None => Some(delay),
        }
    }

    /// Begins a new run after a success; the delays start over, the random numbers go on.
    pub fn reset(&mut self) {
        self.growth.reset();
    }
}

/// Whether a failure may be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure<E> {
    /// Trying again cannot help.
    Final(E),
    /// Trying again may help, not before the hint if there is one.
    Passing(E, Option<Duration>),
}

/// Runs `operation` until it succeeds, fails for good, or the policy gives up; the last error is returned then.
///
/// Cancel-safe as far as `operation` is: dropping the future stops between or inside tries.
///
/// # Errors
/// The last error of `operation`.
pub async fn retry<T, E, F>(mut backoff: Backoff, mut operation: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, Failure<E>>>,
{
    backoff.reset();
    loop {
        let (error, hint) = match operation().await {
            Ok(done) => return Ok(done),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing(error, hint)) => (error, hint),
        };
        match backoff.next_delay(hint) {
            Some(delay) => tokio::time::sleep(delay).await,
            None => return Err(error),
        }
    }
}

/// The runtime's clock, which tests can pause.
#[derive(Debug, Clone, Copy)]
struct RuntimeClock;

impl Clock for RuntimeClock {
    fn now(&self) -> std::time::Instant {
        tokio::time::Instant::now().into_std()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy { max_delay: Duration::from_secs(60), ..RetryPolicy::default() }
    }

    #[test]
    fn delays_grow_to_their_maximum_and_the_seed_decides_the_rest() {
        let delays = |seed| {
            let mut backoff = Backoff::new(policy(), seed);
            (0..12).map(|_| backoff.next_delay(None).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
        let first = delays(7);
        assert!((Duration::from_millis(800)..=Duration::from_millis(1200)).contains(&first[0]), "{first:?}");
        assert!(first.iter().all(|delay| *delay <= Duration::from_secs(60)), "{first:?}");
        assert!(first[11] >= Duration::from_secs(48), "{first:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_in_virtual_time_even_when_the_other_side_keeps_asking_for_patience() {
        let began = tokio::time::Instant::now();
        let limit = RetryPolicy {
            give_up_after: Some(Duration::from_secs(10)),
            hint_cap: Duration::from_secs(4),
            ..policy()
        };
        let mut tries = 0;
        let result: Result<(), &str> = retry(Backoff::new(limit, 3), || {
            tries += 1;
            async { Err(Failure::Passing("busy", Some(Duration::from_secs(3600)))) }
        })
        .await;
        assert_eq!((result, tries), (Err("busy"), 3));
        assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn it_stops_at_a_success_and_at_a_final_failure() {
        let mut tries = 0;
        let result: Result<u32, &str> = retry(Backoff::new(policy(), 3), || {
            tries += 1;
            let outcome = if tries < 4 { Err(Failure::Passing("not yet", None)) } else { Ok(tries) };
            async move { outcome }
        })
        .await;
        assert_eq!(result, Ok(4));
        let result: Result<(), &str> =
            retry(Backoff::new(policy(), 3), || async { Err(Failure::Final("never")) }).await;
        assert_eq!(result, Err("never"));
    }

    proptest! {
        #[test]
        fn no_policy_makes_it_panic_or_wait_longer_than_its_limits(
            initial: u32, max: u64, multiplier: f64, jitter: f64,
            hint in proptest::option::of(0_u64..1_000_000), seed: u64,
        ) {
            let limits = RetryPolicy {
                initial: Duration::from_millis(initial.into()), max_delay: Duration::from_millis(max), multiplier, jitter,
                hint_cap: Duration::from_secs(5), give_up_after: None,
            };
            let mut backoff = Backoff::new(limits, seed);
            for _ in 0..20 {
                let delay = backoff.next_delay(hint.map(Duration::from_millis)).unwrap();
                prop_assert!(delay <= limits.max_delay.max(limits.hint_cap));
            }
        }
    }
}
