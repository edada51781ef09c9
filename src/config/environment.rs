//! Environment variables, `.env` and flags as layers.
//!
//! What a variable means is decided by its name: a documented flat name (`HEALTH_CHECK_INTERVAL`), a nested one
//! (`KEEPER__HEALTH__INTERVAL`), a secret, or none of our business. Unknown `KEEPER__…` names are refused everywhere. A
//! name that is a slip of the pen away from one of ours is refused in `.env`, which is written for this program, and
//! only warned about in the environment, which is not. An empty variable counts as unset. The process environment itself
//! is never read or changed here; it is an argument.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use figment::value::Value;

use super::{
    fault::{Fault, Place},
    keys::{self, Flat, Key, NESTED_PREFIX},
    layer::Layer,
    secret::Variables,
    unknown,
};

/// The one setting whose value may hold lines that assign variables.
const SCRIPT: &str = "rental.onstart";
/// Longest `.env` file.
const LONGEST: u64 = 1 << 20;

/// Variables with a meaning outside the keys.
pub const PROCESS_VARIABLES: &[&str] = &["KEEPER_CONFIG", "KEEPER_PROFILE", "KEEPER_ENV_FILE"];

/// Variables of the original keeper that have no meaning here, and what to do instead; a value that asked for nothing
/// else than what this keeper does anyway is let pass.
const FOREIGN: &[(&str, &str, &str)] = &[
    (
        "KEEPER_HEALTH_CHECK_ENABLED",
        "true",
        "set `fleet.observe_only` (KEEPER__FLEET__OBSERVE_ONLY=true) to change nothing",
    ),
    (
        "KEEPER_HEALTH_CHECK_URL",
        "",
        "each box is asked at its own address; set `health.path` for another path",
    ),
    (
        "KEEPER_PRUNE_EXTRA_INSTANCES",
        "false",
        "only instances that this keeper rented and condemned are ever destroyed",
    ),
    ("VAST_TARGET_INSTANCE_ID", "", "the keeper knows its instances by their label"),
    ("VAST_TARGET_SSH_HOST", "", "the keeper knows its instances by their label"),
    ("VAST_TARGET_SSH_PORT", "", "the keeper knows its instances by their label"),
];

/// Reads a `.env` file.
///
/// # Errors
/// The fault, with the line but never its text, which may hold a secret.
pub(super) fn read_file(path: &Path) -> Result<(Variables, Vec<Fault>), Fault> {
    let origin = path.display().to_string();
    let fault = |message: String| Fault::new("", message).at(Some(Place::origin(origin.clone())));
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(|error| fault(format!("cannot be read: {error}")))?;
    if text.len() as u64 > LONGEST {
        return Err(fault(format!("is longer than {LONGEST} bytes")));
    }
    let mut variables = Variables { origin: origin.clone(), values: BTreeMap::new() };
    let mut faults = Vec::new();
    let mut lines = text.lines().zip(1..);
    for entry in dotenvy::from_read_iter(text.as_bytes()) {
        // dotenvy tells no line, so the lines are followed along: the next one that assigns this name.
        let mut place = |variable: Option<String>, is_it: &dyn Fn(&str) -> bool| {
            let line = lines.by_ref().find(|(line, _)| is_it(line)).map(|(_, number)| number);
            Place { origin: origin.clone(), line, variable }
        };
        match entry {
            Ok((name, _)) if variables.values.contains_key(&name) => {
                let place = place(Some(name.clone()), &|line| assigns(line, &name));
                faults.push(Fault::new("", "set twice in this file").at(Some(place)));
            }
            Ok((name, value)) => {
                if let Some(swallowed) = swallowed(&name, &value) {
                    let place = place(Some(name.clone()), &|line| assigns(line, &name));
                    let fault = Fault::new("", format!("its value runs on past `{swallowed}=`"));
                    let hint = "close the quote in the line in which it begins";
                    faults.push(fault.at(Some(place)).hint(hint));
                    continue;
                }
                let line = place(None, &|line| assigns(line, &name)).line;
                variables.values.insert(name, (value, line));
            }
            Err(dotenvy::Error::LineParse(bad, _)) => {
                // The error holds the line, or what stands behind its `=`; neither may be shown.
                let start = bad.lines().next().unwrap_or_default().trim();
                let place = place(None, &|line| line.trim_end().ends_with(start));
                let hint = "write NAME=value; quote a value with spaces, `#` or `$` in single quotes";
                faults.push(Fault::new("", "is not an assignment").at(Some(place)).hint(hint));
            }
            Err(_) => {
                faults.push(fault("cannot be read to its end".into()));
                break;
            }
        }
    }
    Ok((variables, faults))
}

/// The variable that a value over several lines assigns in one of them: a quote was not closed, and what it swallowed, which
/// may be a secret, must not be taken for the value and shown with it. A script may assign what is not ours.
fn swallowed<'a>(into: &str, value: &'a str) -> Option<&'a str> {
    let is_ours = |name: &str| is_secret(name) || flat_key(name).is_some() || name.starts_with(NESTED_PREFIX);
    let is_script =
        into == keys::nested_variable(SCRIPT) || flat_key(into).is_some_and(|(key, _)| key.path == SCRIPT);
    let mut assigned = value.lines().skip(1).filter_map(|line| {
        let line = line.trim_start();
        let (name, rest) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        // The last line of what is coded in base64 ends like an assignment of nothing.
        let holds_something = !rest.trim().trim_matches('=').is_empty();
        let name = name.trim();
        let of_a_variable =
            name.starts_with(|first: char| first.is_ascii_uppercase()) && name.chars().all(is_of_a_variable);
        (is_ours(name) || (of_a_variable && holds_something && !is_script)).then_some(name)
    });
    assigned.next()
}

