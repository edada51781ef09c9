//! What a rollout tells the fleet's sinks: its end, and that it waits for a person.

use super::{run::Runner, show};
use crate::{
    cli::{print::talk, release::tell_fleet},
    clock::Clock,
    fleet::{
        notice::{Notice, Severity, Topic},
        rollout::Ending,
    },
};

impl Runner<'_> {
    pub(super) async fn tell_paused(&self, why: &str) {
        let id = &self.book.rollout.brief.id;
        let title = format!("rollout {id} waits for you: {why}");
        let next = "`vast-keeper rollout continue` goes on, `vast-keeper rollout abort --back` takes it back";
        self.tell(Severity::Critical, title, next).await;
    }

    pub(super) async fn tell_end(&self, ending: &Ending) {
        let rollout = &self.book.rollout;
        let severity = match ending {
            Ending::Done if rollout.failures() == 0 => Severity::Info,
            Ending::Done | Ending::Aborted { .. } => Severity::Warning,
            Ending::Stopped { .. } | Ending::AtFault { .. } | Ending::Worse { .. } => Severity::Critical,
        };
        let title = format!("rollout {}: {}", rollout.brief.id, show::ending_words(ending));
        talk(&title);
        self.tell(severity, title, "`vast-keeper rollout status` tells node by node").await;
    }

    async fn tell(&self, severity: Severity, title: String, next: &str) {
        let brief = &self.book.rollout.brief;
        let (done, all) = (show::done(&self.book.rollout), brief.members.len());
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
