//! The one read model: command line, page, API and metrics all render this.

mod quarantine;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use self::quarantine::QuarantinedView;
use super::{
    breaker,
    event::Wish,
    guard::Guard,
    journal::ReleaseRef,
    memory::{Blocked, Memory},
    name::{FleetName, IncidentId, InstanceId, MachineId, NodeName},
    policy::{Policy, Rung},
    probe::Verdict,
    state::{Fleet, Node, NodeState},
    tell,
    units::{Money, Timestamp, millis},
    watch::Watch,
};

/// The fleet as a person sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetView {
    /// The fleet's name.
    pub fleet: FleetName,
    /// When this was true, in milliseconds since the Unix epoch.
    pub at: Timestamp,
    /// One word: `healthy` (every node serves and none fails), `healing`, `held` (a node waits for a human, or is kept empty
    /// by one), `blind` (the provider cannot be asked, or a serving node is not observed), `storage-failed`.
    pub summary: String,
    /// Nodes that serve and answered their last probe well, if that is not too long ago.
    pub healthy: u32,
    /// Nodes wanted.
    pub wanted: u32,
    /// Spares that are healthy in hand.
    #[serde(default)]
    pub spares_ready: u32,
    /// Spares wanted.
    #[serde(default)]
    pub spares: u32,
    /// Dollars per hour of everything that may be billed.
    pub dollars_per_hour: Money,
    /// Dollars spent in the last 24 hours, by the keeper's own record.
    #[serde(default)]
    pub spent_24h: Money,
    /// The account's credit in dollars, when last read.
    pub credit: Option<Money>,
    /// Dollars per hour once everything wanted is filled, and nothing else is alive.
    #[serde(default)]
    pub wanted_dollars_per_hour: Money,
    /// The same for a day.
    #[serde(default)]
    pub wanted_dollars_per_day: Money,
    /// Hours that the credit lasts, if it is known and anything costs.
    #[serde(default)]
    pub runway_hours: Option<f64>,
    /// How long the failed nodes that wait for their turn will take.
    #[serde(default)]
    pub plan: Option<PlanView>,
    /// Where the mass-failure breaker stands.
    pub breaker: breaker::Position,
    /// Whether the keeper only observes.
    pub observe_only: bool,
    /// Whether the provider takes our key.
    pub key_accepted: bool,
    /// Age of the last complete list of instances in milliseconds.
    pub list_age_ms: Option<u64>,
    /// Why the last list failed, if it did.
    pub list_fault: Option<String>,
    /// The nodes by name.
    pub nodes: Vec<NodeView>,
    /// Condemned instances not yet proven gone.
    pub doomed: Vec<DoomedView>,
    /// Releases that the fleet went back from, the newest first; neither healing nor a deploy brings them again by itself.
    #[serde(default)]
    pub quarantine: Vec<QuarantinedView>,
}

/// One node as a person sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its name.
    pub node: NodeName,
    /// Whether it is a spare.
    #[serde(default)]
    pub spare: bool,
    /// Its state: `vacant`, `serving`, `suspect`, `remedying`, `recovering`, `held`.
    pub state: String,
    /// The stage of a recovery or the rung of a remedy.
    pub stage: Option<String>,
    /// Since when it is in this stage or state, if that is on record.
    pub since: Option<Timestamp>,
    /// The instance that fills or will fill it.
    pub instance: Option<InstanceId>,
    /// The instance that is kept until that one has proven itself, where one is replaced create-first.
    #[serde(default)]
    pub kept: Option<InstanceId>,
    /// The instance that served before a blue-green replacement and is kept as the way back.
    #[serde(default)]
    pub standby: Option<InstanceId>,
    /// Its machine.
    pub machine: Option<MachineId>,
    /// GPU, region, reliability in words.
    pub offer: Option<String>,
    /// Where its server is published.
    pub address: Option<SocketAddr>,
    /// Dollars per hour.
    pub dollars_per_hour: Option<Money>,
    /// What was last deployed.
    pub release: Option<ReleaseRef>,
    /// The open incident.
    pub incident: Option<IncidentId>,
    /// Who paused it.
    pub paused_by: Option<String>,
    /// Why it is held.
    pub held: Option<String>,
    /// What keeps it back.
    pub blocked: Option<BlockedView>,
    /// Its health.
    pub health: HealthView,
}

/// What a mass replacement will take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanView {
    /// Failed nodes whose replacement has not begun, the next one first.
    pub waiting: Vec<NodeName>,
    /// Replacements under way.
    pub under_way: u32,
    /// Milliseconds until the last one serves, as estimated; none while the breaker holds.
    pub takes_ms: Option<u64>,
    /// What that hangs on.
    pub limit: String,
}

