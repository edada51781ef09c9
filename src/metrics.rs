//! Counters of the keeper, and the view's figures, as OpenMetrics 1.0 or as the older text format of Prometheus.
//!
//! Counters move where the thing happens; everything that is a state is taken from the view at the scrape, so that a
//! metric and the page can never disagree.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::fleet::{
    command::Command,
    journal::Record,
    probe::{Observation, Verdict},
    view::FleetView,
};

/// Upper edges of the lateness buckets in seconds: 1, 2, 5 in each decade, so that the goal of 10 ms is an edge.
const LATENESS_S: [f64; 15] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// One label, `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// A node by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Node {
    node: String,
}

/// A node and a word.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeState {
    node: String,
    state: String,
}

/// Everything counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    probes: Family<Kind, Counter>,
    probe_seconds: Histogram,
    lateness_seconds: Histogram,
    commands: Family<Kind, Counter>,
    records: Family<Kind, Counter>,
    /// Locked over filling and writing, so that two scrapes at once never see each other's half-filled tables.
    states: Mutex<States>,
}

#[derive(Debug, Default)]
struct States {
    node_state: Family<NodeState, Gauge>,
    node_failures: Family<Node, Gauge>,
    node_dollars: Family<Node, Gauge<f64, AtomicU64>>,
    blocked: Family<NodeState, Gauge>,
    healthy: Gauge,
    wanted: Gauge,
    doomed: Gauge,
    dollars_per_hour: Gauge<f64, AtomicU64>,
    credit: Gauge<f64, AtomicU64>,
    list_age: Gauge<f64, AtomicU64>,
    key_accepted: Gauge,
    breaker: Gauge,
    observe_only: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("vast_keeper");
        let probes = Family::<Kind, Counter>::default();
        registry.register("probes", "Health checks, by verdict", probes.clone());
        // 0.5 ms to 16 s: loopback to the longest usual timeout.
        let probe_seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let help = "How long health checks take";
        registry.register_with_unit("probe_duration", help, Unit::Seconds, probe_seconds.clone());
        let lateness_seconds = Histogram::new(LATENESS_S);
        let help = "How late health checks start against their schedule";
        registry.register_with_unit("probe_lateness", help, Unit::Seconds, lateness_seconds.clone());
        let commands = Family::<Kind, Counter>::default();
        registry.register("commands", "Effects ordered, by kind", commands.clone());
        let records = Family::<Kind, Counter>::default();
        registry.register("journal_records", "Facts journaled, by kind", records.clone());
        let states = States::default();
        states.register(&mut registry);
        Self {
            registry,
            probes,
            probe_seconds,
            lateness_seconds,
            commands,
            records,
            states: Mutex::new(states),
        }
    }

    /// Counts a health check.
    pub fn probed(&self, observation: &Observation) {
        let kind = match observation.verdict {
            Verdict::Healthy => "healthy",
            Verdict::Maintenance => "maintenance",
            Verdict::Failing(_) => "failing",
        };
        self.probes.get_or_create(&Kind { kind }).inc();
        self.probe_seconds.observe(observation.took.as_secs_f64());
        self.lateness_seconds.observe(observation.lateness.as_secs_f64());
    }

    /// Counts an effect.
    pub fn ordered(&self, command: &Command) {
        self.commands.get_or_create(&Kind { kind: command.word() }).inc();
    }

    /// Counts a journaled fact.
    pub fn recorded(&self, record: &Record) {
        self.records.get_or_create(&Kind { kind: record.kind() }).inc();
    }

    /// The exposition text for a scrape, with the view's figures.
    #[must_use]
    pub fn render(&self, view: &FleetView, format: Format) -> String {
        let mut text = String::new();
        let written = {
            let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
            states.take(view);
            encode(&mut text, &self.registry)
        };
        // Writing into a string cannot fail; an empty scrape would show it if it did.
        if written.is_err() {
            text.clear();
        }
        match format {
            Format::OpenMetrics => text,
            Format::Plain => plain(&text),
        }
    }
}

/// How a scrape is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Plain,
}

impl Format {
    /// The format for the values of a request's `Accept` headers: OpenMetrics only for who names it.
    pub fn of_accept<'a>(mut accepted: impl Iterator<Item = &'a str>) -> Self {
        let open =
            accepted.any(|accept| accept.to_ascii_lowercase().contains("application/openmetrics-text"));
        if open { Self::OpenMetrics } else { Self::Plain }
    }

    /// Its `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// OpenMetrics text in the format 0.0.4. The two differ, in what is used here, in the names under which counters are
