//! What a key's value may be: parsing, limits and the canonical text of a value.
//!
//! Every value arrives either typed (TOML) or as text (environment, `.env`, flags); both pass through [`Kind::parse`].
//! A duration always carries its unit in TOML, since a bare `60` beside keys in milliseconds is the classic mistake.

use std::{collections::BTreeMap, time::Duration};

use figment::value::Value;

use super::value::{
    count_of, duration_of, duration_text, flag_of, number_of, table_of, text_of, texts_of, within,
};
use crate::fleet::units::Money;

/// What a value of a key may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A time span with its unit, within limits given in milliseconds.
    Duration {
        /// Shortest, in milliseconds.
        min: u64,
        /// Longest, in milliseconds.
        max: u64,
    },
    /// A whole number within limits.
    Count {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// A number within limits.
    Number {
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// An amount of US dollars within limits.
    Dollars {
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// `true` or `false`.
    Flag,
    /// A text of at most so many characters.
    Text {
        /// Most characters.
        max: usize,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts; the character separates them where the list is given as one text.
    Texts {
        /// What separates them in the environment.
        separator: char,
    },
    /// A table of names and texts, such as an environment.
    Table,
}

/// A value after parsing.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// Of [`Kind::Duration`].
    Duration(Duration),
    /// Of [`Kind::Count`].
    Count(u64),
    /// Of [`Kind::Number`].
    Number(f64),
    /// Of [`Kind::Dollars`].
    Dollars(Money),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Text`] and [`Kind::Choice`].
    Text(String),
    /// Of [`Kind::Texts`].
    Texts(Vec<String>),
    /// Of [`Kind::Table`].
    Table(BTreeMap<String, String>),
}

impl Kind {
    /// The value within its limits, or what is wrong with it.
    ///
    /// # Errors
    /// One clause that shows the value and what would be right.
    pub fn parse(self, value: &Value) -> Result<Parsed, String> {
        match self {
            Self::Duration { min, max } => {
                let duration = duration_of(value)?;
                let (least, most) = (Duration::from_millis(min), Duration::from_millis(max));
                if duration < least || duration > most {
                    let (least, most) = (duration_text(least), duration_text(most));
                    return Err(format!("{} must lie between {least} and {most}", duration_text(duration)));
                }
                Ok(Parsed::Duration(duration))
            }
            Self::Count { min, max } => {
                let count = count_of(value)?;
                let fits = u64::try_from(count).ok().filter(|count| (min..=max).contains(count));
                let message = || format!("{count} must lie between {min} and {max}");
                fits.map(Parsed::Count).ok_or_else(message)
            }
            Self::Number { min, max } => within(number_of(value)?, min, max).map(Parsed::Number),
            Self::Dollars { min, max } => {
                let dollars = within(number_of(value)?, min, max)?;
                Money::from_dollars(dollars)
                    .map(Parsed::Dollars)
                    .ok_or_else(|| "not an amount of dollars".into())
            }
            Self::Flag => flag_of(value).map(Parsed::Flag),
            Self::Text { max } => {
                let text = text_of(value)?;
                let length = text.chars().count();
                if length > max {
                    return Err(format!("{length} characters are more than the {max} allowed"));
                }
                Ok(Parsed::Text(text))
            }
            Self::Choice(words) => {
                let text = text_of(value)?;
                if words.contains(&text.as_str()) {
                    return Ok(Parsed::Text(text));
                }
                Err(format!("`{}` is not one of {}", shown(&text), quoted(words)))
            }
            Self::Texts { separator } => texts_of(value, separator).map(Parsed::Texts),
            Self::Table => table_of(value).map(Parsed::Table),
        }
    }

    /// The type and its limits in a few words, for the reference.
    #[must_use]
    pub fn words(self) -> String {
        let duration = |ms| duration_text(Duration::from_millis(ms));
        match self {
            Self::Duration { min, max } => format!("duration, {} to {}", duration(min), duration(max)),
            Self::Count { min, max: u64::MAX } => format!("count, from {min}"),
            Self::Count { min, max } => format!("count, {min} to {max}"),
            Self::Number { min, max } => format!("number, {min} to {max}"),
            Self::Dollars { min, max } => format!("dollars, {min} to {max}"),
            Self::Flag => "`true` or `false`".into(),
            Self::Text { .. } => "text".into(),
            Self::Choice(words) => quoted(words),
            Self::Texts { separator: ',' } => "list of texts".into(),
            Self::Texts { separator } => {
                format!("list of texts, separated by `{separator}` in the environment")
            }
            Self::Table => "table of texts".into(),
        }
    }
}

impl Parsed {
    /// The value as it would be written in TOML, without secrets since none passes through here.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Duration(duration) => duration_text(*duration),
            Self::Count(count) => count.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Dollars(money) => money.dollars().to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Text(text) => format!("{text:?}"),
            Self::Texts(texts) => format!("{texts:?}"),
            Self::Table(table) => {
                let pairs: Vec<String> =
                    table.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
                if pairs.is_empty() { "{}".into() } else { format!("{{ {} }}", pairs.join(", ")) }
            }
        }
    }
}

/// A text cut to a length that fits into one line of a message.
pub(super) fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(60).map(|c| if c.is_control() { '·' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        cut.push('…');
    }
    cut
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
