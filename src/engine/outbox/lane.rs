//! One sink's lane: read the next message, wait until it may go, send it, write down how it went.
//!
//! ```text
//! read ─► wait for: stop │ a new notice │ an unstored notice │ the time ─► send ─┬─ taken, rejected, too old ─► settle ─► read
//!                                                                                └─ failed, refused ─► postpone ─► read
//! ```

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Condition, OutboxPolicy, Standing, UNSTORED};
use crate::{
    alerts::{self, Delivery, Message, Sink},
    clock::Clock,
    crash::{self, Point},
    fleet::{
        notice::{Notice, Severity, Topic},
        units::Timestamp,
    },
    retry::Backoff,
    store::{Addressed, Batch, Due, Fold, Head, Settled, Store, StoreError},
};

/// Everything one lane owns.
pub(super) struct Lane {
    store: Store,
    head: watch::Receiver<Head>,
    http: reqwest::Client,
    clock: Clock,
    sinks: Arc<[Sink]>,
    index: usize,
    policy: OutboxPolicy,
    backoff: Backoff,
    entrance: mpsc::Receiver<Notice>,
    standing: watch::Sender<Standing>,
    stop: CancellationToken,
    /// The next stored message, as last read.
    due: Option<Due>,
    /// A fold was sent and not everything since: the rest is folded too, instead of trickling out one by one.
    storm: bool,
    /// Notices told without the store; they go first.
    unstored: VecDeque<(String, Notice)>,
    /// How many were told without the store, for their ids.
    told: u64,
    /// Nothing is sent before this: pace, backoff, the sink's own wish.
    quiet_until: Timestamp,
    store_failed: bool,
    /// The other sinks know that this one is broken.
    reported: bool,
}

/// What a lane does next.
enum Next {
    Stop,
    Read,
    Accept(Notice),
    Send,
    StoreGone,
}

/// What one try means for its message.
enum Outcome {
    Over(Settled),
    Later { until: Timestamp, detail: String },
}

impl Lane {
    pub fn new(
        (store, http, clock): (Store, reqwest::Client, Clock),
        (sinks, index): (Arc<[Sink]>, usize),
        policy: OutboxPolicy,
        seed: u64,
        (entrance, standing, stop): (mpsc::Receiver<Notice>, watch::Sender<Standing>, CancellationToken),
    ) -> Self {
        Self {
            head: store.head(),
            store,
            http,
            clock,
            sinks,
            index,
            policy,
            backoff: Backoff::new(policy.retry, seed),
            entrance,
            standing,
            stop,
            due: None,
            storm: false,
            unstored: VecDeque::new(),
            told: 0,
            quiet_until: Timestamp::default(),
            store_failed: false,
            reported: false,
        }
    }

    pub async fn run(mut self) {
        self.read().await;
        loop {
            match self.next().await {
                Next::Stop => return,
                Next::Read => self.read().await,
                Next::Accept(notice) => self.accept(notice),
                Next::StoreGone => self.without_store(&StoreError::Closed),
                Next::Send => {
                    match self.unstored.pop_front() {
                        Some((id, notice)) => self.send_unstored(id, notice).await,
                        None => self.send_due().await,
                    }
                    self.read().await;
                }
            }
        }
    }

    fn sink(&self) -> &Sink {
        // The outbox makes lanes for indexes of this very slice.
        &self.sinks[self.index]
    }

    async fn read(&mut self) {
        if !self.store_failed {
            // Marked as seen before reading: a commit in between wakes once too often rather than not at all.
            self.head.mark_unchanged();
            match self.store.due(&self.sink().name, None).await {
                Ok(due) => self.due = due,
                Err(error) => self.without_store(&error),
            }
        }
        self.storm &= self.due.is_some();
        self.publish(None);
    }

