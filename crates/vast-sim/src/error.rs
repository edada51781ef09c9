//! Why a simulator could not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A start that failed.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A setting makes no sense.
    #[error("setting `{0}`: {1}")]
    Setting(&'static str, String),
    /// The API's address cannot be bound.
    #[error("listening on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// No loopback block is free.
    #[error("claiming a block of loopback addresses")]
    Addresses(#[source] io::Error),
    /// The folder of the boxes cannot be made.
    #[error("preparing the state folder {0}")]
    State(PathBuf, #[source] io::Error),
    /// Another simulator keeps its boxes there.
    #[error("the state folder {0} is in use by another simulator")]
    StateInUse(PathBuf),
    /// The guardian process cannot be started.
    #[error("starting the guardian process")]
    Guardian(#[source] io::Error),
}
