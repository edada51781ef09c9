//! Healing is kept away from a node while a command works on its box: the keeper would take a server that is being changed for
//! a dead one.
//!
//! The pause bears the command's own name (`claim`), as the lease on the box does: of two commands on one box each has its own,
//! and neither ends the other's. It has an end, so that healing comes back by itself where a command dies.

use std::{path::Path, time::Duration};

use super::{client::Client, exit::Failure, verbs::ask_as};
use crate::fleet::{
    event::{Reply, Wish},
    name::NodeName,
};

/// How long until a pause is asked for again where there was no keeper yet, or the node is paused for another command's work.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// What the work may take beyond its own deadline: connections that end slowly, a look at what serves.
const SLACK: Duration = Duration::from_secs(120);

/// A pause that is asked for until it is had.
pub(super) struct KeptAway<'a> {
    socket: &'a Path,
    node: &'a NodeName,
    by: &'a str,
    seconds: u32,
    /// Whether a keeper was asked, whatever came of it: its answer may have been lost.
    asked: bool,
    /// Whether the keeper took it as this command's.
    ours: bool,
}

impl<'a> KeptAway<'a> {
    /// Nothing is asked for yet.
    pub(super) fn new(socket: &'a Path, node: &'a NodeName, by: &'a str, lasting: Duration) -> Self {
        let seconds = u32::try_from(lasting.saturating_add(SLACK).as_secs()).unwrap_or(u32::MAX);
        Self { socket, node, by, seconds, asked: false, ours: false }
    }

    /// Asks the keeper that runs, if one does. Where a person paused the node, or another command works on it, theirs holds.
    pub(super) async fn ask(&mut self) -> Result<(), Failure> {
        if let Some(keeper) = Client::find(self.socket).await? {
            self.asked = true;
            let reply = ask_as(&keeper, self.node, Wish::PauseFor(self.seconds), self.by).await?;
            self.ours = matches!(reply, Reply::Accepted(_));
        }
        Ok(())
    }

    /// Goes on asking until the pause is had, and does not return: a keeper may start, and another's pause end, while the work
    /// goes on. May be dropped at any moment: what was asked for by then is ended like what was had.
    pub(super) async fn go_on_asking(&mut self) {
        while !self.ours {
            tokio::time::sleep(ASK_AGAIN).await;
            // One that does not answer is asked again.
            let _ = self.ask().await;
        }
        std::future::pending::<()>().await;
    }

    /// Ends it, with the keeper that runs by now; where none does, its next one reads from the journal when it ends. The keeper
    /// ends no pause of another name.
    pub(super) async fn ended(self, well: bool) -> Result<(), Failure> {
        if !self.asked {
            return Ok(());
        }
        let Some(keeper) = Client::find(self.socket).await? else { return Ok(()) };
        // What failed must not let go on what its report holds.
        let wish = if well { Wish::WorkDone } else { Wish::PauseOver };
        ask_as(&keeper, self.node, wish, self.by).await.map(drop)
    }
}
