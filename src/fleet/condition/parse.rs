//! Reads a condition, and says where and why one cannot be read.
//!
//! ```text
//! condition = side op side            one side at least is a subject; it is kept on the left
//! side      = subject | choice | "any(" choice { "," choice } ")"
//! subject   = place | ( "len" | "has" | "opt" ) "(" place ")"
//! place     = "[STATUS]" | "[RESPONSE_TIME]" | "[CONNECTED]" | "[BODY]" { "." key | "[" digits "]" }
//! choice    = literal | "pat(" literal ")"        literal = bare words, or "quoted with \" and \\"
//! op        = "==" | "!=" | "<=" | ">=" | "<" | ">"
//! ```

use super::{Choice, Condition, Expected, Function, Hop, Op, Place, Subject, order};

/// Longest condition in characters; far beyond any real one.
pub(super) const LENGTH_MAX: usize = 1024;

const PLACES: &str = "the placeholders are [STATUS], [RESPONSE_TIME], [CONNECTED] and [BODY]";
const FUNCTIONS: &str = "the functions are len, has, opt, pat and any; other text with brackets needs quotes";
const SHAPE: &str = "a condition reads like `[STATUS] == 200`";

/// Why a text is not a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at column {column} (hint: {hint})")]
pub struct ConditionError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: String,
    /// What would be right.
    pub hint: &'static str,
}

/// One side of the operator.
enum Side {
    Subject(Subject),
    One(Choice),
    Any(Vec<Choice>),
}

struct Cursor<'a> {
    text: &'a str,
    /// Byte offset of the next character.
    at: usize,
}

type Parsed<T> = Result<T, ConditionError>;

/// Reads a whole condition.
pub(super) fn condition(text: &str) -> Parsed<Condition> {
    let mut cursor = Cursor { text, at: 0 };
    if text.chars().nth(LENGTH_MAX).is_some() {
        return cursor.fail("longer than 1024 characters", SHAPE);
    }
    let left = cursor.side()?;
    let operator_at = cursor.at;
    let op = cursor.operator()?;
    let right_at = cursor.at;
    let right = cursor.side()?;
    cursor.blanks();
    if !cursor.rest().is_empty() {
        let problem = format!("unexpected `{}`", cursor.rest().chars().take(16).collect::<String>());
        return cursor
            .fail(&problem, "one operator per condition; put text with operators or brackets in quotes");
    }
    let (subject, op, expected, expected_at) = match (left, right) {
        (Side::Subject(left), Side::Subject(right)) => (left, op, Expected::Subject(right), right_at),
        (Side::Subject(left), Side::One(right)) => (left, op, Expected::One(right), right_at),
        (Side::Subject(left), Side::Any(right)) => (left, op, Expected::Any(right), right_at),
        (Side::One(left), Side::Subject(right)) => (right, op.mirrored(), Expected::One(left), 0),
        (Side::Any(left), Side::Subject(right)) => (right, op.mirrored(), Expected::Any(left), 0),
        _ => return Cursor { text, at: 0 }.fail("no placeholder on either side: always the same", PLACES),
    };
    let condition = Condition { subject, op, expected };
    match condition.nonsense() {
        Some((Blame::Operator, hint)) => {
            Cursor { text, at: operator_at }.fail("the operator does not fit", hint)
        }
        Some((Blame::Expected, hint)) => {
            Cursor { text, at: expected_at }.fail("the value does not fit", hint)
        }
        None => Ok(condition),
    }
}

/// Whether the condition would also be accepted as text.
#[cfg(test)]
pub(super) fn is_sensible(condition: &Condition) -> bool {
    condition.nonsense().is_none()
}

/// Which part makes a condition senseless.
enum Blame {
    Operator,
    Expected,
}

impl Condition {
    /// Why the condition could never hold, or never fail, whatever a server answers.
    fn nonsense(&self) -> Option<(Blame, &'static str)> {
        let ordered = !matches!(self.op, Op::Eq | Op::Ne);
        let choices = match &self.expected {
            Expected::Any(_) if ordered => return Some((Blame::Operator, "any() goes with == and !=")),
            Expected::Any(choices) => choices.as_slice(),
            Expected::One(choice) => std::slice::from_ref(choice),
            Expected::Subject(_) => &[],
        };
        let truth =
            matches!(self.subject.place, Place::Connected) || self.subject.function == Some(Function::Has);
        if truth && ordered {
            return Some((Blame::Operator, "true and false go with == and !="));
        }
        let number = ordered
            || matches!(self.subject.place, Place::Status | Place::ResponseTime)
            || self.subject.function == Some(Function::Len);
        choices.iter().find_map(|choice| match choice {
            Choice::Pattern(_) if ordered => Some((Blame::Operator, "pat() goes with == and !=")),
            Choice::Pattern(_) if truth => Some((Blame::Expected, "compare with true or false")),
            Choice::Pattern(_) => None,
            Choice::Literal(text) if truth && text != "true" && text != "false" => {
                Some((Blame::Expected, "compare with true or false"))
            }
            Choice::Literal(text) if number && order(text, "0").is_none() => {
                Some((Blame::Expected, "compare with a plain number; times are milliseconds without a unit"))
            }
            Choice::Literal(_) => None,
        })
    }
}

impl Op {
    /// The same relation seen from the other side.
    fn mirrored(self) -> Self {
        match self {
            Self::Eq | Self::Ne => self,
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
        }
    }

