//! The reference of all keys, made from the table: the built-in defaults, `config/keeper.toml` and the README's table.

use std::fmt::Write as _;

use super::keys::{self, Key, SECRETS};

/// Line length of the comments in the written file.
const COMMENT_WIDTH: usize = 110;

/// The built-in defaults as TOML.
pub(super) fn defaults_toml() -> String {
    let with_default = keys::all().filter(|key| !key.default.is_empty());
    with_default.fold(String::new(), |mut text, key| {
        let _ = writeln!(text, "{} = {}", key.path, key.default);
        text
    })
}

/// `config/keeper.toml`: every key with its meaning, set to its default; keys without one are commented out.
#[must_use]
pub fn keeper_toml() -> String {
    let mut text = String::from(HEAD);
    let mut section = "";
    for key in keys::all() {
        if key.section() != section {
            section = key.section();
            let _ = write!(text, "\n[{section}]\n");
        }
        comment(&mut text, &described(key));
        let name = key.path.split_once('.').map_or(key.path, |(_, name)| name);
        let _ = match key.default {
            "" => writeln!(text, "# {name} = {}", example(key)),
            default => writeln!(text, "{name} = {default}"),
        };
    }
    text.push_str(TAIL);
    text
}

/// The README's table of all keys and secrets.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| key | variable | default | meaning |\n|---|---|---|---|\n");
    for key in keys::all() {
        let flat = key.flat.iter().take(1).map(|flat| format!("`{}`{}", flat.name, unit(flat.unit))).next();
        let variable = flat.unwrap_or_else(|| format!("`{}`", key.variable()));
        let default = if key.default.is_empty() { "–".into() } else { format!("`{}`", key.default) };
        let _ = writeln!(text, "| `{}` | {variable} | {default} | {} |", key.path, cell(&described(key)));
    }
    text.push_str("\n| secret | meaning |\n|---|---|\n");
    for secret in SECRETS {
        let _ = writeln!(text, "| `{}` | {} |", secret.name, cell(secret.doc));
    }
    text
}

fn unit(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" ({unit})") }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn described(key: &Key) -> String {
    let group = if key.per_group { "; per group" } else { "" };
    let restart = if key.restart { "; restart" } else { "" };
    format!("{} ({}{group}{restart})", key.doc, key.kind.words())
}

fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > COMMENT_WIDTH {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

/// What a key without a default may look like.
fn example(key: &Key) -> &'static str {
    match key.path {
        "health.conditions" => r#"["[STATUS] == 200", "[RESPONSE_TIME] < 5000"]"#,
        "rental.onstart" => r#""touch /root/started""#,
        "rails.parallel" => "2",
        "rental.bid" => "0.25",
        "rental.max_bid" => "0.4",
        "rails.dollars_per_hour" => "5.0",
        "rails.dollars_per_day" => "100.0",
        "deploy.file" => r#""/opt/duel-server/duel-server""#,
        "deploy.artifact_url" => r#""https://releases.example.org/duel-server-1.4.2""#,
        "deploy.artifact_sha256" => r#""9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08""#,
        "deploy.git_url" => r#""https://git.example.org/duel.git""#,
        "deploy.git_rev" => r#""main""#,
        "deploy.build_command" => r#""npm ci && npm run build""#,
        "deploy.build_output" => r#""target/release/duel-server""#,
        "deploy.run_command" => r#""exec node dist/index.js""#,
        "deploy.docker_image" => r#""registry.example.org/duel@sha256:<64 hex digits>""#,
        "deploy.docker_archive" => r#""/opt/duel-server/duel.tar""#,
        "deploy.start_command" => r#""s6-svc -u /run/service/duel""#,
        "deploy.stop_command" => r#""s6-svc -wd -d /run/service/duel""#,
        "deploy.pid_command" => r#""s6-svstat -o pid /run/service/duel""#,
        "deploy.backup_command" => r#""pg_dump --format=custom \"$DATABASE_URL\"""#,
        "deploy.backup_check" => r#""pg_restore --list >/dev/null""#,
        "deploy.restore_command" => r#""pg_restore --clean --if-exists --dbname=\"$DATABASE_URL\"""#,
        "deploy.migrate.status" => r#""npx prisma migrate status""#,
        "deploy.migrate.run" => r#""npx prisma migrate deploy""#,
        "deploy.migrate.validate" => r#""npx prisma validate""#,
        "deploy.migrate.files" => r#""prisma/migrations/*/migration.sql""#,
        "deploy.schema" => "12",
        "deploy.schema_floor" => "11",
        "deploy.public_url" => r#""https://play.example.org""#,
        "push.remote" => r#""git@github.com:you/server.git""#,
        "publish.file" => r#""/var/lib/vast-keeper/nodes.json""#,
        "publish.command" => r#""/usr/local/bin/set-address""#,
        "publish.url" => r#""https://lb.example.org/nodes""#,
        "keeper.state_dir" => r#""/var/lib/vast-keeper""#,
        "keeper.control_socket" => r#""/run/vast-keeper/control.sock""#,
        _ => r#""""#,
    }
}

const HEAD: &str = "\
# Every key of vast-keeper with its built-in default, so this file changes nothing until it is edited.
# Lowest to highest: built-in, this file, profile (`--profile NAME`: NAME.toml beside this file), `.env`, environment,
# `--set`. The environment knows each key as KEEPER__<SECTION>__<KEY>, such as KEEPER__HEALTH__INTERVAL=30s.
# Secrets never stand here; see `.env.example`. `vast-keeper check` tells every fault at once, `vast-keeper config show`
# where each value came from. \"per group\": a [[group]] may set it for its own nodes. \"restart\": SIGHUP is not enough.

";

const TAIL: &str = r#"
# Groups of nodes in place of `fleet.nodes`; each may set any key marked "per group", and a list or table it sets
# replaces the fleet's whole one:
#
# [[group]]
# name = "duel"                       # duel-0, duel-1, duel-2
# count = 3
# health.interval = "30s"
# offers.price_cap = 0.8
#
# [[group]]
# names = ["arena-eu", "arena-us"]
# ladder = ["restart-server", "replace"]
# offers.query = "gpu_name=RTX_4090 num_gpus=1 geolocation in [US,DE]"

# More alert sinks; `url` and `signing_key` are NAMES of secrets:
#
# [[alerts.sink]]
# name = "pager"
# kind = "webhook"                    # slack, discord, webhook; by the URL's host without it
# url = "PAGER_WEBHOOK_URL"
# signing_key = "PAGER_SIGNING_KEY"
# min_severity = "critical"
# topics = ["incident-opened", "held", "keeper"]
"#;
