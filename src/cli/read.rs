//! Verbs that only read: from the running daemon, or from the journal where none runs.

use std::time::Duration;

use super::{
    args::Common,
    client::Client,
    exit::{self, Failure},
    print, setup, show,
};
use crate::{
    config::{Config, Need},
    daemon,
    fleet::{
        name::{IncidentId, NodeName},
        timeline::{IncidentView, Line},
        view::FleetView,
    },
    store::{History, Store},
};

/// How often a followed journal is asked.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// How much of the journal is shown when nothing is said.
const RECENT: u64 = 50;

pub(super) async fn status(common: &Common, json: bool) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let client = Client::connect(&config.control_socket).await?;
    let Some(view) = client.get::<FleetView>("/api/v1/fleet").await? else {
        return Err(Failure::new(exit::UNREACHABLE, "the keeper shows no fleet"));
    };
    if json {
        print::json(&view);
    } else {
        show::fleet(&view);
    }
    Ok(exit::DONE)
}

/// Where the past is read from.
enum Past {
    Daemon(Client),
    Journal(History),
}

impl Past {
    async fn open(config: &Config) -> Result<Self, Failure> {
        if let Some(client) = Client::find(&config.control_socket).await? {
            return Ok(Self::Daemon(client));
        }
        match Store::open_read_only(&config.state_dir) {
            Ok(history) => Ok(Self::Journal(history)),
            Err(fault) => Err(Failure::new(exit::UNREACHABLE, exit::chain(&fault))
                .hint("no keeper runs; `vast-keeper run` starts one")),
        }
    }

    async fn incidents(&self, limit: u32, node: Option<&NodeName>) -> Result<Vec<IncidentView>, Failure> {
        match self {
            Self::Daemon(client) => {
                let of = node.map_or_else(String::new, |node| format!("&node={node}"));
                Ok(client.get(&format!("/api/v1/incidents?limit={limit}{of}")).await?.unwrap_or_default())
            }
            Self::Journal(history) => {
                daemon::incidents(Some(history), limit, node).await.ok_or_else(unreadable)
            }
        }
    }

    async fn incident(&self, id: u64) -> Result<Option<IncidentView>, Failure> {
        match self {
            Self::Daemon(client) => client.get(&format!("/api/v1/incidents/{id}")).await,
            Self::Journal(history) => {
                daemon::incident(Some(history), IncidentId(id)).await.ok_or_else(unreadable)
            }
        }
    }

    async fn events(&self, after: u64, node: Option<&NodeName>) -> Result<Vec<Line>, Failure> {
        match self {
            Self::Daemon(client) => {
                let of = node.map_or_else(String::new, |node| format!("&node={node}"));
                Ok(client
                    .get(&format!("/api/v1/events?limit=1000&after={after}{of}"))
                    .await?
                    .unwrap_or_default())
            }
            Self::Journal(history) => {
                daemon::events(Some(history), after, 1000, node).await.ok_or_else(unreadable)
            }
        }
    }
}

fn unreadable() -> Failure {
    Failure::new(exit::BUG, "the journal cannot be read")
}

pub(super) async fn incidents(
    common: &Common,
    id: Option<u64>,
    limit: u32,
    node: Option<NodeName>,
    json: bool,
) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let past = Past::open(&config).await?;
    let Some(id) = id else {
        let incidents = past.incidents(limit, node.as_ref()).await?;
        if json {
            print::json(&incidents);
        } else if incidents.is_empty() {
            print::talk("no incident is on record");
        } else {
            show::incidents(&incidents);
        }
        return Ok(exit::DONE);
    };
    let incident = past.incident(id).await?;
    let incident = incident.ok_or_else(|| {
        Failure::new(exit::USAGE, format!("there is no incident {id}"))
            .hint("`vast-keeper incidents` lists them")
    })?;
    if json {
        print::json(&incident);
    } else {
        show::story(&incident);
    }
    Ok(exit::DONE)
}

pub(super) async fn events(
    common: &Common,
    follow: bool,
    after: Option<u64>,
    node: Option<NodeName>,
    json: bool,
) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let past = Past::open(&config).await?;
    let mut seen = after.unwrap_or(0);
    let mut first = after.is_none();
    loop {
        let lines = past.events(seen, node.as_ref()).await?;
        let full = lines.len() >= 1000;
        let newest = lines.last().map(|line| line.seq);
        // Without a starting point only the end is of interest; what came before is walked over silently.
        let from = if first { newest.unwrap_or(0).saturating_sub(RECENT) } else { 0 };
        if !(first && full) {
            for line in lines.iter().filter(|line| line.seq > from) {
                if json {
                    print::data(&serde_json::to_string(line).unwrap_or_default());
                } else {
                    show::line(line);
                }
            }
        }
        seen = newest.unwrap_or(seen);
        if full {
            continue;
        }
        first = false;
        if !follow {
            return Ok(exit::DONE);
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}
