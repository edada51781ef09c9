//! What a person or the schedule asks for: reprovision, redeploy, destroy, pause, resume. A hand overrides patience, never money or ownership.

use std::time::Duration;

use super::{
    super::{
        event::{IllegalEvent, Reply, Wish},
        guard::Wanted,
        journal::{Cause, DoomReason, HeldReason, Outcome, Record},
        name::NodeName,
        state::NodeState,
    },
    Turn,
};

impl Turn<'_> {
    pub(super) fn asked(&mut self, name: &NodeName, wish: Wish, by: &str) -> Result<(), IllegalEvent> {
        let known = self.fleet.nodes.contains_key(name);
        if !known && !self.context.policy.nodes.contains_key(name) {
            let reply = Reply::Refused(format!("node `{name}` is not known"));
            self.step.reply = Some(reply);
            return Ok(());
        }
        let reply = match wish {
            Wish::Pause => self.pause(name, by, None)?,
            Wish::SwitchBack => self.switch_back(name, by)?,
            Wish::PauseFor(seconds) => self.pause(name, by, Some(seconds))?,
            Wish::PauseOver => self.pause_over(name, by)?,
            Wish::WorkDone => self.work_done(name, by)?,
            Wish::Resume => self.resume(name, by)?,
            Wish::Reprovision => self.reprovision(name, by)?,
            Wish::Destroy => self.destroy(name, by)?,
            Wish::Redeploy => self.redeploy(name, by)?,
        };
        self.step.reply = Some(reply);
        Ok(())
    }

    fn pause(&mut self, name: &NodeName, by: &str, seconds: Option<u32>) -> Result<Reply, IllegalEvent> {
        let paused = self.node(name).and_then(|node| node.paused.as_ref());
        // Work on a box may go on longer than was thought, and a person's own pause outlasts it.
        let longer = paused.is_some_and(|pause| pause.until.is_some() && pause.by == by);
        let for_good = paused.is_some_and(|pause| pause.until.is_some()) && seconds.is_none();
        if paused.is_some() && !longer && !for_good {
            return Ok(Reply::NothingToDo(format!("`{name}` is paused already")));
        }
        let until = seconds.map(|seconds| self.now().after(Duration::from_secs(seconds.into())));
        self.record(Record::Paused { node: name.clone(), by: by.into(), until })?;
        Ok(Reply::Accepted(format!(
            "`{name}` is paused: it is watched, but not healed, until `resume {name}`"
        )))
    }

    fn pause_over(&mut self, name: &NodeName, by: &str) -> Result<Reply, IllegalEvent> {
        if !self.is_paused_for_work(name, by) {
            return Ok(Reply::NothingToDo(format!("`{name}` was not paused for a time by {by}")));
        }
        self.record(Record::Resumed { node: name.clone(), by: by.into() })?;
        self.pursue(name)?;
        Ok(Reply::Accepted(format!("`{name}` is healed again where nothing else is in the way")))
    }

    fn work_done(&mut self, name: &NodeName, by: &str) -> Result<Reply, IllegalEvent> {
        let paused = self.node(name).is_some_and(|node| node.paused.is_some());
        if paused && !self.is_paused_for_work(name, by) {
            return Ok(Reply::NothingToDo(format!("`{name}` stays paused by somebody else")));
        }
        self.resume(name, by)
    }

    fn is_paused_for_work(&self, name: &NodeName, by: &str) -> bool {
        let pause = self.node(name).and_then(|node| node.paused.as_ref());
        pause.is_some_and(|pause| pause.until.is_some() && pause.by == by)
    }

    fn resume(&mut self, name: &NodeName, by: &str) -> Result<Reply, IllegalEvent> {
        let node = self.node(name);
        let paused = node.is_some_and(|node| node.paused.is_some());
        let held = matches!(node.map(|node| &node.state), Some(NodeState::Held { .. }));
        let barred = self.barring_release(name).is_some();
        if !paused && !held && !barred {
            return Ok(Reply::NothingToDo(format!("`{name}` is neither paused nor held")));
        }
        if paused {
            self.record(Record::Resumed { node: name.clone(), by: by.into() })?;
        }
        if held || barred {
            self.clear_release(name, by)?;
        }
        if held {
            self.record(Record::Released { node: name.clone(), by: by.into(), by_itself: false })?;
        }
        self.end_episode(name);
        self.pursue(name)?;
        Ok(Reply::Accepted(format!("healing of `{name}` goes on")))
    }

    fn reprovision(&mut self, name: &NodeName, by: &str) -> Result<Reply, IllegalEvent> {
        if self.spec(name).is_none() {
            return Ok(Reply::Refused(format!(
                "`{name}` is not configured any more: `destroy {name}` ends its rental"
            )));
        }
        if let Some(NodeState::Recovering(recovery)) = self.node(name).map(|node| &node.state) {
            let stage = recovery.stage.word();
            return Ok(Reply::NothingToDo(format!(
                "`{name}` is being reprovisioned already, in stage `{stage}`"
            )));
        }
        let permit = match self.guard().recovery(name, Wanted::ByHand) {
            Ok(permit) => permit.reason().to_owned(),
            Err(deferral) => return Ok(Reply::Refused(format!("{}: {}", deferral.rail, deferral.why))),
        };
        // Nothing is destroyed that could not be replaced: lists, rates and money are asked before.
        if let Err(deferral) = self.guard().create(name, None) {
            self.ask_for(deferral.rail);
            return Ok(Reply::Refused(format!("{}: {}", deferral.rail, deferral.why)));
        }
        let cause = Cause::Manual { by: by.into() };
        let now = self.now();
        if self.node(name).is_some_and(|node| node.state.tenant().is_some()) {
            self.open_incident(name, cause.clone(), now)?;
        }
        self.replace(name, cause, DoomReason::Manual { by: by.into() }, &permit)?;
        Ok(Reply::Accepted(format!("`{name}` is being reprovisioned")))
    }

    fn destroy(&mut self, name: &NodeName, by: &str) -> Result<Reply, IllegalEvent> {
        if self.context.policy.observe_only {
            return Ok(Reply::Refused("the keeper only observes".into()));
        }
        let claims = self.node(name).into_iter().flat_map(|node| node.claims());
        let claims: Vec<_> = claims.map(|(attempt, instance)| (attempt.price, instance)).collect();
        if claims.iter().any(|(_, instance)| instance.is_none()) {
            return Ok(Reply::Refused(format!(
                "a create for `{name}` is not settled yet: try again in a moment"
            )));
        }
        if claims.is_empty() && self.is_destroyed(name) {
            return Ok(Reply::NothingToDo(format!("`{name}` was destroyed already")));
        }
        let claims: Vec<_> =
            claims.into_iter().filter_map(|(price, instance)| Some((price, instance?))).collect();
        for (price, instance) in &claims {
            self.stop_work(name);
            self.doom(*instance, Some(name), DoomReason::Manual { by: by.into() }, *price)?;
        }
        let by: String = by.into();
        self.record(Record::Held { node: name.clone(), reason: HeldReason::Destroyed { by } })?;
        self.end_incident(name, Outcome::Ended)?;
        self.end_episode(name);
        let ids: Vec<String> = claims.iter().map(|(_, instance)| instance.to_string()).collect();
        let what = match ids.as_slice() {
            [] => format!("`{name}` had no instance"),
            [id] => format!("instance {id} of `{name}` is being destroyed"),
            ids => format!("instances {} of `{name}` are being destroyed", ids.join(" and ")),
        };
        if !self.context.policy.nodes.contains_key(name) {
            self.retire(name)?;
            return Ok(Reply::Accepted(what));
        }
        Ok(Reply::Accepted(format!("{what}; it stays empty until `resume {name}`")))
    }

    fn is_destroyed(&self, name: &NodeName) -> bool {
        let state = self.node(name).map(|node| &node.state);
        matches!(state, Some(NodeState::Held { reason: HeldReason::Destroyed { .. }, .. }))
    }
}
