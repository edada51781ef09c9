//! Every sink against a strict stand-in: good days, bad answers, and texts that want to break out.

use proptest::prelude::*;

use super::{
    fakes::{Answer, Fake, Kind, SECRET},
    *,
};
use crate::fleet::name::IncidentId;

const KINDS: [Kind; 3] = [Kind::Slack, Kind::Discord, Kind::Webhook];
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn notice() -> Notice {
    Notice {
        at: NOW,
        severity: Severity::Critical,
        topic: Topic::IncidentOpened,
        node: Some("duel-1".parse().unwrap()),
        incident: Some(IncidentId(3)),
        title: "duel-1 is failing: no answer within 5000 ms".into(),
        facts: vec![
            ("evidence".into(), "3 of 3 probes & <!channel> [x](https://evil)".into()),
            ("price".into(), "$0.345/h".into()),
        ],
        next: "destroy the instance and rent another".into(),
    }
}

async fn deliver(sink: &Sink, message: &Message<'_>) -> Delivery {
    let http = http_client().unwrap();
    let delivery = sink.deliver(&http, NOW, NOW, "vk-0a-7", message).await;
    let shown = format!("{delivery:?} {sink:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    delivery
}

fn sent() -> Delivery {
    Delivery::Sent { pause: Duration::ZERO }
}

#[tokio::test]
async fn slack_gets_blocks_with_what_why_and_next() {
    let fake = Fake::start(Kind::Slack).await;
    assert_eq!(deliver(&fake.sink("s"), &Message::One(&notice())).await, sent());
    insta::assert_json_snapshot!(fake.taken());
}

#[tokio::test]
async fn discord_gets_an_embed_that_pings_nobody() {
    let fake = Fake::start(Kind::Discord).await;
    assert_eq!(deliver(&fake.sink("d"), &Message::One(&notice())).await, sent());
    assert!(fake.requests()[0].path.ends_with("?wait=true"));
    insta::assert_json_snapshot!(fake.taken());
}

#[tokio::test]
async fn a_webhook_gets_signed_json_with_a_stable_id() {
    let fake = Fake::start(Kind::Webhook).await;
    let mut sink = fake.sink("w");
    let Channel::Webhook { headers, keys, .. } = &mut sink.channel else { panic!("a webhook") };
    headers.insert("x-team", "ops".parse().unwrap());
    *keys = Some("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".parse().unwrap());
    assert_eq!(deliver(&sink, &Message::One(&notice())).await, sent());
    let request = &fake.requests()[0];
    let header = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("webhook-id").as_deref(), Some("vk-0a-7"));
    assert_eq!(header("webhook-timestamp").as_deref(), Some("1700000000"));
    assert_eq!(header("x-team").as_deref(), Some("ops"));
    assert!(header("webhook-signature").unwrap().starts_with("v1,"));
    insta::assert_json_snapshot!(request.json());
}

#[tokio::test]
async fn a_fold_tells_every_notice_in_one_message() {
    let notices: Vec<(String, Notice)> = (0..40)
        .map(|nr| (format!("vk-0a-{nr}"), Notice { title: format!("news number {nr} of them"), ..notice() }))
        .collect();
    let message = Message::Folded(notices.iter().map(|(id, notice)| (id.as_str(), notice)).collect());
    for kind in KINDS {
        let fake = Fake::start(kind).await;
        assert_eq!(deliver(&fake.sink("x"), &message).await, sent(), "{kind:?}");
        let text = fake.taken()[0].to_string();
        for nr in 0..40 {
            assert!(
                text.contains(&format!("news number {nr} of them")),
                "{kind:?}: {nr} is missing in {text}"
            );
        }
    }
}

#[tokio::test]
async fn answers_are_told_apart() {
    let status = |status, body: &str| Answer::Status(status, vec![], body.into());
    for kind in KINDS {
        let fake = Fake::start(kind).await;
        let sink = fake.sink("x");
        let quoting = format!("not found: /services/{SECRET}");
        fake.will([
            status(500, "oops"),
            status(404, &quoting),
            status(400, "invalid_blocks"),
            Answer::Status(429, vec![("retry-after", "7".into())], "slow down".into()),
            status(302, ""),
        ]);
        let retry = deliver(&sink, &Message::One(&notice())).await;
        assert_eq!(retry, Delivery::Retry { detail: "500 oops".into() }, "{kind:?}");
        let refused = deliver(&sink, &Message::One(&notice())).await;
        assert!(matches!(refused, Delivery::Refused { .. }), "{kind:?}: {refused:?}");
        let rejected = deliver(&sink, &Message::One(&notice())).await;
        assert_eq!(rejected, Delivery::Rejected { detail: "400 invalid_blocks".into() }, "{kind:?}");
        let limited = deliver(&sink, &Message::One(&notice())).await;
        let wait = Duration::from_secs(7);
        assert_eq!(limited, Delivery::RetryAfter { wait, detail: "429 slow down".into() }, "{kind:?}");
        let redirected = deliver(&sink, &Message::One(&notice())).await;
        assert!(matches!(redirected, Delivery::Refused { .. }), "{kind:?}: {redirected:?}");
        assert_eq!(fake.requests().len(), 5, "{kind:?}: a sink never tries again by itself");
    }
}

