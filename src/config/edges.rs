//! What the keeper's edges need: provider, SSH, deploys, alert sinks, schedule, and the process itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use croner::parser::{CronParser, Seconds};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{
    Artifact, Deploy, Log, Need, Provider, Schedule, Ssh, check, fault::Place, keys, kind::shown,
    node::expand, reader::Reader, secret,
};

/// What the process was started with, as far as it matters here.
pub(super) struct Surroundings<'a> {
    pub secrets: secret::Secrets<'a>,
    pub environment: &'a BTreeMap<String, String>,
    pub need: Need,
}

impl Surroundings<'_> {
    fn path(&self, name: &str) -> Option<&Path> {
        self.environment.get(name).filter(|value| !value.is_empty()).map(Path::new)
    }

    fn home(&self) -> Option<&Path> {
        self.path("HOME")
    }

    /// A secret by its key, under its own or its nested name; explained in either case.
    pub fn secret(&self, reader: &mut Reader<'_>, path: &str) -> Option<SecretString> {
        let key = keys::SECRETS.iter().find(|key| key.path == path)?;
        let nested = keys::nested_variable(path);
        let mut found = None;
        for name in [key.name, &nested] {
            match (self.secrets.find(name), &found) {
                (Ok(Some(_)), Some(_)) => {
                    reader.faults.push(super::fault::Fault::new(
                        path,
                        format!("set twice: as `{}` and as `{nested}`", key.name),
                    ));
                }
                (Ok(Some(secret)), None) => found = Some(secret),
                (Ok(None), _) => {}
                (Err(fault), _) => reader.faults.push(fault),
            }
        }
        let place = found.as_ref().map_or_else(|| Place::origin("built-in"), |found| found.place.clone());
        explain_secret(reader, path, found.as_ref().map(|found| &found.value), place);
        found.map(|found| found.value)
    }

    /// A secret that a key refers to by name.
    fn named(&self, reader: &mut Reader<'_>, name: &str) -> Result<Option<SecretString>, String> {
        if !secret::is_name(name) {
            return Err(
                "takes the NAME of a secret in capitals, such as `JWT_SECRET`, never the secret itself"
                    .into(),
            );
        }
        match self.secrets.find(name) {
            Ok(Some(found)) => {
                explain_secret(reader, name, Some(&found.value), found.place);
                Ok(Some(found.value))
            }
            Ok(None) if self.need == Need::Talk => Ok(None),
            Ok(None) => Err(format!(
                "the secret `{name}` is set nowhere: neither {name}, {name}_FILE nor a credential"
            )),
            Err(fault) => {
                reader.faults.push(fault);
                Ok(None)
            }
        }
    }

    /// See [`Surroundings::named`]; for another room's file.
    pub fn named_secret(&self, reader: &mut Reader<'_>, name: &str) -> Result<Option<SecretString>, String> {
        self.named(reader, name)
    }
}

fn explain_secret(reader: &mut Reader<'_>, path: &str, value: Option<&SecretString>, place: Place) {
    reader.explain(path, value.map(|_| "***".into()), place, true);
    if let Some(explained) = reader.explained.get_mut(path) {
        explained.secret = value.cloned();
    }
}

/// The provider, and whether it is a simulator on this machine.
pub(super) fn base_url(reader: &mut Reader<'_>) -> (Option<Url>, bool) {
    let text = reader.text("provider.base_url").unwrap_or_default();
    match check::url(&text, &["https"]) {
        Ok(url)
            if url.query().is_some()
                || url.fragment().is_some()
                || !url.username().is_empty()
                || url.password().is_some() =>
        {
            reader.fault("provider.base_url", "must hold neither user, query nor fragment");
            (None, false)
        }
        Ok(url) => {
            let simulated = check::is_loopback(&url);
            (Some(url), simulated)
        }
        Err(why) => {
            reader.fault("provider.base_url", why);
            (None, false)
        }
    }
}

