//! What the provider makes of searches, creates and destroys: everything that an answer, or none, can hide.

use std::collections::BTreeMap;

use super::{
    Fault, SECOND, World,
    boxes::{Oddity, Rented},
    keeper::Due,
};
use crate::fleet::{
    charge::{Charge, Charges},
    event::Event,
    name::{HostId, InstanceId, Label, MachineId, NodeName, OfferId, OpId},
    offer::{Offer, OfferPolicy},
    provider::{CreateAnswer, Credit, DestroyAnswer, OffersFound, ProviderFault},
    units::{Money, Timestamp},
};

/// Machines of the simulated marketplace.
const MACHINES: u64 = 64_000;
/// Longest delay of a create or destroy that the provider executes after its answer.
const LATE: std::ops::Range<u64> = 1..110;

/// Machines of each host.
const HOST_MACHINES: u64 = 8;
/// What a bad host asks, in thousandths of the cap: less than anybody else.
const LURE: i64 = 390;
/// What the disk of an interruptible box costs an hour beside its bid.
const STORAGE: Money = Money(40_000);

impl World {
    /// A fault that any call to the provider may meet.
    pub(super) fn call_fails(&mut self) -> Option<ProviderFault> {
        if self.is_offline() {
            return Some(ProviderFault::Unreachable { detail: "no route to host".into() });
        }
        if self.hit_always(Fault::ApiDown) {
            return Some(ProviderFault::Unreachable { detail: "502 Bad Gateway".into() });
        }
        if self.hit_always(Fault::KeyRefused) {
            return Some(ProviderFault::Auth { detail: "auth_error".into() });
        }
        if self.hit(Fault::Throttled) {
            return Some(ProviderFault::RateLimited {
                retry_after_ms: self.rng.bool().then_some(2 * SECOND),
            });
        }
        None
    }

    pub(super) fn read_credit(&mut self) {
        let answer = match self.call_fails() {
            Some(fault) => Err(fault),
            None if self.hit_always(Fault::CreditOut) => Ok(Credit { dollars: Money(0) }),
            None => Ok(Credit { dollars: Money(500_000_000) }),
        };
        self.tell(300, Event::CreditRead(answer));
    }

    /// An honest bill, by the world's own record of who lived when.
    pub(super) fn read_charges(&mut self, from: Timestamp) {
        let answer = match self.call_fails() {
            Some(fault) => Err(fault),
            None => Ok(Charges { from, rows: self.charges(from) }),
        };
        self.tell(300, Event::ChargesRead(answer));
    }

    fn charges(&self, from: Timestamp) -> BTreeMap<InstanceId, Charge> {
        let began = self.moment(from);
        let row = |(id, rented): (&InstanceId, &Rented)| {
            let rent = rented.cost(began, rented.gone_at.unwrap_or(self.now));
            (*id, Charge { label: rented.label.clone(), rent, traffic: Money(0) })
        };
        self.boxes.iter().map(row).collect()
    }

    pub(super) fn search(&mut self, node: NodeName) {
        let answer = match self.call_fails() {
            Some(fault) => Err(fault),
            None if self.hit(Fault::NoOffers) => Ok(OffersFound { offers: Vec::new() }),
            None => {
                let spec = self.policy.nodes.get(&node).cloned();
                let offers = spec.as_ref().map(|spec| &spec.offers);
                let disk = spec.as_ref().map_or(0, |spec| spec.rental.disk_gb);
                let offers =
                    (0..8).map(|_| Offer { disk_gb: Some(f64::from(disk)), ..self.any_offer(offers) });
                Ok(OffersFound { offers: offers.collect() })
            }
        };
        let delay = self.rng.u64(300..3 * SECOND);
        self.tell(delay, Event::Searched { node, answer });
    }

    /// An offer of the marketplace that meets a policy's floors. What a machine is and costs follows from its number.
    pub(super) fn any_offer(&mut self, wanted: Option<&OfferPolicy>) -> Offer {
        let (machine, lure) = match self.bad_machine() {
            Some(machine) => (machine, true),
            None => (self.rng.u64(1..=MACHINES), false),
        };
        let fallback = OfferPolicy::default();
        let wanted = wanted.unwrap_or(&fallback);
        // From four to seven tenths of the cap, so that the price step leaves a choice whatever was rented before.
        let thousandths = 400 + i64::try_from(machine.wrapping_mul(0x9e37_79b9) % 300).unwrap_or_default();
        let thousandths = if lure { LURE } else { thousandths };
        let of = |most: Money| Money((most.0 / 1000).saturating_mul(thousandths));
        let floor = wanted.bid.map(|bids| of(bids.most));
        let contract_s = self.contract_s(wanted.min_duration_s);
        let ports = wanted.min_direct_ports.saturating_add(8);
        Offer {
            id: OfferId(machine + 10_000),
            machine: MachineId(machine),
            host: HostId(machine / HOST_MACHINES),
            gpu: wanted.gpus.first().cloned().unwrap_or_else(|| "RTX 4090".into()),
            gpus: 1,
            gpu_ram_mb: Some(wanted.min_gpu_ram_mb),
            cpu_ram_mb: Some(wanted.min_cpu_ram_mb),
            cpu_cores: Some(wanted.min_cpu_cores),
            disk_gb: None,
            price: floor.map_or_else(|| of(wanted.price_cap), |floor| floor.plus(STORAGE)),
            reliability: Some(1.0),
            inet_down_mbps: Some(wanted.min_inet_down_mbps),
            inet_up_mbps: None,
            direct_ports: Some(ports),
            duration_s: Some(contract_s),
            cuda: None,
            display_active: None,
            geolocation: wanted.prefer_regions.first().cloned(),
            verified: None,
            static_ip: None,
            floor,
            bid: None,
        }
    }