fn is_of_a_variable(letter: char) -> bool {
    letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'
}

fn assigns(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
}

/// What a source of variables says.
pub(super) struct Reading {
    pub layer: Layer,
    pub faults: Vec<Fault>,
    pub warnings: Vec<String>,
}

/// Turns variables into a layer. `ours` is true of a file that is written for this program.
pub(super) fn layer(variables: &Variables, ours: bool) -> Reading {
    let mut reading =
        Reading { layer: Layer::new(variables.origin.clone()), faults: Vec::new(), warnings: Vec::new() };
    for name in variables.values.keys() {
        if let Some((value, place)) = variables.get(name) {
            reading.take(name, value, place, ours);
        }
    }
    reading
}

/// Turns `--set path=value` flags into a layer.
pub(super) fn flags(flags: &BTreeMap<String, String>) -> Reading {
    let mut reading = Reading { layer: Layer::new("--set"), faults: Vec::new(), warnings: Vec::new() };
    for (path, value) in flags {
        let place = Place::origin("--set");
        if let Some(key) = keys::find(path) {
            reading.layer.set(&segments(key.path), value_of(key, value), place);
        } else if let Some((key, name)) = keys::find_in_table(path) {
            reading.set_in_table(key, name, value, place);
        } else {
            reading.faults.push(unknown::path_fault(path).at(Some(place)));
        }
    }
    reading
}

impl Reading {
    fn take(&mut self, name: &str, value: &str, place: Place, ours: bool) {
        if PROCESS_VARIABLES.contains(&name) || is_secret(name) {
            return;
        }
        if let Some((key, flat)) = flat_key(name) {
            self.set(key, value_in_unit(flat, value), place);
        } else if let Some((_, harmless, hint)) = FOREIGN.iter().find(|(foreign, ..)| *foreign == name) {
            if value != *harmless {
                let fault = Fault::new("", "means nothing to this keeper").at(Some(place)).hint(*hint);
                self.faults.push(fault);
            }
        } else if let Some(nested) = name.strip_prefix(NESTED_PREFIX) {
            self.take_nested(name, nested, value, place);
        } else if let Some(near) = unknown::nearest_variable(name) {
            if ours {
                self.faults.push(
                    Fault::new("", "no such variable")
                        .at(Some(place))
                        .hint(format!("did you mean `{near}`?")),
                );
            } else {
                self.warnings
                    .push(format!("{name} in the environment means nothing here; did you mean `{near}`?"));
            }
        }
    }

    fn take_nested(&mut self, name: &str, nested: &str, value: &str, place: Place) {
        let path = nested.replace("__", ".").to_ascii_lowercase();
        if let Some(key) = keys::find(&path) {
            return self.set(key, value_of(key, value), place);
        }
        let table = keys::all().filter(|key| key.kind == super::kind::Kind::Table).find_map(|key| {
            let inner = name.strip_prefix(&key.variable())?.strip_prefix("__")?;
            (!inner.is_empty()).then_some((key, inner))
        });
        if let Some((key, inner)) = table {
            return self.set_in_table(key, inner, value, place);
        }
        let fault = Fault::new("", "no such variable").at(Some(place));
        self.faults.push(fault.hint(unknown::nested_hint(&path)));
    }

    fn set(&mut self, key: &'static Key, value: Value, place: Place) {
        if self.layer.holds(key.path) {
            let other = self.layer.place(key.path).variable.unwrap_or_default();
            let fault = Fault::new(key.path, format!("set twice: also by `{other}`")).at(Some(place));
            self.faults.push(fault);
            return;
        }
        self.layer.set(&segments(key.path), value, place);
    }

    fn set_in_table(&mut self, key: &'static Key, name: &str, value: &str, place: Place) {
        let mut path = segments(key.path);
        path.push(name);
        self.layer.set(&path, Value::from(value.to_string()), place);
    }
}

fn segments(path: &'static str) -> Vec<&'static str> {
    path.split('.').collect()
}

fn flat_key(name: &str) -> Option<(&'static Key, &'static Flat)> {
    keys::all().find_map(|key| key.flat.iter().find(|flat| flat.name == name).map(|flat| (key, flat)))
}

fn is_secret(name: &str) -> bool {
    let bare = name.strip_suffix("_FILE").unwrap_or(name);
    keys::SECRETS.iter().any(|secret| secret.name == bare || keys::nested_variable(secret.path) == bare)
}

/// A bare number gets the unit that the variable documents; a value with a unit keeps its own.
fn value_in_unit(flat: &Flat, value: &str) -> Value {
    let value = value.trim();
    let bare = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    Value::from(if bare { format!("{value}{}", flat.unit) } else { value.to_string() })
}

/// Lists may be written as TOML arrays, for elements that hold the separator.
fn value_of(key: &Key, value: &str) -> Value {
    if matches!(key.kind, super::kind::Kind::Texts { .. }) {
        let trimmed = value.trim();
        let array = ["[\"", "['", "[]"].iter().any(|start| trimmed.starts_with(start));
        let parsed = array.then(|| trimmed.parse::<toml_edit::Value>().ok()).flatten();
        if let Some(toml_edit::Value::Array(array)) = parsed {
            let texts: Option<Vec<Value>> =
                array.iter().map(|text| text.as_str().map(|text| Value::from(text.to_string()))).collect();
            if let Some(texts) = texts {
                return Value::from(texts);
            }
        }
    }
    Value::from(value.to_string())
}
