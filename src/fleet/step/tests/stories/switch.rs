//! Blue-green: a second box, the switch, the way back.

use insta::assert_snapshot;

use super::{
    super::super::super::{
        deployed::{Placed, SwitchRequest},
        event::{Event, Reply, Wish, WorkFault},
        journal::{Entry, Record},
        provider::{CreateAnswer, Credit},
        units::{Money, Timestamp},
        watch::Word,
    },
    Story, node,
    spares::{spare, with_spare},
};

fn asked(s: &mut Story) {
    let release = Placed { name: "new".into(), digest: "d1".into(), commit: "c".into() };
    let request = SwitchRequest { node: node(0), release, keep_s: 600, by: "anna".into() };
    s.tell(Event::SwitchAsked(request));
}

/// The node is on its second box, and the first stands by.
fn switched() -> Story {
    let mut s = Story::serving(2);
    asked(&mut s);
    s.fill(&node(0));
    assert!(s.fleet.nodes[&node(0)].standby.is_some(), "{}", s.text);
    s
}

#[test]
fn the_second_box_gets_the_release_and_the_first_stands_by_until_its_time_is_over() {
    let mut s = Story::serving(2);
    let old = s.tenant(&node(0)).instance;
    s.start_telling();
    asked(&mut s);
    assert_eq!(s.tenant(&node(0)).instance, old, "it serves on");
    s.fill(&node(0));
    let known = s.fleet.nodes[&node(0)].clone();
    assert_ne!(s.tenant(&node(0)).instance, old);
    assert_eq!(known.placed.unwrap().name, "new");
    assert_eq!(known.standby.unwrap().tenant.instance, old);
    assert!(s.fleet.doomed.is_empty());
    // Lists show both, and neither is a stray.
    s.pass(300);
    assert!(s.fleet.doomed.is_empty(), "{}", s.text);
    s.pass(400);
    s.tell(Event::Beat);
    assert!(s.fleet.doomed.contains_key(&old) && s.fleet.nodes[&node(0)].standby.is_none());
    assert_snapshot!(s.read());
}

#[test]
fn the_way_back_stays_open_while_it_may_be_needed() {
    let mut s = switched();
    let old = s.fleet.nodes[&node(0)].standby.clone().unwrap().tenant.instance;
    s.pass(590);
    s.fail(&node(0));
    s.pass(20);
    s.tell(Event::Beat);
    assert!(!s.fleet.doomed.contains_key(&old), "its time is over, and the new box fails: {}", s.text);
    s.ok(&node(0));
    s.ask(&node(0), Wish::Pause);
    s.tell(Event::Beat);
    assert!(!s.fleet.doomed.contains_key(&old), "a person keeps the keeper away");
    for _ in 0..2 {
        s.pass(3600);
        s.tell(Event::Beat);
    }
    assert_eq!(s.text.matches("still stands by as the way back").count(), 1, "{}", s.text);
    s.ask(&node(0), Wish::Resume);
    s.ok(&node(0));
    s.tell(Event::Beat);
    assert!(s.fleet.doomed.contains_key(&old));
}

#[test]
fn the_way_back_is_not_closed_by_a_keeper_that_has_seen_nothing_yet() {
    let mut s = switched();
    let old = s.fleet.nodes[&node(0)].standby.clone().unwrap().tenant.instance;
    // The keeper is away while the time passes.
    s.now += 700_000;
    let journal = s.journal.len();
    s.restart(journal);
    s.tell(Event::Beat);
    s.pass(20);
    assert!(!s.fleet.doomed.contains_key(&old), "nobody knows yet whether the new one serves: {}", s.text);
    s.ok(&node(0));
    s.ok(&node(0));
    s.tell(Event::Beat);
    assert!(s.fleet.doomed.contains_key(&old), "{}", s.text);
}

#[test]
fn a_person_switches_back_in_one_step() {
    let mut s = switched();
    let (new, old) =
        (s.tenant(&node(0)).instance, s.fleet.nodes[&node(0)].standby.clone().unwrap().tenant.instance);
    s.start_telling();
    s.ask(&node(0), Wish::SwitchBack);
    assert_snapshot!(s.read());
    assert_eq!((s.state(0).word(), s.tenant(&node(0)).instance), ("serving", old));
    assert!(s.fleet.doomed.contains_key(&new));
    s.ask(&node(0), Wish::SwitchBack);
    assert!(matches!(s.last.reply, Some(Reply::NothingToDo(_))));
}

