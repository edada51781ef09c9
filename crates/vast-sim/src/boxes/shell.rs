//! How a program is started inside a box: clean environment, own process group, the box's mark.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::folder::Folder;
use super::process::MARK;

/// What a container's PATH is in practice.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything needed to start a program in a box.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    pub(crate) folder: Folder,
    pub(crate) mark: String,
    /// The box's address. Programs see it as `HOST`: without root there is no network namespace, so a server must
    /// bind this address instead of `0.0.0.0`.
    pub(crate) host: Ipv4Addr,
}

impl Shell {
    /// The shell of the box: bash where there is one, as in Vast.ai's images.
    pub(crate) fn program() -> &'static str {
        if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }
    }

    /// A command that inherits nothing from the simulator.
    pub(crate) fn command(&self, program: &str) -> Command {
        let home = self.folder.home();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &home)
            .env("TMPDIR", self.folder.base().join("tmp"))
            .env("USER", "root")
            .env("LOGNAME", "root")
            .env("SHELL", Shell::program())
            .env("HOST", self.host.to_string())
            .env(MARK, &self.mark)
            .current_dir(&home)
            .process_group(0)
            .stdin(Stdio::null());
        command
    }
}
