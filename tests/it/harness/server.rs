//! The bundled server that is deployed, built once per run by the cargo that built this test, so that it is never stale.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
    // …/<target>/<profile>/vast-keeper
    let target = Path::new(env!("CARGO_BIN_EXE_vast-keeper")).ancestors().nth(2).unwrap();
    let built = Command::new(env!("CARGO"))
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
