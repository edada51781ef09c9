//! The shipped configuration files, and a folder of right and wrong ones with what is said about them.
//!
//! `KEEPER_WRITE_REFERENCE=1 cargo test -p vast-keeper --test it config` writes `config/keeper.toml` and the README's
//! table anew from the table of keys.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use vast_keeper::config::{self, Config, ConfigErrors, Need, Sources, reference};

const TABLE: (&str, &str) = ("<!-- config -->\n", "<!-- /config -->");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(config_file: Option<PathBuf>) -> Sources {
    let environment = [("HOME", "/home/keeper"), ("VAST_API_KEY", "k"), ("JWT_SECRET", "s")];
    let environment = environment.map(|(name, value)| (name.to_string(), value.to_string()));
    Sources { config_file, environment: BTreeMap::from(environment), need: Need::Talk, ..Sources::default() }
}

fn keeper_toml() -> PathBuf {
    root().join("config/keeper.toml")
}

fn keys_and_values(config: &Config) -> Vec<(String, Option<String>)> {
    config.explain().iter().map(|explained| (explained.key.clone(), explained.value.clone())).collect()
}

fn writes_reference() -> bool {
    std::env::var_os("KEEPER_WRITE_REFERENCE").is_some()
}

#[test]
fn the_shipped_file_names_every_key_with_its_default() {
    let wanted = reference::keeper_toml();
    if writes_reference() {
        fs::write(keeper_toml(), &wanted).unwrap();
    }
    let shipped = fs::read_to_string(keeper_toml()).unwrap();
    assert_eq!(shipped, wanted, "config/keeper.toml is stale; see the head of this test file");
    let with = config::load(&sources(Some(keeper_toml()))).unwrap();
    let without = config::load(&sources(None)).unwrap();
    assert_eq!(keys_and_values(&with), keys_and_values(&without));
    assert_eq!(format!("{:?}", with.policy), format!("{:?}", without.policy));
    // What is commented out must be right as well, once somebody takes the mark away.
    let uncommented: String = shipped
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            // Only where a release is built on the box, and a single binary is the default.
            Some(code) if code.starts_with("migrate.files = ") => format!("{line}\n"),
            Some(code) if code.contains(" = ") && toml_edit_parses(code) => format!("{code}\n"),
            Some(code) if code.starts_with("[[") => format!("{code}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keeper.toml");
    fs::write(&path, uncommented).unwrap();
    let mut all = sources(Some(path));
    all.environment.insert("PAGER_WEBHOOK_URL".into(), "https://pager.example.org/x".into());
    all.environment.insert("PAGER_SIGNING_KEY".into(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
    let config = config::load(&all).unwrap();
    assert_eq!(config.policy.nodes.len(), 5, "three duels and two arenas");
    assert_eq!(config.alerts.len(), 1);
}

fn toml_edit_parses(code: &str) -> bool {
    code.parse::<toml_edit::DocumentMut>().is_ok()
}

#[test]
fn every_profile_loads_over_the_shipped_file() {
    for (profile, nodes) in [("development", 3), ("staging", 1), ("beta", 2), ("production", 3)] {
        let sources = Sources { profile: Some(profile.into()), ..sources(Some(keeper_toml())) };
        let config = config::load(&sources).unwrap_or_else(|errors| panic!("{profile}: {errors}"));
        assert_eq!(config.policy.nodes.len(), nodes, "{profile}");
        assert_eq!(config.warnings, Vec::<String>::new(), "{profile}");
    }
}

#[test]
fn the_services_file_loads_and_its_places_are_the_units() {
    let config = config::load(&sources(Some(root().join("systemd/keeper.toml")))).unwrap();
    let unit = fs::read_to_string(root().join("systemd/vast-keeper.service")).unwrap();
    assert!(unit.contains("StateDirectory=vast-keeper\n") && unit.contains("RuntimeDirectory=vast-keeper\n"));
    assert_eq!(config.state_dir, Path::new("/var/lib/vast-keeper"));
    assert_eq!(config.control_socket, Path::new("/run/vast-keeper/control.sock"));
}

#[test]
fn the_example_environment_file_is_enough_for_one_node() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    let example = fs::read_to_string(root().join(".env.example")).unwrap();
    let filled: String = example
        .lines()
        .map(|line| match line.split_once('=') {
            Some(("VAST_API_KEY" | "ADMIN_CODE", "")) => format!("{line}filled\n"),
            Some(("SLACK_WEBHOOK_URL", "")) => format!("{line}https://hooks.slack.com/services/T/B/x\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let commented_in =
        filled.replace("# HEALTH", "HEALTH").replace("# VAST_", "VAST_").replace("# KEEPER__", "KEEPER__");
    for text in [filled, commented_in] {
        fs::write(&path, text).unwrap();
        let environment = BTreeMap::from([("HOME".to_string(), "/home/keeper".to_string())]);
        let sources =
            Sources { env_file: Some(path.clone()), environment, need: Need::Talk, ..Sources::default() };
        let config = config::load(&sources).unwrap();
        assert_eq!(config.policy.nodes.len(), 1);
        assert_eq!(config.alerts.len(), 1);
        assert!(config.provider.api_key.is_some());
    }
}

#[test]
fn the_readme_holds_the_table_of_keys() {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (head, rest) = readme.split_once(TABLE.0).expect("README.md has `<!-- config -->`");
    let (table, tail) = rest.split_once(TABLE.1).expect("README.md has `<!-- /config -->`");
    if writes_reference() {
        fs::write(&path, format!("{head}{}{}{}{tail}", TABLE.0, reference::markdown(), TABLE.1)).unwrap();
        return;
    }
    assert_eq!(table, reference::markdown(), "the README's table is stale; see the head of this test file");
}

/// Loads a fixture: a TOML file, or a `.env` file.
fn fixture(path: &Path) -> Result<Config, ConfigErrors> {
    let mut sources = sources(None);
    let is_env = path.extension().is_some_and(|extension| extension == "env");
    if is_env {
        sources.env_file = Some(path.to_path_buf());
        sources.environment.remove("VAST_API_KEY");
    } else {
        sources.config_file = Some(path.to_path_buf());
    }
    sources.environment.insert("OPS_SLACK_URL".into(), "https://hooks.slack.com/services/T/B/x".into());
    sources.environment.insert("OPS_URL".into(), "gopher://canary-in-a-secret/".into());
    config::load(&sources)
}

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = root().join("tests/fixtures/config").join(folder);
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml" || extension == "env"));
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

#[test]
fn valid_files_load() {
    for path in fixtures("valid") {
        if let Err(errors) = fixture(&path) {
            panic!("{}: {errors}", path.display());
        }
    }
}

#[test]
fn invalid_files_are_refused_with_every_fault_at_once() {
    let folder = root().join("tests/fixtures/config/invalid");
    for path in fixtures("invalid") {
        let errors = match fixture(&path) {
            Ok(_) => panic!("{} loads", path.display()),
            Err(errors) => errors.to_string().replace(&format!("{}/", folder.display()), ""),
        };
        assert!(!errors.contains("canary"), "{errors}");
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        insta::with_settings!({ snapshot_path => &folder, prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, errors);
        });
    }
}

#[test]
fn two_wrong_sources_are_told_together_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keeper.toml");
    let env = folder.path().join(".env");
    fs::write(&file, "[health]\ninterval = 60\n").unwrap();
    fs::write(&env, "VAST_API_KEY=k\nHEALTH_CHECK_TIMEOUT=soon\n").unwrap();
    let sources = Sources {
        env_file: Some(env),
        flags: BTreeMap::from([("rails.attemps".to_string(), "3".to_string())]),
        profile: Some("nightly".into()),
        ..sources(Some(file))
    };
    let errors = config::load(&sources).unwrap_err();
    let text = errors.to_string();
    for told in [
        "no profile `nightly`",
        "keeper.toml:2: `health.interval`",
        ".env:2 (HEALTH_CHECK_TIMEOUT)",
        "`rails.attempts`",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert_eq!(errors.faults.len(), 4, "{text}");
}
