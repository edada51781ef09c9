//! What the keeper asks about itself and its account: the credit, the canaries, how many of the fleet are well.

use std::time::Duration;

use super::{
    super::{
        breaker::{self, Position},
        command::Command,
        event::{Hint, IllegalEvent},
        guard::Rail,
        journal::Record,
        memory::Desk,
        name::NodeName,
        planted::{Bug, planted},
        provider::{Credit, ProviderFault},
        tell,
    },
    Turn,
};

/// How soon the credit or the canaries are asked again when a rail wants to know.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// How soon the credit is read again when boxes stop: the provider takes one such call a second.
const CREDIT_AGAIN: Duration = Duration::from_secs(2);

impl Turn<'_> {
    /// A refused key shows in any answer, but only the list decides whether the key is refused for good or merely lacks the
    /// right to one call.
    pub(super) fn provider_refused(&mut self, fault: &ProviderFault) {
        if matches!(fault, ProviderFault::Auth { .. }) {
            self.order(Command::List);
        }
    }

    /// A notification comes at least once, late, or never, and names no state of now: the lists are asked, and they decide.
    pub(super) fn hinted(&mut self, hint: &Hint) {
        self.order(Command::List);
        if hint.kind.contains("credit") || hint.kind.contains("billing") {
            self.read_credit_again();
        }
    }

    pub(super) fn credit_read(&mut self, answer: Result<Credit, ProviderFault>) -> Result<(), IllegalEvent> {
        match answer {
            Ok(credit) => {
                let floor = self.context.policy.rails.credit_floor;
                let was_short = self.memory.credit.is_some_and(|(_, before)| before.dollars < floor);
                if was_short && credit.dollars >= floor {
                    self.memory.paid_at = Some(self.now());
                }
                self.memory.credit = Some((self.now(), credit));
            }
            Err(fault) => self.provider_refused(&fault),
        }
        let waits = |desk: &Desk| desk.blocked.as_ref().is_some_and(|blocked| blocked.rail == Rail::Credit);
        let desks = self.memory.desks.iter().filter(|(_, desk)| waits(desk));
        let names: Vec<NodeName> = desks.map(|(name, _)| name.clone()).collect();
        names.iter().try_for_each(|name| self.pursue(name))
    }

    /// Reads the credit, whose last reading is older than what has just happened.
    pub(super) fn read_credit_again(&mut self) {
        let now = self.now();
        if self.memory.credit_asked_at.is_none_or(|asked| now.since(asked) >= CREDIT_AGAIN) {
            self.memory.credit_asked_at = Some(now);
            self.order(Command::ReadCredit);
        }
    }

    /// Where a rail is in the way for want of knowledge, asks for it.
    pub(super) fn ask_for(&mut self, rail: Rail) {
        let now = self.now();
        let (asked_at, command) = if rail == Rail::Credit {
            (&mut self.memory.credit_asked_at, Command::ReadCredit)
        } else if rail == Rail::SelfCheck && !self.context.policy.rails.canaries.is_empty() {
            (&mut self.memory.self_asked_at, Command::CheckSelf)
        } else {
            return;
        };
        if asked_at.is_none_or(|asked| now.since(asked) >= ASK_AGAIN) {
            *asked_at = Some(now);
            self.order(command);
        }
    }

    /// Counts the fleet and moves the breaker where it belongs.
    pub(super) fn refresh_breaker(&mut self) -> Result<(), IllegalEvent> {
        let now = self.now();
        if breaker::recent(self.fleet, self.memory, now).is_some() {
            return Ok(());
        }
        let census = breaker::census(self.fleet, self.memory, self.context.policy, now);
        self.memory.census = Some((now, census));
        let to = breaker::position(census, &self.context.policy.rails);
        if planted(Bug::HoldForEver) && self.fleet.breaker == Position::Hold {
            return Ok(());
        }
        if to != self.fleet.breaker {
            if self.fleet.breaker == Position::Hold && !planted(Bug::BlindEvidence) {
                self.forget_blind_evidence();
            }
            self.record(Record::BreakerMoved { to })?;
            let notice = tell::breaker(now, to, census);
            self.tell(notice);
        }
        Ok(())
    }

    /// What was measured while nothing at all was healthy says nothing of a single box: the first one that answers again would
    /// otherwise prove our network for failures of the time when it was gone. What a witness confirms stays.
    fn forget_blind_evidence(&mut self) {
        let (now, fresh) = (self.now(), self.context.policy.rails.witness_fresh);
        for watch in self.memory.watches.values_mut() {
            if watch.failures > 0 && !watch.is_confirmed(now, fresh) {
                watch.start_over(now);
            }
        }
        self.memory.census = None;
    }

    /// Whether the breaker needs a look although this probe was good.
    pub(super) fn breaker_is_out(&self) -> bool {
        self.fleet.breaker != Position::Normal
    }
}
