//! What a key's value may be: parsing, limits and the canonical text of a value.
//!
//! Every value arrives either typed (TOML) or as text (environment, `.env`, flags); both pass through [`Kind::parse`].
//! A duration always carries its unit in TOML, since a bare `60` beside keys in milliseconds is the classic mistake.

use std::{collections::BTreeMap, time::Duration};

use figment::value::Value;

use crate::fleet::units::{Money, millis};

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

fn within(number: f64, min: f64, max: f64) -> Result<f64, String> {
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(format!("{number} must lie between {min} and {max}"))
}

fn kind_word(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "a text",
        Value::Bool(..) => "a truth value",
        Value::Num(..) => "a number",
        Value::Empty(..) => "nothing",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list",
    }
}

fn count_of(value: &Value) -> Result<i128, String> {
    let wrong = |seen: &str| format!("{seen} is not a whole number");
    match value {
        Value::Num(_, number) => {
            // An `f64` such as 3.0 is refused too: whoever writes a point means something else than a count.
            number.to_i128().or_else(|| number.to_u128().and_then(|n| n.try_into().ok())).ok_or_else(|| {
                let seen = value.to_f64().map_or_else(|| "this".into(), |number| format!("{number}"));
                wrong(&seen)
            })
        }
        Value::String(_, text) => text.trim().parse().map_err(|_| wrong(&format!("`{}`", shown(text)))),
        other => Err(wrong(kind_word(other))),
    }
}

fn number_of(value: &Value) -> Result<f64, String> {
    let wrong = |seen: &str| format!("{seen} is not a number");
    let number = match value {
        Value::Num(_, number) => number
            .to_f64()
            .or_else(|| number.to_i128().map(|n| n as f64))
            .or_else(|| number.to_u128().map(|n| n as f64)),
        Value::String(_, text) => {
            let bare = text.trim();
            let bare = bare.strip_prefix('$').unwrap_or(bare);
            Some(bare.parse().map_err(|_| wrong(&format!("`{}`", shown(text))))?)
        }
        other => return Err(wrong(kind_word(other))),
    };
    number.filter(|number| number.is_finite()).ok_or_else(|| wrong("this"))
}

fn flag_of(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(_, flag) => Ok(*flag),
        Value::String(_, text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("`{}` is neither `true` nor `false`", shown(text))),
        },
        other => Err(format!("{} is neither `true` nor `false`", kind_word(other))),
    }
}

fn text_of(value: &Value) -> Result<String, String> {
    match value {
        Value::String(_, text) => Ok(text.clone()),
        Value::Char(_, c) => Ok(c.to_string()),
        other => Err(format!("{} is not a text: put it in quotes", kind_word(other))),
    }
}

/// Elements may be numbers, since machine ids are.
fn element_of(value: &Value) -> Result<String, String> {
    match value {
        Value::Num(..) => count_of(value).map(|number| number.to_string()),
        other => text_of(other),
    }
}

fn texts_of(value: &Value, separator: char) -> Result<Vec<String>, String> {
    match value {
        Value::Array(_, elements) => elements.iter().map(element_of).collect(),
        Value::String(_, text) => {
            let pieces = text.split(separator).map(str::trim).filter(|piece| !piece.is_empty());
            Ok(pieces.map(String::from).collect())
        }
        other => Err(format!("{} is not a list", kind_word(other))),
    }
}

fn table_of(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let Value::Dict(_, entries) = value else {
        return Err(format!("{} is not a table", kind_word(value)));
    };
    let pair = |(name, value): (&String, &Value)| match value {
        Value::Num(..) | Value::Bool(..) => {
            Err(format!("the value of `{}` must be a text in quotes", shown(name)))
        }
        other => {
            text_of(other).map(|text| (name.clone(), text)).map_err(|why| format!("`{}`: {why}", shown(name)))
        }
    };
    entries.iter().map(pair).collect()
}

fn duration_of(value: &Value) -> Result<Duration, String> {
    match value {
        Value::String(_, text) => parse_duration(text),
        Value::Num(..) => Err("a bare number has no unit: write \"60s\", \"5m\" or \"1500ms\"".into()),
        other => Err(format!("{} is not a duration", kind_word(other))),
    }
}

/// A duration such as `60s`, `1500ms`, `1h30m`, `2d`, `0.5s`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{}` is not a duration: write 60s, 5m, 2h, 1d or 1500ms", shown(text));
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let factor = match unit {
            "ms" => 1.0,
            "s" => 1e3,
            "m" | "min" => 60e3,
            "h" => 3_600e3,
            "d" => 86_400e3,
            _ => return Err(wrong()),
        };
        total += number * factor;
        rest = after.trim_start();
    }
    // Far beyond every limit of a key, and within what a `Duration` holds.
    if total > 1e15 {
        return Err(wrong());
    }
    Ok(Duration::from_millis(total.round() as u64))
}

/// The shortest text with one unit: `90s`, `5m`, `1500ms`.
pub(super) fn duration_text(duration: Duration) -> String {
    let ms = millis(duration);
    match ms {
        0 => "0s".into(),
        ms if ms % 86_400_000 == 0 => format!("{}d", ms / 86_400_000),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 && ms > 60_000 => format!("{}m", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_carry_a_unit() {
        for (text, ms) in
            [("60s", 60_000), ("1500ms", 1_500), ("1h30m", 5_400_000), ("0.5s", 500), ("2d", 172_800_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "60", "s", "60 s60", "-5s", "5 parsecs", "1e9s", "99999999999999999d", "5s,"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(duration_of(&Value::from(60)).is_err_and(|why| why.contains("no unit")));
    }

    #[test]
    fn a_count_is_whole_and_within_its_limits() {
        let kind = Kind::Count { min: 1, max: 100 };
        assert_eq!(kind.parse(&Value::from(7)), Ok(Parsed::Count(7)));
        assert_eq!(kind.parse(&Value::from(" 7 ")), Ok(Parsed::Count(7)));
        for wrong in [
            Value::from(0),
            Value::from(101),
            Value::from(-1),
            Value::from(1.5),
            Value::from("x"),
            Value::from(true),
        ] {
            assert!(kind.parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_reads_back(ms in 0_u64..10_000_000_000) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let value = Value::from(text);
            for kind in [
                Kind::Duration { min: 0, max: u64::MAX }, Kind::Count { min: 0, max: u64::MAX }, Kind::Flag, Kind::Table,
                Kind::Number { min: 0.0, max: 1.0 }, Kind::Dollars { min: 0.0, max: 1e12 }, Kind::Texts { separator: ',' },
            ] {
                let _ = kind.parse(&value);
            }
        }
    }
}
