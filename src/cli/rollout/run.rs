//! The runner: carries out what the rollout orders, writes down what came of it, and leaves when a person is needed.

use std::{cell::RefCell, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::{
    book::{Book, Books},
    sample,
};
use crate::{
    cli::{
        boxes::{Filled, Fleet},
        exit::{self, Failure},
        print::talk,
        release::{maintenance, tell_fleet},
        work::{INTERRUPTED, Release, Work},
    },
    clock::Clock,
    deploy::{self, DeployFault, DeployRequest, OnTimeout, Restart, RollbackRequest},
    engine::is_the_releases,
    fleet::{
        name::NodeName,
        notice::{Notice, Severity, Topic},
        rollout::{Ending, Happened, Health, Left, NodeResult, Order, Progress},
        units::Timestamp,
    },
};

/// How often wishes are looked for while nothing else happens.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What a rollout's deploys have in common.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub force: bool,
    pub restart: Restart,
    pub on_timeout: Option<OnTimeout>,
    pub wait_lock: Duration,
    /// Boxes worked on at once.
    pub parallel: usize,
    pub quiet: bool,
}

/// A rollout being carried out.
pub(super) struct Runner<'a> {
    pub fleet: &'a Fleet,
    pub release: Release,
    pub books: &'a Books,
    pub book: Book,
    pub options: Options,
    pub http: reqwest::Client,
}

/// What the wait for something ended with.
enum Woken {
    Due,
    Wish,
    Interrupted,
}

fn unwritable(fault: std::io::Error) -> Failure {
    Failure::new(exit::UNKNOWN, format!("the rollout cannot be written down: {fault}"))
        .hint("`vast-keeper rollout status` tells how far it came")
}

impl<'a> Runner<'a> {
    /// Goes on until it has ended or a person must decide.
    pub(super) async fn run(mut self) -> Result<u8, Failure> {
        if !self.has_begun() {
            self.bring().await?;
        }
        let clock = Clock::new();
        let mut said = String::new();
        loop {
            self.take_wish()?;
            let health = self.health().await;
            let now = clock.now();
            match self.book.rollout.next(now, &health) {
                Order::Start(nodes) => {
                    if self.batch(nodes).await?.is_some() {
                        return self.interrupted();
                    }
                }
                // Only another runner's, and this one holds the lock.
                Order::Await(_) => self.note(&Happened::TakenUp)?,
                Order::Wait { until } => match self.wait(until).await {
                    Woken::Interrupted => return self.interrupted(),
                    Woken::Due | Woken::Wish => {}
                },
                Order::WaitForHealth { why, .. } => {
                    if said != why {
                        talk(&format!("waiting: {why}"));
                        said = why;
                    }
                    if let Woken::Interrupted = self.wait(now.after(Duration::from_secs(1))).await {
                        return self.interrupted();
                    }
                }
                Order::Analyse { node, others, until } => {
                    talk(&format!("{node} is held as the canary for {} s", now.until(until).as_secs()));
                    let verdict = tokio::select! {
                        verdict = sample::analyse(&self.http, self.fleet, &node, &others, until) => verdict,
                        _ = tokio::signal::ctrl_c() => return self.interrupted(),
                    };
                    talk(&format!("{node}: {}", super::verdict_words(&verdict)));
                    self.note(&Happened::Analysed { verdict })?;
                }
                Order::Pause { why } => {
                    self.note(&Happened::Paused { by: "the rollout".into(), why: why.clone() })?;
                    self.tell_paused(&why).await;
                }
                Order::Stand => return Ok(self.stands()),
                Order::GoBack { nodes, why } => self.go_back(nodes, &why).await?,
                Order::Finish(ending) => {
                    self.note(&Happened::Finished { ending: ending.clone() })?;
                    self.tell_end(&ending).await;
                }
                Order::Nothing => return Ok(super::code_of(&self.book.rollout)),
            }
        }
    }

    fn note(&mut self, happened: &Happened) -> Result<(), Failure> {
        self.book.note(Clock::new().now(), happened).map_err(unwritable)
    }

    fn has_begun(&self) -> bool {
        self.book.rollout.progress.values().any(|progress| *progress != Progress::Waiting)
    }

    fn take_wish(&mut self) -> Result<(), Failure> {
        match self.books.wished() {
            Some(wish) => self.note(&wish.happened()),
            None => Ok(()),
        }
    }

    /// Asked only where the answer counts.
    async fn health(&self) -> Health {
        if self.book.rollout.paused.is_some() {
            Health::new()
        } else {
            sample::health(&self.http, self.fleet).await
        }
    }

