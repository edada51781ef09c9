//! One command of the real binary, run to its end.

use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{Fleet, Settings};

/// No command of a test takes longer; the longest is the whole demo, which may have to build the server first.
const LONGEST: Duration = Duration::from_secs(360);

/// How a command ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|fault| panic!("{fault}: {}{}", self.stdout, self.stderr))
    }

    /// Everything it said.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.said());
        self
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Something with settings that can run commands.
pub trait Run {
    fn settings(&self) -> &Settings;

    /// Runs `vast-keeper <words> --config … --set …` with the fleet's environment.
    async fn cli(&self, words: &[&str]) -> Ended {
        self.settings().write();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vast-keeper"));
        command
            .args(words)
            .args(self.settings().arguments())
            .current_dir(&self.settings().scratch)
            .env_clear()
            .envs(&self.settings().environment)
            .stdin(Stdio::null());
        finish(command).await
    }
}

/// Runs a command to its end, at most [`LONGEST`].
pub async fn finish(command: Command) -> Ended {
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let output = tokio::time::timeout(LONGEST, command.output()).await;
    output.expect("a command hangs").unwrap().into()
}

impl Run for Fleet {
    fn settings(&self) -> &Settings {
        &self.settings
    }
}
