//! Keys about the keeper's edges: provider, SSH, deploys, alerts, schedule, and the process itself.

use super::{Flat, HOUR, Key, MINUTE, SECOND, TEXT, TEXTS, count, duration, number};
use crate::config::kind::Kind;

pub(super) const PROVIDER: &[Key] = &[
    Key::new(
        "provider.base_url",
        TEXT,
        r#""https://console.vast.ai""#,
        "The Vast.ai API; `http` only on loopback, for the simulator",
    )
    .flat(&[Flat { name: "VAST_URL", unit: "" }])
    .restart(),
    Key::new(
        "provider.timeout",
        duration(100, 5 * MINUTE),
        r#""30s""#,
        "Longest wait for one answer of the API",
    )
    .restart(),
    Key::new(
        "provider.pacing",
        number(0.0, 100.0),
        "1",
        "Scales the spacing of calls that Vast.ai publishes; below 1 only for simulators, 0 turns it off",
    )
    .restart(),
];

pub(super) const SSH: &[Key] = &[
    Key::new(
        "ssh.key_file",
        TEXT,
        r#""~/.ssh/id_ed25519""#,
        "Private key; its public half must be registered with the account. The systemd credential \
         `ssh_key` replaces the default",
    )
    .flat(&[Flat { name: "SSH_KEY_PATH", unit: "" }])
    .restart(),
    Key::new("ssh.user", TEXT, r#""root""#, "User on the boxes").restart(),
    Key::new(
        "ssh.connect_timeout",
        duration(100, 10 * MINUTE),
        r#""15s""#,
        "Longest wait for one connection",
    )
    .restart(),
    Key::new(
        "ssh.connect_budget",
        duration(100, HOUR),
        r#""5m""#,
        "How long connecting is tried again on a box that has just booted; its key may arrive late",
    )
    .restart(),
    Key::new(
        "ssh.alive_interval",
        duration(SECOND, HOUR),
        r#""15s""#,
        "Between signs of life on an open connection; four unanswered ones end it",
    )
    .restart(),
];

pub(super) const DEPLOY: &[Key] = &[
    Key::new(
        "deploy.strategy",
        Kind::Choice(&["artifact", "git", "docker"]),
        r#""artifact""#,
        "How a release reaches a box: a binary, checked and switched atomically; a commit, checked out and built; or an image by its \
         digest",
    )
    .restart(),
    Key::new(
        "deploy.file",
        TEXT,
        "",
        "The server's binary. Without it `cargo build --release -p <deploy.package>` makes one",
    )
    .restart(),
    Key::new(
        "deploy.artifact_url",
        TEXT,
        "",
        "Fetch the binary from here, whatever `deploy.file` says: downloaded once, taken up where it broke off, and proven by its checksum \
         before any box is touched",
    )
    .restart(),
    Key::new("deploy.artifact_sha256", TEXT, "", "Its SHA-256, 64 hex digits; required with the URL").restart(),
    Key::new("deploy.workspace", TEXT, r#"".""#, "Where cargo builds the server").restart(),
    Key::new("deploy.package", TEXT, r#""duel-server""#, "The package cargo builds").restart(),
    Key::new(
        "deploy.portable",
        Kind::Flag,
        "true",
        "Link it statically, so that it runs on any Linux of its processor; \
         else a box needs a C library as new as the one here",
    )
    .restart(),
    Key::new("deploy.keep", count(1, 100), "3", "Releases kept on a box, the running one included").restart(),
    Key::new(
        "deploy.gate_healthy",
        count(1, 100),
        "3",
        "Healthy answers in a row, with the new commit and a new start time, that end a deploy",
    )
    .restart(),
    Key::new(
        "deploy.gate_steady",
        duration(0, HOUR),
        r#""6s""#,
        "How long one start of the server must have answered well before it counts: one that dies after five seconds goes back",
    )
    .restart(),
    Key::new(
        "deploy.gate_within",
        duration(SECOND, HOUR),
        r#""2m""#,
        "Longest wait for them; within `deadlines.deploy`",
    )
    .restart(),
    Key::new(
        "deploy.confirm_within",
        duration(10 * SECOND, HOUR),
        r#""90s""#,
        "What a box waits beyond that for the keeper's confirmation before it goes back by itself to the last \
         verified release",
    )
    .restart(),
    Key::new(
        "deploy.maintenance_wait",
        duration(0, HOUR),
        r#""5m""#,
        "How long a running server is given to come to rest (no duel, no open market) before a deploy replaces it; \
         needs ADMIN_CODE",
    )
    .restart(),
    Key::new(
        "deploy.maintenance_timeout",
        Kind::Choice(&["abort", "proceed", "ask"]),
        r#""abort""#,
        "When it does not: deploy nothing, deploy all the same, or let the person at the terminal decide (the keeper \
         itself then aborts)",
    )
    .restart(),
    Key::new(
        "deploy.smoke",
        Kind::Texts { separator: ';' },
        "[]",
        "Checks after the gate, each a path and conditions like those of `health.conditions`: `/ready [STATUS] == 200 \
         and [BODY].ready == true`; `ws:/ws` asks for a WebSocket. One that fails makes the box go back",
    )
    .restart(),
    Key::new(
        "deploy.log_expected",
        TEXTS,
        "[]",
        "Plain texts that the server's log must hold after a start",
    )
    .restart(),
    Key::new(
        "deploy.log_errors",
        TEXTS,
        r#"["panicked at"]"#,
        "Plain texts that it must not hold; one that is there makes the box go back",
    )
    .restart(),
    Key::new("deploy.log_ignored", TEXTS, "[]", "Lines with one of these texts are no errors").restart(),
    Key::new(
        "deploy.env",
        Kind::Table,
        "{}",
        "Environment of the server; no secrets, `config show` prints it",
    )
    .restart(),
    Key::new(
        "deploy.secrets",
        TEXTS,
        "[]",
        "NAMES of secrets that the server gets in its environment too, such as `JWT_SECRET`; each \
         must be set",
    )
    .restart(),
    Key::new(
        "deploy.public_url",
        TEXT,
        "",
        "Where players reach the server, behind your own name or proxy; the keeper itself talks to \
         each box directly",
    )
    .restart()
    .flat(&[Flat { name: "VAST_SERVER_URL", unit: "" }]),
];

pub(super) const ALERTS: &[Key] = &[Key::new(
    "alerts.min_severity",
    Kind::Choice(&["info", "warning", "critical"]),
    r#""info""#,
    "Least severity that is sent; each sink may ask for more",
)
.restart()];

pub(super) const SCHEDULE: &[Key] = &[
    Key::new(
        "schedule.inventory_sweep",
        TEXT,
        r#""0 */5 * * * *""#,
        "Six-field cron, seconds first, UTC: list and compare at once, whatever the timers say",
    )
    .restart(),
    Key::new(
        "schedule.orphan_check",
        TEXT,
        r#""30 */10 * * * *""#,
        "Look for rentals with this fleet's label that the journal does not know",
    )
    .restart(),
    Key::new("schedule.digest", TEXT, r#""0 0 9 * * *""#, "The daily digest; `off` for none").restart(),
    Key::new(
        "schedule.nightly_redeploy",
        TEXT,
        r#""off""#,
        "Deploy the current release again, node by node; `off` for never",
    )
    .restart(),
];

pub(super) const KEEPER: &[Key] = &[
    Key::new(
        "http.listen",
        TEXT,
        r#""127.0.0.1:9310""#,
        "Address of page, API and metrics, which ask for no password; `off` for none",
    )
    .restart(),
    Key::new(
        "keeper.state_dir",
        TEXT,
        "",
        "Where the journal lives. Without it `$STATE_DIRECTORY` (systemd), \
         `$XDG_STATE_HOME/vast-keeper` or `~/.local/state/vast-keeper`, with a profile a folder of its name in there",
    )
    .restart(),
    Key::new(
        "keeper.control_socket",
        TEXT,
        "",
        "Socket of the running daemon, at most 107 bytes; `control.sock` in the state directory \
         without it",
    )
    .restart(),
    Key::new(
        "log.level",
        TEXT,
        r#""info""#,
        "`error`, `warn`, `info`, `debug`, `trace`, also per module: `info,vast_keeper::probe=trace`",
    )
    .restart(),
    Key::new("log.json", Kind::Flag, "false", "One JSON object per line on stderr instead of text").restart(),
];