    async fn wait(&self, until: Timestamp) -> Woken {
        let clock = Clock::new();
        while clock.now() < until {
            let pause = clock.now().until(until).min(LOOK_EVERY);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = tokio::signal::ctrl_c() => return Woken::Interrupted,
            }
            if self.books.has_wish() {
                return Woken::Wish;
            }
        }
        Woken::Due
    }

    fn filled(&self, node: &NodeName) -> Option<&'a Filled> {
        self.fleet.nodes.iter().find(|filled| filled.node == *node)
    }

    fn request(&self, filled: &Filled) -> Option<DeployRequest> {
        let mut site = self.fleet.site(filled, self.options.wait_lock)?;
        let artifact = &self.release.artifact;
        site.gate.expect_commit = (artifact.commit != "unknown").then(|| artifact.commit.clone());
        Some(DeployRequest {
            site,
            method: self.fleet.edges.access.method.clone(),
            artifact: artifact.clone(),
            env: self.release.env.clone(),
            restart: self.options.restart,
            force: self.options.force,
            maintenance: maintenance(self.fleet, self.options.on_timeout),
            smoke: self.fleet.edges.access.smoke.clone(),
        })
    }

    /// What is slow and may fail, everywhere, before anything is switched anywhere.
    async fn bring(&mut self) -> Result<(), Failure> {
        let nodes: Vec<NodeName> = self.book.rollout.progress.keys().cloned().collect();
        talk(&format!("bringing {} to {} nodes", self.release.placed.name, nodes.len()));
        let works: Vec<_> =
            nodes.iter().filter_map(|node| Some((node, self.request(self.filled(node)?)?))).collect();
        let remote = &self.fleet.edges.remote;
        let brought = stream::iter(works)
            .map(async |(node, request)| {
                let (progress, _untaken) = mpsc::channel(1);
                (node.clone(), deploy::bring(remote, &request, &progress).await)
            })
            .buffer_unordered(self.options.parallel)
            .collect::<Vec<_>>();
        let brought = tokio::select! {
            brought = brought => brought,
            _ = tokio::signal::ctrl_c() => return self.interrupted().map(drop),
        };
        for (node, result) in brought {
            match result {
                Ok(_) => talk(&format!("{node}: the release is there")),
                // Whoever works on the box now may be done when its turn comes.
                Err(DeployFault::Locked(why)) => talk(&format!("{node}: {why}")),
                Err(fault) => {
                    talk(&format!("{node}: {fault}"));
                    self.note(&Happened::Ended { node, result: failed(&fault) })?;
                }
            }
        }
        Ok(())
    }

    /// Works on these at once. The nodes that an interruption left under way, if there was one.
    async fn batch(&mut self, nodes: Vec<NodeName>) -> Result<Option<()>, Failure> {
        let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        let (failures, budget) = (self.book.rollout.failures(), self.book.rollout.budget());
        talk(&format!("deploying to {} ({failures} of {budget} failures used)", names.join(", ")));
        self.note(&Happened::Started { nodes: nodes.clone() })?;
        let id = self.book.rollout.brief.id.clone();
        let works = nodes.iter().filter_map(|node| {
            let filled = self.filled(node)?;
            Some((filled, self.request(filled)?))
        });
        let works: Vec<_> = works.collect();
        let gone: Vec<NodeName> = nodes
            .iter()
            .filter(|node| works.iter().all(|(filled, _)| filled.node != **node))
            .cloned()
            .collect();
        let (fleet, wanted, quiet) = (self.fleet, &self.release.placed, self.options.quiet);
        let book = RefCell::new(&mut self.book);
        let interrupted = RefCell::new(None);
        let note = |node: &NodeName, result: NodeResult| {
            let happened = Happened::Ended { node: node.clone(), result };
            book.borrow_mut().note(Clock::new().now(), &happened).map_err(unwritable)
        };
        for node in gone {
            let left = Left::AsItWas;
            note(&node, NodeResult::Failed { detail: "nothing fills it now".into(), at_fault: false, left })?;
        }
        let results: Vec<Result<(), Failure>> = stream::iter(&works)
            .map(async |(filled, request)| {
                let work = Work { fleet, filled, rollout: Some(&id), quiet, leaves: None };
                match work.deploy(request, wanted).await {
                    Ok(deployed) => note(&filled.node, NodeResult::Done { changed: !deployed.unchanged }),
                    Err(DeployFault::Unknown(why)) if why == INTERRUPTED => {
                        interrupted.replace(Some(()));
                        Ok(())
                    }
                    Err(fault) => {
                        talk(&format!("{}: {fault}", filled.node));
                        note(&filled.node, failed(&fault))
                    }
                }
            })
            .buffer_unordered(self.options.parallel)
            .collect()
            .await;
        results.into_iter().collect::<Result<(), Failure>>()?;
        Ok(interrupted.into_inner())
    }

    async fn go_back(&mut self, nodes: Vec<NodeName>, why: &str) -> Result<(), Failure> {
        talk(&format!("{} nodes go back: {why}", nodes.len()));
        let id = self.book.rollout.brief.id.clone();
        let aborted = self.book.rollout.aborted.is_some();
        let works: Vec<(NodeName, Option<&Filled>)> =
            nodes.into_iter().map(|node| (node.clone(), self.filled(&node))).collect();
        let (fleet, placed, options) = (self.fleet, &self.release.placed, &self.options);
        let results = stream::iter(works)
            .map(async |(node, filled)| {
                let Some((filled, site)) =
                    filled.and_then(|filled| Some((filled, fleet.site(filled, options.wait_lock)?)))
                else {
                    return (node, Some("nothing fills it now".to_owned()));
                };
                let env = fleet.edges.access.server_env.clone();
                let request = RollbackRequest {
                    site,
                    to: None,
                    env,
                    maintenance: maintenance(fleet, options.on_timeout),
                };
                // Somebody's wish alone blames no release.
                let leaves = (!aborted).then(|| placed.clone());
                let work = Work { fleet, filled, rollout: Some(&id), quiet: options.quiet, leaves };
                let result = work.rollback(&request, None).await;
                (node, result.err().map(|fault| fault.to_string()))
            })
            .buffer_unordered(self.options.parallel)
            .collect::<Vec<_>>()
            .await;
        for (node, fault) in results {
            if let Some(why) = &fault {
                talk(&format!("{node} did not go back: {why}"));
            }
            self.note(&Happened::WentBack { node, fault })?;
        }
        Ok(())
    }

    fn interrupted(&mut self) -> Result<u8, Failure> {
        let by = crate::cli::verbs::person();
        self.note(&Happened::Paused { by, why: "interrupted".into() })?;
        Err(Failure::new(exit::UNKNOWN, "interrupted: boxes that were being worked on settle by themselves")
            .hint("`vast-keeper rollout continue` takes it up, `rollout abort` ends it"))
    }

    fn stands(&self) -> u8 {
        if let Some(pause) = &self.book.rollout.paused {
            talk(&format!("paused by {}: {}", pause.by, pause.why));
        }
        talk("hint: `vast-keeper rollout continue` goes on, `vast-keeper rollout abort` ends it");
        exit::REFUSED
    }

    async fn tell_paused(&self, why: &str) {
        let id = &self.book.rollout.brief.id;
        let title = format!("rollout {id} waits for you: {why}");
        let next = "`vast-keeper rollout continue` goes on, `vast-keeper rollout abort --back` takes it back";
        self.tell(Severity::Critical, title, next).await;
    }

    async fn tell_end(&self, ending: &Ending) {
        let rollout = &self.book.rollout;
        let severity = match ending {
            Ending::Done if rollout.failures() == 0 => Severity::Info,
            Ending::Done | Ending::Aborted { .. } => Severity::Warning,
            Ending::Stopped { .. } | Ending::AtFault { .. } | Ending::Worse { .. } => Severity::Critical,
        };
        let title = format!("rollout {}: {}", rollout.brief.id, super::ending_words(ending));
        talk(&title);
        self.tell(severity, title, "`vast-keeper rollout status` tells node by node").await;
    }

    async fn tell(&self, severity: Severity, title: String, next: &str) {
        let brief = &self.book.rollout.brief;
        let (done, all) = (super::done(&self.book.rollout), brief.members.len());
        let facts = [
            ("release", format!("{} (commit {})", brief.release.name, brief.release.commit)),
            ("by", brief.by.clone()),
            ("nodes", format!("{done} of {all} serve it, {} failed", self.book.rollout.failures())),
        ];
        let notice = Notice {
            at: Clock::new().now(),
            severity,
            topic: Topic::Deploy,
            node: None,
            incident: None,
            title,
            facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            next: next.into(),
        };
        tell_fleet(&self.fleet.config, notice).await;
    }
}

fn failed(fault: &DeployFault) -> NodeResult {
    let first = fault.first();
    let left = match fault {
        DeployFault::RolledBack { .. } => Left::WentBack,
        DeployFault::RollbackFailed { .. } => Left::Broken,
        DeployFault::Unknown(_) => Left::Unknown,
        DeployFault::Halfway { .. } => Left::Broken,
        DeployFault::Release(_)
        | DeployFault::Box(_)
        | DeployFault::Refused(_)
        | DeployFault::Locked(_)
        | DeployFault::Unhealthy(_)
        | DeployFault::HostKeyChanged(_) => Left::AsItWas,
    };
    NodeResult::Failed { detail: first.to_string(), at_fault: is_the_releases(fault), left }
}
