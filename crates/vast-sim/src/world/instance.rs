//! A rented instance: what was asked for, which phase it is in, and what the API says about that phase.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::clock::SimSeconds;
use crate::market::{Machine, Offer};

/// What a create asked for, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Launch {
    pub(crate) image: String,
    pub(crate) disk_gb: f64,
    pub(crate) label: Option<String>,
    /// As given, `-p …` entries included, in the order of the request.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) onstart: Option<String>,
    pub(crate) args: Vec<String>,
    pub(crate) runtype: String,
    /// $/h of an interruptible rental; `None` is on-demand.
    pub(crate) bid: Option<f64>,
    pub(crate) cancel_unavail: bool,
    pub(crate) start_stopped: bool,
    pub(crate) template_hash_id: Option<String>,
}

impl Launch {
    /// Whether Vast.ai's launcher (with SSH) replaces the image's entrypoint.
    pub(crate) fn has_ssh(&self) -> bool {
        self.runtype.contains("ssh") || self.runtype.contains("jupyter")
    }

    /// The container ports that `-p` asks for, as `(port, "tcp" | "udp")`.
    pub(crate) fn ports(&self) -> Vec<(u16, &'static str)> {
        let mut ports: Vec<_> = self.env.iter().filter_map(|(key, _)| parse_port(key)).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The variables of the environment, without the docker flags among them.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let plain = self.env.iter().filter(|(key, _)| !key.starts_with('-'));
        plain.map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// `-p HOST:CONTAINER[/proto]`; Vast.ai ignores the host part and picks a random one.
fn parse_port(key: &str) -> Option<(u16, &'static str)> {
    let mapping = key.strip_prefix("-p")?.trim();
    let (ports, protocol) = mapping.split_once('/').unwrap_or((mapping, "tcp"));
    let container = ports.rsplit(':').next()?.parse().ok()?;
    match protocol {
        "tcp" => Some((container, "tcp")),
        "udp" => Some((container, "udp")),
        _ => None,
    }
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No heartbeat of the host yet.
    Provisioning,
    /// Accepted by the host.
    Created,
    /// Pulling the image.
    Loading,
    /// The box is being started; the API still says `loading`.
    Booting,
    /// Up.
    Running,
    /// Going down to come up again; the old `exited` lingers.
    Restarting,
    /// Its program ended; the contract still holds the GPU.
    Exited,
    /// Stopped: by the user, by billing, outbid or expired.
    Stopped,
    /// A start was queued because the GPU is taken.
    Queued,
    /// The host's container runtime failed.
    Broken,
    /// Destroyed; only the row lingers.
    Destroyed,
}

/// The four status fields of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statuses {
    pub(crate) actual: Option<&'static str>,
    pub(crate) current: &'static str,
    pub(crate) intended: &'static str,
    pub(crate) next: &'static str,
}

impl Phase {
    /// What the API says in this phase.
    pub(crate) fn statuses(self) -> Statuses {
        let (actual, current, intended, next) = match self {
            Phase::Provisioning => (None, "running", "running", "running"),
            Phase::Created => (Some("created"), "running", "running", "running"),
            Phase::Loading | Phase::Booting => (Some("loading"), "running", "running", "running"),
            Phase::Running => (Some("running"), "running", "running", "running"),
            Phase::Restarting | Phase::Exited => (Some("exited"), "running", "running", "running"),
            Phase::Stopped => (Some("exited"), "stopped", "stopped", "stopped"),
            Phase::Queued => (Some("exited"), "stopped", "running", "running"),
            Phase::Broken => (Some("created"), "stopped", "running", "stopped"),
            Phase::Destroyed => (Some("exited"), "unloaded", "stopped", "unloaded"),
        };
        Statuses { actual, current, intended, next }
    }

