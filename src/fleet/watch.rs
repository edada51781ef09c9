//! What is known of one node's health since the keeper's last start or stall. Volatile on purpose: evidence for a destroy
//! must come from probes taken after it, so a restart forgets the streak and takes it anew.

use std::time::Duration;

use super::{
    policy::HealthPolicy,
    probe::{Failure, Observation, Verdict},
    units::{Money, Timestamp},
};

/// Probe intervals without an observation after which nothing is known of a node any more: one may be lost or late, three
/// mean that nobody probes.
const UNOBSERVED_INTERVALS: u32 = 3;
/// But never less than this: short intervals are for trials, and a busy machine is late by seconds.
const UNOBSERVED_LEAST: Duration = Duration::from_secs(5);

/// How long an observation tells how a node is: three intervals and one timeout from the start of its probe.
#[must_use]
pub fn observed_for(health: &HealthPolicy) -> Duration {
    health.interval.saturating_mul(UNOBSERVED_INTERVALS).saturating_add(health.timeout).max(UNOBSERVED_LEAST)
}

/// Who gave a testimony.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Witness {
    /// The provider's list.
    Provider,
    /// The box itself, over SSH.
    Ssh,
}

/// What a witness says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", tag = "says", content = "detail")]
pub enum Word {
    /// The server is up: a veto.
    Up(String),
    /// The server is down: enough, with the threshold, to act.
    Down(String),
    /// The witness could not tell.
    Silent(String),
}

/// A witness's word and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Testimony {
    /// When.
    pub at: Timestamp,
    /// What.
    pub word: Word,
}

/// The volatile memory of one node.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Consecutive failures.
    pub failures: u32,
    /// Consecutive successes.
    pub successes: u32,
    /// Start of the first probe of the present run of failures.
    pub first_failure: Option<(Timestamp, Failure)>,
    /// The last observation.
    pub last: Option<Observation>,
    /// Probes begun before this say nothing any more: a stall, a deploy or a remedy lies between.
    pub from: Timestamp,
    /// When the server last answered as itself: healthy or in maintenance.
    pub last_answer_at: Option<Timestamp>,
    /// The maintenance that the server says it is in.
    pub maintenance: Option<Maintenance>,
    /// Probes counted.
    pub checks: u64,
    /// Failed probes counted.
    pub failed_checks: u64,
    /// The last 64 probes, the newest in the lowest bit, 1 for a failure.
    pub history: u64,
    /// Lists in a row by which the tenant should be replaced although it serves.
    pub leaving_lists: u32,
    /// A price that the lists show instead of the one on record, and how many in a row.
    pub price_lists: Option<(Money, u32)>,
    /// The provider's last word.
    pub provider: Option<Testimony>,
    /// The box's own last word over SSH.
    pub ssh: Option<Testimony>,
    /// When the box was last asked, in the present run of failures, and said that its server is up; and how many probes had
    /// failed by then. Those were our way to it, and prove nothing against it once it is silent.
    pub said_up: Option<(Timestamp, u32)>,
    /// Since when the probes of the present run of failures alone are enough, no witness having answered.
    pub alone_since: Option<Timestamp>,
    /// Since when each answer was a good one.
    pub well_since: Option<Timestamp>,
    /// When the box was last asked over SSH.
    pub ssh_asked_at: Option<Timestamp>,
    /// Complete lists in a row that lacked the node's instance.
    pub missing_lists: u32,
    /// Lists in a row that called the instance exited or offline.
    pub down_lists: u32,
    /// When the lists in a row began that call the instance exited or lack it.
    pub stopped_since: Option<Timestamp>,
}

/// Maintenance of a server, from its first word of it to its next healthy one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// Its first word of it.
    pub since: Timestamp,
    /// Whether the alarm was given.
    pub told: bool,
    /// When the box was last asked whose it is.
    pub asked_at: Option<Timestamp>,
    /// Why the keeper does not end it, once the box has told.
    pub stays: Option<String>,
}

