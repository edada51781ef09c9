//! The server's maintenance API, from the keeper's side: ask a server to come to rest before it is replaced.
//!
//! Two shapes of the API are in the field: the documented one (flat bodies, 401, 409, 504) and the original
//! implementation's (everything under `status`, 403, and a 200 that says `safeToDeploy: false`). A 200 therefore proves
//! nothing; only [`Status::is_at_rest`] does, read right before acting, together with the moment at which *we* entered: the
//! state is lost when the server restarts, and an inactive server calls itself safe.
//!
//! Deliberately absent: deciding what a deploy does when no rest comes. That is the deploy's policy.

mod answer;
mod client;
#[cfg(test)]
mod tests;

pub use answer::Status;
pub use client::{Client, Fault};
