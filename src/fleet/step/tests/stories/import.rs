//! The journal is lost or comes from an old copy: what the account holds is taken over on a person's word, and by nothing else.

use std::time::Duration;

use super::{
    super::{
        super::super::{
            event::{Event, Wish},
            guard::Rail,
            name::{InstanceId, OpId},
            probe::{Failure, Verdict},
            provider::{Inventory, Rental},
            units::Timestamp,
            watch::Word,
        },
        story::row,
    },
    Story, node, policy,
};

/// What the account holds after the journal of a serving fleet was lost.
fn orphaned(nodes: usize) -> Vec<Rental> {
    Story::serving(nodes).rows()
}

/// A keeper that starts with nothing on record and finds these.
fn finding(rows: Vec<Rental>, import: bool, nodes: usize) -> Story {
    let mut policy = policy(nodes);
    policy.import = import;
    let mut s = Story::new(policy);
    s.extra = rows;
    s.boot();
    s.pass(60);
    s
}

fn nothing_was_changed(s: &Story) {
    for word in ["do       create", "do       destroy"] {
        assert!(!s.text.contains(word), "{}", s.text);
    }
}

#[test]
fn without_a_persons_word_nothing_is_taken_over_nothing_destroyed_and_nothing_rented() {
    let mut s = finding(orphaned(2), false, 2);
    s.pass(3600);
    nothing_was_changed(&s);
    assert!((0..2).all(|i| s.fleet.nodes.get(&node(i)).is_none_or(|node| node.state.word() == "vacant")));
    assert_eq!(s.text.matches("the journal does not know it").count(), 2, "each is told once: {}", s.text);
}

#[test]
fn lists_that_show_nothing_at_first_rent_no_fleet_beside_the_one_that_serves() {
    let rows = orphaned(3);
    let mut s = Story::new(policy(3));
    s.boot();
    // For all that the first lists say, the account is empty.
    s.pass(150);
    s.extra = rows;
    s.pass(3600);
    nothing_was_changed(&s);
    assert!(s.fleet.nodes.values().all(|node| node.state.word() == "vacant"), "{}", s.text);
}

#[test]
fn a_box_that_the_journal_does_not_know_keeps_every_node_from_renting_until_it_is_gone() {
    // The journal knows its first node alone, so it is an old copy; another node's box was rented since.
    let mut s = Story::serving(1);
    s.policy = policy(3);
    let stranger = row(InstanceId(600), Some(format!("vk:test:duel-1:{}", OpId::from_bits(78))));
    s.extra.push(stranger);
    s.list();
    s.tell(Event::PolicyChanged);
    s.pass(3600);
    nothing_was_changed(&s);
    let blocked = s.memory.desks[&node(2)].blocked.clone().unwrap();
    assert_eq!(blocked.rail, Rail::Import);
    assert!(blocked.why.contains("instance 600") && blocked.why.contains("run --import"), "{}", blocked.why);
    assert_eq!(s.text.matches("kept back by the rail `import`").count(), 1, "told once: {}", s.text);
    // One list that lacks it proves nothing, not even the first one after a long time without any, nor after a restart.
    s.lists_fail = true;
    s.pass(1200);
    s.lists_fail = false;
    let shown = std::mem::take(&mut s.extra);
    s.pass(40);
    let journal = s.journal.len();
    s.restart(journal);
    s.pass(100);
    s.extra = shown;
    s.pass(60);
    nothing_was_changed(&s);
    // Many over a while do.
    s.extra.clear();
    s.pass(300);
    assert!((1..3).all(|i| s.state(i).word() == "recovering"), "{}", s.text);
}

#[test]
fn with_it_each_instance_is_taken_over_once_it_proves_its_identity() {
    let rows = orphaned(2);
    let mut s = finding(rows.clone(), true, 2);
    assert!((0..2).all(|i| s.state(i).word() == "recovering"), "on probation: {}", s.text);
    for (i, row) in rows.iter().enumerate() {
        s.ok(&node(i));
        s.ok(&node(i));
        assert_eq!(s.state(i).word(), "serving");
        assert_eq!(s.instance(&node(i)), row.id);
    }
    nothing_was_changed(&s);
    assert!(!s.text.contains("attach-key"), "{}", s.text);
    // From now on it is like any other.
    s.pass(600);
    let journal = s.journal.len();
    s.restart(journal);
    s.pass(120);
    assert!((0..2).all(|i| s.state(i).word() == "serving"));
}

