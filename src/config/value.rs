//! Values of layers, typed (TOML) or text (environment, flags), turned into what a kind of key wants.

use std::{collections::BTreeMap, time::Duration};

use figment::value::Value;

use super::kind::shown;
use crate::fleet::units::millis;

pub(super) fn within(number: f64, min: f64, max: f64) -> Result<f64, String> {
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

pub(super) fn count_of(value: &Value) -> Result<i128, String> {
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

pub(super) fn number_of(value: &Value) -> Result<f64, String> {
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

pub(super) fn flag_of(value: &Value) -> Result<bool, String> {
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

pub(super) fn text_of(value: &Value) -> Result<String, String> {
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

pub(super) fn texts_of(value: &Value, separator: char) -> Result<Vec<String>, String> {
    match value {
        Value::Array(_, elements) => elements.iter().map(element_of).collect(),
        Value::String(_, text) => {
            let pieces = text.split(separator).map(str::trim).filter(|piece| !piece.is_empty());
            Ok(pieces.map(String::from).collect())
        }
        other => Err(format!("{} is not a list", kind_word(other))),
    }
}

pub(super) fn table_of(value: &Value) -> Result<BTreeMap<String, String>, String> {
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

pub(super) fn duration_of(value: &Value) -> Result<Duration, String> {
    match value {
        Value::String(_, text) => parse_duration(text),
        Value::Num(..) => Err("a bare number has no unit: write \"60s\", \"5m\" or \"1500ms\"".into()),
        other => Err(format!("{} is not a duration", kind_word(other))),
    }
}

/// A duration such as `60s`, `1500ms`, `1h30m`, `2d`, `0.5s`.
///
/// # Errors
/// In words, what is wrong with it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
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

    use super::{
        super::kind::{Kind, Parsed},
        *,
    };

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
