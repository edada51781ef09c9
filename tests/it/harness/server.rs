//! The bundled server that is deployed, built once per run by the cargo that built this test, so that it is never stale.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
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
    let built = cargo
        .args(["build", "--quiet", "--release", "-p", "duel-server", "--bin", "duel-server", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("release/duel-server")
});

/// The server's binary.
pub fn server_binary() -> &'static Path {
    &BINARY
}
