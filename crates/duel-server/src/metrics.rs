//! Prometheus metrics: each measured in one place, rendered on demand.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::arena::{Record, State};

/// Labels of a finished request. The route is the pattern, never the path, so that clients cannot invent series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's pattern, or `unmatched`.
    pub route: &'static str,
    /// The status code.
    pub status: u16,
}

/// Label of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    /// The route's pattern, or `unmatched`.
    pub route: &'static str,
}

/// Label of an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// What came of it.
    pub outcome: &'static str,
}

/// Label of a place to stream to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DestinationLabel {
    /// `twitch`, `kick` or `x`.
    pub destination: &'static str,
}

type FloatGauge = Gauge<f64, std::sync::atomic::AtomicU64>;

/// All metrics of the server.
pub struct Metrics {
    registry: Registry,
    /// Finished requests.
    pub requests: Family<RequestLabels, Counter>,
    /// Request times.
    pub request_seconds: Family<RouteLabel, Histogram>,
    /// Open TCP connections.
    pub connections: Gauge,
    /// TCP connections refused or cut: over a limit, or too slow with a request.
    pub connections_cut: Family<OutcomeLabel, Counter>,
    /// Open WebSockets.
    pub sockets: Gauge,
    /// WebSockets ever opened.
    pub sockets_opened: Counter,
    /// WebSockets closed by the server, by reason.
    pub sockets_dropped: Family<OutcomeLabel, Counter>,
    /// Commit times.
    pub database_commit: Histogram,
    /// Round-trip times of the health check.
    pub database_ping: Histogram,
    /// Failed commits and pings.
    pub database_errors: Counter,
    /// Whole cycles, from announcement to end.
    pub cycle_seconds: Histogram,
    /// From the end of a fight to the payout.
    pub resolution_seconds: Histogram,
    /// Bets by outcome: accepted or refused.
    pub bets: Family<OutcomeLabel, Counter>,
    /// Cents accepted in bets.
    pub bet_cents: Counter,
    /// Markets by outcome: paid or refunded.
    pub markets: Family<OutcomeLabel, Counter>,
    /// Failed attempts at settling: the payout is tried again.
    pub payouts_failed: Counter,
    /// 1 while in maintenance.
    pub maintenance: Gauge,
    /// Restarts of the stream's encoder.
    pub encoder_restarts: Counter,
    /// Frames per second each encoder sends.
    pub stream_fps: Family<DestinationLabel, FloatGauge>,
    /// Bit rate each encoder sends.
    pub stream_kbps: Family<DestinationLabel, FloatGauge>,
    /// 1 when the process before ended without its good-bye.
    pub start_followed_crash: Gauge,
    resident_bytes: Gauge,
    cpu_seconds: FloatGauge,
}

