//! What a journal from a copy of hours ago counts as a spare may fill a node by now, as its label says.

use super::{
    super::super::super::{
        name::{InstanceId, OpId},
        provider::CreateAnswer,
        units::Money,
    },
    Story, node,
    old_copies::{bring_back, labelled, nothing_was_changed},
    spares::{spare, with_spare},
};

#[test]
fn of_two_spares_the_one_that_fills_the_node_by_its_label_takes_it() {
    let mut with_two = with_spare(2);
    let other: crate::fleet::name::NodeName = "duel-spare-1".parse().unwrap();
    let spec = with_two.nodes[&node(0)].clone();
    with_two.nodes.insert(other.clone(), spec);
    with_two.spares.insert(other.clone());
    let mut s = Story::serving_with(with_two);
    let (in_hand, op, kept) = (s.instance(&other), s.op(&other), s.journal.len());
    s.extra.push(labelled(in_hand, "duel-0", &op));
    bring_back(&mut s, kept);
    s.pass(400);
    for name in [node(0), node(1), spare(), other] {
        s.ok(&name);
    }
    let gone = s.lose(&node(0));
    s.destroyed(gone);
    assert_eq!(s.instance(&node(0)), in_hand, "{}", s.text);
}

#[test]
fn a_spare_that_is_promoted_after_a_restart_has_to_prove_itself_like_any_newcomer() {
    let mut s = Story::serving_with(with_spare(2));
    let (in_hand, journal) = (s.instance(&spare()), s.journal.len());
    bring_back(&mut s, journal);
    s.pass(400);
    for name in [node(0), node(1), spare()] {
        s.ok(&name);
    }
    let old = s.lose(&node(0));
    s.destroyed(old);
    assert_eq!(s.instance(&node(0)), in_hand, "{}", s.text);
    for _ in 0..40 {
        s.fail(&node(0));
        s.pass(10);
    }
    assert!(s.fleet.doomed.contains_key(&in_hand) && s.fleet.unknown.is_empty(), "{}", s.text);
}

#[test]
fn a_surplus_spare_that_was_on_its_way_and_that_lists_lack_is_forgotten() {
    let mut s = Story::new(with_spare(1));
    s.boot();
    s.pass(360);
    s.fill(&node(0));
    s.searched(&spare());
    let instance = s.next_instance();
    s.answered(&spare(), CreateAnswer::Created(instance));
    let journal = s.journal.len();
    s.absent.insert(instance);
    s.policy.nodes.remove(&spare());
    s.policy.spares.clear();
    bring_back(&mut s, journal);
    for _ in 0..60 {
        s.ok(&node(0));
        s.pass(10);
    }
    assert!(!s.fleet.nodes.contains_key(&spare()), "{}", s.text);
    assert!(s.fleet.unknown.is_empty() && s.fleet.doomed.is_empty(), "{}", s.text);
}

#[test]
fn a_spare_that_was_on_its_way_and_was_promoted_since_is_no_stray() {
    let mut s = Story::new(with_spare(1));
    s.boot();
    s.pass(360);
    s.fill(&node(0));
    s.searched(&spare());
    let (kept, op, gone) = (s.journal.len(), s.op(&spare()), s.instance(&node(0)));
    // It was rented, filled the first node when that lost its box, and bears its label.
    s.absent.insert(gone);
    s.extra.push(labelled(InstanceId(600), "duel-0", &op));
    bring_back(&mut s, kept);
    s.pass(300);
    assert!(!s.fleet.doomed.contains_key(&InstanceId(600)), "{}", s.text);
    assert_eq!(s.instance(&spare()), InstanceId(600));
    s.deployed(&spare());
    s.ok(&spare());
    s.ok(&spare());
    assert_eq!(s.lose(&node(0)), gone);
    s.destroyed(gone);
    assert_eq!(s.instance(&node(0)), InstanceId(600), "it takes the node that it fills: {}", s.text);
    assert!(!s.text.contains("do       destroy   instance 600"), "{}", s.text);
}

#[test]
fn a_spare_that_was_promoted_since_takes_its_node_again() {
    let mut s = Story::serving_with(with_spare(2));
    let (gone, in_hand, kept) = (s.instance(&node(0)), s.instance(&spare()), s.journal.len());
    let op = s.op(&spare());
    s.absent.insert(gone);
    s.extra.push(labelled(in_hand, "duel-0", &op));
    bring_back(&mut s, kept);
    s.pass(400);
    for _ in 0..30 {
        s.ok(&spare());
        s.ok(&node(1));
        s.fail(&node(0));
        s.pass(10);
    }
    s.destroyed(gone);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!((s.state(0).word(), s.instance(&node(0))), ("serving", in_hand), "{}", s.text);
    assert!(!s.fleet.doomed.contains_key(&in_hand) && !s.text.contains("do       relabel"), "{}", s.text);
}

#[test]
fn a_spare_whose_box_fills_another_node_is_promoted_nowhere_else() {
    let mut s = Story::serving_with(with_spare(2));
    let (in_hand, op) = (s.instance(&spare()), s.op(&spare()));
    s.extra.push(labelled(in_hand, "duel-0", &op));
    s.pass(40);
    s.ok(&spare());
    let old = s.lose(&node(1));
    s.destroyed(old);
    s.pass(60);
    assert_eq!(s.instance(&spare()), in_hand, "{}", s.text);
}