    async fn next(&mut self) -> Next {
        let seen = self.head.borrow().notice;
        let stored = self.due.as_ref().map(|due| due.not_before.max(self.quiet_until));
        let at = if self.unstored.is_empty() { stored } else { Some(self.quiet_until) };
        let now = self.clock.now();
        if self.stop.is_cancelled() {
            return Next::Stop;
        }
        if at.is_some_and(|at| at <= now) {
            return Next::Send;
        }
        let wait = now.until(at.unwrap_or_default());
        // Every arm is cancel-safe: a token, a channel, a watch and a timer lose nothing when dropped.
        tokio::select! {
            () = self.stop.cancelled() => Next::Stop,
            Some(notice) = self.entrance.recv() => Next::Accept(notice),
            changed = self.head.wait_for(|head| head.notice != seen), if !self.store_failed => match changed {
                Ok(_) => Next::Read,
                Err(_) => Next::StoreGone,
            },
            () = tokio::time::sleep(wait), if at.is_some() => Next::Send,
        }
    }

    fn accept(&mut self, notice: Notice) {
        if self.unstored.len() >= UNSTORED {
            tracing::error!(sink = self.sink().name, title = notice.title, "too many notices wait in memory");
            return;
        }
        self.told += 1;
        self.unstored.push_back((format!("vk-unstored-{}-{}", notice.at.0, self.told), notice));
        self.publish(None);
    }

    async fn send_due(&mut self) {
        // The timer may be a little early; what is not due yet waits for the next round.
        let now = self.clock.now();
        if self.due.take().is_none_or(|due| due.not_before.max(self.quiet_until) > now) {
            return;
        }
        // Folded only now, so that what came while waiting is in it.
        let above = if self.storm { 1 } else { self.policy.fold_above };
        let fold = Fold { above, most: self.policy.fold_most };
        let due = match self.store.due(&self.sink().name, Some(fold)).await {
            Ok(Some(due)) => due,
            Ok(None) => return,
            Err(error) => return self.without_store(&error),
        };
        self.storm |= due.notices.len() > 1;
        let message = match due.notices.as_slice() {
            [only] => Message::One(&only.notice),
            many => Message::Folded(many.iter().map(|one| (one.id.as_str(), &one.notice)).collect()),
        };
        crash::at(Point::NoticeSending);
        let delivery = self.sink().deliver(&self.http, now, self.clock.civil(), &due.id, &message).await;
        crash::at(Point::NoticeTaken);
        let youngest = due.notices.iter().map(|one| one.notice.at).max().unwrap_or(now);
        let refused = matches!(delivery, Delivery::Refused { .. });
        let stored = match self.judge(&due.id, delivery, youngest).await {
            Outcome::Over(settled) => self.store.settle(&due, settled, self.clock.now()).await,
            Outcome::Later { until, detail } => {
                // A refusal is not kept over a restart, which may be the very repair.
                let until = if refused { self.clock.now() } else { until };
                self.store.postpone(&due, until, detail).await
            }
        };
        if let Err(error) = stored {
            self.without_store(&error);
        }
    }

    async fn send_unstored(&mut self, id: String, notice: Notice) {
        let now = self.clock.now();
        if self.quiet_until > now {
            self.unstored.push_front((id, notice));
            return;
        }
        let delivery =
            self.sink().deliver(&self.http, now, self.clock.civil(), &id, &Message::One(&notice)).await;
        match self.judge(&id, delivery, notice.at).await {
            Outcome::Over(_) => {}
            Outcome::Later { .. } => self.unstored.push_front((id, notice)),
        }
    }

