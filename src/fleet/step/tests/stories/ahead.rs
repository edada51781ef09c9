//! What is told and done ahead of trouble: contracts that end, prices raised, credit that runs out, many failed at once.

use std::{sync::Arc, time::Duration};

use insta::assert_snapshot;

use super::{
    super::{
        super::super::{
            event::Event,
            guard::{Guard, Rail},
            name::NodeName,
            policy::{ReplaceOrder, Rung},
            provider::Credit,
            units::{Money, Timestamp},
            view::view,
            watch::Word,
        },
        story::row,
    },
    Story, node, policy,
};

/// The first node's row as lists show it from now on.
fn shown(s: &mut Story, change: impl FnOnce(&mut super::super::super::super::provider::Rental)) {
    let label = format!("vk:test:duel-0:{}", s.op(&node(0)));
    let mut row = row(s.instance(&node(0)), Some(label));
    change(&mut row);
    s.extra.push(row);
}

#[test]
fn a_contract_that_ends_soon_is_replaced_ahead_of_its_end() {
    let mut s = Story::serving(2);
    let old = s.instance(&node(0));
    let ends = Timestamp(s.now).after(Duration::from_secs(3630));
    shown(&mut s, |row| row.ends_at = Some(ends));
    s.pass(20);
    assert_eq!(s.instance(&node(0)), old, "not before its time");
    assert!(!s.text.contains("planned"), "one list is no proof");
    s.pass(80);
    s.ok(&node(0));
    s.ok(&node(0));
    assert!(s.fleet.doomed.is_empty(), "it serves on, and its health calls nothing off");
    s.fill(&node(0));
    assert!(s.fleet.doomed.contains_key(&old));
    assert_ne!(s.instance(&node(0)), old);
    assert!(s.fleet.nodes[&node(0)].incident.is_none(), "planned work is no incident");
    assert_snapshot!(s.read());
}

#[test]
fn planned_work_waits_while_many_fail_of_whom_no_witness_speaks_any_more() {
    let mut policy = policy(8);
    policy.rails.parallel = Some(8);
    for spec in policy.nodes.values_mut() {
        Arc::make_mut(spec).order = ReplaceOrder::CreateFirst;
    }
    let mut s = Story::serving_with(policy);
    for i in 1..5 {
        s.lose(&node(i));
        assert_eq!(s.state(i).word(), "recovering", "its witness confirmed it");
    }
    let ends = Timestamp(s.now).after(Duration::from_secs(600));
    shown(&mut s, |row| row.ends_at = Some(ends));
    for _ in 0..12 {
        (0..8).for_each(|i| if (1..5).contains(&i) { s.fail(&node(i)) } else { s.ok(&node(i)) });
        s.pass(10);
    }
    assert_eq!(s.state(0).word(), "serving");
    assert_eq!(s.memory.desk(&node(0)).blocked.as_ref().unwrap().rail, Rail::Breaker);
    (1..5).for_each(|i| (0..2).for_each(|_| s.ok(&node(i))));
    for _ in 0..12 {
        (0..8).for_each(|i| s.ok(&node(i)));
        s.pass(10);
    }
    assert_eq!(s.state(0).word(), "recovering", "they are well again");
}

#[test]
fn a_price_raised_above_the_cap_is_left_for_another_or_only_told() {
    let mut s = Story::serving(2);
    let old = s.instance(&node(0));
    shown(&mut s, |row| row.price = Money(2_600_000));
    s.pass(80);
    s.fill(&node(0));
    assert!(s.fleet.doomed.contains_key(&old), "{}", s.text);

    let mut policy = policy(2);
    for spec in policy.nodes.values_mut() {
        Arc::make_mut(spec).ladder = vec![Rung::Reboot];
    }
    let mut s = Story::serving_with(policy);
    shown(&mut s, |row| row.price = Money(2_600_000));
    s.pass(100);
    assert!(s.fleet.doomed.is_empty(), "without `replace` on its ladder it is a human's to decide");
    assert_eq!(s.text.matches("is to be replaced").count(), 1, "told once: {}", s.text);
}

#[test]
fn a_failing_box_is_not_taken_for_planned_work() {
    let mut s = Story::serving(2);
    s.fail(&node(0));
    shown(&mut s, |row| row.price = Money(2_600_000));
    s.pass(100);
    assert!(!s.text.contains("planned"), "{}", s.text);
}

