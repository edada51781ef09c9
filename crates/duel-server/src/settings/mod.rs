//! Settings: read once from the environment, checked as a whole.
//!
//! Every fault is found and named before anything starts, with the variable and never with a secret's value. In
//! production-like environments (everything but `development` and `test`) the secrets are required; elsewhere they are
//! optional and their absence only narrows what the server does. An empty variable counts as unset. Times are
//! milliseconds.

mod alert;
mod reader;
mod secret;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::arena::{Cents, Timing};
use crate::clock::Millis;
use crate::store::Address;

pub use alert::{AlertSettings, WebhookKind};
use reader::Reader;
pub use reader::{Fault, Faults};
pub use secret::Secret;
pub use stream::{Destination, Platform, StreamSettings};

/// Shortest accepted `JWT_SECRET`, in characters, as the deployment guide's security checklist demands.
pub const MIN_JWT_SECRET_CHARS: usize = 32;

/// Longest wait for markets that the maintenance API accepts: an hour.
pub const MAX_MAINTENANCE_TIMEOUT_MS: Millis = 3_600_000;

/// The maintenance API's default wait for markets: five minutes.
pub const DEFAULT_MAINTENANCE_TIMEOUT_MS: Millis = 300_000;

/// Where the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// A developer's machine.
    Development,
    /// Automated tests.
    Test,
    /// Like production, for release candidates.
    Staging,
    /// Like production, for early users.
    Beta,
    /// The real thing.
    Production,
}

impl Environment {
    /// The name, as in `NODE_ENV`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Test => "test",
            Self::Staging => "staging",
            Self::Beta => "beta",
            Self::Production => "production",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Development, Self::Test, Self::Staging, Self::Beta, Self::Production]
            .into_iter()
            .find(|environment| environment.as_str() == text)
    }

    /// Whether the secrets are required and the testing switches forbidden.
    pub fn is_strict(self) -> bool {
        match self {
            Self::Development | Self::Test => false,
            Self::Staging | Self::Beta | Self::Production => true,
        }
    }
}

/// How the server logs.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// Least severe level shown.
    pub level: tracing::level_filters::LevelFilter,
    /// JSON lines instead of text.
    pub json: bool,
}

/// The signing keys of players' tokens.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// Signs and verifies.
    pub secret: Option<Secret>,
    /// Still verifies, until the given Unix time in milliseconds.
    pub previous: Option<(Secret, Millis)>,
}

/// Everything the server is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `NODE_ENV`.
    pub environment: Environment,
    /// `HOST`: the address to bind.
    pub host: IpAddr,
    /// `PORT`; 0 lets the system choose.
    pub port: u16,
    /// `INSTANCE_ID`: whose box this is; echoed by `/health`.
    pub instance: Option<String>,
    /// `DATABASE_URL`.
    pub database: Address,
    /// `ADMIN_CODE`; without it the admin endpoints refuse everybody.
    pub admin_code: Option<Secret>,
    /// `JWT_SECRET`, `JWT_SECRET_PREVIOUS`, `JWT_PREVIOUS_VALID_UNTIL`.
    pub tokens: TokenSettings,
    /// `DRAIN_TIMEOUT_MS`: from the stop signal to the exit.
    pub drain_timeout: Duration,
    /// `CORS_ORIGINS`: other origins whose pages may call the API.
    pub cors_origins: BTreeSet<String>,
    /// Off by `DISABLE_RATE_LIMIT` or `LOAD_TEST_MODE`, neither accepted in strict environments.
    pub rate_limited: bool,
    /// `TRUST_PROXY`: take the client's address from `X-Forwarded-For`.
    pub trust_proxy: bool,
    /// `DUEL_*_MS`.
    pub timing: Timing,
    /// `STARTING_BALANCE_CENTS`.
    pub starting_balance: Cents,
    /// `DUEL_SEED`: makes all duels reproducible; for tests and demonstrations.
    pub duel_seed: Option<u64>,
    /// `START_IN_MAINTENANCE`.
    pub start_in_maintenance: bool,
    /// `MAINTENANCE_PERSIST`: an active maintenance survives a restart.
    pub maintenance_persist: bool,
    /// `HEALTH_CHECK_DB_TIMEOUT_MS`.
    pub database_timeout: Duration,
    /// `ALERT_WEBHOOK_URL`, `ALERT_WEBHOOK_KIND`.
    pub alerts: Option<AlertSettings>,
    /// `LOG_LEVEL`, `LOG_FORMAT`.
    pub log: LogSettings,
    /// `STREAMING_*`, `FFMPEG_*`, `TWITCH_*`, …
    pub stream: StreamSettings,
}