    /// What a try means; moves the time before which nothing is sent.
    async fn judge(&mut self, id: &str, delivery: Delivery, youngest: Timestamp) -> Outcome {
        let now = self.clock.now();
        let name = self.sink().name.clone();
        let spacing = self.sink().spacing();
        let (wait, detail) = match delivery {
            Delivery::Sent { pause } => {
                self.backoff.reset();
                self.reported = false;
                self.quiet_until = now.after(spacing.max(pause.min(self.policy.retry.hint_cap)));
                self.publish(Some(Condition::Working));
                tracing::debug!(sink = name, id, "notice delivered");
                return Outcome::Over(Settled::Sent);
            }
            Delivery::Rejected { detail } => {
                self.quiet_until = now.after(spacing);
                tracing::error!(sink = name, id, detail, "the sink rejects a message; it is given up");
                self.report(format!("alert sink `{name}` rejected a message"), &detail).await;
                return Outcome::Over(Settled::Dead { detail });
            }
            Delivery::Refused { detail } => {
                let until = now.after(self.policy.refused_pause);
                tracing::error!(sink = name, id, detail, "the sink refuses everything; repair it");
                self.publish(Some(Condition::Refusing { until, detail: detail.clone() }));
                self.report(format!("alert sink `{name}` refuses messages"), &detail).await;
                (self.policy.refused_pause, detail)
            }
            Delivery::Retry { detail } => (self.delay(None), detail),
            Delivery::RetryAfter { wait, detail } => (self.delay(Some(wait)), detail),
        };
        if now.since(youngest) > self.policy.give_up_after {
            tracing::error!(
                sink = name,
                id,
                detail,
                "a message could not be delivered for too long and is given up"
            );
            self.quiet_until = now.after(wait);
            return Outcome::Over(Settled::Dead { detail: format!("too old; last try: {detail}") });
        }
        let until = now.after(wait);
        self.quiet_until = until;
        if !matches!(self.standing.borrow().condition, Condition::Refusing { .. }) {
            self.publish(Some(Condition::Retrying { until, detail: detail.clone() }));
        }
        tracing::warn!(
            sink = name,
            id,
            detail,
            wait_ms = wait.as_millis() as u64,
            "a delivery failed and is tried again"
        );
        Outcome::Later { until, detail }
    }

    fn delay(&mut self, hint: Option<std::time::Duration>) -> std::time::Duration {
        // Age decides when to give up, so a policy that would stop only stops growing.
        self.backoff.next_delay(hint).unwrap_or(self.policy.retry.max_delay)
    }

    /// Tells the other sinks that this one is broken, once until it works again.
    async fn report(&mut self, title: String, detail: &str) {
        if self.reported || self.store_failed {
            return;
        }
        self.reported = true;
        let notice = Notice {
            at: self.clock.now(),
            severity: Severity::Warning,
            topic: Topic::Keeper,
            node: None,
            incident: None,
            title,
            facts: vec![("answer".into(), detail.to_owned())],
            next: "check the sink's URL and its permissions, then restart or reload the keeper".into(),
        };
        let mut sinks = alerts::route(&self.sinks, &notice);
        sinks.retain(|name| *name != self.sink().name);
        if sinks.is_empty() {
            return;
        }
        let batch = Batch { notices: vec![Addressed { notice, sinks }], ..Batch::default() };
        if let Err(error) = self.store.commit(batch).await {
            self.without_store(&error);
        }
    }

    /// From now on only what is told without the store goes out; what waits in it goes out after a restart.
    fn without_store(&mut self, error: &StoreError) {
        if !self.store_failed {
            tracing::error!(
                sink = self.sink().name,
                error = error as &dyn std::error::Error,
                "the outbox lost its store"
            );
        }
        self.store_failed = true;
        self.due = None;
        self.publish(Some(Condition::WithoutStore));
    }

    fn publish(&self, condition: Option<Condition>) {
        let stored = self.due.as_ref().map(|due| due.depth);
        let waiting = self.unstored.len() as u64;
        self.standing.send_modify(|standing| {
            // While a message is on its way the lane does not hold it; the depth is then that of the last reading.
            if let Some(stored) = stored.or((condition.is_none()).then_some(0)) {
                standing.depth = stored + waiting;
            }
            match (condition, &standing.condition) {
                (
                    Some(condition),
                    Condition::Working | Condition::Retrying { .. } | Condition::Refusing { .. },
                ) => {
                    standing.condition = condition;
                }
                (Some(_), Condition::WithoutStore) | (None, _) => {}
            }
        });
    }
}
