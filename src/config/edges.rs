//! What the edges that act on boxes need: provider, SSH, deploys.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path};

use secrecy::SecretString;
use url::Url;

use super::{
    Artifact, Deploy, Need, Provider, RestTimeout, Ssh, check, kind::shown, method, node::expand,
    reader::Reader, secret, surroundings::Surroundings,
};
use crate::fleet::condition::Condition;

/// The provider, and whether it is a simulator on this machine.
pub(super) fn base_url(reader: &mut Reader<'_>) -> (Option<Url>, bool) {
    let text = reader.text("provider.base_url").unwrap_or_default();
    match check::url(&text, &["https"]) {
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            reader.fault("provider.base_url", "must hold neither query nor fragment");
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
    let webhook_secret = around.secret(reader, "provider.webhook_secret");
    Some(Provider { base_url: base_url?, api_key, webhook_secret, timeout, pacing })
}

pub(super) fn ssh(reader: &mut Reader<'_>, around: &Surroundings<'_>) -> Ssh {
    let credential = around.secrets.credential_file("ssh_key");
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
                "make one with `ssh-keygen -t ed25519 -f {path_shown}` and add {path_shown}.pub to \
                 your Vast.ai account"
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
        match around.named_secret(reader, name) {
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
    let gate_steady = reader.duration("deploy.gate_steady");
    if gate_steady >= gate_within {
        reader.fault("deploy.gate_steady", "is not shorter than `deploy.gate_within`: no server could pass");
    }
    Deploy {
        artifact,
        keep: reader.count("deploy.keep"),
        gate_healthy: reader.count("deploy.gate_healthy"),
        gate_steady,
        gate_within,
        confirm_within: reader.duration("deploy.confirm_within"),
        maintenance_wait: reader.duration("deploy.maintenance_wait"),
        maintenance_timeout: match reader.text("deploy.maintenance_timeout").as_deref() {
            Some("proceed") => RestTimeout::Proceed,
            Some("ask") => RestTimeout::Ask,
            _ => RestTimeout::Abort,
        },
        smoke: smoke(reader),
        log_expected: reader.texts("deploy.log_expected").unwrap_or_default(),
        log_errors: reader.texts("deploy.log_errors").unwrap_or_default(),
        log_ignored: reader.texts("deploy.log_ignored").unwrap_or_default(),
        env: server,
        admin_code,
        public_url: public_url(reader),
        method: method::method(reader),
    }
}

/// Only the form of each check's place is looked at here; its conditions are read like the health conditions.
fn smoke(reader: &mut Reader<'_>) -> Vec<String> {
    let checks = reader.texts("deploy.smoke").unwrap_or_default();
    for check in &checks {
        let (place, rest) = check.trim().split_once(char::is_whitespace).unwrap_or((check.trim(), ""));
        if !place.strip_prefix("ws:").unwrap_or(place).starts_with('/') {
            let hint = "write `/ready [STATUS] == 200`, or `ws:/ws`";
            reader.fault_hint("deploy.smoke", format!("`{}` begins with no path", shown(check)), hint);
        }
        for part in rest.split(" and ").map(str::trim).filter(|part| !part.is_empty()) {
            if let Err(error) = part.parse::<Condition>() {
                reader.fault_hint(
                    "deploy.smoke",
                    format!("`{}`: {}", shown(part), error.problem),
                    error.hint,
                );
            }
        }
    }
    checks
}

fn artifact(reader: &mut Reader<'_>, around: &Surroundings<'_>) -> Artifact {
    let workspace = expand(&reader.text("deploy.workspace").unwrap_or_default(), around.home());
    let package = reader.text("deploy.package").unwrap_or_default();
    let portable = reader.flag("deploy.portable");
    let plain = |text: &str| {
        !text.starts_with('-')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    if package.is_empty() || !plain(&package) {
        reader.fault("deploy.package", "is not a package's name");
    }
    let fetched = download(reader);
    match (reader.text("deploy.file"), fetched) {
        (_, Some((url, sha256))) => Artifact::Url { url, sha256 },
        (None, None) => Artifact::Build { workspace, package, portable },
        (Some(file), None) => {
            let file = expand(&file, around.home());
            if around.need == Need::Run && !file.is_file() {
                reader.fault("deploy.file", format!("{} is not a file", file.display()));
            }
            Artifact::File(file)
        }
    }
}

/// A URL without a checksum would let whoever answers it decide what runs on the boxes.
fn download(reader: &mut Reader<'_>) -> Option<(Url, String)> {
    let sha256 = reader.text("deploy.artifact_sha256").map(|text| text.to_ascii_lowercase());
    let Some(text) = reader.text("deploy.artifact_url") else {
        if sha256.is_some() {
            reader.fault("deploy.artifact_sha256", "is set without `deploy.artifact_url`");
        }
        return None;
    };
    let url = check::url(&text, &["https", "http"]).map_err(|why| reader.fault("deploy.artifact_url", why));
    let sha256 = sha256.unwrap_or_default();
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let hint = "`sha256sum FILE` prints it";
        reader.fault_hint("deploy.artifact_sha256", "must be 64 hex digits", hint);
        return None;
    }
    Some((url.ok()?, sha256))
}

fn public_url(reader: &mut Reader<'_>) -> Option<Url> {
    let text = reader.text("deploy.public_url")?;
    check::url(&text, &["https", "http"]).map_err(|why| reader.fault("deploy.public_url", why)).ok()
}