#[test]
fn a_stranger_behind_the_label_is_let_go_and_not_destroyed() {
    let mut s = finding(orphaned(1), true, 1);
    for _ in 0..40 {
        s.probed(&node(0), Verdict::Failing(Failure::Impostor { got: None }));
        s.pass(10);
    }
    assert_eq!(s.state(0).word(), "vacant", "{}", s.text);
    s.pass(3600);
    nothing_was_changed(&s);
    assert!(s.fleet.doomed.is_empty() && s.fleet.ops.is_empty() && s.fleet.bills.is_empty());
    assert_eq!(s.text.matches("does not prove to be it").count(), 1, "{}", s.text);
}

#[test]
fn of_two_with_one_nodes_label_the_newer_is_taken_and_the_other_told() {
    let mut rows = orphaned(1);
    let op = OpId::from_bits(77);
    rows.push(row(InstanceId(500), Some(format!("vk:test:duel-0:{op}"))));
    let mut s = finding(rows, true, 1);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!((s.state(0).word(), s.instance(&node(0))), ("serving", InstanceId(500)));
    s.pass(3600);
    nothing_was_changed(&s);
    assert_eq!(s.text.matches("the journal does not know it").count(), 1, "{}", s.text);
}

#[test]
fn a_journal_from_an_old_copy_lets_go_of_what_is_gone_for_what_took_its_place() {
    let mut s = Story::serving(2);
    s.policy.import = true;
    let (old, op) = (s.instance(&node(0)), OpId::from_bits(78));
    s.absent.insert(old);
    s.extra.push(row(InstanceId(600), Some(format!("vk:test:duel-0:{op}"))));
    s.fail_thrice(&node(0));
    s.pass(120);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!((s.state(0).word(), s.instance(&node(0))), ("serving", InstanceId(600)), "{}", s.text);
    assert!(s.fleet.doomed.contains_key(&old), "what is gone is proven gone like any other");
    s.destroyed(old);
    s.pass(120);
    assert!(s.fleet.doomed.is_empty());
    assert!(!s.text.contains("do       create"), "{}", s.text);
}

#[test]
fn what_was_not_taken_over_while_lists_lacked_it_is_not_rented_beside() {
    let mut s = finding(orphaned(3), true, 3);
    for i in 1..3 {
        s.ok(&node(i));
        s.ok(&node(i));
    }
    assert_eq!(s.state(0).word(), "recovering");
    s.pass(130);
    let hidden = vec![s.extra.remove(0)];
    s.absent.insert(hidden[0].id);
    for _ in 0..4 {
        s.probed(&node(0), Verdict::Failing(Failure::Timeout { limit_ms: 5000 }));
        s.pass(20);
    }
    assert_eq!(s.state(0).word(), "vacant", "{}", s.text);
    s.pass(60);
    nothing_was_changed(&s);
    s.absent.clear();
    s.extra.extend(hidden);
    s.pass(3600);
    nothing_was_changed(&s);
}

#[test]
fn of_two_rentals_of_one_attempt_neither_is_destroyed_for_the_other() {
    let mut rows = orphaned(1);
    rows.push(row(InstanceId(500), rows[0].label.clone()));
    let mut s = finding(rows.clone(), true, 1);
    s.pass(100);
    nothing_was_changed(&s);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!((s.state(0).word(), s.instance(&node(0))), ("serving", rows[0].id), "{}", s.text);
    s.pass(3600);
    nothing_was_changed(&s);
    assert_eq!(s.text.matches("Critical stray: instance 500").count(), 1, "{}", s.text);
    // Nor does the second one take its place when the first is no more, whoever ended it.
    s.ask(&node(0), Wish::Destroy);
    s.destroyed(rows[0].id);
    s.extra.retain(|row| row.id != rows[0].id);
    s.pass(60);
    s.ask(&node(0), Wish::Resume);
    s.pass(600);
    assert!(!s.text.contains("illegal"), "{}", s.text);
    assert!(s.fleet.doomed.is_empty(), "{}", s.text);
    assert_eq!(s.memory.desks[&node(0)].blocked.as_ref().unwrap().rail, Rail::Import, "{}", s.text);
}

#[test]
fn a_journal_from_an_old_copy_rents_nothing_until_lists_agreed() {
    let mut s = Story::serving(2);
    let rows = s.rows();
    // The copy is of when nothing was rented yet but for the first node; the lists after the start are empty.
    let kept = s.journal.iter().position(|entry| entry.record.kind() == "adopted").unwrap() + 1;
    s.pass(7200);
    s.restart(kept);
    s.start_telling();
    s.absent.extend(rows.iter().map(|row| row.id));
    s.pass(100);
    // Nor does it after another start, before which its last word is young.
    let journal = s.journal.len();
    s.restart(journal);
    s.pass(100);
    s.absent.clear();
    s.extra = rows;
    s.pass(3600);
    nothing_was_changed(&s);
    assert_eq!(s.memory.desks[&node(1)].blocked.as_ref().unwrap().rail, Rail::Import, "{}", s.text);
}

