//! Who is at fault when a box fails: told by comparing it with its peers, never by looking at it alone.
//!
//! One box cannot tell a bad host from a bad release, nor either from a keeper that is cut off. Across boxes it shows: what
//! fails on one host while the same release serves on others is the host; what fails alike on fresh boxes of different hosts
//! and serves nowhere is the release; what the box itself denies is the network in between; and when nobody is healthy and no
//! witness confirms, it is most likely the keeper. Each verdict carries the comparisons it rests on.
//!
//! Deliberately absent: any influence on whether a box is replaced. That is decided by evidence that it is down; this decides
//! who is blamed for it, and whether trying again elsewhere can help.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{
    breaker,
    memory::Memory,
    name::{HostId, InstanceId, NodeName},
    policy::Policy,
    release::Digest,
    state::{Attempt, Fleet, NodeState},
    units::Timestamp,
    watch::{Witness, Word},
};

/// Who is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Culprit {
    /// The box, its machine or its host.
    Host,
    /// The release, or the configuration it runs with.
    Release,
    /// The network between the keeper and the box.
    Network,
    /// The provider's API or platform.
    Provider,
    /// The keeper, its machine or its own network.
    Keeper,
    /// Nothing to compare with.
    #[default]
    Unknown,
}

impl Culprit {
    /// The word shown to people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Release => "release",
            Self::Network => "network",
            Self::Provider => "provider",
            Self::Keeper => "keeper",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the machine goes on record for it: in doubt it does, for a day costs little and a second box more.
    #[must_use]
    pub fn is_the_machines(self) -> bool {
        matches!(self, Self::Host | Self::Unknown)
    }
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A culprit, with what was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribution {
    /// Who.
    pub culprit: Culprit,
    /// Why, in words.
    pub evidence: String,
}

/// A box that failed.
#[derive(Debug, Clone, Copy)]
pub struct Failed<'a> {
    /// The node it filled or was to fill.
    pub node: &'a NodeName,
    /// What was rented.
    pub attempt: &'a Attempt,
    /// The box.
    pub instance: InstanceId,
    /// The release that ran on it or was being deployed; `None` before any deploy.
    pub release: Option<&'a Digest>,
}

/// Who is at fault for a box that failed.
#[must_use]
pub fn attribute(
    failed: Failed<'_>,
    fleet: &Fleet,
    memory: &Memory,
    policy: &Policy,
    now: Timestamp,
) -> Attribution {
    let scene = Scene { failed, fleet, memory, policy, now };
    let verdict = scene
        .outbid()
        .or_else(|| scene.denied())
        .or_else(|| scene.confirmed_by_provider())
        .or_else(|| scene.release())
        .or_else(|| scene.same_host())
        .or_else(|| scene.keeper())
        .or_else(|| scene.provider())
        .or_else(|| scene.peers());
    let (culprit, evidence) = verdict.unwrap_or((Culprit::Unknown, "no other box to compare it with".into()));
    Attribution { culprit, evidence }
}

struct Scene<'a> {
    failed: Failed<'a>,
    fleet: &'a Fleet,
    memory: &'a Memory,
    policy: &'a Policy,
    now: Timestamp,
}

type Verdict = Option<(Culprit, String)>;

