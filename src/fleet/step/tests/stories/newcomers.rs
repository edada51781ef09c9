//! From rental to service: deadlines, dead newcomers, deploys that fail, attempts used up.

use insta::assert_snapshot;

use super::{
    super::super::super::{
        command::{Chosen, Command},
        event::{Event, Wish, WorkFault},
        journal::ReleaseRef,
        probe::{Failure, Verdict},
        provider::{CreateAnswer, Status},
        state::NodeState,
    },
    Story, node, policy,
};

#[test]
fn a_fresh_fleet_is_filled_once_lists_agreed_for_three_minutes() {
    let mut s = Story::new(policy(2));
    s.boot();
    s.pass(240);
    s.fill(&node(0));
    assert_snapshot!(s.read());
}

/// A fleet of one with its first rental under way.
fn rented() -> Story {
    let mut s = Story::new(policy(1));
    s.boot();
    s.pass(240);
    s.searched(&node(0));
    let instance = s.next_instance();
    s.status.insert(instance, Status::Starting);
    s.answered(&node(0), CreateAnswer::Created(instance));
    s.start_telling();
    s
}

#[test]
fn a_boot_that_takes_too_long_costs_the_box_and_blames_the_machine() {
    let mut s = rented();
    s.pass(1150);
    assert_eq!(s.text, "");
    s.pass(60);
    assert_snapshot!(s.read());
}

#[test]
fn a_keeper_that_was_away_looks_before_it_judges_a_boot() {
    let mut s = rented();
    let kept = s.journal.len();
    s.now += 3_600_000;
    s.status.clear();
    s.restart(kept);
    s.pass(20);
    assert_snapshot!(s.read());
}

#[test]
fn a_newcomer_that_lists_call_dead_or_broken_is_given_up_early() {
    let mut s = rented();
    let instance = s.instance(&node(0));
    s.status.insert(instance, Status::Exited);
    s.pass(40);
    let first = s.read();
    let mut s = rented();
    let instance = s.instance(&node(0));
    s.status.insert(instance, Status::Broken);
    s.pass(20);
    assert_snapshot!(first + &s.read());
}

#[test]
fn a_newcomer_may_be_missing_for_a_while_but_not_for_long() {
    let mut s = rented();
    let instance = s.instance(&node(0));
    s.absent.insert(instance);
    s.pass(100);
    assert_eq!(s.text, "");
    s.pass(60);
    assert_snapshot!(s.read());
}

#[test]
fn a_list_that_lacks_all_newcomers_at_once_costs_none_of_them() {
    let mut s = Story::new(policy(5));
    s.boot();
    s.pass(240);
    let mut newcomers = Vec::new();
    for i in 0..5 {
        s.searched(&node(i));
        let instance = s.next_instance();
        s.status.insert(instance, Status::Starting);
        s.answered(&node(i), CreateAnswer::Created(instance));
        newcomers.push(instance);
    }
    // They are on their way for longer than a list may lag, and then two lists lack each of them.
    s.pass(150);
    s.absent.extend(&newcomers);
    s.pass(30);
    s.absent.clear();
    s.pass(60);
    assert!(s.fleet.doomed.is_empty(), "{}", s.text);
    assert!(!s.text.contains("do       destroy"), "{}", s.text);
}

#[test]
fn a_newcomer_that_answers_is_not_given_up_on_a_lists_word() {
    let mut s = rented();
    let instance = s.instance(&node(0));
    s.status.clear();
    s.pass(20);
    s.deployed(&node(0));
    assert_eq!(s.state(0).word(), "recovering");
    s.ok(&node(0));
    s.status.insert(instance, Status::Exited);
    s.pass(40);
    assert!(s.fleet.doomed.is_empty(), "{}", s.text);
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "serving", "{}", s.text);
}

#[test]
fn an_address_in_a_private_network_is_never_used() {
    let mut s = rented();
    let mut spec = s.policy.nodes[&node(0)].as_ref().clone();
    spec.rental.allow_private_addresses = false;
    s.policy.nodes.insert(node(0), std::sync::Arc::new(spec));
    s.status.clear();
    s.pass(1230);
    assert_snapshot!(s.read());
}

#[test]
fn a_deploy_of_unknown_outcome_is_run_again_and_a_failed_one_costs_the_box() {
    let mut s = rented();
    s.status.clear();
    s.pass(20);
    let instance = s.instance(&node(0));
    for fault in [WorkFault::Unknown("cut off".into()), WorkFault::Box("disk full".into())] {
        s.tell(Event::DeployEnded { node: node(0), instance, result: Err(fault) });
        s.pass(12);
    }
    assert_snapshot!(s.read());
}