#[test]
fn a_surplus_spare_that_no_list_shows_may_serve_under_another_label() {
    let mut s = Story::serving_with(with_spare(2));
    let (in_hand, kept, op) = (s.instance(&spare()), s.journal.len(), s.op(&spare()));
    s.policy.nodes.remove(&spare());
    s.policy.spares.clear();
    s.absent.insert(in_hand);
    bring_back(&mut s, kept);
    s.pass(900);
    assert!(s.fleet.doomed.is_empty(), "{}", s.text);
    s.absent.clear();
    s.extra.push(labelled(in_hand, "duel-0", &op));
    s.pass(3600);
    assert!(s.fleet.doomed.is_empty(), "{}", s.text);
    assert_eq!(s.text.matches("its label names the node it fills").count(), 1, "{}", s.text);
    // What is gone for good is let go of.
    s.absent.insert(in_hand);
    s.pass(2000);
    assert!(!s.fleet.nodes.contains_key(&spare()), "{}", s.text);
}

#[test]
fn who_fails_is_not_condemned_for_a_spare_that_may_not_take_the_node() {
    let mut s = Story::serving_with(with_spare(2));
    s.extra.push(labelled(InstanceId(600), "duel-1", &OpId::from_bits(78)));
    s.list();
    s.ok(&spare());
    s.lose(&node(1));
    s.pass(60);
    assert!(s.fleet.doomed.is_empty(), "{}", s.text);
}

/// A node that is younger than the copy took a spare's box again, because that bears its label.
fn taken_again() -> (Story, InstanceId) {
    let mut s = Story::serving_with(with_spare(2));
    let (in_hand, kept, op) = (s.instance(&spare()), s.journal.len(), s.op(&spare()));
    let spec = s.policy.nodes[&node(0)].clone();
    s.policy.nodes.insert(node(2), spec);
    s.extra.push(labelled(in_hand, "duel-2", &op));
    bring_back(&mut s, kept);
    while s.fleet.nodes[&spare()].state.probed().is_some() {
        for name in [node(0), node(1), spare()] {
            s.ok(&name);
        }
        s.pass(10);
        assert!(s.text.len() < 100_000, "{}", s.text);
    }
    assert_eq!(s.instance(&node(2)), in_hand, "{}", s.text);
    (s, in_hand)
}

#[test]
fn a_spare_that_was_promoted_since_takes_its_node_again_where_that_stands_empty() {
    let (mut s, in_hand) = taken_again();
    s.ok(&node(2));
    s.ok(&node(2));
    assert_eq!((s.state(2).word(), s.instance(&node(2))), ("serving", in_hand), "{}", s.text);
    assert!(!s.text.contains("do       create") && s.fleet.doomed.is_empty(), "{}", s.text);
}

#[test]
fn a_spare_that_took_its_node_again_and_is_not_reached_is_let_go() {
    let (mut s, in_hand) = taken_again();
    for _ in 0..60 {
        if s.fleet.nodes[&node(2)].state.probed().is_some() {
            s.fail(&node(2));
        }
        s.pass(10);
    }
    assert!(s.fleet.let_go.contains(&in_hand) && s.fleet.doomed.is_empty(), "{}", s.text);
}

#[test]
fn a_journal_that_was_copied_while_it_was_doubted_is_doubted_anew() {
    let mut s = Story::serving_with(with_spare(2));
    let journal = s.journal.len();
    s.extra.push(labelled(InstanceId(600), "duel-1", &OpId::from_bits(78)));
    bring_back(&mut s, journal);
    s.pass(400);
    for name in [node(0), node(1), spare()] {
        s.ok(&name);
    }
    let in_hand = s.instance(&spare());
    let old = s.lose(&node(0));
    s.destroyed(old);
    assert!(s.fleet.doubted && s.instance(&node(0)) == in_hand, "{}", s.text);
    // It was adopted since, and nobody reaches it for a while.
    let (kept, before) = (s.journal.len(), s.fleet.doubted_at);
    bring_back(&mut s, kept);
    assert!(s.fleet.doubted_at > before, "{}", s.text);
    for _ in 0..60 {
        s.fail(&node(0));
        s.pass(10);
    }
    assert!(!s.fleet.doomed.contains_key(&in_hand), "{}", s.text);
}

#[test]
fn a_spare_whose_box_fills_another_node_is_not_replaced_ahead_of_its_end() {
    let mut s = Story::serving_with(with_spare(2));
    let (in_hand, op) = (s.instance(&spare()), s.op(&spare()));
    let mut dear = labelled(in_hand, "duel-0", &op);
    dear.price = Money(s.policy.nodes[&spare()].offers.price_cap.0 + 1);
    s.extra.push(dear);
    s.start_telling();
    for _ in 0..60 {
        for name in [node(0), node(1), spare()] {
            s.ok(&name);
        }
        s.pass(10);
    }
    assert_eq!(s.instance(&spare()), in_hand, "{}", s.text);
    nothing_was_changed(&s);
}
