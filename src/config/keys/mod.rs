//! The table of all keys: the one place that knows a key's type, limits, default, meaning and other names.
//!
//! Loading, unknown-key suggestions, `config show`, `config/keeper.toml` and the README's table all follow from it, so
//! none of them can forget a key. A test compares the defaults with those of the core's own types.

mod edges;
mod method;
mod node;
mod rails;
mod rollout;

use std::{collections::HashMap, sync::LazyLock};

use super::kind::Kind;

/// One key of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted path, such as `health.interval`.
    pub path: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// The built-in default as TOML; empty if there is none.
    pub default: &'static str,
    /// What it means, with units.
    pub doc: &'static str,
    /// Names outside the `KEEPER__` scheme, the documented one first.
    pub flat: &'static [Flat],
    /// Whether a `[[group]]` may set it for its own nodes.
    pub per_group: bool,
    /// Whether a change needs a restart of the keeper; others are taken over on SIGHUP.
    pub restart: bool,
}

/// A flat environment name of a key.
#[derive(Debug, Clone, Copy)]
pub struct Flat {
    /// The variable.
    pub name: &'static str,
    /// What a bare number in it means: `s`, `ms`, or nothing.
    pub unit: &'static str,
}

/// What one table of a list may hold: a group, or an alert sink.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The list's path.
    pub list: &'static str,
    /// Name within the table.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What it means.
    pub doc: &'static str,
}

/// A secret: never part of a TOML file, never printed.
#[derive(Debug, Clone, Copy)]
pub struct SecretKey {
    /// Dotted path, for messages, and for the nested name `KEEPER__…`.
    pub path: &'static str,
    /// The environment variable that holds it; with `_FILE` behind it, the file that does; in lower case, the systemd
    /// credential.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
}

impl Key {
    pub(super) const fn new(
        path: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { path, kind, default, doc, flat: &[], per_group: false, restart: false }
    }

    pub(super) const fn flat(self, flat: &'static [Flat]) -> Self {
        Self { flat, ..self }
    }

    pub(super) const fn per_group(self) -> Self {
        Self { per_group: true, ..self }
    }

    pub(super) const fn restart(self) -> Self {
        Self { restart: true, ..self }
    }

    /// Its nested environment name, such as `KEEPER__HEALTH__INTERVAL`.
    #[must_use]
    pub fn variable(&self) -> String {
        nested_variable(self.path)
    }

    /// The table it stands in; empty for the top level.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(section, _)| section)
    }
}

/// The nested environment name of a path.
#[must_use]
pub fn nested_variable(path: &str) -> String {
    format!("{NESTED_PREFIX}{}", path.replace('.', "__").to_ascii_uppercase())
}

/// What every nested environment name starts with.
pub const NESTED_PREFIX: &str = "KEEPER__";

/// One second, minute, hour and day in milliseconds, for limits.
pub(super) const SECOND: u64 = 1_000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;

pub(super) const fn duration(min: u64, max: u64) -> Kind {
    Kind::Duration { min, max }
}

pub(super) const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

pub(super) const fn number(min: f64, max: f64) -> Kind {
    Kind::Number { min, max }
}

pub(super) const fn dollars(min: f64, max: f64) -> Kind {
    Kind::Dollars { min, max }
}

/// Ordinary texts: names, URLs, queries.
pub(super) const TEXT: Kind = Kind::Text { max: 4_096 };
/// Lists separated by commas in the environment.
pub(super) const TEXTS: Kind = Kind::Texts { separator: ',' };

/// All keys in the order of the reference.
pub fn all() -> impl Iterator<Item = &'static Key> {
    [node::TOP, node::FLEET, node::HEALTH, node::REPLACE, node::OFFERS, node::RENTAL, node::DEADLINES]
        .into_iter()
        .chain([rails::RAILS, rails::INVENTORY])
        .chain([
            edges::PROVIDER,
            edges::SSH,
            edges::DEPLOY,
            method::METHOD,
            rollout::ROLLOUT,
            rollout::PUBLISH,
            rollout::ENVIRONMENTS,
            edges::ALERTS,
            edges::SCHEDULE,
            edges::KEEPER,
        ])
        .flatten()
}