impl Scene<'_> {
    /// Others bid more for an interruptible box: it is nobody's fault who runs or hosts it.
    fn outbid(&self) -> Verdict {
        let bidding = self.memory.row(self.failed.instance)?.outbid()?;
        let text = format!("outbid: {}", bidding.words());
        Some((Culprit::Provider, text))
    }

    /// The box says that its server is up: what fails lies between it and us.
    fn denied(&self) -> Verdict {
        let word = self.word(Witness::Ssh)?;
        let Word::Up(detail) = word else { return None };
        Some((
            Culprit::Network,
            format!("our probes fail, and the box itself says its server is up: {detail}"),
        ))
    }

    fn confirmed_by_provider(&self) -> Verdict {
        let Word::Down(detail) = self.word(Witness::Provider)? else { return None };
        Some((Culprit::Host, format!("the provider confirms it: {detail}")))
    }

    fn word(&self, witness: Witness) -> Option<&Word> {
        let watch = self.memory.watches.get(self.failed.node)?;
        watch.testimony(witness, self.now, self.policy.rails.witness_fresh)
    }

    /// Fresh boxes of different hosts failed alike, and it serves nowhere.
    fn release(&self) -> Verdict {
        let standing = self.fleet.releases.get(self.failed.release?)?;
        let found = standing.alike(self.failed.instance, self.now)?;
        let serving = self.serving_hosts(self.failed.release, None);
        serving.is_empty().then_some((Culprit::Release, found))
    }

    /// Other boxes of the same host fail as well, while other hosts' serve.
    fn same_host(&self) -> Verdict {
        let host = self.failed.attempt.host;
        let failing = self.peers_of(|peer| peer == host, false);
        let healthy_elsewhere = self.peers_of(|peer| peer != host, true);
        (failing > 0 && healthy_elsewhere > 0).then(|| {
            let text = format!(
                "{failing} more of host {host} fail, {healthy_elsewhere} nodes on other hosts are healthy"
            );
            (Culprit::Host, text)
        })
    }

    fn keeper(&self) -> Verdict {
        if let Some(check) =
            self.memory.self_check.filter(|check| check.answered * 2 <= check.asked && check.asked > 0)
            && self.now.since(check.at) <= self.policy.rails.inventory_fresh
        {
            let text = format!("only {} of {} canaries answer us", check.answered, check.asked);
            return Some((Culprit::Keeper, text));
        }
        let census = breaker::census(self.fleet, self.memory, self.policy, self.now);
        (census.filled >= 2 && census.healthy == 0 && census.confirmed == 0).then(|| {
            let text = format!("none of {} nodes is healthy, and no witness confirms it", census.filled);
            (Culprit::Keeper, text)
        })
    }

    fn provider(&self) -> Verdict {
        if !self.fleet.key_accepted {
            return Some((Culprit::Provider, "it refuses our key at the same time".into()));
        }
        let fault = self.memory.lists.fault.as_ref()?;
        Some((Culprit::Provider, format!("its list cannot be read at the same time: {fault}")))
    }

    /// The same release serves on other hosts, or at least some release does.
    fn peers(&self) -> Verdict {
        let host = self.failed.attempt.host;
        let same = self.serving_hosts(self.failed.release, Some(host));
        if !same.is_empty() {
            let text = format!("the same release serves on {} other hosts", same.len());
            return Some((Culprit::Host, text));
        }
        let healthy = self.peers_of(|peer| peer != host, true);
        (healthy > 0).then(|| (Culprit::Host, format!("{healthy} nodes on other hosts are healthy")))
    }

    /// Other nodes with a tenant on a host of this kind, that are healthy, or that fail.
    fn peers_of(&self, host: impl Fn(HostId) -> bool, healthy: bool) -> usize {
        let counts = |(name, node): &(&NodeName, &super::state::Node)| {
            let Some(tenant) = node.state.tenant().filter(|_| *name != self.failed.node) else {
                return false;
            };
            host(tenant.rental.host) && self.is_healthy(name) == Some(healthy)
        };
        self.fleet.nodes.iter().filter(counts).count()
    }

    /// Hosts on which a release serves healthily, besides one.
    fn serving_hosts(&self, release: Option<&Digest>, besides: Option<HostId>) -> BTreeSet<HostId> {
        let serves = |(name, node): (&NodeName, &super::state::Node)| {
            let NodeState::Serving(tenant) = &node.state else { return None };
            let same = release.is_some() && node.release.as_ref().map(|release| &release.digest) == release;
            let host = tenant.rental.host;
            (name != self.failed.node && same && self.is_healthy(name) == Some(true) && Some(host) != besides)
                .then_some(host)
        };
        self.fleet.nodes.iter().filter_map(serves).collect()
    }

    /// Whether a node's last probes say that it is healthy; `None` where they say nothing.
    fn is_healthy(&self, name: &NodeName) -> Option<bool> {
        let (watch, spec) = (self.memory.watches.get(name)?, self.policy.nodes.get(name)?);
        if watch.failures > 0 {
            return (watch.failures * 2 >= spec.health.failure_threshold).then_some(false);
        }
        watch.current(&spec.health, self.now).map(|_| true)
    }
}
