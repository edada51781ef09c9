//! The events, each drawn from the state so that most get past the first check.

use std::{net::SocketAddr, time::Duration};

use super::{
    super::super::super::{
        bid::Bidding,
        charge::{Charge, Charges},
        deployed::{DeployKind, DeployOutcome, DeployReport, Placed, SwitchRequest},
        event::{Event, Hint, Seen, Wish, WorkFault},
        journal::ReleaseRef,
        ledger::{LedgerWish, export},
        memory::SelfCheck,
        name::{HostId, InstanceId, MachineId, NodeName, OpId},
        offer::{Offer, tests::offer},
        policy::Rung,
        probe::{Failure, Observation, Verdict},
        provider::{
            CreateAnswer, Credit, DestroyAnswer, Inventory, OffersFound, ProviderFault, Rental, StartAnswer,
            Status,
        },
        state::{NodeState, Stage},
        units::{Money, Timestamp},
        watch::Word,
    },
    Nonsense, node, spare,
};

impl Nonsense {
    fn node(&mut self) -> NodeName {
        if self.rng.u32(0..6) == 0 { spare() } else { node(self.rng.usize(0..4)) }
    }

    fn instance(&mut self) -> InstanceId {
        InstanceId(self.rng.u64(1..12))
    }

    /// Mostly the node's own op, so that events get past the first check.
    fn op(&mut self, name: &NodeName) -> OpId {
        let own = self.fleet.nodes.get(name).and_then(|node| node.state.claim()).map(|(a, _)| a.op.clone());
        own.filter(|_| self.rng.u32(0..8) > 0).unwrap_or_else(|| OpId::from_bits(self.rng.u64(..)))
    }

    fn own_instance(&mut self, name: &NodeName) -> InstanceId {
        let own = self.fleet.nodes.get(name).and_then(|node| node.state.claim()).and_then(|(_, i)| i);
        own.filter(|_| self.rng.u32(0..8) > 0).unwrap_or_else(|| self.instance())
    }

    fn doomed_instance(&mut self) -> InstanceId {
        let known: Vec<InstanceId> = self.fleet.doomed.keys().copied().collect();
        if known.is_empty() { self.instance() } else { known[self.rng.usize(0..known.len())] }
    }

    fn fault(&mut self) -> ProviderFault {
        let detail = String::from("detail");
        match self.rng.u32(0..6) {
            0 => ProviderFault::Auth { detail },
            1 => ProviderFault::RateLimited { retry_after_ms: Some(self.rng.u64(..)) },
            2 => ProviderFault::Credit { detail },
            3 => ProviderFault::Refused { detail },
            4 => ProviderFault::Unreachable { detail },
            _ => ProviderFault::Malformed { detail },
        }
    }

    fn work_fault(&mut self) -> WorkFault {
        let detail = String::from("detail");
        match self.rng.u32(0..9) {
            0 => WorkFault::Release(detail),
            8 => WorkFault::Halfway(detail),
            1 | 2 => WorkFault::Box(detail),
            3 => WorkFault::HostKeyChanged(detail),
            4 | 5 => WorkFault::Unhealthy(detail),
            _ => WorkFault::Unknown(detail),
        }
    }

    /// Whether something is drawn that makes no sense.
    fn odd(&mut self) -> bool {
        !self.calm || self.rng.u32(0..60) == 0
    }

    /// What a provider that tells the truth would list.
    fn true_list(&mut self) -> Inventory {
        let of_nodes =
            self.fleet.claims().map(|(name, attempt, instance)| (name, attempt.op.clone(), instance));
        let claimed: Vec<_> =
            of_nodes.filter_map(|(name, op, id)| Some((id?, format!("vk:test:{name}:{op}")))).collect();
        let rentals =
            claimed.into_iter().map(|(id, label)| Rental { label: Some(label), ..running(id) }).collect();
        Inventory { started_at: Timestamp(self.now.saturating_sub(self.rng.u64(0..500))), rentals }
    }

