//! What a simulator can be told at its start, and the defaults.
//!
//! Durations are simulated seconds: `time_scale` says how many of them pass in one real second.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Everything a [`crate::Sim`] needs to know.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Where the API and the control panel listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The account's API key; every other key is answered like a revoked one.
    pub api_key: String,
    /// Seed of the market, of the stage jitter and of every probabilistic fault.
    pub seed: u64,
    /// Simulated seconds per real second; must be finite and above zero.
    pub time_scale: f64,
    /// Folder of the boxes' homes. `None` takes a temporary one, removed at shutdown. A given folder is created
    /// when missing; only the boxes' own folders below it are removed.
    pub state_dir: Option<PathBuf>,
    /// Shape of the market.
    pub market: MarketConfig,
    /// Durations of an instance's stages.
    pub lifecycle: LifecycleConfig,
    /// Account credit at the start, in dollars.
    pub credit: f64,
    /// Whether the published spacing per endpoint is enforced with 429 answers.
    pub rate_limits: bool,
    /// Status of the `auth_error` answer: 404 as observed on the live service, or 401 as documented.
    pub auth_error_status: u16,
    /// Second octet of the boxes' addresses (`127.N.x.y`). `None` claims a free one, so that two simulators on
    /// one machine never share an address.
    pub address_block: Option<u8>,
}

impl Default for SimConfig {
    fn default() -> Self {
        SimConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            api_key: "sim-key".to_owned(),
            seed: 1,
            time_scale: 1.0,
            state_dir: None,
            market: MarketConfig::default(),
            lifecycle: LifecycleConfig::default(),
            credit: 100.0,
            rate_limits: false,
            auth_error_status: 404,
            address_block: None,
        }
    }
}

/// Shape of the generated market.
#[derive(Debug, Clone)]
pub struct MarketConfig {
    /// Machines are generated until at least this many offers exist.
    pub min_offers: usize,
    /// Shortest and longest remaining contract length of a machine, in days.
    pub contract_days: (f64, f64),
}

impl Default for MarketConfig {
    fn default() -> Self {
        MarketConfig { min_offers: 600, contract_days: (2.0, 180.0) }
    }
}

/// How long an instance stays in each stage, in simulated seconds, before a seeded jitter of ±20 %.
#[derive(Debug, Clone)]
pub struct LifecycleConfig {
    /// After a create, how long reads do not show the new row (the live service lags by seconds).
    pub unreadable_s: f64,
    /// `actual_status: null`.
    pub provisioning_s: f64,
    /// `created`: accepted by the host.
    pub created_s: f64,
    /// `loading`: pulling the image.
    pub loading_s: f64,
    /// From `running` to the row that shows `ports` and the ssh fields.
    pub ports_lag_s: f64,
    /// How long the old `exited` lingers after a start, reboot or recycle.
    pub restart_lag_s: f64,
    /// `loading` of a restart, where the image is on the host already.
    pub reload_s: f64,
    /// How long a destroyed row stays readable.
    pub linger_s: f64,
    /// How long an expired contract's row is kept before it is deleted (Vast.ai: about 48 hours).
    pub expired_kept_s: f64,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        LifecycleConfig {
            unreadable_s: 1.0,
            provisioning_s: 2.0,
            created_s: 2.0,
            loading_s: 15.0,
            ports_lag_s: 1.0,
            restart_lag_s: 3.0,
            reload_s: 3.0,
            linger_s: 2.0,
            expired_kept_s: 48.0 * 3600.0,
        }
    }
}

impl LifecycleConfig {
    /// Every stage as short as `seconds`; for tests that are not about waiting.
    pub fn all(seconds: f64) -> Self {
        LifecycleConfig {
            unreadable_s: 0.0,
            provisioning_s: seconds,
            created_s: seconds,
            loading_s: seconds,
            ports_lag_s: 0.0,
            restart_lag_s: seconds,
            reload_s: seconds,
            linger_s: 0.0,
            ..LifecycleConfig::default()
        }
    }
}
