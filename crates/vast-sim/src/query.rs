//! The search grammar: `{"field": {"op": value}, …, "order": …, "limit": …, "type": …, "allocated_storage": …}`.
//!
//! Values arrive loosely typed (the official CLI sends numbers as strings), so a comparison first brings both sides
//! to numbers, then to booleans, then to text. Parsing gives a list of tests; matching needs nothing but a row.

use serde_json::{Map, Value};

use crate::market::PriceKind;

/// The service shows at most this many offers, whatever `limit` says (observed in 2026).
pub(crate) const MOST_OFFERS: usize = 64;

/// Keys of a query that are no filters.
const SETTINGS: [&str; 8] =
    ["order", "limit", "type", "allocated_storage", "disable_bundling", "extra_ids", "select_cols", "q"];

/// What the service filters by unless the query names the field itself.
const DEFAULT_FILTERS: [(&str, bool); 3] = [("verified", true), ("rentable", true), ("rented", false)];

/// One `field op value`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Test {
    pub(crate) field: String,
    op: Op,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Eq,
    Neq,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    NotIn,
}

/// A query that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("{0}: Extra inputs are not permitted")]
    NotAFilter(String),
    #[error("{0}: unknown operator `{1}`")]
    UnknownOperator(String, String),
    #[error("{0}: `{1}` needs a list")]
    NeedsList(String, String),
    #[error("order: expected a list of [field, \"asc\" or \"desc\"]")]
    Order,
    #[error("type: `{0}` is not one of on-demand, bid, reserved")]
    Type(String),
}

/// A parsed search.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) tests: Vec<Test>,
    pub(crate) order: Vec<(String, bool)>,
    pub(crate) limit: usize,
    pub(crate) kind: PriceKind,
    pub(crate) storage_gb: f64,
}

impl Query {
    /// Parses a search body, adding the default filters.
    pub(crate) fn parse(body: &Map<String, Value>) -> Result<Self, QueryError> {
        let mut tests = parse_filters(body, &SETTINGS)?;
        for (field, wanted) in DEFAULT_FILTERS {
            if !body.contains_key(field) {
                tests.push(Test { field: field.to_owned(), op: Op::Eq, value: Value::Bool(wanted) });
            }
        }
        let limit = body.get("limit").and_then(number).map_or(MOST_OFFERS, |limit| limit.max(0.0) as usize);
        Ok(Query {
            tests,
            order: parse_order(body.get("order"))?,
            limit: limit.min(MOST_OFFERS),
            kind: parse_kind(body.get("type"))?,
            storage_gb: body.get("allocated_storage").and_then(number).unwrap_or(0.0).max(0.0),
        })
    }

    /// Whether the search asks for offers that are rented already.
    pub(crate) fn wants_rented(&self) -> bool {
        let rented = |test: &Test| test.field == "rented" && test.passes(&Value::Bool(true));
        self.tests.iter().any(rented)
    }

    /// Filters, orders and cuts rows.
    pub(crate) fn apply(&self, rows: impl Iterator<Item = Map<String, Value>>) -> Vec<Map<String, Value>> {
        let mut kept: Vec<_> =
            rows.filter(|row| self.tests.iter().all(|test| offer_passes(test, row))).collect();
        sort_rows(&mut kept, &self.order);
        kept.truncate(self.limit);
        kept
    }
}

/// Parses the filters of an object, leaving out `settings`. Several operators on one field are all required.
pub(crate) fn parse_filters(body: &Map<String, Value>, settings: &[&str]) -> Result<Vec<Test>, QueryError> {
    let mut tests = Vec::new();
    for (field, filter) in body.iter().filter(|(field, _)| !settings.contains(&field.as_str())) {
        let Some(operators) = filter.as_object() else {
            return Err(QueryError::NotAFilter(field.clone()));
        };
        for (name, value) in operators {
            let op =
                parse_op(name).ok_or_else(|| QueryError::UnknownOperator(field.clone(), name.clone()))?;
            if matches!(op, Op::In | Op::NotIn) && !value.is_array() {
                return Err(QueryError::NeedsList(field.clone(), name.clone()));
            }
            tests.push(Test { field: field.clone(), op, value: value.clone() });
        }
    }
    Ok(tests)
}

