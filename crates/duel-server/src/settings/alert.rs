//! Where alerts go.

use super::Secret;
use super::reader::Reader;

/// Who reads the webhook, and so which shape a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookKind {
    /// A Slack incoming webhook.
    Slack,
    /// A Discord webhook.
    Discord,
    /// Anything else.
    Json,
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct AlertSettings {
    /// `ALERT_WEBHOOK_URL`; whoever knows it can post, so it is a secret.
    pub url: Secret,
    /// `ALERT_WEBHOOK_KIND`, else told by the address.
    pub kind: WebhookKind,
}

impl AlertSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let kind = reader.optional("ALERT_WEBHOOK_KIND", "slack, discord or json", |text| match text {
            "slack" => Some(WebhookKind::Slack),
            "discord" => Some(WebhookKind::Discord),
            "json" => Some(WebhookKind::Json),
            _ => None,
        });
        let url = reader.optional("ALERT_WEBHOOK_URL", "an http(s) address", |text| {
            let url = reqwest::Url::parse(text).ok()?;
            (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
        })?;
        Some(Self { kind: kind.unwrap_or_else(|| kind_of(&url)), url: Secret::new(url.into()) })
    }
}

impl AlertSettings {
    /// What must be masked: the address as a whole, and its path and query, which libraries may show apart.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let parsed = reqwest::Url::parse(self.url.expose()).ok();
        let parts = parsed.iter().flat_map(|url| [Some(url.path()), url.query()]).flatten();
        let parts = parts.map(|part| Secret::new(part.to_owned()));
        std::iter::once(self.url.clone()).chain(parts).collect()
    }
}

fn kind_of(url: &reqwest::Url) -> WebhookKind {
    match url.host_str().unwrap_or_default() {
        "hooks.slack.com" => WebhookKind::Slack,
        "discord.com" | "discordapp.com" | "ptb.discord.com" | "canary.discord.com" => WebhookKind::Discord,
        _ => WebhookKind::Json,
    }
}
