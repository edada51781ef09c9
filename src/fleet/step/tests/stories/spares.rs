//! Boxes kept in hand: promoted in seconds, refilled behind, never taken for strays, given back when fewer are wanted.

use insta::assert_snapshot;

use super::{
    super::{
        super::super::{
            event::Event,
            guard::Rail,
            name::{InstanceId, NodeName},
            policy::Policy,
            provider::Credit,
            state::NodeState,
            units::Money,
        },
        story::row,
    },
    Story, node, policy,
};

pub(super) fn spare() -> NodeName {
    "duel-spare-0".parse().unwrap()
}

pub(super) fn with_spare(nodes: usize) -> Policy {
    let mut policy = policy(nodes);
    let spec = policy.nodes[&node(0)].clone();
    policy.nodes.insert(spare(), spec);
    policy.spares.insert(spare());
    policy
}

#[test]
fn a_spare_takes_over_a_failed_node_and_is_rented_anew_behind_it() {
    let mut s = Story::serving_with(with_spare(2));
    let in_hand = s.instance(&spare());
    s.ok(&spare());
    let old = s.lose(&node(0));
    assert_eq!(s.state(0).word(), "recovering", "not before the old one is known to be destroyed");
    s.destroyed(old);
    assert_eq!(s.instance(&node(0)), in_hand);
    let promoted_at = s.now;
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "serving");
    assert_eq!(s.now - promoted_at, 0, "two healthy answers are all it takes");
    // The list still shows the old label, so the new one is asked for again.
    s.pass(40);
    s.fill(&spare());
    assert!(s.text.matches("do       relabel").count() >= 1);
    assert_snapshot!(s.read());
}

#[test]
fn the_twin_of_a_promoted_spares_box_is_a_stray_under_the_spares_label() {
    let mut s = Story::serving_with(with_spare(2));
    let op = s.op(&spare());
    s.ok(&spare());
    let old = s.lose(&node(0));
    s.destroyed(old);
    assert_eq!(s.op(&node(0)), op, "promoted");
    // The provider executed the spare's create a second time.
    let twin = InstanceId(900);
    s.extra.push(row(twin, Some(format!("vk:test:duel-spare-0:{op}"))));
    s.pass(60);
    assert!(s.fleet.doomed.contains_key(&twin), "{}", s.text);
}

#[test]
fn a_box_whose_label_still_names_the_spare_keeps_nobody_from_renting() {
    let mut s = Story::serving_with(with_spare(2));
    let in_hand = s.instance(&spare());
    let label = format!("vk:test:duel-spare-0:{}", s.op(&spare()));
    s.ok(&spare());
    let old = s.lose(&node(0));
    s.destroyed(old);
    // Lists go on showing the label of before.
    s.extra.push(row(in_hand, Some(label)));
    s.pass(70);
    assert!(s.text.matches("do       relabel").count() >= 2, "{}", s.text);
    assert!(!s.fleet.doomed.contains_key(&in_hand), "it is nobody's stray");
    s.searched(&spare());
    assert!(s.fleet.nodes[&spare()].state.claim().is_some(), "{}", s.text);
}

#[test]
fn a_spare_heals_where_no_money_is_left_to_rent() {
    let mut s = Story::serving_with(with_spare(2));
    s.ok(&spare());
    s.tell(Event::CreditRead(Ok(Credit { dollars: Money(10_000) })));
    let old = s.lose(&node(0));
    s.destroyed(old);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "serving", "{}", s.text);
    let blocked = s.memory.desks[&spare()].blocked.as_ref().map(|blocked| blocked.rail);
    assert_eq!(blocked, Some(Rail::Credit), "only the refill waits");
}

#[test]
fn a_failing_or_paused_spare_is_no_spare() {
    let mut s = Story::serving_with(with_spare(2));
    s.fail(&spare());
    let old = s.lose(&node(0));
    s.destroyed(old);
    assert!(s.text.contains("do       search duel-0"), "{}", s.text);
}

