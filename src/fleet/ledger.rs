//! The ledger of machines and hosts that failed us: with evidence, with decay, across restarts, and portable.
//!
//! A machine that failed is not rented for a day; from its third failure within a month for a month. A host is judged by its
//! machines: two different ones failing make it suspect, so that a bad host does not sell us its next machine. Whatever is older
//! than a month no longer counts. Only failures whose culprit is the host, or that nothing could be compared with, are entered.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    culprit::Culprit,
    name::{HostId, InstanceId, MachineId, NodeName},
    offer::Exclusions,
    planted::{Bug, planted},
    policy::Policy,
    state::{Blame, Fleet},
    units::Timestamp,
};

/// How long a failure counts.
pub const COUNTS_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// From this failure on an exclusion lasts [`REPEAT_FACTOR`] times as long.
pub const REPEAT_OFFENDER: u32 = 3;
/// How many times as long a repeat offender is excluded: 30 days where the first exclusion is one.
pub const REPEAT_FACTOR: u32 = 30;
/// Different machines of one host that must have failed before the host is excluded with all of them.
const HOST_MACHINES: usize = 2;
/// Failures kept as evidence for one machine.
const STRIKES_KEPT: usize = 16;
/// Machines kept; those longest without a failure go first.
const MACHINES_KEPT: usize = 20_000;
/// Characters kept of an imported failure.
const DETAIL_LENGTH: usize = 400;
/// What an exported ledger calls itself.
const FORMAT: &str = "vast-keeper-ledger";
/// The version of the exported form.
const VERSION: u32 = 1;

/// One failure of a machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Strike {
    /// When.
    pub at: Timestamp,
    /// The node it filled or was to fill.
    #[serde(default)]
    pub node: Option<NodeName>,
    /// The instance, if known.
    #[serde(default)]
    pub instance: Option<InstanceId>,
    /// What happened.
    pub detail: String,
    /// Who was at fault.
    #[serde(default)]
    pub culprit: Culprit,
}

/// The ledger as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerView {
    /// When this was true.
    pub at: Timestamp,
    /// Machines, those excluded longest first.
    pub machines: Vec<MachineView>,
    /// Hosts with more than one machine in it, or excluded.
    pub hosts: Vec<HostView>,
}

/// One machine of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineView {
    /// The machine.
    pub machine: MachineId,
    /// Its owner.
    pub host: HostId,
    /// Failures that still count.
    pub count: u32,
    /// Whether it is not rented now.
    pub excluded: bool,
    /// Not rented before this.
    pub until: Timestamp,
    /// The last failure.
    pub detail: String,
    /// The failures on record, oldest first.
    pub strikes: Vec<Strike>,
}

/// One host of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// The host.
    pub host: HostId,
    /// Its machines that failed within a month.
    pub machines: Vec<MachineId>,
    /// Their failures that still count.
    pub count: u32,
    /// None of its machines is rented before this.
    pub until: Option<Timestamp>,
}

/// A ledger on its way to another keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// `vast-keeper-ledger`.
    pub format: String,
    /// The version of this form.
    pub version: u32,
    /// When it was exported.
    pub exported_at: Timestamp,
    /// The machines.
    pub machines: BTreeMap<MachineId, Blame>,
}

/// What a person wants of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerWish {
    /// Take over what another ledger knows.
    Import {
        /// That ledger.
        ledger: Export,
    },
    /// Strike a machine off.
    Forgive {
        /// Which.
        machine: MachineId,
    },
}

/// A wish with the person behind it, as the control interface takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerRequest {
    /// What.
    pub wish: LedgerWish,
    /// Who.
    pub by: String,
}

impl Blame {
    /// Failures that still count at `now`.
    #[must_use]
    pub fn counting(&self, now: Timestamp) -> u32 {
        let counts = self.strikes.iter().filter(|strike| now.since(strike.at) < COUNTS_FOR).count();
        // A record from before failures were kept one by one has their number alone, which fades with its exclusion.
        let bare = self.strikes.is_empty() && now.since(self.until) < COUNTS_FOR;
        if bare { self.count } else { u32::try_from(counts).unwrap_or(u32::MAX) }
    }

    /// One failure more.
    pub(super) fn strike(&mut self, strike: Strike, until: Timestamp) {
        let now = strike.at;
        self.count = self.counting(now).saturating_add(1);
        self.detail.clone_from(&strike.detail);
        self.until = self.until.max(until);
        self.strikes.push(strike);
        self.trim();
    }

    /// What two ledgers know of one machine.
    pub(super) fn merge(&mut self, other: &Self) {
        let known: BTreeSet<Strike> = self.strikes.iter().chain(&other.strikes).cloned().collect();
        if other.until > self.until {
            self.detail.clone_from(&other.detail);
        }
        self.strikes = known.into_iter().collect();
        self.count = self.count.max(other.count);
        self.until = self.until.max(other.until);
        self.trim();
    }

    fn trim(&mut self) {
        self.strikes.sort();
        let surplus = self.strikes.len().saturating_sub(STRIKES_KEPT);
        self.strikes.drain(..surplus);
    }
}

impl Fleet {
    /// Those of some hosts of which no machine is rented now, with the reason.
    pub(super) fn host_exclusions(
        &self,
        policy: &Policy,
        now: Timestamp,
        among: &BTreeSet<HostId>,
    ) -> BTreeMap<HostId, String> {
        let hosts = hosts(self, now, |host| among.contains(&host));
        let excluded = hosts.into_iter().filter_map(|(host, record)| {
            record.until(policy.rails.exclude_for).filter(|until| *until > now)?;
            Some((host, format!("{} machines of host {host} failed us", record.machines.len())))
        });
        excluded.collect()
    }

