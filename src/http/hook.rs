//! Vast.ai's notification webhooks: a second signal, which only ever prompts a look.
//!
//! Documented (Vast.ai guide on notification webhooks, as of August 2026) is a POST of JSON with `event_id`, `notif_type`,
//! `subject` and `message`, with `X-Vast-Timestamp` in Unix seconds and `X-Vast-Signature-256: sha256=<hex>`, the HMAC-SHA256 of
//! `<timestamp>.<body>`. Deliveries come at least once; 2xx ends them, 408, 429 and 5xx repeat them, all else ends them for
//! good. No field names the instance and not every stop is told, so nothing is decided from one: the lists decide.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use super::{Question, Site, routes::problem};
use crate::{
    clock::Clock,
    fleet::{event::Hint, name::InstanceId},
};

/// Where it is listened; the address to register ends in this.
pub(super) const PATH: &str = "/hooks/vast";
/// Bytes of a body; the documented ones have some hundreds.
pub(super) const MOST_BYTES: usize = 64 << 10;
/// How old or how much ahead a delivery may be (Vast.ai guide: 300 s).
const WINDOW: Duration = Duration::from_secs(300);
/// Deliveries remembered so that none counts twice; beyond the window a repetition is refused for its age.
const REMEMBERED: usize = 1024;
/// Characters of a word that is passed on.
const WORD: usize = 64;

/// What is needed to believe a delivery.
#[derive(Debug, Clone)]
pub struct Hook(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    secret: SecretString,
    clock: Clock,
    seen: Mutex<VecDeque<String>>,
}

#[derive(Deserialize)]
struct Delivery {
    event_id: String,
    notif_type: String,
    #[serde(default)]
    subject: String,
}

impl Hook {
    /// With the secret that the provider showed when the webhook was made.
    #[must_use]
    pub fn new(secret: SecretString, clock: Clock) -> Self {
        Self(Arc::new(Inner { secret, clock, seen: Mutex::default() }))
    }

    /// Whether the body was signed with our secret, a short time ago. The comparison takes the same time whatever differs.
    fn is_authentic(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(timestamp) = text("x-vast-timestamp") else { return false };
        let Ok(sent_at) = timestamp.parse::<u64>() else { return false };
        let now = self.0.clock.civil().0 / 1000;
        if now.abs_diff(sent_at) > WINDOW.as_secs() {
            return false;
        }
        let signature = text("x-vast-signature-256").and_then(|value| value.strip_prefix("sha256="));
        let Some(signature) = signature.and_then(unhex) else { return false };
        let secret = self.0.secret.expose_secret().as_bytes();
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac.verify_slice(&signature).is_ok()
    }

    /// Whether this delivery is new; from now on it is not.
    fn is_new(&self, event: &str) -> bool {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().any(|known| known == event) {
            return false;
        }
        if seen.len() >= REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(event.to_owned());
        true
    }

    /// It was not taken after all, and may come again.
    fn forget(&self, event: &str) {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| known != event);
    }
}

/// Takes a delivery. What was refused is not told why: it comes from anybody.
pub(super) async fn deliver(State(site): State<Site>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(hook) = &site.hook else {
        return problem(StatusCode::NOT_FOUND, "there is nothing at this path");
    };
    if !hook.is_authentic(&headers, &body) {
        return problem(StatusCode::UNAUTHORIZED, "not signed, or not lately");
    }
    let Ok(delivery) = serde_json::from_slice::<Delivery>(&body) else {
        return problem(StatusCode::BAD_REQUEST, "not a notification");
    };
    if !hook.is_new(&delivery.event_id) {
        return StatusCode::NO_CONTENT.into_response();
    }
    let hint = Hint { kind: word(&delivery.notif_type), instance: instance_in(&delivery.subject) };
    if site.questions.try_send(Question::Hint(hint)).is_err() {
        hook.forget(&delivery.event_id);
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too much waits; come again");
    }
    StatusCode::NO_CONTENT.into_response()
}

/// A stranger's word as it may stand in a log.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
    text.chars().filter(|c| plain(*c)).take(WORD).collect()
}

/// The instance in a subject such as `Your Interruptible Instance #48927380 Has Been Outbid`: a hint in words for people.
fn instance_in(subject: &str) -> Option<InstanceId> {
    let (_, after) = subject.split_once('#')?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().map(InstanceId)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const SECRET: &str = "a-secret-of-the-provider";
    const BODY: &[u8] = br#"{"event_id": "e1", "notif_type": "outbid"}"#;

    fn hook() -> (Hook, u64) {
        let clock = Clock::new();
        (Hook::new(SECRET.into(), clock), clock.civil().0 / 1000)
    }

    fn headers(at: &str, signature: &str) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        [("x-vast-timestamp", value(at)), ("x-vast-signature-256", value(signature))]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value))
            .collect()
    }

    fn signed(secret: &str, at: &str, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{at}.").as_bytes());
        mac.update(body);
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={hex}")
    }

    #[test]
    fn the_signature_is_that_of_the_documented_bytes() {
        // By `printf '1700000000.{}' | openssl dgst -sha256 -hmac key`.
        let known = "sha256=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert_eq!(signed("key", "1700000000", b"{}"), known);
    }

    #[test]
    fn only_what_our_secret_signed_lately_is_believed() {
        let (hook, now) = hook();
        let believes =
            |at: String, signature: String, body: &[u8]| hook.is_authentic(&headers(&at, &signature), body);
        let at = now.to_string();
        let good = signed(SECRET, &at, BODY);
        assert!(believes(at.clone(), good.clone(), BODY));
        assert!(!believes(at.clone(), good.clone(), b"{}"), "another body");
        assert!(!believes((now - 1).to_string(), good.clone(), BODY), "another time than the signed one");
        assert!(!believes(at.clone(), signed("other", &at, BODY), BODY), "another secret");
        for wrong in ["", "sha256=", "sha256=zz", "sha256=é", &good[..good.len() - 2], &good[7..]] {
            let Ok(value) = HeaderValue::from_str(wrong) else { continue };
            let mut headers = headers(&at, &good);
            headers.insert("x-vast-signature-256", value);
            assert!(!hook.is_authentic(&headers, BODY), "{wrong}");
        }
        for (shift, believed) in [(-299_i64, true), (-302, false), (290, true), (310, false)] {
            let at = now.saturating_add_signed(shift).to_string();
            let signature = signed(SECRET, &at, BODY);
            assert_eq!(believes(at, signature, BODY), believed, "{shift} s");
        }
        assert!(!hook.is_authentic(&HeaderMap::new(), BODY));
    }

    #[test]
    fn a_delivery_counts_once_and_the_oldest_is_forgotten_first() {
        let (hook, _) = hook();
        assert!(hook.is_new("e1") && !hook.is_new("e1"));
        hook.forget("e1");
        assert!(hook.is_new("e1"));
        for number in 0..REMEMBERED {
            assert!(hook.is_new(&format!("n{number}")));
        }
        assert!(hook.is_new("e1") && !hook.is_new("n5"));
    }

    #[test]
    fn the_instance_is_read_from_the_subject_where_it_stands_there() {
        let found = |subject| instance_in(subject).map(|id| id.0);
        assert_eq!(found("Your Interruptible Instance #48927380 Has Been Outbid"), Some(48_927_380));
        for none in ["Your credit is low", "#", "# 7", "#99999999999999999999999"] {
            assert_eq!(found(none), None, "{none}");
        }
    }
}