    fn starts(text: &str) -> Option<Self> {
        // Longer symbols first: `<=` also starts with `<`.
        [Self::Eq, Self::Ne, Self::Le, Self::Ge, Self::Lt, Self::Gt]
            .into_iter()
            .find(|op| text.starts_with(op.symbol()))
    }
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn fail<T>(&self, problem: &str, hint: &'static str) -> Parsed<T> {
        let column = self.text.get(..self.at).map_or(0, |before| before.chars().count()) + 1;
        Err(ConditionError { column, problem: problem.into(), hint })
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Takes the longest run of characters that satisfy `fits`.
    fn run(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let run = rest.get(..rest.find(|c| !fits(c)).unwrap_or(rest.len())).unwrap_or_default();
        self.at += run.len();
        run
    }

    fn close(&mut self) -> Parsed<()> {
        self.blanks();
        if self.take(")") { Ok(()) } else { self.fail("`)` is missing", FUNCTIONS) }
    }

    fn operator(&mut self) -> Parsed<Op> {
        self.blanks();
        match Op::starts(self.rest()) {
            Some(op) => {
                self.at += op.symbol().len();
                Ok(op)
            }
            None => self.fail("no operator", "the operators are == != < <= > >="),
        }
    }

    fn side(&mut self) -> Parsed<Side> {
        self.blanks();
        if self.rest().starts_with('[') {
            return Ok(Side::Subject(Subject { function: None, place: self.place()? }));
        }
        let start = self.at;
        let word = self.run(|c| c.is_ascii_alphabetic());
        let function = match word {
            _ if !self.take("(") => {
                self.at = start;
                return Ok(Side::One(Choice::Literal(self.literal(false)?)));
            }
            "len" => Function::Len,
            "has" => Function::Has,
            "opt" => Function::Opt,
            "pat" => return Ok(Side::One(Choice::Pattern(self.pattern()?))),
            "any" => return Ok(Side::Any(self.choices()?)),
            _ => {
                self.at = start;
                return self.fail(&format!("unknown function `{word}`"), FUNCTIONS);
            }
        };
        self.blanks();
        let inner = self.at;
        let place = self.place()?;
        if !matches!(place, Place::Body(_)) {
            self.at = inner;
            return self.fail(
                &format!("{word}() of something other than the body"),
                "len, has and opt look into [BODY]",
            );
        }
        self.close()?;
        Ok(Side::Subject(Subject { function: Some(function), place }))
    }

    fn place(&mut self) -> Parsed<Place> {
        for (name, place) in [
            ("[STATUS]", Place::Status),
            ("[RESPONSE_TIME]", Place::ResponseTime),
            ("[CONNECTED]", Place::Connected),
        ] {
            if self.take(name) {
                return Ok(place);
            }
        }
        if !self.take("[BODY]") {
            let shown: String = self.rest().chars().take_while(|c| !c.is_whitespace()).take(24).collect();
            return self.fail(&format!("unknown placeholder `{shown}`"), PLACES);
        }
        let mut path = Vec::new();
        loop {
            if self.take(".") {
                let key = self.run(|c| !c.is_whitespace() && !c.is_control() && !".[](),\"=!<>".contains(c));
                if key.is_empty() {
                    return self.fail("a field's name is missing", "a path reads like [BODY].peers[0].name");
                }
                path.push(Hop::Key(key.into()));
            } else if self.take("[") {
                let digits = self.run(|c| c.is_ascii_digit());
                match digits.parse() {
                    Ok(index) if self.take("]") => path.push(Hop::Index(index)),
                    _ => {
                        return self.fail(
                            "an index is a number in brackets",
                            "a path reads like [BODY].peers[0].name",
                        );
                    }
                }
            } else {
                return Ok(Place::Body(path));
            }
        }
    }

    /// The rest of `pat(`.
    fn pattern(&mut self) -> Parsed<String> {
        let pattern = self.literal(true)?;
        self.close()?;
        Ok(pattern)
    }

    /// The rest of `any(`.
    fn choices(&mut self) -> Parsed<Vec<Choice>> {
        let mut choices = Vec::new();
        loop {
            self.blanks();
            choices.push(if self.take("pat(") {
                Choice::Pattern(self.pattern()?)
            } else {
                Choice::Literal(self.literal(true)?)
            });
            self.blanks();
            if !self.take(",") {
                self.close()?;
                return Ok(choices);
            }
        }
    }

    /// A literal: quoted, or bare words up to the next operator, or to `,` and `)` inside a function.
    fn literal(&mut self, inside: bool) -> Parsed<String> {
        self.blanks();
        if self.take("\"") {
            return self.rest_of_quote();
        }
        let rest = self.rest();
        let end = rest
            .char_indices()
            .find(|(at, c)| match c {
                '"' | '(' | ')' | '[' | ']' => true,
                ',' => inside,
                _ => !inside && rest.get(*at..).and_then(Op::starts).is_some(),
            })
            .map_or(rest.len(), |(at, _)| at);
        let bare = rest.get(..end).unwrap_or_default().trim_end();
        if bare.is_empty() {
            return self.fail("a value is missing", "write the empty text as \"\"");
        }
        self.at += bare.len();
        Ok(bare.into())
    }

    fn rest_of_quote(&mut self) -> Parsed<String> {
        let start = self.at;
        let mut text = String::new();
        let mut rest = self.rest().chars();
        while let Some(c) = rest.next() {
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(text),
                '\\' => match rest.next() {
                    Some(escaped @ ('"' | '\\')) => {
                        self.at += 1;
                        text.push(escaped);
                    }
                    _ => return self.fail("unknown escape", "the escapes are \\\" and \\\\"),
                },
                c => text.push(c),
            }
        }
        self.at = start;
        self.fail("the quote is not closed", "end the text with \"")
    }
}
