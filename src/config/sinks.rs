//! Alert sinks: three that exist as soon as their URL does, and any number of named ones.

use std::collections::BTreeSet;

use figment::value::Dict;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{
    Need, SinkConfig, SinkKind, check,
    fault::Fault,
    kind::{Parsed, shown},
    reader::{Reader, word},
    surroundings::Surroundings,
};
use crate::fleet::notice::{Severity, Topic};

/// The topics' words.
const TOPICS: &[&str] = &[
    "incident-opened",
    "incident-closed",
    "held",
    "blocked",
    "provider",
    "stray",
    "maintenance",
    "breaker",
    "keeper",
    "digest",
    "deploy",
];

/// All sinks, in the order of the configuration.
pub(super) fn sinks(
    reader: &mut Reader<'_>,
    around: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Vec<SinkConfig> {
    let least = reader.text("alerts.min_severity").and_then(|text| word(&text)).unwrap_or(Severity::Info);
    let mut sinks = built_in(reader, around, least);
    let tables = reader.settings.tables("alerts.sink").unwrap_or_else(|place| {
        let fault = Fault::new("alerts.sink", "must be a list of tables").at(Some(place));
        reader.faults.push(fault.hint("write `[[alerts.sink]]` with two brackets"));
        Vec::new()
    });
    for (index, table) in tables.iter().enumerate() {
        let sink = named(reader, around, index, table, least);
        if let Some(sink) = sink {
            if sinks.iter().any(|other| other.name == sink.name) {
                reader.field_fault(
                    "alerts.sink",
                    index,
                    table,
                    "name",
                    format!("the sink `{}` is there already", shown(&sink.name)),
                );
            }
            sinks.push(sink);
        }
    }
    if sinks.is_empty() && around.need == Need::Run {
        warnings.push(
            "no alert sink is configured: nobody will be told; set SLACK_WEBHOOK_URL, \
             DISCORD_WEBHOOK_URL or ALERT_WEBHOOK_URL"
                .into(),
        );
    }
    sinks
}

fn built_in(reader: &mut Reader<'_>, around: &Surroundings<'_>, min_severity: Severity) -> Vec<SinkConfig> {
    let wanted = [
        ("slack", "alerts.slack_url", Some(SinkKind::Slack)),
        ("discord", "alerts.discord_url", Some(SinkKind::Discord)),
        ("webhook", "alerts.webhook_url", None),
    ];
    let signing_key = around.secret(reader, "alerts.webhook_signing_key");
    if let Some(Err(why)) = signing_key.as_ref().map(check_signing_key) {
        secret_fault(reader, "alerts.webhook_signing_key", why.into());
    }
    let mut sinks = Vec::new();
    for (name, path, kind) in wanted {
        let Some(secret) = around.secret(reader, path) else { continue };
        match check::url(secret.expose_secret(), &["https"]) {
            Ok(url) => {
                let kind = kind.unwrap_or_else(|| kind_of(&url));
                let signing_key =
                    signing_key.clone().filter(|_| kind == SinkKind::Webhook && name == "webhook");
                sinks.push(SinkConfig {
                    name: name.into(),
                    kind,
                    url: secret,
                    signing_key,
                    min_severity,
                    topics: BTreeSet::new(),
                });
            }
            Err(why) => secret_fault(reader, path, why),
        }
    }
    sinks
}

/// What Standard Webhooks asks of keys: `whsec_` and 24 to 64 bytes in base64, several separated by spaces.
fn check_signing_key(secret: &SecretString) -> Result<(), &'static str> {
    let fits = |key: &str| {
        let Some(code) = key.strip_prefix("whsec_") else { return false };
        let letters = code.trim_end_matches('=');
        let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
        let whole = code.len() % 4 == 0 && code.len() - letters.len() <= 2;
        whole && letters.bytes().all(alphabet) && (24..=64).contains(&(letters.len() * 3 / 4))
    };
    let mut keys = secret.expose_secret().split_whitespace();
    if keys.clone().next().is_some() && keys.all(fits) {
        return Ok(());
    }
    Err("a signing key is `whsec_` and 24 to 64 bytes in base64 (`openssl rand -base64 32`)")
}

