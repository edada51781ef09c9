//! The rails: who may act, when, and if not, why not. Everything counted here comes from the journal.
//!
//! An action that costs money or disrupts asks first and gets a [`Permit`] with its
//! reason or a [`Deferral`] with the rail in the way.

mod money;
mod network;
mod rail;
mod release;

use std::time::Duration;

pub use rail::Rail;

use super::{
    action::ActionKind,
    breaker::{self, Position},
    memory::Memory,
    name::{InstanceId, NodeName},
    planted::{Bug, planted},
    policy::Policy,
    state::{Fleet, Node, NodeState, Stage},
    units::{Money, Timestamp},
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Leave to act, with its reason. Only this module makes one.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit(String);

impl Permit {
    /// Why the action was let pass.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0
    }
}

/// A rail in the way.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferral {
    /// Which.
    pub rail: Rail,
    /// Why, in words.
    pub why: String,
    /// When it may pass, if that is known.
    pub until: Option<Timestamp>,
}

type Admission = Result<Permit, Deferral>;

fn defer<T>(rail: Rail, why: impl Into<String>, until: Option<Timestamp>) -> Result<T, Deferral> {
    Err(Deferral { rail, why: why.into(), until })
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The rails alone decide, on evidence that a second witness confirms.
    ByItself,
    /// The same, but no witness confirms: our own probes are all there is, so our own network must be proven.
    Unwitnessed,
    /// A person asked: the cooldown, the breaker, the warm-up and the self-check do not apply, money and lists do.
    ByHand,
}

/// Everything the rails look at.
#[derive(Debug, Clone, Copy)]
pub struct Guard<'a> {
    /// The durable state.
    pub fleet: &'a Fleet,
    /// The volatile one.
    pub memory: &'a Memory,
    /// What is wanted.
    pub policy: &'a Policy,
    /// The present.
    pub now: Timestamp,
}

