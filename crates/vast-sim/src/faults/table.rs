//! The rules in force, and the draw that decides whether one hits.

use serde::Serialize;

use super::{Fault, FaultId, FaultKind};

/// Who is asking whether a fault hits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Target<'a> {
    pub(crate) instance: Option<u64>,
    pub(crate) label: Option<&'a str>,
    pub(crate) machine: Option<u64>,
    pub(crate) endpoint: Option<&'a str>,
    pub(crate) port: Option<u16>,
}

/// A rule as it stands in the table.
#[derive(Debug, Clone, Serialize)]
pub struct ActiveFault {
    /// Its name.
    pub id: FaultId,
    /// The rule.
    #[serde(flatten)]
    pub fault: Fault,
    /// How often it has fired.
    pub fired: u32,
}

impl ActiveFault {
    fn spent(&self) -> bool {
        self.fault.times.is_some_and(|times| self.fired >= times)
    }

    fn matches(&self, target: &Target<'_>) -> bool {
        let fault = &self.fault;
        let label_matches = match (&fault.label_prefix, target.label) {
            (None, _) => true,
            (Some(prefix), Some(label)) => label.starts_with(prefix.as_str()),
            (Some(_), None) => false,
        };
        label_matches
            && (fault.instance.is_none() || fault.instance == target.instance)
            && (fault.machine.is_none() || fault.machine == target.machine)
            && (fault.endpoint.is_none() || fault.endpoint.as_deref() == target.endpoint)
            && (fault.port.is_none() || fault.port == target.port)
    }
}

/// All rules, spent ones included, in order of injection. The first that matches and wins its draw fires.
#[derive(Debug, Default)]
pub(crate) struct FaultTable {
    rules: Vec<ActiveFault>,
    last_id: u64,
}

impl FaultTable {
    pub(crate) fn inject(&mut self, fault: Fault) -> FaultId {
        self.last_id += 1;
        let id = FaultId(self.last_id);
        self.rules.push(ActiveFault { id, fault, fired: 0 });
        id
    }

    /// Removes one rule; whether it was there.
    pub(crate) fn remove(&mut self, id: FaultId) -> bool {
        let before = self.rules.len();
        self.rules.retain(|rule| rule.id != id);
        self.rules.len() != before
    }

    /// Takes one firing back: it found nothing to break.
    pub(crate) fn refund(&mut self, id: FaultId) {
        if let Some(rule) = self.rules.iter_mut().find(|rule| rule.id == id) {
            rule.fired = rule.fired.saturating_sub(1);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn rules(&self) -> &[ActiveFault] {
        &self.rules
    }

    /// Draws: the first live rule whose kind `pick` takes, whose filters match and whose chance comes up.
    pub(crate) fn draw<T>(
        &mut self,
        rng: &mut fastrand::Rng,
        target: &Target<'_>,
        pick: impl Fn(&FaultKind) -> Option<T>,
    ) -> Option<(FaultId, T)> {
        for rule in &mut self.rules {
            if rule.spent() || !rule.matches(target) {
                continue;
            }
            let Some(taken) = pick(&rule.fault.kind) else { continue };
            if rule.fault.probability < 1.0 && rng.f64() >= rule.fault.probability {
                continue;
            }
            rule.fired += 1;
            return Some((rule.id, taken));
        }
        None
    }

    /// Draws every live rule that `wanted` takes: all that fire.
    pub(crate) fn draw_all(
        &mut self,
        rng: &mut fastrand::Rng,
        target: &Target<'_>,
        wanted: impl Fn(FaultId, &FaultKind) -> bool,
    ) -> Vec<(FaultId, FaultKind)> {
        let mut fired = Vec::new();
        for rule in self.rules.iter_mut().filter(|rule| wanted(rule.id, &rule.fault.kind)) {
            let hits = !rule.spent() && rule.matches(target);
            if hits && (rule.fault.probability >= 1.0 || rng.f64() < rule.fault.probability) {
                rule.fired += 1;
                fired.push((rule.id, rule.fault.kind.clone()));
            }
        }
        fired
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, FaultKind, FaultTable, Target};

    #[test]
    fn a_rule_fires_as_often_as_it_says_and_only_for_its_target() {
        let mut table = FaultTable::default();
        let mut rng = fastrand::Rng::with_seed(1);
        let id = table.inject(Fault::once(FaultKind::StuckLoading).times(2).on_label("vk:"));
        let pick = |kind: &FaultKind| matches!(kind, FaultKind::StuckLoading).then_some(());
        let stranger = Target { label: Some("other"), ..Target::default() };
        let unlabelled = Target::default();
        let ours = Target { label: Some("vk:a"), ..Target::default() };
        assert_eq!(table.draw(&mut rng, &stranger, pick), None);
        assert_eq!(table.draw(&mut rng, &unlabelled, pick), None);
        assert_eq!(table.draw(&mut rng, &ours, pick), Some((id, ())));
        assert_eq!(table.draw(&mut rng, &ours, pick), Some((id, ())));
        assert_eq!(table.draw(&mut rng, &ours, pick), None);
        assert_eq!(table.rules()[0].fired, 2);
    }

    #[test]
    fn a_probability_fires_about_that_often_and_the_same_way_for_the_same_seed() {
        let firings = |seed| {
            let mut table = FaultTable::default();
            let mut rng = fastrand::Rng::with_seed(seed);
            table.inject(Fault::lasting(FaultKind::StuckLoading).with_probability(0.25));
            (0..1000)
                .map(|_| table.draw(&mut rng, &Target::default(), |_| Some(())).is_some())
                .collect::<Vec<bool>>()
        };
        let hits = firings(7).into_iter().filter(|hit| *hit).count();
        assert!((200..300).contains(&hits), "{hits} of 1000");
        assert_eq!(firings(7), firings(7));
    }
}