    fn list(&mut self) -> Inventory {
        if !self.odd() {
            return self.true_list();
        }
        let mut rentals = Vec::new();
        for id in 1..12 {
            if self.rng.u32(0..3) == 0 {
                continue;
            }
            let claimed = self.fleet.nodes.iter().find_map(|(name, node)| match node.state.claim() {
                Some((attempt, Some(instance))) if instance == InstanceId(id) => {
                    Some(format!("vk:test:{name}:{}", attempt.op))
                }
                _ => None,
            });
            let label = match self.rng.u32(0..10) {
                0 => None,
                1 => Some("another's".into()),
                2 => Some("vk:test:broken".into()),
                // One of these keeps everybody from renting for a while.
                3 if self.rng.u32(0..40) == 0 => Some(format!("vk:test:{}:{}", node(0), OpId::from_bits(id))),
                4 | 5 if !self.labels.is_empty() => {
                    Some(self.labels[self.rng.usize(0..self.labels.len())].clone())
                }
                _ => claimed,
            };
            let status = match self.rng.u32(0..10) {
                0 => Status::Starting,
                1 => Status::Exited,
                2 => Status::Offline,
                3 => Status::Broken,
                4 => Status::Unclear("odd".into()),
                _ => Status::Running,
            };
            rentals.push(Rental {
                label,
                status,
                price: Money(self.rng.i64(-5..1_000_000)),
                public_ip: Some([self.rng.u8(..), 0, 0, 1].into()),
                ends_at: (self.rng.u32(0..20) == 0).then(|| Timestamp(self.rng.u64(..))),
                stopped: self.rng.u32(0..3) == 0,
                bidding: self.rng.bool().then(|| Bidding {
                    bid: Money(self.rng.i64(..)),
                    floor: self.rng.bool().then(|| Money(self.rng.i64(-5..500_000))),
                }),
                ..running(InstanceId(id))
            });
        }
        let started_at = Timestamp(self.now.saturating_sub(self.rng.u64(0..10_000)));
        Inventory { started_at, rentals }
    }

