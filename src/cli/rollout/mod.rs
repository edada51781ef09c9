//! `deploy` over several nodes, and `rollout status|pause|continue|abort` for what is under way.
//!
//! The core's planner decides (`fleet::rollout`), the runner here does. It runs in the process of the command, holds a lock, and
//! writes every fact down first; killed at any moment, `rollout continue` follows it, with the very release it began with.

mod book;
mod run;
mod sample;

use std::time::Duration;

use serde_json::json;

use self::{
    book::{Books, Wish},
    run::{Options, Runner},
};
use super::{
    args::{Common, RolloutAction},
    boxes::Fleet,
    exit::{self, Failure},
    print::{self, data, talk},
    setup, show,
    verbs::person,
    work::Release,
};
use crate::{
    clock::Clock,
    config::Need,
    deploy::{OnTimeout, Restart},
    fleet::{
        name::NodeName,
        rollout::{Brief, Ending, Happened, Left, Member, Progress, Rollout, Verdict},
    },
};

/// What a rollout by command line asks for besides the configuration.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub force: bool,
    pub restart: Restart,
    pub on_timeout: Option<OnTimeout>,
    pub wait_lock: Duration,
    pub json: bool,
}

/// Brings a release to the fleet's nodes.
pub(super) async fn begin(
    fleet: &Fleet,
    release: Release,
    plan: crate::fleet::rollout::Plan,
    asked: Asked,
) -> Result<u8, Failure> {
    let books = Books::new(&fleet.config.state_dir);
    let lock = locked(&books)?;
    if let Some(open) = newest(&books)?.filter(|rollout| rollout.ending.is_none()) {
        let message = format!("rollout {} has not ended", open.brief.id);
        return Err(Failure::new(exit::LOCKED, message)
            .hint("`vast-keeper rollout continue` takes it up, `vast-keeper rollout abort` ends it"));
    }
    // Whoever takes it up must have the very same, whatever the configuration says by then.
    let kept = fleet.edges.shelf.put(&release.placed, &release.artifact, &release.env).await;
    kept.map_err(|fault| Failure::new(exit::UNKNOWN, format!("the release cannot be kept: {fault}")))?;
    let members = fleet
        .nodes
        .iter()
        .map(|filled| Member { node: filled.node.clone(), host: filled.tenant.rental.host });
    let now = Clock::new().now();
    let brief = Brief {
        id: format!("r{}", now.0 / 1000),
        by: person(),
        release: release.placed.clone(),
        plan,
        members: members.collect(),
    };
    let book = books.begin(&lock, brief, now).map_err(unreadable)?;
    talk(&format!(
        "rollout {}: {} to {} nodes",
        book.rollout.brief.id,
        release.placed.name,
        fleet.nodes.len()
    ));
    let json = asked.json;
    let runner = runner(fleet, release, &books, book, asked)?;
    let code = runner.run().await?;
    if json && let Some(rollout) = newest(&books)? {
        show_json(&rollout)?;
    }
    Ok(code)
}

fn runner<'a>(
    fleet: &'a Fleet,
    release: Release,
    books: &'a Books,
    book: book::Book,
    asked: Asked,
) -> Result<Runner<'a>, Failure> {
    let http = reqwest::Client::builder().no_proxy().build();
    let http = http.map_err(|fault| Failure::new(exit::BUG, exit::chain(&fault)))?;
    let options = Options {
        force: asked.force,
        restart: asked.restart,
        on_timeout: asked.on_timeout,
        wait_lock: asked.wait_lock,
        parallel: fleet.config.rollout.parallel,
        quiet: asked.json,
    };
    Ok(Runner { fleet, release, books, book, options, http })
}

pub(super) async fn rollout(common: &Common, action: RolloutAction) -> Result<u8, Failure> {
    match action {
        RolloutAction::Status { json } => status(common, json),
        RolloutAction::Pause => wish(common, Wish::Pause { by: person() }).await,
        RolloutAction::Abort { back: false } => wish(common, Wish::Abort { by: person(), back: false }).await,
        // Going back is work on boxes, which a runner does.
        RolloutAction::Abort { back: true } => {
            go_on(common, Wish::Abort { by: person(), back: true }, false).await
        }
        RolloutAction::Continue { json } => go_on(common, Wish::Continue { by: person() }, json).await,
    }
}

