//! An offer as the search shows it.
//!
//! Field names and units follow the Vast.ai API's search results; every value that a filter or the official CLI's
//! table reads is present and numeric.

use serde_json::{Map, Value, json};

use super::{HOURS_PER_MONTH, Machine, Offer};
use crate::clock::SimSeconds;

/// Which price a search asks for (its `type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PriceKind {
    /// `on-demand`, `ondemand`, `ask`.
    OnDemand,
    /// `bid`: interruptible, priced at the present floor.
    Bid,
    /// `reserved`: on-demand with the prepaid discount shown.
    Reserved,
}

impl Offer {
    /// GPU price in dollars per hour.
    pub(crate) fn dph_base(&self, machine: &Machine) -> f64 {
        machine.dph_per_gpu * f64::from(self.gpus)
    }

    /// Lowest bid that wins this slice, in dollars per hour.
    pub(crate) fn min_bid(&self, machine: &Machine) -> f64 {
        machine.min_bid_per_gpu * f64::from(self.gpus)
    }

    /// Disk that this slice may allocate, in GB.
    pub(crate) fn disk_space(&self, machine: &Machine) -> f64 {
        machine.disk_gb * f64::from(self.gpus) / f64::from(machine.gpus)
    }
}

impl Machine {
    /// Price of `gb` of disk in dollars per hour.
    pub(crate) fn storage_dph(&self, gb: f64) -> f64 {
        self.storage_cost * gb / HOURS_PER_MONTH
    }

    /// `driver_version` as one comparable number, as the official CLI sends it (`535.86.05` → 535086005).
    fn driver_number(&self) -> u64 {
        let parts = self.driver.split('.').map(|part| part.parse::<u64>().unwrap_or(0));
        parts.chain([0, 0]).take(3).fold(0, |number, part| number * 1000 + part)
    }

    /// The two-letter country at the end of the place.
    pub(crate) fn country(&self) -> &'static str {
        self.place.rsplit(", ").next().unwrap_or(self.place)
    }
}

/// Builds the row. `rented` marks an offer that a rental hides.
pub(crate) fn offer_row(
    offer: &Offer,
    machine: &Machine,
    kind: PriceKind,
    storage_gb: f64,
    rented: bool,
    now: SimSeconds,
) -> Map<String, Value> {
    let mut row = hardware(offer, machine);
    row.extend(prices(offer, machine, kind, storage_gb));
    let Value::Object(rest) = json!({
        "id": offer.id,
        "ask_contract_id": offer.id,
        "bundle_id": offer.id + 1_000_000,
        "machine_id": machine.id,
        "host_id": machine.host_id,
        "hosting_type": u8::from(machine.datacenter),
        "verification": machine.verification,
        "vericode": u8::from(machine.verification == "verified"),
        "reliability": machine.reliability,
        "reliability2": machine.reliability,
        "geolocation": machine.place,
        "geolocode": geolocode(machine.country()),
        "static_ip": machine.static_ip,
        "direct_port_count": machine.ports,
        "rentable": !rented,
        "rented": rented,
        "is_bid": kind == PriceKind::Bid,
        "external": machine.external.then_some(true),
        "cluster_id": null,
        "start_date": machine.listed_at,
        "end_date": machine.ends_at,
        "duration": machine.ends_at - now,
        "webpage": null,
        "logo": "/static/logos/vastai_small2.png",
    }) else {
        return row;
    };
    row.extend(rest);
    row
}

fn geolocode(country: &str) -> u64 {
    country.bytes().fold(0, |code, byte| code * 256 + u64::from(byte))
}

fn hardware(offer: &Offer, machine: &Machine) -> Map<String, Value> {
    let share = f64::from(offer.gpus) / f64::from(machine.gpus);
    let gpus = u64::from(offer.gpus);
    let flops = machine.gpu.tflops * f64::from(offer.gpus);
    match json!({
        "gpu_name": machine.gpu.name,
        "gpu_arch": "nvidia",
        "num_gpus": offer.gpus,
        "gpu_frac": share,
        "gpu_ids": (offer.first_gpu..offer.first_gpu + offer.gpus).collect::<Vec<_>>(),
        "gpu_ram": machine.gpu.ram_mb,
        "gpu_total_ram": machine.gpu.ram_mb * gpus,
        "gpu_totalram": machine.gpu.ram_mb * gpus,
        "gpu_mem_bw": machine.gpu.dlperf * 11.0,
        "gpu_lanes": 16,
        "gpu_display_active": machine.display_active,
        "gpu_max_temp": 90.0,
        "compute_cap": machine.gpu.compute_cap,
        "cuda_max_good": machine.cuda,
        "driver_version": machine.driver,
        "driver_vers": machine.driver_number(),
        "cpu_name": "AMD EPYC 7763 64-Core Processor",
        "cpu_arch": "amd64",
        "cpu_cores": machine.cpu_cores,
        "cpu_cores_effective": f64::from(machine.cpu_cores) * share,
        "cpu_ghz": 3.5,
        "cpu_ram": machine.cpu_ram_mb,
        "has_avx": 1,
        "mobo_name": "ROMED8-2T",
        "pci_gen": 4.0,
        "pcie_bw": 21.4,
        "bw_nvlink": 0.0,
        "disk_name": "nvme",
        "disk_space": offer.disk_space(machine),
        "disk_bw": 2_400.0,
        "inet_up": machine.inet_up,
        "inet_down": machine.inet_down,
        "vms_enabled": false,
        "dlperf": machine.gpu.dlperf * f64::from(offer.gpus),
        "total_flops": flops,
        "os_version": "22.04",
        "resource_type": "gpu",
    }) {
        Value::Object(row) => row,
        _ => Map::new(),
    }
}

fn prices(offer: &Offer, machine: &Machine, kind: PriceKind, storage_gb: f64) -> Map<String, Value> {
    let base = match kind {
        PriceKind::Bid => offer.min_bid(machine),
        PriceKind::OnDemand | PriceKind::Reserved => offer.dph_base(machine),
    };
    let storage = machine.storage_dph(storage_gb);
    let total = base + storage;
    let dlperf = machine.gpu.dlperf * f64::from(offer.gpus);
    let discount = if kind == PriceKind::Reserved { 0.25 } else { 0.0 };
    let breakdown = json!({
        "gpuCostPerHour": base,
        "diskHour": storage,
        "totalHour": total,
        "discountTotalHour": base * discount,
        "discountedTotalPerHour": total - base * discount,
    });
    match json!({
        "dph_base": base,
        "dph_total": total,
        "dph_total_adj": total,
        "discount_rate": discount,
        "discounted_hourly": 0.0,
        "discounted_dph_total": total - base * discount,
        "min_bid": offer.min_bid(machine),
        "storage_cost": machine.storage_cost,
        "storage_total_cost": storage,
        "inet_up_cost": machine.inet_up_cost,
        "inet_down_cost": machine.inet_down_cost,
        "internet_up_cost_per_tb": machine.inet_up_cost * 1000.0,
        "internet_down_cost_per_tb": machine.inet_down_cost * 1000.0,
        "credit_discount_max": 0.4,
        "dlperf_per_dphtotal": dlperf / total,
        "flops_per_dphtotal": machine.gpu.tflops * f64::from(offer.gpus) / total,
        "score": dlperf / total * machine.reliability,
        "search": breakdown,
        "instance": breakdown,
        "time_remaining": "",
        "time_remaining_isbid": "",
    }) {
        Value::Object(row) => row,
        _ => Map::new(),
    }
}
