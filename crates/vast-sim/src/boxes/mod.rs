//! Boxes: what an instance is made of when it runs.
//!
//! A box is a folder, processes with a mark, a loopback address, an SSH server and a gate per port. One actor task
//! owns each box and takes [`BoxCommand`]s in order; it lives from the instance's first command to its destroy.
//! There is no container: without root there are no namespaces, so a box shares the machine's file system and
//! network stack, and its programs find their address in `HOST`.

mod actor;
mod address;
pub(crate) mod canned;
mod folder;
mod gate;
mod guardian;
mod launch;
pub(crate) mod process;
mod session;
mod shell;
mod ssh;
mod terminal;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

pub(crate) use address::Addresses;
pub(crate) use folder::Folder;
pub(crate) use gate::reset;
pub(crate) use guardian::Guardian;

use crate::engine::Shared;
use crate::faults::FaultId;
use crate::world::account::AccountKey;
use crate::world::instance::Instance;

/// Commands waiting for one box.
const INBOX: usize = 64;

/// All a box needs to start, copied out of the instance.
#[derive(Debug, Clone)]
pub(crate) struct Boot {
    /// Which boot of the instance this is.
    pub(crate) number: u64,
    /// Take another address and other ports than before.
    pub(crate) fresh_address: bool,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) ports: Vec<(u16, &'static str)>,
    pub(crate) onstart: Option<String>,
    pub(crate) args: Vec<String>,
    pub(crate) has_ssh: bool,
    pub(crate) has_jupyter: bool,
    pub(crate) keys: Vec<String>,
}

impl Boot {
    pub(crate) fn of(instance: &Instance, fresh_address: bool, account_keys: &[AccountKey]) -> Self {
        let launch = &instance.launch;
        let own = [
            ("CONTAINER_ID".to_owned(), instance.id.to_string()),
            ("CONTAINER_API_KEY".to_owned(), instance.api_key.clone()),
            ("VAST_CONTAINERLABEL".to_owned(), format!("C.{}", instance.id)),
            ("GPU_COUNT".to_owned(), instance.offer.gpus.to_string()),
        ];
        let given = launch.variables().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut keys: Vec<String> = instance.keys.iter().map(|key| key.public_key.clone()).collect();
        // Account keys that were registered before the rental are among the attached ones already.
        keys.extend(
            account_keys
                .iter()
                .filter(|key| key.created_at <= instance.started_at)
                .map(|key| key.public_key.clone()),
        );
        keys.dedup();
        Boot {
            number: instance.boots,
            fresh_address,
            variables: own.into_iter().chain(given).collect(),
            ports: launch.ports(),
            onstart: launch.onstart.clone(),
            args: launch.args.clone(),
            has_ssh: launch.has_ssh(),
            has_jupyter: launch.runtype.contains("jupyter"),
            keys,
        }
    }
}

/// Something done to a running box from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Kill what listens on the app ports; with `whole_session` its session too, and that of its parent.
    KillServer { whole_session: bool },
    /// Stop every process and silence the network.
    Freeze,
    /// End the freeze.
    Thaw,
    /// Replace all authorized keys.
    ResetKeys { keys: Vec<String> },
    /// Add an authorized key.
    AddKey(String),
    /// Remove an authorized key.
    RemoveKey(String),
    /// Take another SSH host key.
    ChangeHostKey,
    /// Cut every SSH connection.
    DropSsh,
    /// Nothing: its reply says that all earlier commands are done.
    Nothing,
}

/// What an actor is told.
#[derive(Debug)]
pub(crate) enum BoxCommand {
    /// Start; reports to the state when up.
    Boot(Box<Boot>),
    /// Kill all processes and close all ports; the folder stays.
    Halt,
    /// Remove the folder's content (after a halt): the container is re-created.
    Wipe,
    /// The host is unreachable, or reachable again.
    Silence(bool),
    /// Do something to the box; the reply carries the pids it hit.
    Do { deed: Deed, fault: Option<FaultId>, reply: Option<oneshot::Sender<Vec<i32>>> },
    /// Halt, remove everything, end the actor.
    Destroy,
}

/// Hands commands to the boxes' actors. Owned by the engine's one loop.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    inboxes: HashMap<u64, mpsc::Sender<BoxCommand>>,
}

impl Registry {
    /// Delivers a command, starting the box's actor when it has none.
    pub(crate) async fn deliver(
        &mut self,
        shared: &Arc<Shared>,
        tasks: &TaskTracker,
        instance: u64,
        command: BoxCommand,
    ) {
        let last = matches!(command, BoxCommand::Destroy);
        let inbox = self.inboxes.entry(instance).or_insert_with(|| {
            let (inbox, commands) = mpsc::channel(INBOX);
            tasks.spawn(actor::Actor::new(Arc::clone(shared), instance).run(commands));
            inbox
        });
        // A closed inbox means that the box is destroyed; a command for it has nothing left to do.
        let _ = inbox.send(command).await;
        if last {
            self.inboxes.remove(&instance);
        }
    }
}
