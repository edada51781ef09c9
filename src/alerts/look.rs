//! What all sinks share of a message's look: colours, marks, times, and texts that fit.

use crate::fleet::{
    notice::{Notice, Severity, Topic},
    units::Timestamp,
};

/// What stands for an empty text, since Slack and Discord refuse empty ones.
const NOTHING: &str = "–";
const CUT: char = '…';

/// How good or bad a notice is at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Good,
    Neutral,
    Odd,
    Bad,
}

impl Tone {
    pub fn of(notice: &Notice) -> Self {
        match (notice.severity, notice.topic) {
            (Severity::Critical, _) => Self::Bad,
            (Severity::Warning, _) => Self::Odd,
            (Severity::Info, Topic::IncidentClosed) => Self::Good,
            (Severity::Info, _) => Self::Neutral,
        }
    }

    /// A coloured mark; Slack has no other colour for blocks.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Good => "🟢",
            Self::Neutral => "🔵",
            Self::Odd => "🟡",
            Self::Bad => "🔴",
        }
    }

    /// Red, green and blue as one number, as Discord wants it.
    pub fn colour(self) -> u32 {
        match self {
            Self::Good => 0x2e_b8_86,
            Self::Neutral => 0x36_79_c7,
            Self::Odd => 0xda_a0_38,
            Self::Bad => 0xd0_2b_2b,
        }
    }
}

/// The most serious severity among notices.
pub(super) fn worst(notices: &[(&str, &Notice)]) -> Severity {
    notices.iter().map(|(_, notice)| notice.severity).max().unwrap_or(Severity::Info)
}

/// The tone of a fold: that of its worst notice.
pub(super) fn tone_of_all(notices: &[(&str, &Notice)]) -> Tone {
    notices.iter().map(|(_, notice)| Tone::of(notice)).max().unwrap_or(Tone::Neutral)
}

/// The heading of a fold.
pub(super) fn fold_title(notices: &[(&str, &Notice)]) -> String {
    format!("{} notices waited and come together", notices.len())
}

/// Ids and time in one line, for looking things up later.
pub(super) fn trail(notice: &Notice, id: &str) -> String {
    let mut parts = Vec::new();
    if let Some(node) = &notice.node {
        parts.push(format!("node {node}"));
    }
    if let Some(incident) = notice.incident {
        parts.push(format!("incident {incident}"));
    }
    parts.push(iso(notice.at));
    parts.push(id.to_owned());
    parts.join(" · ")
}

/// ISO 8601 in UTC.
pub(super) fn iso(at: Timestamp) -> String {
    let parsed = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    // Times beyond the year 9999 are nobody's, but must not break a message.
    parsed.unwrap_or_default().to_string()
}

/// The time of day in UTC.
pub(super) fn time_of_day(at: Timestamp) -> String {
    iso(at).get(11..19).unwrap_or_default().to_owned()
}

/// How long a text counts: in UTF-16 units, the strictest of the counts that sinks use.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// `text` made to fit, each character as `escape` writes it, and never empty.
pub(super) fn fit(text: &str, most: usize, escape: impl Fn(char) -> Option<&'static str>) -> String {
    let text = text.trim();
    if text.is_empty() {
        return NOTHING.into();
    }
    let mut shown = String::new();
    let mut used = 0;
    // Where to cut back to, so that the mark for the cut fits too.
    let mut safe = 0;
    for c in text.chars() {
        let cost = escape(c).map_or_else(|| c.len_utf16(), width);
        if used + cost > most {
            shown.truncate(safe);
            shown.push(CUT);
            return shown;
        }
        match escape(c) {
            Some(written) => shown.push_str(written),
            None => shown.push(c),
        }
        used += cost;
        if used < most {
            safe = shown.len();
        }
    }
    shown
}

/// What is left of a limit that several texts share.
#[derive(Debug)]
pub(super) struct Budget(pub usize);

impl Budget {
    /// Whether less is left than a useful text needs.
    pub fn is_short(&self) -> bool {
        self.0 < 48
    }

    /// [`fit`] within the limit and what is left.
    pub fn take(&mut self, text: &str, most: usize, escape: impl Fn(char) -> Option<&'static str>) -> String {
        let shown = fit(text, most.min(self.0), escape);
        self.0 = self.0.saturating_sub(width(&shown));
        shown
    }
}

/// For texts that need no escapes.
pub(super) fn plain(_: char) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_readable() {
        assert_eq!(iso(Timestamp(1_700_000_000_000)), "2023-11-14T22:13:20Z");
        assert_eq!(time_of_day(Timestamp(1_700_000_000_123)), "22:13:20");
        assert_eq!(iso(Timestamp(u64::MAX)), "1970-01-01T00:00:00Z");
    }

    proptest! {
        #[test]
        fn every_text_fits_and_is_not_empty(text: String, most in 1_usize..60) {
            let escape = |c| match c { '&' => Some("&amp;"), '<' => Some("&lt;"), _ => None };
            let shown = fit(&text, most, escape);
            prop_assert!(!shown.is_empty() && width(&shown) <= most, "{:?}", shown);
            prop_assert!(!shown.contains('<'));
            if width(&text) * 5 < most && !text.trim().is_empty() {
                prop_assert!(!shown.contains(CUT) || text.contains(CUT));
            }
        }
    }
}