fn status(common: &Common, as_json: bool) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let books = Books::new(&config.state_dir);
    let Some(rollout) = newest(&books)? else {
        talk("there was no rollout yet");
        return Ok(exit::NOTHING);
    };
    if as_json {
        show_json(&rollout)?;
        return Ok(exit::DONE);
    }
    let brief = &rollout.brief;
    let running = books.lock().map_err(unreadable)?.is_none();
    data(&format!(
        "rollout {} of {} (commit {}) by {}, begun {}: {}",
        brief.id,
        brief.release.name,
        brief.release.commit,
        brief.by,
        show::clock_time(rollout.began_at),
        summary(&rollout, running)
    ))?;
    data(&format!("{} of {} failures used", rollout.failures(), rollout.budget()))?;
    if let Some(verdict) = &rollout.verdict {
        data(&format!("canary: {}", verdict_words(verdict)))?;
    }
    let rows: Vec<[String; 2]> = rollout
        .standing()
        .map(|(member, progress)| [member.node.to_string(), progress_words(progress)])
        .collect();
    show::table(&["node", "how it stands"], &rows)?;
    Ok(exit::DONE)
}

/// A wish that needs no work: left for the runner under way, or written down where none runs.
async fn wish(common: &Common, wish: Wish) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let books = Books::new(&config.state_dir);
    let open = newest(&books)?.filter(|rollout| rollout.ending.is_none());
    let Some(open) = open else {
        talk("no rollout is under way");
        return Ok(exit::NOTHING);
    };
    let Some(lock) = books.lock().map_err(unreadable)? else {
        books.wish(&wish).map_err(unreadable)?;
        data(&format!("rollout {} hears of it before its next batch", open.brief.id))?;
        return Ok(exit::DONE);
    };
    let Some(mut book) = books.take_up(&lock).map_err(unreadable)? else { return Ok(exit::NOTHING) };
    let ends = matches!(wish, Wish::Abort { .. });
    let now = Clock::new().now();
    book.note(now, &Happened::TakenUp).map_err(unreadable)?;
    book.note(now, &wish.happened()).map_err(unreadable)?;
    if ends {
        let ending = Ending::Aborted { by: person() };
        book.note(now, &Happened::Finished { ending }).map_err(unreadable)?;
    }
    data(&format!("rollout {}: {}", open.brief.id, summary(&book.rollout, false)))?;
    Ok(exit::DONE)
}

/// A wish that needs a runner: left for the one under way, or this process becomes it.
async fn go_on(common: &Common, wish: Wish, json: bool) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Run)?;
    let books = Books::new(&config.state_dir);
    let open = newest(&books)?.filter(|rollout| rollout.ending.is_none());
    let Some(open) = open else {
        talk("no rollout is under way");
        return Ok(exit::NOTHING);
    };
    let Some(lock) = books.lock().map_err(unreadable)? else {
        books.wish(&wish).map_err(unreadable)?;
        data(&format!("rollout {} hears of it before its next batch", open.brief.id))?;
        return Ok(exit::DONE);
    };
    let members: Vec<NodeName> = open.brief.members.iter().map(|member| member.node.clone()).collect();
    let fleet = Fleet::find_filled(common, &members).await?;
    let name = &open.brief.release.name;
    let lost = |why: String| {
        Failure::new(exit::REFUSED, format!("the release `{name}` of rollout {} {why}", open.brief.id))
            .hint("`vast-keeper rollout abort` ends it; begin another")
    };
    let kept =
        fleet.edges.shelf.take(name).await.map_err(|fault| lost(format!("cannot be read: {fault}")))?;
    let (artifact, env) = kept.ok_or_else(|| lost("is not kept here any more".into()))?;
    let release = Release { placed: open.brief.release.clone(), artifact, env };
    let Some(mut book) = books.take_up(&lock).map_err(unreadable)? else { return Ok(exit::NOTHING) };
    let now = Clock::new().now();
    book.note(now, &Happened::TakenUp).map_err(unreadable)?;
    book.note(now, &wish.happened()).map_err(unreadable)?;
    let asked = Asked {
        force: false,
        restart: Restart::IfChanged,
        on_timeout: None,
        wait_lock: Duration::ZERO,
        json,
    };
    let code = runner(&fleet, release, &books, book, asked)?.run().await?;
    if json && let Some(rollout) = newest(&books)? {
        show_json(&rollout)?;
    }
    Ok(code)
}

fn locked(books: &Books) -> Result<book::Lock, Failure> {
    let lock = books.lock().map_err(unreadable)?;
    lock.ok_or_else(|| {
        Failure::new(exit::LOCKED, "another rollout is under way")
            .hint("`vast-keeper rollout status` shows it")
    })
}

