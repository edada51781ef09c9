//! What the account was charged, by instance, over pages; or a fault. A row that does not decode spoils the reading: half a bill
//! explains nothing.
//!
//! The form is that of the Vast.ai API reference (`show charges`): rows of one contract and some days, with their items `gpu`,
//! `disk`, `bwd` and `bwu`, the last two of which are traffic.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::wire::{Number, WireFault};
use crate::fleet::{
    charge::{Charge, Charges},
    name::InstanceId,
    units::{Money, Timestamp},
};

/// What an instance's contract is called among the charges.
const SOURCE: &str = "instance-";
/// The items that are traffic, down and up.
const TRAFFIC: [&str; 2] = ["bwd", "bwu"];

/// The pages read so far.
#[derive(Default)]
pub(super) struct ChargePages {
    listed: u64,
    total: u64,
    rows: BTreeMap<InstanceId, Charge>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    source: Value,
    amount: Number,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    r#type: Value,
    amount: Number,
}

impl ChargePages {
    /// Takes the next page and returns the cursor of the one after it, if there is one.
    pub(super) fn add(&mut self, page: &Map<String, Value>) -> Result<Option<String>, WireFault> {
        let Some(Value::Array(rows)) = page.get("results") else {
            return Err(WireFault::NoList { field: "results" });
        };
        let total = page.get("total").and_then(Value::as_u64);
        // Charges are added while they are read, so the total may grow from page to page.
        self.total = total.ok_or(WireFault::Field { field: "total", wanted: "count" })?;
        self.listed += rows.len() as u64;
        for row in rows {
            self.add_row(row)?;
        }
        match page.get("next_token") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(cursor)) if cursor.is_empty() => Ok(None),
            Some(Value::String(_)) if rows.is_empty() => Err(WireFault::CursorRepeated),
            Some(Value::String(cursor)) => Ok(Some(cursor.clone())),
            Some(_) => Err(WireFault::Field { field: "next_token", wanted: "cursor" }),
        }
    }

    fn add_row(&mut self, row: &Value) -> Result<(), WireFault> {
        let id = row.get("source").and_then(Value::as_str).unwrap_or("without a source").to_owned();
        let fault =
            |detail: String| WireFault::Row { what: "charge", id: super::error::printable(&id), detail };
        let row = Row::deserialize(row).map_err(|error| fault(error.to_string()))?;
        // Volumes and serverless are charged too, and are not instances.
        let Some(number) = row.source.as_str().and_then(|source| source.strip_prefix(SOURCE)) else {
            return Ok(());
        };
        let number: u64 = number.parse().map_err(|_| fault("no number of an instance".into()))?;
        let money = |number: Number| number.0.and_then(Money::from_dollars);
        let amount = money(row.amount).ok_or_else(|| fault("no `amount`".into()))?;
        let traffic = row.items.iter().filter(|item| TRAFFIC.iter().any(|kind| item.r#type == *kind));
        let traffic: Money = traffic.filter_map(|item| money(item.amount)).sum();
        let charge = self.rows.entry(InstanceId(number)).or_default();
        charge.rent = charge.rent.plus(amount.minus(traffic));
        charge.traffic = charge.traffic.plus(traffic);
        let label = row.metadata.get("label").and_then(Value::as_str);
        charge.label = label.map(str::to_owned).or(charge.label.take());
        Ok(())
    }

    /// All charges, if they are all.
    pub(super) fn finish(self, from: Timestamp) -> Result<Charges, WireFault> {
        if self.listed < self.total {
            return Err(WireFault::Count { listed: self.listed, total: self.total });
        }
        Ok(Charges { from, rows: self.rows })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(total: u64, next: Option<&str>, rows: Value) -> Map<String, Value> {
        let page = json!({"success": true, "count": 1, "total": total, "next_token": next, "results": rows});
        page.as_object().unwrap().clone()
    }

    fn row(id: u64, amount: Value) -> Value {
        json!({"start": 1_791_504_000, "end": 1_791_504_000, "type": "instance", "source": format!("instance-{id}"),
            "description": "1 day", "amount": amount, "metadata": {"label": "vk:a:b:c"}, "items": [
                {"type": "gpu", "description": "0.2 hours at $0.5/hour", "amount": 0.1, "items": []},
                {"type": "bwd", "description": "79 GB", "amount": 0.2, "items": []},
                {"type": "bwu", "description": "2 GB", "amount": 0.01, "items": []}]})
    }

    #[test]
    fn days_and_pages_of_one_instance_are_added_up_and_its_traffic_told_apart() {
        let mut pages = ChargePages::default();
        let volume = json!({"source": "volume-9", "type": "volume", "amount": 3.0});
        let more = pages.add(&page(2, Some("t"), json!([row(7, json!(0.333)), volume]))).unwrap();
        assert_eq!(more.as_deref(), Some("t"));
        assert_eq!(pages.add(&page(3, None, json!([row(7, json!("0.5"))]))).unwrap(), None);
        let charges = pages.finish(Timestamp(5)).unwrap();
        let charge = &charges.rows[&InstanceId(7)];
        assert_eq!((charges.rows.len(), charge.rent, charge.traffic), (1, Money(413_000), Money(420_000)));
        assert_eq!(charge.label.as_deref(), Some("vk:a:b:c"));
    }

    #[test]
    fn what_is_no_whole_bill_is_none() {
        let refused = |page: Map<String, Value>| {
            let mut pages = ChargePages::default();
            pages.add(&page).and_then(|_| pages.finish(Timestamp(0))).is_err()
        };
        assert!(refused(page(2, None, json!([row(7, json!(1))]))), "one row of two");
        assert!(refused(page(1, None, json!([row(7, Value::Null)]))), "no amount");
        assert!(refused(page(1, None, json!([{"source": "instance-x", "amount": 1}]))), "no instance");
        assert!(refused(page(1, Some("t"), json!([]))), "an empty page that goes on");
        assert!(refused(json!({"success": true, "results": []}).as_object().unwrap().clone()), "no total");
        assert!(refused(json!({"success": true}).as_object().unwrap().clone()), "no rows");
        assert!(!refused(page(0, None, json!([]))), "nothing was charged");
    }
}
