//! Offers: what may fill a node, which of those found would be taken, and why each other was rejected.

mod select;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use select::{Exclusions, Rejection, Selection, select};

use super::{
    bid::BidPolicy,
    name::{HostId, MachineId, OfferId},
    query::Query,
    units::Money,
};

/// A rentable ask found by a search. Every field the filter needs is either there or explicitly absent; an absent field
/// never passes a floor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// What a create names.
    pub id: OfferId,
    /// The machine behind it; several offers may share one.
    pub machine: MachineId,
    /// Its owner.
    pub host: HostId,
    /// GPU display name with spaces, such as `RTX 4090`.
    pub gpu: String,
    /// Number of GPUs.
    pub gpus: u32,
    /// Memory of one GPU in MB.
    pub gpu_ram_mb: Option<f64>,
    /// Memory of the whole machine in MB.
    pub cpu_ram_mb: Option<f64>,
    /// CPU cores that come with the offer.
    pub cpu_cores: Option<f64>,
    /// Most disk that can be rented, in GB.
    pub disk_gb: Option<f64>,
    /// Dollars per hour, storage for the wanted disk included, bandwidth not.
    pub price: Money,
    /// Uptime history from 0 to 1.
    pub reliability: Option<f64>,
    /// Download speed in Mbit/s.
    pub inet_down_mbps: Option<f64>,
    /// Upload speed in Mbit/s.
    pub inet_up_mbps: Option<f64>,
    /// Ports that can be published directly.
    pub direct_ports: Option<u32>,
    /// Seconds left until the host's offer, and so the rental, ends.
    pub duration_s: Option<f64>,
    /// Most recent CUDA version of the driver.
    pub cuda: Option<f64>,
    /// Whether the display driver is active.
    pub display_active: Option<bool>,
    /// `City or state, CC`.
    pub geolocation: Option<String>,
    /// Whether the provider has verified the machine.
    pub verified: Option<bool>,
    /// Whether its address stays the same.
    pub static_ip: Option<bool>,
    /// The lowest bid that wins it, in dollars per hour without storage; only of an offer found for interruptible rental.
    #[serde(default)]
    pub floor: Option<Money>,
    /// What is bid for it, in the same unit; `None` rents it on demand.
    #[serde(default)]
    pub bid: Option<Money>,
}

impl fmt::Display for Offer {
    /// What a person wants to know at a glance: `1 × RTX 4090, Texas, US, reliability 0.991`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.gpus, self.gpu)?;
        if let Some(place) = &self.geolocation {
            write!(f, ", {place}")?;
        }
        if let Some(reliability) = self.reliability {
            write!(f, ", reliability {reliability:.3}")?;
        }
        Ok(())
    }
}

/// Which offers may fill a node and in which order they are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferPolicy {
    /// The provider-side search in the syntax of Vast.ai's command line, such as `gpu_display_active=true num_gpus=1`;
    /// what is found is checked against it again.
    pub query: Query,
    /// How interruptible boxes are bid for; `None` rents on demand.
    pub bid: Option<BidPolicy>,
    /// Highest price in dollars per hour; nothing dearer is ever rented.
    pub price_cap: Money,
    /// A replacement may cost at most this many percent of the one it replaces (150: half as much again).
    pub price_step_percent: u32,
    /// Lowest reliability, 0 to 1. Of this and every floor below: 0 asks for nothing.
    pub min_reliability: f64,
    /// Least memory of the machine in MB.
    pub min_cpu_ram_mb: f64,
    /// Fewest CPU cores.
    pub min_cpu_cores: f64,
    /// Least memory of one GPU in MB.
    pub min_gpu_ram_mb: f64,
    /// Fewest direct ports: one for SSH and one for the server.
    pub min_direct_ports: u32,
    /// Slowest download in Mbit/s.
    pub min_inet_down_mbps: f64,
    /// Shortest time until the offer ends, in seconds.
    pub min_duration_s: f64,
    /// An offer that says it ends sooner than this, in seconds, is not rented; one that does not say is.
    pub min_life_s: f64,
    /// Exact GPU display names wanted, best first; empty means any.
    pub gpus: Vec<String>,
    /// Regions wanted first: each a part of the geolocation text, matched as a whole word without regard to case.
    pub prefer_regions: Vec<String>,
    /// What decides first, second, …; after the last key the price and then the offer's id break ties.
    pub order: Vec<RankKey>,
}

/// One key of the ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RankKey {
    /// Position in `prefer_regions`.
    Region,
    /// Position in `gpus`.
    Gpu,
    /// Cheapest first.
    Price,
    /// Most reliable first.
    Reliability,
}

impl Default for OfferPolicy {
    /// The floors of the original keeper, with its price cap, and enough direct ports for SSH and one service.
    fn default() -> Self {
        Self {
            query: Query::default(),
            bid: None,
            price_cap: Money(2_500_000),
            price_step_percent: 150,
            min_reliability: 0.96,
            min_cpu_ram_mb: 16_000.0,
            min_cpu_cores: 8.0,
            min_gpu_ram_mb: 10_000.0,
            min_direct_ports: 2,
            min_inet_down_mbps: 0.0,
            min_duration_s: 0.0,
            min_life_s: 7200.0,
            gpus: Vec::new(),
            prefer_regions: Vec::new(),
            order: vec![RankKey::Region, RankKey::Gpu, RankKey::Price, RankKey::Reliability],
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fleet::{
        bid::Bidding,
        name::InstanceId,
        provider::{Rental, Status},
    };

    /// A Texan RTX 4090 at $0.35 that passes the default policy; machine and host follow from the id.
    pub(crate) fn offer(id: u64) -> Offer {
        Offer {
            id: OfferId(id),
            machine: MachineId(id * 10),
            host: HostId(id * 100),
            gpu: "RTX 4090".into(),
            gpus: 1,
            gpu_ram_mb: Some(24_564.0),
            cpu_ram_mb: Some(64_000.0),
            cpu_cores: Some(16.0),
            disk_gb: Some(500.0),
            price: Money(350_000),
            reliability: Some(0.99),
            inet_down_mbps: Some(900.0),
            inet_up_mbps: Some(900.0),
            direct_ports: Some(20),
            duration_s: Some(864_000.0),
            cuda: Some(12.8),
            display_active: Some(true),
            geolocation: Some("Texas, US".into()),
            verified: Some(true),
            static_ip: Some(true),
            floor: None,
            bid: None,
        }
    }

    /// A stopped interruptible box of ours, with four cents of storage an hour.
    pub(crate) fn interruptible_row(bid: i64, price: i64) -> Rental {
        Rental {
            id: InstanceId(7),
            label: None,
            machine: MachineId(70),
            host: HostId(700),
            status: Status::Exited,
            message: None,
            price: Money(price),
            gpu: "RTX 4090".into(),
            public_ip: None,
            ports: BTreeMap::new(),
            ssh_proxy: None,
            ends_at: None,
            stopped: true,
            bidding: Some(Bidding { bid: Money(bid), floor: None }),
        }
    }
}
