//! The runner: carries out what the rollout orders, writes down what came of it, and leaves when a person is needed.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::{
    book::{Book, Books},
    node::{self, Doing, Share},
    sample, show,
    tell::{tell_end, tell_paused},
};
use crate::{
    cli::{
        boxes::{Filled, Fleet},
        claim::Claim,
        client::Client,
        exit::{self, Failure},
        print::talk,
        switch,
        verbs::person,
        wanted::Release,
    },
    clock::Clock,
    deploy::{self, DeployFault, DeployRequest},
    fleet::{
        name::NodeName,
        rollout::{Happened, Health, Order, Progress},
        units::Timestamp,
    },
};

/// How often wishes are looked for while nothing else happens.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// A rollout being carried out.
pub(super) struct Runner<'a> {
    pub fleet: &'a Fleet,
    /// What is brought; none where the rollout only ends.
    pub release: Option<Release>,
    pub books: &'a Books,
    pub book: Book,
    /// Who rents second boxes, in blue-green.
    pub keeper: Option<Client>,
    pub http: reqwest::Client,
    pub quiet: bool,
}

/// What an order came to.
enum Came {
    /// It was carried out, or its time has come.
    Out,
    /// Somebody wants the command to end.
    Interrupted,
}

fn unwritable(fault: std::io::Error) -> Failure {
    Failure::new(exit::UNKNOWN, format!("the rollout cannot be written down: {fault}"))
        .hint("`vast-keeper rollout status` tells how far it came")
}

