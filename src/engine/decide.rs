//! From events to deeds: decide, make durable, act.
//!
//! What waits together is decided together and made durable in one transaction, so that a fleet that fails all at once
//! costs a few commits and not one for each node. Nothing is performed before the commit that journals it, whichever
//! event of the batch ordered it.

use std::{ops::ControlFlow, sync::Arc};

use super::{Engine, StorageFault};
use crate::fleet::{
    event::{Command, Context, Event, IllegalEvent, Reply, Step},
    journal::Entry,
    name::NodeName,
    notice::Notice,
    step::step,
    units::Timestamp,
};

/// Most events decided before one commit: some ten milliseconds of deciding when every one of them changes something.
pub(super) const TOGETHER: usize = 256;

/// What a batch of events came to, before it is durable.
#[derive(Default)]
struct Due {
    entries: Vec<Entry>,
    notices: Vec<Notice>,
    commands: Vec<Command>,
    looks: Vec<(NodeName, Timestamp)>,
    reply: Option<Reply>,
}

impl Engine {
    /// One event, whole.
    pub(super) async fn handle(&mut self, event: Event) -> Option<Reply> {
        self.handle_all([event]).await
    }

    /// Events in their order, whole; the reply is the last one's that has one.
    pub(super) async fn handle_all(&mut self, events: impl IntoIterator<Item = Event>) -> Option<Reply> {
        let mut due = Due::default();
        // The earliest decision's: a command of a later one may only expire too soon.
        let not_after = self.expiry();
        for event in events {
            if self.storage.is_failed() {
                self.only_watch(event);
            } else if let ControlFlow::Break(defect) = self.decide(event, &mut due) {
                self.storage_failed(defect).await;
                return None;
            }
        }
        self.settle(due, not_after).await
    }

    fn decide(&mut self, event: Event, due: &mut Due) -> ControlFlow<StorageFault> {
        let policy = Arc::clone(&self.policy);
        let context = Context { now: self.clock.now(), policy: &policy, random: self.random.u64(..) };
        match step(&mut self.fleet, &mut self.memory, event, &context) {
            Ok(Step { entries, commands, notices, looks, reply }) => {
                due.entries.extend(entries);
                due.commands.extend(commands);
                due.notices.extend(notices);
                due.looks.extend(looks);
                due.reply = reply.or(due.reply.take());
            }
            Err(fault @ IllegalEvent::Misfit(_)) => {
                // The state in memory may be half changed: it is read back before anything else is decided.
                tracing::error!(fault = &fault as &dyn std::error::Error, "a decision did not fit the state");
                return ControlFlow::Break(StorageFault::Defect(fault.to_string()));
            }
            Err(fault) => {
                tracing::error!(fault = &fault as &dyn std::error::Error, "an event made no sense");
            }
        }
        ControlFlow::Continue(())
    }

    /// Makes a batch durable, then performs it.
    async fn settle(&mut self, due: Due, not_after: Timestamp) -> Option<Reply> {
        let Due { entries, notices, commands, looks, reply } = due;
        for entry in &entries {
            self.metrics.recorded(&entry.record);
            let node = entry.record.node().map(NodeName::as_str);
            tracing::info!(kind = entry.record.kind(), node, "journaled");
        }
        let touched: Vec<NodeName> =
            entries.iter().filter_map(|entry| entry.record.node().cloned()).collect();
        if (!entries.is_empty() || !notices.is_empty())
            && let Err(fault) = self.storage.commit(&self.fleet, entries, notices).await
        {
            self.storage_failed(fault).await;
            return None;
        }
        for command in commands {
            if command == Command::List {
                // Asked for out of turn; the regular one follows a whole interval later.
                self.list(self.clock.now());
            } else {
                self.executor.perform(command, not_after, &self.memory, &self.policy);
            }
        }
        for (node, at) in looks {
            self.timers.set(node, at);
        }
        for node in touched {
            self.retarget(&node);
        }
        reply
    }
}
