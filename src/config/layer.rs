//! Layers of settings and their union: figment merges and remembers which layer each value came from, the layer
//! remembers the line or variable.

use std::{collections::BTreeMap, sync::Arc};

use figment::{
    Error, Figment, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::fault::Place;

/// The name of the lowest layer.
pub(super) const BUILT_IN: &str = "built-in";

/// One source of settings.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    /// What people call it: a file, `environment`, `--set`, `built-in`.
    pub name: String,
    values: Dict,
    /// Dotted paths (`group[0].count` inside lists) to places.
    places: BTreeMap<String, Place>,
}

impl Layer {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Sets a value below tables that are made as needed.
    pub fn set(&mut self, path: &[&str], value: Value, place: Place) {
        self.places.insert(path.join("."), place);
        insert(&mut self.values, path, value);
    }

    /// Notes where a path stands that [`Layer::set`] does not name, such as one inside a list.
    pub fn note(&mut self, path: String, place: Place) {
        self.places.insert(path, place);
    }

    /// Where a path stands, or the nearest table or list around it.
    pub fn place(&self, path: &str) -> Place {
        let mut nearest = path;
        loop {
            if let Some(place) = self.places.get(nearest) {
                return place.clone();
            }
            match nearest.rfind(['.', '[']) {
                Some(end) => nearest = nearest.get(..end).unwrap_or_default(),
                None => return Place::origin(self.name.clone()),
            }
        }
    }

    /// Whether it sets the path itself.
    pub fn holds(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// All paths with their places.
    pub fn places(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.places.iter().map(|(path, place)| (path.as_str(), place))
    }
}

fn insert(dict: &mut Dict, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        dict.insert((*first).into(), value);
        return;
    }
    let below = dict.entry((*first).into()).or_insert_with(|| Value::from(Dict::new()));
    if !matches!(below, Value::Dict(..)) {
        *below = Value::from(Dict::new());
    }
    if let Value::Dict(_, inner) = below {
        insert(inner, rest, value);
    }
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// All layers, merged.
#[derive(Debug)]
pub(super) struct Settings {
    figment: Figment,
    /// Its union, taken out once: figment merges anew for every value it is asked for.
    union: Value,
    /// The lowest layer alone.
    defaults: Value,
    layers: Vec<Arc<Layer>>,
}

impl Settings {
    /// Merges layers, the lowest first. Tables are merged key by key, lists are replaced whole.
    pub fn merge(layers: Vec<Arc<Layer>>) -> Self {
        let figment = layers.iter().fold(Figment::new(), |figment, layer| figment.merge(&**layer));
        let union = figment.find_value("").unwrap_or_else(|_| Value::from(Dict::new()));
        let lowest = layers.first().map(|layer| layer.values.clone());
        Self { union, defaults: Value::from(lowest.unwrap_or_default()), figment, layers }
    }

    /// The value of the lowest layer.
    pub fn default_of(&self, path: &str) -> Option<Value> {
        self.defaults.find_ref(path).cloned()
    }

    /// The value that wins, and its place.
    pub fn find(&self, path: &str) -> Option<(Value, Place)> {
        let value = self.union.find_ref(path)?.clone();
        let place = self.place_of(&value, path);
        Some((value, place))
    }

    /// The tables of a list of tables, such as `group`, and whether it is one at all.
    pub fn tables(&self, path: &str) -> Result<Vec<Dict>, Place> {
        match self.find(path) {
            None => Ok(Vec::new()),
            Some((Value::Array(_, elements), place)) => {
                let dict = |element| if let Value::Dict(_, dict) = element { Some(dict) } else { None };
                elements.into_iter().map(dict).collect::<Option<Vec<_>>>().ok_or(place)
            }
            Some((_, place)) => Err(place),
        }
    }

    /// Where a value found at a path stands.
    pub fn place_of(&self, value: &Value, path: &str) -> Place {
        let layer = self.figment.get_metadata(value.tag()).and_then(|metadata| self.layer(&metadata.name));
        // A table is the union of several layers and belongs to none of them: the highest that has it is named.
        let highest = || self.layers.iter().rev().find(|layer| layer.holds(path));
        // What is missing from a table is told at the table.
        let nearest = || self.layers.iter().rev().find(|layer| layer.place(path).line.is_some());
        let layer = layer.filter(|layer| layer.holds(path)).or_else(highest).or_else(nearest);
        // A line of the generated defaults would help nobody.
        let written = layer.filter(|layer| layer.name != BUILT_IN);
        written.map_or_else(|| Place::origin(BUILT_IN), |layer| layer.place(path))
    }

    fn layer(&self, name: &str) -> Option<&Arc<Layer>> {
        self.layers.iter().find(|layer| layer.name == name)
    }
}