#[test]
fn another_switch_keeps_the_way_back_until_it_is_let_pass_and_takes_no_release_at_fault() {
    let mut s = switched();
    let way_back = s.fleet.nodes[&node(0)].standby.clone().unwrap().tenant.instance;
    s.ok(&node(0));
    // No money: the second switch is refused, and what stands by goes on doing so.
    s.tell(Event::CreditRead(Ok(Credit { dollars: Money(0) })));
    asked(&mut s);
    assert!(matches!(s.last.reply, Some(Reply::Refused(_))), "{:?}", s.last.reply);
    assert!(s.fleet.doomed.is_empty() && s.fleet.nodes[&node(0)].standby.is_some());
    s.tell(Event::CreditRead(Ok(Credit { dollars: Money(50_000_000) })));
    asked(&mut s);
    assert!(matches!(s.last.reply, Some(Reply::Accepted(_))), "{:?}", s.last.reply);
    assert!(s.fleet.doomed.contains_key(&way_back));

    let mut s = Story::serving(2);
    let digest = "d1".to_owned();
    let condemned = Record::ReleaseCondemned { digest, evidence: "it failed on two hosts".into() };
    s.fleet.apply(&Entry { at: Timestamp(s.now), record: condemned }).unwrap();
    s.folded = s.fleet.clone();
    asked(&mut s);
    assert!(
        matches!(&s.last.reply, Some(Reply::Refused(why)) if why.contains("at fault")),
        "{:?}",
        s.last.reply
    );
}

#[test]
fn a_switch_rents_a_box_for_its_release_though_a_spare_is_in_hand() {
    let mut s = Story::serving_with(with_spare(2));
    let in_hand = s.instance(&spare());
    s.ok(&spare());
    s.ok(&node(0));
    asked(&mut s);
    assert!(matches!(s.last.reply, Some(Reply::Accepted(_))), "{:?}", s.last.reply);
    s.fill(&node(0));
    let known = &s.fleet.nodes[&node(0)];
    assert_eq!(known.placed.as_ref().unwrap().name, "new");
    assert_eq!(s.instance(&spare()), in_hand, "it was not taken");
}

#[test]
fn a_second_box_that_fails_gives_the_node_back_at_once() {
    let mut s = switched();
    let old = s.fleet.nodes[&node(0)].standby.clone().unwrap().tenant.instance;
    s.fail_thrice(&node(0));
    s.witness(&node(0), Word::Down("the server's port refuses connections".into()));
    assert_eq!((s.state(0).word(), s.tenant(&node(0)).instance), ("serving", old), "{}", s.text);
    assert!(s.fleet.nodes[&node(0)].incident.is_none());
}

#[test]
fn a_release_that_does_not_come_up_costs_its_own_box_alone() {
    let mut s = Story::serving(2);
    let old = s.tenant(&node(0)).instance;
    asked(&mut s);
    s.searched(&node(0));
    let new = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(new));
    s.pass(20);
    let result = Err(WorkFault::Release("it refuses its settings".into()));
    s.tell(Event::DeployEnded { node: node(0), instance: new, result });
    assert_eq!(s.state(0).word(), "held");
    assert_eq!(s.tenant(&node(0)).instance, old, "it serves on");
    assert!(s.fleet.doomed.contains_key(&new) && !s.fleet.doomed.contains_key(&old));
    assert!(s.fleet.nodes[&node(0)].next.is_none());
}

#[test]
fn every_crash_point_keeps_both_boxes_on_record() {
    let mut whole = Story::serving(2);
    let begin = whole.journal.len();
    let old = whole.tenant(&node(0)).instance;
    asked(&mut whole);
    whole.fill(&node(0));
    let journal = whole.journal.clone();
    for kept in begin..=journal.len() {
        let mut s = Story::serving(2);
        s.journal = journal.clone();
        s.now = whole.now;
        s.restart(kept);
        s.pass(60);
        let known = &s.fleet.nodes[&node(0)];
        let claimed = known.claims().any(|(_, id)| id == Some(old));
        assert!(claimed || s.fleet.doomed.contains_key(&old), "after {kept} records {old} leaked");
    }
}

#[test]
fn a_destroy_takes_both_and_a_reprovision_closes_the_way_back() {
    let mut s = switched();
    let claims: Vec<_> = s.fleet.nodes[&node(0)].claims().filter_map(|(_, id)| id).collect();
    assert_eq!(claims.len(), 2);
    s.ask(&node(0), Wish::Destroy);
    assert!(claims.iter().all(|id| s.fleet.doomed.contains_key(id)));
    let mut s = switched();
    let old = s.fleet.nodes[&node(0)].standby.clone().unwrap().tenant.instance;
    s.ask(&node(0), Wish::Reprovision);
    assert!(s.fleet.doomed.contains_key(&old), "{}", s.text);
}
