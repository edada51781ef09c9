//! One TOML file as a layer that knows its lines.

use std::{fs, io::Read, path::Path};

use figment::value::{Dict, Value};
use toml_edit::{Document, Item, TableLike};

use super::{
    fault::{Fault, Place},
    layer::Layer,
};

/// Longest file that is read: a configuration of thousands of nodes stays far below, and a mistaken path to a disk image
/// is refused.
const LONGEST: u64 = 4 << 20;

/// Reads a file.
///
/// # Errors
/// The fault, with the line of a syntax error.
pub(super) fn read(path: &Path) -> Result<Layer, Fault> {
    let name = path.display().to_string();
    let fault = |message: String| Fault::new("", message).at(Some(Place::origin(name.clone())));
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(|error| fault(format!("cannot be read: {error}")))?;
    if text.len() as u64 > LONGEST {
        return Err(fault(format!("is longer than {LONGEST} bytes")));
    }
    parse(&name, &text)
}

/// Parses a text under a name.
pub(super) fn parse(name: &str, text: &str) -> Result<Layer, Fault> {
    let lines = Lines { name, text };
    let document = Document::parse(text).map_err(|error| {
        let place = lines.place(error.span());
        Fault::new("", format!("is not TOML: {}", error.message().trim().replace('\n', ", "))).at(Some(place))
    })?;
    let mut layer = Layer::new(name);
    for (key, item) in document.as_table().iter() {
        let place = lines.place(span_of(document.as_table(), key));
        let value = value_of(&lines, &mut layer, key, item);
        layer.set(&[key], value, place);
    }
    Ok(layer)
}

struct Lines<'a> {
    name: &'a str,
    text: &'a str,
}

impl Lines<'_> {
    fn place(&self, span: Option<std::ops::Range<usize>>) -> Place {
        let before = span.and_then(|span| self.text.as_bytes().get(..span.start));
        let line = before.map(|before| before.iter().filter(|byte| **byte == b'\n').count() + 1);
        Place { origin: self.name.into(), line, variable: None }
    }
}

fn span_of(table: &dyn TableLike, key: &str) -> Option<std::ops::Range<usize>> {
    let (key, item) = table.get_key_value(key)?;
    key.span().or_else(|| item.span())
}

fn value_of(lines: &Lines<'_>, layer: &mut Layer, path: &str, item: &Item) -> Value {
    match item {
        Item::None => Value::from(String::new()),
        Item::Value(value) => scalar(lines, layer, path, value),
        Item::Table(table) => dict_of(lines, layer, path, table),
        Item::ArrayOfTables(tables) => {
            let element = |(index, table): (usize, &toml_edit::Table)| {
                let path = format!("{path}[{index}]");
                layer.note(path.clone(), lines.place(table.span()));
                dict_of(lines, layer, &path, table)
            };
            let elements: Vec<Value> = tables.iter().enumerate().map(element).collect();
            Value::from(elements)
        }
    }
}

fn dict_of(lines: &Lines<'_>, layer: &mut Layer, path: &str, table: &dyn TableLike) -> Value {
    let mut dict = Dict::new();
    for (key, item) in table.iter() {
        let below = format!("{path}.{key}");
        layer.note(below.clone(), lines.place(span_of(table, key)));
        let value = value_of(lines, layer, &below, item);
        dict.insert(key.into(), value);
    }
    Value::from(dict)
}

fn scalar(lines: &Lines<'_>, layer: &mut Layer, path: &str, value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => Value::from(text.value().clone()),
        toml_edit::Value::Integer(number) => Value::from(*number.value()),
        toml_edit::Value::Float(number) => Value::from(*number.value()),
        toml_edit::Value::Boolean(flag) => Value::from(*flag.value()),
        toml_edit::Value::Datetime(time) => Value::from(time.value().to_string()),
        toml_edit::Value::InlineTable(table) => dict_of(lines, layer, path, table),
        toml_edit::Value::Array(array) => {
            let element = |(index, value): (usize, &toml_edit::Value)| {
                let path = format!("{path}[{index}]");
                if value.is_inline_table() {
                    layer.note(path.clone(), lines.place(value.span()));
                }
                scalar(lines, layer, &path, value)
            };
            let elements: Vec<Value> = array.iter().enumerate().map(element).collect();
            Value::from(elements)
        }
    }
}
