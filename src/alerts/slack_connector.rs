//! Lets `slack-morphism` speak over our own HTTP client, for incoming webhooks only.
//!
//! The library's own connector would bring a second HTTP stack, and it takes any 200 for a success. Here the answer is
//! judged once, by our rules, and travels through the library inside its error type.

use std::{fmt, time::Duration};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use serde::{Deserialize, Serialize};
use slack_morphism::{
    ClientResult, SlackClientApiCallContext, SlackClientHttpConnector, SlackClientId, SlackClientSecret,
    errors::{SlackClientError, SlackClientSystemError},
    multipart_form::FileMultipartData,
};
use url::Url;

use super::{Delivery, SinkUrl, reply, reply::Reply};
use crate::fleet::units::Timestamp;

/// Words of Slack's 400 answers that are about the webhook, not about the message; its other ones of this kind come
/// with 403, 404 or 410 (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>, and as seen).
const WEBHOOK_GONE: [&str; 4] = ["invalid_token", "no_service", "no_team", "user_not_found"];

/// One try over our client.
#[derive(Debug)]
pub(super) struct Connector {
    http: reqwest::Client,
    url: SinkUrl,
    timeout: Duration,
    now: Timestamp,
}

impl Connector {
    pub fn new(http: &reqwest::Client, url: &SinkUrl, timeout: Duration, now: Timestamp) -> Self {
        Self { http: http.clone(), url: url.clone(), timeout, now }
    }

    async fn post<RS: for<'de> Deserialize<'de>>(&self, target: Url, body: String) -> ClientResult<RS> {
        let request = self
            .http
            .post(target)
            .header(reqwest::header::CONTENT_TYPE, "application/json; charset=utf-8")
            .body(body)
            .timeout(self.timeout);
        let delivery = match reply::send(request, &self.url).await {
            Ok(reply) => judge(&reply, self.now),
            Err(delivery) => delivery,
        };
        match delivery {
            // A webhook's answer carries nothing.
            Delivery::Sent { .. } => serde_json::from_str("{}").map_err(|error| system(Box::new(error))),
            other => Err(system(Box::new(Undelivered(other)))),
        }
    }
}

/// A success is exactly `ok`, or JSON that says so: a login page of some proxy also answers 200.
fn judge(reply: &Reply, now: Timestamp) -> Delivery {
    #[derive(Deserialize)]
    struct Answer {
        ok: bool,
    }
    let body = reply.body.trim();
    match reply.judge(now) {
        Delivery::Sent { pause } => {
            let json = serde_json::from_str::<Answer>(body).is_ok_and(|answer| answer.ok);
            if body == "ok" || json {
                Delivery::Sent { pause }
            } else {
                Delivery::Retry { detail: reply.detail() }
            }
        }
        Delivery::Rejected { detail } if WEBHOOK_GONE.contains(&body) => Delivery::Refused { detail },
        other => other,
    }
}

/// Our verdict, on its way through the library.
#[derive(Debug)]
struct Undelivered(Delivery);

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not delivered")
    }
}

impl std::error::Error for Undelivered {}

fn system(cause: Box<dyn std::error::Error + Send + Sync>) -> SlackClientError {
    SlackClientError::SystemError(SlackClientSystemError::new().with_cause(cause))
}

/// Our verdict out of the library's error.
pub(super) fn delivery(error: SlackClientError) -> Delivery {
    let unknown = || Delivery::Retry { detail: "the slack library failed".into() };
    let SlackClientError::SystemError(error) = error else {
        return unknown();
    };
    match error.cause.map(|cause| cause.downcast::<Undelivered>()) {
        Some(Ok(undelivered)) => undelivered.0,
        Some(Err(_)) | None => unknown(),
    }
}

fn unused<'a, RS: Send + 'a>() -> BoxFuture<'a, ClientResult<RS>> {
    let error = SlackClientSystemError::new().with_message("only webhooks are spoken here".into());
    ready(Err(SlackClientError::SystemError(error))).boxed()
}

impl SlackClientHttpConnector for Connector {
    fn http_post_uri<'a, RQ, RS>(
        &'a self,
        full_uri: Url,
        request_body: &'a RQ,
        _context: SlackClientApiCallContext<'a>,
    ) -> BoxFuture<'a, ClientResult<RS>>
    where
        RQ: Serialize + Send + Sync,
        RS: for<'de> Deserialize<'de> + Send + 'a,
    {
        match serde_json::to_string(request_body) {
            Ok(body) => self.post(full_uri, body).boxed(),
            Err(error) => ready(Err(system(Box::new(error)))).boxed(),
        }
    }

    fn http_get_uri<'a, RS>(
        &'a self,
        _full_uri: Url,
        _context: SlackClientApiCallContext<'a>,
    ) -> BoxFuture<'a, ClientResult<RS>>
    where
        RS: for<'de> Deserialize<'de> + Send + 'a,
    {
        unused()
    }

    fn http_get_with_client_secret<'a, RS>(
        &'a self,
        _full_uri: Url,
        _client_id: &'a SlackClientId,
        _client_secret: &'a SlackClientSecret,
    ) -> BoxFuture<'a, ClientResult<RS>>
    where
        RS: for<'de> Deserialize<'de> + Send + 'a,
    {
        unused()
    }

    fn http_post_uri_multipart_form<'a, 'p, RS, PT, TS>(
        &'a self,
        _full_uri: Url,
        _file: Option<FileMultipartData<'p>>,
        _params: &'p PT,
        _context: SlackClientApiCallContext<'a>,
    ) -> BoxFuture<'a, ClientResult<RS>>
    where
        RS: for<'de> Deserialize<'de> + Send + 'a,
        PT: IntoIterator<Item = (&'p str, Option<TS>)> + Clone,
        TS: AsRef<str> + 'p + Send,
    {
        unused()
    }

    #[expect(unused_lifetimes, reason = "the trait declares it")]
    fn http_post_uri_binary<'a, 'p, RS>(
        &'a self,
        _full_uri: Url,
        _content_type: String,
        _data: &'a [u8],
        _context: SlackClientApiCallContext<'a>,
    ) -> BoxFuture<'a, ClientResult<RS>>
    where
        RS: for<'de> Deserialize<'de> + Send + 'a,
    {
        unused()
    }
}
