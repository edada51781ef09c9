//! From text to [`Query`]: one cursor, left to right.

use std::str::FromStr;

use super::{
    Field, Filter, Kind, Op, Query, QueryError, QueryFault, Value,
    fields::{find, nearest},
};

/// Symbols before their own beginnings, so that the longest is found first.
const SYMBOLS: [(&str, Op); 7] = [
    ("==", Op::Eq),
    ("!=", Op::Neq),
    (">=", Op::Gte),
    ("<=", Op::Lte),
    ("=", Op::Eq),
    (">", Op::Gt),
    ("<", Op::Lt),
];

/// The words the provider's command line knows; `not in` and `not eq` may be written apart.
const WORDS: [(&str, Op); 12] = [
    ("eq", Op::Eq),
    ("neq", Op::Neq),
    ("noteq", Op::Neq),
    ("not eq", Op::Neq),
    ("gt", Op::Gt),
    ("gte", Op::Gte),
    ("lt", Op::Lt),
    ("lte", Op::Lte),
    ("in", Op::In),
    ("nin", Op::NotIn),
    ("notin", Op::NotIn),
    ("not in", Op::NotIn),
];

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        let mut cursor = Cursor { text, at: 0 };
        let mut query = Self { text: text.trim().to_owned(), filters: Vec::new(), lifted: Vec::new() };
        cursor.skip_spaces();
        while !cursor.rest().is_empty() {
            cursor.filter(&mut query)?;
            cursor.skip_spaces();
        }
        Ok(query)
    }
}

/// What stands on the right side of a comparison.
enum Written {
    Bare(String),
    Quoted(String),
    List(Vec<String>),
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn fault<T>(&self, at: usize, fault: QueryFault) -> Result<T, QueryError> {
        let before = self.text.get(..at).unwrap_or_default();
        Err(QueryError { column: before.chars().count() + 1, fault })
    }

    /// Takes the longest run of characters that `wanted` accepts.
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn skip_spaces(&mut self) {
        self.take(char::is_whitespace);
    }

    fn filter(&mut self, query: &mut Query) -> Result<(), QueryError> {
        let start = self.at;
        let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() {
            return self.fault(start, QueryFault::FieldMissing { rest: shown(self.rest()) });
        }
        let Some(field) = find(name) else {
            return self.fault(start, QueryFault::UnknownField { name: shown(name), nearest: nearest(name) });
        };
        self.skip_spaces();
        let op_at = self.at;
        let Some(op) = self.operator() else {
            return self.fault(op_at, QueryFault::OperatorMissing { field: field.name });
        };
        if is_order(op) && !matches!(field.kind, Kind::Number | Kind::Version) {
            return self.fault(op_at, QueryFault::NoOrder { field: field.name, op: op.word() });
        }
        self.skip_spaces();
        let value_at = self.at;
        let written = self.written(field)?;

        let wildcard = matches!(&written, Written::Bare(text) if matches!(text.as_str(), "any" | "?" | "*"));
        if wildcard && op != Op::Eq {
            return self.fault(op_at, QueryFault::WildcardOperator);
        }
        let same_field = |filter: &Filter| filter.field == field.name;
        let repeated = if wildcard {
            query.filters.iter().any(same_field) || query.lifts(field.name)
        } else {
            query.lifts(field.name)
                || query.filters.iter().any(|filter| same_field(filter) && filter.op == op)
        };
        if repeated {
            return self.fault(start, QueryFault::Repeated { field: field.name, op: op.word() });
        }
        if wildcard {
            query.lifted.push(field.name);
            return Ok(());
        }
        match value(field, op, written) {
            Ok(value) => query.filters.push(Filter { field: field.name, op, value }),
            Err(fault) => return self.fault(value_at, fault),
        }
        Ok(())
    }