    /// Now and then a machine of a bad host, if there is one.
    fn bad_machine(&mut self) -> Option<u64> {
        if self.bad_hosts.is_empty() || self.rng.u32(0..6) > 0 {
            return None;
        }
        let host = self.bad_hosts.iter().nth(self.rng.usize(0..self.bad_hosts.len()))?;
        Some(host.0 * HOST_MACHINES + self.rng.u64(0..HOST_MACHINES))
    }

    pub(super) fn create(&mut self, node: &NodeName, offer: &Offer, label: &Label, paused: bool) {
        self.judge_create(node, offer, &label.op, paused);
        let Some(place) = self.places.get(node).copied() else { return };
        let answer = self.create_answer(place, offer, label);
        let op = label.op.clone();
        if matches!(answer, CreateAnswer::Ambiguous(_)) {
            self.judge.doubted.insert(op.clone());
        }
        let delay = self.rng.u64(300..20 * SECOND);
        self.tell(delay, Event::CreateAnswered { node: node.clone(), op, answer });
    }

    fn create_answer(&mut self, place: usize, offer: &Offer, label: &Label) -> CreateAnswer {
        if self.is_offline() {
            return if self.rng.bool() {
                CreateAnswer::NotSent("no route to host".into())
            } else {
                CreateAnswer::Ambiguous("timed out".into())
            };
        }
        if self.hit_always(Fault::ApiDown) {
            if self.rng.bool() {
                self.executed(place, offer, label, Some(Oddity::Unanswered));
            }
            return CreateAnswer::Ambiguous("502 Bad Gateway".into());
        }
        if let Some(fault) = self.call_fails() {
            return CreateAnswer::Refused(fault);
        }
        if self.hit_always(Fault::CreditOut) {
            return CreateAnswer::Refused(ProviderFault::Credit { detail: "insufficient_credit".into() });
        }
        if self.hit(Fault::CreateRefused) {
            return CreateAnswer::Refused(ProviderFault::Refused { detail: "invalid_args".into() });
        }
        if self.hit(Fault::OfferTaken) {
            return CreateAnswer::OfferGone("no_such_ask".into());
        }
        self.doubtful_answer(place, offer, label)
    }

    fn doubtful_answer(&mut self, place: usize, offer: &Offer, label: &Label) -> CreateAnswer {
        if self.hit(Fault::CreateLost) {
            return CreateAnswer::Ambiguous("no answer".into());
        }
        if self.hit(Fault::CreateLate) {
            let late = self.seconds(LATE);
            let due = Due::LateCreate {
                label: label.to_string(),
                node: place,
                op: label.op.clone(),
                offer: Box::new(offer.clone()),
            };
            self.judge.on_their_way.insert(label.op.clone(), place);
            self.queue.push(self.now + late, due);
            return CreateAnswer::Ambiguous("503 Service Unavailable".into());
        }
        if self.hit(Fault::CreateAnswerLost) {
            self.executed(place, offer, label, Some(Oddity::Unanswered));
            return CreateAnswer::Ambiguous("connection reset".into());
        }
        if self.hit(Fault::CreateBroken) {
            let instance = self.executed(place, offer, label, Some(Oddity::Broken));
            return CreateAnswer::CreatedBroken(instance, "bid too low".into());
        }
        if self.hit(Fault::CreateTwice) {
            self.executed(place, offer, label, Some(Oddity::Twin));
        }
        CreateAnswer::Created(self.executed(place, offer, label, None))
    }

    fn executed(&mut self, place: usize, offer: &Offer, label: &Label, oddity: Option<Oddity>) -> InstanceId {
        let id = self.rent(Some(label.to_string()), Some(place), Some(label.op.clone()), offer);
        if let Some(rented) = self.boxes.get_mut(&id) {
            rented.oddity = oddity;
        }
        id
    }

    pub(super) fn create_late(&mut self, label: String, node: usize, op: OpId, offer: &Offer) {
        self.judge.on_their_way.remove(&op);
        let forgotten = self.judge.ticket(&op).is_none();
        let id = self.rent(Some(label), Some(node), Some(op), offer);
        if let Some(rented) = self.boxes.get_mut(&id) {
            rented.oddity = Some(Oddity::Late);
            rented.orphan = forgotten;
        }
    }

    pub(super) fn destroy(&mut self, instance: InstanceId) {
        self.judge_destroy(instance);
        let unreachable =
            |detail: &str| DestroyAnswer::Failed(ProviderFault::Unreachable { detail: detail.into() });
        let answer = if let Some(fault) = self.call_fails() {
            if matches!(fault, ProviderFault::Unreachable { .. })
                && self.lasts(Fault::ApiDown)
                && self.rng.bool()
            {
                self.end_box(instance);
            }
            DestroyAnswer::Failed(fault)
        } else if self.hit(Fault::DestroyWithoutEffect) {
            DestroyAnswer::Acknowledged
        } else if self.hit(Fault::DestroyLost) {
            match self.rng.u32(0..3) {
                0 => self.end_box(instance),
                1 => {
                    let late = self.seconds(LATE);
                    self.queue.push(self.now + late, Due::LateDestroy(instance));
                }
                _ => {}
            }
            unreachable("no answer")
        } else {
            self.end_box(instance);
            DestroyAnswer::Acknowledged
        };
        let delay = self.rng.u64(200..4 * SECOND);
        self.tell(delay, Event::DestroyAnswered { instance, answer });
    }

    /// Nothing tells the keeper whether it was done but the next list.
    pub(super) fn relabel(&mut self, instance: InstanceId, label: &Label) {
        if self.call_fails().is_some() {
            return;
        }
        if let Some(rented) = self.boxes.get_mut(&instance) {
            rented.label = Some(label.to_string());
        }
    }
}
