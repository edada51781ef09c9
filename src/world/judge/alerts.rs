//! What people must be told: each turn of an incident, each hold and each move of the breaker, once.

use super::Invariant;
use crate::{
    fleet::{
        breaker::Position,
        event::Step,
        journal::{HeldReason, Record},
        notice::{Notice, Topic},
    },
    world::World,
};

impl World {
    pub(super) fn judge_alerts(&mut self, step: &Step) {
        self.books.alerts += step.notices.len() as u64;
        for record in step.records() {
            let told = |topic: Topic, fits: &dyn Fn(&Notice) -> bool| {
                step.notices.iter().filter(|notice| notice.topic == topic && fits(notice)).count()
            };
            let (what, times) = match record {
                Record::IncidentOpened { incident, .. } => {
                    self.books.incidents += 1;
                    if !self.judge.incidents.insert(incident.0) {
                        return self
                            .broken(Invariant::AlertsComplete, format!("incident {incident} opens twice"));
                    }
                    ("the opening", told(Topic::IncidentOpened, &|notice| notice.incident == Some(*incident)))
                }
                Record::IncidentClosed { incident, .. } => {
                    if !self.judge.closed.insert(incident.0) {
                        return self
                            .broken(Invariant::AlertsComplete, format!("incident {incident} closes twice"));
                    }
                    ("the closing", told(Topic::IncidentClosed, &|notice| notice.incident == Some(*incident)))
                }
                // Whoever destroyed it knows.
                Record::Held { reason: HeldReason::Destroyed { .. }, .. } => continue,
                Record::Held { node, .. } => {
                    ("the hold", told(Topic::Held, &|notice| notice.node.as_ref() == Some(node)))
                }
                Record::BreakerMoved { to } => {
                    self.tally.add(match to {
                        Position::Normal => "breaker back to normal",
                        Position::Slow => "breaker slow",
                        Position::Hold => "breaker hold",
                    });
                    // Two moves of one step are two notices.
                    let moves =
                        step.records().filter(|other| matches!(other, Record::BreakerMoved { .. })).count();
                    ("the breaker's move", usize::from(told(Topic::Breaker, &|_| true) == moves))
                }
                _ => continue,
            };
            if times != 1 {
                let detail = format!("{what} of {:?} is told {times} times", record.node());
                return self.broken(Invariant::AlertsComplete, detail);
            }
        }
    }
}