pub(super) fn provider(
    reader: &mut Reader<'_>,
    around: &Surroundings<'_>,
    base_url: Option<Url>,
    simulated: bool,
) -> Option<Provider> {
    let api_key = around.secret(reader, "provider.api_key");
    match &api_key {
        Some(key) if !secret::is_token(key) => {
            reader.fault(
                "provider.api_key",
                "the key in VAST_API_KEY holds spaces or characters that no Vast.ai key has",
            );
        }
        None if around.need == Need::Run => {
            let hint =
                "set VAST_API_KEY in `.env`, or VAST_API_KEY_FILE, or the systemd credential `vast_api_key`";
            reader.fault_hint("provider.api_key", "is missing", hint);
        }
        _ => {}
    }
    let pacing = reader.number("provider.pacing");
    if pacing < 1.0 && !simulated {
        reader.fault("provider.pacing", format!("{pacing} is below 1: the real provider would answer 429"));
    }
    let timeout = reader.duration("provider.timeout");
    Some(Provider { base_url: base_url?, api_key, timeout, pacing })
}

pub(super) fn ssh(reader: &mut Reader<'_>, around: &Surroundings<'_>) -> Ssh {
    let credential = around
        .path("CREDENTIALS_DIRECTORY")
        .map(|directory| directory.join("ssh_key"))
        .filter(|path| path.exists());
    let written = reader.text("ssh.key_file").unwrap_or_default();
    let key_file = match credential {
        Some(path) if !reader.is_set("ssh.key_file") => path,
        _ => expand(&written, around.home()),
    };
    if around.need == Need::Run {
        private_key(reader, &key_file);
    }
    let user = reader.text("ssh.user").unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if user.is_empty() || !user.bytes().all(plain) || user.starts_with('-') {
        reader.fault("ssh.user", "is not a user's name");
    }
    let connect_timeout = reader.duration("ssh.connect_timeout");
    let connect_budget = reader.duration("ssh.connect_budget");
    if connect_timeout > connect_budget {
        reader.fault(
            "ssh.connect_timeout",
            "is longer than `ssh.connect_budget`: not even one attempt could end",
        );
    }
    Ssh {
        key_file,
        user,
        connect_timeout,
        connect_budget,
        alive_interval: reader.duration("ssh.alive_interval"),
    }
}

/// ssh itself refuses such a key only at the first connection, when a box is already rented.
fn private_key(reader: &mut Reader<'_>, path: &Path) {
    let path_shown = path.display();
    match std::fs::metadata(path) {
        Err(error) => {
            let hint = format!(
                "make one with `ssh-keygen -t ed25519 -f {path_shown}` and add {path_shown}.pub to your Vast.ai account"
            );
            reader.fault_hint("ssh.key_file", format!("{path_shown}: {error}"), hint);
        }
        Ok(metadata) if !metadata.is_file() => {
            reader.fault("ssh.key_file", format!("{path_shown} is not a file"))
        }
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            let message = format!("{path_shown} is open to others, and ssh refuses such a key");
            reader.fault_hint("ssh.key_file", message, format!("chmod 600 {path_shown}"));
        }
        Ok(_) => {}
    }
}

pub(super) fn deploy(reader: &mut Reader<'_>, around: &Surroundings<'_>) -> Deploy {
    let artifact = artifact(reader, around);
    let env = reader.table("deploy.env");
    check::environment(reader, "deploy.env", &env);
    let secret_names = reader.texts("deploy.secrets").unwrap_or_default();
    let admin_code = around.secret(reader, "deploy.admin_code");
    let mut server: BTreeMap<String, SecretString> =
        env.into_iter().map(|(name, value)| (name, value.into())).collect();
    if let Some(code) = &admin_code {
        server.insert("ADMIN_CODE".into(), code.clone());
    }
    for (index, name) in secret_names.iter().enumerate() {
        match around.named(reader, name) {
            Ok(Some(value)) => {
                server.insert(name.clone(), value);
            }
            Ok(None) => {}
            // The wrong text may be the secret itself, so its number is told and not its text.
            Err(why) => reader.fault("deploy.secrets", format!("entry {}: {why}", index + 1)),
        }
    }
    let gate_within = reader.duration("deploy.gate_within");
    if gate_within > reader.duration("deadlines.deploy") {
        reader.fault("deploy.gate_within", "is longer than `deadlines.deploy`");
    }
    Deploy {
        artifact,
        keep: reader.count("deploy.keep"),
        gate_healthy: reader.count("deploy.gate_healthy"),
        gate_within,
        env: server,
        admin_code,
        public_url: public_url(reader),
    }
}