fn parse_op(name: &str) -> Option<Op> {
    Some(match name {
        "eq" => Op::Eq,
        "neq" => Op::Neq,
        "gt" => Op::Gt,
        "gte" => Op::Gte,
        "lt" => Op::Lt,
        "lte" => Op::Lte,
        "in" => Op::In,
        "notin" | "nin" => Op::NotIn,
        _ => return None,
    })
}

fn parse_order(order: Option<&Value>) -> Result<Vec<(String, bool)>, QueryError> {
    let Some(order) = order.filter(|order| !order.is_null()) else {
        return Ok(vec![("score".to_owned(), true)]);
    };
    let keys = order.as_array().ok_or(QueryError::Order)?;
    let parse_key = |key: &Value| {
        let field = key.get(0).and_then(Value::as_str)?;
        let descending = match key.get(1).and_then(Value::as_str)? {
            "asc" => false,
            "desc" => true,
            _ => return None,
        };
        Some((field.to_owned(), descending))
    };
    keys.iter().map(|key| parse_key(key).ok_or(QueryError::Order)).collect()
}

fn parse_kind(kind: Option<&Value>) -> Result<PriceKind, QueryError> {
    match kind.and_then(Value::as_str) {
        None | Some("on-demand" | "ondemand" | "ask") => Ok(PriceKind::OnDemand),
        Some("bid" | "interruptible") => Ok(PriceKind::Bid),
        Some("reserved") => Ok(PriceKind::Reserved),
        Some(other) => Err(QueryError::Type(other.to_owned())),
    }
}

/// Some filter names differ from the row's fields; a filter on a field that no offer has is ignored.
fn offer_passes(test: &Test, row: &Map<String, Value>) -> bool {
    match test.field.as_str() {
        // Observed on the live service: a filter on `id` finds nothing, `ask_contract_id` does.
        "id" => false,
        "verified" => test.passes(&Value::Bool(row.get("verification").is_some_and(|it| it == "verified"))),
        "datacenter" => test.passes(&Value::Bool(row.get("hosting_type").is_some_and(|it| it == 1))),
        "external" => test.passes(&Value::Bool(row.get("external").is_some_and(|it| it == true))),
        "driver_version" => row.get("driver_vers").is_none_or(|value| test.passes(value)),
        "geolocation" => {
            let place = row.get("geolocation").and_then(Value::as_str).unwrap_or_default();
            let country = place.rsplit(", ").next().unwrap_or_default();
            test.passes(&Value::String(country.to_owned()))
        }
        field => row.get(field).is_none_or(|value| test.passes(value)),
    }
}

impl Test {
    /// Whether a row's value passes.
    pub(crate) fn passes(&self, actual: &Value) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let listed =
            |value: &Value| value.as_array().is_some_and(|all| all.iter().any(|one| same(actual, one)));
        match self.op {
            Op::Eq => same(actual, &self.value),
            Op::Neq => !same(actual, &self.value),
            Op::Gt => matches!(compare(actual, &self.value), Some(Greater)),
            Op::Gte => matches!(compare(actual, &self.value), Some(Greater | Equal)),
            Op::Lt => matches!(compare(actual, &self.value), Some(Less)),
            Op::Lte => matches!(compare(actual, &self.value), Some(Less | Equal)),
            Op::In => listed(&self.value),
            Op::NotIn => !listed(&self.value),
        }
    }
}

/// Sorts by the keys in turn; unknown fields compare equal.
pub(crate) fn sort_rows(rows: &mut [Map<String, Value>], order: &[(String, bool)]) {
    rows.sort_by(|left, right| compare_rows(left, right, order));
}

/// Compares two rows by the keys in turn.
pub(crate) fn compare_rows(
    left: &Map<String, Value>,
    right: &Map<String, Value>,
    order: &[(String, bool)],
) -> std::cmp::Ordering {
    for (field, descending) in order {
        let (left, right) =
            (left.get(field).unwrap_or(&Value::Null), right.get(field).unwrap_or(&Value::Null));
        let ordering = match (left.is_null(), right.is_null()) {
            (false, false) => compare(left, right).unwrap_or(std::cmp::Ordering::Equal),
            (left_null, right_null) => left_null.cmp(&right_null),
        };
        let ordering = if *descending { ordering.reverse() } else { ordering };
        if ordering.is_ne() {
            return ordering;
        }
    }
    std::cmp::Ordering::Equal
}

fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        _ => compare(left, right) == Some(std::cmp::Ordering::Equal),
    }
}