#[tokio::test]
async fn slack_has_its_own_words() {
    let fake = Fake::start(Kind::Slack).await;
    let sink = fake.sink("s");
    fake.will([
        Answer::Status(400, vec![], "invalid_token".into()),
        Answer::Status(200, vec![], "<html>please log in</html>".into()),
        Answer::Status(200, vec![], "{\"ok\":false,\"error\":\"fatal_error\"}".into()),
        Answer::Status(200, vec![], "{\"ok\":true}".into()),
    ]);
    let gone = deliver(&sink, &Message::One(&notice())).await;
    assert_eq!(gone, Delivery::Refused { detail: "400 invalid_token".into() });
    for _ in 0..2 {
        let unsure = deliver(&sink, &Message::One(&notice())).await;
        assert!(matches!(unsure, Delivery::Retry { .. }), "{unsure:?}");
    }
    assert_eq!(deliver(&sink, &Message::One(&notice())).await, sent());
}

#[tokio::test]
async fn discord_says_how_long_to_wait() {
    let fake = Fake::start(Kind::Discord).await;
    let sink = fake.sink("d");
    let full = vec![("x-ratelimit-remaining", "0".into()), ("x-ratelimit-reset-after", "1.5".into())];
    let exact = "{\"message\":\"limited\",\"retry_after\":2.25,\"global\":false}";
    fake.will([
        Answer::Status(204, full, String::new()),
        Answer::Status(429, vec![("retry-after", "2".into())], exact.into()),
        Answer::Status(429, vec![], exact.into()),
    ]);
    let pause = Duration::from_millis(1500);
    assert_eq!(deliver(&sink, &Message::One(&notice())).await, Delivery::Sent { pause });
    for _ in 0..2 {
        let limited = deliver(&sink, &Message::One(&notice())).await;
        let exactly = Duration::from_millis(2250);
        assert!(matches!(limited, Delivery::RetryAfter { wait, .. } if wait == exactly), "{limited:?}");
    }
}

#[tokio::test]
async fn a_silent_or_absent_sink_is_given_up_in_time() {
    for kind in KINDS {
        let fake = Fake::start(kind).await;
        let sink = Sink { timeout: Duration::from_millis(100), ..fake.sink("x") };
        fake.will([Answer::Silence]);
        let silent = deliver(&sink, &Message::One(&notice())).await;
        assert_eq!(silent, Delivery::Retry { detail: "no answer in time".into() }, "{kind:?}");
        // A port that is taken, so that nobody else is given it, and on which nobody listens.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = closed.local_addr().unwrap().port();
        let url = check_url(&format!("http://127.0.0.1:{port}/services/{SECRET}")).unwrap();
        let channel = match kind {
            Kind::Slack => Channel::Slack { url },
            Kind::Discord => Channel::Discord { url },
            Kind::Webhook => Channel::Webhook { url, headers: HeaderMap::new(), keys: None },
        };
        // Refused at once, unless the machine stands still.
        let absent = deliver(&Sink { channel, timeout: TIMEOUT, ..sink }, &Message::One(&notice())).await;
        let refused = matches!(&absent, Delivery::Retry { detail } if detail.contains("refused"));
        assert!(refused, "{kind:?}: {absent:?}");
    }
}

#[test]
fn severity_and_topic_route() {
    let url = check_url("https://example.org/a").unwrap();
    let channel = Channel::Slack { url };
    let all = Sink {
        name: "all".into(),
        minimum: Severity::Info,
        topics: BTreeSet::new(),
        channel,
        timeout: TIMEOUT,
    };
    let pager = Sink { name: "pager".into(), minimum: Severity::Critical, ..all.clone() };
    let held = Sink { name: "held".into(), topics: [Topic::Held].into(), ..all.clone() };
    let sinks = [all, pager, held];
    assert_eq!(route(&sinks, &notice()), ["all", "pager"]);
    assert_eq!(route(&sinks, &Notice { severity: Severity::Info, ..notice() }), ["all"]);
    assert_eq!(route(&sinks, &Notice { topic: Topic::Held, ..notice() }), ["all", "pager", "held"]);
}

fn hostile_text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("<!channel> & @everyone `*_~|[]()\\".to_owned()),
        Just(String::new()),
        Just("𝕏".repeat(3_000)),
        Just("&<>".repeat(2_000)),
        any::<String>(),
    ];
    proptest::collection::vec(pieces, 0..3).prop_map(|pieces| pieces.concat())
}

prop_compose! {
    fn hostile_notice()(
        title in hostile_text(),
        facts in proptest::collection::vec((hostile_text(), hostile_text()), 0..30),
        next in hostile_text(),
    ) -> Notice {
        Notice { title, facts, next, ..notice() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_message_that_a_sink_refuses(notices in proptest::collection::vec(hostile_notice(), 1..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for kind in KINDS {
                let fake = Fake::start(kind).await;
                let sink = fake.sink("x");
                assert_eq!(deliver(&sink, &Message::One(&notices[0])).await, sent(), "{kind:?}");
                let many = notices.iter().cycle().take(40);
                let folded = Message::Folded(many.map(|notice| ("vk-1", notice)).collect());
                assert_eq!(deliver(&sink, &folded).await, sent(), "{kind:?}");
            }
        });
    }
}
