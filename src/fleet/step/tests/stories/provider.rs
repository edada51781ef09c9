//! Lists that lie, fail or surprise; a key that is refused; a keeper that only observes.

use insta::assert_snapshot;

use super::{
    super::{
        super::super::{
            event::{Event, Wish},
            name::{InstanceId, OpId},
            provider::{Inventory, ProviderFault},
            units::{Money, Timestamp},
            watch::Word,
        },
        story::row,
    },
    Story, node, policy,
};

#[test]
fn an_outage_is_told_once_and_stops_everything_that_costs_or_destroys() {
    let mut s = Story::serving(3);
    s.lists_fail = true;
    for _ in 0..6 {
        s.pass(20);
        let fault = ProviderFault::Unreachable { detail: "reset".into() };
        s.tell(Event::Listed(Err(fault)));
    }
    s.lose(&node(0));
    s.pass(60);
    assert_eq!(s.state(0).word(), "suspect");
    s.lists_fail = false;
    s.fail(&node(0));
    s.pass(20);
    s.witness(&node(0), Word::Down("no answer on its own port".into()));
    assert_snapshot!(s.read());
}

#[test]
fn a_list_that_lacks_too_much_is_believed_only_after_nine_times() {
    let mut s = Story::serving(4);
    for i in 0..3 {
        let instance = s.instance(&node(i));
        s.absent.insert(instance);
    }
    s.pass(8 * 20);
    assert!(s.memory.lists.rows.contains_key(&s.instance(&node(0))), "not believed yet");
    s.pass(20);
    assert!(!s.memory.lists.rows.contains_key(&s.instance(&node(0))), "believed at last");
    assert_snapshot!(s.read());
}

#[test]
fn an_empty_list_is_not_believed_of_a_fleet_of_one_either() {
    let mut s = Story::serving(1);
    let instance = s.instance(&node(0));
    s.absent.insert(instance);
    s.pass(100);
    assert!(s.memory.lists.rows.contains_key(&instance));
    s.absent.clear();
    s.pass(20);
    assert_snapshot!(s.read());
}

#[test]
fn a_list_that_was_begun_earlier_does_not_turn_time_back() {
    let mut s = Story::serving(2);
    let began = s.memory.lists.last_started_at.unwrap();
    let earlier = Inventory { started_at: Timestamp(began.0 - 1), rentals: Vec::new() };
    s.tell(Event::Listed(Ok(earlier)));
    let again = Inventory { started_at: began, rentals: Vec::new() };
    s.tell(Event::Listed(Ok(again)));
    assert_eq!(s.memory.lists.rows.len(), 2);
}

#[test]
fn strangers_are_told_or_ignored_but_never_touched() {
    let mut s = Story::serving(1);
    let unknown = OpId::from_bits(77);
    s.extra = vec![
        row(InstanceId(1), None),
        row(InstanceId(2), Some("somebody's".into())),
        row(InstanceId(3), Some("vk:other:duel-0:abcdefghijk".into())),
        row(InstanceId(4), Some("vk:test:nonsense".into())),
        row(InstanceId(5), Some(format!("vk:test:duel-0:{unknown}"))),
    ];
    s.pass(200);
    // For a node with a stranger of its name nothing is rented.
    s.ask(&node(0), Wish::Reprovision);
    assert_snapshot!(s.read());
}

#[test]
fn a_refused_key_is_told_once_and_judges_no_box() {
    let mut s = Story::serving(2);
    s.lists_fail = true;
    for _ in 0..10 {
        s.pass(20);
        let fault = ProviderFault::Auth { detail: "auth_error".into() };
        s.tell(Event::Listed(Err(fault)));
    }
    s.lose(&node(0));
    s.pass(60);
    s.lists_fail = false;
    s.pass(20);
    assert_snapshot!(s.read());
}

#[test]
fn a_key_that_lists_but_may_not_rent_is_handed_to_a_human() {
    let mut s = Story::new(policy(1));
    s.boot();
    s.pass(240);
    s.start_telling();
    for _ in 0..3 {
        s.searched(&node(0));
        let fault = ProviderFault::Auth { detail: "no right to rent".into() };
        s.answered(&node(0), super::super::super::super::provider::CreateAnswer::Refused(fault));
        s.pass(70);
    }
    assert_eq!(s.state(0).word(), "held");
    assert_snapshot!(s.read());
}

#[test]
fn whoever_only_observes_changes_nothing() {
    let mut policy = policy(2);
    policy.observe_only = true;
    let mut s = Story::new(policy);
    s.boot();
    s.pass(300);
    s.ask(&node(0), Wish::Reprovision);
    s.ask(&node(0), Wish::Destroy);
    let first = s.read();
    let mut s = Story::serving(2);
    s.policy.observe_only = true;
    s.lose(&node(0));
    s.pass(300);
    assert_eq!(s.state(0).word(), "suspect");
    assert_snapshot!(first + "\nwith a tenant that dies\n" + &s.read());
}

#[test]
fn whoever_only_observes_tells_what_would_be_done_and_which_other_rail_would_be_in_the_way() {
    let mut s = Story::serving(3);
    s.policy.observe_only = true;
    s.lose(&node(0));
    s.pass(300);
    assert_eq!(s.text.matches("would be healed now (`replace`)").count(), 1, "{}", s.text);
    assert_eq!(s.text.matches("observing only: would now replace").count(), 1, "{}", s.text);
    // Too dear as well: that is what stands in the way first.
    let mut s = Story::serving(3);
    s.policy.observe_only = true;
    s.policy.rails.dollars_per_hour = Some(Money(1));
    s.lose(&node(0));
    s.pass(10);
    assert_eq!(s.memory.desk(&node(0)).blocked.as_ref().unwrap().rail.word(), "dollars-per-hour");
    assert!(!s.text.contains("would be healed now"), "{}", s.text);
}