    /// Whether GPU time is billed. Loading bills storage only.
    pub(crate) fn bills_gpu(self) -> bool {
        match self {
            Phase::Running | Phase::Restarting | Phase::Exited => true,
            Phase::Provisioning | Phase::Created | Phase::Loading | Phase::Booting => false,
            Phase::Stopped | Phase::Queued | Phase::Broken | Phase::Destroyed => false,
        }
    }
}

/// Where a running box can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) address: Ipv4Addr,
    /// `"5555/tcp"` → host port.
    pub(crate) ports: BTreeMap<String, u16>,
    /// Stand-in for `sshN.vast.ai`, with its port; only with SSH.
    pub(crate) proxy: Option<(Ipv4Addr, u16)>,
}

/// A key attached to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttachedKey {
    pub(crate) id: u64,
    pub(crate) public_key: String,
}

/// One rented instance.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) id: u64,
    pub(crate) offer: Offer,
    pub(crate) machine: Machine,
    pub(crate) launch: Launch,
    pub(crate) api_key: String,
    pub(crate) phase: Phase,
    /// When the phase ends by itself; `None` waits for a call, a box or a fault.
    pub(crate) due: Option<SimSeconds>,
    /// Reads do not show the row before this.
    pub(crate) readable_at: SimSeconds,
    /// A destroyed row is readable until this.
    pub(crate) forgotten_at: Option<SimSeconds>,
    pub(crate) status_msg: Option<String>,
    pub(crate) started_at: SimSeconds,
    pub(crate) ends_at: SimSeconds,
    pub(crate) endpoints: Option<Endpoints>,
    /// Reads do not show ports and ssh fields before this.
    pub(crate) ports_at: SimSeconds,
    /// The host is lost; reads report this status.
    pub(crate) lost: Option<&'static str>,
    /// When a lost host comes back.
    pub(crate) back_at: Option<SimSeconds>,
    pub(crate) keys: Vec<AttachedKey>,
    /// Counts boots; a report of an older boot is stale.
    pub(crate) boots: u64,
    /// The next boot takes a new address (a fault).
    pub(crate) new_address: bool,
    pub(crate) billed_until: SimSeconds,
    /// Prepaid discount of a reserved contract, 0 to 1.
    pub(crate) discount: f64,
    pub(crate) deposit: f64,
}

impl Instance {
    /// GPU price now: the bid of an interruptible rental, else the offer's, less a prepaid discount.
    pub(crate) fn dph_base(&self) -> f64 {
        let list = self.launch.bid.unwrap_or_else(|| self.offer.dph_base(&self.machine));
        list * (1.0 - self.discount)
    }

    pub(crate) fn storage_dph(&self) -> f64 {
        self.machine.storage_dph(self.launch.disk_gb)
    }

    /// Dollars per hour billed in the present phase; nothing while the host is lost.
    pub(crate) fn rate(&self) -> f64 {
        if self.phase == Phase::Destroyed || self.lost.is_some() {
            return 0.0;
        }
        if self.phase.bills_gpu() { self.dph_base() + self.storage_dph() } else { self.storage_dph() }
    }

    pub(crate) fn is_destroyed(&self) -> bool {
        self.phase == Phase::Destroyed
    }

    /// Whether reads show this row.
    pub(crate) fn is_readable(&self, now: SimSeconds) -> bool {
        now >= self.readable_at && self.forgotten_at.is_none_or(|end| now < end)
    }

    /// The reported `actual_status`, a lost host considered.
    pub(crate) fn actual_status(&self) -> Option<&'static str> {
        self.lost.or(self.phase.statuses().actual)
    }
}

#[cfg(test)]
mod tests {
    use super::parse_port;

    #[test]
    fn docker_port_flags_name_the_container_port() {
        let table = [
            ("-p 5555:5555", Some((5555, "tcp"))),
            ("-p 80:8080/tcp", Some((8080, "tcp"))),
            ("-p 8082:8082/udp", Some((8082, "udp"))),
            ("-p 9000", Some((9000, "tcp"))),
            ("-p 70000:70000", None),
            ("-h", None),
            ("PORT", None),
        ];
        for (flag, expected) in table {
            assert_eq!(parse_port(flag), expected, "{flag}");
        }
    }
}
