//! One node's task: wait for its own timer, ask, judge, report, and again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};

use super::{
    ProbeReport,
    ask::{Asker, Fault},
    reader::Page,
};
use crate::{
    clock::Clock,
    fleet::{
        address::globally_routable,
        cadence::Cadence,
        health::{Response, judge},
        name::OpId,
        policy::NodeSpec,
        probe::{Failure, Observation, Target, Verdict, Watched},
        units::millis,
    },
};

/// Bodies beyond this many bytes are judged on another thread: parsing the largest allowed takes milliseconds, and one
/// hostile fleet must not make the timers late.
const JUDGED_HERE_MAX: usize = 16 * 1024;

/// A timeout noticed this much late means that we were stalled, not the node: its answer may have been waiting.
const STALL: Duration = Duration::from_millis(500);

/// What the prober was told about a node.
#[derive(Debug)]
pub(super) struct Order {
    /// Its path is checked.
    pub(super) watched: Watched,
}

/// The task of one node.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) clock: Clock,
    pub(super) orders: watch::Receiver<Arc<Order>>,
    /// Rung when a probe is wanted at once.
    pub(super) now: Arc<Notify>,
    pub(super) out: mpsc::Sender<ProbeReport>,
    /// Held until the first probe.
    pub(super) place: Option<Place>,
}

/// A place among the nodes that wait for their first probe; dropping it leaves.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    pub(super) fn take(waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Relaxed);
        Self(Arc::clone(waiting))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

enum Wake {
    Due,
    Asked,
    Told,
    Dismissed,
}

impl Round {
    /// Probes until nobody gives orders or takes reports any more; the first probe is due after `wait`.
    pub(super) async fn run(mut self, wait: Duration) {
        let mut order = Arc::clone(&self.orders.borrow_and_update());
        let mut cadence = Cadence::new(order.watched.policy());
        let mut asker = order.asker();
        let mut due = Instant::now() + wait;
        loop {
            let latest = Arc::clone(&self.orders.borrow_and_update());
            if !Arc::ptr_eq(&latest, &order) {
                if latest.watched.target == order.watched.target {
                    cadence = cadence.under(latest.watched.policy());
                } else {
                    cadence = Cadence::new(latest.watched.policy());
                    due = Instant::now();
                }
                asker = latest.asker();
                order = latest;
            }
            match self.wake(due).await {
                Wake::Due => {}
                Wake::Asked => due = Instant::now(),
                Wake::Told => continue,
                Wake::Dismissed => return,
            }
            self.place = None;
            let at = self.clock.now();
            let lateness = due.elapsed();
            let outcome = tokio::select! {
                biased;
                () = retargeted(&mut self.orders, &order.watched.target) => continue,
                outcome = order.probe(&mut asker) => outcome,
            };
            if let Some((took, verdict)) = outcome {
                cadence.note(&verdict);
                let target = &order.watched.target;
                let observation =
                    Observation { at, lateness, took, identity: target.identity.clone(), verdict };
                tracing::trace!(node = %target.node, verdict = %observation.verdict, "probed");
                if self.out.send(ProbeReport { node: target.node.clone(), observation }).await.is_err() {
                    return;
                }
            }
            due += cadence.gap(due.elapsed());
        }
    }

    /// Waits for the next thing to do. Cancel-safe throughout: a timer, a stored permit, a changed mark.
    async fn wake(&mut self, due: Instant) -> Wake {
        tokio::select! {
            biased;
            told = self.orders.changed() => if told.is_ok() { Wake::Told } else { Wake::Dismissed },
            () = self.now.notified() => Wake::Asked,
            () = sleep_until(due) => Wake::Due,
        }
    }
}

/// Returns when the node's address or identity is no longer the one that is being asked. What it has seen of other
/// changes is compared again before the next probe.
async fn retargeted(orders: &mut watch::Receiver<Arc<Order>>, target: &Target) {
    while orders.changed().await.is_ok() {
        if orders.borrow_and_update().watched.target != *target {
            return;
        }
    }
    // Nobody gives orders any more: the probe ends as it would, and the wait after it notices.
    std::future::pending().await
}

impl Order {
    fn asker(&self) -> Asker {
        let policy = self.watched.policy();
        Asker::new(self.watched.target.address, &policy.path, policy.keep_alive)
    }

    /// Probes once; how long it took and what it means, or nothing when that would say nothing of the node.
    async fn probe(&self, asker: &mut Asker) -> Option<(Duration, Verdict)> {
        let started = Instant::now();
        let limit = self.watched.policy().timeout;
        let outcome = match self.refusal() {
            Some(failure) => return Some((Duration::ZERO, Verdict::Failing(failure))),
            // Boxed, so that a node which merely waits is small.
            None => timeout(limit, Box::pin(asker.ask())).await,
        };
        let took = started.elapsed();
        let verdict = match outcome {
            Ok(Ok(page)) => self.judge(page, took).await?,
            Ok(Err(Fault::Unreachable(detail))) => Verdict::Failing(Failure::Unreachable { detail }),
            Ok(Err(Fault::Malformed(detail))) => Verdict::Failing(Failure::Malformed { detail }),
            Ok(Err(Fault::Ours(error))) => {
                tracing::error!(node = %self.watched.target.node, %error, "probe not made: this machine cannot connect");
                return None;
            }
            Err(_) if took > limit + STALL => {
                let took_ms = millis(took);
                tracing::warn!(node = %self.watched.target.node, took_ms, "probe not counted: the keeper was stalled");
                return None;
            }
            Err(_) => Verdict::Failing(Failure::Timeout { limit_ms: millis(limit) }),
        };
        if matches!(verdict, Verdict::Failing(_)) {
            asker.hang_up();
        }
        Some((took, verdict))
    }

    /// Why the address is not asked at all.
    fn refusal(&self) -> Option<Failure> {
        let address = self.watched.target.address;
        let allowed = self.watched.health.rental.allow_private_addresses || globally_routable(address.ip());
        let detail = match () {
            () if address.port() == 0 => format!("address {address} has no port"),
            () if !allowed => format!("address {address} is not globally routable, so it is not asked"),
            () => return None,
        };
        Some(Failure::Unreachable { detail })
    }

    async fn judge(&self, page: Page, took: Duration) -> Option<Verdict> {
        if page.body.len() <= JUDGED_HERE_MAX {
            return Some(verdict(&self.watched.health, &self.watched.target.identity, &page, took));
        }
        let (spec, identity) = (Arc::clone(&self.watched.health), self.watched.target.identity.clone());
        // Only a runtime that is shutting down drops the judgement.
        spawn_blocking(move || verdict(&spec, &identity, &page, took)).await.ok()
    }
}

fn verdict(spec: &NodeSpec, identity: &OpId, page: &Page, took: Duration) -> Verdict {
    judge(&spec.health, identity, Response { status: page.status, body: &page.body, took })
}
