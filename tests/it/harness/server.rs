//! What is deployed: the bundled server, built once per run by the cargo that built this test, so that it is never stale; or a
//! small one where the server is not the story.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
    build(&["--release", "-p", "duel-server", "--bin", "duel-server"]).join("release/duel-server")
});

/// The server's binary.
pub fn server_binary() -> &'static Path {
    &BINARY
}

static SMALL: LazyLock<PathBuf> = LazyLock::new(|| build_small("aaaa111", ""));
static NEXT: LazyLock<PathBuf> = LazyLock::new(|| build_small("bbbb222", ""));
static CRASHING: LazyLock<PathBuf> = LazyLock::new(|| build_small("cccc333", "crash"));
static SICK: LazyLock<PathBuf> = LazyLock::new(|| build_small("dddd444", "sick"));

static TIRING: LazyLock<PathBuf> = LazyLock::new(|| build_small("eeee555", "tire"));
static PICKY: LazyLock<PathBuf> = LazyLock::new(|| build_small("ffff666", "picky"));

fn build_small(commit: &str, mode: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("small-server-{commit}"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/deployed_server.rs");
    let options =
        ["--edition", "2024", "-C", "strip=symbols", "-C", "opt-level=s", "-C", "panic=abort", "-o"];
    let mut rustc = Command::new("rustc");
    rustc.args(options).arg(&path).arg(source).env("FIXTURE_COMMIT", commit).env("FIXTURE_MODE", mode);
    assert!(rustc.status().unwrap().success());
    path
}

/// A server of a few hundred kilobytes that answers `/health` as ours does.
pub fn small_server() -> &'static Path {
    &SMALL
}

/// The release that follows [`small_server`].
pub fn next_server() -> &'static Path {
    &NEXT
}

/// A release that ends as soon as it is started, whatever its settings.
pub fn crashing_server() -> &'static Path {
    &CRASHING
}

/// A release that runs and says that it is not well.
pub fn sick_server() -> &'static Path {
    &SICK
}

/// A release that does well for a while, and then does not.
pub fn tiring_server() -> &'static Path {
    &TIRING
}

/// A release that ends where it finds a file `poison` in its folder.
pub fn picky_server() -> &'static Path {
    &PICKY
}

/// An example's binary, built when it is asked for.
pub fn example(name: &str) -> PathBuf {
    build(&["--example", name]).join("debug/examples").join(name)
}

/// Builds with the cargo that built this test, and returns the target folder.
fn build(what: &[&str]) -> &'static Path {
    // …/<target>/<profile>/vast-keeper
    let target = Path::new(env!("CARGO_BIN_EXE_vast-keeper")).ancestors().nth(2).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    // Build scripts watch what cargo tells this test of its own package; with it everything would be built anew.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|told| name.starts_with(told))
        {
            cargo.env_remove(name.as_ref());
        }
    }
    cargo.args(["build", "--quiet"]).args(what).arg("--target-dir").arg(target);
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target
}