/// Every key by its path.
static BY_PATH: LazyLock<HashMap<&'static str, &'static Key>> =
    LazyLock::new(|| all().map(|key| (key.path, key)).collect());

/// The key of a path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    BY_PATH.get(path).copied()
}

/// The key of a table that holds free names, and the name, of a path such as `deploy.env.RUST_LOG`.
#[must_use]
pub fn find_in_table(path: &str) -> Option<(&'static Key, &str)> {
    all().filter(|key| key.kind == Kind::Table).find_map(|key| {
        let name = path.strip_prefix(key.path)?.strip_prefix('.')?;
        (!name.is_empty()).then_some((key, name))
    })
}

/// The fields of lists of tables besides the per-group keys.
pub const FIELDS: &[Field] = &[
    Field {
        list: "group",
        name: "name",
        kind: TEXT,
        doc: "Names the group; its nodes are `<name>-0`, `<name>-1`, …",
    },
    Field { list: "group", name: "count", kind: count(0, 10_000), doc: "How many nodes; 1 without it" },
    Field { list: "group", name: "names", kind: TEXTS, doc: "The nodes' own names instead of a count" },
    Field {
        list: "alerts.sink",
        name: "name",
        kind: TEXT,
        doc: "The sink's name in logs, metrics and `status`",
    },
    Field {
        list: "alerts.sink",
        name: "kind",
        kind: Kind::Choice(&["slack", "discord", "webhook"]),
        doc: "The format of its messages; without it the URL's host decides",
    },
    Field {
        list: "alerts.sink",
        name: "url",
        kind: TEXT,
        doc: "The NAME of the secret that holds its URL, such as `OPS_SLACK_URL`; looked up like \
              every secret",
    },
    Field {
        list: "alerts.sink",
        name: "signing_key",
        kind: TEXT,
        doc: "The NAME of the secret that signs generic webhooks (Standard Webhooks, HMAC-SHA256)",
    },
    Field {
        list: "alerts.sink",
        name: "min_severity",
        kind: Kind::Choice(&["info", "warning", "critical"]),
        doc: "Least severity it gets; `alerts.min_severity` without it",
    },
    Field { list: "alerts.sink", name: "topics", kind: TEXTS, doc: "Only these topics; all without it" },
];

/// The secrets with a meaning of their own.
pub const SECRETS: &[SecretKey] = &[
    SecretKey {
        path: "provider.api_key",
        name: "VAST_API_KEY",
        doc: "Vast.ai API key; the one setting without which nothing works",
    },
    SecretKey {
        path: "provider.webhook_secret",
        name: "VAST_WEBHOOK_SECRET",
        doc: "Secret of a notification webhook at Vast.ai; with it the keeper takes signed notifications at `/hooks/vast` of \
              `http.listen`, each of which makes it look at once",
    },
    SecretKey {
        path: "deploy.admin_code",
        name: "ADMIN_CODE",
        doc: "Admin code of the servers' maintenance API; given to each server with its environment",
    },
    SecretKey {
        path: "alerts.slack_url",
        name: "SLACK_WEBHOOK_URL",
        doc: "Slack incoming webhook; adds the sink `slack`",
    },
    SecretKey {
        path: "alerts.discord_url",
        name: "DISCORD_WEBHOOK_URL",
        doc: "Discord webhook; adds the sink `discord`",
    },
    SecretKey {
        path: "alerts.webhook_url",
        name: "ALERT_WEBHOOK_URL",
        doc: "Adds the sink `webhook`: Slack or Discord by the URL's host, else signed generic JSON",
    },
    SecretKey {
        path: "alerts.webhook_signing_key",
        name: "ALERT_WEBHOOK_SIGNING_KEY",
        doc: "Signs the messages of a generic `ALERT_WEBHOOK_URL` (Standard Webhooks, HMAC-SHA256)",
    },
];
