//! The built-in defaults against the core's own, and stories of loading; whole files with their messages are in
//! `tests/it/config.rs`.

mod fuzz;

use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;
use crate::fleet::policy::{InventoryPolicy, NodeSpec, Rails};

fn sources(environment: &[(&str, &str)]) -> Sources {
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Sources { environment, need: Need::Talk, ..Sources::default() }
}

fn with_home(environment: &[(&str, &str)]) -> Sources {
    sources(&[&[("HOME", "/home/keeper")], environment].concat())
}

fn loaded(environment: &[(&str, &str)]) -> Config {
    load(&with_home(environment)).unwrap()
}

fn refused(environment: &[(&str, &str)]) -> String {
    load(&with_home(environment)).unwrap_err().to_string()
}

#[test]
fn the_tables_defaults_are_the_cores_own() {
    let config = loaded(&[]);
    let policy = config.policy;
    assert_eq!(format!("{:?}", policy.rails), format!("{:?}", Rails::default()));
    assert_eq!(format!("{:?}", policy.inventory), format!("{:?}", InventoryPolicy::default()));
    let names: Vec<&str> = policy.nodes.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["server-0"]);
    for spec in policy.nodes.values() {
        assert_eq!(format!("{:?}", **spec), format!("{:?}", NodeSpec::default()));
    }
}

#[test]
fn every_key_of_the_table_is_read_and_explained() {
    let config = loaded(&[]);
    for key in keys::all() {
        assert!(
            config.explain().iter().any(|explained| explained.key == key.path),
            "`{}` is never read",
            key.path
        );
    }
    for secret in keys::SECRETS {
        assert!(
            config.explain().iter().any(|explained| explained.key == secret.path),
            "`{}` is never read",
            secret.path
        );
    }
}

#[test]
fn the_documented_flat_names_mean_what_the_documents_say() {
    let config = loaded(&[
        ("HEALTH_CHECK_INTERVAL", "30"),
        ("HEALTH_CHECK_FAILURE_THRESHOLD", "4"),
        ("HEALTH_CHECK_TIMEOUT", "2500"),
        ("VAST_API_KEY", "0042"),
        ("VAST_SEARCH_QUERY", "gpu_name=RTX_4090 num_gpus=1"),
        ("VAST_IMAGE", "debian:12"),
        ("VAST_DISK_GB", "64"),
        ("VAST_SERVER_URL", "https://play.example.org"),
        ("ADMIN_CODE", "let me in"),
        ("SSH_KEY_PATH", "~/keys/fleet"),
    ]);
    let spec = config.policy.nodes.values().next().unwrap();
    assert_eq!(spec.health.interval, Duration::from_secs(30));
    assert_eq!(spec.health.failure_threshold, 4);
    assert_eq!(spec.health.timeout, Duration::from_millis(2500));
    assert_eq!(spec.rental.image, "debian:12");
    assert_eq!(spec.rental.disk_gb, 64);
    assert_eq!(
        config.provider.api_key.as_ref().unwrap().expose_secret(),
        "0042",
        "a secret is text, whatever it looks like"
    );
    assert_eq!(config.deploy.public_url.unwrap().as_str(), "https://play.example.org/");
    assert_eq!(config.deploy.env.get("ADMIN_CODE").unwrap().expose_secret(), "let me in");
    assert_eq!(config.ssh.key_file, Path::new("/home/keeper/keys/fleet"));
}

#[test]
fn a_short_interval_shrinks_the_default_retry_interval_but_not_a_written_one() {
    let config = loaded(&[("HEALTH_CHECK_INTERVAL", "6")]);
    let spec = config.policy.nodes.values().next().unwrap();
    assert_eq!(spec.health.retry_interval, Duration::from_secs(6));
    let message = refused(&[("HEALTH_CHECK_INTERVAL", "6"), ("KEEPER__HEALTH__RETRY_INTERVAL", "7s")]);
    assert!(
        message.contains("`health.retry_interval`: 7s is longer than `health.interval` of 6s"),
        "{message}"
    );
}