    pub(super) fn event(&mut self) -> Event {
        let node = self.node();
        if self.calm
            && self.rng.bool()
            && let Some(event) = self.expected(&node)
        {
            return event;
        }
        match self.rng.u32(0..26) {
            0 if self.odd() && self.rng.u32(0..6) == 0 => {
                Event::Stalled { gap: Duration::from_millis(self.rng.u64(..)) }
            }
            1 if !self.odd() || self.rng.u32(0..4) > 0 => {
                let answer = Ok(Credit { dollars: Money(50_000_000) });
                Event::CreditRead(answer)
            }
            1 => {
                self.policy.observe_only = self.rng.u32(0..4) == 0;
                if self.rng.bool() {
                    self.policy.nodes.remove(&node);
                } else if let Some(spec) = self.policy.nodes.values().next().cloned() {
                    self.policy.nodes.insert(node, spec);
                }
                Event::PolicyChanged
            }
            2 => Event::Beat,
            0 | 3 => Event::Look { node },
            4..=6 => {
                if self.rng.u32(0..20) == 0 {
                    self.failing ^= true;
                    let sick = self.node();
                    self.sick = (self.rng.u32(0..3) == 0).then_some(sick);
                }
                let fails = if self.calm { self.sick.as_ref() == Some(&node) } else { self.failing };
                let verdict = match self.rng.u32(0..20) {
                    0 => Verdict::Maintenance,
                    1 => Verdict::Healthy,
                    _ if !fails => Verdict::Healthy,
                    _ => Verdict::Failing(Failure::Timeout { limit_ms: 5000 }),
                };
                let identity = self.op(&node);
                let at = Timestamp(self.now.saturating_sub(self.rng.u64(0..6000)));
                let took = Duration::from_millis(5);
                let observation = Observation { at, lateness: Duration::ZERO, took, identity, verdict };
                Event::Probed { node, observation }
            }
            7..=9 => Event::Listed(if self.odd() && self.rng.u32(0..6) == 0 {
                Err(self.fault())
            } else {
                Ok(self.list())
            }),
            10 => {
                let first = self.rng.u64(1..1000);
                let floor = (self.rng.u32(0..8) > 0).then(|| Money(self.rng.i64(-5..450_000)));
                let offers =
                    (first..first + self.rng.u64(0..4)).map(|id| Offer { floor, ..offer(id) }).collect();
                let answer =
                    if self.rng.u32(0..5) == 0 { Err(self.fault()) } else { Ok(OffersFound { offers }) };
                Event::Searched { node, answer }
            }
            11 | 23 => {
                let op = self.op(&node);
                let instance = if self.odd() { self.instance() } else { InstanceId(self.now) };
                let which = if self.odd() { self.rng.u32(0..8) } else { 8 };
                let answer = match which {
                    0 => CreateAnswer::CreatedBroken(instance, "broken".into()),
                    1 => CreateAnswer::OfferGone("gone".into()),
                    2 => CreateAnswer::Refused(self.fault()),
                    3 => CreateAnswer::NotSent("expired".into()),
                    4 => CreateAnswer::Ambiguous("reset".into()),
                    _ => CreateAnswer::Created(instance),
                };
                Event::CreateAnswered { node, op, answer }
            }
            12 => {
                let instance = self.own_instance(&node);
                let answer = match self.rng.u32(0..3) {
                    0 => StartAnswer::Starting,
                    1 => StartAnswer::Queued("queued".into()),
                    _ => StartAnswer::Failed(self.fault()),
                };
                Event::StartAnswered { node, instance, answer }
            }
            13 => {
                let instance = self.doomed_instance();
                let fault = self.fault();
                let answer =
                    if self.rng.bool() { DestroyAnswer::Acknowledged } else { DestroyAnswer::Failed(fault) };
                Event::DestroyAnswered { instance, answer }
            }
            14 => {
                let instance = self.own_instance(&node);
                let release = ReleaseRef { digest: "d".into(), commit: "c".into() };
                let works = !self.odd() || self.rng.u32(0..4) > 0;
                let result = if works { Ok(release) } else { Err(self.work_fault()) };
                Event::DeployEnded { node, instance, result }
            }
            15 => {
                let rungs = [Rung::RestartServer, Rung::Redeploy, Rung::Reboot, Rung::Replace];
                let rung = rungs[self.rng.usize(0..4)];
                let result = if self.rng.bool() { Ok(None) } else { Err(self.work_fault()) };
                let instance = self.own_instance(&node);
                Event::RemedyWorked { node, instance, rung, result }
            }
            16 => {
                let instance = self.own_instance(&node);
                let word = match self.rng.u32(0..3) {
                    0 => Word::Up("up".into()),
                    1 => Word::Down("down".into()),
                    _ => Word::Silent("silent".into()),
                };
                Event::Witnessed { node, instance, asked_at: Timestamp(self.now), word }
            }
            17 => Event::SelfChecked(SelfCheck {
                at: Timestamp(self.now),
                answered: self.rng.u32(0..3),
                asked: 2,
            }),
            18 => {
                let dollars = Money(if self.odd() { self.rng.i64(0..50_000_000) } else { 50_000_000 });
                Event::CreditRead(if self.rng.u32(0..5) == 0 {
                    Err(self.fault())
                } else {
                    Ok(Credit { dollars })
                })
            }
            19 => {
                let release = ReleaseRef { digest: format!("d{}", self.rng.u32(0..3)), commit: "c".into() };
                Event::ReleasePrepared(if self.rng.u32(0..5) == 0 { Err("no".into()) } else { Ok(release) })
            }
            20 if self.rng.bool() => {
                let instance = self.own_instance(&node);
                let seen = match self.rng.u32(0..4) {
                    3 => Seen::Halfway("the migration to r".into()),
                    0 => Seen::Ended("deploy r".into()),
                    1 => Seen::Stays("a concert".into()),
                    _ => Seen::Unclear("no connection".into()),
                };
                Event::LeftBehind { node, instance, seen }
            }
            20 => {
                let machine = MachineId(self.rng.u64(0..1000) * 10);
                let ledger = export(&self.fleet, Timestamp(self.now));
                let wishes = [LedgerWish::Forgive { machine }, LedgerWish::Import { ledger }];
                let wish = wishes[self.rng.usize(0..2)].clone();
                Event::LedgerAsked { wish, by: "somebody".into() }
            }
            24 => self.rare_event(node),
            _ if !self.odd() && self.rng.u32(0..20) > 0 => Event::Beat,
            _ => {
                let wishes = [
                    Wish::SwitchBack,
                    Wish::SwitchBack,
                    Wish::PauseFor(60),
                    Wish::PauseOver,
                    Wish::WorkDone,
                    Wish::Reprovision,
                    Wish::Destroy,
                    Wish::Redeploy,
                    Wish::Redeploy,
                    Wish::Redeploy,
                    Wish::Pause,
                    Wish::Resume,
                    Wish::Resume,
                    Wish::Resume,
                ];
                let wish = wishes[self.rng.usize(0..wishes.len())];
                Event::Asked { node, wish, by: "somebody".into() }
            }
        }
    }

    /// What the node waits for, as it would be best for it.
    fn expected(&mut self, node: &NodeName) -> Option<Event> {
        let known = self.fleet.nodes.get(node)?;
        let node = node.clone();
        if known.standby.is_some() && self.rng.u32(0..50) == 0 {
            return Some(Event::Asked { node, wish: Wish::SwitchBack, by: "somebody".into() });
        }
        let NodeState::Recovering(recovery) = &known.state else { return None };
        Some(match &recovery.stage {
            Stage::Started { .. } => {
                let offers = vec![offer(self.now)];
                Event::Searched { node, answer: Ok(OffersFound { offers }) }
            }
            Stage::Intent { attempt, .. } | Stage::Unresolved { attempt, .. } => {
                let (op, instance) = (attempt.op.clone(), InstanceId(self.now));
                Event::CreateAnswered { node, op, answer: CreateAnswer::Created(instance) }
            }
            Stage::Deploying { tenant, .. } => {
                let release = ReleaseRef { digest: "d".into(), commit: "c".into() };
                Event::DeployEnded { node, instance: tenant.instance, result: Ok(release) }
            }
            Stage::Booting { .. } | Stage::Probation { .. } => return None,
        })
    }

