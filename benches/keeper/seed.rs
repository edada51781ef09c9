//! A state folder as a keeper leaves it behind: whole lives of nodes, journaled by the real store and folded by the real
//! fold, so that the daemon finds them serving at our targets.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use vast_keeper::{
    clock::Clock,
    fleet::{
        journal::{Cause, DoomReason, Entry, Outcome, Record, ReleaseRef},
        name::{FleetName, HostId, IncidentId, InstanceId, Label, MachineId, NodeName, OfferId, OpId},
        state::Fleet,
        units::{Money, Timestamp},
    },
    store::{Batch, Store},
};

/// The fleet's name in every label.
pub const FLEET: &str = "bench";
/// The engine's own distance between snapshots, so that a start here folds as many entries as one in earnest.
const SNAPSHOT_EVERY: usize = 1000;
/// The journal ends this long ago.
const ENDED_AGO_MS: u64 = 3_600_000;
/// Time between two records; 100,000 of them span two weeks.
const STEP_MS: u64 = 12_000;

/// Who serves a node after the last record.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The instance's id.
    pub instance: u64,
    /// What `/health` echoes.
    pub op: String,
    /// The instance's label.
    pub label: String,
}

/// Writes a journal of at least `rows` records about `targets.len()` nodes into `folder`; each node ends up serving at
/// its target.
pub fn seed(runtime: &Runtime, folder: &Path, targets: &[SocketAddr], rows: usize) -> Result<Vec<Tenant>> {
    let mut journal = Journal::default();
    for (i, address) in targets.iter().enumerate() {
        let node = name(i)?;
        journal.record(Record::RecoveryStarted {
            node: node.clone(),
            incident: None,
            cause: Cause::Wanted,
            permit: "rental 1 of 3 in the window, fleet at $0.00/h, credit $100.00".into(),
            keeps: None,
            spare_of: None,
        });
        journal.fill(&node, *address)?;
    }
    for i in (0..targets.len()).cycle() {
        if journal.records.len() >= rows {
            break;
        }
        journal.heal(&name(i)?, *targets.get(i).context("no such target")?)?;
    }
    let now = Clock::new().now();
    let began = now.0 - ENDED_AGO_MS - STEP_MS * journal.records.len() as u64;
    let at = |i: usize| Timestamp(began + STEP_MS * i as u64);
    let entries = journal.records.into_iter().enumerate().map(|(i, record)| Entry { at: at(i), record });
    let fleet = runtime.block_on(store(folder, entries.collect()))?;
    (0..targets.len()).map(|i| tenant(&fleet, &name(i)?)).collect()
}

/// The name that the configuration gives to the node of a number.
pub fn name(number: usize) -> Result<NodeName> {
    Ok(format!("n-{number}").parse()?)
}

#[derive(Default)]
struct Journal {
    records: Vec<Record>,
    instance: u64,
    incident: u64,
}

impl Journal {
    fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// From the decision to rent until the newcomer serves.
    fn fill(&mut self, node: &NodeName, address: SocketAddr) -> Result<()> {
        self.instance += 1;
        let (instance, op) = (InstanceId(20_000_000 + self.instance), OpId::from_bits(self.instance));
        let node = node.clone();
        self.record(Record::Intent {
            node: node.clone(),
            op: op.clone(),
            offer: OfferId(7_000_000 + self.instance),
            machine: MachineId(10_000 + self.instance % 5000),
            host: HostId(1000 + self.instance % 700),
            price: Money::from_dollars(0.35).context("no price")?,
            bid: None,
            offer_text: "1x RTX 4090, California, US, reliability 0.993".into(),
            permit: "rental 1 of 3 in the window, fleet at $10.00/h, credit $100.00".into(),
        });
        self.record(Record::Created { node: node.clone(), op, instance });
        self.record(Record::InstanceUp { node: node.clone(), instance, address });
        let release = ReleaseRef { digest: "5e".repeat(32), commit: "c0".repeat(20) };
        self.record(Record::Deployed { node: node.clone(), instance, release });
        self.record(Record::Adopted { node, instance });
        Ok(())
    }

    /// An incident from its opening to its end by a replacement.
    fn heal(&mut self, node: &NodeName, address: SocketAddr) -> Result<()> {
        self.incident += 1;
        let incident = IncidentId(self.incident);
        // The tenant is the one of this node's last filling; instances are dealt in turn.
        let tenant = InstanceId(20_000_000 + self.instance + 1 - self.nodes());
        let cause = Cause::Failing { why: "no answer within 5000 ms".into() };
        let evidence = "3 probes in a row failed; the provider: exited in 2 lists in a row".to_owned();
        let first_failure_at = Timestamp(0);
        self.record(Record::IncidentOpened {
            incident,
            node: node.clone(),
            cause: cause.clone(),
            first_failure_at,
        });
        let text = "the box over ssh: no answer, connection refused".into();
        self.record(Record::Noted { node: node.clone(), incident: Some(incident), text });
        let permit = "199 of 200 nodes healthy, replacement 1 of 12 this hour, 1 of 40 today".into();
        self.record(Record::RecoveryStarted {
            node: node.clone(),
            incident: Some(incident),
            cause,
            permit,
            keeps: None,
            spare_of: None,
        });
        let reason = DoomReason::Replaced { evidence };
        let price = Money::from_dollars(0.35).context("no price")?;
        self.record(Record::Doomed { instance: tenant, node: Some(node.clone()), reason, price });
        self.record(Record::DestroyAcknowledged { instance: tenant });
        self.record(Record::Gone { instance: tenant });
        self.fill(node, address)?;
        let outcome = Outcome::Replaced;
        self.record(Record::IncidentClosed { incident, node: node.clone(), outcome });
        Ok(())
    }

    /// Nodes filled before the first incident.
    fn nodes(&self) -> u64 {
        self.instance - (self.incident - 1)
    }
}

/// Commits as the engine does: a batch, and now and then the state whole.
async fn store(folder: &Path, entries: Vec<Entry>) -> Result<Fleet> {
    let opened = folder.to_owned();
    let (store, _) = tokio::task::spawn_blocking(move || Store::open(&opened)).await??;
    let mut fleet = Fleet::default();
    let mut entries = entries.into_iter().peekable();
    while entries.peek().is_some() {
        let batch: Vec<Entry> = entries.by_ref().take(SNAPSHOT_EVERY).collect();
        for entry in &batch {
            fleet.apply(entry)?;
        }
        // The last ones stay without, as after a kill: a start has to fold them.
        let snapshot = entries.peek().is_some().then(|| serde_json::to_string(&fleet)).transpose()?;
        store.commit(Batch { entries: batch, notices: Vec::new(), snapshot }).await?;
    }
    store.close().await;
    Ok(fleet)
}

fn tenant(fleet: &Fleet, node: &NodeName) -> Result<Tenant> {
    let state = fleet.nodes.get(node).map(|node| &node.state);
    let tenant = state.and_then(|state| state.tenant()).context("a node does not serve")?;
    let op = tenant.rental.op.clone();
    let label = Label { fleet: FLEET.parse::<FleetName>()?, node: node.clone(), op: op.clone() };
    Ok(Tenant { instance: tenant.instance.0, op: op.as_str().to_owned(), label: label.to_string() })
}
