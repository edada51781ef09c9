//! Answers what the site asks: the view and wishes from the engine, the past from the store.

use tokio::sync::{mpsc, watch};

use crate::{
    engine::Handle,
    fleet::{
        deployed::DeployReport,
        name::{IncidentId, NodeName},
        tell::cause_text,
        timeline::{IncidentView, Line, fault, line, milestones},
    },
    http::Question,
    store::{History, IncidentRow, Store},
};

/// Answers until the site is gone. Reads of the past run beside each other; a slow one delays nobody.
pub(super) async fn answer_all(
    mut questions: mpsc::Receiver<Question>,
    engine: Handle,
    store: watch::Receiver<Option<Store>>,
) {
    while let Some(question) = questions.recv().await {
        let engine = engine.clone();
        let history = store.borrow().as_ref().map(Store::history);
        tokio::spawn(answer(question, engine, history));
    }
}

async fn answer(question: Question, engine: Handle, history: Option<History>) {
    // A receiver that is gone has hung up; nobody misses the answer.
    match question {
        Question::View(reply) => drop(reply.send(engine.view().await.ok())),
        Question::Why { node, reply } => drop(reply.send(engine.why(node).await.ok())),
        Question::Ledger { reply } => drop(reply.send(engine.ledger().await.ok())),
        Question::AskLedger { request, reply } => {
            drop(reply.send(engine.ask_ledger(*request).await.ok()));
        }
        // The engine has ended: nobody is left to look.
        Question::Hint(hint) => drop(engine.hint(hint).await),
        Question::Ask { request, reply } => {
            let answer = engine.ask(request.node, request.wish, request.by).await;
            drop(reply.send(answer.ok()));
        }
        Question::Incidents { limit, node, reply } => {
            drop(reply.send(incidents(history.as_ref(), limit, node.as_ref()).await));
        }
        Question::Deploys { limit, node, reply } => {
            drop(reply.send(deploys(history.as_ref(), limit, node.as_ref()).await));
        }
        Question::Switch { request, reply } => drop(reply.send(engine.switch(*request).await.ok())),
        Question::Tell { notice, reply } => drop(reply.send(engine.tell(*notice).await.ok())),
        Question::ReportDeploy { report, reply } => drop(reply.send(engine.report(*report).await.ok())),
        Question::Incident { id, reply } => drop(reply.send(incident(history.as_ref(), id).await)),
        Question::Events { after, limit, node, reply } => {
            drop(reply.send(events(history.as_ref(), after, limit, node.as_ref()).await));
        }
    }
}

/// The newest incidents, without lines; `None` when the store cannot be read.
pub(crate) async fn incidents(
    history: Option<&History>,
    limit: u32,
    node: Option<&NodeName>,
) -> Option<Vec<IncidentView>> {
    let rows = history?.incidents(limit, node).await;
    let rows = rows.inspect_err(|fault| tracing::warn!(%fault, "incidents cannot be read")).ok()?;
    Some(rows.into_iter().map(bare).collect())
}

/// One incident with its story; the inner `None` is an unknown number.
pub(crate) async fn incident(history: Option<&History>, id: IncidentId) -> Option<Option<IncidentView>> {
    let found = history?.incident(id).await;
    let found = found.inspect_err(|fault| tracing::warn!(%fault, "an incident cannot be read")).ok()?;
    Some(found.map(|(row, entries)| {
        let milestones = milestones(row.first_failure_at, &entries);
        let lines = entries.iter().map(|(seq, entry)| line(*seq, entry)).collect();
        IncidentView { milestones, lines, fault: fault(&entries), ..bare(row) }
    }))
}

/// The newest deploys; `None` when the store cannot be read.
pub(crate) async fn deploys(
    history: Option<&History>,
    limit: u32,
    node: Option<&NodeName>,
) -> Option<Vec<DeployReport>> {
    let rows = history?.deploys(limit, node).await;
    let rows = rows.inspect_err(|fault| tracing::warn!(%fault, "deploys cannot be read")).ok()?;
    Some(rows.into_iter().map(|(_, report)| report).collect())
}

/// Journaled facts after a number.
pub(crate) async fn events(
    history: Option<&History>,
    after: u64,
    limit: u32,
    node: Option<&NodeName>,
) -> Option<Vec<Line>> {
    let entries = history?.events_after(after, limit, node).await;
    let entries = entries.inspect_err(|fault| tracing::warn!(%fault, "events cannot be read")).ok()?;
    Some(entries.iter().map(|(seq, entry)| line(*seq, entry)).collect())
}

fn bare(row: IncidentRow) -> IncidentView {
    IncidentView {
        id: row.id,
        node: row.node,
        why: cause_text(&row.cause),
        first_failure_at: row.first_failure_at,
        opened_at: row.opened_at,
        closed_at: row.closure.as_ref().map(|closure| closure.at),
        outcome: row.closure.map(|closure| closure.outcome),
        fault: None,
        milestones: Vec::new(),
        lines: Vec::new(),
    }
}
