//! Figures with a bound: how soon a failure is answered, how soon a stray is condemned, how much is paid in vain.

use serde_json::{Value, json};

use super::campaign::Campaign;
use crate::cli::print::{Printed, data};

/// At most so many hours are paid for each hour wanted, under the storm.
const PAID_IN_A_STORM: f64 = 1.03;
/// Nine of ten strays are condemned within so many seconds of their birth, where the provider's API is within reach.
const STRAYS_S: f64 = 90.0;

/// What a campaign came to.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Hours paid for, divided by hours wanted, over all runs.
    pub paid_per_wanted: f64,
    /// Seconds from a box's true failure to the first remedy or replacement, sorted.
    pub reactions_s: Vec<f64>,
    /// The same where nothing kept the keeper from seeing or acting, sorted.
    pub undisturbed_s: Vec<f64>,
    /// How many of these came in time.
    pub in_time: usize,
    /// Seconds from the birth of a rental that nobody accounts for to its sentence, sorted.
    pub strays_s: Vec<f64>,
}

impl Bounds {
    pub fn of(campaign: &Campaign) -> Self {
        let figures = || campaign.outcomes.values().map(|outcome| &outcome.figures);
        let wanted: f64 = figures().map(|figures| figures.node_hours).sum();
        let paid: f64 = figures().map(|figures| figures.paid_per_wanted * figures.node_hours).sum();
        let reactions = || figures().flat_map(|figures| &figures.reactions);
        let undisturbed = || reactions().filter(|reaction| reaction.undisturbed);
        Self {
            paid_per_wanted: paid / wanted.max(1.0),
            reactions_s: sorted(reactions().map(|reaction| reaction.took_ms)),
            undisturbed_s: sorted(undisturbed().map(|reaction| reaction.took_ms)),
            in_time: undisturbed().filter(|reaction| reaction.in_time()).count(),
            strays_s: sorted(figures().flat_map(|figures| figures.strays_ms.iter().copied())),
        }
    }

    fn share_in_time(&self) -> f64 {
        if self.undisturbed_s.is_empty() {
            1.0
        } else {
            self.in_time as f64 / self.undisturbed_s.len() as f64
        }
    }

    /// Whether each held, under the storm. How soon failures are answered is not among them: the gate's tight rails defer on
    /// purpose.
    pub fn checks(&self) -> [(&'static str, bool); 2] {
        [
            ("9 of 10 strays condemned in time", quantile(&self.strays_s, 0.9) <= STRAYS_S),
            ("little paid in vain", self.paid_per_wanted <= PAID_IN_A_STORM),
        ]
    }

    pub fn json(&self) -> Value {
        json!({
            "paid_per_wanted": self.paid_per_wanted,
            "reaction_s": quantiles(&self.reactions_s),
            "reaction_undisturbed_s": quantiles(&self.undisturbed_s),
            "reaction_in_time_percent": self.share_in_time() * 100.0,
            "strays_doomed_s": quantiles(&self.strays_s),
        })
    }

    pub fn print(&self) -> Printed {
        if !self.reactions_s.is_empty() {
            data(&format!(
                "a box fails to its healing begins: p50 {:.0} s, p99 {:.0} s; undisturbed: p50 {:.0} s, p99 {:.0} s, {:.2} % within \
                 threshold × interval + timeout + 1 s",
                quantile(&self.reactions_s, 0.5),
                quantile(&self.reactions_s, 0.99),
                quantile(&self.undisturbed_s, 0.5),
                quantile(&self.undisturbed_s, 0.99),
                self.share_in_time() * 100.0,
            ))?;
        }
        if !self.strays_s.is_empty() {
            data(&format!(
                "{} stray rentals, their birth to their sentence: p50 {:.0} s, p90 {:.0} s",
                self.strays_s.len(),
                quantile(&self.strays_s, 0.5),
                quantile(&self.strays_s, 0.9),
            ))?;
        }
        data(&format!("{:.4} hours paid per hour wanted, over all", self.paid_per_wanted))
    }
}

fn sorted(millis: impl Iterator<Item = u64>) -> Vec<f64> {
    let mut seconds: Vec<f64> = millis.map(|millis| millis as f64 / 1000.0).collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

fn quantiles(sorted: &[f64]) -> Value {
    json!({
        "count": sorted.len(), "p50": quantile(sorted, 0.5), "p90": quantile(sorted, 0.9), "p99": quantile(sorted, 0.99),
    })
}

/// The nearest rank in sorted values; nothing where there are none.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).or(sorted.last()).copied().unwrap_or_default()
}