fn newest(books: &Books) -> Result<Option<Rollout>, Failure> {
    books.newest().map_err(unreadable)
}

fn unreadable(fault: std::io::Error) -> Failure {
    Failure::new(exit::BUG, format!("what is written of rollouts cannot be used: {fault}"))
}

/// The stable word for where a node stands.
fn word(progress: &Progress) -> &'static str {
    match progress {
        Progress::Waiting => "waiting",
        Progress::Working => "working",
        Progress::Done { changed: true, .. } => "done",
        Progress::Done { changed: false, .. } => "unchanged",
        Progress::Failed { .. } => "failed",
        Progress::Back => "back",
        Progress::Stuck { .. } => "stuck",
    }
}

/// The exit code of a rollout that has ended.
fn code_of(rollout: &Rollout) -> u8 {
    let broken = |progress: &Progress| {
        matches!(progress, Progress::Stuck { .. } | Progress::Failed { left: Left::Broken, .. })
    };
    let unknown = |progress: &Progress| matches!(progress, Progress::Failed { left: Left::Unknown, .. });
    let changed = |progress: &Progress| matches!(progress, Progress::Done { changed: true, .. });
    let progress = || rollout.progress.values();
    match &rollout.ending {
        _ if progress().any(broken) => exit::ROLLBACK_FAILED,
        _ if progress().any(unknown) => exit::UNKNOWN,
        Some(Ending::Done) if rollout.failures() == 0 => {
            if progress().any(changed) {
                exit::DONE
            } else {
                exit::NOTHING
            }
        }
        Some(Ending::Aborted { .. }) | None => exit::REFUSED,
        Some(Ending::Done | Ending::Stopped { .. } | Ending::AtFault { .. } | Ending::Worse { .. }) => {
            exit::ROLLED_BACK
        }
    }
}

fn done(rollout: &Rollout) -> usize {
    rollout.progress.values().filter(|progress| matches!(progress, Progress::Done { .. })).count()
}

fn ending_words(ending: &Ending) -> String {
    match ending {
        Ending::Done => "every node was reached".into(),
        Ending::Stopped { why } => format!("stopped: {why}"),
        Ending::AtFault { evidence } => format!("the release is at fault: {evidence}"),
        Ending::Worse { why } => format!("the canary is worse: {why}"),
        Ending::Aborted { by } => format!("aborted by {by}"),
    }
}

fn summary(rollout: &Rollout, running: bool) -> String {
    match (&rollout.ending, &rollout.aborted, &rollout.paused) {
        (Some(ending), ..) => ending_words(ending),
        (None, Some((by, _)), _) => format!("being aborted by {by}"),
        (None, None, Some(pause)) => format!("paused by {}: {}", pause.by, pause.why),
        (None, None, None) if running => "under way".into(),
        (None, None, None) => "left by its runner: `vast-keeper rollout continue` takes it up".into(),
    }
}

fn verdict_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Better { why } => format!("no worse: {why}"),
        Verdict::Worse { why } => format!("worse: {why}"),
        Verdict::Unknown { why } => format!("nothing can be said: {why}"),
    }
}

fn progress_words(progress: &Progress) -> String {
    match progress {
        Progress::Waiting => "waits".into(),
        Progress::Working => "is being worked on".into(),
        Progress::Done { changed: true, .. } => "serves it".into(),
        Progress::Done { changed: false, .. } => "served it already".into(),
        Progress::Failed { detail, left, .. } => {
            let left = match left {
                Left::AsItWas => "left as it was",
                Left::WentBack => "went back",
                Left::Unknown => "outcome unknown",
                Left::Broken => "could not go back",
            };
            format!("failed, {left}: {}", detail.lines().next().unwrap_or_default())
        }
        Progress::Back => "was taken back".into(),
        Progress::Stuck { why } => format!("should have been taken back: {why}"),
    }
}

fn show_json(rollout: &Rollout) -> print::Printed {
    let nodes: Vec<_> = rollout
        .standing()
        .map(|(member, progress)| {
            let state = word(progress);
            json!({ "node": member.node, "state": state, "text": progress_words(progress) })
        })
        .collect();
    let brief = &rollout.brief;
    print::json(&json!({
        "id": brief.id, "by": brief.by, "release": brief.release, "plan": brief.plan, "nodes": nodes,
        "failures": rollout.failures(), "budget": rollout.budget(), "verdict": rollout.verdict,
        "paused": rollout.paused.as_ref().map(|pause| json!({ "by": pause.by, "why": pause.why })),
        "ending": rollout.ending,
    }))
}