#[test]
fn nested_names_reach_every_key_and_tables_keep_the_case_of_their_names() {
    let config = loaded(&[
        ("KEEPER__HEALTH__INTERVAL", "90s"),
        ("KEEPER__LADDER", "restart-server, replace"),
        ("KEEPER__DEPLOY__ENV__RUST_LOG", "info"),
        ("KEEPER__HEALTH__CONDITIONS", "[STATUS] == 200; [BODY].phase == any(IDLE, FIGHTING)"),
        ("KEEPER__OFFERS__GPUS", r#"["RTX 4090", "RTX 3090"]"#),
        ("KEEPER__HTTP__LISTEN", "off"),
    ]);
    let spec = config.policy.nodes.values().next().unwrap();
    assert_eq!(spec.health.interval, Duration::from_secs(90));
    assert_eq!(spec.ladder.len(), 2);
    assert_eq!(spec.health.conditions.len(), 2);
    assert_eq!(spec.offers.gpus, ["RTX 4090", "RTX 3090"]);
    assert_eq!(config.deploy.env.get("RUST_LOG").unwrap().expose_secret(), "info");
    assert_eq!(config.http, None);
    for key in keys::all() {
        let message = match load(&with_home(&[(&key.variable(), "?")])) {
            Ok(_) => continue,
            Err(errors) => errors.to_string(),
        };
        assert!(!message.contains("no such"), "{}: {message}", key.variable());
    }
}

#[test]
fn an_unknown_nested_name_is_refused_with_a_suggestion() {
    let message =
        refused(&[("KEEPER__HEALTH__INTERVALL", "9s"), ("UNRELATED", "1"), ("KEEPER__GROUP__0__NAME", "x")]);
    assert!(
        message.contains(
            "(KEEPER__HEALTH__INTERVALL): no such variable\n  hint: did you mean `KEEPER__HEALTH__INTERVAL`?"
        ),
        "{message}"
    );
    assert!(message.contains("hint: `[[group]]` can be given in a TOML file only"), "{message}");
    assert!(message.starts_with("the configuration has 2 faults"), "{message}");
}

#[test]
fn the_original_keepers_names_work_where_they_mean_the_same_and_are_refused_where_not() {
    let config = loaded(&[
        ("KEEPER_HEALTH_CHECK_INTERVAL_MS", "45000"),
        ("KEEPER_HEALTH_CHECK_TIMEOUT_MS", "9000"),
        ("KEEPER_HEALTH_CHECK_MAX_FAILURES", "5"),
        ("KEEPER_HEALTH_CHECK_ENABLED", "true"),
    ]);
    let spec = config.policy.nodes.values().next().unwrap();
    assert_eq!(spec.health.interval, Duration::from_secs(45));
    assert_eq!(spec.health.timeout, Duration::from_secs(9));
    assert_eq!(spec.health.failure_threshold, 5);
    let message =
        refused(&[("KEEPER_HEALTH_CHECK_ENABLED", "false"), ("KEEPER_PRUNE_EXTRA_INSTANCES", "true")]);
    assert!(message.contains("2 faults") && message.contains("observe_only"), "{message}");
    let message = refused(&[("HEALTH_CHECK_TIMEOUT", "5000"), ("KEEPER__HEALTH__TIMEOUT", "6s")]);
    assert!(message.contains("set twice: also by `HEALTH_CHECK_TIMEOUT`"), "{message}");
}

#[test]
fn no_message_holds_a_secret() {
    const CANARY: &str = "canary-7f3a9c";
    let url = format!("ftp://{CANARY}/x");
    let key = format!("{CANARY} with spaces");
    let message = refused(&[
        ("VAST_API_KEY", &key),
        ("SLACK_WEBHOOK_URL", &url),
        ("KEEPER__DEPLOY__SECRETS", CANARY),
        ("DISCORD_WEBHOOK_URL", CANARY),
    ]);
    assert!(!message.contains(CANARY), "{message}");
    assert!(message.contains("4 faults"), "{message}");
    let config = loaded(&[
        ("VAST_API_KEY", CANARY),
        ("SLACK_WEBHOOK_URL", &format!("https://hooks.slack.com/{CANARY}")),
    ]);
    let shown = format!("{config:?} {:?}", config.explain());
    assert!(!shown.contains(CANARY), "{shown}");
    assert_eq!(config.secrets.len(), 2);
}

#[test]
fn sinks_follow_from_their_urls() {
    let config = loaded(&[
        ("ALERT_WEBHOOK_URL", "https://discord.com/api/webhooks/1/x"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x"),
        ("DISCORD_WEBHOOK_URL", "http://127.0.0.1:9/d"),
    ]);
    let sinks: Vec<(&str, SinkKind)> =
        config.alerts.iter().map(|sink| (sink.name.as_str(), sink.kind)).collect();
    assert_eq!(
        sinks,
        [("slack", SinkKind::Slack), ("discord", SinkKind::Discord), ("webhook", SinkKind::Discord)]
    );
}

#[test]
fn a_secret_may_come_from_a_file_or_a_credential() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("vast_api_key"), "from-credential\n").unwrap();
    std::fs::write(folder.path().join("keeper_jwt_secret"), "from-directory").unwrap();
    std::fs::write(folder.path().join("keeper_ssh_key"), "key").unwrap();
    std::fs::write(folder.path().join("admin"), "from file\n").unwrap();
    let folder_text = folder.path().display().to_string();
    let admin = format!("{folder_text}/admin");
    let config = loaded(&[
        ("CREDENTIALS_DIRECTORY", &folder_text),
        ("ADMIN_CODE_FILE", &admin),
        ("KEEPER__DEPLOY__SECRETS", "JWT_SECRET"),
    ]);
    assert_eq!(config.deploy.env.get("JWT_SECRET").unwrap().expose_secret(), "from-directory");
    assert_eq!(config.ssh.key_file, folder.path().join("keeper_ssh_key"));
    assert_eq!(config.provider.api_key.unwrap().expose_secret(), "from-credential");
    assert_eq!(config.deploy.admin_code.unwrap().expose_secret(), "from file");
    let message = refused(&[("ADMIN_CODE", "x"), ("ADMIN_CODE_FILE", &admin)]);
    assert!(message.contains("set twice"), "{message}");
    let message = refused(&[("ADMIN_CODE_FILE", "/nonexistent/code")]);
    assert!(message.contains("the file /nonexistent/code: No such file"), "{message}");
}

