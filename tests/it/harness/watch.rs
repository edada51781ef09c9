//! Looking at the running keeper over its control socket, and waiting for what should happen.

use std::{collections::BTreeMap, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::Instant,
};
use vast_keeper::fleet::{timeline::IncidentView, view::FleetView};

use super::{Fleet, PATIENCE};

/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(60);
/// How long an answer over the socket may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

pub type Event = vast_keeper::fleet::timeline::Line;

/// Waits until `holds`, at most `bound`.
#[track_caller]
pub fn eventually<'a, F>(what: &'a str, bound: Duration, mut holds: F) -> impl Future<Output = ()> + 'a
where
    F: AsyncFnMut() -> bool + 'a,
{
    let caller = std::panic::Location::caller();
    async move {
        let end = Instant::now() + bound;
        while !holds().await {
            assert!(Instant::now() < end, "not within {bound:?}: {what} ({caller})");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// `GET` over a control socket; `None` when nobody answers.
async fn get(socket: &Path, path: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: keeper\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    let read = tokio::time::timeout(ANSWER_WITHIN, stream.read_to_string(&mut answer)).await;
    read.ok()?.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    assert!(!head.to_lowercase().contains("transfer-encoding"), "a chunked answer: {head}");
    Some((status, body.to_owned()))
}

/// The view of the keeper behind a control socket, as soon as there is one.
pub async fn view_at(socket: &Path) -> Option<FleetView> {
    let (status, body) = get(socket, "/api/v1/fleet").await?;
    if status != 200 {
        return None;
    }
    Some(serde_json::from_str(&body).unwrap_or_else(|fault| panic!("{fault}: {body}")))
}

impl Fleet {
    async fn get(&self, path: &str) -> Option<(u16, String)> {
        get(&self.settings.socket(), path).await
    }

    /// The page, the metrics or a document of the keeper, as text, as soon as it gives it.
    pub async fn text(&self, path: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.get(path).await {
                Some((200, body)) => return body,
                other => assert!(Instant::now() < end, "the keeper does not answer: {other:?}"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub async fn view(&self) -> Option<FleetView> {
        view_at(&self.settings.socket()).await
    }

    /// Waits until the view satisfies `holds`, and returns it.
    #[track_caller]
    pub fn until<'a>(
        &'a self,
        what: &'a str,
        holds: impl Fn(&FleetView) -> bool + 'a,
    ) -> impl Future<Output = FleetView> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let end = Instant::now() + self.patience;
            loop {
                let view = self.view().await;
                if let Some(view) = view.as_ref().filter(|view| holds(view)) {
                    return view.clone();
                }
                if Instant::now() > end {
                    let seen = serde_json::to_string_pretty(&view).unwrap();
                    panic!("not within {:?}: {what} ({caller}); the view is {seen}", self.patience);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Waits until every node serves and is healthy, nothing is condemned and no incident is open.
    #[track_caller]
    pub fn all_serve(&self) -> impl Future<Output = FleetView> + '_ {
        self.until("every node serves", |view| {
            view.healthy == view.wanted
                && view.doomed.is_empty()
                && view.nodes.iter().all(|node| node.state == "serving" && node.incident.is_none())
        })
    }

    /// The journal after an entry.
    pub async fn events_after(&self, after: u64) -> Vec<Event> {
        let mut all: Vec<Event> = Vec::new();
        loop {
            let from = all.last().map_or(after, |event| event.seq);
            let body = self.text(&format!("/api/v1/events?limit=1000&after={from}")).await;
            let some: Vec<Event> =
                serde_json::from_str(&body).unwrap_or_else(|fault| panic!("{fault}: {body}"));
            let full = some.len() >= 1000;
            all.extend(some);
            if !full {
                return all;
            }
        }
    }

    /// The number of the journal's newest entry.
    pub async fn newest_event(&self) -> u64 {
        self.events_after(0).await.last().map_or(0, |event| event.seq)
    }

    /// Waits for an entry after `after` of this kind, of this node if one is named.
    #[track_caller]
    pub fn journaled<'a>(
        &'a self,
        after: u64,
        kind: &'a str,
        node: Option<&'a str>,
    ) -> impl Future<Output = Event> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let end = Instant::now() + PATIENCE;
            loop {
                let events = self.events_after(after).await;
                let of = |event: &&Event| {
                    event.kind == kind
                        && node
                            .is_none_or(|node| event.node.as_ref().is_some_and(|name| name.as_str() == node))
                };
                if let Some(event) = events.iter().find(of) {
                    return event.clone();
                }
                let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
                assert!(Instant::now() < end, "no `{kind}` of {node:?} ({caller}); there were {kinds:?}");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// The newest incidents.
    pub async fn incidents(&self) -> Vec<IncidentView> {
        serde_json::from_str(&self.text("/api/v1/incidents?limit=1000").await).unwrap()
    }

    /// The instance of each node.
    pub async fn instances(&self) -> BTreeMap<String, u64> {
        let view = self.until("the keeper answers", |_| true).await;
        let of = |node: &vast_keeper::fleet::view::NodeView| Some((node.node.to_string(), node.instance?.0));
        view.nodes.iter().filter_map(of).collect()
    }

    /// The instance of one node.
    pub async fn instance(&self, node: &str) -> u64 {
        *self.instances().await.get(node).unwrap_or_else(|| panic!("nothing fills {node}"))
    }
}
