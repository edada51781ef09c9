//! The process itself: what it does by the clock, what it serves, where its state lives, what it logs.

use std::{net::SocketAddr, path::PathBuf};

use croner::parser::{CronParser, Seconds};

use super::{Log, Schedule, kind::shown, node::expand, reader::Reader, surroundings::Surroundings};

pub(super) fn schedule(reader: &mut Reader<'_>) -> Schedule {
    Schedule {
        inventory_sweep: cron(reader, "schedule.inventory_sweep"),
        orphan_check: cron(reader, "schedule.orphan_check"),
        digest: cron(reader, "schedule.digest"),
        nightly_redeploy: cron(reader, "schedule.nightly_redeploy"),
    }
}

/// Parsed by the scheduler's own parser with its own options, so that it cannot refuse what passed here.
fn cron(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    let text = reader.text(key).filter(|text| text != "off")?;
    let parsed = CronParser::builder().seconds(Seconds::Required).build().parse(&text);
    if let Err(error) = parsed {
        let hint = "six fields: second minute hour day month weekday, such as `0 30 3 * * *` for \
                    03:30 UTC, or `off`";
        reader.fault_hint(key, format!("`{}` is not a cron expression: {error}", shown(&text)), hint);
        return None;
    }
    Some(text)
}

pub(super) fn http(reader: &mut Reader<'_>, warnings: &mut Vec<String>) -> Option<SocketAddr> {
    let text = reader.text("http.listen").filter(|text| text != "off")?;
    match text.parse::<SocketAddr>() {
        Ok(address) => {
            if !address.ip().is_loopback() {
                warnings.push(format!(
                    "http.listen {address} serves the page to everybody who can reach it, without a password"
                ));
            }
            Some(address)
        }
        Err(_) => {
            let hint = "write an address and a port, such as `127.0.0.1:9310`, or `off`";
            reader.fault_hint(
                "http.listen",
                format!("`{}` is not an address to listen on", shown(&text)),
                hint,
            );
            None
        }
    }
}

/// Longest path of a Unix socket in bytes (`sun_path` of Linux is 108 with its end mark).
const LONGEST_SOCKET: usize = 107;

/// State directory and control socket.
pub(super) fn places(
    reader: &mut Reader<'_>,
    around: &Surroundings<'_>,
    profile: Option<&str>,
) -> (PathBuf, PathBuf) {
    let written = reader.text("keeper.state_dir").map(|path| expand(&path, around.home()));
    let state_dir = written.or_else(|| usual_state_dir(around, profile)).unwrap_or_else(|| {
        reader.fault_hint("keeper.state_dir", "cannot be derived without `$HOME`", "set `keeper.state_dir`");
        PathBuf::new()
    });
    let written = reader.text("keeper.control_socket").map(|path| expand(&path, around.home()));
    let socket = written.unwrap_or_else(|| state_dir.join("control.sock"));
    let length = socket.as_os_str().len();
    if length > LONGEST_SOCKET {
        let shown = socket.display();
        let message = format!("{shown} has {length} bytes, more than the {LONGEST_SOCKET} of a Unix socket");
        reader.fault_hint("keeper.control_socket", message, "set `keeper.control_socket` to a shorter path");
    }
    (state_dir, socket)
}

/// Every profile has a state of its own: two fleets in one journal would each see the other's boxes as lost.
fn usual_state_dir(around: &Surroundings<'_>, profile: Option<&str>) -> Option<PathBuf> {
    // systemd separates several directories by colons; the first is ours.
    let list = around.environment.get("STATE_DIRECTORY").and_then(|list| list.split(':').next());
    if let Some(path) = list.filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let state = around.path("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| around.home().map(|home| home.join(".local/state")))?;
    let own = state.join("vast-keeper");
    Some(profile.map_or_else(|| own.clone(), |profile| own.join(profile)))
}

pub(super) fn log(reader: &mut Reader<'_>) -> Log {
    let level = reader.text("log.level").unwrap_or_default();
    if level.parse::<tracing_subscriber::filter::Targets>().is_err() || level.is_empty() {
        let hint =
            "write error, warn, info, debug, trace or off, also per module: `info,vast_keeper::probe=trace`";
        reader.fault_hint("log.level", format!("`{}` is not a filter", shown(&level)), hint);
    }
    Log { level, json: reader.flag("log.json") }
}
