//! Every dependency's licence is one that `.deny.toml` allows.

use std::{path::Path, process::Command};

/// Whether an SPDX expression can be satisfied by allowed licences alone. Knows `OR`, `AND`, parentheses, and the old `/`.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match words.last_mut() {
            // `X WITH Y` is one licence.
            Some(last) if word == "WITH" || last.ends_with(" WITH") => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    let mut at = 0;
    let result = either(&words, &mut at, allowed);
    assert_eq!(at, words.len(), "not an expression: {expression}");
    result
}

fn either(words: &[String], at: &mut usize, allowed: &[String]) -> bool {
    let mut result = both(words, at, allowed);
    while words.get(*at).is_some_and(|word| word == "OR") {
        *at += 1;
        result |= both(words, at, allowed);
    }
    result
}

fn both(words: &[String], at: &mut usize, allowed: &[String]) -> bool {
    let mut result = one(words, at, allowed);
    while words.get(*at).is_some_and(|word| word == "AND") {
        *at += 1;
        result &= one(words, at, allowed);
    }
    result
}

fn one(words: &[String], at: &mut usize, allowed: &[String]) -> bool {
    let word = words.get(*at).expect("an expression goes on");
    *at += 1;
    if word != "(" {
        return allowed.contains(word);
    }
    let result = either(words, at, allowed);
    assert_eq!(words.get(*at).map(String::as_str), Some(")"));
    *at += 1;
    result
}

#[test]
fn expressions_are_read_right() {
    let allowed = ["MIT".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
    for (expression, right) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT/GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR MIT) AND MIT", true),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ("GPL-3.0 WITH Classpath-exception-2.0", false),
    ] {
        assert_eq!(satisfied(expression, &allowed), right, "{expression}");
    }
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = std::fs::read_to_string(root.join(".deny.toml")).unwrap();
    let rules: toml_edit::DocumentMut = rules.parse().unwrap();
    let allowed: Vec<String> = rules["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "the dependencies are not where this test looks: {}", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(|licence| satisfied(licence, &allowed)))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "not allowed:\n{}", refused.join("\n"));
}