    pub(super) fn bound_ledger(&mut self) {
        while self.blamed.len() > MACHINES_KEPT {
            let oldest = self.blamed.iter().min_by_key(|(_, blame)| blame.until).map(|(machine, _)| *machine);
            let Some(oldest) = oldest else { return };
            self.blamed.remove(&oldest);
        }
    }
}

/// Of the machines and hosts offered, those that must not be rented now, each with its reason.
#[must_use]
pub fn exclusions(
    fleet: &Fleet,
    policy: &Policy,
    now: Timestamp,
    offered: impl IntoIterator<Item = (MachineId, HostId)>,
) -> Exclusions {
    let (mut machines, mut hosts) = (BTreeMap::new(), BTreeSet::new());
    for (machine, host) in offered {
        hosts.insert(host);
        if let Some(blame) =
            fleet.blamed.get(&machine).filter(|blame| blame.until > now && !planted(Bug::LedgerIgnored))
        {
            machines.insert(machine, format!("failed us: {}", blame.detail));
        }
    }
    for machine in &policy.rails.excluded_machines {
        machines.insert(*machine, "excluded by the configuration".into());
    }
    let hosts = fleet.host_exclusions(policy, now, &hosts);
    Exclusions { machines, hosts, ..Exclusions::default() }
}

#[derive(Default)]
struct HostRecord {
    machines: BTreeSet<MachineId>,
    count: u32,
    last: Timestamp,
}

impl HostRecord {
    fn until(&self, exclude_for: Duration) -> Option<Timestamp> {
        let factor = if self.count >= REPEAT_OFFENDER { REPEAT_FACTOR } else { 1 };
        (self.machines.len() >= HOST_MACHINES).then(|| self.last.after(exclude_for.saturating_mul(factor)))
    }
}

/// The hosts that `wanted` names, as their machines make them look.
fn hosts(fleet: &Fleet, now: Timestamp, wanted: impl Fn(HostId) -> bool) -> BTreeMap<HostId, HostRecord> {
    let mut hosts: BTreeMap<HostId, HostRecord> = BTreeMap::new();
    for (machine, blame) in fleet.blamed.iter().filter(|(_, blame)| wanted(blame.host)) {
        let mut recent = blame.strikes.iter().filter(|strike| now.since(strike.at) < COUNTS_FOR).peekable();
        if recent.peek().is_none() {
            continue;
        }
        let record = hosts.entry(blame.host).or_default();
        record.machines.insert(*machine);
        for strike in recent {
            record.count = record.count.saturating_add(1);
            record.last = record.last.max(strike.at);
        }
    }
    hosts
}

/// The ledger as it stands.
#[must_use]
pub fn view(fleet: &Fleet, policy: &Policy, now: Timestamp) -> LedgerView {
    let mut machines: Vec<MachineView> = fleet
        .blamed
        .iter()
        .map(|(machine, blame)| MachineView {
            machine: *machine,
            host: blame.host,
            count: blame.counting(now),
            excluded: blame.until > now,
            until: blame.until,
            detail: blame.detail.clone(),
            strikes: blame.strikes.clone(),
        })
        .collect();
    machines.sort_by_key(|machine| std::cmp::Reverse(machine.until));
    let exclude_for = policy.rails.exclude_for;
    let hosts = hosts(fleet, now, |_| true).into_iter().map(|(host, record)| HostView {
        host,
        until: record.until(exclude_for).filter(|until| *until > now),
        machines: record.machines.into_iter().collect(),
        count: record.count,
    });
    let shown = hosts.filter(|host| host.machines.len() > 1 || host.until.is_some());
    LedgerView { at: now, machines, hosts: shown.collect() }
}

/// The ledger for another keeper.
#[must_use]
pub fn export(fleet: &Fleet, now: Timestamp) -> Export {
    Export { format: FORMAT.into(), version: VERSION, exported_at: now, machines: fleet.blamed.clone() }
}

/// What of a foreign ledger may be taken over.
///
/// # Errors
/// It is none of ours, or of a version not known here.
pub fn accepted(
    ledger: Export,
    policy: &Policy,
    now: Timestamp,
) -> Result<BTreeMap<MachineId, Blame>, String> {
    if ledger.format != FORMAT {
        return Err(format!("`{FORMAT}` was expected"));
    }
    if ledger.version != VERSION {
        return Err(format!("version {} is not known here, only {VERSION}", ledger.version));
    }
    if ledger.machines.len() > MACHINES_KEPT {
        return Err(format!(
            "{} machines are more than the {MACHINES_KEPT} that are kept",
            ledger.machines.len()
        ));
    }
    // Nobody's clock or malice may exclude a machine for longer than we would ourselves.
    let latest = now.after(policy.rails.exclude_for.saturating_mul(REPEAT_FACTOR));
    let plain =
        |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(DETAIL_LENGTH).collect() };
    let sound = |mut blame: Blame| {
        blame.until = blame.until.min(latest);
        blame.detail = plain(&blame.detail);
        for strike in &mut blame.strikes {
            strike.at = strike.at.min(now);
            strike.detail = plain(&strike.detail);
        }
        blame.trim();
        blame
    };
    Ok(ledger.machines.into_iter().map(|(machine, blame)| (machine, sound(blame))).collect())
}
