//! The prober: asks every node's `/health`, each on its own timer, and reports what that means.
//!
//! It lives on a thread and a single-threaded runtime of its own, so that nothing else the keeper does can delay a probe,
//! and each node has a task of its own, so that no node can delay another: however many targets hang, the rest keep their
//! schedule (the usual sweep with a timeout per target does not). A target is asked for by its literal address, over a
//! fresh connection unless the policy keeps one open, and only if the address is globally routable.
//!
//! ```text
//! Prober ── watch/unwatch/probe_now ──► node task: timer ► ask (connect, request, bounded read) ► judge ──► reports
//! ```
//!
//! What is *our* fault is not an observation. Running out of file descriptors or of local ports, or being stalled past a
//! probe's timeout, says nothing of the node; such a probe is logged and left out, for a false failure may cost a
//! healthy box.
//!
//! Reports go through a bounded channel. While it is full a node waits with its report in hand and asks no further:
//! nobody listens, and its missed starts are skipped.
//!
//! Timers need the runtime's own clock (`tokio::time::Instant`), which also measures durations; what an observation
//! carries as its time comes from [`Clock`].
//!
//! Deliberately absent: TLS (boxes publish plain ports at bare addresses), redirects, proxies, name lookups and
//! decompression. With all that gone, what is left of HTTP is one request and one answer, so that no client library is
//! used: the usual ones hold 16 KB and more of buffers for each open question, 5,000 of which may hang at once, and take
//! a head of hundreds of kilobytes. The benchmark `benches/probe.rs` shows the difference in memory.

mod ask;
mod files;
mod node;
mod reader;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
};

use self::node::{Order, Place, Round};
use crate::{
    clock::Clock,
    fleet::{
        cadence::first_wait,
        name::NodeName,
        probe::{Observation, Watched},
    },
};

/// What one probe of one node saw.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeReport {
    /// The node.
    pub node: NodeName,
    /// What was seen.
    pub observation: Observation,
}

/// Why probing could not begin, of all nodes or of one.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The prober's runtime or thread.
    #[error("cannot start the prober's {what}")]
    Start {
        /// Which of them.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A health path that no request can carry. Nothing is probed then: a setting of ours must not look like a failure
    /// of the node.
    #[error("the health path `{path}` of node `{node}` is not a path that a request can carry")]
    Path {
        /// The node.
        node: NodeName,
        /// The path as configured, escaped.
        path: String,
    },
}

/// Probes the nodes it is told to watch. Dropping it stops every probe.
#[derive(Debug)]
pub struct Prober {
    runtime: Handle,
    clock: Clock,
    seed: u64,
    out: mpsc::Sender<ProbeReport>,
    nodes: Mutex<HashMap<NodeName, Watch>>,
    /// Nodes that wait for their first probe.
    waiting: Arc<AtomicUsize>,
    /// Nodes whose probes may all be in flight at once without running out of file descriptors.
    capacity: usize,
    thread: Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>,
}

/// What is held of a node: its orders, its bell, its task.
#[derive(Debug)]
struct Watch {
    order: watch::Sender<Arc<Order>>,
    now: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Prober {
    /// Starts the prober's thread. Raises the soft limit of open files as far as the hard one allows, for every probe in
    /// flight holds a socket. `seed` spreads the nodes' first probes.
    ///
    /// # Errors
    ///
    /// [`ProbeError::Start`] if the runtime or the thread cannot be had.
    pub fn start(clock: Clock, seed: u64, out: mpsc::Sender<ProbeReport>) -> Result<Self, ProbeError> {
        let failed = |what| move |source| ProbeError::Start { what, source };
        let capacity = files::raise_limit();
        // One blocking thread: it judges the answers that are too large for the timers' thread.
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .map_err(failed("runtime"))?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            // Either outcome means stop: the sender spoke or is gone.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("probe".into()).spawn(run).map_err(failed("thread"))?;
        let nodes = Mutex::new(HashMap::new());
        let waiting = Arc::default();
        Ok(Self { runtime: handle, clock, seed, out, nodes, waiting, capacity, thread: Some((stop, thread)) })
    }

    /// Watches a node, or watches it as now told. A changed address or identity starts over at once, a probe in flight
    /// is abandoned; a changed policy counts from the next probe; telling the same again does nothing.
    ///
    /// # Errors
    ///
    /// If the health path cannot be asked for; what was watched before stays watched.
    pub fn watch(&self, watched: Watched) -> Result<(), ProbeError> {
        check_path(&watched)?;
        let mut nodes = self.nodes();
        if let Some(known) = nodes.get(&watched.target.node) {
            let same = {
                let now = &known.order.borrow().watched;
                now.target == watched.target && Arc::ptr_eq(&now.health, &watched.health)
            };
            if !same {
                known.order.send_replace(Arc::new(Order { watched }));
            }
            return Ok(());
        }
        let node = watched.target.node.clone();
        let wait = first_wait(watched.policy(), self.seed, &node, self.waiting.load(Relaxed));
        if nodes.len() == self.capacity {
            tracing::warn!(
                capacity = self.capacity,
                "more nodes than file descriptors: should all of them hang, some probes cannot be made; raise LimitNOFILE"
            );
        }
        let (order, orders) = watch::channel(Arc::new(Order { watched }));
        let now = Arc::new(Notify::new());
        let place = Place::take(&self.waiting);
        let round = Round {
            clock: self.clock,
            orders,
            now: Arc::clone(&now),
            out: self.out.clone(),
            place: Some(place),
        };
        let task = self.runtime.spawn(round.run(wait));
        nodes.insert(node, Watch { order, now, task });
        Ok(())
    }

    /// Watches a node no longer; a probe in flight is abandoned.
    pub fn unwatch(&self, node: &NodeName) {
        if let Some(watch) = self.nodes().remove(node) {
            watch.task.abort();
        }
    }

    /// Probes a watched node as soon as no probe of it is in flight; its schedule counts from there.
    pub fn probe_now(&self, node: &NodeName) {
        if let Some(watch) = self.nodes().get(node) {
            watch.now.notify_one();
        }
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<NodeName, Watch>> {
        // Every change of the map is a single insert or remove, so a panic elsewhere leaves it whole.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            // Both can only fail when the thread has ended already, which is what is wanted.
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

/// A path and query in the form that goes into a request line as it is: no blanks, no controls, no fragment.
fn check_path(watched: &Watched) -> Result<(), ProbeError> {
    let path = &watched.policy().path;
    if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Ok(());
    }
    Err(ProbeError::Path { node: watched.target.node.clone(), path: path.escape_debug().to_string() })
}