impl Maintenance {
    fn new(since: Timestamp) -> Self {
        Self { since, told: false, asked_at: None, stays: None }
    }
}

impl Watch {
    /// Takes an observation in.
    pub fn observe(&mut self, observation: Observation) {
        let at = observation.at;
        self.checks += 1;
        self.history <<= 1;
        match &observation.verdict {
            Verdict::Healthy => {
                self.successes = self.successes.saturating_add(1);
                self.answered(at);
                self.maintenance = None;
            }
            Verdict::Maintenance => {
                // Neither a failure nor a success; but the server answered as itself, so the run of failures is over.
                self.answered(at);
                self.maintenance.get_or_insert_with(|| Maintenance::new(at));
            }
            Verdict::Failing(failure) => {
                self.failed_checks += 1;
                self.well_since = None;
                self.history |= 1;
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                self.first_failure.get_or_insert_with(|| (at, failure.clone()));
            }
        }
        self.last = Some(observation);
    }

    fn answered(&mut self, at: Timestamp) {
        self.failures = 0;
        self.first_failure = None;
        // Each run of failures asks for itself.
        self.ssh_asked_at = None;
        self.alone_since = None;
        self.said_up = None;
        self.well_since.get_or_insert(at);
        self.last_answer_at = Some(at);
    }

    /// Forgets the counts, after a stall, a deploy or a remedy and for a new tenant; totals stay. Probes that are under
    /// way now will not count.
    pub fn start_over(&mut self, now: Timestamp) {
        let kept = (self.checks, self.failed_checks, self.history);
        *self = Self { checks: kept.0, failed_checks: kept.1, history: kept.2, from: now, ..Self::default() };
    }

    /// The last observation, unless it is too old to tell how the node is now.
    #[must_use]
    pub fn current(&self, health: &HealthPolicy, now: Timestamp) -> Option<&Observation> {
        self.last.as_ref().filter(|last| now.since(last.at) <= observed_for(health))
    }

    /// The failures that no witness has disproved: since when, and how many.
    #[must_use]
    pub fn undisproved(&self) -> Option<(Timestamp, u32)> {
        let first = self.first_failure.as_ref()?.0;
        let (since, before) = self.said_up.unwrap_or((first, 0));
        Some((since.max(first), self.failures.saturating_sub(before)))
    }

    /// A witness's word, where it is fresh and belongs to the present run of failures.
    #[must_use]
    pub fn testimony(&self, witness: Witness, now: Timestamp, fresh: Duration) -> Option<&Word> {
        let testimony = match witness {
            Witness::Provider => self.provider.as_ref(),
            Witness::Ssh => self.ssh.as_ref(),
        }?;
        let run_began = self.first_failure.as_ref().map_or(Timestamp(0), |(at, _)| *at);
        // The provider may have noticed the end before our probes did; its lists are fresh by themselves.
        let in_time = witness == Witness::Provider || testimony.at >= run_began;
        (in_time && now.since(testimony.at) <= fresh).then_some(&testimony.word)
    }

    /// Whether a witness confirms, freshly, that the server is down.
    #[must_use]
    pub fn is_confirmed(&self, now: Timestamp, fresh: Duration) -> bool {
        [Witness::Provider, Witness::Ssh]
            .into_iter()
            .any(|witness| matches!(self.testimony(witness, now, fresh), Some(Word::Down(_))))
    }

    /// Whether the box was asked at least `patience` ago in the present run of failures and has said nothing since.
    #[must_use]
    pub fn was_asked_in_vain(&self, now: Timestamp, patience: Duration) -> bool {
        self.ssh_asked_at.is_some_and(|asked| {
            let unanswered = self.ssh.as_ref().is_none_or(|testimony| testimony.at < asked);
            unanswered && now.since(asked) >= patience
        })
    }

    /// Why the present run of failures began, in words.
    #[must_use]
    pub fn failure_text(&self) -> String {
        self.first_failure
            .as_ref()
            .map_or_else(|| "no failure on record".into(), |(_, failure)| failure.to_string())
    }
}
