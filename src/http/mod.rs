//! What the keeper serves: page, API, metrics and its own health over TCP, read-only; the same and the verbs that change
//! things over a unix socket that only its owner can open. Where it is configured, the TCP address also takes the provider's
//! signed notifications, which only prompt a look.
//!
//! The room knows the view, not the engine: each request becomes a [`Question`] on a bounded channel, and the daemon
//! answers it.

mod connections;
mod hook;
mod page;
mod routes;
mod socket;

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

pub use self::hook::Hook;
use self::socket::Socket;

use crate::{
    fleet::{
        deployed::{DeployReport, SwitchRequest},
        event::{Hint, Reply},
        ledger::{Export, LedgerRequest, LedgerView},
        name::{IncidentId, NodeName},
        notice::Notice,
        timeline::{IncidentView, Line},
        view::{FleetView, Request},
        why::Why,
    },
    metrics::Metrics,
};

/// Questions that may wait for the daemon.
const QUESTIONS_WAITING: usize = 64;

/// Connections at once on the TCP address; a few browsers and a scraper are its users.
const TCP_CONNECTIONS: usize = 64;
/// The same on the unix socket, whose users are the owner's commands.
const UNIX_CONNECTIONS: usize = 32;

/// What a request needs to know.
#[derive(Debug)]
pub enum Question {
    /// The fleet.
    View(oneshot::Sender<Option<FleetView>>),
    /// Why a node is as it is; the inner `None` is an unknown node.
    Why {
        /// Which.
        node: NodeName,
        /// Where the answer goes.
        reply: oneshot::Sender<Option<Option<Box<Why>>>>,
    },
    /// The newest incidents, without their lines.
    Incidents {
        /// At most this many.
        limit: u32,
        /// Of this node only.
        node: Option<NodeName>,
        /// Where the answer goes; `None` when the store cannot be read.
        reply: oneshot::Sender<Option<Vec<IncidentView>>>,
    },
    /// One incident with its lines; the inner `None` is an unknown number.
    Incident {
        /// Which.
        id: IncidentId,
        /// Where the answer goes.
        reply: oneshot::Sender<Option<Option<IncidentView>>>,
    },
    /// Journaled facts after a number.
    Events {
        /// After this one.
        after: u64,
        /// At most this many.
        limit: u32,
        /// Of this node only.
        node: Option<NodeName>,
        /// Where the answer goes.
        reply: oneshot::Sender<Option<Vec<Line>>>,
    },
    /// The ledger of machines that failed us, or the same for another keeper.
    Ledger {
        /// Where the answer goes.
        reply: oneshot::Sender<Option<(LedgerView, Export)>>,
    },
    /// What a person wants of the ledger.
    AskLedger {
        /// What.
        request: Box<LedgerRequest>,
        /// Where the answer goes.
        reply: oneshot::Sender<Option<Reply>>,
    },
    /// The newest deploys.
    Deploys {
        /// At most this many.
        limit: u32,
        /// Of this node only.
        node: Option<NodeName>,
        /// Where the answer goes; `None` when the store cannot be read.
        reply: oneshot::Sender<Option<Vec<DeployReport>>>,
    },
    /// A blue-green replacement.
    Switch {
        /// What.
        request: Box<SwitchRequest>,
        /// Where the answer goes.
        reply: oneshot::Sender<Option<Reply>>,
    },
    /// Something that people should be told.
    Tell {
        /// What.
        notice: Box<Notice>,
        /// Where the answer goes.
        reply: oneshot::Sender<Option<Reply>>,
    },
    /// A deploy that somebody did by hand.
    ReportDeploy {
        /// What it came to.
        report: Box<DeployReport>,
        /// Where the answer goes.
        reply: oneshot::Sender<Option<Reply>>,
    },
    /// The provider notified of something; nobody waits for an answer.
    Hint(Hint),
    /// A person's wish.
    Ask {
        /// What.
        request: Request,
        /// Where the answer goes.
        reply: oneshot::Sender<Option<Reply>>,
    },
}

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Site {
    questions: mpsc::Sender<Question>,
    metrics: Arc<Metrics>,
    players: Option<Arc<str>>,
    hook: Option<Hook>,
}

impl Site {
    /// A site and the questions it will ask. `players` is where the fleet's users reach the server, shown on the page.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, players: Option<&str>) -> (Self, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(QUESTIONS_WAITING);
        (Self { questions, metrics, players: players.map(Arc::from), hook: None }, asked)
    }

    /// The same, which takes the provider's notifications on its TCP address.
    #[must_use]
    pub fn hooked(self, hook: Hook) -> Self {
        Self { hook: Some(hook), ..self }
    }
}

/// Serves the read-only site on a TCP address until `stop`; returns the bound address.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve_tcp(site: Site, listen: SocketAddr, stop: CancellationToken) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(connections::serve(listener, routes::public(site), TCP_CONNECTIONS, stop));
    Ok(bound)
}

/// Serves the site with the verbs on a unix socket, mode 0600, until `stop`. A left-over socket is replaced: the store's
/// lock has proven by now that no other keeper is alive. Anything else of that name is refused and left alone.
///
/// # Errors
/// The socket cannot be made, or its name is taken by something that is no socket.
pub fn serve_unix(site: Site, path: &Path, stop: CancellationToken) -> io::Result<()> {
    let Socket { listener, place } = Socket::bind(path)?;
    tokio::spawn(connections::serve(listener, routes::control(site), UNIX_CONNECTIONS, stop.clone()));
    tokio::spawn(async move {
        stop.cancelled().await;
        place.leave();
    });
    Ok(())
}
