//! Telling people: one notice, or a fold of many, rendered for Slack, Discord or a generic webhook and sent once.
//!
//! A sink says how one try went, never tries again, and keeps nothing: order, pacing, retries and memory are the
//! outbox's. A sink's URL is its credential, so no error, log or `Debug` output shows it.
//!
//! Deliberately absent: threads and edits. Incoming webhooks of Slack answer `ok` without the message's id, so there is
//! nothing to thread under; a Discord thread can be chosen with `?thread_id=` in the URL.

mod address;
mod discord;
mod look;
mod reply;
mod slack;
mod slack_connector;
mod webhook;

#[cfg(test)]
pub(crate) mod fakes;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use reqwest::header::HeaderMap;

pub use self::{
    address::{SinkUrl, UrlFault, check_url},
    webhook::{KeyFault, SigningKeys},
};
use crate::fleet::{
    notice::{Notice, Severity, Topic},
    units::Timestamp,
};

/// Longest wait for a sink's whole answer; what Standard Webhooks advises as the lower end is 15 s.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where notices go.
#[derive(Debug, Clone)]
pub struct Sink {
    /// Its name in the configuration, in logs and in the outbox.
    pub name: String,
    /// Notices below this are not sent here.
    pub minimum: Severity,
    /// Only these topics are sent here; empty means all.
    pub topics: BTreeSet<Topic>,
    /// How it is spoken to.
    pub channel: Channel,
    /// Longest wait for its whole answer, usually [`TIMEOUT`].
    pub timeout: Duration,
}

/// The kinds of sinks.
#[derive(Debug, Clone)]
pub enum Channel {
    /// A Slack incoming webhook.
    Slack {
        /// `https://hooks.slack.com/services/…`
        url: SinkUrl,
    },
    /// A Discord webhook.
    Discord {
        /// `https://discord.com/api/webhooks/…`
        url: SinkUrl,
    },
    /// Anything that takes JSON by POST; see [`webhook`](self) for the shape.
    Webhook {
        /// Where to.
        url: SinkUrl,
        /// Extra headers, such as `authorization`; mark secret values as sensitive.
        headers: HeaderMap,
        /// Keys to sign with, newest first; `None` sends unsigned.
        keys: Option<SigningKeys>,
    },
}

/// What is sent at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// One notice.
    One(&'a Notice),
    /// Many that waited, each with its own id, in order.
    Folded(Vec<(&'a str, &'a Notice)>),
}

/// How one try went. Texts are free of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Delivery {
    /// The sink took it, and wants no other before this pause.
    Sent {
        /// How long; often zero.
        pause: Duration,
    },
    /// The sink wants to be asked again after a time it named.
    RetryAfter {
        /// How long to wait.
        wait: Duration,
        /// Its words.
        detail: String,
    },
    /// It may work later.
    Retry {
        /// What happened.
        detail: String,
    },
    /// This message will never be taken, others may.
    Rejected {
        /// The sink's words.
        detail: String,
    },
    /// Nothing will be taken until somebody repairs the sink: removed, revoked, moved.
    Refused {
        /// The sink's words.
        detail: String,
    },
}

impl Sink {
    /// Whether a notice belongs here.
    #[must_use]
    pub fn wants(&self, notice: &Notice) -> bool {
        notice.severity >= self.minimum && (self.topics.is_empty() || self.topics.contains(&notice.topic))
    }

    /// Least time between two messages. Slack allows one a second
    /// (<https://docs.slack.dev/apis/web-api/rate-limits>); Discord asks clients to read its headers, so this is only a
    /// floor; a webhook has no published limit.
    #[must_use]
    pub fn spacing(&self) -> Duration {
        match self.channel {
            Channel::Slack { .. } => Duration::from_secs(1),
            Channel::Discord { .. } => Duration::from_millis(400),
            Channel::Webhook { .. } => Duration::from_millis(20),
        }
    }

    /// Sends one message, once. `id` stays the same for every try of the same message. Stops within the sink's
    /// timeout; dropping the future leaves unknown whether the message arrived. `now` is the keeper's time, to which an
    /// answer's waits are added; `stamp` the wall clock's, which a receiver compares with its own.
    pub async fn deliver(
        &self,
        http: &reqwest::Client,
        now: Timestamp,
        stamp: Timestamp,
        id: &str,
        message: &Message<'_>,
    ) -> Delivery {
        match &self.channel {
            Channel::Slack { url } => slack::deliver(http, url, self.timeout, now, id, message).await,
            Channel::Discord { url } => discord::deliver(http, url, self.timeout, now, id, message).await,
            Channel::Webhook { url, headers, keys } => {
                let request = webhook::request(http, url, headers, keys.as_ref(), stamp, id, message);
                match reply::send(request.timeout(self.timeout), url).await {
                    Ok(reply) => reply.judge(now),
                    Err(delivery) => delivery,
                }
            }
        }
    }
}

/// The names of the sinks that get a notice.
#[must_use]
pub fn route(sinks: &[Sink], notice: &Notice) -> Vec<String> {
    sinks.iter().filter(|sink| sink.wants(notice)).map(|sink| sink.name.clone()).collect()
}

/// A client fit for sinks: no redirects and no proxy, since the URL is a secret that must reach nobody else. Needs the
/// process's default TLS provider. Where the machine has no certificate store, Mozilla's roots that come with the
/// program are used.
///
/// # Errors
/// The client cannot be built with either.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    let builder = || {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("vast-keeper/", env!("CARGO_PKG_VERSION")))
    };
    builder().build().or_else(|_| {
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        let roots = roots.filter_map(|root| reqwest::Certificate::from_der(root).ok());
        builder().tls_certs_only(roots).build()
    })
}
