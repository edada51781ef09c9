//! The boxes over SSH: connect once, run scripts, upload files, and look as a second witness.
//!
//! The system's `ssh` does the cryptography and holds one master connection per [`Session`]; the `openssh` crate speaks
//! its multiplexing protocol, so a command costs a channel and not a handshake. What makes it safe on rented machines:
//!
//! - a generated configuration file replaces the user's and the system's, nothing is forwarded, one key is offered;
//! - the host key is pinned per instance after the first authenticated connection, and never accepted anew;
//! - scripts and their values travel on stdin, never in an argument list that other users of the box can read;
//! - a command's end is known by a trailer with a nonce. No trailer means *unknown*, never success and never failure:
//!   the caller connects again and looks ([`RunFault::outcome_unknown`]).
//!
//! A person gets a session of their own by [`Remote::login`]. Deliberately absent: agents, passwords, port forwarding, sftp (`cat` needs nothing on the box).

mod client_config;
mod config;
mod connect;
mod evidence;
mod fault;
mod login;
mod script;
mod session;
#[cfg(test)]
pub(crate) mod sshd;
#[cfg(test)]
mod tests;
mod witness;

pub use config::{Remote, RemoteConfig, RemoteError};
pub use connect::BoxAddress;
pub use fault::ConnectFault;
pub use login::Login;
pub use script::{Script, quote};
pub use session::{Output, RunFault, Session, Upload};
pub use witness::Witnessed;
