//! Reading instances: the paged list, the single read, the retired list.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::Call;
use super::reply::Reply;
use super::rows::instance_row;
use crate::clock::SimSeconds;
use crate::faults::{FaultKind, Target};
use crate::query::{Test, compare_rows, parse_filters, sort_rows};
use crate::world::State;

/// Rows per page: default and most; a limit of zero or less becomes five (observed live).
const MOST_ROWS: usize = 25;
const ROWS_FOR_NO_LIMIT: usize = 5;

/// Columns that are stored and can be filtered and ordered by; computed ones answer 400.
const STORED: [&str; 16] = [
    "id",
    "label",
    "actual_status",
    "intended_status",
    "cur_state",
    "gpu_name",
    "verification",
    "machine_id",
    "host_id",
    "image_uuid",
    "start_date",
    "end_date",
    "geolocation",
    "is_bid",
    "template_hash_id",
    "static_ip",
];

/// `GET /api/v1/instances/`.
pub(crate) fn list(state: &mut State, call: &Call) -> Reply {
    match ListQuery::parse(&call.query) {
        Ok(query) => query.answer(state, call),
        Err(reply) => reply,
    }
}

struct ListQuery {
    tests: Vec<Test>,
    order: Vec<(String, bool)>,
    columns: Option<Vec<String>>,
    limit: usize,
    after: Option<Cursor>,
}

/// Where a page ended: its number and the last row's sort key.
struct Cursor {
    page: u32,
    key: Map<String, Value>,
}

fn invalid(message: impl Into<String>) -> Reply {
    Reply::error(400, "invalid_request", message)
}

impl ListQuery {
    fn parse(query: &HashMap<String, String>) -> Result<Self, Reply> {
        let json_of = |name: &str, default: Value| match query.get(name) {
            None => Ok(default),
            Some(text) => serde_json::from_str(text).map_err(|_| invalid(format!("{name}: invalid json"))),
        };
        let Value::Object(filters) = json_of("select_filters", json!({}))? else {
            return Err(invalid("select_filters: expected an object"));
        };
        let tests = parse_filters(&filters, &[]).map_err(|error| invalid(error.to_string()))?;
        for field in tests.iter().map(|test| &test.field) {
            check_stored(field)?;
        }
        let columns: Value = json_of("select_cols", Value::Null)?;
        let columns =
            columns.as_array().map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        Ok(ListQuery {
            tests,
            order: parse_order(&json_of("order_by", json!([]))?)?,
            columns: columns.filter(|columns: &Vec<String>| !columns.iter().any(|column| column == "*")),
            limit: parse_limit(query.get("limit"))?,
            after: query
                .get("after_token")
                .filter(|token| !token.is_empty())
                .map(|t| Cursor::decode(t))
                .transpose()?,
        })
    }

    fn answer(&self, state: &mut State, call: &Call) -> Reply {
        let short = draw_short(state);
        let mut rows = readable_rows(state, call.now);
        if let Some(most) = short {
            rows.truncate(most);
        }
        let total = rows.len();
        rows.retain(|row| {
            self.tests.iter().all(|test| test.passes(row.get(&test.field).unwrap_or(&Value::Null)))
        });
        sort_rows(&mut rows, &self.order);
        let found = rows.len();
        let labels = label_counts(&rows);
        if let Some(cursor) = &self.after {
            rows.retain(|row| compare_rows(row, &cursor.key, &self.order) == Ordering::Greater);
        }
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let page = self.after.as_ref().map_or(1, |cursor| cursor.page + 1);
        let next = rows.last().filter(|_| more).map(|row| self.encode_cursor(row, page));
        let rows: Vec<Value> = rows.into_iter().map(|row| self.select(row)).collect();
        Reply::ok(json!({
            "success": true,
            "instances_found": found,
            "total_instances": total,
            "label_counts": labels,
            "next_token": next,
            "instances": rows,
        }))
    }

    fn select(&self, row: Map<String, Value>) -> Value {
        match &self.columns {
            None => Value::Object(row),
            Some(columns) => {
                let pick =
                    |column: &String| (column.clone(), row.get(column).cloned().unwrap_or(Value::Null));
                Value::Object(columns.iter().map(pick).collect())
            }
        }
    }

