//! Why a node is as it is: what speaks for a fault and what against, which rail is in the way, what happens next and when.
//!
//! Built from the same state, memory and rails that decide, by asking the rails without acting; so it cannot tell another story
//! than the one that is lived. Deliberately absent: any change, and any guess about what the outside will do.

mod next;

use serde::{Deserialize, Serialize};

use super::{
    culprit::{Attribution, Failed, attribute},
    guard::{Deferral, Guard, Permit, Wanted},
    memory::Memory,
    name::NodeName,
    policy::Policy,
    probe::Verdict,
    provider::{Rental, Status},
    state::{Fleet, Node, NodeState},
    tell::span,
    units::Timestamp,
    view::{self, NodeView},
    watch::{Watch, Witness, Word},
};

/// Everything known about one node's standing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// When this was true, in milliseconds since the Unix epoch.
    pub at: Timestamp,
    /// The node as `status` shows it.
    pub node: NodeView,
    /// Whether the keeper only observes.
    pub observe_only: bool,
    /// What speaks for a fault of the box or its server.
    pub evidence_for: Vec<Evidence>,
    /// What speaks against it.
    pub evidence_against: Vec<Evidence>,
    /// Who is most likely at fault, by comparison with other boxes; `None` while nothing speaks for a fault.
    #[serde(default)]
    pub fault: Option<Attribution>,
    /// What the rails say now to a remedy and to a rental for this node.
    pub rails: Vec<RailView>,
    /// What happens next, in words.
    pub next: String,
    /// When, if that is known; a deadline where something else may come first.
    pub next_at: Option<Timestamp>,
}

/// One piece of evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Who says so: `probes`, `box`, `provider`, `peers`, `keeper`.
    pub source: String,
    /// What, in words.
    pub text: String,
    /// When it was seen, if that is known.
    pub at: Option<Timestamp>,
}

/// The rails' answer to one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RailView {
    /// What is asked: `remedy` or `rental`.
    pub question: String,
    /// Whether it may begin now.
    pub admitted: bool,
    /// The first rail in the way, if one is.
    pub rail: Option<String>,
    /// Why, either way.
    pub why: String,
    /// When it may pass, if known.
    pub until: Option<Timestamp>,
}

/// Explains a node; `None` for one that is neither wanted nor known.
#[must_use]
pub fn why(name: &NodeName, fleet: &Fleet, memory: &Memory, policy: &Policy, now: Timestamp) -> Option<Why> {
    if !policy.nodes.contains_key(name) && !fleet.nodes.contains_key(name) {
        return None;
    }
    let vacant = Node::default();
    let node = fleet.nodes.get(name).unwrap_or(&vacant);
    let unknown = Watch::default();
    let watch = memory.watches.get(name).unwrap_or(&unknown);
    let scene = Scene { name, node, watch, fleet, memory, policy, now };
    let (evidence_for, evidence_against) = scene.evidence();
    let (next, next_at) = scene.next();
    let fault = scene.fault();
    Some(Why {
        fault,
        at: now,
        node: view::node_view(name, fleet, memory, policy, now),
        observe_only: policy.observe_only,
        evidence_for,
        evidence_against,
        rails: scene.rails(),
        next,
        next_at,
    })
}

/// Everything an explanation looks at.
struct Scene<'a> {
    name: &'a NodeName,
    node: &'a Node,
    watch: &'a Watch,
    fleet: &'a Fleet,
    memory: &'a Memory,
    policy: &'a Policy,
    now: Timestamp,
}

