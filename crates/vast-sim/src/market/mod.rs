//! The seeded market: machines, the slices of them on offer, and what renting and giving back does to them.
//!
//! A machine offers its GPUs in aligned slices (1, 2, 4 … all of them), so offers of one machine overlap. Renting
//! a slice hides every overlapping offer; giving it back brings them out again *under new ids*, as Vast.ai does,
//! which is why a failed machine must be excluded by `machine_id` and never by offer id.

mod generate;
mod row;

pub(crate) use generate::generate;
pub(crate) use row::{PriceKind, offer_row};

use crate::clock::SimSeconds;

/// Hours in Vast.ai's billing month (`storage_cost` is $/GB/month; 720 as public price tools compute it).
const HOURS_PER_MONTH: f64 = 720.0;

/// A host's hardware with its price list.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) id: u64,
    pub(crate) host_id: u64,
    pub(crate) gpu: &'static GpuModel,
    pub(crate) gpus: u32,
    pub(crate) dph_per_gpu: f64,
    pub(crate) min_bid_per_gpu: f64,
    pub(crate) storage_cost: f64,
    pub(crate) inet_up: f64,
    pub(crate) inet_down: f64,
    pub(crate) inet_up_cost: f64,
    pub(crate) inet_down_cost: f64,
    pub(crate) reliability: f64,
    pub(crate) place: &'static str,
    pub(crate) cpu_cores: u32,
    pub(crate) cpu_ram_mb: u64,
    pub(crate) disk_gb: f64,
    pub(crate) ports: u32,
    pub(crate) static_ip: bool,
    pub(crate) verification: &'static str,
    pub(crate) datacenter: bool,
    pub(crate) external: bool,
    pub(crate) display_active: bool,
    pub(crate) cuda: f64,
    pub(crate) driver: &'static str,
    pub(crate) listed_at: SimSeconds,
    pub(crate) ends_at: SimSeconds,
}

/// A GPU as the market names it: display name with spaces, memory in MB, rough $/h and deep-learning score.
#[derive(Debug)]
pub(crate) struct GpuModel {
    pub(crate) name: &'static str,
    pub(crate) ram_mb: u64,
    pub(crate) dph: f64,
    pub(crate) dlperf: f64,
    pub(crate) tflops: f64,
    pub(crate) compute_cap: u32,
}

/// One slice of a machine on offer.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) id: u64,
    pub(crate) machine: usize,
    pub(crate) first_gpu: u32,
    pub(crate) gpus: u32,
    hidden: bool,
}

impl Offer {
    fn overlaps(&self, other: &Offer) -> bool {
        self.machine == other.machine
            && self.first_gpu < other.first_gpu + other.gpus
            && other.first_gpu < self.first_gpu + self.gpus
    }
}

/// What a look-up of an offer id finds.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// Rentable now.
    Open(Offer),
    /// It was real once, or overlaps a rented slice now.
    Gone,
    /// Never existed.
    Unknown,
}

/// All machines and offers.
#[derive(Debug)]
pub(crate) struct Market {
    machines: Vec<Machine>,
    offers: Vec<Offer>,
    rented: Vec<Offer>,
    retired_ids: std::collections::HashSet<u64>,
    next_offer_id: u64,
}

impl Market {
    pub(crate) fn machine(&self, offer: &Offer) -> &Machine {
        &self.machines[offer.machine]
    }

    /// Every offer that can be rented, with its machine.
    pub(crate) fn open(&self, now: SimSeconds) -> impl Iterator<Item = (&Offer, &Machine)> {
        self.offers
            .iter()
            .map(|offer| (offer, &self.machines[offer.machine]))
            .filter(move |(offer, machine)| !offer.hidden && machine.ends_at > now)
    }

