//! The keeper is stopped at named points, as a suspended machine or a starved container stops it, and goes on later: what was
//! decided before the pause is not sent after it.

use std::time::Duration;

use rustix::process::Signal;
use vast_keeper::crash::Point;
use vast_sim::Action;

use crate::harness::{Fleet, KILL_SERVER, LONG_PATIENCE, eventually, room};

/// The expiry of commands in the scaled story; one of earnest is 8 s.
const EXPIRY: Duration = Duration::from_secs(1);
/// Slack for a machine that runs other tests too: from the last check of the expiry to the provider's record.
const SLACK: Duration = Duration::from_millis(500);

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

    /// Every create reached the provider within the expiry of its intent.
    async fn nothing_stale_was_sent(&self, expiry: Duration) {
        let journal = rusqlite::Connection::open(self.settings.state().join("keeper.db")).unwrap();
        let mut intents = journal.prepare("SELECT at, body FROM journal WHERE kind = 'intent'").unwrap();
        let intents: Vec<(u64, String)> = intents
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(!intents.is_empty());
        for call in self.sim.calls().iter().filter(|call| call.endpoint == "create") {
            let label = call.body["label"].as_str().unwrap();
            let op = label.rsplit(':').next().unwrap();
            let intent = intents.iter().find(|(_, body)| body.contains(op)).map(|(at, _)| *at);
            let took = Duration::from_millis(
                call.at_ms.saturating_sub(intent.expect("journaled before it is sent")),
            );
            assert!(took <= expiry + SLACK, "the create {label} came {took:?} after its decision");
        }
    }

    fn creates(&self) -> usize {
        self.calls_of(&["create"], 0)
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
    // An intent that slept is never sent: the next attempt has an op of its own.
    let creates = fleet.creates();
    fleet.pauses_at(Point::Durable("intent"), pause).await;
    assert_eq!(fleet.creates(), creates + 1, "the create that slept was sent");
    assert!(fleet.said().contains("the command expired before it was sent"));
    fleet.nothing_stale_was_sent(EXPIRY).await;
    fleet.everything_was_told().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_beyond_the_expiry_of_earnest_costs_nothing_either() {
    let _room = room(6).await;
    let mut fleet = Fleet::small("long pause", 1, 1).await;
    fleet.start().await;
    fleet.all_serve().await;
    let creates = fleet.creates();
    fleet.pauses_at(Point::Durable("intent"), Duration::from_secs(10)).await;
    assert_eq!(fleet.creates(), creates + 1, "the create that slept was sent");
    fleet.nothing_stale_was_sent(Duration::from_secs(8)).await;
}
