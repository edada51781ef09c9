//! The live view: what happens, as it happens, one line each; on a terminal a status line below it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::sleep;

use super::{audit::Audit, receiver::Counts, stage::Stage};
use crate::{
    cli::{
        exit::{self, Failure},
        print::{Colour, Printed, data, heard, paint},
        show,
    },
    clock::Clock,
    daemon,
    fleet::{timeline::IncidentView, units::Timestamp, view::FleetView},
};

/// How often the fleet is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How many journaled facts are read at once.
const FACTS: u32 = 200;

/// Tells the story. Silent with `--json`.
pub(super) struct Narrator {
    loud: bool,
    clock: Clock,
    began: Timestamp,
    seen: u64,
    bar: ProgressBar,
    /// Set once a line could not be told; the next look ends the demo.
    told: Printed,
}

impl Narrator {
    pub fn new(loud: bool) -> Self {
        let bar = if loud { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        let clock = Clock::new();
        Self { loud, began: clock.now(), clock, seen: 0, bar, told: Ok(()) }
    }

    /// One line of the story.
    pub fn say(&mut self, text: &str) {
        if self.loud && self.told.is_ok() {
            let at = format!("{:7.2}s", self.clock.now().since(self.began).as_secs_f64());
            self.told = self.bar.suspend(|| data(&format!("{}  {text}", paint(&at, Colour::Soft))));
        }
    }

    /// Fails once nobody listens any more or nothing can be told.
    pub fn heard(&mut self) -> Printed {
        std::mem::replace(&mut self.told, Ok(()))?;
        heard()
    }

    /// The whole fleet, where something did not happen that should have.
    pub fn show(&mut self, view: &FleetView) -> Printed {
        if self.loud { self.bar.suspend(|| show::fleet(view)) } else { Ok(()) }
    }

    /// Tells what the journal and the sinks have new, and shows the fleet.
    pub async fn look(&mut self, stage: &Stage) -> Result<FleetView, Failure> {
        self.heard()?;
        let lines =
            daemon::events(stage.history().as_ref(), self.seen, FACTS, None).await.unwrap_or_default();
        for line in lines {
            self.seen = line.seq;
            let node = line.node.map_or_else(String::new, |node| format!("{node}: "));
            self.say(&format!("{node}{}", line.text));
        }
        for message in stage.receiver().fresh() {
            self.say(&paint(&message, Colour::Odd));
        }
        let view = stage.engine().view().await.map_err(|_| Failure::new(exit::BUG, "the engine ended"))?;
        let nodes = view.nodes.iter().map(|node| {
            let stage = node.stage.clone().unwrap_or_else(|| node.health.verdict.clone());
            format!("{} {} {stage}", node.node, node.state)
        });
        self.bar.set_message(nodes.collect::<Vec<_>>().join(" · "));
        self.bar.tick();
        Ok(view)
    }

    /// Looks until the view is as wanted.
    pub async fn until(
        &mut self,
        stage: &Stage,
        patience: Duration,
        what: &str,
        wanted: impl Fn(&FleetView) -> bool,
    ) -> Result<FleetView, Failure> {
        let end = self.clock.now().after(patience);
        loop {
            let view = self.look(stage).await?;
            if wanted(&view) {
                return Ok(view);
            }
            if self.clock.now() > end {
                self.show(&view)?;
                let message = format!("{what} did not happen within {} s", patience.as_secs());
                return Err(Failure::new(exit::BUG, message).hint("run it again with `RUST_LOG=debug`"));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    pub async fn until_all_serve(&mut self, stage: &Stage, patience: Duration) -> Result<FleetView, Failure> {
        self.until(stage, patience, "all nodes serving", |view| view.healthy == view.wanted).await
    }

    pub async fn until_nothing_is_doomed(
        &mut self,
        stage: &Stage,
        patience: Duration,
    ) -> Result<(), Failure> {
        self.until(stage, patience, "proof that the destroyed are gone", |view| view.doomed.is_empty())
            .await?;
        Ok(())
    }

    /// Goes on for ever.
    pub async fn follow(&mut self, stage: &Stage) -> Result<(), Failure> {
        loop {
            self.look(stage).await?;
            sleep(LOOK_EVERY).await;
        }
    }

    /// The milestones of one healing.
    pub fn timeline(&mut self, incident: &IncidentView) -> Printed {
        if self.loud { self.bar.suspend(|| show::milestones(incident)) } else { Ok(()) }
    }
}

impl Drop for Narrator {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The verdict in words.
pub(super) fn verdict(result: &str, audit: &Audit, alerts: &Counts) -> Printed {
    let tone = if result == "healed" { Colour::Good } else { Colour::Bad };
    data(&format!(
        "{}: {} rented, {} destroyed, {} alive · {} leaked, {} double rented, {} wrongly destroyed",
        paint(result, tone),
        audit.rentals_created,
        audit.rentals_destroyed,
        audit.live_rentals,
        audit.leaked,
        audit.double_rented,
        audit.wrongly_destroyed,
    ))?;
    data("counted from the simulated provider's own record, not from the keeper's view")?;
    for (sink, count) in [("slack", alerts.slack), ("discord", alerts.discord), ("webhook", alerts.webhook)] {
        data(&format!("{sink}: {} opening and {} closing messages", count.opened, count.closed))?;
    }
    Ok(())
}
