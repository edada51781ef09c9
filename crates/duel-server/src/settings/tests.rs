//! What settings are accepted, and what is said of those that are not.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Settings, Faults> {
    let map: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::read(|name| map.get(name).cloned())
}

#[test]
fn nothing_set_gives_the_documented_defaults() {
    let settings = read(&[]).expect("defaults");
    assert_eq!((settings.host.to_string().as_str(), settings.port), ("0.0.0.0", 5555));
    assert_eq!(settings.environment, Environment::Development);
    assert!(settings.rate_limited && !settings.maintenance_persist && !settings.log.json);
}

#[test]
fn production_names_every_missing_and_malformed_setting_at_once_without_secrets() {
    let faults = read(&[
        ("NODE_ENV", "production"),
        ("JWT_SECRET", "too-short-canary"),
        ("DATABASE_URL", "mysql://u:canary@db/duel"),
        ("PORT", "70000"),
        ("DISABLE_RATE_LIMIT", "true"),
    ])
    .expect_err("must be refused");
    let text = faults.to_string();
    for name in ["ADMIN_CODE", "JWT_SECRET", "DATABASE_URL", "PORT", "DISABLE_RATE_LIMIT"] {
        assert!(text.contains(name), "{name} missing in: {text}");
    }
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let faults = read(&[("NODE_ENV", "staging"), ("ADMIN_CODE", ""), ("JWT_SECRET", "")]);
    let text = faults.expect_err("must be refused").to_string();
    assert!(text.contains("ADMIN_CODE") && text.contains("JWT_SECRET"), "{text}");
}

#[test]
fn origins_are_normalised_and_paths_refused() {
    let settings = read(&[("CORS_ORIGINS", "https://Duel.example, http://localhost:3000")]).expect("valid");
    let origins: Vec<&str> = settings.cors_origins.iter().map(String::as_str).collect();
    assert_eq!(origins, ["http://localhost:3000", "https://duel.example"]);
    assert!(read(&[("CORS_ORIGINS", "https://duel.example/path")]).is_err());
    assert!(read(&[("CORS_ORIGINS", "*")]).is_err());
}

#[test]
fn an_old_signing_key_needs_its_end() {
    let old = "0123456789abcdef0123456789abcdef";
    assert!(read(&[("JWT_SECRET_PREVIOUS", old)]).is_err());
    let until = ("JWT_PREVIOUS_VALID_UNTIL", "2030-01-01T00:00:00Z");
    assert!(read(&[("JWT_SECRET_PREVIOUS", old), until]).expect("valid").tokens.previous.is_some());
}

proptest! {
    #[test]
    fn no_environment_panics_and_no_fault_quotes_a_value(
        name in prop::sample::select(VARIABLES), value in "\\PC{0,40}|canary[0-9:/@.]{0,20}"
    ) {
        if let Err(faults) = read(&[(name, &value)]) {
            prop_assert!(!faults.to_string().contains("canary"), "{}", faults);
        }
    }
}

const VARIABLES: &[&str] = &[
    "NODE_ENV",
    "HOST",
    "PORT",
    "INSTANCE_ID",
    "DATABASE_URL",
    "DATA_DIR",
    "ADMIN_CODE",
    "JWT_SECRET",
    "JWT_SECRET_PREVIOUS",
    "JWT_PREVIOUS_VALID_UNTIL",
    "DRAIN_TIMEOUT_MS",
    "CORS_ORIGINS",
    "DUEL_SEED",
    "DUEL_FIGHT_MS",
    "DUEL_SETTLEMENT_MS",
    "STARTING_BALANCE_CENTS",
    "MAINTENANCE_PERSIST",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "ALERT_WEBHOOK_URL",
    "ALERT_WEBHOOK_KIND",
    "TWITCH_RTMP_URL",
    "TWITCH_STREAM_KEY",
    "X_STREAM_KEY",
    "FFMPEG_PATH",
    "CDP_STALL_THRESHOLD",
    "STREAMING_PUBLIC_DELAY_MS",
];
