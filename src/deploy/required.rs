//! Settings that a server needs, checked before any box is touched: that they are there, and that they look like what they are.
//!
//! A value is never told, whatever is wrong with it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::fault::DeployFault;

/// What the keeper itself gives every server.
const GIVEN: [&str; 2] = ["INSTANCE_ID", "PORT"];

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Url,
    Integer,
    Port,
    Flag,
    Hex,
}

impl Format {
    const ALL: [(&str, Self); 6] = [
        ("text", Self::Text),
        ("url", Self::Url),
        ("int", Self::Integer),
        ("port", Self::Port),
        ("flag", Self::Flag),
        ("hex", Self::Hex),
    ];

    fn fits(self, value: &str) -> bool {
        match self {
            Self::Text => !value.trim().is_empty(),
            // Databases have URLs without a host.
            Self::Url => Url::parse(value).is_ok_and(|url| url.has_host() || !url.path().is_empty()),
            Self::Integer => value.parse::<i64>().is_ok(),
            Self::Port => value.parse::<u16>().is_ok_and(|port| port > 0),
            Self::Flag => matches!(value, "true" | "false" | "1" | "0" | "yes" | "no"),
            Self::Hex => !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_hexdigit()),
        }
    }
}

/// A setting that a server needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    name: String,
    format: Format,
}

impl FromStr for Required {
    type Err = String;

    /// Reads `JWT_SECRET` or `DATABASE_URL:url`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, format) = text.trim().split_once(':').unwrap_or((text.trim(), "text"));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
            return Err("begins with no variable's name".into());
        }
        let found = Format::ALL.iter().find(|(word, _)| *word == format);
        let words: Vec<&str> = Format::ALL.iter().map(|(word, _)| *word).collect();
        let (_, format) = found.ok_or_else(|| format!("after `:` stands one of {}", words.join(", ")))?;
        Ok(Self { name: name.to_owned(), format: *format })
    }
}

impl fmt::Display for Required {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word =
            Format::ALL.iter().find(|(_, format)| *format == self.format).map_or("text", |(word, _)| word);
        write!(f, "{}:{word}", self.name)
    }
}

/// All that is missing or malformed, at once.
pub(super) fn check(
    required: &[Required],
    settings: &BTreeMap<String, SecretString>,
) -> Result<(), DeployFault> {
    let wrong = |need: &Required| match settings.get(&need.name) {
        None if GIVEN.contains(&need.name.as_str()) => None,
        None => Some(format!("`{}` is not set", need.name)),
        Some(value) if need.format.fits(value.expose_secret()) => None,
        Some(_) => Some(format!("`{}` does not look like `{need}`", need.name)),
    };
    let faults: Vec<String> = required.iter().filter_map(wrong).collect();
    if faults.is_empty() {
        return Ok(());
    }
    let hint = "hint: `deploy.env` and `deploy.secrets` hold the settings";
    Err(DeployFault::Release(format!("the server's settings are incomplete: {}; {hint}", faults.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_is_told_at_once_and_no_value() {
        let needs: Vec<Required> = [
            "JWT_SECRET",
            "DATABASE_URL:url",
            "RETRIES:int",
            "METRICS:port",
            "PORT:port",
            "DEBUG:flag",
            "KEY:hex",
        ]
        .map(|text| text.parse().unwrap())
        .into();
        let set = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), SecretString::from((*value).to_owned())))
                .collect()
        };
        let good = set(&[
            ("JWT_SECRET", "s"),
            ("DATABASE_URL", "postgres://db/x"),
            ("RETRIES", "-3"),
            ("METRICS", "9000"),
            ("DEBUG", "false"),
            ("KEY", "00ff"),
        ]);
        assert_eq!(check(&needs, &good), Ok(()));
        let bad = set(&[
            ("JWT_SECRET", " "),
            ("DATABASE_URL", "canary-42"),
            ("RETRIES", "many"),
            ("METRICS", "0"),
            ("DEBUG", "maybe"),
        ]);
        let DeployFault::Release(words) = check(&needs, &bad).unwrap_err() else { panic!() };
        for name in ["JWT_SECRET", "DATABASE_URL", "RETRIES", "METRICS", "DEBUG", "`KEY` is not set"] {
            assert!(words.contains(name), "{name}: {words}");
        }
        assert!(!words.contains("canary-42") && !words.contains("PORT:port"), "{words}");
    }

    #[test]
    fn a_need_is_read_or_refused() {
        assert_eq!("DATABASE_URL:url".parse::<Required>().unwrap().to_string(), "DATABASE_URL:url");
        for wrong in ["", ":url", "1A", "A B", "A:regex", "A-B"] {
            assert!(wrong.parse::<Required>().is_err(), "{wrong:?}");
        }
    }
}