#[test]
fn what_changed_is_told_with_what_needs_a_restart() {
    let before = loaded(&[("VAST_API_KEY", "one"), ("HEALTH_CHECK_INTERVAL", "60")]);
    let after =
        loaded(&[("VAST_API_KEY", "two"), ("HEALTH_CHECK_INTERVAL", "30"), ("KEEPER__FLEET__NAME", "prod")]);
    let told: Vec<(String, Option<String>, bool)> = changes(&before, &after)
        .into_iter()
        .map(|change| (change.key, change.after, change.needs_restart))
        .collect();
    assert_eq!(
        told,
        [
            ("fleet.name".into(), Some("\"prod\"".into()), true),
            ("health.interval".into(), Some("30s".into()), false),
            ("provider.api_key".into(), Some("***".into()), true),
        ]
    );
    assert_eq!(changes(&before, &before), []);
}

#[test]
fn speeds_that_only_a_simulator_bears_are_refused_at_the_real_provider() {
    let quick = [
        ("KEEPER__INVENTORY__SETTLE", "1s"),
        ("KEEPER__PROVIDER__PACING", "0"),
        ("KEEPER__RENTAL__ALLOW_PRIVATE_ADDRESSES", "true"),
    ];
    let message = refused(&quick);
    assert!(message.contains("3 faults"), "{message}");
    let config = loaded(&[&quick[..], &[("VAST_URL", "http://127.0.0.1:8099")]].concat());
    assert_eq!(config.policy.inventory.settle, Duration::from_secs(1));
}

#[test]
fn to_run_secrets_and_files_must_be_there_and_to_talk_they_need_not() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("id").display().to_string();
    let environment = [
        ("SSH_KEY_PATH", missing.as_str()),
        ("KEEPER__DEPLOY__SECRETS", "JWT_SECRET"),
        ("KEEPER__DEPLOY__FILE", "/nonexistent/server"),
    ];
    assert!(load(&with_home(&environment)).is_ok());
    let to_run = |environment: &[(&str, &str)]| Sources { need: Need::Run, ..with_home(environment) };
    let message = load(&to_run(&environment)).unwrap_err().to_string();
    for told in [
        "`provider.api_key`: is missing",
        "id: No such file",
        "the secret `JWT_SECRET` is set nowhere",
        "/nonexistent/server is not a file",
    ] {
        assert!(message.contains(told), "{told}: {message}");
    }
    assert!(message.starts_with("the configuration has 4 faults"), "{message}");
    // A key that ssh would refuse is refused before a box is rented for it.
    std::fs::write(&missing, "key").unwrap();
    let open = [("SSH_KEY_PATH", missing.as_str()), ("VAST_API_KEY", "k")];
    let set_mode = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&missing, permissions).unwrap();
    };
    set_mode(0o644);
    let message = load(&to_run(&open)).unwrap_err().to_string();
    assert!(message.contains("is open to others") && message.contains("hint: chmod 600"), "{message}");
    set_mode(0o600);
    let config = load(&to_run(&open)).unwrap();
    assert!(config.warnings.iter().any(|warning| warning.contains("no alert sink")), "{:?}", config.warnings);
}