/// described, and in the lines `# UNIT` and `# EOF`.
fn plain(open: &str) -> String {
    let described = |line: &str, what: &str| {
        let (name, rest) = line.strip_prefix(what)?.split_once(' ')?;
        Some((name.to_owned(), rest.to_owned()))
    };
    let types = open.lines().filter_map(|line| described(line, "# TYPE "));
    let counters: BTreeSet<String> =
        types.filter(|(_, kind)| kind == "counter").map(|(name, _)| name).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let renamed = ["# HELP ", "# TYPE "].into_iter().find_map(|what| {
            let (name, rest) = described(line, what)?;
            counters.contains(&name).then(|| format!("{what}{name}_total {rest}"))
        });
        text.push_str(renamed.as_deref().unwrap_or(line));
        text.push('\n');
    }
    text
}

impl States {
    fn register(&self, registry: &mut Registry) {
        registry.register("node_state", "1 for the state a node is in", self.node_state.clone());
        registry.register("node_failures", "Consecutive failed checks of a node", self.node_failures.clone());
        registry.register("node_dollars_per_hour", "Price of a node's instance", self.node_dollars.clone());
        registry.register("node_blocked", "1 for the rail that keeps a node back", self.blocked.clone());
        registry.register("nodes_healthy", "Nodes that serve and are healthy", self.healthy.clone());
        registry.register("nodes_wanted", "Nodes that are configured", self.wanted.clone());
        registry.register("instances_doomed", "Condemned instances not proven gone", self.doomed.clone());
        registry.register(
            "dollars_per_hour",
            "Price of everything that may be billed",
            self.dollars_per_hour.clone(),
        );
        registry.register("credit_dollars", "The account's credit when last read", self.credit.clone());
        let help = "Age of the last complete list of instances";
        registry.register_with_unit("list_age", help, Unit::Seconds, self.list_age.clone());
        registry.register(
            "key_accepted",
            "Whether the provider takes the API key",
            self.key_accepted.clone(),
        );
        registry.register("observe_only", "Whether the keeper only observes", self.observe_only.clone());
        registry.register("breaker", "Mass-failure breaker: 0 normal, 1 slow, 2 hold", self.breaker.clone());
    }

    fn take(&self, view: &FleetView) {
        self.node_state.clear();
        self.blocked.clear();
        self.node_failures.clear();
        self.node_dollars.clear();
        for node in &view.nodes {
            let name = node.node.to_string();
            let state = NodeState { node: name.clone(), state: node.state.clone() };
            self.node_state.get_or_create(&state).set(1);
            if let Some(blocked) = &node.blocked {
                let rail = NodeState { node: name.clone(), state: blocked.rail.clone() };
                self.blocked.get_or_create(&rail).set(1);
            }
            let label = Node { node: name };
            self.node_failures.get_or_create(&label).set(i64::from(node.health.failures));
            let price = node.dollars_per_hour.unwrap_or_default().dollars();
            self.node_dollars.get_or_create(&label).set(price);
        }
        self.healthy.set(i64::from(view.healthy));
        self.wanted.set(i64::from(view.wanted));
        self.doomed.set(i64::try_from(view.doomed.len()).unwrap_or(i64::MAX));
        self.dollars_per_hour.set(view.dollars_per_hour.dollars());
        self.credit.set(view.credit.map_or(f64::NAN, |credit| credit.dollars()));
        self.list_age.set(view.list_age_ms.map_or(f64::NAN, |age| age as f64 / 1000.0));
        self.key_accepted.set(i64::from(view.key_accepted));
        self.observe_only.set(i64::from(view.observe_only));
        self.breaker.set(match view.breaker {
            crate::fleet::breaker::Position::Normal => 0,
            crate::fleet::breaker::Position::Slow => 1,
            crate::fleet::breaker::Position::Hold => 2,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_describes_counters_by_their_samples_names() {
        let open = "# HELP vk_probes Health checks.\n# TYPE vk_probes counter\nvk_probes_total{kind=\"healthy\"} 3\n\
                    # HELP vk_age_seconds Age.\n# TYPE vk_age_seconds gauge\n# UNIT vk_age_seconds seconds\n\
                    vk_age_seconds 0.5\n# EOF\n";
        let older = "# HELP vk_probes_total Health checks.\n# TYPE vk_probes_total counter\n\
                     vk_probes_total{kind=\"healthy\"} 3\n\
                     # HELP vk_age_seconds Age.\n# TYPE vk_age_seconds gauge\nvk_age_seconds 0.5\n";
        assert_eq!(plain(open), older);
    }

    #[test]
    fn open_metrics_is_for_who_asks_for_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::of_accept([prometheus].into_iter()), Format::OpenMetrics);
        for other in ["*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "text/plain"] {
            assert_eq!(Format::of_accept([other].into_iter()), Format::Plain, "{other}");
        }
        assert_eq!(Format::of_accept(std::iter::empty()), Format::Plain);
    }
}
