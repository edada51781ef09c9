//! The world's answers to the keeper's commands: the provider's lists, offers, creates and destroys, and the boxes' own.

use std::collections::BTreeMap;

use super::{
    super::super::super::{
        command::Command,
        event::{Event, WorkFault},
        journal::ReleaseRef,
        memory::SelfCheck,
        name::{InstanceId, NodeName, OpId},
        offer::{Offer, tests::offer},
        provider::{
            CreateAnswer, Credit, DestroyAnswer, Inventory, OffersFound, ProviderFault, Rental, StartAnswer,
            Status,
        },
        state::Tenant,
        units::{Money, Timestamp},
        watch::Word,
    },
    Due, Rented, SECOND, State, World,
};

impl World {
    pub(super) fn list(&mut self) {
        let at = Timestamp(self.now);
        let delay = self.rng.u64(50..3 * SECOND);
        if self.fault("list failed", 200) {
            let fault = match self.rng.u32(0..4) {
                0 => ProviderFault::Auth { detail: "auth_error".into() },
                1 => ProviderFault::RateLimited { retry_after_ms: Some(u64::MAX) },
                2 => ProviderFault::Malformed { detail: "short".into() },
                _ => ProviderFault::Unreachable { detail: "reset".into() },
            };
            return self.tell(delay, Event::Listed(Err(fault)));
        }
        let mut rentals: Vec<Rental> =
            self.boxes.iter().map(|(id, rented)| row(*id, rented, self.now)).collect();
        if self.fault("empty list", 40) {
            rentals.clear();
            self.lied_at = self.now;
        }
        if self.fault("list lacks a row", 40) && !rentals.is_empty() {
            let gone = self.rng.usize(0..rentals.len());
            rentals.remove(gone);
            self.lied_at = self.now;
        }
        self.tell(delay, Event::Listed(Ok(Inventory { started_at: at, rentals })));
    }

    pub(super) fn perform(&mut self, command: Command) {
        match command {
            Command::List => self.list(),
            Command::ReadCredit => {
                self.tell(300, Event::CreditRead(Ok(Credit { dollars: Money(100_000_000) })));
            }
            Command::CheckSelf => {
                let check = SelfCheck { at: Timestamp(self.now), answered: 2, asked: 2 };
                self.tell(300, Event::SelfChecked(check));
            }
            Command::Search { node } => {
                let first = self.rng.u64(1..5000);
                let answer = if self.fault("no offers", 200) {
                    Ok(OffersFound { offers: Vec::new() })
                } else {
                    Ok(OffersFound { offers: (first..first + 5).map(offer).collect() })
                };
                self.tell(500, Event::Searched { node, answer });
            }
            Command::Create { node, offer, label } => self.create(node, &offer, &label.op, label.to_string()),
            Command::Destroy { instance } => self.destroy(instance),
            Command::Deploy { node, tenant, .. } => {
                let wait = self.rng.u64(10..120) * SECOND;
                self.at(wait, Due::Deploy { epoch: self.epoch, node, tenant });
            }
            Command::Remedy { node, tenant, rung, .. } => {
                if self.boxes.get(&tenant.instance).is_some_and(|rented| rented.state == State::Hung)
                    && self.rng.bool()
                {
                    self.turn(tenant.instance, State::Up);
                }
                let instance = tenant.instance;
                self.tell(10 * SECOND, Event::RemedyWorked { node, instance, rung, result: Ok(None) });
            }
            Command::AskWitness { node, tenant } => {
                let state = self.boxes.get(&tenant.instance).map(|rented| rented.state);
                let word = match state {
                    Some(State::Up) => Word::Up("its own health check answers".into()),
                    Some(State::Hung) => Word::Down("no answer on its own port".into()),
                    Some(State::Cut | State::Dead) | None => Word::Silent("no connection".into()),
                };
                if !self.fault("witness never answers", 300) {
                    let (instance, asked_at) = (tenant.instance, Timestamp(self.now));
                    self.tell(2 * SECOND, Event::Witnessed { node, instance, asked_at, word });
                }
            }
            // Nobody leaves a server in maintenance here.
            Command::EndMaintenance { .. } => {}
            // What is billed is not this world's matter.
            Command::ReadCharges { .. } => {}
            // Nothing is ever stopped here.
            Command::Start { node, instance, .. } => {
                self.tell(700, Event::StartAnswered { node, instance, answer: StartAnswer::Starting });
            }
            Command::Relabel { instance, label } => {
                if !self.fault("relabel lost", 300)
                    && let Some(rented) = self.boxes.get_mut(&instance)
                {
                    rented.label = Some(label.to_string());
                }
            }
            Command::AttachKey { .. }
            | Command::StopWork { .. }
            | Command::TakeEvidence { .. }
            | Command::Publish { .. } => {}
        }
    }