impl Metrics {
    /// Registers everything; `started_at` is in Unix milliseconds.
    pub fn new(started_at: i64) -> Self {
        let request_times = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        let metrics = Self {
            registry: Registry::with_prefix("duel"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(request_times),
            connections: Gauge::default(),
            connections_cut: Family::default(),
            sockets: Gauge::default(),
            sockets_opened: Counter::default(),
            sockets_dropped: Family::default(),
            database_commit: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            database_ping: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            database_errors: Counter::default(),
            cycle_seconds: Histogram::new(exponential_buckets(0.5, 2.0, 12)),
            resolution_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 14)),
            bets: Family::default(),
            bet_cents: Counter::default(),
            markets: Family::default(),
            payouts_failed: Counter::default(),
            maintenance: Gauge::default(),
            encoder_restarts: Counter::default(),
            stream_fps: Family::default(),
            stream_kbps: Family::default(),
            start_followed_crash: Gauge::default(),
            resident_bytes: Gauge::default(),
            cpu_seconds: FloatGauge::default(),
        };
        metrics.registered(started_at)
    }

    fn registered(mut self, started_at: i64) -> Self {
        let it = &mut self.registry;
        it.register("http_requests", "Finished HTTP requests", self.requests.clone());
        let seconds = || Unit::Seconds;
        let help = "Time from request head to response head";
        it.register_with_unit("http_request_duration", help, seconds(), self.request_seconds.clone());
        it.register("connections", "Open TCP connections", self.connections.clone());
        it.register("connections_cut", "TCP connections refused or cut", self.connections_cut.clone());
        it.register("websocket_connections", "Open WebSockets", self.sockets.clone());
        it.register("websocket_opened", "WebSockets ever opened", self.sockets_opened.clone());
        it.register("websocket_dropped", "WebSockets closed by the server", self.sockets_dropped.clone());
        it.register_with_unit("database_commit", "Commit time", seconds(), self.database_commit.clone());
        it.register_with_unit("database_ping", "Round-trip time", seconds(), self.database_ping.clone());
        it.register("database_errors", "Failed commits and round trips", self.database_errors.clone());
        it.register_with_unit(
            "cycle_duration",
            "Announcement to end of a duel",
            seconds(),
            self.cycle_seconds.clone(),
        );
        let help = "End of a fight to its payout";
        it.register_with_unit("market_resolution", help, seconds(), self.resolution_seconds.clone());
        it.register("bets", "Bets by outcome", self.bets.clone());
        it.register("bet_cents", "Cents accepted in bets", self.bet_cents.clone());
        it.register("markets", "Markets by outcome", self.markets.clone());
        it.register("payouts_failed", "Settlements that had to be tried again", self.payouts_failed.clone());
        it.register("maintenance", "1 while in maintenance", self.maintenance.clone());
        it.register("encoder_restarts", "Restarts of the stream's encoder", self.encoder_restarts.clone());
        it.register("stream_fps", "Frames per second of the stream", self.stream_fps.clone());
        it.register("stream_kbps", "Kilobits per second of the stream", self.stream_kbps.clone());
        let bytes = Unit::Bytes;
        it.register_with_unit("resident_memory", "Resident memory", bytes, self.resident_bytes.clone());
        let help = "Processor time used";
        it.register_with_unit("processor_time", help, seconds(), self.cpu_seconds.clone());
        let start: Gauge = Gauge::default();
        start.set(started_at / 1000);
        it.register_with_unit("start_time", "Unix time of the start", seconds(), start);
        let help = "1 when the process before ended without good-bye";
        it.register("start_followed_crash", help, self.start_followed_crash.clone());
        self
    }

    /// Counts one committed record.
    pub fn count(&self, record: &Record, state: &State) {
        let outcome = |outcome| OutcomeLabel { outcome };
        let seconds = |milliseconds: i64| milliseconds.max(0) as f64 / 1000.0;
        let duel = state.duel.as_ref();
        match record {
            Record::BetPlaced { cents, .. } => {
                self.bets.get_or_create(&outcome("accepted")).inc();
                self.bet_cents.inc_by(u64::try_from(*cents).unwrap_or(0));
            }
            Record::MarketSettled { at, .. } => {
                self.markets.get_or_create(&outcome("paid")).inc();
                if let Some(ended) = duel.and_then(|duel| duel.fight_ended_at) {
                    self.resolution_seconds.observe(seconds(at - ended));
                }
            }
            Record::DuelCalledOff { .. } => {
                self.markets.get_or_create(&outcome("refunded")).inc();
            }
            Record::DuelEnded { opened_at, at, .. } => self.cycle_seconds.observe(seconds(at - opened_at)),
            Record::MaintenanceEntered { .. } => {
                self.maintenance.set(1);
            }
            Record::MaintenanceExited { .. } => {
                self.maintenance.set(0);
            }
            _ => {}
        }
    }

    /// The Prometheus text format.
    pub fn render(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.resident_bytes.set(bytes);
        }
        if let Some(seconds) = cpu_seconds() {
            self.cpu_seconds.set(seconds);
        }
        let mut text = String::new();
        // Writing to a string cannot fail; a partial text would be refused by the scraper all the same.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// Resident memory of this process from `/proc/self/statm` (second field, in pages); none where there is no `/proc`.
pub fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * i64::try_from(rustix::param::page_size()).ok()?)
}

/// The share of the machine's memory that this process holds; none where there is no `/proc`.
pub fn memory_share() -> Option<f64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: f64 = total.trim().trim_end_matches("kB").trim().parse().ok()?;
    (kibibytes > 0.0).then_some(resident_bytes()? as f64 / (kibibytes * 1024.0))
}

/// Processor time of this process so far; fields 14 and 15 of `/proc/self/stat`, in clock ticks.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the program's name, may hold spaces and brackets; counting starts after its end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}
