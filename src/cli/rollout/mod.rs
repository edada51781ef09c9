//! `deploy` over several nodes, and `rollout status|pause|continue|abort` for what is under way.
//!
//! The core's planner decides (`fleet::rollout`), the runner here does. It runs in the process of the command, holds a lock, and
//! writes every fact down first; killed at any moment, `rollout continue` follows it, with the very release it began with and on
//! the very terms.

mod book;
mod node;
mod run;
mod sample;
mod show;
mod tell;

use std::ops::ControlFlow;

use self::{
    book::{Books, Wish},
    run::Runner,
};
use super::{
    args::{Common, Consent, RolloutAction},
    boxes::Fleet,
    client::Client,
    consent,
    exit::{self, Failure},
    print::{data, talk},
    setup,
    verbs::person,
    wanted::Release,
};
use crate::{
    clock::Clock,
    config::{Config, Need},
    fleet::{
        name::NodeName,
        rollout::{Brief, Happened, Health, Manner, Member, Order, Plan, Rollout, Terms},
    },
};

/// Brings a release to the fleet's nodes.
pub(super) async fn begin(
    fleet: &Fleet,
    release: Release,
    plan: Plan,
    terms: Terms,
    json: bool,
) -> Result<u8, Failure> {
    let books = Books::new(&fleet.config.state_dir);
    let lock = books.lock().map_err(unreadable)?.ok_or_else(|| {
        Failure::new(exit::LOCKED, "another rollout is under way")
            .hint("`vast-keeper rollout status` shows it")
    })?;
    if let Some(open) = open(&books)? {
        let message = format!("rollout {} has not ended", open.brief.id);
        return Err(Failure::new(exit::LOCKED, message)
            .hint("`vast-keeper rollout continue` takes it up, `vast-keeper rollout abort` ends it"));
    }
    let keeper = keeper_for(&fleet.config, &plan).await?;
    // Whoever takes it up must have the very same, whatever the configuration says by then.
    let kept = release.keep(fleet).await;
    kept.map_err(|fault| Failure::new(exit::UNKNOWN, format!("the release cannot be kept: {fault}")))?;
    let members = fleet
        .nodes
        .iter()
        .map(|filled| Member { node: filled.node.clone(), host: filled.tenant.rental.host });
    let now = Clock::new().now();
    let brief = Brief {
        id: books.fresh_id(now),
        by: person(),
        release: release.placed.clone(),
        plan,
        terms,
        members: members.collect(),
    };
    let book = books.begin(&lock, brief, now).map_err(unreadable)?;
    let (id, name) = (&book.rollout.brief.id, &release.placed.name);
    talk(&format!("rollout {id}: {name} to {}", fleet.names()));
    run_to_end(fleet, Some(release), &books, book, keeper, json).await
}

/// The running keeper, where it is the one that rents second boxes.
async fn keeper_for(config: &Config, plan: &Plan) -> Result<Option<Client>, Failure> {
    match plan.manner {
        Manner::BlueGreen => Client::connect(&config.control_socket).await.map(Some),
        Manner::Rolling | Manner::Canary => Ok(None),
    }
}

async fn run_to_end(
    fleet: &Fleet,
    release: Option<Release>,
    books: &Books,
    book: book::Book,
    keeper: Option<Client>,
    json: bool,
) -> Result<u8, Failure> {
    let http = reqwest::Client::builder().no_proxy().build();
    let http = http.map_err(|fault| Failure::new(exit::BUG, exit::chain(&fault)))?;
    let code = Runner { fleet, release, books, book, keeper, http, quiet: json }.run().await?;
    if json && let Some(rollout) = newest(books)? {
        show::show_json(&rollout, false)?;
    }
    Ok(code)
}

pub(super) async fn rollout(common: &Common, action: RolloutAction) -> Result<u8, Failure> {
    let by = person();
    match action {
        RolloutAction::Status { json } => show::status(common, json),
        RolloutAction::Pause => write_down(common, Wish::Pause { by }),
        RolloutAction::Abort { back, consent } => {
            let act = if back { "take the nodes of the rollout back" } else { "end the rollout" };
            // To end it as it stands changes nothing that serves.
            let consent = back.then_some((&consent, act));
            go_on(common, Wish::Abort { by, back }, consent, false).await
        }
        RolloutAction::Continue { json, consent } => {
            let consent = Some((&consent, "go on with the rollout"));
            go_on(common, Wish::Continue { by }, consent, json).await
        }
    }
}

/// Whether a rollout of that release has not ended.
pub(super) fn is_open(config: &Config, release: &str) -> Result<bool, Failure> {
    Ok(open(&Books::new(&config.state_dir))?.is_some_and(|open| open.brief.release.name == release))
}

/// Goes on with the open rollout, for whoever was allowed to begin it.
pub(super) async fn take_up(common: &Common) -> Result<u8, Failure> {
    go_on(common, Wish::Continue { by: person() }, None, false).await
}

/// What a wish meets: the right to carry it out oneself, or the end of the command.
type Met = ControlFlow<u8, (book::Lock, Rollout)>;

/// Where a runner is under way the wish is left for it; where nobody runs the rollout, this process may.
fn meet(books: &Books, wish: &Wish) -> Result<Met, Failure> {
    let Some(open) = open(books)? else {
        talk("no rollout is under way");
        return Ok(ControlFlow::Break(exit::NOTHING));
    };
    if let Some(lock) = books.lock().map_err(unreadable)? {
        return Ok(ControlFlow::Continue((lock, open)));
    }
    books.wish(wish).map_err(unreadable)?;
    data(&format!("rollout {} hears of it before its next batch", open.brief.id))?;
    Ok(ControlFlow::Break(exit::DONE))
}