#[test]
fn a_deploy_that_another_release_overtook_brings_that_one_and_costs_nothing() {
    let mut s = rented();
    s.status.clear();
    s.pass(20);
    let instance = s.instance(&node(0));
    let newer = ReleaseRef { digest: "d2".into(), commit: "c2".into() };
    s.tell(Event::ReleasePrepared(Ok(newer)));
    let records = s.journal.len();
    let superseded = WorkFault::Superseded("another release is configured".into());
    s.tell(Event::DeployEnded { node: node(0), instance, result: Err(superseded) });
    s.start_telling();
    s.pass(10);
    assert_eq!(s.text.matches("deploy duel-0 on 101").count(), 1, "{}", s.text);
    let newer = Chosen::Configured(Some("d2".into()));
    let brings = |command: &Command| matches!(command, Command::Deploy { release, .. } if *release == newer);
    assert!(s.last.commands.iter().any(brings), "{:?}", s.last);
    assert_eq!(s.journal.len(), records, "nothing was begun, so nothing is on record");
}

#[test]
fn a_deploy_that_never_ends_is_ended() {
    let mut s = rented();
    s.status.clear();
    s.pass(920);
    assert_snapshot!(s.read());
}

#[test]
fn probation_ends_in_service_or_not_at_all() {
    let mut s = rented();
    s.status.clear();
    s.pass(20);
    s.deployed(&node(0));
    for _ in 0..30 {
        s.pass(10);
        s.probed(&node(0), Verdict::Failing(Failure::Impostor { got: Some("another".into()) }));
    }
    assert_snapshot!(s.read());
}

#[test]
fn a_release_at_fault_burns_no_second_box() {
    for (fault, word) in [
        (WorkFault::Release("checksum differs".into()), "release-at-fault"),
        (WorkFault::HostKeyChanged("SHA256:x".into()), "host-key-changed"),
    ] {
        let mut s = rented();
        s.status.clear();
        s.pass(20);
        let instance = s.instance(&node(0));
        s.tell(Event::DeployEnded { node: node(0), instance, result: Err(fault) });
        assert!(s.fleet.doomed.contains_key(&instance), "the newcomer is condemned");
        assert!(s.text.contains("tell     Critical held"), "{}", s.text);
        assert!(s.text.contains(word), "{}", s.text);
        s.pass(3600);
        assert!(!s.text.contains("do       create"), "{}", s.text);
    }
}

#[test]
fn attempts_wait_longer_each_time_and_are_used_up_in_the_end() {
    let mut policy = policy(1);
    policy.rails.attempts = 3;
    policy.rails.node_creates = 10;
    let mut s = Story::new(policy);
    s.boot();
    s.pass(240);
    for _ in 0..3 {
        s.searched(&node(0));
        let instance = s.next_instance();
        s.answered(&node(0), CreateAnswer::Created(instance));
        s.pass(20);
        let fault = WorkFault::Box("disk full".into());
        s.tell(Event::DeployEnded { node: node(0), instance, result: Err(fault) });
        s.destroyed(instance);
        s.pass(300);
    }
    assert!(matches!(s.state(0), NodeState::Held { .. }));
    assert_snapshot!(s.read());
    // The trouble of that hour may be over: once in six hours it is tried again, unless a person keeps it so.
    let journal = s.journal.len();
    s.restart(journal);
    s.ask(&node(0), Wish::Pause);
    s.pass(7 * 3600);
    assert_eq!(s.state(0).word(), "held");
    s.tell(Event::Asked { node: node(0), wish: Wish::Resume, by: "ann".into() });
    assert_eq!(s.state(0).word(), "recovering", "a person need not wait");
    for _ in 0..3 {
        s.searched(&node(0));
        let instance = s.next_instance();
        s.answered(&node(0), CreateAnswer::CreatedBroken(instance, "no such image".into()));
        s.destroyed(instance);
        s.pass(600);
    }
    assert_eq!(s.state(0).word(), "held", "{}", s.text);
    s.pass(5 * 3600);
    assert_eq!(s.state(0).word(), "held");
    s.pass(3600);
    assert_eq!(s.state(0).word(), "recovering", "{}", s.text);
}

#[test]
fn a_changed_address_is_followed() {
    let mut s = Story::serving(1);
    let instance = s.instance(&node(0));
    let mut moved = s.rows().remove(0);
    moved.ports.insert(5555, 46666);
    s.extra.push(moved);
    s.pass(20);
    assert_eq!(s.tenant(&node(0)).instance, instance);
    assert_snapshot!(s.read());
}