/// At the place of the secret, which `lookup` does not know.
fn secret_fault(reader: &mut Reader<'_>, path: &str, why: String) {
    let place = reader.explained.get(path).map(|explained| explained.source.clone());
    reader.faults.push(Fault::new(path, why).at(place));
}

/// Slack and Discord by their published hosts; anything else gets generic JSON.
fn kind_of(url: &Url) -> SinkKind {
    match url.host_str() {
        Some("hooks.slack.com" | "hooks.slack-gov.com") => SinkKind::Slack,
        Some("discord.com" | "discordapp.com" | "canary.discord.com" | "ptb.discord.com") => {
            SinkKind::Discord
        }
        _ => SinkKind::Webhook,
    }
}

fn named(
    reader: &mut Reader<'_>,
    around: &Surroundings<'_>,
    index: usize,
    table: &Dict,
    least: Severity,
) -> Option<SinkConfig> {
    const LIST: &str = "alerts.sink";
    let text = |reader: &mut Reader<'_>, field| match reader.field(LIST, index, table, field) {
        Some(Parsed::Text(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let name = text(reader, "name");
    let kind = text(reader, "kind");
    let url_name = text(reader, "url");
    let signing_name = text(reader, "signing_key");
    let severity = text(reader, "min_severity").and_then(|severity| word(&severity)).unwrap_or(least);
    let topics = topics(reader, index, table);
    for (field, value) in [("name", &name), ("url", &url_name)] {
        if value.is_none() && !table.contains_key(field) {
            reader.field_fault(LIST, index, table, field, "is missing");
        }
    }
    let mut secret = |field: &'static str, name: Option<String>| -> Option<SecretString> {
        let found = around.named_secret(reader, &name?);
        found.map_err(|why| reader.field_fault(LIST, index, table, field, why)).ok().flatten()
    };
    let secret_url = secret("url", url_name);
    let signing_key = secret("signing_key", signing_name);
    if let Some(Err(why)) = signing_key.as_ref().map(check_signing_key) {
        reader.field_fault(LIST, index, table, "signing_key", format!("the key in that secret: {why}"));
    }
    let secret_url = secret_url?;
    match check::url(secret_url.expose_secret(), &["https"]) {
        Ok(url) => Some(SinkConfig {
            name: name?,
            kind: kind.as_deref().map_or_else(|| kind_of(&url), sink_kind),
            url: secret_url,
            signing_key,
            min_severity: severity,
            topics,
        }),
        Err(why) => {
            reader.field_fault(LIST, index, table, "url", format!("the URL in that secret: {why}"));
            None
        }
    }
}

fn sink_kind(text: &str) -> SinkKind {
    match text {
        "slack" => SinkKind::Slack,
        "discord" => SinkKind::Discord,
        // The key's kind allows these three words only.
        _ => SinkKind::Webhook,
    }
}

fn topics(reader: &mut Reader<'_>, index: usize, table: &Dict) -> BTreeSet<Topic> {
    let Some(Parsed::Texts(texts)) = reader.field("alerts.sink", index, table, "topics") else {
        return BTreeSet::new();
    };
    let mut topics = BTreeSet::new();
    for text in texts {
        match word(&text) {
            Some(topic) => {
                topics.insert(topic);
            }
            None => {
                let message = format!("`{}` is not one of {}", shown(&text), TOPICS.join(", "));
                reader.field_fault("alerts.sink", index, table, "topics", message);
            }
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_key_is_long_enough_and_base64() {
        let good = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="];
        assert!(good.iter().all(|key| check_signing_key(&SecretString::from(*key)).is_ok()));
        assert!(check_signing_key(&SecretString::from(good.join(" "))).is_ok());
        for bad in [
            "",
            " ",
            "secret",
            "whsec_",
            "whsec_eA==",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS?",
            "whsec_====",
        ] {
            assert!(check_signing_key(&SecretString::from(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_word_is_a_topic() {
        for text in TOPICS {
            assert!(word::<Topic>(text).is_some(), "{text}");
        }
    }
}
