//! What people, pages and the schedule ask of the engine.

use std::{collections::VecDeque, time::Duration};

use super::{
    Engine, Kick,
    handle::{Request, digest},
};
use crate::fleet::{
    event::{Event, Reply, Wish},
    ledger,
    name::NodeName,
    notice::{Notice, Severity, Topic},
    units::Timestamp,
    view::{self, FleetView},
    why,
};

/// How long a round of planned redeploys is pursued; what rails kept back until then waits for the next round.
const ROUND: Duration = Duration::from_secs(6 * 3600);

/// A round of planned redeploys.
#[derive(Debug, Default)]
pub(super) struct Redeploys {
    waiting: VecDeque<NodeName>,
    until: Timestamp,
}

impl Engine {
    pub(super) fn view(&self) -> FleetView {
        let mut view = view::view(&self.fleet, &self.memory, &self.policy, self.clock.now());
        if self.storage.is_failed() {
            view.summary = "storage-failed".into();
            if self.fleet.nodes.is_empty() {
                // The journal could not even be read: nothing is known, which is not the same as nothing being there.
                for node in &mut view.nodes {
                    node.state = "unknown".into();
                }
            }
        }
        view
    }

    pub(super) async fn answer(&mut self, request: Request) {
        match request {
            Request::View(reply) => drop(reply.send(self.view())),
            Request::Why { node, reply } => {
                let why = why::why(&node, &self.fleet, &self.memory, &self.policy, self.clock.now());
                drop(reply.send(why.map(Box::new)));
            }
            Request::Ledger(reply) => {
                let now = self.clock.now();
                let view = ledger::view(&self.fleet, &self.policy, now);
                drop(reply.send((view, ledger::export(&self.fleet, now))));
            }
            Request::AskLedger { request, reply } => {
                let answer = self.handle(Event::LedgerAsked { wish: request.wish, by: request.by }).await;
                drop(reply.send(answer.unwrap_or_else(unwritable)));
            }
            Request::Ask { node, wish, by, reply } => {
                let answer = self.handle(Event::Asked { node, wish, by }).await;
                drop(reply.send(answer.unwrap_or_else(unwritable)));
            }
            Request::Switch { request, reply } => {
                let answer = self.handle(Event::SwitchAsked(*request)).await;
                drop(reply.send(answer.unwrap_or_else(unwritable)));
            }
            Request::Tell { notice, reply } => {
                self.record_notice(*notice).await;
                let failed = self.storage.is_failed();
                drop(reply.send(if failed { unwritable() } else { Reply::Accepted("told".into()) }));
            }
            Request::Report { report, reply } => {
                let anew = report.outcome.is_good() && !report.healing;
                let answer = self.handle(Event::DeployReported(report)).await;
                drop(reply.send(answer.unwrap_or_else(unwritable)));
                if anew {
                    // The configured release may be another one than when it was prepared here.
                    self.executor.edges().releases.forget();
                    self.memory.release_missing = Some("it is being prepared".into());
                    self.next_release = self.clock.now();
                }
            }
            Request::Reload { policy, reply } => {
                self.policy = policy;
                for name in self.watched.keys().cloned().collect::<Vec<_>>() {
                    self.watch_anew(&name);
                }
                self.retarget_all();
                // What could not be prepared may be mended now.
                self.next_release = self.clock.now();
                self.handle(Event::PolicyChanged).await;
                let _ = reply.send(());
            }
            Request::Kick(kick) => self.kick(kick).await,
            Request::Hint(hint) => {
                let instance = hint.instance.map(|id| id.0);
                tracing::info!(kind = %hint.kind, instance, "the provider notified of something: looking");
                self.handle(Event::Hinted(hint)).await;
            }
        }
    }

    async fn kick(&mut self, kick: Kick) {
        let now = self.clock.now();
        match kick {
            Kick::InventorySweep => self.list(now),
            Kick::OrphanCheck => {
                self.memory.strays_told.clear();
                self.list(now);
            }
            Kick::NightlyRedeploy => {
                self.executor.edges().releases.forget();
                self.memory.release_missing = Some("it is being prepared".into());
                self.next_release = now;
                let waiting = self.policy.nodes.keys().cloned().collect();
                self.redeploys = Redeploys { waiting, until: now.after(ROUND) };
            }
            Kick::Digest => {
                let notice = digest(&self.view(), now);
                self.record_notice(notice).await;
            }
        }
    }

    async fn record_notice(&mut self, notice: Notice) {
        if self.storage.is_failed() {
            return;
        }
        if let Err(fault) = self.storage.commit(&self.fleet, &[], &[notice]).await {
            self.storage_failed(fault).await;
        }
    }

    /// Planned redeploys go through the same rails as everything that disrupts. A node that a rail keeps back goes to the
    /// end of the queue, one whose healing a person has stopped is left out.
    pub(super) async fn redeploy_next(&mut self, now: Timestamp) {
        if self.redeploys.waiting.is_empty() || self.memory.release_missing.is_some() {
            return;
        }
        if now > self.redeploys.until {
            let left: Vec<String> = self.redeploys.waiting.drain(..).map(|node| node.to_string()).collect();
            self.record_notice(unfinished(now, &left)).await;
            return;
        }
        let Some(node) = self.redeploys.waiting.pop_front() else { return };
        let paused = self.fleet.nodes.get(&node).is_some_and(|known| known.paused.is_some());
        if paused || self.policy.observe_only {
            tracing::info!(%node, "not redeployed: its healing is stopped by hand");
            return;
        }
        let event = Event::Asked { node: node.clone(), wish: Wish::Redeploy, by: "the schedule".into() };
        if let None | Some(Reply::Refused(_)) = self.handle(event).await {
            self.redeploys.waiting.push_back(node);
        }
    }
}

fn unwritable() -> Reply {
    Reply::Refused("the keeper cannot write its journal".into())
}

fn unfinished(at: Timestamp, left: &[String]) -> Notice {
    Notice {
        at,
        severity: Severity::Warning,
        topic: Topic::Deploy,
        node: None,
        incident: None,
        title: format!("the planned redeploy left out {} nodes", left.len()),
        facts: vec![("nodes".into(), left.join(", "))],
        next: "rails kept them back all the time; `vast-keeper status` shows which".into(),
    }
}
