//! Bakes the commit and the build time into the binary.
//!
//! Why here: a deploy is proven by asking the running server which commit it is, so the answer must be part of
//! the artifact and not of the box. `BUILD_COMMIT` overrides the commit for builds outside a git checkout;
//! `SOURCE_DATE_EPOCH` fixes the build time for reproducible builds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BUILD_COMMIT");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rustc-env=DUEL_SERVER_COMMIT={}", commit());
    println!("cargo::rustc-env=DUEL_SERVER_BUILD_EPOCH={}", build_epoch_seconds());
}

fn commit() -> String {
    if let Some(given) = std::env::var("BUILD_COMMIT").ok().filter(|text| is_plain(text)) {
        return given;
    }
    watch_head();
    git(&["rev-parse", "HEAD"]).filter(|text| is_plain(text)).unwrap_or_else(|| "unknown".to_owned())
}

/// Rebuilds when HEAD moves or the branch it names gets a new commit, and only then.
fn watch_head() {
    watch(git_path("HEAD"));
    // Written on every commit and checkout, also where a packed branch becomes a loose file later.
    watch(git_path("logs/HEAD"));
    if let Some(branch) = git(&["symbolic-ref", "--quiet", "HEAD"]) {
        match git_path(&branch) {
            Some(loose) if loose.is_file() => watch(Some(loose)),
            _ => watch(git_path("packed-refs")),
        }
    }
}

fn watch(path: Option<PathBuf>) {
    // A path that does not exist would make cargo run this script on every build.
    if let Some(path) = path.filter(|path| path.is_file()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

fn git_path(name: &str) -> Option<PathBuf> {
    let printed = git(&["rev-parse", "--git-path", name])?;
    Some(Path::new(&std::env::var("CARGO_MANIFEST_DIR").ok()?).join(printed))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// A commit ends up in JSON, headers and file names: letters, digits and `._-` only.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a build script has no clock to be handed; the time is the build's"
)]
fn build_epoch_seconds() -> u64 {
    let fixed = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.trim().parse().ok());
    fixed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
    })
}