#[test]
fn a_contract_that_is_said_to_have_ended_while_its_box_serves_is_no_fact() {
    let mut s = Story::serving(2);
    let past = Timestamp(s.now - 1000);
    shown(&mut s, |row| row.ends_at = Some(past));
    s.pass(200);
    assert_eq!(s.text, "", "nothing follows from nonsense");
}

#[test]
fn credit_that_runs_out_is_told_before_it_has_and_once_when_it_is_back() {
    let mut s = Story::serving(2);
    s.beats = true;
    // Two boxes at $0.35: ten hours.
    s.tell(Event::CreditRead(Ok(Credit { dollars: Money(7_000_000) })));
    s.pass(600);
    assert_eq!(s.text.matches("the credit lasts for 10 h").count(), 1, "{}", s.text);
    s.tell(Event::CreditRead(Ok(Credit { dollars: Money(17_500_000) })));
    s.pass(60);
    assert_eq!(s.text.matches("again").count(), 0, "25 h are too close to the 24 to call it over");
    s.tell(Event::CreditRead(Ok(Credit { dollars: Money(70_000_000) })));
    s.pass(60);
    assert_eq!(s.text.matches("the credit lasts for 100 h 0 min again").count(), 1, "{}", s.text);
}

#[test]
fn a_wanted_fleet_dearer_than_the_day_allows_is_told_while_it_serves() {
    let mut policy = policy(2);
    policy.rails.dollars_per_day = Some(Money(16_000_000));
    let mut s = Story::serving_with(policy);
    s.beats = true;
    s.pass(120);
    assert_eq!(s.text.matches("costs more than `rails.dollars_per_day` allows").count(), 1, "{}", s.text);
}

#[test]
fn the_most_valuable_go_first_and_how_long_it_takes_is_said_before() {
    let mut policy = policy(12);
    policy.rails.parallel = Some(1);
    let last: NodeName = node(11);
    Arc::make_mut(policy.nodes.get_mut(&last).unwrap()).priority = 90;
    let mut s = Story::serving_with(policy);
    s.beats = true;
    // Five of twelve die one after the other, the most valuable of them last; each is confirmed by its box.
    for i in [3, 1, 2, 0, 11] {
        for _ in 0..3 {
            s.fail(&node(i));
            s.now += 1000;
        }
        s.witness(&node(i), Word::Down("no answer on its own port".into()));
    }
    assert_eq!(s.state(3).word(), "recovering", "the first one found nobody before it");
    let now = Timestamp(s.now);
    let guard = Guard { fleet: &s.fleet, memory: &s.memory, policy: &s.policy, now };
    let plan = guard.plan().unwrap();
    let order: Vec<&str> = plan.waiting.iter().map(NodeName::as_str).collect();
    assert_eq!(order, ["duel-11", "duel-0", "duel-1", "duel-2"], "by priority, then by length of service");
    let typical = s.memory.typical_recovery().unwrap();
    assert_eq!(plan.takes, Some(typical * 5), "five as long as those before, one at a time");
    assert_eq!(view(&s.fleet, &s.memory, &s.policy, now).plan.unwrap().waiting.len(), 4);
    s.pass(20);
    assert_eq!(s.text.matches("failed nodes wait for their turn").count(), 1, "{}", s.text);

    let old = *s.fleet.doomed.keys().next().unwrap();
    s.destroyed(old);
    s.fill(&node(3));
    // Whoever looks first, the turn is the most valuable one's.
    for i in [2, 1, 0, 11] {
        s.fail(&node(i));
        if s.state(i).word() == "suspect" {
            s.witness(&node(i), Word::Down("no answer on its own port".into()));
        }
    }
    assert_eq!(s.state(11).word(), "recovering", "{}", s.text);
    assert_eq!(s.state(2).word(), "suspect");
    let blocked = s.memory.desks[&node(2)].blocked.as_ref().map(|blocked| blocked.rail);
    assert!(matches!(blocked, Some(Rail::Priority | Rail::Parallel)), "{blocked:?}");
}

#[test]
fn a_box_that_does_not_let_us_in_is_given_our_key_again() {
    let mut s = Story::serving(2);
    s.fail_thrice(&node(0));
    for _ in 0..4 {
        s.witness(&node(0), Word::Silent("permission denied".into()));
        s.pass(20);
    }
    assert_eq!(s.text.matches("do       attach-key 101").count(), 1, "{}", s.text);
}
