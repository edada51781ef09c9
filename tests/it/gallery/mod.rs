//! The zero-destroy gallery: whatever is wrong outside, no healthy box is destroyed and nothing is rented.
//!
//! The real binary keeps a fleet of real boxes that are healthy all the time, at 1, 3 and 50 nodes, in an account that
//! also holds other people's rentals and another fleet's. Each scene breaks the world between the keeper and the truth,
//! must be seen to have done so, goes on while the keeper is killed and started again in its middle, and ends; then the
//! fleet must be served as before by the same instances. The judges are the simulator's own record of calls and rentals,
//! and the front's record of what was tried: not one create, destroy or reboot, asked or done.
//!
//! Two scenes need a clock that nobody can set from outside, a step of the wall clock by an hour and a suspend of eight:
//! they are told to the core itself, with the same numbers of nodes, in `src/fleet/step/tests/stories/gallery.rs`.

mod front;
mod scenes;

use std::{collections::BTreeMap, path::PathBuf, process::Command, time::Duration};

use tokio::time::Instant;
use vast_sim::{Fault, FaultId, FaultKind};

use self::{
    front::{Front, Snapshots, Weather},
    scenes::{Bite, LISTS_BELIEVED, LISTS_HIT, Scene, Strike, scenes},
};
use crate::harness::{Fleet, KILL_SERVER, Keeper, PATIENCE, Settings, eventually, view_at};

