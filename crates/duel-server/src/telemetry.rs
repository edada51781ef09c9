//! Logging: lines to stderr, as text or JSON, with every configured secret masked.
//!
//! Redaction works on the finished line, so it does not matter through which field, error or header a secret would
//! have slipped in.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{LogSettings, Secret};

/// What stands in a secret's place.
const MASK: &str = "***";

/// Shorter values are not masked: they would blot out ordinary words, and no strict environment accepts them as keys.
const LEAST_MASKED_CHARS: usize = 4;

/// Masks secrets in text.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    needles: Arc<[String]>,
}

impl Redactor {
    /// Masks these, also in the form that JSON gives them.
    pub fn new(secrets: &[Secret]) -> Self {
        let mut needles: Vec<String> = secrets
            .iter()
            .map(|secret| secret.expose().to_owned())
            .filter(|secret| secret.chars().count() >= LEAST_MASKED_CHARS)
            .flat_map(|secret| {
                let escaped = serde_json::to_string(&secret).unwrap_or_default();
                [secret, escaped.trim_matches('"').to_owned()]
            })
            .collect();
        // The longest first, so that a secret that contains another one is masked as a whole.
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        needles.dedup();
        Self { needles: needles.into() }
    }

    /// The text with every secret masked.
    pub fn mask(&self, text: &str) -> String {
        self.needles.iter().fold(text.to_owned(), |text, needle| text.replace(needle.as_str(), MASK))
    }
}

/// A writer that masks each line as a whole before it reaches stderr.
pub struct MaskedLine<'a> {
    redactor: &'a Redactor,
    line: Vec<u8>,
}

impl Write for MaskedLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for MaskedLine<'_> {
    fn drop(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        // There is nowhere to report that the log cannot be written.
        let _ = io::stderr().write_all(self.redactor.mask(&line).as_bytes());
    }
}

impl<'a> MakeWriter<'a> for Redactor {
    type Writer = MaskedLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        MaskedLine { redactor: self, line: Vec::new() }
    }
}

/// Starts logging. Called once; a second call changes nothing.
pub fn start(settings: &LogSettings, redactor: Redactor) {
    let layer = tracing_subscriber::fmt::layer().with_writer(redactor).with_target(false);
    let layer = if settings.json {
        layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        layer.with_ansi(io::stderr().is_terminal()).boxed()
    };
    // Fails only when logging has been started before, as in tests that share a process.
    let _ = tracing_subscriber::registry().with(layer.with_filter(settings.level)).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_raw_and_as_json_writes_them() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let redactor = Redactor::new(&[secret("canary\"quoted\\"), secret("canary"), secret("ab")]);
        let raw = "code canary\"quoted\\ and canary, ab stays";
        assert_eq!(redactor.mask(raw), "code *** and ***, ab stays");
        let json = serde_json::json!({ "field": "x canary\"quoted\\ y" }).to_string();
        assert_eq!(redactor.mask(&json), r#"{"field":"x *** y"}"#);
    }

    #[test]
    fn nothing_to_mask_changes_nothing() {
        assert_eq!(Redactor::default().mask("plain"), "plain");
    }
}
