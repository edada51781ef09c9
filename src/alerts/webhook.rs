//! The generic webhook: JSON by POST with the headers of Standard Webhooks 1.0.0 (<https://www.standardwebhooks.com>).
//!
//! ```json
//! {"type": "keeper.incident-opened", "timestamp": "2026-01-02T03:04:05Z",
//!  "text": "duel-1 is failing: no answer within 5000 ms",
//!  "data": {"id": "vk-…-7", "severity": "critical", "topic": "incident-opened", "node": "duel-1", "incident": 3,
//!           "title": "…", "facts": [{"label": "why", "value": "…"}], "next": "…", "at_ms": 1767323045000}}
//! ```
//!
//! Texts beyond 4,000 characters, or 16,000 together, are cut. A fold has the type `keeper.folded` and `data.notices`, a list of such objects. `webhook-id` is the same for every try,
//! `webhook-timestamp` is that of the try, and `webhook-signature` has one `v1,` signature for each key.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::Serialize;
use sha2::Sha256;

use super::{
    Message, SinkUrl,
    look::{self, Budget},
};
use crate::fleet::{
    name::{IncidentId, NodeName},
    notice::{Notice, Severity, Topic},
    units::Timestamp,
};

/// Standard Webhooks asks for keys of 24 to 64 bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Standard Webhooks advises to stay under 20 kB; the texts of a message may have this many characters together.
const TOTAL: usize = 16_000;
const TEXT: usize = 4_000;
const FACTS: usize = 50;
const KEY_PREFIX: &str = "whsec_";

/// Keys to sign with. Several at once let a receiver change its key without losing a message.
#[derive(Clone)]
pub struct SigningKeys(Vec<SecretSlice<u8>>);

/// Why a text holds no signing keys; the text itself is a secret and not in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Nothing in it.
    #[error("no signing key given")]
    Empty,
    /// A key without its prefix.
    #[error("a signing key must begin with `whsec_`")]
    Prefix,
    /// The rest is not base 64.
    #[error("a signing key must be base64 after `whsec_`")]
    Encoding,
    /// Too short or too long.
    #[error("a signing key must have 24 to 64 bytes, this one has {0}")]
    Length(usize),
}

impl FromStr for SigningKeys {
    type Err = KeyFault;
    /// One or more `whsec_…` keys separated by spaces.
    fn from_str(text: &str) -> Result<Self, KeyFault> {
        let keys = text.split_whitespace().map(|key| {
            let key = key.strip_prefix(KEY_PREFIX).ok_or(KeyFault::Prefix)?;
            let bytes = STANDARD.decode(key).map_err(|_| KeyFault::Encoding)?;
            if KEY_BYTES.contains(&bytes.len()) {
                Ok(bytes.into())
            } else {
                Err(KeyFault::Length(bytes.len()))
            }
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(KeyFault::Empty) } else { Ok(Self(keys)) }
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({} ***)", self.0.len())
    }
}

impl SigningKeys {
    fn sign(&self, id: &str, at_seconds: u64, body: &[u8]) -> String {
        let signatures = self.0.iter().filter_map(|key| {
            // HMAC takes keys of any length, so no key is left out here.
            let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).ok()?;
            mac.update(format!("{id}.{at_seconds}.").as_bytes());
            mac.update(body);
            Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    timestamp: String,
    text: String,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    One(One<'a>),
    Folded { severity: Severity, notices: Vec<One<'a>> },
}

#[derive(Serialize)]
struct One<'a> {
    id: &'a str,
    severity: Severity,
    topic: Topic,
    node: Option<&'a NodeName>,
    incident: Option<IncidentId>,
    title: String,
    facts: Vec<Fact>,
    next: String,
    at_ms: u64,
}

#[derive(Serialize)]
struct Fact {
    label: String,
    value: String,
}

impl<'a> One<'a> {
    fn new(id: &'a str, notice: &'a Notice, budget: usize) -> Self {
        let mut budget = Budget(budget);
        let mut bounded = |text: &str| match text {
            "" => String::new(),
            text => budget.take(text, TEXT, look::plain),
        };
        let (title, next) = (bounded(&notice.title), bounded(&notice.next));
        let facts = notice.facts.iter().take(FACTS);
        let facts =
            facts.map(|(label, value)| Fact { label: bounded(label), value: bounded(value) }).collect();
        let Notice { at, severity, topic, node, incident, .. } = notice;
        let (node, incident) = (node.as_ref(), *incident);
        Self { id, severity: *severity, topic: *topic, node, incident, title, facts, next, at_ms: at.0 }
    }
}

fn body<'a>(now: Timestamp, id: &'a str, message: &'a Message<'_>) -> Body<'a> {
    match message {
        Message::One(notice) => Body {
            r#type: format!("keeper.{}", topic_word(notice.topic)),
            timestamp: look::iso(notice.at),
            text: look::fit(&notice.title, TEXT, look::plain),
            data: Data::One(One::new(id, notice, TOTAL)),
        },
        Message::Folded(notices) => Body {
            r#type: "keeper.folded".into(),
            timestamp: look::iso(now),
            text: look::fold_title(notices),
            data: Data::Folded {
                severity: look::worst(notices),
                notices: notices
                    .iter()
                    .map(|(id, notice)| One::new(id, notice, TOTAL / notices.len()))
                    .collect(),
            },
        },
    }
}

/// The topic's stable word, the same as in `data.topic`.
fn topic_word(topic: Topic) -> String {
    match serde_json::to_value(topic) {
        Ok(serde_json::Value::String(word)) => word,
        // A plain enum always becomes a string.
        Ok(_) | Err(_) => "notice".into(),
    }
}

/// The request for one try.
pub(super) fn request(
    http: &reqwest::Client,
    url: &SinkUrl,
    headers: &HeaderMap,
    keys: Option<&SigningKeys>,
    now: Timestamp,
    id: &str,
    message: &Message<'_>,
) -> reqwest::RequestBuilder {
    // These types hold nothing that JSON cannot say.
    let body = serde_json::to_vec(&body(now, id, message)).unwrap_or_default();
    let at_seconds = now.0 / 1000;
    let mut request = http
        .post(url.expose().clone())
        .headers(headers.clone())
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", at_seconds);
    if let Some(keys) = keys {
        request = request.header("webhook-signature", keys.sign(id, at_seconds, &body));
    }
    request.body(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_of_the_reference_library() {
        let keys: SigningKeys = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".parse().unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let signed = keys.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body);
        assert_eq!(signed, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
        assert_eq!(format!("{keys:?}"), "SigningKeys(1 ***)");
    }

    #[test]
    fn a_key_change_signs_with_both_and_bad_keys_are_refused_unseen() {
        let first = format!("whsec_{}", STANDARD.encode([1; 24]));
        let second = format!("whsec_{}", STANDARD.encode([2; 64]));
        let keys: SigningKeys = format!("{second} {first}").parse().unwrap();
        assert_eq!(keys.sign("id", 1, b"{}").split(' ').count(), 2);
        let fault = |text: &str| text.parse::<SigningKeys>().unwrap_err();
        assert_eq!(fault(" "), KeyFault::Empty);
        assert_eq!(fault("C2FVsBQIhrscChlQIMV+b5sSYspob7oD"), KeyFault::Prefix);
        assert_eq!(fault("whsec_%%%"), KeyFault::Encoding);
        assert_eq!(fault(&format!("{first} whsec_AAAA")), KeyFault::Length(3));
    }
}
