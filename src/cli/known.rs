//! What the journal knows, for commands that a keeper need not run for.

use super::exit::{self, Failure, chain};
use crate::{
    config::Config,
    engine,
    fleet::state::Fleet,
    store::{OpenError, Store},
};

/// What the journal knows, whether a keeper runs or not; nothing where there never was one.
///
/// # Errors
/// It cannot be read: who takes that for an empty fleet deploys beside boxes that it does not see.
pub(super) async fn known(config: &Config) -> Result<Fleet, Failure> {
    let unreadable = |why: &str| {
        Failure::new(exit::UNKNOWN, format!("the journal cannot be read: {why}"))
            .hint("nothing was changed; try again, and see `vast-keeper status`")
    };
    let history = match Store::open_read_only(&config.state_dir) {
        Ok(history) => history,
        Err(OpenError::Absent { .. }) => return Ok(Fleet::default()),
        Err(fault) => return Err(unreadable(&chain(&fault))),
    };
    let loaded = history.load().await.map_err(|fault| unreadable(&chain(&fault)))?;
    let loaded = loaded.map_err(|fault| unreadable(&chain(&fault)))?;
    engine::fold(loaded).map_err(|fault| unreadable(&fault.to_string()))
}
