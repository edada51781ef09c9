//! Verbs that only read: from the running daemon, or from the journal where none runs.

use std::{collections::VecDeque, time::Duration};

use super::{
    args::Common,
    client::Client,
    exit::{self, Failure},
    print::{self, Printed},
    setup, show,
};
use crate::{
    config::{Config, Need},
    daemon, engine,
    fleet::{
        deployed::DeployReport,
        name::{IncidentId, NodeName},
        timeline::{IncidentView, Line},
        view::FleetView,
    },
    store::{History, Store},
};

/// How often a followed journal is asked.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// How much of the journal is shown when nothing is said.
const RECENT: usize = 50;
/// Entries read at once.
const PAGE: usize = 1000;

pub(super) async fn status(common: &Common, json: bool) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let client = Client::connect(&config.control_socket).await?;
    let Some(view) = client.get::<FleetView>("/api/v1/fleet").await? else {
        return Err(Failure::new(exit::UNREACHABLE, "the keeper shows no fleet"));
    };
    if json {
        print::json(&view)?;
    } else {
        show::fleet(&view)?;
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

    async fn deploys(&self, limit: u32, node: Option<&NodeName>) -> Result<Vec<DeployReport>, Failure> {
        match self {
            Self::Daemon(client) => {
                let of = node.map_or_else(String::new, |node| format!("&node={node}"));
                Ok(client.get(&format!("/api/v1/deploys?limit={limit}{of}")).await?.unwrap_or_default())
            }
            Self::Journal(history) => {
                daemon::deploys(Some(history), limit, node).await.ok_or_else(unreadable)
            }
        }
    }

    async fn events(&self, after: u64, node: Option<&NodeName>) -> Result<Vec<Line>, Failure> {
        match self {
            Self::Daemon(client) => {
                let of = node.map_or_else(String::new, |node| format!("&node={node}"));
                Ok(client
                    .get(&format!("/api/v1/events?limit={PAGE}&after={after}{of}"))
                    .await?
                    .unwrap_or_default())
            }
            Self::Journal(history) => {
                daemon::events(Some(history), after, PAGE as u32, node).await.ok_or_else(unreadable)
            }
        }
    }
}

fn unreadable() -> Failure {
    Failure::new(exit::BUG, "the journal cannot be read")
}

pub(super) async fn deploys(
    common: &Common,
    node: Option<NodeName>,
    limit: u32,
    json: bool,
) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let deploys = Past::open(&config).await?.deploys(limit, node.as_ref()).await?;
    // A node that left the configuration has a past still.
    if let Some(node) =
        node.as_ref().filter(|node| deploys.is_empty() && !config.policy.nodes.contains_key(*node))
    {
        return Err(Failure::new(exit::USAGE, format!("node `{node}` is not known"))
            .hint("`vast-keeper status` lists the nodes"));
    }
    if json {
        print::json(&deploys)?;
    } else if deploys.is_empty() {
        print::talk("no deploy is on record");
    } else {
        show::deploys(&deploys, node.is_some())?;
    }
    Ok(exit::DONE)
}

/// Which incidents, and how much of them.
pub(super) struct Wanted {
    pub id: Option<u64>,
    pub limit: u32,
    pub node: Option<NodeName>,
    pub evidence: bool,
}

pub(super) async fn incidents(common: &Common, wanted: Wanted, json: bool) -> Result<u8, Failure> {
    let Wanted { id, limit, node, evidence } = wanted;
    let (config, _) = setup::load(common, Need::Talk)?;
    let past = Past::open(&config).await?;
    let Some(id) = id else {
        let incidents = past.incidents(limit, node.as_ref()).await?;
        if json {
            print::json(&incidents)?;
        } else if incidents.is_empty() {
            print::talk("no incident is on record");
        } else {
            show::incidents(&incidents)?;
        }
        return Ok(exit::DONE);
    };
    let incident = past.incident(id).await?;
    let incident = incident.ok_or_else(|| {
        Failure::new(exit::USAGE, format!("there is no incident {id}"))
            .hint("`vast-keeper incidents` lists them")
    })?;
    if json {
        print::json(&incident)?;
    } else {
        show::story(&incident)?;
        if evidence {
            show_evidence(&config, id)?;
        }
    }
    Ok(exit::DONE)
}

fn show_evidence(config: &Config, incident: u64) -> Printed {
    let files = engine::of_incident(&config.state_dir.join("evidence"), incident);
    if files.is_empty() {
        print::talk("no evidence is kept of this incident: no box could be asked, or it was too long ago");
    }
    for file in files {
        print::data(&format!("\n{}", file.display()))?;
        match std::fs::read_to_string(&file) {
            Ok(text) => print::data(&text)?,
            Err(fault) => print::talk(&format!("cannot read it: {fault}")),
        }
    }
    Ok(())
}

pub(super) async fn events(
    common: &Common,
    follow: bool,
    after: Option<u64>,
    node: Option<NodeName>,
    json: bool,
) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let mut past = Past::open(&config).await?;
    let mut seen = match after {
        Some(after) => after,
        // Without a starting point only the end is of interest.
        None => recent(&past, node.as_ref(), json).await?,
    };
    let mut lost = false;
    loop {
        let lines = match past.events(seen, node.as_ref()).await {
            Ok(lines) => lines,
            // The keeper may be restarting; what it journaled meanwhile is printed once somebody can read it.
            Err(failure) if follow => {
                if !lost {
                    print::talk(&format!("{}; waiting for it", failure.message()));
                }
                lost = true;
                Vec::new()
            }
            Err(failure) => return Err(failure),
        };
        if lost && let Ok(found) = Past::open(&config).await {
            past = found;
            lost = false;
        }
        for line in &lines {
            show_line(line, json)?;
        }
        seen = lines.last().map_or(seen, |line| line.seq);
        if lines.len() >= PAGE {
            continue;
        }
        if !follow {
            return Ok(exit::DONE);
        }
        print::heard()?;
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// Prints the last [`RECENT`] entries and returns the number of the newest. The journal can only be read forwards, so what
/// came before is walked over silently.
async fn recent(past: &Past, node: Option<&NodeName>, json: bool) -> Result<u64, Failure> {
    let mut last = VecDeque::with_capacity(RECENT + PAGE);
    loop {
        let seen = last.back().map_or(0, |line: &Line| line.seq);
        let lines = past.events(seen, node).await?;
        let whole = lines.len() < PAGE;
        last.extend(lines);
        last.drain(..last.len().saturating_sub(RECENT));
        if whole {
            break;
        }
    }
    for line in &last {
        show_line(line, json)?;
    }
    Ok(last.back().map_or(0, |line| line.seq))
}

fn show_line(line: &Line, json: bool) -> Printed {
    if !json {
        return show::line(line);
    }
    let text = serde_json::to_string(line)
        .map_err(|fault| Failure::new(exit::BUG, format!("an entry cannot be written as json: {fault}")))?;
    print::data(&text)
}
