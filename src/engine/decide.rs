//! From events to deeds: decide, make durable, act.
//!
//! What waits together is decided together and made durable in one transaction, so that a fleet that fails all at once
//! costs a few commits and not one for each node. Nothing is performed before the commit that journals it, whichever
//! event of the batch ordered it.

use std::{ops::ControlFlow, sync::Arc};

use super::{Engine, StorageFault};
use crate::{
    crash::{self, Point},
    fleet::{
        command::Command,
        event::{Context, Event, IllegalEvent, Reply, Step},
        journal::Entry,
        name::NodeName,
        notice::{Notice, Severity},
        step::step,
        timeline,
        units::Timestamp,
    },
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
        let mut listed = false;
        for event in events {
            listed |= matches!(event, Event::Listed(_));
            if self.storage.is_failed() {
                self.only_watch(event);
            } else if let ControlFlow::Break(defect) = self.decide(event, &mut due) {
                self.storage_failed(defect).await;
                return None;
            }
        }
        let reply = self.settle(due, not_after).await;
        if listed && std::mem::take(&mut self.list_wanted) && !self.storage.is_failed() {
            self.list(self.clock.now());
        }
        reply
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
                due.reply = Some(Reply::Refused(fault.to_string()));
            }
        }
        ControlFlow::Continue(())
    }

    /// Makes a batch durable, then performs it.
    async fn settle(&mut self, due: Due, not_after: Timestamp) -> Option<Reply> {
        let Due { entries, notices, commands, looks, reply } = due;
        let touched: Vec<NodeName> =
            entries.iter().flat_map(|entry| entry.record.touched().cloned()).collect();
        if !entries.is_empty() || !notices.is_empty() {
            pass(&entries, Point::Deciding);
            if let Err(fault) = self.storage.commit(&self.fleet, &entries, &notices).await {
                self.storage_failed(fault).await;
                return None;
            }
            self.tell_log(&entries, &notices);
            pass(&entries, Point::Durable);
        }
        for command in commands {
            if command == Command::List {
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

    /// What is on record now, in words: the log of a keeper without any sink must tell its story too.
    fn tell_log(&self, entries: &[Entry], notices: &[Notice]) {
        for entry in entries {
            self.metrics.recorded(&entry.record);
            let (kind, node) = (entry.record.kind(), entry.record.node().map(NodeName::as_str));
            tracing::info!(kind, node, "{}", timeline::words(&entry.record));
        }
        for notice in notices {
            let node = notice.node.as_ref().map(NodeName::as_str);
            let next = notice.next.as_str();
            match notice.severity {
                Severity::Critical => tracing::error!(node, next, "{}", notice.title),
                Severity::Warning => tracing::warn!(node, next, "{}", notice.title),
                Severity::Info => tracing::info!(node, next, "{}", notice.title),
            }
        }
    }
}

/// Passes the crash points of these entries.
fn pass(entries: &[Entry], point: impl Fn(&'static str) -> Point) {
    for entry in entries {
        crash::at(point(entry.record.kind()));
    }
}
