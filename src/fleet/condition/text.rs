//! Conditions as text: written so that they read back as the same condition, and converted both ways for serde.

use std::{fmt, str::FromStr};

use super::{Choice, Condition, ConditionError, Expected, Function, Hop, Op, Place, Subject, parse};

/// Most characters of an observed value that an explanation repeats: it ends up in logs and alerts.
const SHOWN_MAX: usize = 64;

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.subject, self.op, self.expected)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.function {
            None => self.place.fmt(f),
            Some(Function::Len) => write!(f, "len({})", self.place),
            Some(Function::Has) => write!(f, "has({})", self.place),
            Some(Function::Opt) => write!(f, "opt({})", self.place),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self {
            Self::Status => return f.write_str("[STATUS]"),
            Self::ResponseTime => return f.write_str("[RESPONSE_TIME]"),
            Self::Connected => return f.write_str("[CONNECTED]"),
            Self::Body(path) => path,
        };
        f.write_str("[BODY]")?;
        path.iter().try_for_each(|hop| match hop {
            Hop::Key(key) => write!(f, ".{key}"),
            Hop::Index(index) => write!(f, "[{index}]"),
        })
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(choice) => choice.fmt(f),
            Self::Subject(subject) => subject.fmt(f),
            Self::Any(choices) => {
                f.write_str("any(")?;
                for (i, choice) in choices.iter().enumerate() {
                    write!(f, "{}{choice}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(&quoted(text)),
            Self::Pattern(pattern) => write!(f, "pat({})", quoted(pattern)),
        }
    }
}

impl FromStr for Condition {
    type Err = ConditionError;
    fn from_str(text: &str) -> Result<Self, ConditionError> {
        parse::condition(text)
    }
}

impl TryFrom<String> for Condition {
    type Error = ConditionError;
    fn try_from(text: String) -> Result<Self, ConditionError> {
        text.parse()
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> Self {
        condition.to_string()
    }
}

/// A value fit for a log line: control characters escaped, cut to a printable length.
pub(super) fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// A literal as it reads back: bare where that is safe, in quotes otherwise.
fn quoted(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-+./:@%*{}".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        return text.into();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
