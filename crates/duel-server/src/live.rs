//! The publisher of live state: turns views into messages, once for all clients.
//!
//! A change of phase, market or maintenance goes out at once; mere odds are thinned out to ten a second; during a
//! fight the hit points go out every second. Where a public delay is set, everything public lags behind by it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::arena::Phase;
use crate::clock::{Clock, Millis};
use crate::http::StateMessage;
use crate::view::View;
use crate::vitals::Vitals;

/// Messages a slow client may lag behind before it is dropped.
const BACKLOG: usize = 64;

/// Shortest time between two messages that only differ in odds.
const ODDS_INTERVAL_MS: Millis = 100;

/// The hit points of a running fight go out this often; also the publisher's heartbeat.
const TICK_MS: Millis = 1_000;

/// Views waiting for their public delay; beyond it the oldest odds are skipped.
const MAX_DELAYED: usize = 8_192;

/// What clients subscribe to.
#[derive(Clone)]
pub struct Live {
    messages: broadcast::Sender<Utf8Bytes>,
    shown: watch::Receiver<Option<Arc<View>>>,
    delay: Millis,
}

impl Live {
    /// The view the public sees now; none while the first one is still being delayed.
    pub fn public_view(&self) -> Option<Arc<View>> {
        self.shown.borrow().clone()
    }

    /// How far the public lags behind, in milliseconds.
    pub fn delay(&self) -> Millis {
        self.delay
    }

    /// Every message from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Utf8Bytes> {
        self.messages.subscribe()
    }
}

/// Publishes until told to stop.
pub struct Publisher {
    clock: Clock,
    vitals: Arc<Vitals>,
    views: watch::Receiver<Arc<View>>,
    messages: broadcast::Sender<Utf8Bytes>,
    shown: watch::Sender<Option<Arc<View>>>,
    delay: Millis,
    waiting: VecDeque<(Millis, Arc<View>)>,
    last_sent: Millis,
    last_view: Option<Arc<View>>,
}

impl Publisher {
    /// A publisher with its subscription.
    pub fn new(
        clock: Clock,
        vitals: Arc<Vitals>,
        views: watch::Receiver<Arc<View>>,
        delay: Duration,
    ) -> (Self, Live) {
        let (messages, _) = broadcast::channel(BACKLOG);
        let (shown, receiver) = watch::channel(None);
        let delay = Millis::try_from(delay.as_millis()).unwrap_or(Millis::MAX);
        let live = Live { messages: messages.clone(), shown: receiver, delay };
        let waiting = VecDeque::from([(clock.now() + delay, Arc::clone(&views.borrow()))]);
        let publisher =
            Self { clock, vitals, views, messages, shown, delay, waiting, last_sent: 0, last_view: None };
        (publisher, live)
    }

    /// Runs until told to stop or the director is gone.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let now = self.clock.now();
            self.vitals.beat_live(now);
            let wake = self.publish_due(now);
            // Both arms hold no data: a change missed here is seen on the next turn.
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.views.changed() => {
                    if changed.is_err() { return }
                    let view = Arc::clone(&self.views.borrow_and_update());
                    if self.waiting.len() >= MAX_DELAYED {
                        self.waiting.pop_front();
                    }
                    self.waiting.push_back((self.clock.now() + self.delay, view));
                }
                () = tokio::time::sleep_until(self.clock.instant_of(wake)) => {}
            }
        }
    }

    /// Publishes what is due and says when to look again.
    fn publish_due(&mut self, now: Millis) -> Millis {
        let mut wake = now + TICK_MS;
        while let Some((at, view)) = self.waiting.front() {
            let urgent = self.last_view.as_deref().is_none_or(|last| is_transition(last, view));
            let at = if urgent { *at } else { (*at).max(self.last_sent + ODDS_INTERVAL_MS) };
            if at > now {
                wake = wake.min(at);
                break;
            }
            let Some((_, view)) = self.waiting.pop_front() else { break };
            // Of several views that only differ in odds, the newest that is due is enough.
            let superseded = self
                .waiting
                .front()
                .is_some_and(|(next_at, next)| *next_at <= now && !is_transition(&view, next));
            if urgent || !superseded {
                self.send(view, now);
            } else {
                self.last_view = Some(view);
            }
        }
        let fighting = self.last_view.clone().filter(|view| view.phase == Phase::Fighting);
        if let Some(view) = fighting.filter(|_| now - self.last_sent >= TICK_MS) {
            self.send(view, now);
        }
        wake
    }

    fn send(&mut self, view: Arc<View>, now: Millis) {
        self.last_sent = now;
        match serde_json::to_string(&StateMessage::of(&view, now - self.delay)) {
            // An error only says that nobody is listening.
            Ok(text) => drop(self.messages.send(text.into())),
            Err(error) => tracing::error!(%error, "a state message cannot be serialised"),
        }
        self.shown.send_replace(Some(Arc::clone(&view)));
        self.last_view = Some(view);
    }
}

fn is_transition(before: &View, after: &View) -> bool {
    before.phase_version != after.phase_version
        || before.market != after.market
        || before.maintenance != after.maintenance
}
