//! The outbox from commit to sink, over real sockets, through bad answers and restarts.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::{
    alerts::{
        self,
        fakes::{Answer, Fake, Kind},
    },
    fleet::notice::{Severity, Topic},
    store::Batch,
};

/// Fast enough for a test, slow enough to be seen.
fn policy() -> OutboxPolicy {
    let retry = RetryPolicy {
        initial: Duration::from_millis(20),
        max_delay: Duration::from_millis(200),
        ..RetryPolicy::default()
    };
    OutboxPolicy { retry, ..OutboxPolicy::default() }
}

fn notice(title: &str, at: Timestamp) -> Notice {
    Notice {
        at,
        severity: Severity::Critical,
        topic: Topic::IncidentOpened,
        node: None,
        incident: None,
        title: title.into(),
        facts: vec![],
        next: "wait".into(),
    }
}

struct Keeper {
    store: Store,
    outbox: Outbox,
    clock: Clock,
}

impl Keeper {
    async fn start(folder: &Path, sinks: Vec<Sink>, policy: OutboxPolicy) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Clock::new();
        let (store, _) = Store::open(folder).unwrap();
        let http = alerts::http_client().unwrap();
        let outbox = Outbox::start(&store, sinks, &http, clock, policy, 1).await.unwrap();
        Self { store, outbox, clock }
    }

    async fn tell(&self, titles: impl IntoIterator<Item = String>) {
        let notices = titles.into_iter().map(|title| self.outbox.address(notice(&title, self.clock.now())));
        self.store.commit(Batch { notices: notices.collect(), ..Batch::default() }).await.unwrap();
    }

    async fn stop(self) {
        self.outbox.stop(Duration::from_secs(5)).await;
        self.store.close().await;
    }

    /// Waits until the standings are as wanted.
    async fn until(&self, mut wanted: impl FnMut(&Standing) -> bool) {
        for standing in &self.outbox.standings {
            let mut standing = standing.clone();
            let found =
                tokio::time::timeout(Duration::from_secs(10), standing.wait_for(|now| wanted(now))).await;
            assert!(found.is_ok_and(|found| found.is_ok()), "{:?}", self.outbox.standings());
        }
    }
}

fn titles(taken: &[Value]) -> Vec<String> {
    taken.iter().map(|body| body["data"]["title"].as_str().unwrap_or("a fold").to_owned()).collect()
}

fn ids(fake: &Fake) -> Vec<String> {
    let id = |request: &alerts::fakes::Request| request.headers["webhook-id"].to_str().unwrap().to_owned();
    fake.requests().iter().map(id).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|nr| format!("news {nr}")).collect()
}

#[tokio::test]
async fn every_sink_gets_every_notice_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (slack, discord, hook) =
        (Fake::start(Kind::Slack).await, Fake::start(Kind::Discord).await, Fake::start(Kind::Webhook).await);
    let sinks = vec![slack.sink("slack"), discord.sink("discord"), hook.sink("hook")];
    let keeper = Keeper::start(folder.path(), sinks, policy()).await;
    keeper.tell(numbered(2)).await;
    keeper.tell(["news 2".into()]).await;
    hook.until(|fake| fake.taken().len() == 3).await;
    discord.until(|fake| fake.taken().len() == 3).await;
    slack.until(|fake| fake.taken().len() == 3).await;
    assert_eq!(titles(&hook.taken()), numbered(3));
    keeper.until(|standing| standing.depth == 0 && standing.condition == Condition::Working).await;
    let stats = keeper.store.history().outbox_stats().await.unwrap();
    assert!(stats.iter().all(|sink| (sink.pending, sink.sent, sink.dead) == (0, 3, 0)), "{stats:?}");
    assert_eq!(stats.len(), 3);
    keeper.stop().await;
}