impl Runner<'_> {
    /// Goes on until it has ended or a person must decide.
    pub(super) async fn run(mut self) -> Result<u8, Failure> {
        if let Came::Interrupted = self.bring_everywhere().await? {
            return self.interrupted();
        }
        let mut said = String::new();
        loop {
            if let Some(wish) = self.books.wished() {
                self.note(&wish.happened())?;
            }
            let health = self.health().await?;
            let order = self.book.rollout.next(Clock::new().now(), &health);
            let came = match order {
                Order::Stand => return Ok(self.stands()),
                Order::Nothing => return Ok(show::code_of(&self.book.rollout)),
                order => self.carry_out(order, &mut said).await?,
            };
            if let Came::Interrupted = came {
                return self.interrupted();
            }
        }
    }

    async fn carry_out(&mut self, order: Order, said: &mut String) -> Result<Came, Failure> {
        match order {
            Order::Start(nodes) => return self.batch(nodes).await,
            Order::Settle(nodes) => return self.settle(nodes).await,
            Order::GoBack { nodes, why } => return self.go_back(nodes, &why).await,
            // Only another runner's, and this one holds the lock.
            Order::Await(_) => self.note(&Happened::TakenUp)?,
            Order::Wait { until } => return Ok(self.wait(until).await),
            Order::WaitForHealth { why, .. } => {
                if *said != why {
                    talk(&format!("waiting: {why}"));
                    *said = why;
                }
                return Ok(self.wait(Clock::new().now().after(Duration::from_secs(1))).await);
            }
            Order::Analyse { node, others, until } => return self.analyse(&node, &others, until).await,
            Order::Pause { why } => {
                self.note(&Happened::Paused { by: "the rollout".into(), why: why.clone() })?;
                tell_paused(&self.fleet.config, &self.book.rollout, &why).await;
            }
            Order::Finish(ending) => {
                self.note(&Happened::Finished { ending: ending.clone() })?;
                tell_end(&self.fleet.config, &self.book.rollout, &ending).await;
            }
            Order::Stand | Order::Nothing => {}
        }
        Ok(Came::Out)
    }

    fn note(&mut self, happened: &Happened) -> Result<(), Failure> {
        self.book.note(Clock::new().now(), happened).map_err(unwritable)
    }

    /// Asked only where the answer counts.
    async fn health(&self) -> Result<Health, Failure> {
        match &self.keeper {
            _ if self.book.rollout.paused.is_some() || self.book.rollout.aborted.is_some() => {
                Ok(Health::new())
            }
            // Which box fills a node changes under our hands; the keeper knows.
            Some(keeper) => switch::health(keeper).await,
            None => Ok(sample::health(&self.http, self.fleet).await),
        }
    }

    async fn wait(&self, until: Timestamp) -> Came {
        let clock = Clock::new();
        while clock.now() < until && !self.books.has_wish() {
            let pause = clock.now().until(until).min(LOOK_EVERY);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.fleet.stop().asked() => return Came::Interrupted,
            }
        }
        Came::Out
    }

    async fn wish_left(&self) {
        while !self.books.has_wish() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn analyse(
        &mut self,
        node: &NodeName,
        others: &[NodeName],
        until: Timestamp,
    ) -> Result<Came, Failure> {
        talk(&format!("{node} is held as the canary for {} s", Clock::new().now().until(until).as_secs()));
        let verdict = tokio::select! {
            verdict = sample::analyse(&self.http, self.fleet, node, others, until) => verdict,
            () = self.fleet.stop().asked() => return Ok(Came::Interrupted),
            // A pause or an abort does not wait for the end of a hold that may last for days.
            () = self.wish_left() => return Ok(Came::Out),
        };
        talk(&format!("{node}: {}", show::verdict_words(&verdict)));
        self.note(&Happened::Analysed { verdict })?;
        Ok(Came::Out)
    }

    /// What is slow and may fail, everywhere, before anything is switched anywhere. Second boxes are not there yet.
    async fn bring_everywhere(&mut self) -> Result<Came, Failure> {
        let begun = self.book.rollout.progress.values().any(|progress| *progress != Progress::Waiting)
            || !self.book.rollout.cut_short.is_empty();
        let (Some(release), None, false) = (&self.release, &self.keeper, begun) else { return Ok(Came::Out) };
        if self.book.rollout.aborted.is_some() {
            return Ok(Came::Out);
        }
        let (fleet, terms) = (self.fleet, &self.book.rollout.brief.terms);
        let members = |filled: &&Filled| self.book.rollout.progress.contains_key(&filled.node);
        let works = fleet.nodes.iter().filter(members);
        let works: Vec<_> = works
            .filter_map(|filled| Some((filled.node.clone(), release.request(fleet, filled, terms)?)))
            .collect();
        talk(&format!("bringing {} to {} nodes", release.placed.name, works.len()));
        let brought = stream::iter(works)
            .map(async |(node, request)| (node, bring(fleet, request).await))
            .buffer_unordered(fleet.config.rollout.parallel)
            .collect::<Vec<_>>();
        let brought = tokio::select! {
            brought = brought => brought,
            () = fleet.stop().asked() => return Ok(Came::Interrupted),
        };
        for (node, result) in brought {
            match result {
                Ok(_) => talk(&format!("{node}: the release is there")),
                // Whoever works on the box now may be done when its turn comes.
                Err(DeployFault::Locked(why)) => talk(&format!("{node}: {why}")),
                Err(fault) => {
                    talk(&format!("{node}: {fault}"));
                    self.note(&Happened::Ended { node, result: node::failed(&fault) })?;
                }
            }
        }
        Ok(Came::Out)
    }

    /// Works on these at once; what comes of each is written down as it comes.
    async fn each(&mut self, nodes: Vec<NodeName>, doing: Doing) -> Result<Came, Failure> {
        let Self { fleet, release, book, keeper, quiet, .. } = self;
        let (brief, began_at) = (book.rollout.brief.clone(), book.rollout.began_at);
        let (release, keeper, quiet) = (release.as_ref(), keeper.as_ref(), *quiet);
        let shares = nodes.into_iter().map(|node| Share {
            fleet,
            brief: &brief,
            began_at,
            node,
            release,
            keeper,
            quiet,
        });
        let mut came = stream::iter(shares)
            .map(async |share| share.carry_out(doing).await)
            .buffer_unordered(fleet.config.rollout.parallel);
        let (mut interrupted, mut failure) = (false, None);
        while let Some(came) = came.next().await {
            match came {
                Ok(Some(happened)) => {
                    book.note(Clock::new().now(), &happened).map_err(unwritable)?;
                }
                Ok(None) => interrupted = true,
                // The others come to their ends; this one is begun again by whoever takes it up.
                Err(fault) => failure = Some(fault),
            }
        }
        match failure {
            Some(failure) => Err(failure.hint("`vast-keeper rollout continue` takes it up")),
            None if interrupted => Ok(Came::Interrupted),
            None => Ok(Came::Out),
        }
    }

    async fn batch(&mut self, nodes: Vec<NodeName>) -> Result<Came, Failure> {
        let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        let (failures, budget) = (self.book.rollout.failures(), self.book.rollout.budget());
        talk(&format!("deploying to {} ({failures} of {budget} failures used)", names.join(", ")));
        self.note(&Happened::Started { nodes: nodes.clone() })?;
        self.each(nodes, Doing::Bring).await
    }

    async fn settle(&mut self, nodes: Vec<NodeName>) -> Result<Came, Failure> {
        talk(&format!("{} nodes were left half-way: seeing to them", nodes.len()));
        self.each(nodes, Doing::Settle).await
    }

    async fn go_back(&mut self, nodes: Vec<NodeName>, why: &str) -> Result<Came, Failure> {
        talk(&format!("{} nodes go back: {why}", nodes.len()));
        // Somebody's wish alone blames no release.
        let blamed = self.book.rollout.aborted.is_none();
        self.each(nodes, Doing::TakeBack { blamed }).await
    }

    fn interrupted(&mut self) -> Result<u8, Failure> {
        self.note(&Happened::Paused { by: person(), why: "interrupted".into() })?;
        Err(Failure::new(exit::UNKNOWN, "interrupted: boxes that were being worked on settle by themselves")
            .hint("`vast-keeper rollout continue` takes it up, `vast-keeper rollout abort` ends it"))
    }

    fn stands(&self) -> u8 {
        if let Some(pause) = &self.book.rollout.paused {
            talk(&format!("paused by {}: {}", pause.by, pause.why));
        }
        talk("hint: `vast-keeper rollout continue` goes on, `vast-keeper rollout abort` ends it");
        exit::REFUSED
    }
}

/// Brings the release to one box, and switches nothing.
async fn bring(fleet: &Fleet, mut request: DeployRequest) -> Result<String, DeployFault> {
    let claim = Claim::to(&fleet.config.state_dir, &request.site.node);
    request.site.by = claim.name().to_owned();
    let (progress, _untaken) = mpsc::channel(1);
    let result = deploy::bring(&fleet.edges.remote, &request, &progress).await;
    if !matches!(result, Err(DeployFault::Unknown(_))) {
        claim.given_back();
    }
    result
}