    fn create(&mut self, node: NodeName, offer: &Offer, op: &OpId, label: String) {
        assert!(self.sent.insert(op.clone()), "seed {}: op {op} was sent twice", self.seed);
        self.count("creates");
        let answer = if self.fault("create lost, executed late", 150) {
            let late = self.rng.u64(1..110) * SECOND;
            self.at(late, Due::LateCreate { label, offer: offer.clone() });
            CreateAnswer::Ambiguous("no answer".into())
        } else if self.fault("create lost", 150) {
            CreateAnswer::Ambiguous("no answer".into())
        } else if self.fault("create answer lost", 150) {
            self.rent(Some(label), offer);
            CreateAnswer::Ambiguous("reset".into())
        } else if self.fault("create executed twice", 150) {
            self.rent(Some(label.clone()), offer);
            CreateAnswer::Created(self.rent(Some(label), offer))
        } else if self.fault("create broken", 150) {
            CreateAnswer::CreatedBroken(self.rent(Some(label), offer), "bid too low".into())
        } else if self.fault("offer gone", 150) {
            CreateAnswer::OfferGone("no_such_ask".into())
        } else if self.fault("create throttled", 150) {
            CreateAnswer::Refused(ProviderFault::RateLimited { retry_after_ms: None })
        } else if self.fault("create refused", 100) {
            CreateAnswer::Refused(ProviderFault::Refused { detail: "invalid_args".into() })
        } else if self.fault("create not sent", 150) {
            CreateAnswer::NotSent("expired".into())
        } else {
            CreateAnswer::Created(self.rent(Some(label), offer))
        };
        let delay = self.rng.u64(100..20 * SECOND);
        self.tell(delay, Event::CreateAnswered { node, op: op.clone(), answer });
    }

    fn destroy(&mut self, instance: InstanceId) {
        assert!(!self.foreign.contains(&instance), "seed {}: a foreign box was destroyed", self.seed);
        self.count("destroys");
        let unreachable = || DestroyAnswer::Failed(ProviderFault::Unreachable { detail: "reset".into() });
        let answer = if self.fault("destroy lost", 150) {
            unreachable()
        } else if self.fault("destroy accepted without effect", 150) {
            self.undead.insert(instance);
            DestroyAnswer::Acknowledged
        } else {
            self.boxes.remove(&instance);
            if self.fault("destroy answer lost", 150) { unreachable() } else { DestroyAnswer::Acknowledged }
        };
        self.tell(700, Event::DestroyAnswered { instance, answer });
    }

    pub(super) fn deployed(&mut self, epoch: u32, node: NodeName, tenant: &Tenant) {
        let broken = self.fault("deploy failed", 100);
        let unknown = self.fault("deploy outcome unknown", 150);
        let Some(rented) = self.boxes.get_mut(&tenant.instance) else { return };
        let result = if broken {
            Err(WorkFault::Box("disk full".into()))
        } else if matches!(rented.state, State::Cut | State::Dead) {
            Err(WorkFault::Box("no connection".into()))
        } else {
            rented.serves = Some(tenant.rental.op.clone());
            let release = ReleaseRef { digest: "d".into(), commit: "c".into() };
            if unknown { Err(WorkFault::Unknown("cut off".into())) } else { Ok(release) }
        };
        self.at(0, Due::Tell(epoch, Event::DeployEnded { node, instance: tenant.instance, result }));
    }
}

fn row(id: InstanceId, rented: &Rented, now: u64) -> Rental {
    let running = rented.ready_at.is_some_and(|at| at <= now);
    let status = match rented.state {
        State::Dead => Status::Exited,
        _ if running => Status::Running,
        _ => Status::Starting,
    };
    let ports = if running { BTreeMap::from([(22, 40022), (5555, 45555)]) } else { BTreeMap::new() };
    Rental {
        id,
        label: rented.label.clone(),
        machine: rented.machine,
        host: rented.host,
        status,
        message: None,
        price: rented.price,
        gpu: "RTX 4090".into(),
        public_ip: running.then(|| std::net::Ipv4Addr::from(0x7f00_0000 + (id.0 as u32 & 0xffff)).into()),
        ports,
        ssh_proxy: None,
        ends_at: None,
        stopped: false,
        bidding: None,
    }
}