impl Settings {
    /// Reads all settings from variables.
    ///
    /// # Errors
    /// All faults at once.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Faults> {
        let mut reader = Reader::new(&variable);
        let environment = reader.word(
            "NODE_ENV",
            "one of development, test, staging, beta, production",
            Environment::Development,
            Environment::parse,
        );
        let strict = environment.is_strict();
        let settings = Self {
            environment,
            host: reader.word("HOST", "an IP address", IpAddr::from([0, 0, 0, 0]), parse_host),
            port: reader.number("PORT", 5555, 0, 65_535) as u16,
            instance: reader.optional("INSTANCE_ID", "at most 128 visible characters", parse_instance),
            database: database(&mut reader),
            admin_code: reader.secret("ADMIN_CODE", strict, 1),
            tokens: tokens(&mut reader, strict),
            drain_timeout: reader.milliseconds("DRAIN_TIMEOUT_MS", 30_000, 0, 600_000),
            cors_origins: reader
                .optional("CORS_ORIGINS", "a comma-separated list of http(s) origins", parse_origins)
                .unwrap_or_default(),
            rate_limited: rate_limited(&mut reader, strict),
            trust_proxy: reader.flag("TRUST_PROXY", false),
            timing: timing(&mut reader),
            starting_balance: reader.number("STARTING_BALANCE_CENTS", 100_000, 0, 1_000_000_000),
            duel_seed: reader.optional("DUEL_SEED", "a whole number", |text| text.parse().ok()),
            start_in_maintenance: reader.flag("START_IN_MAINTENANCE", false),
            maintenance_persist: reader.flag("MAINTENANCE_PERSIST", false),
            database_timeout: reader.milliseconds("HEALTH_CHECK_DB_TIMEOUT_MS", 1_500, 10, 60_000),
            alerts: AlertSettings::read(&mut reader),
            log: LogSettings {
                level: reader.word(
                    "LOG_LEVEL",
                    "one of error, warn, info, debug, trace, off",
                    tracing::level_filters::LevelFilter::INFO,
                    |text| text.parse().ok(),
                ),
                json: reader.word("LOG_FORMAT", "json or text", strict, |text| match text {
                    "json" => Some(true),
                    "text" => Some(false),
                    _ => None,
                }),
            },
            stream: StreamSettings::read(&mut reader),
        };
        reader.finish(settings)
    }

    /// Every configured secret, for redaction.
    pub fn secrets(&self) -> Vec<Secret> {
        let database = match &self.database {
            Address::Postgres(config) => {
                config.get_password().map(|it| String::from_utf8_lossy(it).into_owned())
            }
            Address::Sqlite(_) => None,
        };
        [&self.admin_code, &self.tokens.secret]
            .into_iter()
            .flatten()
            .cloned()
            .chain(self.alerts.iter().flat_map(AlertSettings::secrets))
            .chain(self.tokens.previous.iter().map(|(secret, _)| secret.clone()))
            .chain(database.map(Secret::new))
            .chain(self.stream.destinations.iter().map(|destination| destination.key.clone()))
            .collect()
    }
}

fn parse_host(text: &str) -> Option<IpAddr> {
    if text == "localhost" { Some(IpAddr::from([127, 0, 0, 1])) } else { text.parse().ok() }
}

fn parse_instance(text: &str) -> Option<String> {
    let visible = text.chars().all(|c| !c.is_control());
    (visible && text.chars().count() <= 128).then(|| text.to_owned())
}

fn parse_origins(text: &str) -> Option<BTreeSet<String>> {
    text.split(',')
        .map(|entry| {
            let url = reqwest::Url::parse(entry.trim()).ok()?;
            let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
            let web = matches!(url.scheme(), "http" | "https") && url.username().is_empty();
            (bare && web).then(|| url.origin().ascii_serialization())
        })
        .collect()
}

fn database(reader: &mut Reader<'_>) -> Address {
    let default = Address::Sqlite(default_folder(reader).join("duel.db"));
    match reader.text("DATABASE_URL") {
        None => default,
        Some(text) => text.parse().unwrap_or_else(|fault: crate::store::AddressFault| {
            reader.fault("DATABASE_URL", fault.to_string());
            default
        }),
    }
}

/// `DATA_DIR`, else the state folder that systemd or the desktop standard gives, else one beside the caller.
fn default_folder(reader: &Reader<'_>) -> PathBuf {
    let under_home = |name: &str, rest: &str| reader.text(name).map(|home| PathBuf::from(home).join(rest));
    reader
        .text("DATA_DIR")
        .or_else(|| reader.text("STATE_DIRECTORY"))
        .map(PathBuf::from)
        .or_else(|| under_home("XDG_STATE_HOME", "duel-server"))
        .or_else(|| under_home("HOME", ".local/state/duel-server"))
        .unwrap_or_else(|| PathBuf::from("duel-server-data"))
}

fn tokens(reader: &mut Reader<'_>, strict: bool) -> TokenSettings {
    let secret = reader.secret("JWT_SECRET", strict, MIN_JWT_SECRET_CHARS);
    let previous = reader.secret("JWT_SECRET_PREVIOUS", false, MIN_JWT_SECRET_CHARS);
    let until = reader.optional("JWT_PREVIOUS_VALID_UNTIL", "an RFC 3339 time", |text| {
        text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond())
    });
    if previous.is_some() && until.is_none() {
        reader.fault("JWT_PREVIOUS_VALID_UNTIL", String::from("is required beside JWT_SECRET_PREVIOUS"));
    }
    TokenSettings { secret, previous: previous.zip(until) }
}

fn rate_limited(reader: &mut Reader<'_>, strict: bool) -> bool {
    let mut limited = true;
    for name in ["DISABLE_RATE_LIMIT", "LOAD_TEST_MODE"] {
        if reader.flag(name, false) {
            limited = false;
            if strict {
                reader.fault(name, String::from("is accepted in development and test only"));
            }
        }
    }
    limited
}

fn timing(reader: &mut Reader<'_>) -> Timing {
    const HOUR: Millis = 3_600_000;
    let mut length = |name, default| reader.number(name, default, 1, HOUR);
    let (idle, countdown) = (length("DUEL_IDLE_MS", 5_000), length("DUEL_COUNTDOWN_MS", 20_000));
    let (fight, announcement) = (length("DUEL_FIGHT_MS", 60_000), length("DUEL_ANNOUNCEMENT_MS", 10_000));
    let settlement = length("DUEL_SETTLEMENT_MS", announcement.min(2_000));
    let resume_limit = length("DUEL_RESUME_LIMIT_MS", 600_000);
    if settlement > announcement {
        reader.fault("DUEL_SETTLEMENT_MS", String::from("must not exceed DUEL_ANNOUNCEMENT_MS"));
    }
    Timing { idle, countdown, fight, announcement, settlement, resume_limit }
}
