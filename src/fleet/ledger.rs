//! The ledger of machines and hosts that failed us: with evidence, with decay, across restarts, and portable.
//!
//! A machine that failed is not rented for a day; from its third failure within a month for a month. A host is judged by its
//! machines: two different ones failing make it suspect, so that a bad host does not sell us its next machine. Whatever is older
//! than a month no longer counts. Only failures whose culprit is the host, or that nothing could be compared with, are entered.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    time::Duration,
};

use serde::{Deserialize, Serialize, Serializer};

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

/// The machines that failed us, each found by its own number and by its host's. Written down as a map by machine.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "BTreeMap<MachineId, Blame>")]
pub struct Blamed {
    machines: BTreeMap<MachineId, Blame>,
    of_host: BTreeMap<HostId, BTreeSet<MachineId>>,
}

impl Blamed {
    /// Changes what is known of a machine; `fresh` where that is nothing.
    pub(super) fn change(
        &mut self,
        machine: MachineId,
        fresh: impl FnOnce() -> Blame,
        change: impl FnOnce(&mut Blame),
    ) {
        let blame = self.machines.entry(machine).or_insert_with(fresh);
        let before = blame.host;
        change(blame);
        let host = blame.host;
        if before != host {
            self.unlist(before, machine);
        }
        self.of_host.entry(host).or_default().insert(machine);
    }

    /// Forgets a machine.
    pub(super) fn remove(&mut self, machine: MachineId) {
        if let Some(blame) = self.machines.remove(&machine) {
            self.unlist(blame.host, machine);
        }
    }

    fn unlist(&mut self, host: HostId, machine: MachineId) {
        if let Some(machines) = self.of_host.get_mut(&host) {
            machines.remove(&machine);
            if machines.is_empty() {
                self.of_host.remove(&host);
            }
        }
    }
}

impl Deref for Blamed {
    type Target = BTreeMap<MachineId, Blame>;

    fn deref(&self) -> &Self::Target {
        &self.machines
    }
}

impl From<BTreeMap<MachineId, Blame>> for Blamed {
    fn from(machines: BTreeMap<MachineId, Blame>) -> Self {
        let mut of_host: BTreeMap<HostId, BTreeSet<MachineId>> = BTreeMap::new();
        for (machine, blame) in &machines {
            of_host.entry(blame.host).or_default().insert(*machine);
        }
        Self { machines, of_host }
    }
}

impl Serialize for Blamed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.machines.serialize(serializer)
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
        let excluded = among.iter().filter_map(|host| {
            let record = host_record(&self.blamed, *host, now);
            record.until(policy.rails.exclude_for).filter(|until| *until > now)?;
            Some((*host, format!("{} machines of host {host} failed us", record.machines.len())))
        });
        excluded.collect()
    }

    pub(super) fn bound_ledger(&mut self) {
        while self.blamed.len() > MACHINES_KEPT {
            let oldest = self.blamed.iter().min_by_key(|(_, blame)| blame.until).map(|(machine, _)| *machine);
            let Some(oldest) = oldest else { return };
            self.blamed.remove(oldest);
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

/// A host as its machines make it look.
fn host_record(blamed: &Blamed, host: HostId, now: Timestamp) -> HostRecord {
    let mut record = HostRecord::default();
    for machine in blamed.of_host.get(&host).into_iter().flatten() {
        let strikes = blamed.get(machine).into_iter().flat_map(|blame| &blame.strikes);
        for strike in strikes.filter(|strike| now.since(strike.at) < COUNTS_FOR) {
            record.machines.insert(*machine);
            record.count = record.count.saturating_add(1);
            record.last = record.last.max(strike.at);
        }
    }
    record
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
    let hosts = fleet.blamed.of_host.keys().map(|host| {
        let record = host_record(&fleet.blamed, *host, now);
        HostView {
            host: *host,
            until: record.until(exclude_for).filter(|until| *until > now),
            machines: record.machines.into_iter().collect(),
            count: record.count,
        }
    });
    let shown = hosts.filter(|host| host.machines.len() > 1 || host.until.is_some());
    LedgerView { at: now, machines, hosts: shown.collect() }
}

/// The ledger for another keeper.
#[must_use]
pub fn export(fleet: &Fleet, now: Timestamp) -> Export {
    Export {
        format: FORMAT.into(),
        version: VERSION,
        exported_at: now,
        machines: fleet.blamed.machines.clone(),
    }
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
