//! A fleet under test: the simulated provider, a strict receiver of alerts, and the real binary as a child process.
//!
//! Everything goes over real sockets on loopback and real SSH. The judge is the simulator's own record, never the keeper's
//! view. A test waits for conditions with a bound; nothing sleeps to let time pass except where time itself is the story.

mod breaking;
mod cli;
#[cfg(debug_assertions)]
mod crashing;
mod http;
mod judge;
mod keeper;
mod liar;
mod receiver;
mod released;
mod server;
mod settings;
mod watch;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};
use vast_sim::{LifecycleConfig, MarketConfig, Sim, SimConfig};

pub use breaking::KILL_SERVER;
pub use cli::{Run, finish, finish_within};
#[cfg(debug_assertions)]
pub use crashing::LONG_PATIENCE;
pub use http::{exchange, exchange_with};
use judge::Verdict;
pub use keeper::Keeper;
pub use liar::{Acts, Liar, Lie, Says};
pub use receiver::{Receiver, URL_SECRET};
pub use server::{
    crashing_server, example, next_server, picky_server, server_binary, sick_server, small_server,
    tiring_server,
};
pub use settings::{ADMIN_CODE, API_KEY, Settings};
pub use watch::{eventually, view_at};

/// Boxes with a server that may run at once; they mostly wait, so two cores carry them all.
const BOXES_AT_ONCE: usize = 20;
static ROOM: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(BOXES_AT_ONCE));

/// Longest wait for anything that takes the keeper a few seconds; generous, for machines that do other work too.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// Offers where many nodes search: enough for all of them, few enough to be read fifty times at once.
const LIGHT_OFFERS: usize = 300;
/// Seeds the market and every draw of the simulator.
const SEED: u64 = 20_260_117;

/// Waits for room to run so many boxes.
pub async fn room(boxes: u32) -> SemaphorePermit<'static> {
    ROOM.acquire_many(boxes.clamp(1, BOXES_AT_ONCE as u32)).await.unwrap()
}

/// The provider, the receiver, a scratch folder, and a keeper once started.
pub struct Fleet {
    pub sim: Sim,
    pub receiver: Receiver,
    pub settings: Settings,
    keeper: Option<Keeper>,
    excused: Mutex<BTreeSet<u64>>,
    /// Longest wait for the keeper to get anywhere.
    patience: Duration,
    scratch: TempDir,
    name: &'static str,
    /// None where a test holds the room of many small fleets.
    _room: Option<SemaphorePermit<'static>>,
}

impl Fleet {
    /// Provider and receiver, without a keeper.
    pub async fn provider(name: &'static str, nodes: u32) -> Self {
        Self::of(name, nodes, server_binary(), MarketConfig::default()).await
    }

    /// The same with a small server and a small market, for stories that are not about them.
    pub async fn light(name: &'static str, nodes: u32) -> Self {
        let market = MarketConfig { min_offers: LIGHT_OFFERS, ..MarketConfig::default() };
        Self::of(name, nodes, small_server(), market).await
    }

    async fn of(name: &'static str, nodes: u32, server: &Path, market: MarketConfig) -> Self {
        let room = room(nodes).await;
        let scratch = TempDir::with_prefix("vk-e2e-").unwrap();
        let sim = Sim::start(SimConfig {
            api_key: API_KEY.into(),
            seed: SEED,
            lifecycle: LifecycleConfig::all(0.3),
            market,
            ..SimConfig::default()
        });
        let sim = sim.await.unwrap();
        let receiver = Receiver::start().await;
        let settings = Settings::new(scratch.path(), nodes, &sim.url(), &receiver, server);
        let room = Some(room);
        Self {
            sim,
            receiver,
            settings,
            keeper: None,
            excused: Mutex::default(),
            patience: PATIENCE,
            scratch,
            name,
            _room: room,
        }
    }

    /// A fleet that serves.
    pub async fn serving(name: &'static str, nodes: u32) -> Self {
        let mut fleet = Self::provider(name, nodes).await;
        fleet.start().await;
        fleet.all_serve().await;
        fleet
    }

    /// Starts the keeper and waits until it answers on its socket.
    pub async fn start(&mut self) {
        self.settings.write();
        let keeper = Keeper::spawn(&self.settings, self.log());
        self.adopt(keeper);
        self.answers().await;
    }

    /// Takes a keeper that was started otherwise.
    pub fn adopt(&mut self, keeper: Keeper) {
        assert!(self.keeper.is_none(), "a keeper runs already");
        self.keeper = Some(keeper);
    }

    /// Waits until the keeper answers on its socket.
    pub async fn answers(&mut self) {
        eventually("the keeper answers", self.patience, async || {
            assert!(self.keeper().runs(), "the keeper has ended: {}", self.said());
            self.view().await.is_some()
        })
        .await;
    }

    pub fn keeper(&mut self) -> &mut Keeper {
        self.keeper.as_mut().expect("no keeper runs")
    }

    /// The keeper, given away: it runs no longer for this fleet.
    pub fn take_keeper(&mut self) -> Keeper {
        self.keeper.take().expect("no keeper runs")
    }

    /// What the keeper has said on stdout and stderr so far, over all its lives.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log()).unwrap_or_default()).into_owned()
    }

    pub fn folder(&self) -> PathBuf {
        self.scratch.path().to_path_buf()
    }

    pub fn log(&self) -> PathBuf {
        self.scratch.path().join("keeper.log")
    }
}

impl Drop for Fleet {
    /// A failed test leaves its story: seed, the keeper's last words, its last decisions, the provider's last calls.
    #[allow(clippy::print_stderr, reason = "a failed test tells its story")]
    fn drop(&mut self) {
        drop(self.keeper.take());
        if !std::thread::panicking() {
            return;
        }
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n");
        eprintln!("── {} failed (seed {SEED}); the keeper's last words:\n{tail}", self.name);
        let calls = self.sim.calls();
        for call in calls.get(calls.len().saturating_sub(25)..).unwrap_or_default() {
            let reply: String = call.reply.chars().take(160).collect();
            let answer = call.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            eprintln!("   call {} {} {} → {answer} {reply}", call.seq, call.method, call.path);
        }
        for message in self.receiver.messages().iter().filter(|message| message.sink == "webhook") {
            eprintln!("   told: {}", message.title);
        }
    }
}
