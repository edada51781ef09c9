//! Slack: Block Kit through an incoming webhook (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>).

use std::time::Duration;

use slack_morphism::prelude::{
    SlackApiPostWebhookMessageRequest, SlackBlock, SlackBlockMarkDownText, SlackBlockPlainText,
    SlackBlockText, SlackClient, SlackContextBlock, SlackHeaderBlock, SlackMessageContent, SlackSectionBlock,
};

use super::{
    Delivery, Message, SinkUrl,
    look::{self, Budget, Tone},
    slack_connector::{self, Connector},
};
use crate::fleet::{notice::Notice, units::Timestamp};

// Limits of Block Kit, from <https://docs.slack.dev/reference/block-kit/blocks>.
const HEADER: usize = 150;
const SECTION: usize = 3000;
const FIELDS: usize = 10;
/// A field may have 2,000; a fact is rarely worth that much.
const FIELD: usize = 1000;
const LABEL: usize = 200;
const CONTEXT: usize = 2000;
/// The fallback is what a notification on a phone shows.
const FALLBACK: usize = 300;
/// A message may have 50 blocks; three are the header, the context, and one to spare.
const SECTIONS: usize = 47;
/// Slack does not publish a total; messages of 9,600 characters are known to pass and of 11,300 to fail
/// (<https://github.com/slackapi/bolt-js/issues/2867>).
const TOTAL: usize = 9000;

pub(super) async fn deliver(
    http: &reqwest::Client,
    url: &SinkUrl,
    timeout: Duration,
    now: Timestamp,
    id: &str,
    message: &Message<'_>,
) -> Delivery {
    let content = match message {
        Message::One(notice) => one(id, notice),
        Message::Folded(notices) => folded(id, notices),
    };
    let client = SlackClient::new(Connector::new(http, url, timeout, now));
    let request = SlackApiPostWebhookMessageRequest::new(content);
    match client.post_webhook_message(url.expose(), &request).await {
        Ok(_) => Delivery::Sent { pause: Duration::ZERO },
        Err(error) => slack_connector::delivery(error),
    }
}

fn one(id: &str, notice: &Notice) -> SlackMessageContent {
    let mut budget = Budget(TOTAL);
    let mark = Tone::of(notice).mark();
    let fallback = look::fit(&format!("{mark} {}", notice.title), FALLBACK, escape);
    let mut blocks = vec![header(&mut budget, &format!("{mark} {}", notice.title))];
    let next = budget.take(&format!("Next: {}", notice.next), CONTEXT, escape);
    let trail = budget.take(&look::trail(notice, id), CONTEXT, escape);
    for facts in notice.facts.chunks(FIELDS).take(SECTIONS) {
        let fields: Vec<SlackBlockText> = facts
            .iter()
            .map_while(|(label, value)| (!budget.is_short()).then(|| fact(&mut budget, label, value)))
            .collect();
        if !fields.is_empty() {
            blocks.push(SlackSectionBlock::new().with_fields(fields).into());
        }
    }
    blocks.push(SlackContextBlock::new(vec![words(next).into(), words(trail).into()]).into());
    SlackMessageContent::new().with_text(fallback).with_blocks(blocks)
}

/// A label in bold over its value.
fn fact(budget: &mut Budget, label: &str, value: &str) -> SlackBlockText {
    let label = budget.take(label, LABEL.min(budget.0 / 2), escape);
    let value = budget.take(value, FIELD, escape);
    words(format!("*{label}*\n{value}")).into()
}

/// Every notice of a fold in one line.
fn folded(id: &str, notices: &[(&str, &Notice)]) -> SlackMessageContent {
    let mut budget = Budget(TOTAL);
    let title = format!("{} {}", look::tone_of_all(notices).mark(), look::fold_title(notices));
    let fallback = look::fit(&title, FALLBACK, escape);
    let mut blocks = vec![header(&mut budget, &title)];
    let trail = budget.take(id, CONTEXT, escape);
    // Every notice keeps its line; the lines share what there is, and a section takes as many as fit.
    let each = (budget.0 / notices.len().max(1)).saturating_sub(1).min(SECTION);
    let mut section = String::new();
    for (_, notice) in notices {
        let head = format!("{} {} ", look::time_of_day(notice.at), Tone::of(notice).mark());
        let title = look::fit(&notice.title, each.saturating_sub(look::width(&head)).max(1), escape);
        if look::width(&section) + look::width(&head) + look::width(&title) + 1 > SECTION {
            blocks.push(section_of(std::mem::take(&mut section)));
        }
        section = format!("{section}{head}{title}\n");
    }
    if !section.is_empty() {
        blocks.push(section_of(section));
    }
    blocks.truncate(SECTIONS + 1);
    blocks.push(SlackContextBlock::new(vec![words(trail).into()]).into());
    SlackMessageContent::new().with_text(fallback).with_blocks(blocks)
}

fn header(budget: &mut Budget, title: &str) -> SlackBlock {
    SlackHeaderBlock::new(SlackBlockPlainText::new(budget.take(title, HEADER, escape)).into()).into()
}

fn section_of(text: String) -> SlackBlock {
    SlackSectionBlock::new().with_text(words(text.trim_end().to_owned()).into()).into()
}

/// Text in Slack's markup, taken as it is: no names or links are looked for in it.
fn words(text: String) -> SlackBlockMarkDownText {
    SlackBlockMarkDownText::new(text).with_verbatim(true)
}

/// Slack's three control characters: with them escaped no text from a box can ping a channel or hide a link.
fn escape(c: char) -> Option<&'static str> {
    match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        _ => None,
    }
}