/// A rail in the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockedView {
    /// The rail's word.
    pub rail: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// When it may pass, if known.
    pub until: Option<Timestamp>,
}

/// What the probes say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthView {
    /// `healthy`, `maintenance`, `failing`, or `unknown`: nothing to probe, not probed yet, or not for long.
    pub verdict: String,
    /// Why it fails, or since when nothing is known of it.
    pub detail: Option<String>,
    /// Consecutive failures.
    pub failures: u32,
    /// The threshold.
    pub threshold: u32,
    /// Milliseconds the last probe took.
    pub took_ms: Option<u64>,
    /// When the last probe started.
    pub last_at: Option<Timestamp>,
    /// Probes since the keeper's start.
    pub checks: u64,
    /// Failed probes since the keeper's start.
    pub failed_checks: u64,
    /// The last probes, oldest first, `.` good and `x` failed, at most 64.
    pub history: String,
}

/// A condemned instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DoomedView {
    /// Which.
    pub instance: InstanceId,
    /// The node it filled.
    pub node: Option<NodeName>,
    /// Since when.
    pub since: Timestamp,
    /// Whether the provider accepted the destroy.
    pub acknowledged: bool,
    /// Dollars per hour while it lives.
    pub dollars_per_hour: Money,
}

/// A wish of a person, as the control interface takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// About which node.
    pub node: NodeName,
    /// What.
    pub wish: Wish,
    /// Who.
    pub by: String,
}

/// Builds the view.
#[must_use]
pub fn view(fleet: &Fleet, memory: &Memory, policy: &Policy, now: Timestamp) -> FleetView {
    let mut names: Vec<&NodeName> = policy.nodes.keys().chain(fleet.nodes.keys()).collect();
    names.sort();
    names.dedup();
    let nodes: Vec<NodeView> =
        names.into_iter().map(|name| node_view(name, fleet, memory, policy, now)).collect();
    let healthy = |spare: bool| {
        let of_kind = nodes.iter().filter(|node| node.spare == spare);
        let count =
            of_kind.filter(|node| node.state == "serving" && node.health.verdict == "healthy").count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let (ready, spares_ready) = (healthy(false), healthy(true));
    let spares = u32::try_from(policy.spares.len()).unwrap_or(u32::MAX);
    let guard = Guard { fleet, memory, policy, now };
    let forecast = guard.forecast();
    FleetView {
        fleet: policy.fleet.clone(),
        at: now,
        summary: summary(fleet, memory, policy, &nodes, now).into(),
        healthy: ready,
        wanted: u32::try_from(policy.nodes.len()).unwrap_or(u32::MAX).saturating_sub(spares),
        spares_ready,
        spares,
        dollars_per_hour: guard.hourly_cost(),
        spent_24h: guard.spent_24h(),
        credit: memory.credit.map(|(_, credit)| credit.dollars),
        wanted_dollars_per_hour: forecast.wanted_hourly,
        wanted_dollars_per_day: forecast.wanted_daily,
        runway_hours: forecast.runway.map(|lasts| lasts.as_secs_f64() / 3600.0),
        plan: guard.plan().map(|plan| PlanView {
            waiting: plan.waiting,
            under_way: plan.under_way,
            takes_ms: plan.takes.map(millis),
            limit: plan.limit,
        }),
        breaker: fleet.breaker,
        observe_only: policy.observe_only,
        key_accepted: fleet.key_accepted,
        list_age_ms: memory.lists.last_started_at.map(|at| millis(now.since(at))),
        list_fault: memory.lists.fault.as_ref().map(ToString::to_string),
        nodes,
        doomed: fleet
            .doomed
            .iter()
            .map(|(instance, doomed)| DoomedView {
                instance: *instance,
                node: doomed.node.clone(),
                since: doomed.since,
                acknowledged: doomed.acknowledged_at.is_some(),
                dollars_per_hour: doomed.price,
            })
            .collect(),
        quarantine: quarantine::view(fleet, memory),
    }
}

fn summary(
    fleet: &Fleet,
    memory: &Memory,
    policy: &Policy,
    nodes: &[NodeView],
    now: Timestamp,
) -> &'static str {
    let stale = memory.lists.last_started_at.is_none_or(|at| now.since(at) > policy.rails.inventory_fresh);
    if !fleet.key_accepted || stale {
        "blind"
    } else if nodes.iter().any(|node| node.state == "held") {
        "held"
    } else if nodes
        .iter()
        .filter(|node| !node.spare)
        .any(|node| node.state != "serving" || node.health.verdict == "failing")
    {
        "healing"
    } else if nodes
        .iter()
        .any(|node| node.health.verdict == "unknown" && policy.nodes.contains_key(&node.node))
    {
        "blind"
    } else if nodes.iter().any(|node| !node.spare && node.health.verdict == "maintenance") {
        "maintenance"
    } else {
        "healthy"
    }
}