    fn operator(&mut self) -> Option<Op> {
        let rest = self.rest();
        let symbol = SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol));
        let word = || {
            WORDS.iter().filter(|(word, _)| rest.starts_with(word)).find(|(word, _)| {
                let after = rest.get(word.len()..).and_then(|after| after.chars().next());
                after.is_none_or(|c| c.is_whitespace() || matches!(c, '[' | '"' | '\''))
            })
        };
        let (text, op) = symbol.or_else(word)?;
        self.at += text.len();
        Some(*op)
    }

    fn written(&mut self, field: Field) -> Result<Written, QueryError> {
        match self.rest().chars().next() {
            Some('[') => self.list(field),
            Some(quote @ ('"' | '\'')) => Ok(Written::Quoted(self.quoted(quote)?)),
            _ => {
                let start = self.at;
                let text = self.take(|c| !c.is_whitespace()).trim_matches(',');
                if text.is_empty() {
                    return self.fault(start, QueryFault::ValueMissing { field: field.name });
                }
                Ok(Written::Bare(text.to_owned()))
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, QueryError> {
        let open_at = self.at;
        self.at += quote.len_utf8();
        let inner = self.take(|c| c != quote).to_owned();
        if self.rest().is_empty() {
            return self.fault(open_at, QueryFault::Unclosed { open: quote });
        }
        self.at += quote.len_utf8();
        Ok(inner)
    }

    fn list(&mut self, field: Field) -> Result<Written, QueryError> {
        let open_at = self.at;
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.take(|c| c.is_whitespace() || c == ',');
            match self.rest().chars().next() {
                None => return self.fault(open_at, QueryFault::Unclosed { open: '[' }),
                Some(']') => break,
                Some(quote @ ('"' | '\'')) => items.push(self.quoted(quote)?),
                Some(_) => items.push(self.take(|c| !matches!(c, ',' | ']')).trim_end().to_owned()),
            }
        }
        self.at += 1;
        if items.is_empty() {
            return self.fault(open_at, QueryFault::ValueMissing { field: field.name });
        }
        Ok(Written::List(items))
    }
}

fn is_order(op: Op) -> bool {
    matches!(op, Op::Gt | Op::Gte | Op::Lt | Op::Lte)
}

/// Turns what is written into a value that fits the field and the comparison.
fn value(field: Field, op: Op, written: Written) -> Result<Value, QueryFault> {
    if matches!(op, Op::In | Op::NotIn) {
        let items = match written {
            Written::List(items) => items,
            Written::Quoted(item) => vec![item],
            Written::Bare(items) => {
                items.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
            }
        };
        return items.iter().map(|item| single(field, item)).collect::<Result<_, _>>().map(Value::List);
    }
    let text = match written {
        Written::Bare(text) | Written::Quoted(text) => text,
        Written::List(items) => match items.as_slice() {
            [only] => only.clone(),
            _ => return Err(QueryFault::ListUnexpected { field: field.name }),
        },
    };
    let value = single(field, &text)?;
    if is_order(op) && value == Value::Null {
        return Err(QueryFault::WrongKind { field: field.name, wanted: "a number", text: shown(&text) });
    }
    Ok(value)
}

fn single(field: Field, text: &str) -> Result<Value, QueryFault> {
    if matches!(text, "null" | "None") {
        return Ok(Value::Null);
    }
    let wrong = |wanted| QueryFault::WrongKind { field: field.name, wanted, text: shown(text) };
    let number = |text: &str| text.parse::<f64>().ok().map(|n| n * field.factor).filter(|n| n.is_finite());
    match field.kind {
        Kind::Number => number(text).map(Value::Number).ok_or_else(|| wrong("a number")),
        Kind::Version => {
            version(text).or_else(|| number(text)).map(Value::Number).ok_or_else(|| wrong("a version"))
        }
        Kind::Flag => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Value::Flag(true)),
            "false" | "0" => Ok(Value::Flag(false)),
            _ => Err(wrong("`true` or `false`")),
        },
        Kind::Text if text.trim().is_empty() => Err(QueryFault::ValueMissing { field: field.name }),
        Kind::Text => Ok(Value::Text(text.replace('_', " "))),
    }
}

/// `535.86.05` as the provider counts it: three digits per part, 535086005.
fn version(text: &str) -> Option<f64> {
    let parts: Vec<u32> = text.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    match parts.as_slice() {
        [major, minor, patch] if *minor < 1000 && *patch < 1000 => {
            Some(f64::from(*major) * 1e6 + f64::from(*minor) * 1e3 + f64::from(*patch))
        }
        _ => None,
    }
}

/// A text cut to a printable length.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