/// Other people's rentals, more than a page of them, so that the fleet's own are on a later one.
const FOREIGN: usize = 27;
/// Longest filling of fifty nodes, eight deploys at once.
const FILLING: Duration = Duration::from_secs(300);
/// Calls that change something at the provider.
const CHANGING: [&str; 6] = ["create", "destroy", "reboot", "recycle", "change", "launch"];
/// What the journal calls a decision that would have cost a box.
const DECISIONS: [&str; 5] = ["doomed", "recovery-started", "remedy-started", "intent", "held"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_outside_a_single_box_is_not_destroyed() {
    Gallery::open(Fleet::light("gallery of one", 1).await, 1).await.show_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes more than three minutes; run it alone"]
async fn whatever_is_wrong_outside_no_box_of_three_is_destroyed() {
    Gallery::open(Fleet::light("gallery of three", 3).await, 3).await.show_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes more than four minutes; run it alone, fifty deploys by a debug build want the machine"]
async fn whatever_is_wrong_outside_no_box_of_fifty_is_destroyed() {
    Gallery::open(Fleet::light("gallery of fifty", 50).await, 50).await.show_all().await;
}

/// A fleet that serves, and everything to judge it by.
struct Gallery {
    fleet: Fleet,
    front: Front,
    foreign: Vec<u64>,
    before: BTreeMap<String, u64>,
}

/// Where the records stood when a scene began.
struct Mark {
    call: u64,
    tried: usize,
    event: u64,
    said: usize,
}

/// What must be taken back when a scene ends.
enum Struck {
    Provider,
    Rules(Vec<FaultId>),
    Names,
    Rival(Box<Rival>),
}

struct Rival {
    settings: Settings,
    keeper: Keeper,
}

impl Gallery {
    async fn open(mut fleet: Fleet, nodes: u32) -> Self {
        let front = Front::before(fleet.sim.address()).await;
        prepare(&mut fleet.settings, &front, nodes);
        let mark = names_lost(&fleet).display().to_string();
        fleet.settings.environment.insert("NAMES_LOST".into(), mark);
        fleet.settings.environment.insert("LD_PRELOAD".into(), resolver(&fleet).display().to_string());
        fleet.inject(Fault::lasting(FaultKind::StuckLoading).on_label("foreign"));
        let labels = (0..FOREIGN).map(|_| "foreign".to_owned());
        // Another fleet whose name begins like ours, and one of ours by a label that nobody could read.
        let odd = ["vk:e2e-two:duel-0:00000000000000000000000000", "vk:e2e:"].map(str::to_owned);
        let foreign = fleet.rent_foreign(&labels.chain(odd).collect::<Vec<_>>()).await;
        let snapshots = Snapshots { unrented: front.rows().await };
        assert_eq!(snapshots.unrented.len(), foreign.len());
        front.keep(snapshots);
        fleet.start().await;
        let filled = async || {
            let view = fleet.view().await;
            view.is_some_and(|view| view.nodes.iter().all(|node| node.state == "serving"))
        };
        eventually("the fleet is filled", FILLING, filled).await;
        fleet.all_serve().await;
        let before = fleet.instances().await;
        Self { fleet, front, foreign, before }
    }

    #[allow(clippy::print_stdout, reason = "how long each scene takes is worth knowing")]
    async fn show_all(mut self) {
        for scene in scenes() {
            let began = Instant::now();
            self.show(&scene).await;
            let took = began.elapsed().as_secs_f64();
            println!("{} nodes, {}: {took:.1} s", self.before.len(), scene.name);
        }
        self.heals().await;
    }

    /// One scene from its beginning to its judgement.
    async fn show(&mut self, scene: &Scene) {
        let mark = self.mark().await;
        let struck = self.strike(scene).await;
        let lists = if matches!(scene.bite, Bite::Incomplete) { LISTS_BELIEVED } else { LISTS_HIT };
        self.bites(scene, &struck, lists, mark.said).await;
        // It may say what it sees before it is seen to have started.
        let said = self.fleet.said().len();
        self.fleet.take_keeper().kill().await;
        self.fleet.start().await;
        self.bites(scene, &struck, LISTS_HIT, said).await;
        self.lift(struck).await;
        self.judge(scene, &mark).await;
    }

    async fn mark(&self) -> Mark {
        Mark {
            call: self.fleet.newest_call(),
            tried: self.front.count(),
            event: self.fleet.newest_event().await,
            said: self.fleet.said().len(),
        }
    }

    async fn strike(&mut self, scene: &Scene) -> Struck {
        match &scene.strike {
            Strike::Provider(weather) => {
                self.front.set(weather.clone());
                Struck::Provider
            }
            Strike::Boxes { server, ssh } => {
                let server = FaultKind::HttpTraffic { how: server.clone() };
                let ssh = ssh.clone().map(|how| FaultKind::SshTraffic { how, path: None });
                self.cut([server].into_iter().chain(ssh))
            }
            Strike::Everything => {
                self.front.set(Weather::Silent);
                let how = vast_sim::TrafficBreak::Hang;
                let ssh = FaultKind::SshTraffic { how: how.clone(), path: None };
                self.cut([FaultKind::HttpTraffic { how }, ssh])
            }
            Strike::Names => {
                std::fs::write(names_lost(&self.fleet), "").unwrap();
                Struck::Names
            }
            Strike::Rival => Struck::Rival(Box::new(self.rival().await)),
        }
    }

    fn cut(&self, kinds: impl IntoIterator<Item = FaultKind>) -> Struck {
        Struck::Rules(kinds.into_iter().map(|kind| self.fleet.inject(Fault::lasting(kind))).collect())
    }

    /// Another keeper of the same fleet. On the same state it is refused; with a state of its own it finds rentals that bear
    /// its labels and that it knows nothing of.
    async fn rival(&self) -> Rival {
        use crate::harness::Run as _;
        self.fleet.cli(&["run"]).await.exits(40);
        let folder = self.fleet.folder().join("rival");
        std::fs::create_dir_all(&folder).unwrap();
        let mut settings = Settings { scratch: folder.clone(), ..self.fleet.settings.clone() };
        settings.set("keeper.state_dir", &settings.state().display().to_string());
        settings.set("keeper.control_socket", &settings.socket().display().to_string());
        settings.write();
        let keeper = Keeper::spawn(&settings, folder.join("keeper.log"));
        Rival { settings, keeper }
    }

    /// Waits until the fault was met often enough and the keeper shows that it knows; what it said before `said` does not count.
    async fn bites(&mut self, scene: &Scene, struck: &Struck, lists: usize, said: usize) {
        let hit = self.front.count();
        let name = format!("{}, {} nodes", scene.name, self.before.len());
        if let Struck::Rival(rival) = struck {
            let socket = rival.settings.socket();
            eventually(&format!("{name}: the rival is kept back"), PATIENCE, async || {
                view_at(&socket).await.is_some_and(|view| scene.bite.shows(&view))
            })
            .await;
        } else {
            self.fleet.until(&format!("{name}: it shows"), |view| scene.bite.shows(view)).await;
        }
        if let Strike::Provider(_) = scene.strike {
            let met = || self.front.weathered_after(hit) >= lists;
            eventually(&format!("{name}: it is met"), PATIENCE, async || met()).await;
        }
        // Of fifty the last page shows four: that so few are gone is no wonder, and their probes tell otherwise.
        let few = self.before.len() == 1 || (self.before.len() > 25 && scene.name.contains("one page short"));
        if matches!(scene.bite, Bite::Incomplete) && (!few || scene.name == "an empty list") {
            let told = || self.fleet.said().get(said..).is_some_and(|said| said.contains("not believed yet"));
            eventually(&format!("{name}: it is not believed"), PATIENCE, async || told()).await;
        }
    }

    async fn lift(&mut self, struck: Struck) {
        self.front.set(Weather::Clear);
        match struck {
            Struck::Provider => {}
            Struck::Rules(rules) => {
                for rule in rules {
                    eventually(&format!("{rule} fires"), PATIENCE, async || self.fleet.fired(rule) > 0).await;
                    self.fleet.sim.clear_fault(rule);
                }
            }
            Struck::Names => std::fs::remove_file(names_lost(&self.fleet)).unwrap(),
            Struck::Rival(mut rival) => {
                assert!(rival.keeper.runs());
                rival.keeper.kill().await;
                std::fs::remove_dir_all(rival.settings.scratch).unwrap();
            }
        }
    }

    /// The fleet is served as before, by the same instances, and nothing was asked, tried or decided.
    async fn judge(&self, scene: &Scene, mark: &Mark) {
        let name = format!("{}, {} nodes", scene.name, self.before.len());
        let good = |view: &vast_keeper::fleet::view::FleetView| {
            let serve = view.nodes.iter().all(|node| node.state == "serving" && node.incident.is_none());
            serve && view.healthy == view.wanted && view.list_fault.is_none() && view.key_accepted
        };
        let view = self.fleet.until(&format!("{name}: served on"), good).await;
        assert!(view.doomed.is_empty(), "{name}: {:?}", view.doomed);
        assert_eq!(self.fleet.instances().await, self.before, "{name}");
        let asked = self.fleet.sim.calls_after(mark.call);
        let asked: Vec<_> = asked.iter().filter(|call| CHANGING.contains(&call.endpoint)).collect();
        assert!(asked.is_empty(), "{name}: {asked:?}");
        let tried = self.front.seen_after(mark.tried);
        let tried: Vec<_> = tried.iter().filter(|seen| seen.changes()).collect();
        assert!(tried.is_empty(), "{name}: {tried:?}");
        let decided = self.fleet.events_after(mark.event).await;
        let decided: Vec<_> =
            decided.iter().filter(|event| DECISIONS.contains(&event.kind.as_str())).collect();
        assert!(decided.is_empty(), "{name}: {decided:?}");
        let ledger = self.fleet.sim.ledger();
        let alive: Vec<u64> = ledger.live().map(|rental| rental.instance).collect();
        let mut expected: Vec<u64> = self.foreign.iter().chain(self.before.values()).copied().collect();
        expected.sort_unstable();
        assert_eq!(alive, expected, "{name}");
        let said = self.fleet.said();
        assert!(!said.get(mark.said..).unwrap_or_default().contains("panicked"), "{name}: {said}");
    }

    /// A keeper that never destroys anything would pass all of the above: this one still heals.
    async fn heals(self) {
        self.fleet.hit("duel-0", KILL_SERVER).await;
        self.fleet.replaced(&["duel-0".into()], &self.before).await;
        let alive: Vec<u64> = self.fleet.sim.ledger().live().map(|rental| rental.instance).collect();
        assert!(self.foreign.iter().all(|id| alive.contains(id)));
        // The rental with the unreadable label is counted as a leak; it is nobody's, and stays.
        let verdict = self.fleet.verdict(&[]).await;
        assert!(verdict.leaked.iter().all(|id| self.foreign.contains(id)), "{verdict:?}");
        assert!(verdict.doubled.is_empty() && verdict.wrongly_destroyed.is_empty(), "{verdict:?}");
        assert!(verdict.foreign_destroyed.is_empty(), "{verdict:?}");
    }
}

/// While this file exists the keeper cannot look names up.
fn names_lost(fleet: &Fleet) -> PathBuf {
    fleet.folder().join("names-lost")
}

/// What stands before the system's resolver in the keeper's process.
fn resolver(fleet: &Fleet) -> PathBuf {
    let library = fleet.folder().join("names-lost.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/names_lost.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]);
    assert!(compiler.status().unwrap().success());
    library
}

/// Patience in tenths of a second; a large fleet's probes and lists take a debug build longer.
fn prepare(settings: &mut Settings, front: &Front, nodes: u32) {
    settings.set("provider.base_url", &front.url());
    settings.edit("failure_threshold = 5", "failure_threshold = 3");
    if nodes < 10 {
        settings.edit(
            "interval = \"2s\"\nretry_interval = \"250ms\"\ntimeout = \"1500ms\"",
            "interval = \"600ms\"\nretry_interval = \"150ms\"\ntimeout = \"400ms\"",
        );
        settings.edit(
            "interval = \"2s\"\nbusy_interval = \"400ms\"",
            "interval = \"300ms\"\nbusy_interval = \"150ms\"",
        );
    } else {
        settings.edit(
            "interval = \"2s\"\nbusy_interval = \"400ms\"",
            "interval = \"500ms\"\nbusy_interval = \"400ms\"",
        );
        // Fifty newcomers at once, a debug build, and a machine that may do other work: none is given up for being slow.
        for deadline in ["rent", "boot", "deploy", "probation"] {
            settings.set(&format!("deadlines.{deadline}"), "10m");
        }
    }
    settings.set("provider.timeout", "2s");
    settings.set("ssh.connect_timeout", "1s");
    settings.set("rails.parallel", "50");
}
