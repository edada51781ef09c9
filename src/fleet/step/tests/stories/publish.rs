//! Where the nodes are reached, published outside.

use insta::assert_snapshot;

use super::{
    super::super::super::{event::Event, policy::Policy},
    Story, node, policy,
};

fn publishing(nodes: usize) -> Policy {
    Policy { publish: true, ..policy(nodes) }
}

/// The loop turns; what it orders to be published succeeds, or fails.
fn turn(s: &mut Story, result: Result<(), String>) -> bool {
    s.tell(Event::Beat);
    let ordered = s.last.commands.iter().any(|command| command.word() == "publish");
    if ordered {
        let addresses = s.fleet.addresses();
        s.tell(Event::Published { addresses, result });
    }
    ordered
}

#[test]
fn every_change_is_published_once_and_every_start_publishes_again() {
    let mut s = Story::serving_with(publishing(2));
    assert!(turn(&mut s, Ok(())));
    assert!(!turn(&mut s, Ok(())), "nothing has changed");
    let old = s.lose(&node(0));
    s.destroyed(old);
    assert!(turn(&mut s, Ok(())), "whoever points at the old box hears of it");
    assert!(!s.fleet.published.as_ref().unwrap().contains_key(&node(0)));
    s.pass(1);
    s.fill(&node(0));
    assert!(turn(&mut s, Ok(())));
    assert_eq!(s.fleet.published.as_ref().unwrap().len(), 2);
    assert_snapshot!(s.read());
    let records = s.journal.len();
    s.restart(records);
    assert!(turn(&mut s, Ok(())), "what is published may have been lost meanwhile");
    let told = s.journal.iter().skip(records).filter(|entry| entry.record.kind() == "published").count();
    assert_eq!(told, 0, "it is no news");
}

#[test]
fn what_cannot_be_published_is_tried_again_later_and_later_and_told_once() {
    let mut s = Story::serving_with(publishing(1));
    s.start_telling();
    let mut attempts = 0;
    for _ in 0..300 {
        attempts += u32::from(turn(&mut s, Err("no such zone".into())));
        s.now += 1_000;
    }
    assert!((6..=12).contains(&attempts), "{attempts} attempts in five minutes");
    assert_eq!(s.fleet.published, None);
    while !turn(&mut s, Ok(())) {
        s.now += 1_000;
    }
    assert_eq!(s.read().matches("cannot be published").count(), 1);
    assert_eq!(s.read().matches("published again").count(), 1);
}

#[test]
fn nothing_is_published_by_who_only_observes_or_was_not_asked_to() {
    let mut s = Story::serving(1);
    assert!(!turn(&mut s, Ok(())));
    let mut s = Story::serving_with(publishing(1));
    s.policy.observe_only = true;
    assert!(!turn(&mut s, Ok(())));
}

#[test]
fn an_attempt_that_nothing_is_heard_of_is_made_again() {
    let mut s = Story::serving_with(publishing(1));
    let begun = |s: &mut Story| {
        s.tell(Event::Beat);
        s.last.commands.iter().any(|command| command.word() == "publish")
    };
    assert!(begun(&mut s));
    assert!(!begun(&mut s));
    s.now += 200_000;
    assert!(begun(&mut s));
}
