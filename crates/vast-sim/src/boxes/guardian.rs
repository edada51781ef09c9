//! Kills all boxes when the simulator itself dies without a word (SIGKILL, power button of a test runner).
//!
//! A shell waits on a pipe whose other end only the simulator holds. When that end closes, for whatever reason, the
//! shell kills every process that carries the simulator's mark and removes the boxes' folders. It runs in its own
//! process group, so that a Ctrl-C meant for the simulator does not end it first.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::process::MARK;

/// `$1` is the mark, `$2` the folder to remove. Five rounds catch what was being forked meanwhile.
const SCRIPT: &str = r#"
cat >/dev/null
for round in 1 2 3 4 5; do
  for environ in /proc/[0-9]*/environ; do
    pid=${environ#/proc/}; pid=${pid%/environ}
    if tr '\0' '\n' <"$environ" 2>/dev/null | grep -q "^$1/"; then kill -s KILL "$pid" 2>/dev/null; fi
  done
done
rm -rf -- "$2"
"#;

/// The waiting shell. Dropping it closes the pipe; by then a normal end has left it nothing to do.
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
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
