//! Discord: one embed per message through a webhook (<https://discord.com/developers/docs/resources/webhook>).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Delivery, Message, SinkUrl,
    look::{self, Budget, Tone},
    reply,
};
use crate::fleet::{notice::Notice, units::Timestamp};

// Limits of an embed, from <https://discord.com/developers/docs/resources/message#embed-object-embed-limits>.
const TITLE: usize = 256;
const DESCRIPTION: usize = 4096;
const FIELDS: usize = 25;
const FIELD_NAME: usize = 256;
const FIELD_VALUE: usize = 1024;
const FOOTER: usize = 2048;
/// Discord counts 6,000 over all texts of the embeds; a little stays free.
const TOTAL: usize = 5900;
/// Values up to this width stand side by side.
const SHORT: usize = 28;

#[derive(Serialize)]
struct Body {
    embeds: [Embed; 1],
    allowed_mentions: Mentions,
}

/// An empty list: nothing in a text can ping anybody.
#[derive(Serialize)]
struct Mentions {
    parse: [&'static str; 0],
}

#[derive(Serialize)]
struct Embed {
    title: String,
    description: String,
    color: u32,
    fields: Vec<Field>,
    footer: Footer,
    timestamp: String,
}

#[derive(Serialize)]
struct Field {
    name: String,
    value: String,
    inline: bool,
}

#[derive(Serialize)]
struct Footer {
    text: String,
}

pub(super) async fn deliver(
    http: &reqwest::Client,
    url: &SinkUrl,
    timeout: Duration,
    now: Timestamp,
    id: &str,
    message: &Message<'_>,
) -> Delivery {
    let mut target = url.expose().clone();
    if !target.query_pairs().any(|(key, _)| key == "wait") {
        // Only then does Discord say whether the message was stored.
        target.query_pairs_mut().append_pair("wait", "true");
    }
    let body = Body { embeds: [render(now, id, message)], allowed_mentions: Mentions { parse: [] } };
    let reply = match reply::send(http.post(target).json(&body).timeout(timeout), url).await {
        Ok(reply) => reply,
        Err(delivery) => return delivery,
    };
    match reply.judge(now) {
        Delivery::Sent { .. } => {
            // When the bucket is empty, Discord says when it is full again.
            let empty = reply.seconds("x-ratelimit-remaining") == Some(Duration::ZERO);
            let pause = reply.seconds("x-ratelimit-reset-after").filter(|_| empty);
            Delivery::Sent { pause: pause.unwrap_or_default() }
        }
        // The body is exact where the header is rounded; the longer wait satisfies both.
        Delivery::RetryAfter { wait, detail } => {
            Delivery::RetryAfter { wait: wait.max(body_wait(&reply.body).unwrap_or_default()), detail }
        }
        Delivery::Retry { detail } => match body_wait(&reply.body) {
            Some(wait) => Delivery::RetryAfter { wait, detail },
            None => Delivery::Retry { detail },
        },
        other @ (Delivery::Rejected { .. } | Delivery::Refused { .. }) => other,
    }
}

/// `retry_after` of the body in seconds.
fn body_wait(body: &str) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Limited {
        retry_after: f64,
    }
    let limited: Limited = serde_json::from_str(body).ok()?;
    Duration::try_from_secs_f64(limited.retry_after).ok()
}

fn render(now: Timestamp, id: &str, message: &Message<'_>) -> Embed {
    match message {
        Message::One(notice) => one(id, notice),
        Message::Folded(notices) => folded(now, id, notices),
    }
}

fn one(id: &str, notice: &Notice) -> Embed {
    let mut budget = Budget(TOTAL);
    let title = budget.take(&notice.title, TITLE, escape);
    let footer = Footer { text: budget.take(&look::trail(notice, id), FOOTER, look::plain) };
    let description = budget.take(&format!("Next: {}", notice.next), DESCRIPTION / 4, escape);
    let mut fields = Vec::new();
    for (label, value) in notice.facts.iter().take(FIELDS) {
        if budget.is_short() {
            break;
        }
        let name = budget.take(label, FIELD_NAME.min(budget.0 / 2), escape);
        let shown = budget.take(value, FIELD_VALUE, escape);
        let inline = look::width(value) <= SHORT;
        fields.push(Field { name, value: shown, inline });
    }
    let color = Tone::of(notice).colour();
    Embed { title, description, color, fields, footer, timestamp: look::iso(notice.at) }
}

fn folded(now: Timestamp, id: &str, notices: &[(&str, &Notice)]) -> Embed {
    let mut budget = Budget(TOTAL);
    let title = budget.take(&look::fold_title(notices), TITLE, escape);
    let footer = Footer { text: budget.take(id, FOOTER, look::plain) };
    // Every notice keeps its line; the lines share what there is.
    let each = (DESCRIPTION / notices.len().max(1)).saturating_sub(1);
    let lines = notices.iter().map(|(_, notice)| {
        let head = format!("{} {} ", look::time_of_day(notice.at), Tone::of(notice).mark());
        let title = look::fit(&notice.title, each.saturating_sub(look::width(&head)).max(1), escape);
        head + &title
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    let description = budget.take(&lines, DESCRIPTION, look::plain);
    let color = look::tone_of_all(notices).colour();
    Embed { title, description, color, fields: Vec::new(), footer, timestamp: look::iso(now) }
}

/// Discord's markdown, so that a text from a box shows as it is and makes no link.
fn escape(c: char) -> Option<&'static str> {
    Some(match c {
        '\\' => "\\\\",
        '*' => "\\*",
        '_' => "\\_",
        '~' => "\\~",
        '`' => "\\`",
        '|' => "\\|",
        '[' => "\\[",
        ']' => "\\]",
        '<' => "\\<",
        '>' => "\\>",
        _ => return None,
    })
}