#[tokio::test]
async fn failures_are_retried_in_order_with_one_id_and_the_wish_of_the_sink_is_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Fake::start(Kind::Webhook).await;
    hook.will([
        Answer::Status(500, vec![], "oops".into()),
        Answer::Status(429, vec![("retry-after", "0.5".into())], String::new()),
    ]);
    let keeper = Keeper::start(folder.path(), vec![hook.sink("hook")], policy()).await;
    keeper.tell(numbered(2)).await;
    hook.until(|fake| fake.taken().len() == 2).await;
    assert_eq!(titles(&hook.taken()), numbered(2));
    let requests = hook.requests();
    let waited = requests[2].at.since(requests[1].at);
    assert!(waited >= Duration::from_millis(500), "{waited:?}");
    let ids = ids(&hook);
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
    keeper.stop().await;
}

#[tokio::test]
async fn a_restart_in_the_middle_loses_nothing_and_repeats_at_most_with_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Fake::start(Kind::Webhook).await;
    // The first message is taken, but the keeper never learns of it.
    hook.will([Answer::TakenInSilence]);
    let keeper = Keeper::start(folder.path(), vec![hook.sink("hook")], policy()).await;
    keeper.tell(numbered(3)).await;
    hook.until(|fake| fake.requests().len() == 1).await;
    keeper.outbox.stop(Duration::from_millis(50)).await;
    keeper.store.close().await;

    let keeper = Keeper::start(folder.path(), vec![hook.sink("hook")], policy()).await;
    hook.until(|fake| fake.taken().len() == 4).await;
    keeper.until(|standing| standing.depth == 0).await;
    assert_eq!(titles(&hook.taken()), ["news 0", "news 0", "news 1", "news 2"]);
    let ids = ids(&hook);
    assert_eq!(ids[0], ids[1]);
    keeper.stop().await;
    // Nothing is sent a third time.
    let keeper = Keeper::start(folder.path(), vec![hook.sink("hook")], policy()).await;
    keeper.tell(["last".into()]).await;
    hook.until(|fake| fake.taken().len() == 5).await;
    assert_eq!(titles(&hook.taken())[4], "last");
    keeper.stop().await;
}

#[tokio::test]
async fn a_storm_reaches_slack_whole_in_a_few_messages_at_its_pace() {
    let folder = tempfile::tempdir().unwrap();
    let slack = Fake::paced(Kind::Slack, Some(Duration::from_secs(1))).await;
    let keeper = Keeper::start(folder.path(), vec![slack.sink("slack")], policy()).await;
    let news: Vec<String> = ["is failing", "is healthy again"]
        .iter()
        .flat_map(|what| (0..100).map(move |nr| format!("node-{nr:03} {what}")))
        .collect();
    // Each commit alone is more than goes out one by one, so that a slow disk makes no more messages of them.
    for at_once in news.chunks(25) {
        keeper.tell(at_once.to_vec()).await;
    }
    let told = |fake: &Fake| {
        let text = Value::from(fake.taken()).to_string();
        news.iter().filter(|title| text.contains(title.as_str())).count()
    };
    slack.until(|fake| told(fake) == 200).await;
    let requests = slack.requests();
    assert!(requests.len() <= 10, "{} messages", requests.len());
    assert!(requests.iter().all(|request| request.taken), "a message came before its time");
    keeper.until(|standing| standing.depth == 0).await;
    keeper.stop().await;
}

#[tokio::test]
async fn a_removed_sink_is_left_in_peace_and_the_others_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (gone, hook) = (Fake::start(Kind::Discord).await, Fake::start(Kind::Webhook).await);
    gone.will([Answer::Status(404, vec![], "{\"message\":\"Unknown Webhook\"}".into())]);
    let sinks = || vec![gone.sink("discord"), hook.sink("hook")];
    let keeper = Keeper::start(folder.path(), sinks(), policy()).await;
    keeper.tell(numbered(2)).await;
    hook.until(|fake| fake.taken().len() == 3).await;
    assert!(titles(&hook.taken()).contains(&"alert sink `discord` refuses messages".to_owned()));
    let refusing = |standing: &Standing| match &standing.condition {
        Condition::Refusing { .. } => standing.sink == "discord" && standing.depth == 2,
        _ => standing.sink == "hook",
    };
    keeper.until(refusing).await;
    assert_eq!(gone.requests().len(), 1);
    // Repaired and restarted, it gets everything at once.
    keeper.stop().await;
    let keeper = Keeper::start(folder.path(), sinks(), policy()).await;
    gone.until(|fake| fake.taken().len() == 2).await;
    keeper.stop().await;
}

