//! One command of the real binary, run to its end.

use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::process::Pid;
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
        finish(self.command(words)).await
    }

    /// The same, begun and not waited for.
    fn begin(&self, words: &[&str]) -> Begun {
        let mut command = tokio::process::Command::from(self.command(words));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
        Begun { child: child.unwrap() }
    }

    fn command(&self, words: &[&str]) -> Command {
        self.settings().write();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vast-keeper"));
        command
            .args(words_before(words))
            .args(self.settings().arguments())
            .args(words_after(words))
            .current_dir(&self.settings().scratch)
            .env_clear()
            .envs(&self.settings().environment)
            .stdin(Stdio::null());
        command
    }
}

/// What follows `--` belongs to somebody else and comes last.
fn split(words: &[&str]) -> usize {
    words.iter().position(|word| *word == "--").unwrap_or(words.len())
}

fn words_before<'a>(words: &'a [&'a str]) -> &'a [&'a str] {
    &words[..split(words)]
}

fn words_after<'a>(words: &'a [&'a str]) -> &'a [&'a str] {
    &words[split(words)..]
}

/// A command under way; killed when dropped.
pub struct Begun {
    child: tokio::process::Child,
}

impl Begun {
    pub fn pid(&self) -> Pid {
        let id = self.child.id().expect("it has ended");
        Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
    }

    /// Its end.
    pub async fn ended(self) -> Ended {
        let output = tokio::time::timeout(LONGEST, self.child.wait_with_output()).await;
        output.expect("a command hangs").unwrap().into()
    }
}

/// Runs a command to its end, at most [`LONGEST`].
pub async fn finish(command: Command) -> Ended {
    finish_within(LONGEST, command).await
}

/// Runs a command to its end, at most so long.
pub async fn finish_within(longest: Duration, command: Command) -> Ended {
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let output = tokio::time::timeout(longest, command.output()).await;
    output.expect("a command hangs").unwrap().into()
}

impl Run for Fleet {
    fn settings(&self) -> &Settings {
        &self.settings
    }
}
