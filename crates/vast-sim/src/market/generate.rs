//! Generates a plausible market from a seed.
//!
//! Prices, memory sizes and compute capabilities are those of public listings in 2025–2026, rounded; the spread
//! around them is invented.

use super::{GpuModel, Machine, Market, Offer};
use crate::clock::SimSeconds;
use crate::config::MarketConfig;

const DAY: f64 = 86_400.0;

/// First ids, in the range of today's live ids so that nothing depends on small numbers.
const FIRST_OFFER: u64 = 26_000_000;
const FIRST_MACHINE: u64 = 31_000;
const FIRST_HOST: u64 = 210_000;

const fn gpu(
    name: &'static str,
    ram_mb: u64,
    dph: f64,
    dlperf: f64,
    tflops: f64,
    compute_cap: u32,
) -> GpuModel {
    GpuModel { name, ram_mb, dph, dlperf, tflops, compute_cap }
}

static GPUS: [GpuModel; 18] = [
    gpu("RTX 3060", 12_288, 0.06, 12.5, 12.7, 860),
    gpu("RTX 3070", 8_192, 0.08, 17.0, 20.3, 860),
    gpu("RTX 3080", 10_240, 0.12, 24.0, 29.8, 860),
    gpu("RTX 3090", 24_576, 0.19, 34.0, 35.6, 860),
    gpu("RTX 3090 Ti", 24_564, 0.23, 38.0, 40.0, 860),
    gpu("RTX 4070S Ti", 16_376, 0.20, 41.0, 44.1, 890),
    gpu("RTX 4080S", 16_376, 0.25, 50.0, 52.2, 890),
    gpu("RTX 4090", 24_564, 0.39, 82.0, 82.6, 890),
    gpu("RTX 5080", 16_303, 0.33, 70.0, 56.3, 1200),
    gpu("RTX 5090", 32_607, 0.52, 118.0, 104.8, 1200),
    gpu("RTX A4000", 16_376, 0.13, 21.0, 19.2, 860),
    gpu("RTX A6000", 49_140, 0.44, 45.0, 38.7, 860),
    gpu("RTX 6000Ada", 49_140, 0.68, 88.0, 91.1, 890),
    gpu("L40S", 46_068, 0.72, 90.0, 91.6, 890),
    gpu("Tesla T4", 15_360, 0.14, 11.0, 8.1, 750),
    gpu("A100 PCIE", 40_960, 0.62, 62.0, 19.5, 800),
    gpu("A100 SXM4", 81_920, 0.89, 78.0, 19.5, 800),
    gpu("H100 SXM", 81_559, 1.95, 190.0, 66.9, 900),
];

const PLACES: [&str; 22] = [
    "Texas, US",
    "California, US",
    "Oregon, US",
    "New York, US",
    "Virginia, US",
    "Ontario, CA",
    "Quebec, CA",
    "Iceland, IS",
    "Norway, NO",
    "Sweden, SE",
    "Finland, FI",
    "Germany, DE",
    "Netherlands, NL",
    "Czechia, CZ",
    "Poland, PL",
    "Bulgaria, BG",
    "Spain, ES",
    "Japan, JP",
    "South Korea, KR",
    "Taiwan, TW",
    "Thailand, TH",
    "Australia, AU",
];

const DRIVERS: [(f64, &str); 5] = [
    (12.2, "535.183.01"),
    (12.4, "550.127.05"),
    (12.6, "560.35.03"),
    (12.8, "570.133.20"),
    (13.0, "580.95.05"),
];

/// Generates machines until the market has the wanted number of offers.
pub(crate) fn generate(config: &MarketConfig, rng: &mut fastrand::Rng, now: SimSeconds) -> Market {
    let mut market = Market {
        machines: Vec::new(),
        offers: Vec::new(),
        rented: Vec::new(),
        retired_ids: std::collections::HashSet::new(),
        next_offer_id: FIRST_OFFER,
    };
    while market.offers.len() < config.min_offers {
        let machine = machine(market.machines.len() as u64, config, rng, now);
        let (at, gpus) = (market.machines.len(), machine.gpus);
        market.machines.push(machine);
        let sizes = [1, 2, 4, 8].into_iter().filter(|size| *size <= gpus);
        for size in sizes {
            for first_gpu in (0..gpus).step_by(size as usize) {
                market.offers.push(Offer {
                    id: market.next_offer_id,
                    machine: at,
                    first_gpu,
                    gpus: size,
                    hidden: false,
                });
                market.next_offer_id += 1 + rng.u64(0..40);
            }
        }
    }
    market
}

fn between(rng: &mut fastrand::Rng, low: f64, high: f64) -> f64 {
    low + rng.f64() * (high - low)
}

fn pick<'a, T>(rng: &mut fastrand::Rng, all: &'a [T]) -> &'a T {
    &all[rng.usize(0..all.len())]
}

fn chance(rng: &mut fastrand::Rng, probability: f64) -> bool {
    rng.f64() < probability
}

fn machine(index: u64, config: &MarketConfig, rng: &mut fastrand::Rng, now: SimSeconds) -> Machine {
    let gpu = pick(rng, &GPUS);
    let gpus = *pick(rng, &[1, 1, 1, 2, 2, 4, 8]);
    let datacenter = chance(rng, 0.3);
    let (cuda, driver) = *pick(rng, &DRIVERS);
    let dph_per_gpu = gpu.dph * between(rng, 0.75, 1.6);
    let cores_per_gpu = *pick(rng, &[4, 6, 8, 12, 16, 24]);
    let verification = match rng.u32(0..100) {
        0..75 => "verified",
        75..92 => "unverified",
        _ => "deverified",
    };
    Machine {
        id: FIRST_MACHINE + index * 7 + rng.u64(0..7),
        host_id: FIRST_HOST + rng.u64(0..120),
        gpu,
        gpus,
        dph_per_gpu,
        min_bid_per_gpu: dph_per_gpu * between(rng, 0.3, 0.7),
        storage_cost: between(rng, 0.08, 0.3),
        inet_up: between(rng, 20.0, if datacenter { 8_000.0 } else { 1_500.0 }),
        inet_down: between(rng, 60.0, if datacenter { 9_000.0 } else { 2_500.0 }),
        inet_up_cost: between(rng, 0.0, 0.02),
        inet_down_cost: between(rng, 0.0, 0.02),
        reliability: if chance(rng, 0.8) { between(rng, 0.97, 0.9999) } else { between(rng, 0.6, 0.97) },
        place: PLACES[rng.usize(0..PLACES.len())],
        cpu_cores: cores_per_gpu * gpus,
        cpu_ram_mb: u64::from(gpus) * *pick(rng, &[16_000, 32_000, 64_000, 128_000]),
        disk_gb: between(rng, 30.0, 400.0) * f64::from(gpus),
        ports: if chance(rng, 0.12) { 0 } else { rng.u32(2..250) },
        static_ip: datacenter || chance(rng, 0.3),
        verification,
        datacenter,
        external: chance(rng, 0.04),
        display_active: !datacenter && chance(rng, 0.35),
        cuda,
        driver,
        listed_at: now - between(rng, 1.0, 400.0) * DAY,
        ends_at: now + between(rng, config.contract_days.0, config.contract_days.1) * DAY,
    }
}
