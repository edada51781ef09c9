//! Small fleets whose keeper dies or is stopped at named points, many of them at once.

use std::{collections::BTreeMap, os::unix::process::ExitStatusExt, process::ExitStatus};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};
use vast_keeper::{
    crash::{FILE_VARIABLE, Point},
    fleet::view::FleetView,
};
use vast_sim::{Action, LifecycleConfig, MarketConfig, Sim, SimConfig};

use super::{API_KEY, Fleet, KILL_SERVER, Keeper, Receiver, Settings, Verdict, small_server};

/// Longest wait of one among many fleets: they share two cores, and a step of a deploy may take half a minute.
pub const LONG_PATIENCE: Duration = Duration::from_secs(300);
/// Pause between two looks at a keeper that is to die.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Fleet {
    /// One node, a small server, one sink, and patience for a machine that runs many of these at once.
    pub async fn small(name: &'static str, seed: u64, nodes: u32) -> Self {
        let scratch = TempDir::with_prefix("vk-e2e-").unwrap();
        let sim = Sim::start(SimConfig {
            api_key: API_KEY.into(),
            seed,
            lifecycle: LifecycleConfig::all(0.1),
            market: MarketConfig { min_offers: 60, ..MarketConfig::default() },
            credit: 1e6,
            ..SimConfig::default()
        });
        let sim = sim.await.unwrap();
        let receiver = Receiver::start().await;
        let mut settings = Settings::new(scratch.path(), nodes, &sim.url(), &receiver, small_server());
        settings.edit(
            "retry_interval = \"250ms\"\ntimeout = \"1500ms\"",
            "retry_interval = \"50ms\"\ntimeout = \"1s\"",
        );
        settings.edit("boot = \"60s\"", "boot = \"90s\"");
        settings.edit("deploy = \"60s\"\nprobation = \"20s\"", "deploy = \"240s\"\nprobation = \"90s\"");
        settings.edit("gate_within = \"30s\"", "gate_within = \"90s\"");
        settings.edit("failure_threshold = 5", "failure_threshold = 6");
        settings.edit("warm_up = \"1s\"", "warm_up = \"500ms\"\nexclude_for = \"0s\"");
        settings.environment.remove("SLACK_WEBHOOK_URL");
        settings.environment.remove("DISCORD_WEBHOOK_URL");
        let path = |name: &str| scratch.path().join(name).display().to_string();
        settings.environment.insert(FILE_VARIABLE.into(), path("crash"));
        // What a killed keeper leaves in its temporary folder goes with the test's.
        settings.environment.insert("TMPDIR".into(), path(""));
        settings.write();
        let excused = Default::default();
        Self {
            sim,
            receiver,
            settings,
            keeper: None,
            excused,
            patience: LONG_PATIENCE,
            scratch,
            name,
            _room: None,
        }
    }

    /// The keeper dies at the next passings of this point.
    fn arm(&self, point: Point, passing: u32) {
        self.arm_with(&format!("{point} {passing}"));
    }

    /// The keeper is stopped at the next passing of this point, until it is told to go on.
    pub fn arm_stop(&self, point: Point) {
        self.arm_with(&format!("{point} 1 stop"));
    }

    fn arm_with(&self, words: &str) {
        let file = self.folder().join("crash");
        let staged = file.with_extension("new");
        std::fs::write(&staged, words).unwrap();
        std::fs::rename(staged, file).unwrap();
    }

    /// Runs the keeper, a dead one as well, until it dies at a point. Where that lies on the way of a recovery, the server is
    /// killed as often as the node serves; where it lies on the way of a start or a stop, the keeper is stopped.
    pub async fn dies_at(&mut self, point: Point, passing: u32) {
        self.arm(point, passing);
        let end = Instant::now() + self.patience;
        let mut last_hit = None;
        loop {
            match self.died() {
                Some(status) if status.signal() == Some(9) => return,
                Some(status) => {
                    let stopped = status.code() == Some(0) && way_to(point) == Way::Start;
                    assert!(stopped, "the keeper ended by itself before {point}: {status}\n{}", self.said());
                }
                None => {}
            }
            let view = self.view().await;
            assert!(Instant::now() < end, "{point} was not passed {passing} times: {view:?}");
            match (view.as_ref().and_then(served_by), way_to(point)) {
                (Some(_), Way::Start | Way::Stop) => self.keeper().signal(Signal::TERM),
                (Some(instance), Way::Recovery) if last_hit != Some(instance) => {
                    last_hit = Some(instance);
                    self.sim.act(instance, Action::Do(KILL_SERVER)).await.unwrap();
                }
                (Some(_) | None, _) => {}
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Looks whether the keeper has ended; starts one where none runs.
    fn died(&mut self) -> Option<ExitStatus> {
        let Some(keeper) = &mut self.keeper else {
            let keeper = Keeper::spawn(&self.settings, self.log());
            self.adopt(keeper);
            return None;
        };
        let ended = keeper.ended()?;
        self.keeper = None;
        Some(ended)
    }

    /// Lets the fleet become whole again, and judges by the provider's record: nothing leaked, rented twice or wrongly
    /// destroyed, no create sent twice, and everything told.
    pub async fn is_whole_again(&mut self) {
        let _ = std::fs::remove_file(self.folder().join("crash"));
        if self.keeper.is_none() {
            self.start().await;
        }
        let view = self.all_serve().await;
        let wanted = view.nodes.iter().map(|node| node.node.to_string()).collect();
        Verdict::of(&self.sim.ledger(), &wanted, &Default::default()).is_clean();
        let mut creates: BTreeMap<String, u32> = BTreeMap::new();
        for call in self.sim.calls().iter().filter(|call| call.endpoint == "create") {
            *creates.entry(call.body["label"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        assert!(creates.values().all(|times| *times == 1), "sent more than once: {creates:?}");
    }

    /// Waits until every incident was told at its begin and at its end, and no two different messages had one id.
    pub async fn everything_was_told(&self) {
        let incidents = self.incidents().await;
        let told = |topic: &str, id: u64| {
            let notices = self.receiver.messages().into_iter().flat_map(|message| notices(&message.body));
            notices.into_iter().any(|notice| notice["topic"] == topic && notice["incident"] == id)
        };
        for incident in incidents {
            let id = incident.id.0;
            super::eventually(&format!("incident {id} is told"), LONG_PATIENCE, async || {
                told("incident-opened", id) && told("incident-closed", id)
            })
            .await;
        }
        let mut titles: BTreeMap<String, Value> = BTreeMap::new();
        for notice in self.receiver.messages().iter().flat_map(|message| notices(&message.body)) {
            let first = titles.entry(notice["id"].to_string()).or_insert_with(|| notice["title"].clone());
            assert_eq!(*first, notice["title"], "two messages with one id");
        }
    }
}

/// The notices in a webhook's body, folded ones too.
fn notices(body: &str) -> Vec<Value> {
    let body: Value = serde_json::from_str(body).unwrap();
    match &body["data"]["notices"] {
        Value::Array(folded) => folded.clone(),
        _ => vec![body["data"].clone()],
    }
}

/// What passes a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Start,
    Recovery,
    Stop,
}

fn way_to(point: Point) -> Way {
    match point {
        Point::Opened | Point::Durable("booted") => Way::Start,
        Point::Stopping | Point::Stopped => Way::Stop,
        _ => Way::Recovery,
    }
}

/// Which instance serves, once everything is calm.
fn served_by(view: &FleetView) -> Option<u64> {
    let [node] = view.nodes.as_slice() else { return None };
    let calm =
        node.state == "serving" && node.incident.is_none() && view.doomed.is_empty() && view.healthy == 1;
    calm.then_some(node.instance?.0)
}
