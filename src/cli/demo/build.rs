//! Builds the bundled server, in sight: cargo's own progress goes to stderr.
//!
//! Cargo runs in a process group of its own and keeps its scratch files in the demo's folder, so that an interrupted build
//! leaves neither compilers nor files behind.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use super::{
    Narrator,
    interrupts::{Interrupts, interrupted},
    stage::{broken, require},
};
use crate::{
    cli::exit::{self, Failure},
    clock::Clock,
    deploy::{Artifact, ArtifactSource},
};

/// How long compilers that were told to end are waited for before they are killed, and how often they are looked at.
const END_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The bundled server, from the workspace this program was built from or is run in.
pub(super) async fn server(
    scratch: &Path,
    narrator: &mut Narrator,
    interrupts: &mut Interrupts,
) -> Result<PathBuf, Failure> {
    let here = [PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from(".")];
    let Some(workspace) =
        here.into_iter().find(|folder| folder.join("crates/duel-server/Cargo.toml").is_file())
    else {
        let failure = Failure::new(exit::USAGE, "the sources of the bundled server are not here");
        return Err(failure.hint("run the demo in a clone of the repository"));
    };
    require("cargo", "install Rust from https://rustup.rs, the demo builds the bundled server with it")?;
    narrator.say("building the bundled server: cargo build --release -p duel-server");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "-p", "duel-server", "--bin", "duel-server"]);
    cargo.current_dir(&workspace).env("TMPDIR", scratch).stdin(Stdio::null()).stdout(Stdio::null());
    let mut cargo =
        cargo.process_group(0).kill_on_drop(true).spawn().map_err(|fault| broken("run cargo", &fault))?;
    let ended = tokio::select! {
        ended = cargo.wait() => ended.map_err(|fault| broken("wait for cargo", &fault))?,
        () = interrupts.next() => {
            end(&mut cargo).await;
            return Err(interrupted());
        }
    };
    if !ended.success() {
        let message = "the bundled server cannot be built; cargo's words are above";
        return Err(Failure::new(exit::BUG, message));
    }
    let source = ArtifactSource::Build {
        workspace,
        package: "duel-server".into(),
        profile: "release".into(),
        portable: false,
    };
    // Nothing is left to build; cargo only tells where the file is.
    let built =
        Artifact::prepare(&source).await.map_err(|fault| broken("take the bundled server", &fault))?;
    Ok(built.path)
}

/// Ends cargo and every compiler it started.
async fn end(cargo: &mut Child) {
    let group = cargo.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let Some(group) = group else { return };
    let _ = kill_process_group(group, Signal::TERM);
    let clock = Clock::new();
    let end = clock.now().after(END_WITHIN);
    // Nobody is left once there is no such group; cargo itself must be reaped for that.
    while !matches!(cargo.try_wait(), Ok(Some(_))) || test_kill_process_group(group).is_ok() {
        if clock.now() > end {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = cargo.wait().await;
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}
