//! Breaks something at the provider or on a box, and waits until the keeper has healed it.

use std::time::Duration;

use vast_sim::{Action, ApiBreak, Fault, FaultId, FaultKind, GoneStatus};

use super::{FaultChoice, Healed, Narrator, stage::Stage};
use crate::{
    cli::exit::{self, Failure, chain},
    clock::Clock,
    daemon,
    fleet::{
        name::NodeName,
        timeline::IncidentView,
        units::{Timestamp, millis},
    },
};

/// How long the provider's API stays down in `api-outage`.
const OUTAGE: Duration = Duration::from_secs(4);

pub(super) async fn break_and_heal(
    kind: FaultChoice,
    round: usize,
    stage: &Stage,
    narrator: &mut Narrator,
    patience: Duration,
) -> Result<Healed, Failure> {
    let view = narrator.until_all_serve(stage, patience).await?;
    let victim = view.nodes.get(round % view.nodes.len().max(1));
    let Some((node, Some(instance))) = victim.map(|node| (node.node.clone(), node.instance)) else {
        return Err(Failure::new(exit::BUG, "there is no node to break"));
    };
    let clock = Clock::new();
    narrator.say(&format!("── {}: breaking {node}, instance {instance} ──", kind.word()));
    let prepared = prepare(kind, stage)?;
    let at = clock.now();
    stage
        .sim()
        .act(instance.0, Action::Do(deed(kind)))
        .await
        .map_err(|fault| Failure::new(exit::BUG, format!("the fault did not take: {}", chain(&fault))))?;
    if kind == FaultChoice::ApiOutage {
        let over = clock.now().after(OUTAGE);
        while clock.now() < over {
            narrator.look(stage).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        narrator.say("the provider's api answers again");
    }
    if let Some(fault) = prepared.filter(|_| kind == FaultChoice::ApiOutage) {
        stage.sim().clear_fault(fault);
    }
    let incident = heal(&node, at, stage, narrator, patience).await?;
    narrator.timeline(&incident)?;
    Ok(Healed {
        kind,
        node: Some(node.to_string()),
        incident: Some(incident.id.0),
        detected_ms: Some(millis(incident.opened_at.since(at))),
        healed_ms: incident.closed_at.map(|closed| millis(closed.since(at))),
    })
}

/// What is done to the victim itself.
fn deed(kind: FaultChoice) -> FaultKind {
    match kind {
        FaultChoice::Freeze => FaultKind::Freeze,
        FaultChoice::KillInstance => FaultKind::KillInstance,
        FaultChoice::KillServer
        | FaultChoice::StuckLoading
        | FaultChoice::OfferGone
        | FaultChoice::LostCreateReply
        | FaultChoice::ApiOutage
        | FaultChoice::All => FaultKind::KillServer { whole_session: true },
    }
}

/// What is arranged at the provider beforehand.
fn prepare(kind: FaultChoice, stage: &Stage) -> Result<Option<FaultId>, Failure> {
    let fault = match kind {
        FaultChoice::StuckLoading => Fault::once(FaultKind::StuckLoading),
        FaultChoice::OfferGone => Fault::once(FaultKind::OfferGone { status: GoneStatus::Gone }),
        FaultChoice::LostCreateReply => Fault::lost_create_reply(ApiBreak::Reset),
        FaultChoice::ApiOutage => Fault::lasting(FaultKind::ApiOutage { how: ApiBreak::Html502 }),
        FaultChoice::KillServer | FaultChoice::Freeze | FaultChoice::KillInstance | FaultChoice::All => {
            return Ok(None);
        }
    };
    let refused = |fault: vast_sim::FaultError| {
        Failure::new(exit::BUG, format!("the fault is refused: {}", chain(&fault)))
    };
    stage.sim().inject(fault).map(Some).map_err(refused)
}

/// Waits for the incident of this fault to close.
async fn heal(
    node: &NodeName,
    at: Timestamp,
    stage: &Stage,
    narrator: &mut Narrator,
    patience: Duration,
) -> Result<IncidentView, Failure> {
    let clock = Clock::new();
    let end = clock.now().after(patience);
    loop {
        let view = narrator.look(stage).await?;
        let history = stage.history();
        let newest = daemon::incidents(history.as_ref(), 1, Some(node)).await.unwrap_or_default();
        // The incident's own first failure lies after the fault; an earlier one is not this story.
        let ours =
            newest.into_iter().find(|incident| incident.opened_at >= at && incident.closed_at.is_some());
        if let Some(incident) = ours {
            let whole = daemon::incident(history.as_ref(), incident.id).await.flatten();
            narrator.look(stage).await?;
            return Ok(whole.unwrap_or(incident));
        }
        if clock.now() > end {
            narrator.show(&view)?;
            let message = format!("`{node}` was not healed within {} s", patience.as_secs());
            return Err(Failure::new(exit::BUG, message).hint("run it again with `RUST_LOG=debug`"));
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}
