//! What people ask for, and what a changed configuration means.

use insta::assert_snapshot;

use super::{
    super::super::super::{event::Wish, provider::CreateAnswer, state::NodeState, watch::Word},
    Story, node, policy,
};

#[test]
fn a_paused_node_is_watched_but_not_healed() {
    let mut s = Story::serving(2);
    s.ask(&node(0), Wish::Pause);
    s.ask(&node(0), Wish::Pause);
    s.lose(&node(0));
    s.pass(60);
    s.ask(&node(0), Wish::Reprovision);
    s.fail(&node(0));
    s.witness(&node(0), Word::Down("no answer on its own port".into()));
    s.ask(&node(0), Wish::Resume);
    s.ask(&node(0), Wish::Resume);
    assert_snapshot!(s.read());
}

#[test]
fn a_reprovision_replaces_a_healthy_tenant_with_one_story_from_start_to_end() {
    let mut s = Story::serving(2);
    let old = s.instance(&node(0));
    s.ask(&node(0), Wish::Reprovision);
    s.ask(&node(0), Wish::Reprovision);
    s.destroyed(old);
    s.fill(&node(0));
    assert_snapshot!(s.read());
}

#[test]
fn a_node_never_filled_can_be_asked_for() {
    let mut s = Story::new(policy(1));
    s.tell(super::super::super::super::event::Event::Booted { version: "1".into() });
    s.ask(&node(0), Wish::Reprovision);
    s.boot();
    s.pass(240);
    s.ask(&node(0), Wish::Reprovision);
    s.ask(&node(9), Wish::Reprovision);
    assert_snapshot!(s.read());
}

#[test]
fn a_destroyed_node_stays_empty_until_it_is_resumed() {
    let mut s = Story::serving(2);
    s.lose(&node(1));
    s.start_telling();
    let old = s.instance(&node(0));
    s.ask(&node(0), Wish::Destroy);
    s.destroyed(old);
    s.ask(&node(0), Wish::Destroy);
    s.pass(600);
    s.ask(&node(0), Wish::Resume);
    assert_snapshot!(s.read());
}

#[test]
fn a_destroy_in_the_middle_of_a_recovery_ends_it_or_says_why_not() {
    let mut s = Story::serving(2);
    let old = s.lose(&node(0));
    s.destroyed(old);
    s.searched(&node(0));
    s.start_telling();
    s.ask(&node(0), Wish::Destroy);
    s.answered(&node(0), CreateAnswer::Ambiguous("reset".into()));
    s.ask(&node(0), Wish::Destroy);
    s.answered(&node(0), CreateAnswer::Created(super::super::super::super::name::InstanceId(150)));
    s.pass(20);
    s.ask(&node(0), Wish::Destroy);
    assert!(matches!(s.state(0), NodeState::Held { tenant: None, .. }));
    assert_snapshot!(s.read());
}

#[test]
fn a_node_that_leaves_the_configuration_keeps_its_box_until_a_person_ends_it() {
    let mut s = Story::serving(2);
    let spec = s.policy.nodes.remove(&node(0)).unwrap();
    s.tell(super::super::super::super::event::Event::PolicyChanged);
    s.fail_thrice(&node(0));
    s.ask(&node(0), Wish::Reprovision);
    s.ask(&node(0), Wish::Destroy);
    assert!(!s.fleet.nodes.contains_key(&node(0)));
    s.pass(60);
    s.policy.nodes.insert(node(0), spec);
    s.tell(super::super::super::super::event::Event::PolicyChanged);
    assert_snapshot!(s.read());
}

#[test]
fn a_node_that_leaves_while_nothing_fills_it_is_forgotten_with_its_incident() {
    let mut s = Story::serving(2);
    let old = s.lose(&node(0));
    s.destroyed(old);
    s.start_telling();
    s.policy.nodes.remove(&node(0));
    s.tell(super::super::super::super::event::Event::PolicyChanged);
    assert_snapshot!(s.read());
}