impl Guard<'_> {
    /// May a soft remedy or a replacement begin on a filled node?
    ///
    /// # Errors
    /// The first rail in the way.
    pub fn recovery(&self, node: &NodeName, wanted: Wanted) -> Admission {
        self.anything(node)?;
        if wanted != Wanted::ByHand {
            self.trusted()?;
            self.breaker()?;
        }
        let census = breaker::recent(self.fleet, self.memory, self.now)
            .unwrap_or_else(|| breaker::census(self.fleet, self.memory, self.policy, self.now));
        let mut reasons = vec![format!("{} of {} nodes healthy", census.healthy, census.filled)];
        if wanted == Wanted::ByHand {
            reasons.push("asked for by hand".into());
            return self.unless_observing(&reasons);
        }
        let alone_since = self.memory.watches.get(node).and_then(|watch| watch.alone_since);
        reasons.push(match alone_since.filter(|_| wanted == Wanted::Unwitnessed) {
            Some(since) if !planted(Bug::BlindEvidence) => self.way_to_boxes(node, since)?,
            _ => self.own_network(census, wanted)?,
        });
        let (under_way, most) = (self.recoveries_under_way(), self.parallel());
        if under_way >= most {
            return defer(Rail::Parallel, format!("{under_way} recoveries under way, {most} allowed"), None);
        }
        reasons.push(self.replacement_rates(self.replacements_to_come())?);
        self.unless_observing(&reasons)
    }

    /// May the node be rented for at `price`? Asked before anything is destroyed to be replaced, without a price before a
    /// search, and again for each offer. The warm-up does not apply: two lists begun since the start or stall prove more.
    ///
    /// # Errors
    /// The first rail in the way.
    pub fn create(&self, node: &NodeName, price: Option<Money>) -> Admission {
        self.anything(node)?;
        self.release_for(node)?;
        self.inventory()?;
        self.whole_journal(node)?;
        self.nothing_outstanding(node, None)?;
        self.unproven(node)?;
        let creates = self.node_creates(node)?;
        let mut reasons = vec![creates];
        if self.fleet.nodes.get(node).is_some_and(|node| node.adopted_at.is_some()) {
            reasons.push(self.replacement_rates(0)?);
        }
        reasons.push(self.money(price)?);
        self.unless_observing(&reasons)
    }

    /// Asked last, so that a keeper which only observes can tell what it would have done, and what else would be in the way.
    fn unless_observing(&self, reasons: &[String]) -> Admission {
        let reasons = reasons.join(", ");
        if self.policy.observe_only {
            let why = format!("the keeper only observes; nothing else is in the way ({reasons})");
            return defer(Rail::ObserveOnly, why, None);
        }
        Ok(Permit(reasons))
    }

    /// May more be bid for an interruptible box of the node, which costs `more` an hour then? Money and a fresh list decide:
    /// nothing is destroyed by it, and the market may well have taken many boxes at once.
    ///
    /// # Errors
    /// The first rail in the way.
    pub fn raise_bid(&self, node: &NodeName, more: Money) -> Admission {
        self.anything(node)?;
        self.inventory()?;
        let reasons = [self.money(Some(more))?];
        self.unless_observing(&reasons)
    }

    /// May a box in hand take over a node? Nothing is rented, so no rail of money or rates stands in its way.
    ///
    /// # Errors
    /// The first rail in the way.
    pub fn promote(&self, node: &NodeName, instance: InstanceId) -> Admission {
        self.anything(node)?;
        if self.fleet.doubted {
            // Before the first lists nobody knows whose label it bears.
            self.inventory()?;
        }
        self.nothing_outstanding(node, Some(instance))?;
        self.unless_observing(&["a healthy spare is in hand".into()])
    }

    fn anything(&self, node: &NodeName) -> Result<(), Deferral> {
        let pause = self.fleet.nodes.get(node).and_then(|node| node.paused.as_ref());
        if let Some(pause) = pause.filter(|_| !planted(Bug::PauseIgnored)) {
            return defer(Rail::Paused, format!("paused by {}", pause.by), None);
        }
        if !self.fleet.key_accepted {
            return defer(Rail::Key, "the provider refuses the api key", None);
        }
        Ok(())
    }

    fn trusted(&self) -> Result<(), Deferral> {
        if self.now < self.memory.trust_from && !planted(Bug::NoWarmUp) {
            let wait = self.now.until(self.memory.trust_from).as_secs() + 1;
            let why = format!("the keeper started or stalled a moment ago; its view is trusted in {wait} s");
            return defer(Rail::WarmUp, why, Some(self.memory.trust_from));
        }
        Ok(())
    }

    fn inventory(&self) -> Result<(), Deferral> {
        let Some(last) = self.memory.lists.last_started_at else {
            return defer(Rail::Inventory, "no complete list of instances since the start", None);
        };
        let age = self.now.since(last);
        if age > self.policy.rails.inventory_fresh {
            let why = format!("the last complete list of instances is {} s old", age.as_secs());
            return defer(Rail::Inventory, why, None);
        }
        // Two lists in agreement: one may be a lie of the moment after a start.
        if self.memory.lists.good < 2 {
            return defer(Rail::Inventory, "only one complete list of instances since the start", None);
        }
        Ok(())
    }

    /// A journal that was lost, or restored from an old copy, knows less than the provider: what it does not know may serve
    /// already. Known by rows with labels of ours that it never gave; and since a list that lacks them is what a lie looks like as
    /// well, lists must agree for as long as they must on a label.
    fn whole_journal(&self, wanted: &NodeName) -> Result<(), Deferral> {
        let lists = &self.memory.lists;
        let mut unknown = self.fleet.unknown.iter();
        if let Some((instance, node)) =
            unknown.find(|(id, of)| *of == wanted || !self.fleet.let_go.contains(id))
            && !planted(Bug::UnknownIgnored)
        {
            if let Some(absence) =
                lists.unknown_absent.get(instance).filter(|_| lists.rows.contains_key(instance))
            {
                let for_s = self.now.since(absence.since).as_secs();
                let why = format!(
                    "instance {instance}, which the journal does not know, lost the label of `{node}` {for_s} s ago: that may be a lie \
                     for minutes"
                );
                return defer(Rail::Import, why, None);
            }
            if let Some(absence) = lists.unknown_absent.get(instance) {
                let for_s = self.now.since(absence.since).as_secs();
                let why = format!(
                    "instance {instance}, which the journal does not know, is missing from lists for {for_s} s: that may be a lie \
                     for minutes, and for half an hour where several are missing"
                );
                return defer(Rail::Import, why, None);
            }
            let why = format!(
                "instance {instance} bears the label of `{node}`, but the journal does not know it: either it is not whole, \
                 then `run --import` takes over what proves itself, or another keeper works under this fleet's name; what \
                 is nobody's, destroy at the provider"
            );
            return defer(Rail::Import, why, None);
        }
        let may_lack = self.fleet.doubted || self.policy.import;
        let unsettled = self.lists_unsettled_for().filter(|_| may_lack && !planted(Bug::NewJournalTrusted));
        if let Some(wait) = unsettled {
            let wait = wait.as_secs() + 1;
            let why = format!(
                "the journal may lack what was rented since it was written: unless lists show such a box, renting begins in {wait} s\
                 {}",
                if lists.steady == 0 && lists.good > 0 {
                    "; they lack several boxes at once, or one that answers, so they are not believed before"
                } else {
                    ""
                }
            );
            return defer(Rail::Inventory, why, None);
        }
        Ok(())
    }

    /// Whether as many lists came since the start, over as long, as settle a create in doubt.
    pub(super) fn lists_settled(&self) -> bool {
        self.lists_unsettled_for().is_none()
    }

    fn lists_unsettled_for(&self) -> Option<Duration> {
        let inventory = &self.policy.inventory;
        self.memory.lists.unsettled_for(inventory.settle_lists, inventory.settle)
    }

    fn breaker(&self) -> Result<(), Deferral> {
        match self.fleet.breaker {
            Position::Normal => Ok(()),
            Position::Hold => {
                defer(Rail::Breaker, "no node is healthy: the fault may be ours or common to all", None)
            }
            Position::Slow => {
                let spacing = self.policy.rails.breaker_spacing;
                let last = self.last_recovery();
                match last
                    .map(|at| at.after(spacing))
                    .filter(|until| *until > self.now && !planted(Bug::NoSpacing))
                {
                    Some(until) => {
                        defer(Rail::Breaker, "many nodes fail at once: one recovery at a time", Some(until))
                    }
                    None => Ok(()),
                }
            }
        }
    }

    fn last_recovery(&self) -> Option<Timestamp> {
        let recoveries = self.fleet.actions.newest_first().find(|action| action.what == ActionKind::Recovery);
        recoveries.map(|action| action.at)
    }

    pub(super) fn parallel(&self) -> u32 {
        let nodes = u32::try_from(self.policy.nodes.len()).unwrap_or(u32::MAX);
        self.policy.rails.parallel.unwrap_or(if nodes <= 20 { 2 } else { nodes / 10 }.max(1))
    }

    pub(super) fn recoveries_under_way(&self) -> u32 {
        let busy = |node: &&Node| match node.state {
            // A spare that is rented anew must not take the place of a node that is healed.
            NodeState::Recovering(_) => node.adopted_at.is_some() && node.spare_of.is_none(),
            NodeState::Remedying { .. } => true,
            NodeState::Vacant
            | NodeState::Serving(_)
            | NodeState::Suspect { .. }
            | NodeState::Held { .. } => false,
        };
        u32::try_from(self.fleet.nodes.values().filter(busy).count()).unwrap_or(u32::MAX)
    }

    pub(super) fn replacements_since(&self, window: Duration) -> u32 {
        let since = self.now.before(window);
        let counted = self
            .fleet
            .actions
            .from(since)
            .filter(|action| matches!(action.what, ActionKind::Create { replacement: true, .. }));
        u32::try_from(counted.count()).unwrap_or(u32::MAX)
    }

    /// Recoveries that destroyed already and are still to rent: a new one must not take their place under the caps.
    fn replacements_to_come(&self) -> u32 {
        let to_come = |node: &&Node| match &node.state {
            NodeState::Recovering(recovery) => {
                node.adopted_at.is_some() && matches!(recovery.stage, Stage::Started { .. })
            }
            _ => false,
        };
        u32::try_from(self.fleet.nodes.values().filter(to_come).count()).unwrap_or(u32::MAX)
    }

    fn replacement_rates(&self, to_come: u32) -> Result<String, Deferral> {
        let rails = &self.policy.rails;
        // A create is counted when it is decided and may be sent as late as its expiry.
        let hourly = self.replacements_since(HOUR + rails.command_expiry).saturating_add(to_come);
        if hourly >= rails.fleet_hourly && !planted(Bug::NoFleetCaps) {
            return defer(Rail::FleetHourly, format!("{hourly} replacements in the last hour"), None);
        }
        let daily = self.replacements_since(DAY + rails.command_expiry).saturating_add(to_come);
        if daily >= rails.fleet_daily && !planted(Bug::NoFleetCaps) {
            return defer(Rail::FleetDaily, format!("{daily} replacements in the last day"), None);
        }
        Ok(format!(
            "replacement {} of {} this hour, {} of {} today",
            hourly + 1,
            rails.fleet_hourly,
            daily + 1,
            rails.fleet_daily
        ))
    }

    /// No second rental while another of this node is alive or on its way, but for the box `in_hand` that is to take it.
    fn nothing_outstanding(&self, node: &NodeName, in_hand: Option<InstanceId>) -> Result<(), Deferral> {
        let alive = self
            .fleet
            .doomed
            .iter()
            .find(|(_, doomed)| doomed.node.as_ref() == Some(node) && doomed.acknowledged_at.is_none());
        if let Some((instance, _)) = alive.filter(|_| !planted(Bug::CreateBesideUndestroyed)) {
            let why = format!("the destroy of instance {instance} is not acknowledged yet");
            return defer(Rail::Outstanding, why, None);
        }
        let claims = self.fleet.nodes.get(node).into_iter().flat_map(|node| node.claims());
        let claimed: Vec<InstanceId> = claims.filter_map(|(_, claimed)| claimed).collect();
        let labelled = self.memory.lists.labelled.get(node).map(Vec::as_slice).unwrap_or_default();
        let stranger = labelled
            .iter()
            .find(|id| !claimed.contains(id) && !self.fleet.doomed.contains_key(id) && in_hand != Some(**id));
        let Some(instance) = stranger else { return Ok(()) };
        let filled = self.fleet.claims().find(|(_, _, claimed)| *claimed == Some(*instance));
        let (rail, why) = match filled {
            // A promoted spare bears the spare's label until its new one is read back; it fills another node.
            Some(_) if self.policy.spares.contains(node) => return Ok(()),
            Some((other, ..)) => (
                Rail::Import,
                format!(
                    "instance {instance} bears the label of `{node}` and stands on record as `{other}`'s, as if the journal were older \
                     than its promotion: where that is a spare of its group, it takes `{node}` once it is seen well; destroy it at the \
                     provider if it is not wanted"
                ),
            ),
            None => (
                Rail::Outstanding,
                format!(
                    "instance {instance} bears this node's label, but the journal does not know it (`run --import`)"
                ),
            ),
        };
        defer(rail, why, None)
    }

    fn node_creates(&self, node: &NodeName) -> Result<String, Deferral> {
        let rails = &self.policy.rails;
        let since = self.now.before(rails.node_window.saturating_add(rails.command_expiry));
        let creates = self
            .fleet
            .actions
            .from(since)
            .filter(|action| action.node == *node && matches!(action.what, ActionKind::Create { .. }));
        let (count, oldest) = creates.fold((0_usize, None), |(count, oldest), action| {
            (count + 1, Some(oldest.map_or(action.at, |oldest: Timestamp| oldest.min(action.at))))
        });
        let most = rails.node_creates as usize;
        if count >= most && !planted(Bug::NoNodeCap) {
            let why = format!("rented {count} times in {} h", rails.node_window.as_secs() / 3600);
            return defer(Rail::NodeCreates, why, oldest.map(|at| at.after(rails.node_window)));
        }
        Ok(format!("rental {} of {most} in the window", count + 1))
    }
}