fn artifact(reader: &mut Reader<'_>, around: &Surroundings<'_>) -> Artifact {
    // The one strategy there is; reading it refuses any other word.
    let _ = reader.text("deploy.strategy");
    let workspace = expand(&reader.text("deploy.workspace").unwrap_or_default(), around.home());
    let package = reader.text("deploy.package").unwrap_or_default();
    let target = reader.text("deploy.target");
    let plain = |text: &str| {
        !text.starts_with('-')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    if package.is_empty() || !plain(&package) {
        reader.fault("deploy.package", "is not a package's name");
    }
    if target.as_deref().is_some_and(|target| !plain(target)) {
        reader.fault("deploy.target", "is not a target triple");
    }
    match reader.text("deploy.file") {
        None => Artifact::Build { workspace, package, target },
        Some(file) => {
            let file = expand(&file, around.home());
            if around.need == Need::Run && !file.is_file() {
                reader.fault("deploy.file", format!("{} is not a file", file.display()));
            }
            Artifact::File(file)
        }
    }
}

fn public_url(reader: &mut Reader<'_>) -> Option<Url> {
    let text = reader.text("deploy.public_url")?;
    check::url(&text, &["https", "http"]).map_err(|why| reader.fault("deploy.public_url", why)).ok()
}

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
        let hint = "six fields: second minute hour day month weekday, such as `0 30 3 * * *` for 03:30 UTC, or `off`";
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
pub(super) fn places(reader: &mut Reader<'_>, around: &Surroundings<'_>) -> (PathBuf, PathBuf) {
    let state_dir = match reader.text("keeper.state_dir") {
        Some(written) => expand(&written, around.home()),
        // systemd separates several directories by colons; the first is ours.
        None => match around
            .environment
            .get("STATE_DIRECTORY")
            .and_then(|list| list.split(':').next())
            .filter(|path| !path.is_empty())
        {
            Some(path) => path.into(),
            None => match (around.path("XDG_STATE_HOME"), around.home()) {
                (Some(state), _) => state.join("vast-keeper"),
                (None, Some(home)) => home.join(".local/state/vast-keeper"),
                (None, None) => {
                    reader.fault_hint(
                        "keeper.state_dir",
                        "cannot be derived without `$HOME`",
                        "set `keeper.state_dir`",
                    );
                    PathBuf::new()
                }
            },
        },
    };
    let socket = reader
        .text("keeper.control_socket")
        .map_or_else(|| state_dir.join("control.sock"), |written| expand(&written, around.home()));
    let length = socket.as_os_str().len();
    if length > LONGEST_SOCKET {
        let message = format!(
            "{} has {length} bytes, more than the {LONGEST_SOCKET} of a Unix socket",
            socket.display()
        );
        reader.fault_hint("keeper.control_socket", message, "set `keeper.control_socket` to a shorter path");
    }
    (state_dir, socket)
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

/// Every secret in use, for the second net of the logs.
pub(super) fn secret_values(reader: &Reader<'_>) -> Vec<SecretString> {
    let secrets: BTreeSet<&str> = reader
        .explained
        .values()
        .filter_map(|explained| Some(explained.secret.as_ref()?.expose_secret()))
        .collect();
    secrets.into_iter().map(SecretString::from).collect()
}
