//! What a rollout tells the fleet's sinks: its end, and that it waits for a person.

use super::show;
use crate::{
    cli::{print::talk, release::tell_fleet},
    clock::Clock,
    config::Config,
    fleet::{
        notice::{Notice, Severity, Topic},
        rollout::{Ending, Rollout},
    },
};

pub(super) async fn tell_paused(config: &Config, rollout: &Rollout, why: &str) {
    let title = format!("rollout {} waits for you: {why}", rollout.brief.id);
    let next = "`vast-keeper rollout continue` goes on, `vast-keeper rollout abort --back` takes it back";
    tell(config, rollout, Severity::Critical, title, next).await;
}

pub(super) async fn tell_end(config: &Config, rollout: &Rollout, ending: &Ending) {
    let severity = match ending {
        Ending::Done if rollout.failures() == 0 => Severity::Info,
        Ending::Done | Ending::Aborted { .. } => Severity::Warning,
        Ending::Stopped { .. } | Ending::AtFault { .. } | Ending::Worse { .. } => Severity::Critical,
    };
    let title = format!("rollout {}: {}", rollout.brief.id, show::ending_words(ending));
    talk(&title);
    tell(config, rollout, severity, title, "`vast-keeper rollout status` tells node by node").await;
}

async fn tell(config: &Config, rollout: &Rollout, severity: Severity, title: String, next: &str) {
    let brief = &rollout.brief;
    let (done, all) = (show::done(rollout), brief.members.len());
    let facts = [
        ("release", format!("{} (commit {})", brief.release.name, brief.release.commit)),
        ("by", brief.by.clone()),
        ("nodes", format!("{done} of {all} serve it, {} failed", rollout.failures())),
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
    tell_fleet(config, notice).await;
}