/// A wish that needs no work: it is written down where nobody runs the rollout.
fn write_down(common: &Common, wish: Wish) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let books = Books::new(&config.state_dir);
    let (lock, open) = match meet(&books, &wish)? {
        ControlFlow::Continue(met) => met,
        ControlFlow::Break(code) => return Ok(code),
    };
    let Some(book) = taken_up(&books, &lock, wish)? else { return Ok(exit::NOTHING) };
    data(&format!("rollout {}: {}", open.brief.id, show::summary(&book.rollout, false)))?;
    Ok(exit::DONE)
}

/// Work on boxes, for which this process becomes the runner.
async fn go_on(
    common: &Common,
    wish: Wish,
    consent: Option<(&Consent, &str)>,
    json: bool,
) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Run)?;
    if let Some((consent, act)) = consent {
        consent::if_protected(&config, consent, act)?;
    }
    let books = Books::new(&config.state_dir);
    let (lock, open) = match meet(&books, &wish)? {
        ControlFlow::Continue(met) => met,
        ControlFlow::Break(code) => return Ok(code),
    };
    if matches!(wish, Wish::Abort { .. }) {
        let Some(book) = taken_up(&books, &lock, wish)? else { return Ok(exit::NOTHING) };
        return end(common, &config, &books, book, json).await;
    }
    let (fleet, keeper) = boxes(common, &config, &open).await?;
    let release = kept(&fleet, &open).await?;
    unless_shunned_meanwhile(&fleet, &release, &open)?;
    let Some(book) = taken_up(&books, &lock, wish)? else { return Ok(exit::NOTHING) };
    run_to_end(&fleet, Some(release), &books, book, keeper, json).await
}

/// Ends an aborted rollout: at once where no box must be seen to, for then it needs neither them nor the provider.
async fn end(
    common: &Common,
    config: &Config,
    books: &Books,
    mut book: book::Book,
    json: bool,
) -> Result<u8, Failure> {
    let now = Clock::new().now();
    if let Order::Finish(ending) = book.rollout.next(now, &Health::new()) {
        book.note(now, &Happened::Finished { ending: ending.clone() }).map_err(unreadable)?;
        tell::tell_end(config, &book.rollout, &ending).await;
        data(&format!("rollout {}: {}", book.rollout.brief.id, show::summary(&book.rollout, false)))?;
        return Ok(exit::DONE);
    }
    let (fleet, keeper) = boxes(common, config, &book.rollout).await?;
    // Nothing has to be brought anywhere any more.
    let release = kept(&fleet, &book.rollout).await.ok();
    let code = run_to_end(&fleet, release, books, book, keeper, json).await?;
    // For whoever asked for the end it is no refusal.
    Ok(if code == exit::REFUSED { exit::DONE } else { code })
}

/// The members of a rollout that are filled, and who rents second boxes for it.
async fn boxes(
    common: &Common,
    config: &Config,
    rollout: &Rollout,
) -> Result<(Fleet, Option<Client>), Failure> {
    let members: Vec<NodeName> = rollout.brief.members.iter().map(|member| member.node.clone()).collect();
    let keeper = keeper_for(config, &rollout.brief.plan).await?;
    Ok((Fleet::find_filled(common, &members).await?, keeper))
}

/// Refuses to go on with a release that others have found bad since. What its own nodes say of it, the rollout itself has weighed.
fn unless_shunned_meanwhile(fleet: &Fleet, release: &Release, open: &Rollout) -> Result<(), Failure> {
    let shunned = fleet.known.quarantine.get(&release.placed.name);
    let by_its_own = shunned.is_some_and(|shunned| open.progress.contains_key(&shunned.node));
    if open.brief.terms.force || (by_its_own && fleet.known.fault_of(&release.placed.digest).is_none()) {
        return Ok(());
    }
    release.unless_shunned(fleet).map_err(|refused| {
        refused.hint("`vast-keeper rollout abort` ends it, `--back` takes back what it brought; `deploy --force` insists")
    })
}

/// The release that a rollout was begun with, from the keeper's own copy.
async fn kept(fleet: &Fleet, open: &Rollout) -> Result<Release, Failure> {
    let placed = &open.brief.release;
    let lost = |why: String| {
        Failure::new(
            exit::REFUSED,
            format!("the release `{}` of rollout {} {why}", placed.name, open.brief.id),
        )
        .hint("`vast-keeper rollout abort` ends it; begin another")
    };
    let taken = Release::kept(fleet, placed).await;
    let taken = taken.map_err(|fault| lost(format!("cannot be read: {fault}")))?;
    taken.ok_or_else(|| lost("is not kept here any more".into()))
}

/// The book of the open rollout with the wish in it.
fn taken_up(books: &Books, lock: &book::Lock, wish: Wish) -> Result<Option<book::Book>, Failure> {
    let Some(mut book) = books.take_up(lock).map_err(unreadable)? else { return Ok(None) };
    let now = Clock::new().now();
    book.note(now, &Happened::TakenUp).map_err(unreadable)?;
    book.note(now, &wish.happened()).map_err(unreadable)?;
    Ok(Some(book))
}

fn open(books: &Books) -> Result<Option<Rollout>, Failure> {
    Ok(newest(books)?.filter(|rollout| rollout.ending.is_none()))
}

fn newest(books: &Books) -> Result<Option<Rollout>, Failure> {
    books.newest().map_err(unreadable)
}

fn unreadable(fault: std::io::Error) -> Failure {
    Failure::new(exit::BUG, format!("what is written of rollouts cannot be used: {fault}"))
}