fn compare(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    if let (Value::String(left), Value::String(right)) = (left, right) {
        return Some(left.cmp(right));
    }
    if let (Some(left), Some(right)) = (number(left), number(right)) {
        return left.partial_cmp(&right);
    }
    Some(truth(left)?.cmp(&truth(right)?))
}

/// A number, also when it comes as text.
pub(crate) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite())
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => number.as_f64().map(|number| number != 0.0),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::{MOST_OFFERS, Query, QueryError};

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    fn rows() -> Vec<Map<String, Value>> {
        let row = |id: u64, gpus: u32, price: f64, place: &str, verified: &str| {
            object(json!({"id": id, "ask_contract_id": id, "num_gpus": gpus, "dph_total": price,
                "geolocation": place, "verification": verified, "gpu_name": "RTX 4090", "rented": false,
                "rentable": true, "external": null, "static_ip": true}))
        };
        vec![
            row(1, 1, 0.4, "Texas, US", "verified"),
            row(2, 2, 0.3, "Oslo, NO", "verified"),
            row(3, 1, 0.2, "Texas, US", "unverified"),
        ]
    }

    fn found(query: Value) -> Vec<u64> {
        let query = Query::parse(&object(query)).expect("a valid query");
        let rows = query.apply(rows().into_iter());
        rows.iter().filter_map(|row| row["id"].as_u64()).collect()
    }

    #[test]
    fn filters_mean_what_the_service_means() {
        let table: [(Value, &[u64]); 16] = [
            (json!({"order": [["dph_total", "asc"]]}), &[2, 1]),
            (json!({"order": [["dph_total", "desc"]]}), &[1, 2]),
            (json!({"verified": {"eq": false}}), &[3]),
            (json!({"verified": {"in": [true, false]}, "order": [["dph_total", "asc"]]}), &[3, 2, 1]),
            (json!({"num_gpus": {"eq": "1"}}), &[1]),
            (json!({"num_gpus": {"gte": 1, "lt": "2"}}), &[1]),
            (json!({"dph_total": {"lte": 0.35}}), &[2]),
            (json!({"geolocation": {"in": ["NO", "SE"]}}), &[2]),
            (json!({"geolocation": {"notin": ["NO"]}}), &[1]),
            (json!({"gpu_name": {"eq": "RTX_4090"}}), &[]),
            (json!({"gpu_name": {"in": ["RTX 4090"]}, "num_gpus": {"neq": 1}}), &[2]),
            (json!({"id": {"eq": 1}}), &[]),
            (json!({"ask_contract_id": {"eq": 1}}), &[1]),
            (
                json!({"external": {"eq": false}, "static_ip": {"eq": "true"}, "limit": 1, "order": [["dph_total", "asc"]]}),
                &[2],
            ),
            (json!({"no_such_field": {"eq": 7}, "num_gpus": {"eq": 2}}), &[2]),
            (json!({"rented": {"eq": true}}), &[]),
        ];
        for (query, expected) in table {
            assert_eq!(found(query.clone()), expected, "{query}");
        }
    }

    #[test]
    fn a_query_that_cannot_be_understood_is_refused() {
        let refused = |query: Value| Query::parse(&object(query)).map(|_| ()).unwrap_err();
        assert_eq!(refused(json!({"rentable": true})), QueryError::NotAFilter("rentable".to_owned()));
        assert!(matches!(refused(json!({"num_gpus": {"is": 1}})), QueryError::UnknownOperator(_, _)));
        assert!(matches!(refused(json!({"num_gpus": {"in": 1}})), QueryError::NeedsList(_, _)));
        assert_eq!(refused(json!({"order": [["a", "up"]]})), QueryError::Order);
        assert!(matches!(refused(json!({"type": "free"})), QueryError::Type(_)));
    }

    #[test]
    fn no_limit_lifts_the_cap() {
        let query = Query::parse(&object(json!({"limit": 3000}))).expect("valid");
        assert_eq!(query.limit, MOST_OFFERS);
    }

    proptest! {
        #[test]
        fn no_json_object_makes_the_parser_or_the_filter_panic(text in "\\{\"[a-z_]{1,9}\":\\{\"(eq|gt|in|notin|x)\":(\"[^\"\\\\]{0,6}\"|-?[0-9]{1,30}|\\[1,\"a\",null\\]|null|true)\\}\\}") {
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            if let Ok(query) = Query::parse(&object(value)) {
                let _ = query.apply(rows().into_iter());
            }
        }
    }
}
