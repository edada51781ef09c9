//! Reads keys out of the merged settings, typed, and keeps two records on the way: the faults, and every key with the
//! value and the place it came from.

use std::{collections::BTreeMap, time::Duration};

use figment::value::{Dict, Value};
use serde::de::DeserializeOwned;

use super::{
    Explained,
    fault::{Fault, Place},
    keys,
    kind::{Parsed, shown},
    layer::{BUILT_IN, Settings},
};
use crate::fleet::units::Money;

/// The reader; a getter of a faulty key gives the built-in default, so that reading goes on and finds the other faults.
pub(super) struct Reader<'a> {
    pub settings: &'a Settings,
    pub faults: Vec<Fault>,
    pub explained: BTreeMap<String, Explained>,
    groups: Vec<Dict>,
    /// The group whose nodes are being read.
    pub group: Option<usize>,
}

impl<'a> Reader<'a> {
    pub fn new(settings: &'a Settings) -> Self {
        let mut faults = Vec::new();
        let groups = settings.tables("group").unwrap_or_else(|place| {
            let fault = Fault::new("group", "must be a list of tables").at(Some(place));
            faults.push(fault.hint("write `[[group]]` with two brackets"));
            Vec::new()
        });
        Self { settings, faults, explained: BTreeMap::new(), groups, group: None }
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The value of a key with the path it was really found at: a group's own, or the fleet's.
    fn lookup(&self, path: &str) -> Option<(String, Value, Place)> {
        let grouped = self.group.and_then(|index| Some((index, self.groups.get(index)?)));
        if let Some((index, group)) = grouped
            && let Some(value) = find_in(group, path)
        {
            let full = format!("group[{index}].{path}");
            let place = self.settings.place_of(value, &full);
            return Some((full, value.clone(), place));
        }
        let (value, place) = self.settings.find(path)?;
        Some((path.into(), value, place))
    }

    /// The parsed value of a key; the default's if it is faulty; `None` if there is neither.
    fn parsed(&mut self, path: &str) -> Option<Parsed> {
        let key = keys::find(path)?;
        let found = self.lookup(path);
        let Some((full, value, place)) = found else {
            self.explain(path, None, Place::origin(BUILT_IN), key.restart);
            // Only a section that is no table takes the default away.
            return self.settings.default_of(path).and_then(|value| key.kind.parse(&value).ok());
        };
        match key.kind.parse(&value) {
            Ok(Parsed::Text(text)) if text.is_empty() && key.default.is_empty() => {
                self.explain(path, None, place, key.restart);
                None
            }
            Ok(parsed) => {
                self.explain(&full, Some(parsed.text()), place, key.restart);
                Some(parsed)
            }
            Err(message) => {
                self.faults.push(Fault::new(full, message).at(Some(place)));
                self.settings.default_of(path).and_then(|value| key.kind.parse(&value).ok())
            }
        }
    }

    /// Records a value for `config show`.
    pub fn explain(&mut self, path: &str, value: Option<String>, place: Place, restart: bool) {
        let explained =
            Explained { key: path.into(), value, source: place, needs_restart: restart, secret: None };
        self.explained.insert(path.into(), explained);
    }

    /// Whether a key differs from its default. A file that lists every key with its default says nothing by it.
    pub fn is_set(&self, path: &str) -> bool {
        let value = self.lookup(path).map(|(_, value, _)| value);
        value.is_some() && value != self.settings.default_of(path)
    }

    /// A fault of a key, at its place.
    pub fn fault(&mut self, path: &str, message: impl Into<String>) {
        let fault = self.located(path, message.into());
        self.push(path, fault);
    }

    /// The same with a hint.
    pub fn fault_hint(&mut self, path: &str, message: impl Into<String>, hint: impl Into<Box<str>>) {
        let fault = self.located(path, message.into()).hint(hint);
        self.push(path, fault);
    }

    /// A group's fault that the fleet's own value has as well is told once.
    fn push(&mut self, path: &str, fault: Fault) {
        let told = self.faults.iter().any(|told| &*told.key == path && told.message == fault.message);
        if !told {
            self.faults.push(fault);
        }
    }

    fn located(&self, path: &str, message: String) -> Fault {
        let Some((full, _, place)) = self.lookup(path) else { return Fault::new(path, message) };
        match self.group {
            // The value is the fleet's, but it is this group in which it does not fit.
            Some(index) if full == path => {
                let group = format!("group[{index}]");
                let place =
                    self.settings.find("group").map(|(value, _)| self.settings.place_of(&value, &group));
                Fault::new(format!("{group}.{path}"), message).at(place)
            }
            _ => Fault::new(full, message).at(Some(place)),
        }
    }

    pub fn duration(&mut self, path: &str) -> Duration {
        if let Some(Parsed::Duration(duration)) = self.parsed(path) { duration } else { Duration::ZERO }
    }

    /// A count; the limits of the key make it fit.
    pub fn count(&mut self, path: &str) -> u32 {
        self.optional_count(path).unwrap_or(0)
    }

    pub fn optional_count(&mut self, path: &str) -> Option<u32> {
        if let Some(Parsed::Count(count)) = self.parsed(path) { u32::try_from(count).ok() } else { None }
    }

    pub fn number(&mut self, path: &str) -> f64 {
        if let Some(Parsed::Number(number)) = self.parsed(path) { number } else { 0.0 }
    }

    pub fn dollars(&mut self, path: &str) -> Option<Money> {
        if let Some(Parsed::Dollars(money)) = self.parsed(path) { Some(money) } else { None }
    }

    pub fn flag(&mut self, path: &str) -> bool {
        matches!(self.parsed(path), Some(Parsed::Flag(true)))
    }

    pub fn text(&mut self, path: &str) -> Option<String> {
        if let Some(Parsed::Text(text)) = self.parsed(path) { Some(text) } else { None }
    }

    pub fn texts(&mut self, path: &str) -> Option<Vec<String>> {
        if let Some(Parsed::Texts(texts)) = self.parsed(path) { Some(texts) } else { None }
    }

    pub fn table(&mut self, path: &str) -> BTreeMap<String, String> {
        if let Some(Parsed::Table(table)) = self.parsed(path) { table } else { BTreeMap::new() }
    }

    /// A word of one of our own enums, for keys that allow no other.
    pub fn choice<T: DeserializeOwned + Default>(&mut self, path: &str) -> T {
        self.text(path).and_then(|text| word(&text)).unwrap_or_default()
    }

    /// A list of words of one of our own enums.
    pub fn words<T: DeserializeOwned>(&mut self, path: &str, all: &[&str]) -> Vec<T> {
        let texts = self.texts(path).unwrap_or_default();
        let mut words = Vec::with_capacity(texts.len());
        for text in texts {
            match word(&text) {
                Some(word) => words.push(word),
                None => self.fault(path, format!("`{}` is not one of {}", shown(&text), all.join(", "))),
            }
        }
        words
    }

    /// A field of one table of a list, such as `group[1].count`.
    pub fn field(
        &mut self,
        list: &'static str,
        index: usize,
        table: &Dict,
        name: &'static str,
    ) -> Option<Parsed> {
        let field = keys::FIELDS.iter().find(|field| field.list == list && field.name == name)?;
        let value = table.get(name)?;
        let path = format!("{list}[{index}].{name}");
        let place = self.settings.place_of(value, &path);
        match field.kind.parse(value) {
            Ok(parsed) => {
                // Groups are part of the policy, which a reload takes over; sinks are not.
                self.explain(&path, Some(parsed.text()), place, list != "group");
                Some(parsed)
            }
            Err(message) => {
                self.faults.push(Fault::new(path, message).at(Some(place)));
                None
            }
        }
    }

    /// A fault of a field.
    pub fn field_fault(
        &mut self,
        list: &str,
        index: usize,
        table: &Dict,
        name: &str,
        message: impl Into<String>,
    ) {
        let path = format!("{list}[{index}].{name}");
        let whole = Value::from(table.clone());
        let place = self.settings.place_of(table.get(name).unwrap_or(&whole), &path);
        self.faults.push(Fault::new(path, message).at(Some(place)));
    }

    /// A copy of a group's table.
    pub fn group_table(&self, index: usize) -> Dict {
        self.groups.get(index).cloned().unwrap_or_default()
    }
}

/// A word of an enum that names its variants for serde.
pub(super) fn word<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.into())).ok()
}

fn find_in<'d>(dict: &'d Dict, path: &str) -> Option<&'d Value> {
    match path.split_once('.') {
        None => dict.get(path),
        Some((first, rest)) => match dict.get(first)? {
            Value::Dict(_, inner) => find_in(inner, rest),
            _ => None,
        },
    }
}
