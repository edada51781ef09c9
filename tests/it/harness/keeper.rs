//! The real binary as a child process.

use std::{
    fs::OpenOptions,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{settings::Settings, watch::eventually};

/// A running `vast-keeper run`; killed when dropped.
pub struct Keeper {
    child: Child,
}

impl Keeper {
    pub fn spawn(settings: &Settings, log: PathBuf) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vast-keeper"));
        command.arg("run").args(settings.arguments());
        Self::of(command, settings, log)
    }

    /// The same under a shell that first executes `words`, such as `trap '' XFSZ`, and then becomes the keeper.
    pub fn spawn_after(settings: &Settings, log: PathBuf, words: &str) -> Self {
        let mut command = Command::new("/bin/bash");
        command
            .arg("-c")
            .arg(format!("{words}; exec \"$0\" run \"$@\""))
            .arg(env!("CARGO_BIN_EXE_vast-keeper"))
            .args(settings.arguments());
        Self::of(command, settings, log)
    }

    /// The same as the last words of another command, such as `setpriv …`.
    pub fn spawn_under(settings: &Settings, log: PathBuf, prefix: &[&str]) -> Self {
        let [program, words @ ..] = prefix else { return Self::spawn(settings, log) };
        let mut command = Command::new(program);
        command.args(words).arg(env!("CARGO_BIN_EXE_vast-keeper")).arg("run").args(settings.arguments());
        Self::of(command, settings, log)
    }

    fn of(mut command: Command, settings: &Settings, log: PathBuf) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = command
            .current_dir(&settings.scratch)
            .env_clear()
            .envs(&settings.environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Sends a signal and waits for the end, at most `patience`.
    pub async fn end(mut self, signal: Signal, patience: Duration) -> ExitStatus {
        self.signal(signal);
        let child = &mut self.child;
        let mut status = None;
        eventually(&format!("the keeper ends by {signal:?}"), patience, async || {
            status = child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// SIGKILL: no goodbye.
    pub async fn kill(self) {
        // One that waits for its disk dies only when that answers.
        let status = self.end(Signal::KILL, Duration::from_secs(60)).await;
        assert_eq!(status.signal(), Some(9), "the keeper ended before it was killed: {status}");
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Killing what has ended already is no fault.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
