//! Sends alerts to `ALERT_WEBHOOK_URL`, in the shape of whoever listens there: Slack, Discord, or plain JSON.
//!
//! The address is a secret: it never reaches a log or an error. The queue is bounded; an alert that does not fit is
//! logged instead, because a webhook that hangs must not hold up the server.

use std::time::Duration;

use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::sentinel::{Alert, Severity};
use crate::settings::{AlertSettings, WebhookKind};
use crate::telemetry::Redactor;

/// Alerts waiting to be sent.
const QUEUE: usize = 64;

/// Attempts per alert.
const ATTEMPTS: u32 = 4;

/// A webhook that has not answered by then has failed.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before the second attempt; it doubles from then on.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// A webhook may ask for a longer pause, but not for more than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where alerts are put; without a webhook they are only logged.
#[derive(Clone)]
pub struct Alerts {
    queue: Option<mpsc::Sender<Alert>>,
}

/// Sends what is put there.
pub struct Sender {
    settings: AlertSettings,
    client: Client,
    redactor: Redactor,
    origin: String,
    queue: mpsc::Receiver<Alert>,
}

/// Why an attempt failed.
enum Failure {
    /// Worth another attempt, after the given pause if the webhook named one.
    Passing(Option<Duration>, String),
    /// The webhook does not want this message, now or ever.
    Final(String),
}

impl Alerts {
    /// A place that only logs.
    pub fn only_logged() -> Self {
        Self { queue: None }
    }

    /// A place with its sender; `origin` says which server speaks.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn to_webhook(
        settings: AlertSettings,
        redactor: Redactor,
        origin: String,
    ) -> Result<(Self, Sender), reqwest::Error> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let client = client()?;
        Ok((Self { queue: Some(sender) }, Sender { settings, client, redactor, origin, queue }))
    }

    /// Tells a human.
    pub fn tell(&self, alert: Alert) {
        match alert.severity {
            Severity::Critical => tracing::error!(kind = alert.kind, "{}", alert.text),
            Severity::Warning => tracing::warn!(kind = alert.kind, "{}", alert.text),
            Severity::Info => tracing::info!(kind = alert.kind, "{}", alert.text),
        }
        if self.queue.as_ref().is_some_and(|queue| queue.try_send(alert).is_err()) {
            tracing::warn!("an alert did not fit into the queue of the webhook");
        }
    }
}

fn client() -> Result<Client, reqwest::Error> {
    let builder = || Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
    // A machine without a certificate store gets the bundled one.
    builder().build().or_else(|_| {
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        let roots = roots.iter().filter_map(|root| reqwest::Certificate::from_der(root).ok());
        builder().tls_certs_only(roots).build()
    })
}

impl Sender {
    /// Sends until told to stop; then what is waiting gets one attempt each.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Some(alert)) = stop.run_until_cancelled(self.queue.recv()).await {
            let body = self.body(&alert);
            let sent = stop.run_until_cancelled(self.send_with_patience(&body)).await;
            if sent.is_none() {
                // Cut short: one last attempt, bounded by the client's timeout.
                self.last_attempt(&body).await;
            }
        }
        while let Ok(alert) = self.queue.try_recv() {
            self.last_attempt(&self.body(&alert)).await;
        }
    }

    async fn last_attempt(&self, body: &Value) {
        if let Err(Failure::Passing(_, why) | Failure::Final(why)) = self.attempt(body).await {
            tracing::warn!(why, "an alert could not be sent");
        }
    }

    async fn send_with_patience(&self, body: &Value) {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            match self.attempt(body).await {
                Ok(()) => return,
                Err(Failure::Passing(asked, why)) if attempt < ATTEMPTS => {
                    tracing::debug!(why, attempt, "an alert is sent again");
                    tokio::time::sleep(asked.unwrap_or(pause).min(LONGEST_PAUSE)).await;
                    pause *= 2;
                }
                Err(Failure::Passing(_, why) | Failure::Final(why)) => {
                    tracing::warn!(why, attempt, "an alert could not be sent");
                    return;
                }
            }
        }
    }

    async fn attempt(&self, body: &Value) -> Result<(), Failure> {
        let request = self.client.post(self.settings.url.expose()).json(body);
        let response = request
            .send()
            .await
            .map_err(|error| Failure::Passing(None, crate::error_chain(&error.without_url())))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let why = format!("the webhook answered {status}");
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let seconds: Option<f64> = seconds.and_then(|text| text.parse().ok());
            let asked = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            return Err(Failure::Passing(asked, why));
        }
        Err(Failure::Final(why))
    }

    fn body(&self, alert: &Alert) -> Value {
        let text = self.redactor.mask(&alert.text);
        payload(self.settings.kind, alert.severity, alert.kind, &text, &self.origin)
    }
}

/// The message in the shape of its reader.
fn payload(kind: WebhookKind, severity: Severity, word: &str, text: &str, origin: &str) -> Value {
    let title = format!("{}: {text}", severity.as_str());
    match kind {
        WebhookKind::Slack => json!({
            "text": title,
            "blocks": [
                { "type": "section", "text": { "type": "plain_text", "text": title } },
                { "type": "context", "elements": [
                    { "type": "plain_text", "text": format!("{origin} · {word}") } ] },
            ],
        }),
        WebhookKind::Discord => json!({
            "content": title,
            // Nobody is to be pinged by a name that happens to be in a text.
            "allowed_mentions": { "parse": [] },
            "embeds": [{
                "title": text,
                "color": match severity {
                    Severity::Critical => 0xd9_2d20,
                    Severity::Warning => 0xf7_9009,
                    Severity::Info => 0x12_b76a,
                },
                "footer": { "text": format!("{origin} · {word}") },
            }],
        }),
        WebhookKind::Json => json!({
            "severity": severity.as_str(), "kind": word, "text": text, "origin": origin,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_gets_the_shape_it_requires() {
        let of = |kind| payload(kind, Severity::Critical, "database-lost", "the database is lost", "box-1");
        let slack = of(WebhookKind::Slack);
        assert_eq!(slack["text"], "critical: the database is lost");
        assert_eq!(slack["blocks"][0]["text"]["type"], "plain_text");
        let discord = of(WebhookKind::Discord);
        assert_eq!(discord["content"], "critical: the database is lost");
        assert!(discord["embeds"][0]["color"].is_u64());
        assert_eq!(of(WebhookKind::Json)["kind"], "database-lost");
    }
}