#[test]
fn a_promoted_box_that_does_not_prove_itself_is_condemned_and_another_rented() {
    let mut s = Story::serving_with(with_spare(2));
    let in_hand = s.instance(&spare());
    s.ok(&spare());
    let old = s.lose(&node(0));
    s.destroyed(old);
    s.fail(&node(0));
    s.pass(310);
    assert!(s.fleet.doomed.contains_key(&in_hand), "{}", s.text);
    assert_eq!(s.state(0).word(), "recovering");
}

#[test]
fn every_node_is_rented_for_before_a_spare() {
    let mut s = Story::new(with_spare(2));
    s.boot();
    s.pass(240);
    assert!(!s.text.contains("do       search duel-spare-0"), "{}", s.text);
    for i in 0..2 {
        s.fill(&node(i));
    }
    s.pass(20);
    assert!(s.text.contains("do       search duel-spare-0"), "{}", s.text);
}

#[test]
fn fewer_spares_are_given_back_but_a_lost_group_costs_nothing() {
    let mut s = Story::serving_with(with_spare(2));
    let in_hand = s.instance(&spare());
    let mut whole = s.policy.clone();
    // The whole group is gone from the configuration: nothing is touched.
    s.policy.nodes.clear();
    s.policy.spares.clear();
    s.tell(Event::PolicyChanged);
    s.pass(60);
    assert!(s.fleet.doomed.is_empty(), "{}", s.text);
    // Only the spare is not wanted any more.
    whole.nodes.remove(&spare());
    whole.spares.clear();
    s.policy = whole;
    s.tell(Event::PolicyChanged);
    assert_eq!(s.fleet.doomed.keys().copied().collect::<Vec<_>>(), [in_hand]);
    assert!(!s.fleet.nodes.contains_key(&spare()));
    assert!(matches!(s.state(0), NodeState::Serving(_)) && matches!(s.state(1), NodeState::Serving(_)));
}

#[test]
fn a_spare_that_was_promoted_since_an_old_copy_is_not_given_back() {
    let mut s = Story::serving_with(with_spare(2));
    let (in_hand, journal) = (s.instance(&spare()), s.journal.len());
    // It fills the first node by now, whose box is gone, and bears its label; then fewer spares were wanted.
    s.absent.insert(s.instance(&node(0)));
    let op = s.tenant(&spare()).rental.op;
    s.extra.push(row(in_hand, Some(format!("vk:test:duel-0:{op}"))));
    s.now += 3_600_000;
    s.policy.nodes.remove(&spare());
    s.policy.spares.clear();
    s.restart(journal);
    s.pass(300);
    let gone = s.lose(&node(0));
    s.pass(1900);
    s.destroyed(gone);
    s.pass(60);
    assert!(!s.fleet.doomed.contains_key(&in_hand), "{}", s.text);
    assert!(!s.text.contains("do       relabel"), "{}", s.text);
    // Nor is a box rented beside the one that bears the first node's label.
    assert!(!s.text.contains("do       create"), "{}", s.text);
    let blocked = s.memory.desks[&node(0)].blocked.clone().unwrap();
    assert!(blocked.why.contains("older than its promotion"), "{blocked:?}");
}

#[test]
fn every_crash_point_of_a_promotion_keeps_the_box_on_record_once() {
    let mut whole = Story::serving_with(with_spare(2));
    let begin = whole.journal.len();
    let in_hand = whole.instance(&spare());
    whole.ok(&spare());
    let old = whole.lose(&node(0));
    whole.destroyed(old);
    whole.ok(&node(0));
    whole.ok(&node(0));
    let journal = whole.journal.clone();
    for kept in begin..=journal.len() {
        let mut s = Story::serving_with(with_spare(2));
        s.journal = journal.clone();
        s.now = whole.now;
        s.restart(kept);
        s.pass(60);
        let holders = s.fleet.claims().filter(|(_, _, instance)| *instance == Some(in_hand)).count();
        assert_eq!(holders, 1, "after {kept} of {} records", journal.len());
        assert!(!s.fleet.doomed.contains_key(&in_hand));
    }
}