    /// What comes only now and then.
    fn rare_event(&mut self, node: NodeName) -> Event {
        match self.rng.u32(0..8) {
            0 => Event::ReleaseNamed(format!("r{}", self.rng.u32(0..3))),
            1 => Event::DeployReported(Box::new(self.report(node))),
            2 => {
                let at = SocketAddr::from(([127, 0, 0, 1], self.rng.u16(..)));
                let result = if self.rng.bool() { Ok(()) } else { Err("no route".into()) };
                Event::Published { addresses: [(node, at)].into(), result }
            }
            3 => {
                let instance = self.doomed_instance();
                let result = if self.rng.bool() { Ok("kept".into()) } else { Err("no answer".into()) };
                Event::EvidenceTaken { node, instance, result }
            }
            4 => Event::ChargesRead(if self.rng.u32(0..4) == 0 {
                Err(self.fault())
            } else {
                Ok(self.charges())
            }),
            5 => {
                let instance = self.rng.bool().then(|| self.instance());
                let kinds = ["outbid", "low_credit", "instance_stopped", ""];
                Event::Hinted(Hint { kind: kinds[self.rng.usize(0..kinds.len())].into(), instance })
            }
            _ => {
                let keep_s = if self.rng.bool() { self.rng.u32(0..600) } else { self.rng.u32(..) };
                let release = self.placed();
                Event::SwitchAsked(SwitchRequest { node, release, keep_s, by: "somebody".into() })
            }
        }
    }

    fn placed(&mut self) -> Placed {
        let which = self.rng.u32(0..3);
        Placed { name: format!("r{which}"), digest: format!("d{which}"), commit: "c".into() }
    }

    fn report(&mut self, node: NodeName) -> DeployReport {
        let works = [DeployKind::Deploy, DeployKind::Rollback, DeployKind::Restore];
        let outcomes = [
            DeployOutcome::Verified,
            DeployOutcome::Unchanged,
            DeployOutcome::RolledBack,
            DeployOutcome::RollbackFailed,
            DeployOutcome::Halfway,
            DeployOutcome::Refused,
            DeployOutcome::Failed,
            DeployOutcome::Unknown,
        ];
        DeployReport {
            instance: self.own_instance(&node),
            node,
            work: works[self.rng.usize(0..works.len())],
            by: "somebody".into(),
            healing: self.rng.bool(),
            rollout: self.rng.bool().then(|| "w1".into()),
            wanted: self.rng.bool().then(|| self.placed()),
            serves: self.rng.bool().then(|| self.placed()),
            outcome: outcomes[self.rng.usize(0..outcomes.len())],
            at_fault: self.rng.bool(),
            leaves: self.rng.bool().then(|| self.placed()),
            detail: "detail".into(),
            closed: (self.rng.u32(0..4) == 0).then(|| "a concert".into()),
            started_at: Timestamp(self.rng.u64(0..=self.now)),
            took_ms: self.rng.u64(..),
            steps: vec![],
        }
    }

    fn charges(&mut self) -> Charges {
        let mut rows = std::collections::BTreeMap::new();
        for _ in 0..self.rng.u32(0..6) {
            let label = (self.rng.bool() && !self.labels.is_empty())
                .then(|| self.labels[self.rng.usize(0..self.labels.len())].clone());
            let (rent, traffic) = (Money(self.rng.i64(..)), Money(self.rng.i64(-5..1_000_000)));
            rows.insert(self.instance(), Charge { label, rent, traffic });
        }
        Charges { from: Timestamp(self.rng.u64(0..=self.now)), rows }
    }
}

/// A box that runs.
fn running(id: InstanceId) -> Rental {
    Rental {
        id,
        label: None,
        machine: MachineId(id.0),
        host: HostId(id.0),
        status: Status::Running,
        message: None,
        price: Money(300_000),
        gpu: "RTX 4090".into(),
        public_ip: Some([9, 9, 9, 9].into()),
        ports: [(22, 1), (5555, 2)].into(),
        ssh_proxy: None,
        ends_at: None,
        stopped: false,
        bidding: None,
    }
}
