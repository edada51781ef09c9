//! The keeper is stopped at named points, as a suspended machine or a starved container stops it, and goes on later: what was
//! decided before the pause is not sent after it.

use std::time::Duration;

use rustix::process::Signal;
use vast_keeper::crash::Point;
use vast_sim::Action;

use crate::harness::{Fleet, KILL_SERVER, LONG_PATIENCE, eventually, room};

/// The expiry of commands in the scaled story; one of earnest is 8 s.
const EXPIRY: Duration = Duration::from_secs(1);

impl Fleet {
    /// Has duel-0 replaced, and stops the keeper for this long at a point on the way.
    async fn pauses_at(&mut self, point: Point, pause: Duration) {
        let old = self.instance("duel-0").await;
        self.arm_stop(point);
        self.sim.act(old, Action::Do(KILL_SERVER)).await.unwrap();
        let status = format!("/proc/{}/stat", self.keeper().id());
        eventually(&format!("stopped at {point}"), LONG_PATIENCE, async || {
            let stat = std::fs::read_to_string(&status).unwrap();
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
        })
        .await;
        tokio::time::sleep(pause).await;
        self.keeper().signal(Signal::CONT);
        self.is_whole_again().await;
        assert_ne!(self.instance("duel-0").await, old, "{point}");
    }

    /// The same between an intent and its create: the create that slept is never sent, the next attempt has an op of its own.
    async fn an_intent_sleeps(&mut self, pause: Duration) {
        let (intended, sent) = (self.intended().len(), self.sent().len());
        self.pauses_at(Point::Durable("intent"), pause).await;
        let slept = &self.intended()[intended];
        let all_sent = self.sent();
        assert!(!all_sent.contains(slept), "the create that slept was sent: {slept}");
        assert!(all_sent.len() > sent, "something else was rented");
        assert!(self.said().contains("the command expired before it was sent"));
    }

    /// The ops of all intents on record.
    fn intended(&self) -> Vec<String> {
        let journal = rusqlite::Connection::open(self.settings.state().join("keeper.db")).unwrap();
        let read = "SELECT body FROM journal WHERE kind = 'intent' ORDER BY seq";
        let mut intents = journal.prepare(read).unwrap();
        let bodies = intents.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let op = |body: String| {
            let record: serde_json::Value = serde_json::from_str(&body).unwrap();
            record["op"].as_str().unwrap().to_owned()
        };
        bodies.map(|body| op(body.unwrap())).collect()
    }

    /// The ops of all creates that reached the provider.
    fn sent(&self) -> Vec<String> {
        let calls = self.sim.calls();
        let creates = calls.iter().filter(|call| call.endpoint == "create");
        creates.map(|call| call.body["label"].as_str().unwrap().rsplit(':').next().unwrap().into()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_before_a_pause_is_decided_anew_after_it() {
    let _room = room(6).await;
    let mut fleet = Fleet::small("pauses", 1, 1).await;
    fleet.settings.set("rails.command_expiry", "1s");
    fleet.settings.set("rails.stall", "1s");
    fleet.start().await;
    fleet.all_serve().await;
    // Three times the expiry is what half a minute is in earnest.
    let pause = 3 * EXPIRY;
    for point in [
        Point::Durable("incident-opened"),
        Point::Deciding("doomed"),
        Point::Durable("doomed"),
        Point::Answered("search"),
        Point::Durable("created"),
        Point::Deployed("switch"),
        Point::Deciding("adopted"),
    ] {
        fleet.pauses_at(point, pause).await;
    }
    fleet.an_intent_sleeps(pause).await;
    fleet.everything_was_told().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_beyond_the_expiry_of_earnest_costs_nothing_either() {
    let _room = room(6).await;
    let mut fleet = Fleet::small("long pause", 1, 1).await;
    fleet.start().await;
    fleet.all_serve().await;
    fleet.an_intent_sleeps(Duration::from_secs(10)).await;
}
