//! The one place that understands the provider's error codes and texts.
//!
//! Vast.ai's statuses mislead (a bad key is often a 404, a taken offer 400, 404 or 410), so the `error` field decides
//! first, then the text, and the status only where both are silent.

use serde_json::{Map, Value};

use super::transport::Reply;
use crate::fleet::{provider::ProviderFault, units::millis};

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum VastError {
    /// The base URL will not do.
    #[error("base URL of the Vast.ai API: {why}")]
    BaseUrl {
        /// Why.
        why: &'static str,
    },
    /// The API key is empty or holds characters that no HTTP header can carry.
    #[error("the Vast.ai API key is empty or holds characters that cannot be sent")]
    Key,
    /// TLS cannot be set up.
    #[error("set up TLS for the Vast.ai API")]
    Tls {
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The HTTP client cannot be built.
    #[error("build the HTTP client for the Vast.ai API")]
    Client {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

/// What a refusal means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The key or its scopes.
    Auth,
    /// The account's money.
    Credit,
    /// Too many calls.
    Throttled,
    /// This offer cannot be rented, another may.
    OfferGone,
    /// No such instance.
    NoInstance,
    /// Not now, but queued: it may still happen, and bill.
    Queued,
    /// Done already.
    Already,
    /// Anything else: our request.
    Other,
}

/// Where a row of [`TABLE`] looks.
enum Where {
    /// The whole `error` field.
    Code(&'static str),
    /// Anywhere in the code or the text, without regard to case.
    Text(&'static str),
}

/// The provider's words (Vast.ai API reference, its command line 1.9.1, and public reports), the first match decides.
const TABLE: [(Where, Meaning); 26] = {
    use Meaning::{Already, Auth, Credit, NoInstance, OfferGone, Queued, Throttled};
    use Where::{Code, Text};
    [
        (Text("state change queued"), Queued),
        (Code("auth_error"), Auth),
        (Text("invalid user key"), Auth),
        (Text("two factor authentication"), Auth),
        (Text("session expired"), Auth),
        (Code("insufficient_credit"), Credit),
        (Code("spend_rate_limit"), Credit),
        (Code("missing_billing"), Credit),
        (Text("lacks credit"), Credit),
        (Code("rate_limit_exceeded"), Throttled),
        (Code("search_quota_exceeded"), Throttled),
        (Text("api requests too frequent"), Throttled),
        (Code("no_such_ask"), OfferGone),
        (Text("no_such_ask"), OfferGone),
        (Text("/3603:"), OfferGone),
        (Text("/3907:"), OfferGone),
        (Text("no longer available"), OfferGone),
        (Text("is not available"), OfferGone),
        (Code("resources_unavailable"), OfferGone),
        (Text("/3586:"), OfferGone),
        (Text("is not your own"), OfferGone),
        (Code("no_such_instance"), NoInstance),
        (Code("not_found"), NoInstance),
        (Text("already attached"), Already),
        (Text("already exists"), Already),
        (Text("already associated"), Already),
    ]
};

/// The provider's error envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The `error` field.
    pub(super) code: Option<String>,
    /// `msg`, `message` or `detail`.
    pub(super) text: String,
}

impl Refusal {
    /// The refusal in an answer's object; `None` if it does not speak of one.
    pub(super) fn read(object: &Map<String, Value>) -> Option<Self> {
        let text_of = |key: &str| match object.get(key) {
            Some(Value::String(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            Some(list @ Value::Array(items)) if !items.is_empty() => Some(list.to_string()),
            _ => None,
        };
        let code = object.get("error").and_then(Value::as_str).map(str::trim).filter(|code| !code.is_empty());
        let code = code.map(str::to_owned);
        let text = ["msg", "message", "detail"].into_iter().find_map(text_of);
        match object.get("success") {
            Some(Value::Bool(true)) if code.is_none() => None,
            Some(Value::Bool(false)) => Some(Self { code, text: text.unwrap_or_default() }),
            _ if code.is_some() || text.is_some() => Some(Self { code, text: text.unwrap_or_default() }),
            _ => None,
        }
    }

    /// What it means, by its words alone.
    pub(super) fn meaning(&self) -> Meaning {
        let code = self.code.as_deref().unwrap_or_default();
        let words = format!("{code} {}", self.text).to_lowercase();
        let row = TABLE.iter().find(|(place, _)| match place {
            Where::Code(known) => code == *known,
            Where::Text(part) => words.contains(part),
        });
        row.map_or(Meaning::Other, |(_, meaning)| *meaning)
    }

    /// Code and text for people, cut to a printable length.
    pub(super) fn detail(&self) -> String {
        let words = match (&self.code, self.text.as_str()) {
            (Some(code), "") => code.clone(),
            (Some(code), text) => format!("{code}: {text}"),
            (None, "") => "no reason given".to_owned(),
            (None, text) => text.to_owned(),
        };
        printable(&words)
    }
}

/// The fault that a refusal is, words first, then the status.
pub(super) fn fault(reply: &Reply, refusal: &Refusal) -> ProviderFault {
    let detail = refusal.detail();
    match refusal.meaning() {
        Meaning::Auth => ProviderFault::Auth { detail },
        Meaning::Credit => ProviderFault::Credit { detail },
        Meaning::Throttled => throttled(reply),
        Meaning::OfferGone | Meaning::NoInstance | Meaning::Queued | Meaning::Already => {
            ProviderFault::Refused { detail }
        }
        Meaning::Other => match reply.status {
            401 | 403 => ProviderFault::Auth { detail },
            402 => ProviderFault::Credit { detail },
            429 => throttled(reply),
            _ => ProviderFault::Refused { detail },
        },
    }
}

/// The fault of a 429.
pub(super) fn throttled(reply: &Reply) -> ProviderFault {
    ProviderFault::RateLimited { retry_after_ms: reply.retry_after.map(millis) }
}

/// Whether an answer says that we call too often, whatever its shape.
pub(super) fn is_throttled(reply: &Reply) -> bool {
    let said = || {
        let refusal = reply.json.as_ref().and_then(Value::as_object).and_then(Refusal::read);
        refusal.is_some_and(|refusal| refusal.meaning() == Meaning::Throttled)
    };
    reply.status == 429 || said()
}

/// Whether a 429's body is the provider's own, in JSON or in its known plain text, and not some proxy's.
pub(super) fn is_own_throttle_text(text: &str) -> bool {
    text.trim_start().to_lowercase().starts_with("api requests too frequent")
}

/// The seconds in `… endpoint threshold=4.5`, which the provider's 429 texts carry.
pub(super) fn wait_in_text(text: &str) -> Option<f64> {
    let (_, after) = text.split_once("threshold=")?;
    let end = after.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(after.len());
    after.get(..end)?.parse().ok()
}

/// A provider's text on one line, without control characters, cut to 300 characters.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 300;
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Meaning::*, *};

    fn refusal(value: Value) -> Refusal {
        Refusal::read(value.as_object().unwrap()).expect("a refusal")
    }

    #[test]
    fn every_known_body_has_its_meaning() {
        let envelope = |error: &str, msg: &str| json!({"success": false, "error": error, "msg": msg});
        for (body, meaning) in [
            (envelope("auth_error", "Invalid user key"), Auth),
            (json!({"msg": "Two Factor Authentication required for this endpoint"}), Auth),
            (json!({"success": false, "msg": "Session expired. Please log in again."}), Auth),
            (
                envelope(
                    "invalid_args",
                    "error 404/3603: no_such_ask Instance type by id 7 is not available.",
                ),
                OfferGone,
            ),
            (
                envelope(
                    "no_such_ask",
                    "error 410/3907: no_such_ask Instance type 7 is no longer available.",
                ),
                OfferGone,
            ),
            (envelope("invalid_args", "error 403/3586: Offer 7 is not your own"), OfferGone),
            (envelope("resources_unavailable", "Required resources are currently unavailable."), OfferGone),
            (
                envelope(
                    "resources_unavailable",
                    "Required resources are currently unavailable, state change queued.",
                ),
                Queued,
            ),
            (envelope("insufficient_credit", "Your account lacks credit; see the billing page."), Credit),
            (envelope("spend_rate_limit", ""), Credit),
            (envelope("missing_billing", ""), Credit),
            (json!({"detail": "API requests too frequent endpoint threshold=4.5"}), Throttled),
            (envelope("rate_limit_exceeded", "API requests too frequent endpoint threshold=3.0"), Throttled),
            (envelope("search_quota_exceeded", "come back tomorrow"), Throttled),
            (envelope("no_such_instance", "Instance 7 not found."), NoInstance),
            (json!({"error": "not_found"}), NoInstance),
            (envelope("invalid_args", "error 400/3467: Invalid args: disk"), Other),
            (envelope("deprecated_endpoint", "Use /api/v1/instances/"), Other),
            (json!({"success": false, "msg": "Key already exists on this instance"}), Already),
            (json!({"detail": [{"loc": ["body"], "msg": "Extra inputs are not permitted"}]}), Other),
            (json!({"success": false}), Other),
        ] {
            assert_eq!(refusal(body.clone()).meaning(), meaning, "{body}");
        }
    }

    #[test]
    fn an_offer_number_that_looks_like_a_code_is_none() {
        let body = json!({"success": false, "error": "invalid_args", "msg": "ask 13603: image is missing"});
        assert_eq!(refusal(body).meaning(), Other);
    }

    #[test]
    fn success_is_no_refusal_and_neither_is_silence() {
        for body in
            [json!({"success": true, "msg": "destroying instance 7."}), json!({}), json!({"offers": []})]
        {
            assert_eq!(Refusal::read(body.as_object().unwrap()), None, "{body}");
        }
    }

    #[test]
    fn the_wait_is_read_from_the_providers_texts() {
        assert_eq!(wait_in_text("API requests too frequent: endpoint threshold=4.5"), Some(4.5));
        assert_eq!(wait_in_text(r#"{"detail":"… threshold=3.0"}"#), Some(3.0));
        assert_eq!(wait_in_text("API requests too frequent"), None);
        assert_eq!(wait_in_text("threshold=soon"), None);
    }

    #[test]
    fn texts_of_strangers_are_made_fit_to_print() {
        assert_eq!(printable("  a\nb\u{1b}[31m "), "a b [31m");
        assert_eq!(printable(&"é".repeat(1000)).chars().count(), 300);
    }
}
