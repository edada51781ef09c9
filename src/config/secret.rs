//! Secrets: looked up by name, kept apart from every layer, never printed.
//!
//! figment would turn `0042` into `42` and print a value that does not parse, so no secret passes through it. A secret
//! named `VAST_API_KEY` is looked for in this order, and the first place that has it wins: the variable
//! `VAST_API_KEY`, the file named by `VAST_API_KEY_FILE`, both in the environment and then in `.env`, and the systemd
//! credential `vast_api_key` or `keeper_vast_api_key`. An empty variable counts as absent.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};

use super::fault::{Fault, Place};

/// Longest secret in bytes; the longest real ones are private keys of a few kilobytes.
const LONGEST: u64 = 64 << 10;

/// What `LoadCredential=keeper:DIRECTORY` puts before each file's name (systemd.exec(5)).
const CREDENTIAL_PREFIX: &str = "keeper_";

/// A secret and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub value: SecretString,
    pub place: Place,
}

/// Variables of one source, with their lines.
#[derive(Default)]
pub(super) struct Variables {
    /// `environment`, or the `.env` file's name.
    pub origin: String,
    /// Name to value and line.
    pub values: BTreeMap<String, (String, Option<usize>)>,
}

impl Variables {
    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<(&str, Place)> {
        let (value, line) = self.values.get(name).filter(|(value, _)| !value.is_empty())?;
        Some((value, Place { origin: self.origin.clone(), line: *line, variable: Some(name.into()) }))
    }
}

/// Where secrets are looked up.
pub(super) struct Secrets<'a> {
    /// The highest first.
    pub sources: Vec<&'a Variables>,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<&'a Path>,
}

impl Secrets<'_> {
    /// The secret of a name, if it is set anywhere.
    ///
    /// # Errors
    /// A file that cannot be read, a value that is no text, or a variable set twice in one place.
    pub fn find(&self, name: &str) -> Result<Option<Found>, Fault> {
        let file_name = format!("{name}_FILE");
        for source in &self.sources {
            match (source.get(name), source.get(&file_name)) {
                (Some(_), Some((_, place))) => {
                    return Err(Fault::new(name, format!("set twice: as `{name}` and as `{file_name}`"))
                        .at(Some(place)));
                }
                (Some((value, place)), None) => {
                    let value = check(name, value).map_err(|fault| fault.at(Some(place.clone())))?;
                    return Ok(Some(Found { value, place }));
                }
                (None, Some((path, place))) => {
                    return from_file(name, Path::new(path))
                        .map(|value| Some(Found { value, place: place.clone() }))
                        .map_err(|fault| fault.at(Some(place)));
                }
                (None, None) => {}
            }
        }
        self.credential(name)
    }

    /// By its own name, or with the prefix that systemd gives to the files of a directory loaded as `keeper`.
    fn credential(&self, name: &str) -> Result<Option<Found>, Fault> {
        let Some(path) = self.credential_file(&name.to_ascii_lowercase()) else { return Ok(None) };
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let place = Place::origin(format!("credential {file}"));
        from_file(name, &path)
            .map(|value| Some(Found { value, place: place.clone() }))
            .map_err(|fault| fault.at(Some(place)))
    }

    /// The file of a credential, if it was handed over.
    pub fn credential_file(&self, name: &str) -> Option<PathBuf> {
        let directory = self.credentials?;
        [name.to_string(), format!("{CREDENTIAL_PREFIX}{name}")]
            .iter()
            .map(|file| directory.join(file))
            .find(|path| path.is_file())
    }
}

fn from_file(name: &str, path: &Path) -> Result<SecretString, Fault> {
    let fault = |message: String| Fault::new(name, format!("the file {}: {message}", path.display()));
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(|error| fault(error.to_string()))?;
    if text.len() as u64 > LONGEST {
        return Err(fault(format!("longer than {LONGEST} bytes")));
    }
    let value = text.strip_suffix('\n').unwrap_or(&text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err(fault("empty".into()));
    }
    check(name, value)
}

fn check(name: &str, value: &str) -> Result<SecretString, Fault> {
    if value.contains('\0') {
        return Err(Fault::new(name, "holds a NUL byte"));
    }
    Ok(SecretString::from(value))
}

/// Whether a text may name a secret. Strict, so that a pasted secret is not mistaken for its name.
pub(super) fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_uppercase)
        && bytes.len() <= 64
        && bytes.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
}

/// Whether a header or a URL can carry the secret: printable ASCII without spaces.
pub(super) fn is_token(secret: &SecretString) -> bool {
    secret.expose_secret().bytes().all(|byte| byte.is_ascii_graphic())
}