#[test]
fn a_command_before_the_first_start_does_not_make_an_old_copy_look_fresh() {
    let mut s = Story::serving(2);
    let second = s.instance(&node(1));
    let kept = s.journal.iter().position(|entry| entry.record.kind() == "adopted").unwrap() + 1;
    s.pass(7200);
    s.absent.insert(second);
    // A process that is no keeper adds its word, as `ledger import` does for somebody who moves to another machine.
    s.restart_for(kept, |s| s.ask(&node(0), Wish::Pause));
    s.now += 60_000;
    let journal = s.journal.len();
    s.restart(journal);
    s.start_telling();
    s.pass(150);
    assert!(!s.text.contains("do       search"), "{}", s.text);
}

#[test]
fn many_that_the_journal_does_not_know_are_not_gone_because_lists_are_empty_for_minutes() {
    let mut s = finding(orphaned(6), false, 6);
    s.pass(3600);
    let shown = std::mem::take(&mut s.extra);
    s.pass(600);
    assert_eq!(s.fleet.unknown.len(), 6, "{}", s.text);
    s.extra = shown;
    s.pass(3600);
    nothing_was_changed(&s);
    // What is gone for longer is gone.
    s.extra.clear();
    s.pass(900);
    s.now += 60_000;
    s.tell(Event::Stalled { gap: Duration::from_secs(60) });
    s.pass(1500);
    assert!(s.fleet.unknown.is_empty() && !s.fleet.doubted, "{}", s.text);
}

#[test]
fn lists_from_before_a_halt_do_not_count_for_those_after_it() {
    let mut s = Story::new(policy(1));
    s.boot();
    s.pass(20);
    s.now += 600_000;
    s.tell(Event::Stalled { gap: Duration::from_secs(600) });
    // A list was under way when the keeper was halted.
    let (started_at, rentals) = (Timestamp(s.now - 600_000), s.rows());
    s.tell(Event::Listed(Ok(Inventory { started_at, rentals })));
    s.pass(120);
    nothing_was_changed(&s);
    assert!(s.fleet.doubted, "{}", s.text);
    s.pass(120);
    assert!(!s.fleet.doubted, "{}", s.text);
}

#[test]
fn a_tenant_that_is_missing_is_not_condemned_for_a_stranger_behind_its_label() {
    let mut s = Story::serving(2);
    s.policy.import = true;
    let old = s.instance(&node(0));
    s.absent.insert(old);
    s.extra.push(row(InstanceId(600), Some(format!("vk:test:duel-0:{}", OpId::from_bits(78)))));
    s.fail_thrice(&node(0));
    s.pass(120);
    assert_eq!(s.state(0).word(), "recovering", "{}", s.text);
    let journal = s.journal.len();
    s.restart(journal);
    for _ in 0..40 {
        s.probed(&node(0), Verdict::Failing(Failure::Impostor { got: None }));
        s.pass(10);
    }
    assert_eq!((s.state(0).word(), s.instance(&node(0))), ("suspect", old), "{}", s.text);
    nothing_was_changed(&s);
    assert!(s.fleet.doomed.is_empty());
    s.pass(3600);
    assert!(!s.text.contains("do       create"), "the stranger stands in the way: {}", s.text);
}

#[test]
fn a_box_that_says_it_is_up_or_that_a_person_keeps_is_not_given_up_for_a_label() {
    for paused in [false, true] {
        let mut s = Story::serving(2);
        s.policy.import = true;
        let old = s.instance(&node(0));
        if paused {
            s.ask(&node(0), Wish::Pause);
        }
        s.absent.insert(old);
        s.extra.push(row(InstanceId(600), Some(format!("vk:test:duel-0:{}", OpId::from_bits(78)))));
        s.fail_thrice(&node(0));
        for _ in 0..12 {
            if !paused {
                s.witness(&node(0), Word::Up("its own health check answers".into()));
            }
            s.pass(10);
            s.fail(&node(0));
        }
        assert_eq!(s.instance(&node(0)), old, "{}", s.text);
        nothing_was_changed(&s);
    }
}

#[test]
fn what_still_serves_is_not_given_up_for_a_label() {
    let mut s = Story::serving(2);
    s.policy.import = true;
    let old = s.instance(&node(0));
    s.extra.push(row(InstanceId(600), Some(format!("vk:test:duel-0:{}", OpId::from_bits(79)))));
    s.pass(600);
    assert_eq!((s.state(0).word(), s.instance(&node(0))), ("serving", old));
    nothing_was_changed(&s);
}