    /// Every offer hidden by a rental; shown only to a search that asks for rented ones.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = (&Offer, &Machine)> {
        let hidden = self.offers.iter().filter(|offer| offer.hidden);
        hidden.map(|offer| (offer, &self.machines[offer.machine]))
    }

    pub(crate) fn look_up(&self, id: u64, now: SimSeconds) -> Lookup {
        match self.offers.iter().find(|offer| offer.id == id) {
            Some(offer) if offer.hidden || self.machine(offer).ends_at <= now => Lookup::Gone,
            Some(offer) => Lookup::Open(offer.clone()),
            None if self.retired_ids.contains(&id) => Lookup::Gone,
            None => Lookup::Unknown,
        }
    }

    /// Takes an offer; it and every overlapping one disappear from searches.
    pub(crate) fn rent(&mut self, taken: &Offer) {
        self.rented.push(taken.clone());
        for offer in self.offers.iter_mut().filter(|offer| offer.overlaps(taken)) {
            offer.hidden = true;
        }
    }

    /// Gives a slice back: offers that no other rental overlaps reappear under new ids.
    pub(crate) fn give_back(&mut self, freed: &Offer) {
        if let Some(at) = self.rented.iter().position(|offer| offer.id == freed.id) {
            self.rented.swap_remove(at);
        }
        let Market { offers, rented, retired_ids, next_offer_id, .. } = self;
        for offer in offers.iter_mut().filter(|offer| offer.hidden && offer.overlaps(freed)) {
            if rented.iter().any(|other| other.overlaps(offer)) {
                continue;
            }
            retired_ids.insert(offer.id);
            offer.id = *next_offer_id;
            *next_offer_id += 1;
            offer.hidden = false;
        }
    }

    /// Sets what wins a GPU of a machine, in dollars per hour.
    pub(crate) fn set_floor(&mut self, machine: usize, min_bid_per_gpu: f64) {
        self.machines[machine].min_bid_per_gpu = min_bid_per_gpu;
    }

    /// The distinct GPU names, sorted.
    pub(crate) fn gpu_names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.machines.iter().map(|machine| machine.gpu.name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    pub(crate) fn has_machine(&self, id: u64) -> bool {
        self.machines.iter().any(|machine| machine.id == id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Lookup, Market, generate};
    use crate::config::MarketConfig;

    fn market() -> Market {
        generate(&MarketConfig::default(), &mut fastrand::Rng::with_seed(5), 1_000_000.0)
    }

    fn open_ids(market: &Market) -> Vec<u64> {
        market.open(1_000_000.0).map(|(offer, _)| offer.id).collect()
    }

    #[test]
    fn the_market_is_large_varied_and_the_same_for_the_same_seed() {
        let first = market();
        assert!(open_ids(&first).len() >= 500, "{} offers", open_ids(&first).len());
        assert_eq!(open_ids(&first), open_ids(&market()));
        let mut per_machine: BTreeMap<u64, usize> = BTreeMap::new();
        for (_, machine) in first.open(1_000_000.0) {
            *per_machine.entry(machine.id).or_default() += 1;
        }
        assert!(per_machine.values().filter(|count| **count > 1).count() > 50, "several offers per machine");
        assert!(first.gpu_names().len() > 8);
        for flag in [true, false] {
            assert!(first.open(0.0).any(|(_, machine)| machine.display_active == flag));
            assert!(first.open(0.0).any(|(_, machine)| machine.static_ip == flag));
        }
    }

    #[test]
    fn renting_hides_the_overlapping_offers_and_giving_back_shows_them_under_new_ids() {
        let mut market = market();
        let whole = market
            .open(1_000_000.0)
            .find(|(offer, machine)| machine.gpus >= 4 && offer.gpus == machine.gpus)
            .map(|(offer, _)| offer.clone())
            .expect("a machine with four GPUs");
        let siblings = |market: &Market| -> Vec<u64> {
            let open = market.open(1_000_000.0).filter(|(offer, _)| offer.machine == whole.machine);
            open.map(|(offer, _)| offer.id).collect()
        };
        let before = siblings(&market);
        market.rent(&whole);
        assert!(siblings(&market).is_empty(), "a whole machine overlaps all its slices");
        assert!(matches!(market.look_up(whole.id, 1_000_000.0), Lookup::Gone));
        market.give_back(&whole);
        let after = siblings(&market);
        assert_eq!(after.len(), before.len());
        assert!(after.iter().all(|id| !before.contains(id)), "{after:?} against {before:?}");
        assert!(matches!(market.look_up(whole.id, 1_000_000.0), Lookup::Gone));
        assert!(matches!(market.look_up(1, 1_000_000.0), Lookup::Unknown));
    }

    #[test]
    fn a_slice_stays_hidden_while_another_rental_overlaps_it() {
        let mut market = market();
        let on_one_machine: Vec<_> = {
            let whole =
                market.open(0.0).find(|(_, machine)| machine.gpus == 4).map(|(offer, _)| offer.machine);
            let whole = whole.expect("a machine with four GPUs");
            market
                .open(0.0)
                .filter(|(offer, _)| offer.machine == whole)
                .map(|(offer, _)| offer.clone())
                .collect()
        };
        let singles: Vec<_> = on_one_machine.iter().filter(|offer| offer.gpus == 1).cloned().collect();
        market.rent(&singles[0]);
        market.rent(&singles[1]);
        market.give_back(&singles[0]);
        let open = |gpus: u32| {
            let machine = singles[0].machine;
            market.open(0.0).filter(|(offer, _)| offer.machine == machine && offer.gpus == gpus).count()
        };
        assert_eq!((open(1), open(2), open(4)), (3, 1, 0));
    }
}