pub(super) fn node_view(
    name: &NodeName,
    fleet: &Fleet,
    memory: &Memory,
    policy: &Policy,
    now: Timestamp,
) -> NodeView {
    let vacant = Node::default();
    let node = fleet.nodes.get(name).unwrap_or(&vacant);
    let claim = node.state.claim();
    let blocked = memory.desks.get(name).and_then(|desk| desk.blocked.clone());
    let (stage, since) = stage(&node.state);
    NodeView {
        node: name.clone(),
        spare: policy.spares.contains(name),
        state: node.state.word().into(),
        stage,
        since: since.or(node.adopted_at),
        instance: claim.and_then(|(_, instance)| instance),
        kept: match node.state {
            NodeState::Recovering(_) => node.state.tenant().map(|tenant| tenant.instance),
            _ => None,
        },
        standby: node.standby.as_ref().map(|standby| standby.tenant.instance),
        machine: claim.map(|(attempt, _)| attempt.machine),
        offer: claim.map(|(attempt, _)| attempt.text.clone()),
        address: node.state.probed().map(|tenant| tenant.address),
        dollars_per_hour: claim.map(|(attempt, _)| attempt.price),
        release: node.release.clone(),
        incident: node.incident.as_ref().map(|incident| incident.id),
        paused_by: node.paused.as_ref().map(|pause| pause.by.clone()),
        held: match &node.state {
            NodeState::Held { reason, .. } => Some(tell::held_text(reason)),
            _ => None,
        },
        blocked: blocked.map(|Blocked { rail, why, since, until }| BlockedView {
            rail: rail.word().into(),
            why,
            since,
            until,
        }),
        health: health(name, &node.state, memory, policy, now),
    }
}

fn stage(state: &NodeState) -> (Option<String>, Option<Timestamp>) {
    match state {
        NodeState::Vacant | NodeState::Serving(_) => (None, None),
        NodeState::Suspect { since, .. } | NodeState::Held { since, .. } => (None, Some(*since)),
        NodeState::Remedying { rung, since, .. } => (Some(Rung::word(*rung).into()), Some(*since)),
        NodeState::Recovering(recovery) => (Some(recovery.stage.word().into()), Some(recovery.stage.since())),
    }
}

fn health(
    name: &NodeName,
    state: &NodeState,
    memory: &Memory,
    policy: &Policy,
    now: Timestamp,
) -> HealthView {
    let unknown = Watch::default();
    let watch = memory.watches.get(name).unwrap_or(&unknown);
    let spec = policy.nodes.get(name);
    // What was seen of a tenant that is gone says nothing of the node, and a node no longer wanted is not probed.
    let probed = state.probed().filter(|_| spec.is_some());
    let last =
        watch.last.as_ref().filter(|last| probed.is_some_and(|tenant| tenant.rental.op == last.identity));
    let unobserved = probed
        .and(spec)
        .and_then(|spec| memory.unobserved_since(memory.watches.get(name), &spec.health, now));
    let (verdict, detail) = match last.map(|last| &last.verdict) {
        _ if unobserved.is_some() => {
            ("unknown", unobserved.map(|since| format!("not probed for {}", tell::span(now.since(since)))))
        }
        None => ("unknown", None),
        Some(Verdict::Healthy) => ("healthy", None),
        Some(Verdict::Maintenance) => ("maintenance", None),
        Some(Verdict::Failing(failure)) => ("failing", Some(failure.to_string())),
    };
    let shown = watch.checks.min(64);
    let history = (0..shown).rev().map(|i| if watch.history >> i & 1 == 1 { 'x' } else { '.' }).collect();
    HealthView {
        verdict: verdict.into(),
        detail,
        failures: if probed.is_some() { watch.failures } else { 0 },
        threshold: spec.map_or(0, |spec| spec.health.failure_threshold),
        took_ms: last.map(|last| millis(last.took)),
        last_at: last.map(|last| last.at),
        checks: watch.checks,
        failed_checks: watch.failed_checks,
        history,
    }
}
