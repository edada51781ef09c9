//! Kills all boxes when the simulator itself dies without a word (SIGKILL, power button of a test runner).
//!
//! A shell waits on a pipe whose other end only the simulator holds. When that end closes, for whatever reason, the
//! shell kills every process that carries the simulator's mark and removes the boxes' folders. It runs in its own
//! process group, so that a Ctrl-C meant for the simulator does not end it first.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::process::MARK;

/// The word that a simulator in good order says at its end: nothing is left to do.
const ALL_CLEAN: &[u8] = b"clean\n";

/// `$1` is the mark, `$2` the folder to remove. Five rounds catch what was being forked meanwhile.
const SCRIPT: &str = r#"
read -r word && [ "$word" = clean ] && exit 0
for round in 1 2 3 4 5; do
  for environ in $(grep -ls "$1/" /proc/[0-9]*/environ); do
    pid=${environ#/proc/}
    kill -s KILL "${pid%/environ}" 2>/dev/null
  done
done
rm -rf -- "$2"
"#;

/// The waiting shell.
#[derive(Debug)]
pub(crate) struct Guardian {
    shell: Child,
}

impl Guardian {
    /// Starts it. `whole` removes the root folder too: it is a temporary one.
    pub(crate) fn start(sim_id: &str, root: &Path, whole: bool) -> io::Result<Self> {
        let folder = if whole { root.to_owned() } else { root.join("boxes") };
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "vast-sim-guardian", &format!("{MARK}={sim_id}")])
            .arg(folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Guardian { shell })
    }

    /// Ends it without work: the simulator has removed everything itself.
    pub(crate) fn dismiss(&mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            let _ = pipe.write_all(ALL_CLEAN);
        }
    }
}

impl Drop for Guardian {
    /// Undismissed, it does its work now.
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
