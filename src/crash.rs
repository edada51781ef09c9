//! Points at which a test ends the process as a power cut would: SIGKILL, with no goodbye and no destructor.
//!
//! Each point lies at a boundary between what is decided, what is durable and what was sent. [`Point::ALL`] names them; the
//! crash tests die at every one, with `CRASH_PAIRS=all` at every ordered pair, and then ask the provider's own record whether
//! anything was leaked, rented twice or wrongly destroyed. Points that could not be told apart from outside are named once: between the commit of
//! an intent and the send of its create nothing else happens, so the send stands for both.
//!
//! Armed by a file, so that a test can choose the moment: [`FILE_VARIABLE`] names it, and it holds a point's name and the passing
//! at which to die (`sending:create 1`), or to be stopped instead, as a suspended machine is (`sending:create 1 stop`). Only builds with debug assertions look; a release passes every point without a thought.
//!
//! Deliberately absent: loss of what was written and not synced. A kill does not lose it; the store's `synchronous=FULL` is
//! about that.

use std::fmt;

/// Names the file that arms a point, in builds with debug assertions.
pub const FILE_VARIABLE: &str = "VAST_KEEPER_CRASH_FILE";

/// A boundary where the process may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The journal is open and folded; nothing was decided yet.
    Opened,
    /// A record of this kind is decided, and not durable.
    Deciding(&'static str),
    /// Rows are written inside a transaction that is not committed.
    InCommit,
    /// A record of this kind is durable, and nothing that follows from it was done.
    Durable(&'static str),
    /// A call to the provider is ready and not sent.
    Sending(&'static str),
    /// A call was answered, and the answer is known to nobody else.
    Answered(&'static str),
    /// A box has accepted our key; its host key is not pinned yet.
    Authenticated,
    /// A script was sent to a box, where it runs.
    ScriptSent,
    /// Part of the artifact was sent.
    Uploading,
    /// Part of the artifact was fetched from where it is kept.
    Fetching,
    /// The whole artifact was fetched, and it has not its name yet.
    Fetched,
    /// The box, or the server on it, has what a step asks of it, and nobody here knows yet what became of it.
    InStep(&'static str),
    /// A step of a deploy is done.
    Deployed(&'static str),
    /// This is on record of a rollout, and nothing that follows from it was done.
    Rollout(&'static str),
    /// A notice is ready and not sent.
    NoticeSending,
    /// A sink took a notice, and that is not on record.
    NoticeTaken,
    /// The keeper was told to stop.
    Stopping,
    /// The last snapshot is stored, and the store still open.
    Stopped,
}

impl Point {
    /// Every point that a replacement of a box, a start and a stop pass. Of records, calls and steps those are left out that
    /// share their boundary with another one named here. Those that only a box with a server on it passes are died at by the
    /// tests of deploys.
    pub const ALL: &[Self] = &[
        Self::Opened,
        Self::Durable("booted"),
        Self::Answered("list"),
        Self::Durable("incident-opened"),
        Self::Deciding("doomed"),
        Self::InCommit,
        Self::Sending("destroy"),
        Self::Answered("destroy"),
        Self::Durable("destroy-acknowledged"),
        Self::Answered("search"),
        Self::Sending("create"),
        Self::Answered("create"),
        Self::Durable("created"),
        Self::Sending("attach-key"),
        Self::Durable("gone"),
        Self::Durable("instance-up"),
        Self::Authenticated,
        Self::ScriptSent,
        Self::Uploading,
        Self::Deployed("upload"),
        Self::Deployed("verify"),
        Self::Deployed("seal"),
        Self::Deployed("configure"),
        Self::Deployed("switch"),
        Self::Deployed("start"),
        Self::Deployed("gate"),
        Self::Deployed("confirm"),
        Self::Durable("deployed"),
        Self::Deciding("adopted"),
        Self::Durable("adopted"),
        Self::NoticeSending,
        Self::NoticeTaken,
        Self::Stopping,
        Self::Stopped,
    ];
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened => f.write_str("opened"),
            Self::Deciding(kind) => write!(f, "deciding:{kind}"),
            Self::InCommit => f.write_str("in-commit"),
            Self::Durable(kind) => write!(f, "durable:{kind}"),
            Self::Sending(call) => write!(f, "sending:{call}"),
            Self::Answered(call) => write!(f, "answered:{call}"),
            Self::Authenticated => f.write_str("authenticated"),
            Self::ScriptSent => f.write_str("script-sent"),
            Self::Uploading => f.write_str("uploading"),
            Self::Fetching => f.write_str("fetching"),
            Self::Fetched => f.write_str("fetched"),
            Self::InStep(step) => write!(f, "in-step:{step}"),
            Self::Deployed(step) => write!(f, "step-done:{step}"),
            Self::Rollout(happened) => write!(f, "rollout:{happened}"),
            Self::NoticeSending => f.write_str("notice-sending"),
            Self::NoticeTaken => f.write_str("notice-taken"),
            Self::Stopping => f.write_str("stopping"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// Passes a point, or dies there.
#[cfg(not(debug_assertions))]
pub(crate) fn at(_: Point) {}

/// Passes a point, or dies there.
#[cfg(debug_assertions)]
pub(crate) fn at(point: Point) {
    use std::{
        path::PathBuf,
        sync::{LazyLock, Mutex, PoisonError},
    };

    use rustix::process::{Signal, getpid, kill_process};

    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os(FILE_VARIABLE).map(PathBuf::from));
    /// What armed us, and how often its point was passed since.
    static PASSED: Mutex<(String, u32)> = Mutex::new((String::new(), 0));

    let Some(armed) = FILE.as_ref().and_then(|file| std::fs::read_to_string(file).ok()) else { return };
    let mut words = armed.split_whitespace();
    let (Some(name), Some(passing)) = (words.next(), words.next()) else { return };
    let signal = if words.next() == Some("stop") { Signal::STOP } else { Signal::KILL };
    if name != point.to_string() {
        return;
    }
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    if passed.0 != armed {
        *passed = (armed.clone(), 0);
    }
    passed.1 += 1;
    if passing.parse() == Ok(passed.1) {
        let _ = kill_process(getpid(), signal);
        // It is the process that is signalled, and another of its threads may take it: nothing may go on here until then.
        #[expect(clippy::disallowed_methods, reason = "a seam of tests; this thread must not go on")]
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own_in_one_word() {
        let names: BTreeSet<String> = Point::ALL.iter().map(Point::to_string).collect();
        assert_eq!(names.len(), Point::ALL.len());
        assert!(names.iter().all(|name| !name.contains(' ')), "{names:?}");
    }
}