#[tokio::test]
async fn a_rejected_message_is_given_up_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (odd, hook) = (Fake::start(Kind::Webhook).await, Fake::start(Kind::Webhook).await);
    odd.will([Answer::Status(422, vec![], "no".into())]);
    let keeper = Keeper::start(folder.path(), vec![odd.sink("odd"), hook.sink("hook")], policy()).await;
    keeper.tell(numbered(2)).await;
    odd.until(|fake| fake.taken().len() == 1).await;
    hook.until(|fake| fake.taken().len() == 3).await;
    assert_eq!(titles(&odd.taken()), ["news 1"]);
    keeper.until(|standing| standing.depth == 0).await;
    let stats = keeper.store.history().outbox_stats().await.unwrap();
    assert_eq!(stats.iter().map(|sink| sink.dead).collect::<Vec<_>>(), [0, 1]);
    keeper.stop().await;
}

#[tokio::test]
async fn what_is_too_old_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Fake::start(Kind::Webhook).await;
    hook.will((0..3).map(|_| Answer::Status(503, vec![], String::new())));
    let impatient = OutboxPolicy { give_up_after: Duration::ZERO, ..policy() };
    let keeper = Keeper::start(folder.path(), vec![hook.sink("hook")], impatient).await;
    let old = notice("old", Timestamp(1));
    keeper
        .store
        .commit(Batch { notices: vec![keeper.outbox.address(old)], ..Batch::default() })
        .await
        .unwrap();
    hook.until(|fake| fake.requests().len() == 1).await;
    keeper.tell(["new".into()]).await;
    keeper.until(|standing| standing.depth == 0).await;
    let stats = keeper.store.history().outbox_stats().await.unwrap();
    assert!(stats[0].dead >= 1 && stats[0].pending == 0, "{stats:?}");
    keeper.stop().await;
}

#[tokio::test]
async fn without_a_store_the_news_still_goes_out() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Fake::start(Kind::Webhook).await;
    hook.will([Answer::Status(500, vec![], String::new())]);
    let keeper = Keeper::start(folder.path(), vec![hook.sink("hook")], policy()).await;
    keeper.store.clone().close().await;
    keeper.until(|standing| standing.condition == Condition::WithoutStore).await;
    keeper.outbox.tell_unstored(&notice("the disk is full", keeper.clock.now()));
    hook.until(|fake| fake.taken().len() == 1).await;
    assert_eq!(titles(&hook.taken()), ["the disk is full"]);
    keeper.until(|standing| standing.depth == 0).await;
    keeper.outbox.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn notices_are_routed_by_severity_and_sinks_that_left_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Fake::start(Kind::Webhook).await;
    let pager = Sink { minimum: Severity::Critical, ..hook.sink("pager") };
    let keeper = Keeper::start(folder.path(), vec![pager], policy()).await;
    let quiet = Notice { severity: Severity::Info, ..notice("fyi", keeper.clock.now()) };
    assert_eq!(keeper.outbox.address(quiet).sinks, Vec::<String>::new());
    hook.will([Answer::Silence]);
    keeper.tell(numbered(1)).await;
    hook.until(|fake| fake.requests().len() == 1).await;
    keeper.outbox.stop(Duration::ZERO).await;
    keeper.store.close().await;
    let keeper = Keeper::start(folder.path(), vec![hook.sink("renamed")], policy()).await;
    let stats = keeper.store.history().outbox_stats().await.unwrap();
    assert_eq!(stats.iter().map(|sink| (sink.sink.as_str(), sink.dead)).collect::<Vec<_>>(), [("pager", 1)]);
    keeper.stop().await;
}