impl Scene<'_> {
    fn evidence(&self) -> (Vec<Evidence>, Vec<Evidence>) {
        let (mut against_it, mut for_it) = (Vec::new(), Vec::new());
        self.probes(&mut for_it, &mut against_it);
        self.witnesses(&mut for_it, &mut against_it);
        self.provider(&mut for_it, &mut against_it);
        self.common_causes(&mut against_it);
        (for_it, against_it)
    }

    fn probes(&self, for_it: &mut Vec<Evidence>, against_it: &mut Vec<Evidence>) {
        if self.node.state.probed().is_none() {
            return;
        }
        let Some(spec) = self.policy.nodes.get(self.name) else { return };
        let threshold = spec.health.failure_threshold.max(1);
        if let Some((at, failure)) = &self.watch.first_failure {
            let failures = self.watch.failures;
            let text = format!("{failures} of {threshold} failures in a row, the first: {failure}");
            for_it.push(said("probes", text, Some(*at)));
        }
        if let Some(last) =
            self.watch.last.as_ref().filter(|last| !matches!(last.verdict, Verdict::Failing(_)))
        {
            let text = format!("the last probe: {}, in {} ms", last.verdict, last.took.as_millis());
            against_it.push(said("probes", text, Some(last.at)));
        } else if let Some(at) = self.watch.last_answer_at {
            let text = format!("it answered well {} ago", span(self.now.since(at)));
            against_it.push(said("probes", text, Some(at)));
        }
        if let Some(since) =
            self.memory.unobserved_since(self.memory.watches.get(self.name), &spec.health, self.now)
        {
            let text = format!("not probed for {}: nothing is known of it", span(self.now.since(since)));
            against_it.push(said("keeper", text, Some(since)));
        }
    }

    fn witnesses(&self, for_it: &mut Vec<Evidence>, against_it: &mut Vec<Evidence>) {
        let fresh = self.policy.rails.witness_fresh;
        for (witness, source) in [(Witness::Ssh, "box"), (Witness::Provider, "provider")] {
            let at = match witness {
                Witness::Ssh => self.watch.ssh.as_ref(),
                Witness::Provider => self.watch.provider.as_ref(),
            };
            let at = at.map(|testimony| testimony.at);
            match self.watch.testimony(witness, self.now, fresh) {
                Some(Word::Down(detail)) => for_it.push(said(source, format!("down: {detail}"), at)),
                Some(Word::Up(detail)) => against_it.push(said(source, format!("up, a veto: {detail}"), at)),
                Some(Word::Silent(detail)) => {
                    against_it.push(said(source, format!("cannot tell: {detail}"), at));
                }
                None => {}
            }
        }
    }

    fn provider(&self, for_it: &mut Vec<Evidence>, against_it: &mut Vec<Evidence>) {
        let Some((_, Some(instance))) = self.node.state.claim() else { return };
        let at = self.memory.lists.last_started_at;
        match self.memory.row(instance).map(|row| (&row.status, row.message.as_deref())) {
            // A newcomer may be missing for a while.
            None if at.is_some_and(|began| began >= self.listed_from()) => {
                let text = format!("instance {instance} is missing from the last complete list");
                for_it.push(said("provider", text, at));
            }
            None => {}
            Some((Status::Running, _)) => {
                against_it.push(said("provider", format!("lists instance {instance} as running"), at));
            }
            Some(_) if self.memory.row(instance).is_some_and(|row| row.outbid().is_some()) => {
                let bidding = self.memory.row(instance).and_then(Rental::outbid);
                let words = bidding.map(|bidding| bidding.words()).unwrap_or_default();
                for_it.push(said("provider", format!("stopped instance {instance}, outbid: {words}"), at));
            }
            Some((status, message)) => {
                let message = message.map_or_else(String::new, |message| format!(": {message}"));
                let text = format!("lists instance {instance} as {}{message}", status.words());
                for_it.push(said("provider", text, at));
            }
        }
    }

    /// Lists begun before this may lack the node's instance.
    fn listed_from(&self) -> Timestamp {
        match &self.node.state {
            NodeState::Recovering(recovery) => {
                recovery.stage.since().after(self.policy.inventory.create_grace)
            }
            _ => Timestamp::default(),
        }
    }

    /// What makes a fault of the keeper, its network or the provider more likely than one of the box.
    fn common_causes(&self, against_it: &mut Vec<Evidence>) {
        if self.now < self.memory.trust_from {
            let wait = span(self.now.until(self.memory.trust_from));
            against_it.push(said(
                "keeper",
                format!("it started or stalled a moment ago: trusted in {wait}"),
                None,
            ));
        }
        if let Some(fault) = &self.memory.lists.fault {
            against_it.push(said("provider", format!("its list cannot be read: {fault}"), None));
        }
        if let Some(check) = self.memory.self_check.filter(|check| check.answered * 2 <= check.asked) {
            let text = format!("only {} of {} canaries answer", check.answered, check.asked);
            against_it.push(said("keeper", text, Some(check.at)));
        }
        let failing = |(name, watch): &(&NodeName, &Watch)| *name != self.name && watch.failures > 0;
        let others = self.memory.watches.iter().filter(failing).count();
        if others > 0 && self.watch.failures > 0 {
            let noun = if others == 1 { "other node fails" } else { "other nodes fail" };
            against_it.push(said("peers", format!("{others} {noun} as well: the cause may be common"), None));
        }
    }

    /// What the comparison says now, or said when the box was given up.
    fn fault(&self) -> Option<Attribution> {
        let tenant = self.node.state.probed().filter(|_| self.watch.failures > 0);
        let compared = tenant.map(|tenant| {
            let release = self.node.release.as_ref().map(|release| &release.digest);
            let failed =
                Failed { node: self.name, attempt: &tenant.rental, instance: tenant.instance, release };
            attribute(failed, self.fleet, self.memory, self.policy, self.now)
        });
        let on_record = self.node.incident.as_ref().and_then(|incident| incident.attribution.clone());
        compared.or(on_record)
    }

    fn rails(&self) -> Vec<RailView> {
        let guard = Guard { fleet: self.fleet, memory: self.memory, policy: self.policy, now: self.now };
        let mut rails = Vec::new();
        if self.node.state.tenant().is_some() {
            rails.push(rail("remedy", guard.recovery(self.name, Wanted::ByItself)));
        }
        if !matches!(&self.node.state, NodeState::Recovering(recovery) if recovery.stage.claim().is_some()) {
            rails.push(rail("rental", guard.create(self.name, None)));
        }
        rails
    }
}

fn said(source: &str, text: String, at: Option<Timestamp>) -> Evidence {
    Evidence { source: source.into(), text, at }
}

fn rail(question: &str, answer: Result<Permit, Deferral>) -> RailView {
    let question = question.to_owned();
    match answer {
        Ok(permit) => {
            RailView { question, admitted: true, rail: None, why: permit.reason().to_owned(), until: None }
        }
        Err(Deferral { rail, why, until }) => {
            RailView { question, admitted: false, rail: Some(rail.word().into()), why, until }
        }
    }
}
