//! A pseudo-terminal for an interactive SSH session.
//!
//! The simulator keeps the master; the command gets the other side as its streams and, through util-linux's
//! `setsid --ctty`, as its controlling terminal (doing that in this process would need unsafe code).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::net::unix::pipe;
use tokio::process::Command;

/// Where util-linux keeps `setsid`.
const SETSID: &str = "/usr/bin/setsid";

/// A terminal that a client asked for.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    master: Arc<OwnedFd>,
    name: String,
    kind: String,
}

impl Terminal {
    /// Opens one of the wanted size. Fails where there is no `setsid` to make it a controlling terminal.
    pub(crate) fn open(kind: &str, columns: u32, rows: u32) -> io::Result<Self> {
        if !Path::new(SETSID).exists() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        let terminal = Terminal {
            master: Arc::new(master),
            name: name.to_string_lossy().into_owned(),
            kind: kind.to_owned(),
        };
        terminal.resize(columns, rows)?;
        Ok(terminal)
    }

    /// Tells the programs on it their new size, in characters.
    pub(crate) fn resize(&self, columns: u32, rows: u32) -> io::Result<()> {
        let size = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let size = Winsize { ws_row: size(rows), ws_col: size(columns), ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(self.master.as_fd(), size)?)
    }

    /// The master's two directions. Reading ends with an error (EIO) when the last program has let the terminal go.
    pub(crate) fn streams(&self) -> io::Result<(pipe::Sender, pipe::Receiver)> {
        // A terminal's master is polled, read and written like a pipe, and it is non-blocking already.
        let input = pipe::Sender::from_owned_fd_unchecked(self.master.try_clone()?)?;
        let output = pipe::Receiver::from_owned_fd_unchecked(self.master.try_clone()?)?;
        Ok((input, output))
    }

    /// Turns a command into one that runs on this terminal.
    pub(crate) fn put_on(&self, command: &Command) -> io::Result<Command> {
        let inner = command.as_std();
        let side = File::options().read(true).write(true).open(OsStr::from_bytes(self.name.as_bytes()))?;
        let mut outer = Command::new(SETSID);
        outer.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args()).env_clear();
        outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = inner.get_current_dir() {
            outer.current_dir(folder);
        }
        outer
            .env("TERM", &self.kind)
            .env("SSH_TTY", &self.name)
            .process_group(0)
            .stdin(Stdio::from(side.try_clone()?))
            .stdout(Stdio::from(side.try_clone()?))
            .stderr(Stdio::from(side));
        Ok(outer)
    }
}