#[test]
fn sources_win_in_their_order_and_each_value_knows_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let every = "[health]\ninterval = \"11s\"\n[rails]\nattempts = 1\nnode_creates = 1\nfleet_daily = \
     41\nfleet_hourly = 13\n";
    let config_file = Some(write("keeper.toml", every));
    write(
        "night.toml",
        "[rails]\nattempts = 2\nnode_creates = 2\nfleet_daily = 42\n[deploy.env]\nA = \"profile\"\nB = \
         \"profile\"\n",
    );
    let env_file = Some(write(
        ".env",
        "KEEPER__RAILS__ATTEMPTS=3\n\nKEEPER__RAILS__NODE_CREATES=3\nKEEPER__DEPLOY__ENV__B=env\nKEEPER_PROFILE=night\n",
    ));
    let flags = BTreeMap::from([("rails.attempts".to_string(), "5".to_string())]);
    let environment = with_home(&[("KEEPER__RAILS__ATTEMPTS", "4")]).environment;
    let sources = Sources { config_file, env_file, flags, environment, need: Need::Talk, profile: None };
    let config = load(&sources).unwrap();
    assert_eq!(config.profile.as_deref(), Some("night"));
    let rails = &config.policy.rails;
    assert_eq!((rails.attempts, rails.node_creates, rails.fleet_daily, rails.fleet_hourly), (5, 3, 42, 13));
    let values: Vec<&str> = config.deploy.env.values().map(|value| value.expose_secret()).collect();
    assert_eq!(values, ["profile", "env"], "tables are merged name by name");
    let source = |key: &str| {
        let explained = config.explain().iter().find(|explained| explained.key == key).unwrap();
        explained.source.to_string().replace(&format!("{}/", folder.path().display()), "")
    };
    assert_eq!(source("rails.attempts"), "--set");
    assert_eq!(source("rails.node_creates"), ".env:3 (KEEPER__RAILS__NODE_CREATES)");
    assert_eq!(source("rails.fleet_daily"), "night.toml:4");
    assert_eq!(source("rails.fleet_hourly"), "keeper.toml:7");
    assert_eq!(source("rails.backoff"), "built-in");
}

#[test]
fn a_section_that_is_no_table_does_not_silently_keep_its_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keeper.toml");
    std::fs::write(&path, "health = 5\n[[group]]\nname = \"duel\"\noffers = \"cheap\"\n").unwrap();
    let sources = Sources { config_file: Some(path), ..with_home(&[]) };
    let message = load(&sources).unwrap_err().to_string();
    assert!(message.contains(":1: `health`: must be a table"), "{message}");
    assert!(message.contains(":4: `group[0].offers`: must be a table"), "{message}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(100))]

    #[test]
    fn no_file_makes_it_panic(lines in proptest::collection::vec("[a-z\\[\\]=.\" 0-9{}_#]{0,30}", 0..8)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let _ = load(&Sources { config_file: Some(path.clone()), ..with_home(&[]) });
        let _ = load(&Sources { env_file: Some(path), ..with_home(&[]) });
    }

    #[test]
    fn no_value_of_any_key_makes_it_panic(index in 0_usize..200, value in "\\PC{0,20}") {
        let key = keys::all().nth(index % keys::all().count()).unwrap();
        let _ = load(&with_home(&[(&key.variable(), &value)]));
    }
}

#[test]
fn a_quote_that_is_not_closed_swallows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    std::fs::write(&path, "VAST_IMAGE=a\nVAST_SEARCH_QUERY='num_gpus=1\nVAST_API_KEY=canary-3f9a71\n'\n")
        .unwrap();
    let told = load(&Sources { env_file: Some(path.clone()), ..with_home(&[]) }).unwrap_err().to_string();
    assert!(!told.contains("canary"), "{told}");
    assert!(told.contains(":2 (VAST_SEARCH_QUERY)") && told.contains("`VAST_API_KEY=`"), "{told}");
    // What only a sink's `url` names is known as a secret to nobody yet.
    std::fs::write(&path, "VAST_DISK_GB='80\nOPS_SLACK_URL=https://hooks.example/canary-3f9a71\n'\n")
        .unwrap();
    let told = load(&Sources { env_file: Some(path.clone()), ..with_home(&[]) }).unwrap_err().to_string();
    assert!(!told.contains("canary") && told.contains("`OPS_SLACK_URL=`"), "{told}");
    // A script over several lines is a value like any other.
    std::fs::write(&path, "KEEPER__RENTAL__ONSTART='touch a\nLEVEL=2\nexport B=1'\n").unwrap();
    let config = load(&Sources { env_file: Some(path), ..with_home(&[]) }).unwrap();
    let onstart = config.explain().iter().find(|explained| explained.key == "rental.onstart").cloned();
    assert_eq!(onstart.unwrap().value.as_deref(), Some(r#""touch a\nLEVEL=2\nexport B=1""#));
}
