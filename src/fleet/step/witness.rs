//! What the witnesses say of a node that fails its probes, and when that is enough.
//!
//! Evidence is the threshold reached and a second witness: the box itself over SSH, or the provider's lists. A fresh "up" from
//! the box vetoes. Where no witness can answer, the threshold doubles, and counts from when the box last said that it is up.

use std::time::Duration;

use super::{
    super::{
        command::Command,
        event::IllegalEvent,
        guard::Rail,
        journal::Record,
        lists::ABSENT_ALONE,
        name::{InstanceId, NodeName},
        planted::{Bug, planted},
        policy::NodeSpec,
        tell,
        units::Timestamp,
        watch::{Testimony, Watch, Witness, Word},
    },
    Turn,
};

/// How soon a box is asked over SSH again: a fresh connection each time, so not too often.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(15);

/// What the evidence says.
pub(super) enum Evidence {
    /// Not enough yet, with what is awaited.
    Awaited(String),
    /// A witness says the server is up.
    Vetoed(String),
    /// Enough, with the evidence in words and who confirms it.
    Enough { text: String, source: Source },
}

/// Who confirms that a server is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The box itself, so that it can be reached over SSH.
    Box,
    /// The provider's lists.
    Provider,
    /// Nobody but our own probes.
    ProbesAlone,
}

impl Turn<'_> {
    pub(super) fn evidence(&mut self, name: &NodeName, spec: &NodeSpec) -> Evidence {
        let (now, fresh) = (self.now(), self.context.policy.rails.witness_fresh);
        let lists_from = self.memory.desks.get(name).map(|desk| desk.lists_from);
        let unlisted = lists_from > self.memory.lists.last_started_at.or(Some(Timestamp(0)));
        let watch = self.memory.watch(name);
        let threshold = spec.health.failure_threshold.max(1);
        let ssh = watch.testimony(Witness::Ssh, now, fresh);
        if let Some(Word::Up(detail)) = ssh.filter(|_| !planted(Bug::MisreadWitness)) {
            let probes = probes(watch);
            return Evidence::Vetoed(format!("{probes}; but the box itself says its server is up: {detail}"));
        }
        if let Some(Word::Down(detail) | Word::Up(detail)) = ssh {
            let text = format!("{}; the box itself: {detail}", probes(watch));
            return Evidence::Enough { text, source: Source::Box };
        }
        if unlisted {
            return Evidence::Awaited(
                "the provider was asked to start it: a list of after that tells".into(),
            );
        }
        // A list that lacks the box may be another account's: the box is heard first, if it can be.
        let heard = watch.missing_lists == 0
            || matches!(ssh, Some(Word::Silent(_)))
            || watch.was_asked_in_vain(now, ASK_EVERY);
        if let Some(Word::Down(detail)) = watch.testimony(Witness::Provider, now, fresh).filter(|_| heard) {
            let text = format!("{}; the provider: {detail}", probes(watch));
            let lacking = watch.stopped_since.filter(|_| watch.missing_lists > 0);
            let lacking_for = lacking.map_or(Duration::MAX, |since| now.since(since));
            if lacking.is_some_and(|since| self.guard().peer_that_answered(name, since).is_none())
                && lacking_for < ABSENT_ALONE
                && !planted(Bug::AbsenceIsEnough)
            {
                let wait = (ABSENT_ALONE - lacking_for).as_secs() / 60 + 1;
                return Evidence::Awaited(format!(
                    "{text}; but no other node answers, so lists and probes may both be wrong: waiting {wait} min"
                ));
            }
            return Evidence::Enough { text, source: Source::Provider };
        }
        let (since, failures) = watch.undisproved().unwrap_or((now, 0));
        let failing_for = now.since(since);
        // Fast re-probes reach the count in seconds; without a witness the time must have passed as well.
        let patience = spec.health.interval.saturating_mul(threshold);
        let silence = match ssh {
            Some(Word::Silent(detail)) => detail.as_str(),
            // Asked long enough ago, and no word came: it may never come.
            Some(Word::Up(_) | Word::Down(_)) | None if watch.was_asked_in_vain(now, ASK_EVERY) => {
                "no answer"
            }
            // A word of an earlier run of failures, or one that is no longer fresh, is no silence: the box is asked anew.
            Some(Word::Up(_) | Word::Down(_)) | None => {
                return Evidence::Awaited("asking the box itself over ssh".into());
            }
        };
        let doubled = threshold.saturating_mul(2);
        if (failures >= doubled && failing_for >= patience) || planted(Bug::NoDoubling) {
            let probes = probes(watch);
            let text = format!("{probes}; no witness can answer ({silence}), so the threshold was doubled");
            watch.alone_since.get_or_insert(now);
            return Evidence::Enough { text, source: Source::ProbesAlone };
        }
        Evidence::Awaited(format!(
            "no witness can answer ({silence}): waiting for {doubled} failures over {} s instead of {threshold}",
            patience.as_secs()
        ))
    }

    pub(super) fn ask_witness(&mut self, name: &NodeName) {
        let now = self.now();
        let watch = self.memory.watch(name);
        if watch.ssh_asked_at.is_none_or(|asked| now.since(asked) >= ASK_EVERY) {
            watch.ssh_asked_at = Some(now);
            if let Some(tenant) = self.node(name).and_then(|node| node.state.tenant()).cloned() {
                self.order(Command::AskWitness { node: name.clone(), tenant });
            }
        }
    }

    pub(super) fn veto(&mut self, name: &NodeName, why: String) -> Result<(), IllegalEvent> {
        if !std::mem::replace(&mut self.memory.desk(name).episode.veto_told, true) {
            let incident = self.incident(name);
            self.record(Record::Noted { node: name.clone(), incident, text: format!("veto: {why}") })?;
            let notice = tell::vetoed(self.now(), name, incident, &why);
            self.tell(notice);
        }
        self.block_for(name, Rail::Witness, why, None);
        Ok(())
    }

    pub(super) fn witnessed(
        &mut self,
        name: &NodeName,
        instance: InstanceId,
        asked_at: Timestamp,
        word: Word,
    ) -> Result<(), IllegalEvent> {
        let Some(node) = self.node(name) else { return Ok(()) };
        if node.state.probed().map(|tenant| tenant.instance) != Some(instance) {
            return Ok(());
        }
        let incident = node.incident.as_ref().map(|incident| incident.id);
        let silent = matches!(word, Word::Silent(_));
        let watch = self.memory.watch(name);
        if matches!(word, Word::Up(_)) && watch.failures > 0 {
            watch.said_up = Some((asked_at, watch.failures));
        }
        let changed = watch.ssh.as_ref().map(|testimony| &testimony.word) != Some(&word);
        watch.ssh = Some(Testimony { at: asked_at, word: word.clone() });
        if changed && incident.is_some() {
            let text = match word {
                Word::Up(detail) => format!("the box over ssh: up, {detail}"),
                Word::Down(detail) => format!("the box over ssh: down, {detail}"),
                Word::Silent(detail) => format!("the box over ssh: no answer, {detail}"),
            };
            self.record(Record::Noted { node: name.clone(), incident, text })?;
        }
        if silent {
            self.attach_key_again(name, instance);
        }
        self.pursue(name)
    }
}

/// What our own probes saw, in words.
fn probes(watch: &Watch) -> String {
    format!("{} probes in a row failed, the first: {}", watch.failures, watch.failure_text())
}
