//! Conditions: what an answer must satisfy, in the form users know from Gatus.
//!
//! ```text
//! [STATUS] == 200                       [RESPONSE_TIME] < 5000            (whole milliseconds)
//! [BODY].database == connected          [BODY].peers[0].name == "a, b"    [BODY] == pat(*ready*)
//! len([BODY].peers) >= 2                has([BODY].error) == false        [CONNECTED] == true
//! [BODY].phase == any(IDLE, pat(FIGHT*))
//! opt([BODY].database) == connected     holds without the field too; ours, not known to Gatus
//! ```
//!
//! The grammar is Gatus', its coercions are not: there a misspelt placeholder or an absent field counts as 0 and slips
//! through `<`. Here a placeholder that does not exist is refused when the condition is read, and a field that is
//! absent (or `null`) fails every comparison, `!=` too, unless `opt` says otherwise. `==` compares texts; a JSON number
//! is also equal to a differently written equal number. `<` and its kin compare numbers and nothing else.
//!
//! Deliberately absent: `[IP]`, certificates and DNS (a node is probed at its literal address, without TLS), patterns
//! beyond `*`, and nested `any`.

mod answer;
mod parse;
mod text;

use std::{borrow::Cow, cmp::Ordering};

use serde::{Deserialize, Serialize};

use self::text::printable;
pub use self::{answer::Answer, parse::ConditionError};

/// One condition: a subject, an operator, an expectation. Read from and written as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Condition {
    subject: Subject,
    op: Op,
    expected: Expected,
}

/// What is looked at: a place, bare or through a function.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subject {
    function: Option<Function>,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Len,
    Has,
    Opt,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Status,
    ResponseTime,
    Connected,
    Body(Vec<Hop>),
}

/// One hop of a path into the body.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hop {
    Key(String),
    Index(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    One(Choice),
    Any(Vec<Choice>),
    Subject(Subject),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Literal(String),
    Pattern(String),
}

/// A value found in an answer. Only a value that is a number by type is compared by size under `==`: a commit hash
/// such as `1e2` must not equal `100`.
struct Seen<'a> {
    text: Cow<'a, str>,
    number: bool,
}

impl Condition {
    /// The default preset, the health criteria of the original keeper: status 200, answered in less than 5 s, database
    /// connected, WebSocket running.
    ///
    /// Two server generations answer `/health` differently, and both pass while well. The documented one has flat fields
    /// (`"database":"connected"`, `"websocket":"active"`); the bundled server also says `slow`, which is connected still. The implemented one has an
    /// object (`"database":{"healthy":null,"status":"skipped"}`, `healthy` being `null` while the check is switched off)
    /// and no WebSocket field. So each criterion beyond the status is "no such field, or a good one".
    #[must_use]
    pub fn preset() -> Vec<Self> {
        let body = |path: &[&str]| Place::Body(path.iter().map(|key| Hop::Key((*key).into())).collect());
        let literal = |text: &str| Choice::Literal(text.into());
        let opt = |path: &[&str], op, choices: &[Choice]| Self {
            subject: Subject { function: Some(Function::Opt), place: body(path) },
            op,
            expected: match choices {
                [one] => Expected::One(one.clone()),
                many => Expected::Any(many.to_vec()),
            },
        };
        let plain = |place, op, text: &str| Self {
            subject: Subject { function: None, place },
            op,
            expected: Expected::One(literal(text)),
        };
        // An object is judged by its `healthy` alone; as text it starts with a brace.
        let object = Choice::Pattern("{*".into());
        vec![
            plain(Place::Status, Op::Eq, "200"),
            plain(Place::ResponseTime, Op::Lt, "5000"),
            opt(&["status"], Op::Ne, &[literal("unhealthy")]),
            opt(
                &["database"],
                Op::Eq,
                &[literal("connected"), literal("slow"), literal("true"), object.clone()],
            ),
            opt(&["database", "healthy"], Op::Ne, &[literal("false")]),
            opt(&["websocket"], Op::Eq, &[literal("running"), literal("active"), literal("true"), object]),
            opt(&["websocket", "healthy"], Op::Ne, &[literal("false")]),
        ]
    }

