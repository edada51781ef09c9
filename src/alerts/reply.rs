//! One request to a sink and what its answer means.

use std::{error::Error as _, time::Duration};

use reqwest::{
    RequestBuilder, StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

use super::{Delivery, SinkUrl, look};
use crate::fleet::units::Timestamp;

/// Most bytes of an answer that are read; answers of sinks are short, a proxy's page of HTML is not of interest.
const MOST_BYTES: usize = 16 * 1024;
/// Most of an answer that is shown to people.
const MOST_SHOWN: usize = 200;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The beginning of the body, redacted.
    pub body: String,
}

/// Sends a request and reads the beginning of the answer; without a whole answer the delivery may be tried again.
pub(super) async fn send(request: RequestBuilder, url: &SinkUrl) -> Result<Reply, Delivery> {
    let mut response = request.send().await.map_err(|error| Delivery::Retry { detail: words(error, url) })?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while body.len() < MOST_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            // The status decides; a torn body of an error only loses its words.
            Err(_) if !status.is_success() => break,
            Err(error) => return Err(Delivery::Retry { detail: words(error, url) }),
        }
    }
    body.truncate(MOST_BYTES);
    Ok(Reply { status, headers, body: url.redact(&String::from_utf8_lossy(&body)) })
}

/// An error's chain in words, without the URL.
fn words(error: reqwest::Error, url: &SinkUrl) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    look::fit(&url.redact(&words), 2 * MOST_SHOWN, look::plain)
}

impl Reply {
    /// What the answer means by the common rules of HTTP and Standard Webhooks: 2xx is a success, a redirect is not
    /// followed, 401, 403, 404 and 410 are about the sink, other 4xx about the message.
    pub fn judge(&self, now: Timestamp) -> Delivery {
        let detail = self.detail();
        match self.status.as_u16() {
            200..=299 => Delivery::Sent { pause: Duration::ZERO },
            408 | 425 | 429 | 500..=599 => match self.retry_after(now) {
                Some(wait) => Delivery::RetryAfter { wait, detail },
                None => Delivery::Retry { detail },
            },
            300..=399 | 401 | 403 | 404 | 405 | 410 => Delivery::Refused { detail },
            _ => Delivery::Rejected { detail },
        }
    }

    /// Status and the beginning of the body.
    pub fn detail(&self) -> String {
        let body = look::fit(&self.body, MOST_SHOWN, look::plain);
        format!("{} {body}", self.status.as_u16())
    }

    /// `Retry-After` in seconds, whole or not, or as a date.
    fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        seconds(text).or_else(|| {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
            Some(now.until(Timestamp(u64::try_from(date).unwrap_or(0))))
        })
    }

    /// A header that holds seconds.
    pub fn seconds(&self, header: &str) -> Option<Duration> {
        seconds(self.headers.get(header)?.to_str().ok()?)
    }
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.trim().parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, retry_after: Option<&'static str>) -> Reply {
        let headers = retry_after.map(|text| (RETRY_AFTER, text.parse().unwrap()));
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.into_iter().collect(),
            body: "why".into(),
        }
    }

    #[test]
    fn an_answer_is_judged_by_its_status() {
        let now = Timestamp(1_700_000_000_000);
        let after = |status, text| match reply(status, Some(text)).judge(now) {
            Delivery::RetryAfter { wait, .. } => Some(wait),
            _ => None,
        };
        assert_eq!(after(429, "3"), Some(Duration::from_secs(3)));
        assert_eq!(after(503, " 0.25 "), Some(Duration::from_millis(250)));
        assert_eq!(after(503, "Tue, 14 Nov 2023 22:13:50 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after(503, "Tue, 14 Nov 2000 22:13:50 GMT"), Some(Duration::ZERO));
        for nonsense in ["-1", "soon", "NaN", "1e999", ""] {
            assert_eq!(after(429, nonsense), None, "{nonsense}");
            let retried = reply(429, Some(nonsense)).judge(now);
            assert!(matches!(retried, Delivery::Retry { .. }), "{nonsense}");
        }
        assert_eq!(reply(204, None).judge(now), Delivery::Sent { pause: Duration::ZERO });
        for status in [301, 401, 403, 404, 410] {
            assert!(matches!(reply(status, None).judge(now), Delivery::Refused { .. }), "{status}");
        }
        for status in [400, 413, 422] {
            assert!(matches!(reply(status, None).judge(now), Delivery::Rejected { .. }), "{status}");
        }
    }
}
