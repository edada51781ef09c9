//! What a condemned box shows before it is destroyed, and that nobody waits for it beyond the deadline.

use std::time::Duration;

use super::{
    super::super::super::{
        command::Command,
        event::{Event, Wish, WorkFault},
        name::InstanceId,
        policy::Policy,
        provider::{CreateAnswer, Status},
    },
    Story, node, policy,
};

fn asking() -> Policy {
    let mut policy = policy(3);
    policy.rails.evidence = Duration::from_secs(10);
    policy
}

/// When each destroy of an instance was ordered, in seconds of the story.
fn destroys(s: &Story, instance: InstanceId) -> usize {
    s.text.matches(&format!("destroy {instance}\n")).count()
}

fn asks(s: &Story) -> usize {
    s.text.matches("take-evidence").count()
}

#[test]
fn a_box_that_can_be_asked_shows_its_end_and_is_destroyed_at_once_after() {
    let mut s = Story::serving_with(asking());
    let old = s.lose(&node(0));
    assert!(s.fleet.doomed.contains_key(&old), "the sentence comes first");
    assert_eq!((asks(&s), destroys(&s, old)), (1, 0), "{}", s.text);
    s.pass(2);
    let known = s.last.commands.iter().any(|command| matches!(command, Command::Destroy { .. }));
    assert!(!known);
    s.tell(Event::EvidenceTaken { node: node(0), instance: old, result: Ok("9 bytes in `x`".into()) });
    assert_eq!(destroys(&s, old), 1, "{}", s.text);
    assert!(s.text.contains("evidence of instance"), "{}", s.text);
    s.destroyed(old);
    s.fill(&node(0));
    s.pass(60);
    assert_eq!((asks(&s), destroys(&s, old)), (1, 1), "asked once, destroyed once");
}

#[test]
fn nobody_waits_beyond_the_deadline() {
    let mut s = Story::serving_with(asking());
    let old = s.lose(&node(0));
    s.pass(9);
    assert_eq!(destroys(&s, old), 0, "{}", s.text);
    s.pass(2);
    assert_eq!(destroys(&s, old), 1, "{}", s.text);
    // A late answer changes nothing.
    s.tell(Event::EvidenceTaken { node: node(0), instance: old, result: Err("too late".into()) });
    assert_eq!(destroys(&s, old), 1, "{}", s.text);
}

#[test]
fn a_keeper_that_dies_meanwhile_destroys_at_its_next_start() {
    let mut s = Story::serving_with(asking());
    let old = s.lose(&node(0));
    let journal = s.journal.len();
    s.restart(journal);
    s.start_telling();
    s.pass(40);
    assert!(destroys(&s, old) >= 1, "{}", s.text);
}

#[test]
fn who_cannot_be_asked_or_has_nothing_to_show_is_destroyed_at_once() {
    // The provider confirms it, and the box is silent.
    let mut s = Story::serving_with(asking());
    let old = s.instance(&node(0));
    s.status.insert(old, Status::Offline);
    s.pass(60);
    s.fail_thrice(&node(0));
    assert_eq!((asks(&s), destroys(&s, old)), (0, 1), "{}", s.text);

    // A person wants it.
    let mut s = Story::serving_with(asking());
    let old = s.instance(&node(0));
    s.ask(&node(0), Wish::Reprovision);
    assert_eq!((asks(&s), destroys(&s, old)), (0, 1), "{}", s.text);

    // It never came up.
    let mut s = Story::serving_with(asking());
    s.policy.rails.evidence = Duration::ZERO;
    let old = s.lose(&node(0));
    s.policy.rails.evidence = Duration::from_secs(10);
    s.destroyed(old);
    s.searched(&node(0));
    let new = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(new));
    s.status.insert(new, Status::Broken);
    s.pass(20);
    assert_eq!((asks(&s), destroys(&s, new)), (0, 1), "{}", s.text);
}

#[test]
fn a_newcomer_that_took_the_release_and_failed_is_asked_too() {
    let mut s = Story::serving_with(asking());
    let old = s.lose(&node(0));
    s.tell(Event::EvidenceTaken { node: node(0), instance: old, result: Ok("9 bytes in `x`".into()) });
    s.destroyed(old);
    s.searched(&node(0));
    let new = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(new));
    s.pass(20);
    let result = Err(WorkFault::Unhealthy("not healthy within 30 s".into()));
    s.tell(Event::DeployEnded { node: node(0), instance: new, result });
    assert_eq!((asks(&s), destroys(&s, new)), (2, 0), "{}", s.text);
    s.pass(15);
    assert_eq!(destroys(&s, new), 1, "{}", s.text);
}