    fn encode_cursor(&self, row: &Map<String, Value>, page: u32) -> String {
        let pick =
            |(field, _): &(String, bool)| (field.clone(), row.get(field).cloned().unwrap_or(Value::Null));
        let key: Map<String, Value> = self.order.iter().map(pick).collect();
        json!({"page": page, "key": key}).to_string().bytes().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Cursor {
    fn decode(token: &str) -> Result<Self, Reply> {
        decode_cursor(token).ok_or_else(|| Reply::error(400, "invalid_token", "Invalid after_token"))
    }
}

fn decode_cursor(token: &str) -> Option<Cursor> {
    let digits: Vec<u8> =
        token.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect();
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    let page = u32::try_from(value.get("page")?.as_u64()?).ok()?;
    Some(Cursor { page, key: value.get("key")?.as_object()?.clone() })
}

/// Which page a list call asks for, counting from 1.
pub(crate) fn page_of(query: &HashMap<String, String>) -> u32 {
    let cursor = query.get("after_token").and_then(|token| decode_cursor(token));
    cursor.map_or(1, |cursor| cursor.page + 1)
}

fn check_stored(field: &str) -> Result<(), Reply> {
    if STORED.contains(&field) { Ok(()) } else { Err(invalid(format!("{field} is not a valid search key"))) }
}

/// Always ends with the id, so that the order is total and a cursor names one place.
fn parse_order(order: &Value) -> Result<Vec<(String, bool)>, Reply> {
    let keys = order.as_array().ok_or_else(|| invalid("order_by: expected a list"))?;
    let mut parsed = Vec::new();
    for key in keys {
        let column =
            key.get("col").and_then(Value::as_str).ok_or_else(|| invalid("order_by: col missing"))?;
        check_stored(column)?;
        parsed.push((column.to_owned(), key.get("dir").and_then(Value::as_str) == Some("desc")));
    }
    if !parsed.iter().any(|(column, _)| column == "id") {
        parsed.push(("id".to_owned(), false));
    }
    Ok(parsed)
}

fn parse_limit(limit: Option<&String>) -> Result<usize, Reply> {
    let Some(text) = limit else { return Ok(MOST_ROWS) };
    let limit: i64 = text.parse().map_err(|_| invalid("limit: expected an integer"))?;
    Ok(usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(ROWS_FOR_NO_LIMIT).min(MOST_ROWS))
}

fn draw_short(state: &mut State) -> Option<usize> {
    let target = Target { endpoint: Some("list"), ..Target::default() };
    let drawn = state.faults.draw(&mut state.fault_rng, &target, |kind| match kind {
        FaultKind::ListShort { rows } => Some(*rows),
        _ => None,
    });
    drawn.map(|(_, rows)| rows)
}

fn readable_rows(state: &mut State, now: SimSeconds) -> Vec<Map<String, Value>> {
    let ids: Vec<u64> = state.instances.values().filter(|it| it.is_readable(now)).map(|it| it.id).collect();
    ids.into_iter().filter_map(|id| row_of(state, id, now)).collect()
}

fn row_of(state: &mut State, id: u64, now: SimSeconds) -> Option<Map<String, Value>> {
    let stale = state.draw_for(id, None, None, |kind| match kind {
        FaultKind::StaleStatus { status } => Some(status.clone()),
        _ => None,
    });
    let instance = state.instances.get(&id).filter(|it| it.is_readable(now))?;
    Some(instance_row(instance, stale.map(|(_, status)| status), now))
}

fn label_counts(rows: &[Map<String, Value>]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let label = row.get("label").and_then(Value::as_str).unwrap_or_default();
        *counts.entry(label.to_owned()).or_insert(0) += 1;
    }
    counts
}

/// `GET /api/v0/instances/{id}/`: an object under the plural key, null when unknown or not yet readable.
pub(crate) fn show(state: &mut State, call: &Call, id: u64) -> Reply {
    let row = row_of(state, id, call.now);
    let volumeless = row.map(|mut row| {
        row.remove("volume_info");
        Value::Object(row)
    });
    Reply::ok(json!({"instances": volumeless}))
}

/// `GET /api/v0/instances/`, retired in 2026.
pub(crate) fn retired() -> Reply {
    Reply::error(410, "deprecated_endpoint", "This endpoint is deprecated. Use /api/v1/instances/ instead.")
}

/// `GET /api/v0/instances/filters/`: the distinct combinations the CLI's table offers as filters.
pub(crate) fn filters(state: &State, call: &Call) -> Reply {
    let rows = state.instances.values().filter(|it| it.is_readable(call.now)).map(|it| {
        json!({
            "actual_status": it.actual_status(),
            "gpu_name": it.machine.gpu.name,
            "verification": it.machine.verification,
        })
    });
    Reply::ok(json!({"success": true, "filters": rows.collect::<Vec<_>>()}))
}
