//! A person's own session with a box, by the same key and the same pinned host key as the keeper's.

use std::{fs, io, process::Command};

use tempfile::TempDir;

use super::{
    client_config::{ClientConfig, is_host, is_user},
    config::Remote,
    connect::BoxAddress,
};
use crate::fleet::provider::SshEndpoint;

/// A prepared `ssh`; its configuration vanishes with it.
#[derive(Debug)]
pub struct Login {
    /// The program with everything but the remote command.
    pub command: Command,
    _folder: TempDir,
}

impl Remote {
    /// Prepares `ssh` to the box by `endpoint`. Its host key must be pinned already, which every connection of ours does:
    /// a person is never asked to trust an unknown one.
    ///
    /// # Errors
    /// No host key is pinned, the names are not plain, or the configuration cannot be written.
    pub fn login(&self, address: &BoxAddress, endpoint: &SshEndpoint) -> io::Result<Login> {
        let pin = self.inner.pin_file(address.instance);
        if !fs::metadata(&pin).is_ok_and(|meta| meta.len() > 0) {
            return Err(io::Error::other("no host key is pinned for this instance yet"));
        }
        if !is_host(&endpoint.host) || !is_user(&address.user) {
            return Err(io::Error::other("the box's address or login name is not a plain name"));
        }
        let folder = tempfile::Builder::new().prefix("login").tempdir_in(self.inner.sockets.path())?;
        let config = ClientConfig {
            instance: address.instance,
            host: &endpoint.host,
            port: endpoint.port,
            user: &address.user,
            key_file: &self.inner.key_file,
            known_hosts: &pin,
            pinned: true,
            connect_timeout: self.inner.connect_timeout,
            alive_interval: self.inner.alive_interval,
        };
        let path = folder.path().join("config");
        // The first value of an option counts, so that a person gets a terminal.
        fs::write(&path, format!("RequestTTY auto\n{}", config.text()))?;
        let mut command = Command::new(&self.inner.ssh);
        command.arg("-F").arg(&path).arg("--").arg("box");
        Ok(Login { command, _folder: folder })
    }
}
