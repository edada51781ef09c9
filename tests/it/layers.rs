//! Who may know whom. Reads the keeper's sources and fails on a forbidden `use`.
//!
//! `fleet` is the pure core and knows nobody; an edge knows `fleet`, leaves and third parties, never the engine, never another
//! edge (`deploy` may know `remote` and `maintenance`); only `cli` prints and only `main` exits, which clippy enforces.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each room and the rooms it may name.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("fleet", &[] as &[_]),
        ("clock", &["fleet"]),
        ("retry", &["fleet"]),
        ("telemetry", &[]),
        ("systemd", &[]),
        ("crash", &[]),
        ("file_lock", &[]),
        ("store", &["fleet", "crash", "file_lock"]),
        ("vast", &["fleet", "clock", "crash", "retry"]),
        ("remote", &["fleet", "clock", "crash", "retry"]),
        ("probe", &["fleet", "clock"]),
        ("maintenance", &["fleet", "clock"]),
        ("deploy", &["fleet", "clock", "crash", "file_lock", "retry", "remote", "maintenance"]),
        ("alerts", &["fleet", "clock", "retry"]),
        ("metrics", &["fleet"]),
        ("http", &["fleet", "clock", "metrics"]),
        ("config", &["fleet"]),
        (
            "engine",
            &[
                "fleet", "clock", "crash", "retry", "metrics", "store", "vast", "remote", "probe", "deploy",
                "alerts",
            ],
        ),
        (
            "daemon",
            &[
                "fleet",
                "clock",
                "crash",
                "metrics",
                "store",
                "vast",
                "remote",
                "probe",
                "deploy",
                "alerts",
                "http",
                "config",
                "engine",
                "systemd",
                "telemetry",
            ],
        ),
        ("world", &["fleet"]),
        (
            "cli",
            &[
                "fleet",
                "clock",
                "crash",
                "file_lock",
                "store",
                "vast",
                "remote",
                "maintenance",
                "deploy",
                "config",
                "engine",
                "daemon",
                "telemetry",
                "world",
            ],
        ),
    ])
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

/// The part of a file that ships: tests may reach further.
fn shipped(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |at| text.get(..at).unwrap_or(text))
}

/// Rooms named as `crate::room` in a text, in braces too; comments are left out.
fn named(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let word =
        |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut rooms = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        let rest = code.get(at + found.len()..).unwrap_or_default();
        let Some(list) = rest.strip_prefix('{') else {
            rooms.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut fresh = true;
        for (offset, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                c if fresh && depth == 0 && c.is_alphabetic() => {
                    rooms.insert(word(list.get(offset..).unwrap_or_default()));
                    fresh = false;
                }
                _ => {}
            }
        }
    }
    rooms
}

#[test]
fn every_room_knows_only_whom_it_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed = allowed();
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 60, "the sources are not where this test looks: {} files", files.len());
    let mut faults = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let room = first.trim_end_matches(".rs").to_owned();
        let is_test = inside.to_string_lossy().contains("tests") || inside.ends_with("fakes.rs");
        if matches!(room.as_str(), "main" | "lib") || is_test {
            continue;
        }
        let Some(may) = allowed.get(room.as_str()) else {
            faults.push(format!("room `{room}` is not in the table"));
            continue;
        };
        for other in named(shipped(&fs::read_to_string(&file).unwrap())) {
            if other != room && allowed.contains_key(other.as_str()) && !may.contains(&other.as_str()) {
                faults.push(format!("{} names `{other}`", inside.display()));
            }
        }
    }
    assert!(faults.is_empty(), "forbidden:\n{}", faults.join("\n"));
}

#[test]
fn the_core_is_pure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fleet");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let forbidden = [
        "tokio::",
        "std::fs",
        "std::net::Tcp",
        "async fn",
        ".await",
        "Instant::now",
        "SystemTime",
        "tracing::",
        "fastrand::u",
        "fastrand::f",
        "fastrand::Rng::new",
        "HashMap",
    ];
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| !file.to_string_lossy().contains("tests")) {
        let text = fs::read_to_string(file).unwrap();
        for (number, line) in shipped(&text).lines().enumerate() {
            let code = line.trim_start();
            if code.starts_with("//") {
                continue;
            }
            for word in forbidden.iter().filter(|word| code.contains(**word)) {
                faults.push(format!("{}:{}: `{word}`", file.display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "not pure:\n{}", faults.join("\n"));
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let text = "use crate::{\n    clock::Clock,\n    fleet::{a, b::{c, d}},\n    vast,\n};\nuse crate::store::Store;\n// crate::engine\n";
    let seen: Vec<String> = named(text).into_iter().collect();
    assert_eq!(seen, ["clock", "fleet", "store", "vast"]);
}
