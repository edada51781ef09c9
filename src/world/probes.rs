//! Probes: at the prober's own pace, of what truly answers at the address that the keeper believes in.

use std::time::Duration;

use super::{Fault, SECOND, World, boxes::Fate, keeper::Due};
use crate::fleet::{
    cadence::Cadence,
    event::{Event, Step},
    health::{Response, judge},
    name::{InstanceId, OpId},
    policy::HealthPolicy,
    probe::{Failure, Observation, Target, Verdict},
};

/// The probe of one node.
#[derive(Debug, Default)]
pub(super) struct Probing {
    target: Option<Target>,
    instance: Option<InstanceId>,
    cadence: Option<Cadence>,
    /// Counts targets: a probe of an earlier one is not continued.
    round: u32,
}

impl Probing {
    /// A new process probes anew.
    pub fn forget(&mut self) {
        *self = Self { round: self.round + 1, ..Self::default() };
    }
}

impl World {
    pub(super) fn retarget_touched(&mut self, step: &Step) {
        let (mut touched, mut before) = (Vec::new(), usize::MAX);
        for record in step.records() {
            for place in record.touched().filter_map(|node| self.places.get(node)).copied() {
                if place != before {
                    touched.push(place);
                    before = place;
                }
            }
        }
        for place in touched {
            self.retarget(place);
            self.note_availability(place);
        }
    }

    /// Points a node's probe at whom the state says to probe, if anybody.
    pub(super) fn retarget(&mut self, place: usize) {
        let Some(name) = self.names.get(place) else { return };
        let tenant = self.keeper.fleet.nodes.get(name).and_then(|node| node.state.probed());
        let Some(probing) = self.keeper.probing.get_mut(place) else { return };
        let (Some(tenant), Some(spec)) = (tenant, self.policy.nodes.get(name)) else {
            if probing.target.is_some() {
                probing.forget();
                self.judge.retargeted(place, None);
            }
            return;
        };
        let identity = &tenant.rental.op;
        if probing
            .target
            .as_ref()
            .is_some_and(|target| target.address == tenant.address && target.identity == *identity)
        {
            return;
        }
        let (address, identity) = (tenant.address, identity.clone());
        let cadence = probing.cadence.take().filter(|_| probing.instance == Some(tenant.instance));
        probing.cadence = Some(cadence.unwrap_or_else(|| Cadence::new(&spec.health)));
        probing.instance = Some(tenant.instance);
        probing.target = Some(Target { node: name.clone(), address, identity });
        probing.round += 1;
        let round = probing.round;
        let identity = tenant.rental.op.clone();
        self.judge.retargeted(place, Some(&identity));
        let wait = self.rng.u64(0..2 * SECOND);
        self.queue.push(self.now + wait, Due::Probe { node: place, round });
    }

    /// One probe, and the next one's time.
    pub(super) fn probe(&mut self, place: usize, round: u32) {
        let Some(probing) = self.keeper.probing.get(place).filter(|probing| probing.round == round) else {
            return;
        };
        let (Some(target), Some(instance)) = (probing.target.clone(), probing.instance) else { return };
        let Some(spec) = self.policy.nodes.get(&target.node).cloned() else { return };
        let (verdict, took) = self.answer(&target, instance, &spec.health);
        let at = self.clock();
        if let Some(cadence) = self.keeper.probing.get_mut(place).and_then(|probing| probing.cadence.as_mut())
        {
            cadence.note(&verdict);
            let gap = cadence.gap(took);
            let next = self.now + u64::try_from(gap.as_millis()).unwrap_or(u64::MAX / 2);
            self.queue.push(next, Due::Probe { node: place, round });
        }
        let observation =
            Observation { at, lateness: Duration::ZERO, took, identity: target.identity.clone(), verdict };
        let event = Event::Probed { node: target.node, observation };
        if took < Duration::from_millis(100) {
            self.probed(place, event);
        } else {
            self.tell(u64::try_from(took.as_millis()).unwrap_or_default(), event);
        }
    }

    pub(super) fn probed(&mut self, place: usize, event: Event) {
        if let Event::Probed { observation, .. } = &event {
            self.judge.saw(place, observation, self.now);
        }
        self.handle(event);
    }

    /// What answers, and after how long.
    fn answer(
        &mut self,
        target: &Target,
        instance: InstanceId,
        health: &HealthPolicy,
    ) -> (Verdict, Duration) {
        let timeout = || {
            let limit_ms = u64::try_from(health.timeout.as_millis()).unwrap_or(u64::MAX);
            (Verdict::Failing(Failure::Timeout { limit_ms }), health.timeout)
        };
        let refused = || (unreachable("connection refused"), Duration::from_millis(30));
        if self.is_offline() || self.hit_always(Fault::EgressBlocked) || self.is_cut_from_here(instance) {
            return timeout();
        }
        if self.lasts(Fault::ProbeLoss) && self.rng.u32(0..6) == 0 {
            self.tally.add(Fault::ProbeLoss.name());
            return timeout();
        }
        let mut took = Duration::from_millis(20);
        if self.hit(Fault::Slow) {
            if self.rng.bool() {
                return timeout();
            }
            took = health.timeout.mul_f64(0.9);
        }
        let now = self.now;
        let at_home =
            self.boxes.get(&instance).filter(|rented| rented.alive() && rented.address == target.address);
        let Some(rented) = at_home else {
            if self.strangers.answer_at(target.address) {
                self.tally.add("stranger answered");
                return (strange(health, &target.identity, took), took);
            }
            return timeout();
        };
        if now < rented.cut_until || !rented.running(now) {
            return timeout();
        }
        let bad = rented.runs.is_none_or(|release| release.bad);
        let serves = rented.serves.as_ref() == Some(&target.identity) && !rented.sickly && !bad;
        match rented.fate {
            Fate::Up if serves => (Verdict::Healthy, took),
            Fate::Maintained | Fate::Forgotten if serves => (Verdict::Maintenance, took),
            Fate::Failing => {
                (Verdict::Failing(Failure::Condition { detail: "[STATUS] is 500".into() }), took)
            }
            Fate::Hung | Fate::Offline => timeout(),
            Fate::Up | Fate::Maintained | Fate::Forgotten | Fate::Exited | Fate::Stopped => refused(),
        }
    }

    /// Whether a box is among those that cannot be reached from here for now.
    pub(super) fn is_cut_from_here(&mut self, instance: InstanceId) -> bool {
        let among = self.lasts(Fault::SubsetCut) && instance.0 % 5 < 2;
        if among {
            self.tally.add(Fault::SubsetCut.name());
        }
        among
    }
}

impl World {
    /// Whether a box could not be reached from here until so many milliseconds ago.
    pub(super) fn was_cut_from_here(&self, instance: InstanceId, ago: u64) -> bool {
        let until = self.spells.get(Fault::SubsetCut as usize).copied().unwrap_or_default();
        instance.0 % 5 < 2 && until + ago > self.now
    }
}

/// Somebody else's healthy server, judged by the rules that every answer is judged by.
fn strange(health: &HealthPolicy, identity: &OpId, took: Duration) -> Verdict {
    let body = br#"{"status":"ok","instance":"abcdefghijk"}"#;
    judge(health, identity, Response { status: 200, body, took })
}

fn unreachable(detail: &str) -> Verdict {
    Verdict::Failing(Failure::Unreachable { detail: detail.into() })
}