    /// Whether the condition holds for an answer.
    ///
    /// # Errors
    ///
    /// Says what was seen in the subject's place, as Gatus does: `[STATUS] (503) == 200`.
    pub fn evaluate(&self, answer: &Answer<'_>) -> Result<(), String> {
        let Some(seen) = self.subject.look(answer) else {
            return match self.subject.function {
                Some(Function::Opt) => Ok(()),
                _ => Err(format!("{} (missing) {} {}", self.subject, self.op, self.expected)),
            };
        };
        let holds = match &self.expected {
            Expected::One(choice) => self.op.holds(&seen, choice),
            Expected::Any(choices) => {
                choices.iter().any(|choice| Op::Eq.holds(&seen, choice)) == (self.op == Op::Eq)
            }
            Expected::Subject(other) => match other.look(answer) {
                Some(value) => self.op.compare(&seen, &value.text, value.number),
                None => false,
            },
        };
        if holds { Ok(()) } else { Err(self.explain(&seen, answer)) }
    }

    fn explain(&self, seen: &Seen<'_>, answer: &Answer<'_>) -> String {
        let expected = match &self.expected {
            Expected::Subject(other) => match other.look(answer) {
                Some(value) => format!("{other} ({})", printable(&value.text)),
                None => format!("{other} (missing)"),
            },
            literal => literal.to_string(),
        };
        format!("{} ({}) {} {expected}", self.subject, printable(&seen.text), self.op)
    }
}

impl Subject {
    /// What the answer holds there; `None` if nothing.
    fn look<'a>(&self, answer: &'a Answer<'_>) -> Option<Seen<'a>> {
        let number = |value: u128| Seen { text: value.to_string().into(), number: true };
        let truth = |value: bool| Seen { text: if value { "true" } else { "false" }.into(), number: false };
        match (&self.place, self.function) {
            (Place::Status, _) => Some(number(answer.status().into())),
            (Place::ResponseTime, _) => Some(number(answer.took().as_millis())),
            (Place::Connected, _) => Some(truth(true)),
            (Place::Body(path), Some(Function::Has)) => Some(truth(answer.read(path).is_some())),
            (Place::Body(path), Some(Function::Len)) => {
                answer.length(path).map(|length| number(length as u128))
            }
            (Place::Body(path), Some(Function::Opt) | None) => answer.read(path),
        }
    }
}

impl Op {
    fn holds(self, seen: &Seen<'_>, choice: &Choice) -> bool {
        match choice {
            Choice::Literal(text) => self.compare(seen, text, true),
            Choice::Pattern(pattern) => matches(pattern, &seen.text) == (self == Self::Eq),
        }
    }

    /// Compares as texts for equality (as numbers too where both may be), as numbers for order.
    fn compare(self, seen: &Seen<'_>, text: &str, may_be_number: bool) -> bool {
        let size = || order(&seen.text, text);
        let equal = || seen.text == text || (seen.number && may_be_number && size() == Some(Ordering::Equal));
        match self {
            Self::Eq => equal(),
            Self::Ne => !equal(),
            Self::Lt => size() == Some(Ordering::Less),
            Self::Le => matches!(size(), Some(Ordering::Less | Ordering::Equal)),
            Self::Gt => size() == Some(Ordering::Greater),
            Self::Ge => matches!(size(), Some(Ordering::Greater | Ordering::Equal)),
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        }
    }
}

/// The order of two texts as numbers, exact for integers; `None` if either is not a finite number.
fn order(left: &str, right: &str) -> Option<Ordering> {
    if let (Ok(left), Ok(right)) = (left.parse::<i128>(), right.parse::<i128>()) {
        return Some(left.cmp(&right));
    }
    let finite = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    finite(left)?.partial_cmp(&finite(right)?)
}

/// Whether a text matches a pattern in which `*` stands for any run of characters, none included. Takes the leftmost
/// place for each part, which is enough for this kind of pattern, so that no input makes it slow.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(prefix) else {
        return false;
    };
    let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        match text.find(part) {
            Some(at) => text = text.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    text.ends_with(suffix)
}

#[cfg(test)]
mod tests;
