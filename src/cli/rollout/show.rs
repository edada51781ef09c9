//! How a rollout looks: on a terminal, as JSON, as an exit code.

use serde_json::json;

use super::{book::Books, newest, unreadable};
use crate::{
    cli::{
        args::Common,
        exit::{self, Failure},
        print::{self, data, talk},
        setup, show,
    },
    config::Need,
    fleet::{
        name::NodeName,
        rollout::{Ending, Left, Manner, Progress, Rollout, Verdict},
    },
};

pub(super) fn status(common: &Common, as_json: bool) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let books = Books::new(&config.state_dir);
    let Some(rollout) = newest(&books)? else {
        talk("there was no rollout yet");
        return Ok(exit::NOTHING);
    };
    let running = books.is_run().map_err(unreadable)?;
    if as_json {
        show_json(&rollout, running)?;
        return Ok(exit::DONE);
    }
    let brief = &rollout.brief;
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
    if brief.plan.manner == Manner::BlueGreen && rollout.ending.is_some() {
        data(
            "`vast-keeper status` tells which boxes still stand by; `vast-keeper rollback` switches back to them",
        )?;
    }
    let rows: Vec<[String; 2]> = rollout
        .standing()
        .map(|(member, _)| [member.node.to_string(), standing_words(&rollout, &member.node, running)])
        .collect();
    show::table(&["node", "how it stands"], &rows)?;
    Ok(exit::DONE)
}

/// The stable word for where a node stands. A box that a dead runner left is nobody's work.
fn word(rollout: &Rollout, node: &NodeName, running: bool) -> &'static str {
    let half_way = rollout.cut_short.contains(node);
    match rollout.progress.get(node) {
        Some(Progress::Waiting) if half_way => "half-way",
        None | Some(Progress::Waiting) => "waiting",
        Some(Progress::Working) if running => "working",
        Some(Progress::Working) => "half-way",
        Some(Progress::Done { changed: true, .. }) => "done",
        Some(Progress::Done { changed: false, .. }) => "unchanged",
        Some(Progress::Failed { .. }) => "failed",
        Some(Progress::Back) => "back",
        Some(Progress::Stuck { .. }) => "stuck",
    }
}

/// The exit code of a rollout that has ended.
pub(super) fn code_of(rollout: &Rollout) -> u8 {
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

pub(super) fn done(rollout: &Rollout) -> usize {
    rollout.progress.values().filter(|progress| matches!(progress, Progress::Done { .. })).count()
}

pub(super) fn ending_words(ending: &Ending) -> String {
    match ending {
        Ending::Done => "every node was reached".into(),
        Ending::Stopped { why } => format!("stopped: {why}"),
        Ending::AtFault { evidence } => format!("the release is at fault: {evidence}"),
        Ending::Worse { why } => format!("the canary is worse: {why}"),
        Ending::Aborted { by } => format!("aborted by {by}"),
    }
}

/// One line on the whole, with the next command where it needs one.
pub(super) fn summary(rollout: &Rollout, running: bool) -> String {
    let next = "`vast-keeper rollout continue` takes it up, `vast-keeper rollout abort` ends it";
    match (&rollout.ending, &rollout.aborted, &rollout.paused) {
        (Some(ending), ..) => ending_words(ending),
        (None, Some((by, _)), _) if running => format!("being aborted by {by}"),
        (None, Some((by, _)), _) => {
            format!("aborted by {by}, and left half-way: `vast-keeper rollout abort` ends it")
        }
        (None, None, Some(pause)) => format!("paused by {}: {}; {next}", pause.by, pause.why),
        (None, None, None) if running => "under way".into(),
        (None, None, None) => format!("left by its command: {next}"),
    }
}

pub(super) fn verdict_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Better { why } => format!("no worse: {why}"),
        Verdict::Worse { why } => format!("worse: {why}"),
        Verdict::Unknown { why } => format!("nothing can be said: {why}"),
    }
}

fn standing_words(rollout: &Rollout, node: &NodeName, running: bool) -> String {
    match (word(rollout, node, running), rollout.progress.get(node)) {
        ("half-way", _) => "was being worked on when its command ended".into(),
        (_, Some(Progress::Failed { detail, left, .. })) => {
            let left = match left {
                Left::AsItWas => "left as it was",
                Left::WentBack => "went back",
                Left::Unknown => "outcome unknown",
                Left::Broken => "could not go back",
            };
            format!("failed, {left}: {}", detail.lines().next().unwrap_or_default())
        }
        (_, Some(Progress::Stuck { why })) => format!("should have been taken back: {why}"),
        (_, Some(Progress::Done { changed: true, .. })) => "serves it".into(),
        (_, Some(Progress::Done { changed: false, .. })) => "served it already".into(),
        (_, Some(Progress::Back)) => "was taken back".into(),
        (_, Some(Progress::Working)) => "is being worked on".into(),
        (_, None | Some(Progress::Waiting)) => "waits".into(),
    }
}

pub(super) fn show_json(rollout: &Rollout, running: bool) -> print::Printed {
    let nodes: Vec<_> = rollout
        .standing()
        .map(|(member, _)| {
            let (state, text) =
                (word(rollout, &member.node, running), standing_words(rollout, &member.node, running));
            json!({ "node": member.node, "state": state, "text": text })
        })
        .collect();
    let brief = &rollout.brief;
    print::json(&json!({
        "id": brief.id, "by": brief.by, "release": brief.release, "plan": brief.plan, "terms": brief.terms,
        "running": running && rollout.ending.is_none(), "nodes": nodes,
        "failures": rollout.failures(), "budget": rollout.budget(), "verdict": rollout.verdict,
        "paused": rollout.paused.as_ref().map(|pause| json!({ "by": pause.by, "why": pause.why })),
        "summary": summary(rollout, running), "ending": rollout.ending,
    }))
}
