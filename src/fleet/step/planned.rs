//! Planned work on a healthy node: a redeploy outside any incident, under the same rails as everything that disrupts.

use super::{
    super::{
        event::{IllegalEvent, Reply},
        guard::Wanted,
        name::NodeName,
        policy::Rung,
        state::NodeState,
    },
    Turn,
};

impl Turn<'_> {
    pub(super) fn redeploy(&mut self, name: &NodeName, by: &str) -> Result<Reply, IllegalEvent> {
        let (Some(spec), Some(NodeState::Serving(tenant))) =
            (self.spec(name), self.node(name).map(|node| &node.state))
        else {
            return Ok(Reply::NothingToDo(format!("`{name}` does not serve: its recovery deploys")));
        };
        let tenant = tenant.clone();
        if self.memory.watch(name).failures > 0 {
            return Ok(Reply::Refused(format!("`{name}` fails its probes now")));
        }
        if let Err(deferral) = self.guard().wanted_on(name) {
            return Ok(Reply::Refused(format!("{}: {}", deferral.rail, deferral.why)));
        }
        self.refresh_breaker()?;
        // Planned work is never urgent, so every rail applies although a person or a schedule asked; and no witness was asked.
        match self.guard().recovery(name, Wanted::Unwitnessed) {
            Ok(permit) => {
                let permit = format!("asked for by {by}; {}", permit.reason());
                self.start_remedy(name, tenant, Rung::Redeploy, &spec, permit)?;
                Ok(Reply::Accepted(format!("`{name}` is being redeployed")))
            }
            Err(deferral) => {
                self.ask_for(deferral.rail);
                Ok(Reply::Refused(format!("{}: {}", deferral.rail, deferral.why)))
            }
        }
    }
}
