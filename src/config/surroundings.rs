//! What the process was started with, and the secrets looked up in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use secrecy::{ExposeSecret, SecretString};

use super::{
    Need,
    fault::{Fault, Place},
    keys,
    layer::BUILT_IN,
    reader::Reader,
    secret,
};

/// What the process was started with, as far as it matters here.
pub(super) struct Surroundings<'a> {
    pub secrets: secret::Secrets<'a>,
    pub environment: &'a BTreeMap<String, String>,
    pub need: Need,
}

impl Surroundings<'_> {
    /// A variable that holds a path.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.environment.get(name).filter(|value| !value.is_empty()).map(Path::new)
    }

    /// The home directory.
    pub fn home(&self) -> Option<&Path> {
        self.path("HOME")
    }

    /// A secret by its key, under its own or its nested name; explained in either case.
    pub fn secret(&self, reader: &mut Reader<'_>, path: &str) -> Option<SecretString> {
        let key = keys::SECRETS.iter().find(|key| key.path == path)?;
        let nested = keys::nested_variable(path);
        let mut found = None;
        for name in [key.name, &nested] {
            match (self.secrets.find(name), &found) {
                (Ok(Some(_)), Some(_)) => {
                    reader
                        .faults
                        .push(Fault::new(path, format!("set twice: as `{}` and as `{nested}`", key.name)));
                }
                (Ok(Some(secret)), None) => found = Some(secret),
                (Ok(None), _) => {}
                (Err(fault), _) => reader.faults.push(fault),
            }
        }
        let place = found.as_ref().map_or_else(|| Place::origin(BUILT_IN), |found| found.place.clone());
        explain_secret(reader, path, found.as_ref().map(|found| &found.value), place);
        found.map(|found| found.value)
    }

    /// A secret that a key refers to by name.
    ///
    /// # Errors
    /// One clause; a fault of the secret itself is told by the reader.
    pub fn named_secret(&self, reader: &mut Reader<'_>, name: &str) -> Result<Option<SecretString>, String> {
        if !secret::is_name(name) {
            return Err(
                "takes the NAME of a secret in capitals, such as `JWT_SECRET`, never the secret itself"
                    .into(),
            );
        }
        match self.secrets.find(name) {
            Ok(Some(found)) => {
                explain_secret(reader, name, Some(&found.value), found.place);
                Ok(Some(found.value))
            }
            Ok(None) if self.need == Need::Talk => Ok(None),
            Ok(None) => Err(format!(
                "the secret `{name}` is set nowhere: neither {name}, {name}_FILE nor a credential"
            )),
            Err(fault) => {
                reader.faults.push(fault);
                Ok(None)
            }
        }
    }
}

fn explain_secret(reader: &mut Reader<'_>, path: &str, value: Option<&SecretString>, place: Place) {
    reader.explain(path, value.map(|_| "***".into()), place, true);
    if let Some(explained) = reader.explained.get_mut(path) {
        explained.secret = value.cloned();
    }
}

/// Every secret in use, for the second net of the logs.
pub(super) fn secret_values(reader: &Reader<'_>) -> Vec<SecretString> {
    let secrets: BTreeSet<&str> = reader
        .explained
        .values()
        .filter_map(|explained| Some(explained.secret.as_ref()?.expose_secret()))
        .collect();
    secrets.into_iter().map(SecretString::from).collect()
}
