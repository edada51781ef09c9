//! The search language of Vast.ai's command line, parsed once into typed filters.
//!
//! ```text
//! gpu_name=RTX_4090 num_gpus>=1 reliability>0.98 geolocation in [US,CA] rented=False dph<=2.5 verified=any
//! ```
//!
//! Stricter than the original, which warns of an unknown field and goes on: a mistyped filter that is silently dropped
//! rents the wrong box, so an unknown field, a value of the wrong kind and a filter given twice are errors with a column.
//! The provider does not apply its filters exactly, therefore [`Query::miss`] checks each found offer again.

mod fields;
mod matching;
mod parse;

use std::fmt;

pub use fields::{FIELDS, Field, Kind};

/// A checked query. Filters on one field are all required.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    text: String,
    filters: Vec<Filter>,
    lifted: Vec<&'static str>,
}

/// One condition on one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The field's name in a search request.
    pub field: &'static str,
    /// The comparison.
    pub op: Op,
    /// What to compare with, in the units of a search request (MB, seconds, dollars per hour).
    pub value: Value,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// One of a list.
    In,
    /// None of a list.
    NotIn,
}

impl Op {
    /// The provider's word for it (Vast.ai API, search query grammar).
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Neq => "neq",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::In => "in",
            Self::NotIn => "notin",
        }
    }
}

/// What a field is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A finite number.
    Number(f64),
    /// True or false.
    Flag(bool),
    /// Text.
    Text(String),
    /// Nothing: `null` or `None`.
    Null,
    /// The list of `in` and `notin`, never empty.
    List(Vec<Value>),
}

/// Why a text is not a query, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {fault}")]
pub struct QueryError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: QueryFault,
}

/// What is wrong with a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryFault {
    /// No such field.
    #[error("unknown field `{name}`{}", suggestion(*nearest))]
    UnknownField {
        /// As written.
        name: String,
        /// The field that was probably meant.
        nearest: Option<&'static str>,
    },
    /// Something that cannot start a filter.
    #[error("expected a field name before `{rest}`")]
    FieldMissing {
        /// The text there, cut to a printable length.
        rest: String,
    },
    /// A field without a comparison.
    #[error("expected `=`, `!=`, `<`, `<=`, `>`, `>=`, `in` or `notin` after `{field}`")]
    OperatorMissing {
        /// The field.
        field: &'static str,
    },
    /// A comparison without a value.
    #[error("expected a value for `{field}`")]
    ValueMissing {
        /// The field.
        field: &'static str,
    },
    /// A list or a quoted text that does not end.
    #[error("`{open}` is never closed")]
    Unclosed {
        /// What opened it.
        open: char,
    },
    /// A value of the wrong kind.
    #[error("`{field}` wants {wanted}, not `{text}`")]
    WrongKind {
        /// The field.
        field: &'static str,
        /// What it wants.
        wanted: &'static str,
        /// As written, cut to a printable length.
        text: String,
    },
    /// An order asked of values that have none.
    #[error("`{field}` cannot be compared by `{op}`; use `=`, `!=`, `in` or `notin`")]
    NoOrder {
        /// The field.
        field: &'static str,
        /// The comparison.
        op: &'static str,
    },
    /// A list where one value belongs.
    #[error("`{field}` takes one value here; for several use `in`")]
    ListUnexpected {
        /// The field.
        field: &'static str,
    },
    /// `any` with something else than `=`.
    #[error("`any` makes sense only with `=`")]
    WildcardOperator,
    /// The same comparison twice, of which the provider would drop one; or `any` beside a filter.
    #[error("`{field}` is filtered twice by `{op}`")]
    Repeated {
        /// The field.
        field: &'static str,
        /// The comparison.
        op: &'static str,
    },
}

fn suggestion(nearest: Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

impl Query {
    /// The filters in the order written.
    #[must_use]
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// Whether the query says `field=any`, which lifts a filter that a search otherwise has by default.
    #[must_use]
    pub fn lifts(&self, field: &str) -> bool {
        self.lifted.contains(&field)
    }

    /// Whether the query says anything of a field, `any` included.
    #[must_use]
    pub fn mentions(&self, field: &str) -> bool {
        self.lifts(field) || self.filters.iter().any(|filter| filter.field == field)
    }
}

impl Default for Query {
    /// The original keeper's search: a GPU with an active display, one of them, in the United States, not rented.
    fn default() -> Self {
        let filter = |field, value| Filter { field, op: Op::Eq, value };
        Self {
            text: "gpu_display_active=true geolocation=US num_gpus=1 rented=False".into(),
            filters: vec![
                filter("gpu_display_active", Value::Flag(true)),
                filter("geolocation", Value::Text("US".into())),
                filter("num_gpus", Value::Number(1.0)),
                filter("rented", Value::Flag(false)),
            ],
            lifted: Vec::new(),
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Null => f.write_str("null"),
            Self::List(values) => {
                let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", shown.join(", "))
            }
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            Op::Eq => "=",
            Op::Neq => "!=",
            Op::Gt => ">",
            Op::Gte => ">=",
            Op::Lt => "<",
            Op::Lte => "<=",
            Op::In => " in ",
            Op::NotIn => " notin ",
        };
        write!(f, "{}{op}{}", self.field, self.value)
    }
}
