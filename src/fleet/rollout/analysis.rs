//! A held node compared with those that still have the release before: better, worse, or unknown.
//!
//! No data is no verdict: it neither lets a release pass nor takes it back (the lesson of Argo Rollouts' inconclusive runs and of
//! flagger's rollbacks for want of traffic). *Better* means: no worse in anything that could be compared.

use serde::{Deserialize, Serialize};

/// Answers asked of a node before anything is said of its errors or its speed.
pub const ENOUGH: u32 = 20;
/// Failures in a row at the end that are a verdict by themselves: the default threshold of health.
const FAILING_IN_A_ROW: u32 = 3;
/// How many hundredths more answers may fail than of the others.
const MORE_ERRORS_PERCENT: u32 = 5;
/// A 95th percentile beyond this many hundredths of the others' is slower …
const SLOWER_PERCENT: u64 = 150;
/// … unless it is within so many milliseconds of it, which nobody notices.
const SLOWER_MS: u64 = 50;

/// What a comparison says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// No worse in anything.
    Better {
        /// What was compared.
        why: String,
    },
    /// Worse in something.
    Worse {
        /// In what.
        why: String,
    },
    /// Nothing can be said.
    Unknown {
        /// What is missing.
        why: String,
    },
}

/// What a node, or several, answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series {
    asked: u32,
    failed: u32,
    failing_in_a_row: u32,
    /// Of good answers, in milliseconds.
    latencies: Vec<u64>,
}

impl Series {
    /// Adds an answer: how long a good one took, or none.
    pub fn add(&mut self, latency_ms: Option<u64>) {
        self.asked = self.asked.saturating_add(1);
        match latency_ms {
            Some(ms) => {
                self.failing_in_a_row = 0;
                self.latencies.push(ms);
            }
            None => {
                self.failed = self.failed.saturating_add(1);
                self.failing_in_a_row = self.failing_in_a_row.saturating_add(1);
            }
        }
    }

    /// How many were asked for.
    #[must_use]
    pub fn asked(&self) -> u32 {
        self.asked
    }

    fn error_percent(&self) -> u32 {
        self.failed.saturating_mul(100).checked_div(self.asked).unwrap_or(0)
    }

    /// The 95th percentile of good answers, of enough of them.
    fn slow(&self) -> Option<u64> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * 95).div_ceil(100).checked_sub(1)?;
        sorted.get(at).copied().filter(|_| sorted.len() >= ENOUGH as usize)
    }
}

/// Compares a held node with the others. `others` is `None` where every other node has the release already, or there is none:
/// then the node is measured against perfection, and its speed against nothing.
#[must_use]
pub fn compare(held: &Series, others: Option<&Series>) -> Verdict {
    if held.failing_in_a_row >= FAILING_IN_A_ROW {
        return Verdict::Worse { why: format!("its last {} answers failed", held.failing_in_a_row) };
    }
    if held.asked < ENOUGH {
        return Verdict::Unknown { why: format!("only {} of {ENOUGH} answers were asked for", held.asked) };
    }
    if others.is_some_and(|others| others.asked < ENOUGH) {
        return Verdict::Unknown { why: "the others were not asked often enough".into() };
    }
    let (errors, usual) = (held.error_percent(), others.map_or(0, Series::error_percent));
    if errors > usual.saturating_add(MORE_ERRORS_PERCENT) {
        return Verdict::Worse { why: format!("{errors} % of its answers failed, {usual} % of the others'") };
    }
    if usual > 50 {
        return Verdict::Unknown {
            why: format!("{usual} % of the others' answers failed: nothing to compare with"),
        };
    }
    let Some(others) = others else {
        return Verdict::Better {
            why: format!("{errors} % of its answers failed; no other node to compare it with"),
        };
    };
    match (held.slow(), others.slow()) {
        (Some(slow), Some(usual)) if slow > usual * SLOWER_PERCENT / 100 && slow > usual + SLOWER_MS => {
            Verdict::Worse {
                why: format!("its slow answers take {slow} ms, the others' {usual} ms (95th percentile)"),
            }
        }
        (Some(slow), Some(usual)) => Verdict::Better {
            why: format!(
                "{errors} % of its answers failed, slow ones take {slow} ms, the others' {usual} ms"
            ),
        },
        _ => Verdict::Unknown { why: "too few good answers to compare their speed".into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(good: u32, ms: u64, failed: u32) -> Series {
        let mut series = Series::default();
        (0..failed).for_each(|_| series.add(None));
        (0..good).for_each(|_| series.add(Some(ms)));
        series
    }

    fn word(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Better { .. } => "better",
            Verdict::Worse { .. } => "worse",
            Verdict::Unknown { .. } => "unknown",
        }
    }

    #[test]
    fn no_data_is_no_verdict() {
        let good = series(50, 10, 0);
        assert_eq!(word(&compare(&Series::default(), Some(&good))), "unknown");
        assert_eq!(word(&compare(&series(19, 10, 0), Some(&good))), "unknown");
        assert_eq!(word(&compare(&good, Some(&Series::default()))), "unknown");
        assert_eq!(
            word(&compare(&good, Some(&series(10, 10, 40)))),
            "unknown",
            "the others are ill themselves"
        );
    }

    #[test]
    fn errors_and_slowness_are_measured_against_the_others() {
        let usual = series(95, 100, 5);
        assert_eq!(word(&compare(&series(90, 100, 10), Some(&usual))), "better", "a few more are chance");
        assert_eq!(word(&compare(&series(85, 100, 15), Some(&usual))), "worse");
        assert_eq!(word(&compare(&series(100, 149, 0), Some(&usual))), "better");
        assert_eq!(word(&compare(&series(100, 151, 0), Some(&usual))), "worse");
        let quick = series(100, 2, 0);
        assert_eq!(word(&compare(&series(100, 40, 0), Some(&quick))), "better", "nobody notices 38 ms");
    }

    #[test]
    fn a_node_that_fails_now_is_worse_however_well_it_did_before() {
        let mut held = series(500, 10, 0);
        (0..2).for_each(|_| held.add(None));
        assert_eq!(word(&compare(&held, Some(&series(500, 10, 0)))), "better");
        held.add(None);
        assert_eq!(word(&compare(&held, Some(&series(500, 10, 0)))), "worse");
        assert_eq!(word(&compare(&held, None)), "worse");
    }

    #[test]
    fn alone_it_is_measured_against_perfection() {
        assert_eq!(word(&compare(&series(100, 10, 0), None)), "better");
        assert_eq!(word(&compare(&series(90, 10, 10), None)), "worse");
    }
}
