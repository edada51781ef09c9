//! Commands of the configuration's on the box: dumps, migrations, builds. They run apart from the connection, with the settings
//! that the server gets, within a limit of their own.
//!
//! A connection that is cut costs a repeated look, and a keeper that dies leaves a command that ends by itself: whoever comes
//! next waits for it before anything is begun anew, so that two migrations or two dumps never run at once.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    env_file::mask,
    fault::DeployFault,
    gate::BOX_WORDS,
    request::{StepPhase, StepReport},
    run::{Run, script},
    step::Step,
};

/// How long one look waits for the end.
const LOOK_S: u64 = 15;
/// What `timeout` and the last look need beyond the limit.
const SLACK: Duration = Duration::from_secs(30);
/// Lines of its output in a fault.
const LOG_LINES: usize = 8;

/// A command and what it is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    /// What it is, in one word that is a folder's name; one of each runs at a time.
    pub slot: &'a str,
    /// For `sh`.
    pub command: &'a str,
    /// Whose settings it gets; nothing for none.
    pub release: &'a str,
    /// Where it runs, relative to the keeper's folder on the box.
    pub place: &'a str,
    /// How long it may take.
    pub limit: Duration,
    /// A file for its standard input, relative to the keeper's folder; nothing for none.
    pub input: &'a str,
    /// A file for its standard output; nothing puts it with its errors.
    pub output: &'a str,
}

impl<'a> Job<'a> {
    /// A command that reads nothing, in the server's own folder.
    pub(super) fn new(slot: &'a str, command: &'a str, release: &'a str, limit: Duration) -> Self {
        Self { slot, command, release, place: "data", limit, input: "", output: "" }
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its exit code; 128 + n for a signal, 124 for its limit.
    pub rc: i32,
    /// The end of what it wrote, at most 200 000 bytes.
    pub log: String,
}

impl Ended {
    /// What became of a command that should have succeeded, with the end of what it wrote.
    pub(super) fn good(self, what: &str, run: &Run<'_>) -> Result<String, DeployFault> {
        if self.rc == 0 {
            return Ok(self.log);
        }
        let lower = self.log.to_lowercase();
        // A signal, the limit, or words about the machine: the box. Anything else would fail elsewhere too.
        let blames_box =
            self.rc >= 128 || self.rc == 124 || BOX_WORDS.iter().any(|word| lower.contains(word));
        let words = self.words(what, run);
        Err(if blames_box { DeployFault::Box(words) } else { DeployFault::Release(words) })
    }

    /// How it ended, in words.
    pub(super) fn words(&self, what: &str, run: &Run<'_>) -> String {
        let how = match self.rc {
            124 => "did not end in time".to_owned(),
            137 => "was killed (out of memory, perhaps)".to_owned(),
            rc => format!("failed with code {rc}"),
        };
        let log = mask(&self.log, run.secrets);
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("; ");
        let tail: String = tail.chars().filter(|c| !c.is_control()).take(800).collect();
        format!("{what} {how}; it wrote: {tail}")
    }
}

impl Run<'_> {
    /// Runs a command to its end, over as many connections as that takes.
    pub(super) async fn job(&mut self, step: Step, job: &Job<'_>) -> Result<Ended, DeployFault> {
        let token = format!("{:016x}", fastrand::u64(..));
        let began = Instant::now();
        let mut told = String::new();
        loop {
            let script = script!("job.sh")
                .value("slot", job.slot)
                .value("token", token.as_str())
                .value("command", job.command)
                .value("release", job.release)
                .value("place", job.place)
                .value("limit", job.limit.as_secs().max(1).to_string())
                .value("wait", LOOK_S.to_string())
                .value("input", job.input)
                .value("output", job.output);
            let output = self.script(step, script, b"").await?.stdout;
            let (head, log) = output.split_once("\nlog\n").unwrap_or((&output, ""));
            let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
            if let Some(rc) = field("rc=") {
                return Ok(Ended { rc: rc.trim().parse().unwrap_or(137), log: log.trim_end().to_owned() });
            }
            let busy = field("state=") == Some("busy");
            // An earlier one has its own limit, which is not known here: the deploy's deadline ends the wait for it.
            if !busy && began.elapsed() > job.limit + SLACK {
                return Err(DeployFault::Box(format!("the command `{}` does not end", job.slot)));
            }
            let last = if busy {
                "waiting for an earlier one to end"
            } else {
                log.lines().last().unwrap_or_default()
            };
            if last != told {
                told = last.to_owned();
                self.going(step, began.elapsed(), &told);
            }
        }
    }

    /// Shows how far a step is.
    pub(super) fn going(&self, step: Step, took: Duration, words: &str) {
        let detail = mask(words, self.secrets).chars().filter(|c| !c.is_control()).take(160).collect();
        // A reader that lags misses a line; it must not hold the deploy up.
        let _ = self.progress.try_send(StepReport { step, phase: StepPhase::Going, took, detail });
    }
}
